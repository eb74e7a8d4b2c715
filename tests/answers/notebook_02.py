"""Answers to the exercises of notebook 02: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from answers import Exercise

# --- exercise 1: block_means(x [B, C, H, W], pool_size) --------------------------------------------------------------


def by_avg_pool(x, pool_size):
    h, w = x.shape[-2:]
    rows, columns = min(pool_size, h), min(pool_size, w)
    small = F.avg_pool2d(x, (rows, columns), ceil_mode=True, count_include_pad=False)
    return small.repeat_interleave(rows, 2).repeat_interleave(columns, 3)[..., :h, :w]


def by_matrices(x, pool_size):
    """Both directions one after the other: a mean over a rectangle is a mean over columns of means over rows."""

    def mean_of_same_block(n):
        number = torch.arange(n) // pool_size
        same = (number[:, None] == number).to(x.dtype)
        return same / same.sum(1, keepdim=True)

    return mean_of_same_block(x.shape[-2]) @ x @ mean_of_same_block(x.shape[-1])


def by_padding_with_nan(x, pool_size):
    h, w = x.shape[-2:]
    padded = F.pad(x, (0, -w % pool_size, 0, -h % pool_size), value=float("nan"))
    cut = padded.unflatten(2, (-1, pool_size)).unflatten(4, (-1, pool_size))
    means = cut.nanmean((3, 5), keepdim=True).expand_as(cut)
    return means.flatten(4, 5).flatten(2, 3)[..., :h, :w]


def one_value_a_block(x, p):
    return F.avg_pool2d(x, p, ceil_mode=True)


def cut_blocks_dropped(x, p):
    return F.avg_pool2d(x, p).repeat_interleave(p, 2).repeat_interleave(p, 3)


def not_cut_back(x, p):
    return F.avg_pool2d(x, p, ceil_mode=True).repeat_interleave(p, 2).repeat_interleave(p, 3)


def zeros_counted(x, p):
    h, w = x.shape[-2:]
    x = F.pad(x, (0, -w % p, 0, -h % p))
    return F.avg_pool2d(x, p).repeat_interleave(p, 2).repeat_interleave(p, 3)[..., :h, :w]


def rim_repeated(x, p):
    h, w = x.shape[-2:]
    x = F.pad(x, (0, -w % p, 0, -h % p), mode="replicate")
    return F.avg_pool2d(x, p).repeat_interleave(p, 2).repeat_interleave(p, 3)[..., :h, :w]


def stretched(x, p):
    small = F.avg_pool2d(x, min(p, *x.shape[-2:]), ceil_mode=True)
    return F.interpolate(small, size=x.shape[-2:], mode="nearest")


def smoothed(x, p):
    return F.interpolate(F.avg_pool2d(x, p, ceil_mode=True), size=x.shape[-2:], mode="bilinear")


def tiled(x, p):
    h, w = x.shape[-2:]
    return F.avg_pool2d(x, p, ceil_mode=True).repeat(1, 1, p, p)[..., :h, :w]


def largest(x, p):
    h, w = x.shape[-2:]
    return F.max_pool2d(x, p, ceil_mode=True).repeat_interleave(p, 2).repeat_interleave(p, 3)[..., :h, :w]


def sliding(x, p):
    return F.avg_pool2d(x, p, stride=1, padding=p // 2)[..., : x.shape[2], : x.shape[3]]


def channels_too(x, p):
    return by_avg_pool(x.mean(1, keepdim=True), p).expand_as(x)


def images_too(x, p):
    return by_avg_pool(x.mean(0, keepdim=True), p).expand_as(x)


def channels_gone(x, p):
    return by_avg_pool(x.mean(1, keepdim=True), p)


def whole_image(x, p):
    return x.mean((-2, -1), keepdim=True).expand_as(x)


def four_built_in(x, p):
    return by_avg_pool(x, 4)


def sums(x, p):
    return by_avg_pool(x, p) * p * p


def adaptive(x, p):
    h, w = x.shape[-2:]
    small = F.adaptive_avg_pool2d(x, (max(1, h // p), max(1, w // p)))
    return F.interpolate(small, size=(h, w))


def from_the_lower_right(x, p):
    return by_avg_pool(x.flip(-1, -2), p).flip(-1, -2)


def detached_1(x, p):
    return by_avg_pool(x.detach(), p)


def in_place_1(x, p):
    for top in range(0, x.shape[2], p):
        for left in range(0, x.shape[3], p):
            block = x[..., top : top + p, left : left + p]
            block.copy_(block.mean((-2, -1), keepdim=True).expand_as(block))
    return x


def rows_only(x, p):
    h = x.shape[2]
    return torch.cat(
        [x[:, :, i : i + p].mean(2, keepdim=True).expand_as(x[:, :, i : i + p]) for i in range(0, h, p)], 2
    )


def whole_blocks_only(x, p):
    out = x.clone()
    for top in range(0, x.shape[2] - p + 1, p):
        for left in range(0, x.shape[3] - p + 1, p):
            out[..., top : top + p, left : left + p] = x[..., top : top + p, left : left + p].mean(
                (-2, -1), keepdim=True
            )
    return out


def last_blocks_left_out(x, p):
    means = torch.zeros_like(x)
    for top in range(0, x.shape[-2] - p, p):
        for left in range(0, x.shape[-1] - p, p):
            here = (..., slice(top, top + p), slice(left, left + p))
            means[here] = x[here].mean((-2, -1), keepdim=True)
    return means


def _looped(x, p, rows, columns, means):
    for top in range(0, rows, p):
        for left in range(0, columns, p):
            here = (..., slice(top, top + p), slice(left, left + p))
            means[here] = x[here].mean((-2, -1), keepdim=True)
    return means


def columns_over_h(x, p):
    return _looped(x, p, x.shape[-2], x.shape[-2], torch.zeros_like(x))


def columns_over_h_in_a_copy(x, p):
    return _looped(x, p, x.shape[-2], x.shape[-2], x.clone())


def rows_over_w(x, p):
    return _looped(x, p, x.shape[-1], x.shape[-1], torch.zeros_like(x))


def h_and_w_exchanged(x, p):
    return _looped(x, p, x.shape[-1], x.shape[-2], torch.zeros_like(x))


def only_whole_blocks_written(x, p):
    h, w = x.shape[-2:]
    return _looped(x, p, h // p * p, w // p * p, torch.zeros_like(x))


def mean_of_everything_in_a_block(x, p):
    means = torch.zeros_like(x)
    for top in range(0, x.shape[-2], p):
        for left in range(0, x.shape[-1], p):
            here = (..., slice(top, top + p), slice(left, left + p))
            means[here] = x[here].mean()
    return means


def first_pixel(x, p):
    return x[..., torch.arange(x.shape[-2]) // p * p, :][..., torch.arange(x.shape[-1]) // p * p]


def overlapping(x, p):
    means = torch.zeros_like(x)
    for top in range(x.shape[-2]):
        for left in range(x.shape[-1]):
            here = (..., slice(top, top + p), slice(left, left + p))
            means[here] = x[here].mean((-2, -1), keepdim=True)
    return means


def in_numpy_1(x, p):
    return by_avg_pool(x, p).numpy()


def library_1(x, p):
    from sgdc_viz.nn import pool_context

    return pool_context(x, p)


# --- exercise 2: average_gain(n, f) ----------------------------------------------------------------------------------


def by_sum(n, f):
    return abs(np.exp(2j * np.pi * np.multiply.outer(np.asarray(f), np.arange(n))).sum(-1)) / n


def by_sinc(n, f):
    return np.abs(np.sinc(n * np.asarray(f)) / np.sinc(f))


def by_where(n, f):
    f = np.asarray(f, float)
    safe = np.where(f == 0, 1.0, f)
    return np.where(f == 0, 1.0, np.abs(np.sin(np.pi * safe * n) / (n * np.sin(np.pi * safe))))


def by_cosines(n, f):
    """Without complex numbers: length of the mean of n arrows."""
    angle = 2 * np.pi * np.multiply.outer(np.asarray(f), np.arange(n))
    return np.hypot(np.cos(angle).mean(-1), np.sin(angle).mean(-1))


def no_case_for_zero(n, f):
    f = np.asarray(f)
    return np.abs(np.sin(np.pi * f * n) / (n * np.sin(np.pi * f)))


def zero_at_zero(n, f):
    return np.nan_to_num(no_case_for_zero(n, f))


def no_bars(n, f):
    f = np.asarray(f)
    return np.where(f == 0, 1.0, np.sin(np.pi * f * n) / (n * np.sin(np.pi * f)))


def of_a_sum(n, f):
    return n * by_sum(n, f)


def power(n, f):
    return by_sum(n, f) ** 2


def no_pi(n, f):
    f = np.asarray(f)
    return np.where(f == 0, 1.0, np.abs(np.sin(f * n) / (n * np.sin(f))))


def two_pi(n, f):
    f = np.asarray(f)
    return np.where(f == 0, 1.0, np.abs(np.sin(2 * np.pi * f * n) / (n * np.sin(2 * np.pi * f))))


def continuous(n, f):
    return np.abs(np.sinc(n * np.asarray(f)))


def eight_built_in(n, f):
    return by_sum(8, f)


def one_pixel_more(n, f):
    return by_sum(n + 1, f)


def one_pixel_less(n, f):
    return by_sum(n - 1, f) if n > 1 else by_sum(1, f)


def for_one_number(n, f):
    if f == 0:
        return 1.0
    return abs(math.sin(math.pi * f * n) / (n * math.sin(math.pi * f)))


def for_arrays_only(n, f):
    gain = np.ones(len(f))
    gain[f != 0] = by_sum(n, f[f != 0])
    return gain


def for_one_row_only(n, f):
    return np.array([by_where(n, v) for v in np.atleast_1d(f)]).ravel().reshape(np.shape(f) if np.ndim(f) < 2 else -1)


def positive_only(n, f):
    f = np.asarray(f)
    return np.where(f < 0, 0.0, by_sum(n, f))


def only_nearly_zero(n, f):
    f = np.asarray(f)
    return np.where(np.abs(f) < 1e-6, 0.0, by_sum(n, f))


def complex_gain(n, f):
    return np.exp(2j * np.pi * np.multiply.outer(np.asarray(f), np.arange(n))).mean(-1)


def by_all_or_none(n, f):
    f = np.asarray(f)
    return np.ones_like(f, float) if (f == 0).any() else by_sum(n, f)


def upside_down(n, f):
    return 1 / no_case_for_zero(n, f)


def in_degrees(n, f):
    f = np.asarray(f)
    return np.where(f == 0, 1.0, np.abs(np.sin(180 * f * n) / (n * np.sin(180 * f))))


def n_in_the_lower_sine(n, f):
    f = np.asarray(f)
    return np.where(f == 0, 1.0, np.abs(np.sin(np.pi * f * n) / np.sin(n * np.pi * f)))


def real_part(n, f):
    return np.abs(np.cos(2 * np.pi * np.multiply.outer(np.asarray(f), np.arange(n))).mean(-1))


def in_radians(n, f):
    return by_sum(n, np.asarray(f) / (2 * np.pi))


def pi_once(n, f):
    f = np.asarray(f)
    return np.where(f == 0, 1.0, np.abs(np.sin(np.pi * f * n) / (n * np.sin(f))))


def half_the_circle(n, f):
    return np.abs(np.exp(1j * np.pi * np.multiply.outer(np.asarray(f), np.arange(n))).mean(-1))


def library_2(n, f):
    from sgdc_viz.teach.lessons import pooling as lesson

    return lesson.gain_of_average(n, f)


def ideal_low_pass(n, f):
    return (np.abs(f) < 1 / n) * 1.0


def changes_f(n, f):
    f = np.asarray(f)
    f[f == 0] = 1e-9
    f *= np.pi
    return np.abs(np.sin(f * n) / (n * np.sin(f)))


# --- exercise 3: share_inside(values [H, W], pool_size) --------------------------------------------------------------


def _numbers(values, p):
    rows, columns = np.indices(values.shape) // p
    return np.unique(rows * 10_000 + columns, return_inverse=True)[1].ravel()


def by_bincount(values, pool_size):
    number, flat = _numbers(values, pool_size), np.asarray(values).ravel()
    means = (np.bincount(number, flat) / np.bincount(number))[number]
    total = np.sum((flat - flat.mean()) ** 2)
    return 0.0 if total < 1e-12 else np.sum((flat - means) ** 2) / total


def one_minus_between(values, pool_size):
    number, flat = _numbers(values, pool_size), np.asarray(values).ravel()
    means = (np.bincount(number, flat) / np.bincount(number))[number]
    return 0.0 if flat.var() < 1e-12 else float(1 - means.var() / flat.var())


def in_torch(values, pool_size):
    x = torch.from_numpy(values.copy())[None, None]
    inside = (x - by_avg_pool(x, pool_size)).square().mean()
    total = x.var(correction=0)
    return torch.where(total < 1e-12, 0.0, inside / total)


def _pieces(values, p):
    h, w = values.shape
    return [values[i : i + p, j : j + p] for i in range(0, h, p) for j in range(0, w, p)]


def between(values, p):
    return 1 - by_bincount(values, p)


def deviations(values, p):
    return math.sqrt(by_bincount(values, p))


def mean_of_blocks(values, p):
    return np.mean([piece.var() for piece in _pieces(values, p)]) / values.var() if values.var() > 1e-12 else 0.0


def not_divided(values, p):
    return by_bincount(values, p) * values.var()


def not_divided_sum(values, p):
    return by_bincount(values, p) * values.var() * values.size


def mean_not_taken_off(values, p):
    return sum(((piece - piece.mean()) ** 2).sum() for piece in _pieces(values, p)) / (values**2).sum()


def against_squares(values, p):
    means = sum(piece.size * piece.mean() ** 2 for piece in _pieces(values, p))
    return 1 - means / (values**2).sum()


def one_less(values, p):
    x = torch.from_numpy(values.copy())
    return float((x - by_avg_pool(x[None, None], p)[0, 0]).square().mean() / x.var()) if x.var() > 1e-12 else 0.0


def absolute(values, p):
    inside = sum(np.abs(piece - piece.mean()).sum() for piece in _pieces(values, p))
    return inside / np.abs(values - values.mean()).sum()


def cut_blocks_left_out(values, p):
    h, w = (n // p * p for n in values.shape)
    return by_bincount(values[:h, :w], p) if h and w else by_bincount(values, p)


def _inside(values, p, rows, columns):
    inside = 0.0
    for top in range(0, rows, p):
        for left in range(0, columns, p):
            block = values[top : top + p, left : left + p]
            if block.size:
                inside += ((block - block.mean()) ** 2).sum()
    return inside / ((values - values.mean()) ** 2).sum() if values.var() > 1e-12 else 0.0


def cut_blocks_skipped(values, p):
    h, w = values.shape
    return _inside(values, p, h - p + 1, w - p + 1)


def h_and_w_exchanged_3(values, p):
    return _inside(values, p, values.shape[1], values.shape[0])


def columns_over_h_3(values, p):
    return _inside(values, p, values.shape[0], values.shape[0])


def rows_over_w_3(values, p):
    return _inside(values, p, values.shape[1], values.shape[1])


def padded_with_zeros(values, p):
    h, w = values.shape
    return by_bincount(np.pad(values, ((0, -h % p), (0, -w % p))), p)


def four_built_in_3(values, p):
    return by_bincount(values, 4)


def blocks_mixed_up(values, p):
    h, w = values.shape
    blocks = values[: h // p * p, : w // p * p].reshape(h // p, w // p, p, p)
    return blocks.var((2, 3)).mean() / values.var()


def rows_only_3(values, p):
    h = values.shape[0]
    inside = sum(((values[i : i + p] - values[i : i + p].mean(0)) ** 2).sum() for i in range(0, h, p))
    return inside / ((values - values.mean()) ** 2).sum()


def inside_by_between(values, p):
    share = by_bincount(values, p)
    return share / (1 - share) if share < 1 - 1e-9 else 1.0


def percents(values, p):
    return 100 * by_bincount(values, p)


def variances_added_up(values, p):
    return sum(piece.var() for piece in _pieces(values, p)) / values.var() if values.var() > 1e-12 else 0.0


def medians(values, p):
    inside = sum(((piece - np.median(piece)) ** 2).sum() for piece in _pieces(values, p))
    return inside / ((values - values.mean()) ** 2).sum()


def nan_if_constant(values, p):
    number, flat = _numbers(values, p), values.ravel()
    means = (np.bincount(number, flat) / np.bincount(number))[number]
    return np.sum((flat - means) ** 2) / np.sum((flat - flat.mean()) ** 2)


def rounding_if_constant(values, p):
    inside = sum(((piece - piece.mean()) ** 2).sum() for piece in _pieces(values, p))
    total = ((values - values.mean()) ** 2).sum()
    return inside / total if total > 0 else 0.0


def a_map(values, p):
    return (values - values.mean()) ** 2


def in_place_3(values, p):
    share = by_bincount(values, p)
    values -= values.mean()
    return share


def library_3(values, p):
    from sgdc_viz.views.overview import within_block_variation

    return within_block_variation(values, p)


# --- exercise 4: border_pair(blocks, pool_size) ----------------------------------------------------------------------


def opposite_corners(blocks, pool_size):
    a = np.zeros((pool_size, pool_size))
    a[0, 0] = 1
    return np.tile(a, (blocks, blocks)), np.tile(a[::-1, ::-1], (blocks, blocks))


def tensors(blocks, pool_size):
    a = torch.zeros(pool_size, pool_size)
    a[: pool_size // 2] = 0.75
    return a.repeat(blocks, blocks), a.T.repeat(blocks, blocks)


def stripes_and_rows(blocks, pool_size):
    """Not a tile of one block: bright columns against bright rows, block by block."""
    side, bright = blocks * pool_size, (pool_size + 1) // 2
    a = np.repeat((np.arange(side) % pool_size < bright)[None], side, 0).astype(float)
    b = (np.arange(side) % pool_size >= pool_size - bright)[:, None] * np.ones(side)
    return [a, b]


def same_twice(blocks, p):
    a = stripes_and_rows(blocks, p)[0]
    return a, a.copy()


def zero_and_one_swapped(blocks, p):
    if p % 2:
        return tuple(stripes_and_rows(blocks, p))
    a = stripes_and_rows(blocks, p)[0]
    return a, 1 - a


def mirrored(blocks, p):
    a = 0.75 * stripes_and_rows(blocks, p)[0]
    return a, a[:, ::-1].copy()


def whole_means_only(blocks, p):
    """Equal means of the whole images: the bright half lies elsewhere."""
    side = blocks * p
    a = np.zeros((side, side))
    a[:, : side // 2] = 1
    return a, a.T.copy()


def between_blocks(blocks, p):
    """A chequerboard of whole blocks, and the same with faint stripes."""
    y, x = np.indices((blocks * p, blocks * p))
    a = 0.2 + 0.6 * ((y // p + x // p) % 2)
    return a, a + 0.01 * np.sin(2 * np.pi * (y % p + 0.5) / p)


def weak_border(blocks, p):
    a, b = stripes_and_rows(blocks, p)
    return 0.4 * a, 0.4 * b


def border_in_one_block(blocks, p):
    a, b = (np.zeros((blocks * p, blocks * p)) for _ in "ab")
    a[0, 0], b[p - 1, p - 1] = 1, 1
    return a, b


def only_a_has_borders(blocks, p):
    a = stripes_and_rows(blocks, p)[0]
    return a, np.full_like(a, a[:, :p].mean())


def too_bright(blocks, p):
    a, b = stripes_and_rows(blocks, p)
    return 255 * a, 255 * b


def below_zero(blocks, p):
    a, b = stripes_and_rows(blocks, p)
    return a - 0.5, b - 0.5


def eight_built_in_4(blocks, p):
    return opposite_corners(blocks, 8)


def one_block(blocks, p):
    return opposite_corners(1, p)


def half_of_an_odd_block(blocks, p):
    """Left half against right half: of an odd side these have not the same number of columns."""
    a, b = np.zeros((p, p)), np.zeros((p, p))
    a[: p // 2], b[:, p // 2 :] = 1, 1
    return np.tile(a, (blocks, blocks)), np.tile(b, (blocks, blocks))


def shifted_by_a_block(blocks, p):
    a = stripes_and_rows(blocks, p)[0]
    return a, np.roll(a, p, 1)


def one_image(blocks, p):
    return stripes_and_rows(blocks, p)[0]


def lists(blocks, p):
    return tuple(image.tolist() for image in stripes_and_rows(blocks, p))


# --- exercise 5: judgement() -----------------------------------------------------------------------------------------


def judge(claim, ways):
    return lambda: {"claim": claim, "ways": ways}


EXERCISES = {
    "exercise_1": Exercise(
        right=[by_avg_pool, by_matrices, by_padding_with_nan],
        wrong=[
            ("one value for each block", one_value_a_block, "every \\*pixel\\* gets its block's mean"),
            ("blocks cut off are dropped", cut_blocks_dropped, "cut off at the right and bottom border are missing"),
            ("larger than x", not_cut_back, "cut it back"),
            ("zeros beyond the border counted", zeros_counted, "counts zeros beyond the border"),
            ("the last row repeated", rim_repeated, "repeats the last row"),
            ("stretched to the size of x", stretched, "stretches the blocks"),
            ("bilinear", smoothed, "bilinear interpolation"),
            ("tiled, not repeated", tiled, "repeat_interleave"),
            ("max pooling", largest, "max pooling"),
            ("a sliding window", sliding, "sliding window"),
            ("channels averaged", channels_too, "over the channels too"),
            ("images averaged", images_too, "over the images too"),
            ("channels averaged away", channels_gone, "channels or images too"),
            ("one mean for the image", whole_image, "mean of the whole image"),
            ("a built-in block size", four_built_in, "built in: use pool_size"),
            ("sums", sums, "those are sums"),
            ("adaptive pooling", adaptive, "adaptive pooling"),
            ("blocks start at the lower right", from_the_lower_right, "start at the upper left"),
            ("cut off from autograd", detached_1, "no gradient"),
            ("x changed in place", in_place_1, "changes the x"),
            ("rows alone", rows_only, "along one direction alone"),
            ("only whole blocks averaged", whole_blocks_only, "average what is left of them"),
            ("the last blocks left out", last_blocks_left_out, "never written"),
            ("cut blocks never written", only_whole_blocks_written, "cut off at the right and bottom are missing"),
            ("columns looped over the height", columns_over_h, "loop over columns must run over W"),
            ("the same, into a copy of x", columns_over_h_in_a_copy, "loop over columns must run over W"),
            ("rows looped over the width", rows_over_w, "loop over rows must run over H"),
            ("height and width exchanged", h_and_w_exchanged, "loop over columns must run over W"),
            ("images and channels averaged in one go", mean_of_everything_in_a_block, "images and channels too"),
            ("subsampled", first_pixel, "first pixel of each block"),
            ("blocks overlap", overlapping, "do the blocks overlap"),
            ("left torch", in_numpy_1, "return a tensor"),
            ("the library's own function", library_1, "library's own version"),
            ("nothing averaged", lambda x, p: x, "nothing was averaged"),
            ("integer division of the map", lambda x, p: x // p, "inside a block your values differ"),
        ],
    ),
    "exercise_2": Exercise(
        right=[by_sum, by_sinc, by_where, by_cosines],
        wrong=[
            ("0/0 at f = 0", no_case_for_zero, "at f = 0 your gain is NaN"),
            ("0 at f = 0", zero_at_zero, "at f = 0 your gain is 0"),
            ("no absolute value", no_bars, "bars \\|...\\| are missing"),
            ("a sum, not an average", of_a_sum, "factor n is missing"),
            ("power", power, "squared gain"),
            ("pi forgotten", no_pi, "pi is missing"),
            ("2 pi for pi", two_pi, "not 2 pi f"),
            ("a continuous average", continuous, "not a continuous length"),
            ("8 built in", eight_built_in, "is 8 built in"),
            ("one pixel too many", one_pixel_more, "gains of 9 pixels"),
            ("one pixel too few", one_pixel_less, "gains of 7 pixels"),
            ("one number only", for_one_number, "f is an array"),
            ("arrays only", for_arrays_only, "f is the single number 0"),
            ("one row of numbers only", for_one_row_only, "shape \\(6, 7\\)"),
            ("only f > 0", positive_only, "wrong for f < 0"),
            ("0 near f = 0", only_nearly_zero, "at f = 0 your gain is 0"),
            ("a complex number", complex_gain, "real numbers"),
            ("one special case for the whole array", by_all_or_none, "other entries change"),
            ("upside down", upside_down, "upside down"),
            ("degrees", in_degrees, "radians, not degrees"),
            ("n in the lower sine", n_in_the_lower_sine, "does n stand inside the lower sine"),
            ("an ideal low-pass filter", ideal_low_pass, "off by up to"),
            ("the real part alone", real_part, "real part of the sum"),
            ("radians per pixel", in_radians, "not radians"),
            ("pi in one place only", pi_once, "pi is missing in the lower sine"),
            ("half the circle", half_the_circle, "half the frequency"),
            ("the library's own function", library_2, "library's own version"),
            ("f changed in place", changes_f, "changes the f"),
        ],
    ),
    "exercise_3": Exercise(
        right=[by_bincount, one_minus_between, in_torch],
        wrong=[
            ("the share between the blocks", between, "\\*between\\* the blocks"),
            ("standard deviations", deviations, "ratio of standard deviations"),
            ("all blocks count alike", mean_of_blocks, "add up over pixels, not over blocks"),
            ("not divided by the total", not_divided, "not its share"),
            ("not divided, and a sum", not_divided_sum, "forgot to divide"),
            ("the mean not taken off", mean_not_taken_off, "mean of the map is not taken off"),
            ("mean squares for variances", against_squares, "mean of the map is not taken off"),
            ("one variance with ddof 1", one_less, "one pixel less \\(ddof=1"),
            ("no squares", absolute, "not their squares"),
            ("cut blocks left out", cut_blocks_left_out, "border are left out"),
            ("cut blocks skipped", cut_blocks_skipped, "cut off at the right and bottom are missing"),
            ("height and width exchanged", h_and_w_exchanged_3, "rows run over H, columns over W"),
            ("columns looped over the height", columns_over_h_3, "rows run over H, columns over W"),
            ("rows looped over the width", rows_over_w_3, "rows run over H, columns over W"),
            ("zeros beyond the border", padded_with_zeros, "zeros beyond the border"),
            ("inside divided by between", inside_by_between, "part between the blocks: divide by all"),
            ("percent", percents, "in percent"),
            ("variances added up without weights", variances_added_up, "as if each block had one pixel"),
            ("medians", medians, "median of a block"),
            ("4 built in", four_built_in_3, "4 is built in"),
            ("blocks mixed up by reshape", blocks_mixed_up, "mix up the blocks"),
            ("rows alone", rows_only_3, "rows alone"),
            ("0/0 for a constant map", nan_if_constant, "return 0 there"),
            ("rounding of a constant map", rounding_if_constant, "1e-12 as none"),
            ("not one number", a_map, "return one number"),
            ("the map changed in place", in_place_3, "changes the map"),
            ("the library's own function", library_3, "library's own version"),
        ],
    ),
    "exercise_4": Exercise(
        right=[opposite_corners, tensors, stripes_and_rows],
        wrong=[
            ("the same image twice", same_twice, "the same image"),
            ("0 and 1 swapped", zero_and_one_swapped, "swapping 0 and 1"),
            ("mirrored about the border", mirrored, "mirroring leaves a border"),
            ("only the whole means agree", whole_means_only, "Only the means of the whole images agree"),
            ("border between blocks", between_blocks, "\\*inside\\* every block"),
            ("too weak a border", weak_border, "a border needs 0.5"),
            ("a border in one block only", border_in_one_block, "\\*inside\\* every block"),
            ("only one image has borders", only_a_has_borders, "of b has no border inside"),
            ("0 to 255", too_bright, "between 0 and 1"),
            ("below 0", below_zero, "between 0 and 1"),
            ("8 built in", eight_built_in_4, "must have shape"),
            ("one block, not many", one_block, "must have shape"),
            ("halves of an odd block", half_of_an_odd_block, "equal in \\*every\\* block"),
            ("shifted by a whole block", shifted_by_a_block, "the same image"),
            ("one image", one_image, "return two images"),
            ("lists", lists, "array of numbers"),
        ],
    ),
    "exercise_5": Exercise(
        right=[judge("no", {"A", "C", "D", "F"}), judge("no", ["F", "D", "C", "A"]), judge("no", "ACDF")],
        wrong=[
            ("what the kernel forgets, the prediction forgets", judge("yes", {"A"}), "made from more than kernels"),
            ("softmax makes kernels per pixel", judge("no", {"A", "B", "C", "D", "F"}), "B is no way through"),
            ("gates per channel know the place", judge("no", {"A", "C", "D", "E", "F"}), "E is no way through"),
            ("the boundary map enters the block", judge("no", {"A", "C", "D", "F", "G"}), "G is no way through"),
            ("upsampling brings detail back", judge("no", {"A", "C", "D", "F", "H"}), "H is no way through"),
            ("what is filtered was averaged too", judge("no", {"C", "D", "F"}), "the value v is the layer norm"),
            ("no static branch", judge("no", {"A", "D", "F"}), "static branch"),
            ("no residual path", judge("no", {"A", "C", "F"}), "go past both branches"),
            ("no skips", judge("no", {"A", "C", "D"}), "encoder features"),
            ("no letters", judge("no", set()), "a way is missing"),
            ("other names", lambda: {"claim": "no"}, "with these two names"),
            ("neither yes nor no", judge("perhaps", {"A"}), '"yes" or "no"'),
            ("letters that do not exist", judge("no", {"A", "Z"}), "letters A to H"),
        ],
    ),
}
