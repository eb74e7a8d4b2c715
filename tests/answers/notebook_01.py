"""Answers to the exercises of notebook 01: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from answers import Exercise
from sgdc_viz.lens import kernel_in_bounds
from sgdc_viz.nn import dynamic_conv2d, dynamic_conv2d_reference

# --- exercise 1: offset(q, k) -> (dy, dx) ----------------------------------------------------------------------------


def by_divmod(q, k):
    row, column = divmod(q, k)
    return [row - (k - 1) // 2, column - (k - 1) // 2]


def by_numpy(q, k):
    row, column = np.unravel_index(q, (k, k))
    return row - k // 2, column - k // 2


def by_list(q, k):
    reach = range(-(k // 2), k // 2 + 1)
    return [(dy, dx) for dy in reach for dx in reach][q]


def with_true_division(q, k):
    return q // k - k / 2, q % k - k / 2


# --- exercises 2 and 4: x [B, C, H, W], kernels [B, heads, k*k, H, W] -> [B, C, H, W] --------------------------------


def sizes(x, kernels):
    batch, channels, height, width = x.shape
    heads, taps = kernels.shape[1:3]
    return batch, channels, height, width, heads, taps, math.isqrt(taps)


def gather(x, kernels):
    """All neighbours, [B, heads, C/heads, k*k, H, W]."""
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    return F.unfold(x, k, padding=k // 2).view(batch, heads, channels // heads, taps, height, width)


def by_einsum(x, kernels):
    return torch.einsum("bgcqhw,bgqhw->bgchw", gather(x, kernels), kernels).flatten(1, 2)


def by_head(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    patches = F.unfold(x, k, padding=k // 2).view(batch, channels, taps, height, width)
    share, parts = channels // heads, []
    for h in range(heads):
        parts.append((patches[:, h * share : (h + 1) * share] * kernels[:, h : h + 1]).sum(2))
    return torch.cat(parts, 1)


def by_repeat(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    patches = F.unfold(x, k, padding=k // 2).view(batch, channels, taps, height, width)
    return (patches * kernels.repeat_interleave(channels // heads, 1)).sum(2)


def shifted(x, kernels, weigh=lambda w, q: w[:, :, None, q], pad=None, value=0.0, mode="constant", step=1):
    """The right answer to exercise 4, with places where mistakes go in."""
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    pad = (k // 2,) * 4 if pad is None else pad(k)
    padded = (F.pad(x, pad, mode, value) if mode == "constant" else F.pad(x, pad, mode)).unflatten(1, (heads, -1))
    out = torch.zeros(batch, heads, channels // heads, height, width)
    for q in range(0, taps, step):
        dy, dx = divmod(q, k)
        out = out + padded[..., dy : dy + height, dx : dx + width] * weigh(kernels, q)
    return out.flatten(1, 2)


def by_shifts(x, kernels):
    return shifted(x, kernels)


def by_addcmul(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    padded = F.pad(x, (k // 2,) * 4)
    parts = []
    for h, part in enumerate(padded.chunk(heads, 1)):
        total = torch.zeros(batch, channels // heads, height, width)
        for q in range(taps):
            dy, dx = q // k, q % k
            total = torch.addcmul(total, part[:, :, dy : dy + height, dx : dx + width], kernels[:, h, q].unsqueeze(1))
        parts.append(total)
    return torch.cat(parts, dim=1)


def by_channel(x, kernels):
    """One channel after the other, through a strided view of all taps: a view has no storage of its own."""
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    windows = F.pad(x, (k // 2,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # [B, C, k, k, H, W]
    share = channels // heads
    out = []
    for c in range(channels):
        total = 0
        for q in range(taps):
            total = total + windows[:, c, q // k, q % k] * kernels[:, c // share, q]
        out.append(total)
    return torch.stack(out, 1)


def in_slices(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    padded, out, share = F.pad(x, (k // 2,) * 4), torch.zeros_like(x), channels // heads
    for h in range(heads):
        mine = slice(h * share, (h + 1) * share)
        for q in range(taps):
            rows, columns = slice(q // k, q // k + height), slice(q % k, q % k + width)
            out[:, mine] += padded[:, mine, rows, columns] * kernels[:, h : h + 1, q]
    return out


def by_pixel(x, kernels):
    """One pixel after the other: each window is copied and kept, so nothing is saved."""
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    padded, out = F.pad(x, (k // 2,) * 4), []
    for i in range(height):
        for j in range(width):
            window = padded[:, :, i : i + k, j : j + k].reshape(batch, heads, channels // heads, taps)
            out.append((window * kernels[:, :, None, :, i, j]).sum(-1).flatten(1))
    return torch.stack(out, -1).view_as(x)


def interleaved(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    patches = F.unfold(x, k, padding=k // 2).view(batch, channels // heads, heads, taps, height, width)
    return (patches * kernels[:, None]).sum(3).flatten(1, 2)


def repeated(x, kernels):
    """repeat gives heads 0, 1, 0, 1, ...; repeat_interleave would give 0, 0, 1, 1."""
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    patches = F.unfold(x, k, padding=k // 2).view(batch, channels, taps, height, width)
    return (patches * kernels.repeat(1, channels // heads, 1, 1, 1)).sum(2)


def heads_inside(x, kernels):
    out = by_einsum(x, kernels).unflatten(1, (kernels.shape[1], -1))
    return out.transpose(1, 2)


def not_merged(x, kernels):
    return (gather(x, kernels) * kernels[:, :, None]).sum(3)


def summed_over_channels(x, kernels):
    return (gather(x, kernels) * kernels[:, :, None]).sum((1, 2, 3))


def summed_over_a_head(x, kernels):
    return (gather(x, kernels) * kernels[:, :, None]).sum((2, 3))


def all_channels_added(x, kernels):
    return by_einsum(x, kernels).sum(1, keepdim=True).expand_as(x)


def nothing_summed(x, kernels):
    return gather(x, kernels) * kernels[:, :, None]


def without_padding(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    r = k // 2
    inner = kernels[..., r : height - r, r : width - r]
    patches = F.unfold(x, k).view(batch, heads, channels // heads, taps, height - 2 * r, width - 2 * r)
    return (patches * inner[:, :, None]).sum(3).flatten(1, 2)


def column_major(x, kernels):
    k = math.isqrt(kernels.shape[2])
    return by_einsum(x, kernels.unflatten(2, (k, k)).transpose(2, 3).flatten(2, 3))


def taps_outside(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    patches = F.unfold(x, k, padding=k // 2).view(batch, taps, channels, height, width).transpose(1, 2)
    return (patches.unflatten(1, (heads, -1)) * kernels[:, :, None]).sum(3).flatten(1, 2)


def width_first(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    patches = F.unfold(x, k, padding=k // 2).view(batch, heads, channels // heads, taps, width, height)
    return (patches.transpose(-1, -2) * kernels[:, :, None]).sum(3).flatten(1, 2)


def k_is_three(x, kernels):
    batch, channels, height, width, heads, taps, _ = sizes(x, kernels)
    patches = F.unfold(x, 3, padding=1).view(batch, heads, channels // heads, 9, height, width)
    return (patches * kernels[:, :, None, :9]).sum(3).flatten(1, 2)


def padding_one(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    padded = F.pad(x, (1, k - 2, 1, k - 2))
    patches = F.unfold(padded, k).view(batch, heads, channels // heads, taps, height, width)
    return (patches * kernels[:, :, None]).sum(3).flatten(1, 2)


def two_heads(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    patches = F.unfold(x, k, padding=k // 2).view(batch, 2, channels // 2, taps, height, width)
    return (patches * kernels[:, :2, None]).sum(3).flatten(1, 2)


def half_detached(x, kernels):
    out = by_einsum(x, kernels.detach())
    return out + 0 * kernels.sum()


def copied(x, kernels):
    return by_einsum(x, torch.tensor(kernels.tolist()))


def in_numpy(x, kernels):
    return torch.from_numpy(by_einsum(x, kernels).numpy())


def scaled_in_place(x, kernels):
    kernels /= kernels.sum(2, keepdim=True)
    return by_einsum(x, kernels)


def through_the_library(x, kernels):
    return dynamic_conv2d(x, kernels)


under_another_name = dynamic_conv2d


def through_another_name(x, kernels):
    return under_another_name(x, kernels)


def through_the_reference(x, kernels):
    def inside(x, kernels):
        return dynamic_conv2d_reference(x, kernels)

    return inside(x, kernels)


def taps_before_channels(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    patches = F.unfold(x, k, padding=k // 2).view(batch, heads, taps, channels // heads, height, width)
    return (patches * kernels[:, :, :, None]).sum(2).flatten(1, 2)


def unfolded(k=None, padding=None, weights=lambda w: w[:, :, None]):
    """Exercise 2 with places where shapes go wrong."""

    def answer(x, kernels):
        batch, channels, height, width, heads, taps, side = sizes(x, kernels)
        patches = F.unfold(x, k or side, padding=side // 2 if padding is None else padding(side))
        patches = patches.view(batch, heads, channels // heads, taps, height, width)
        return (patches * weights(kernels)).sum(3).flatten(1, 2)

    return answer


def offsets_from_the_centre(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    padded, out = F.pad(x, (k // 2,) * 4).unflatten(1, (heads, -1)), 0
    for q in range(taps):
        dy, dx = q // k - k // 2, q % k - k // 2
        out = out + padded[..., dy : dy + height, dx : dx + width] * kernels[:, :, None, q]
    return out.flatten(1, 2)


def offsets_in_tensors(q, k):
    return torch.div(torch.tensor(q), k, rounding_mode="floor") - k // 2, torch.tensor(q) % k - k // 2


def kernel_of_the_neighbour(x, kernels):
    """x times its own kernel, sent to the neighbours: fold where the sum should gather."""
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    weights = kernels.flip(2).repeat_interleave(channels // heads, 1)
    products = (x[:, :, None] * weights).flatten(1, 2).flatten(2)
    return F.fold(products, (height, width), k, padding=k // 2)


def first_image_kernels(x, kernels):
    return by_einsum(x, kernels[:1].expand_as(kernels))


def first_pixel_kernels(x, kernels):
    return by_einsum(x, kernels[..., :1, :1].expand_as(kernels))


def mean_kernel(x, kernels):
    return by_einsum(x, kernels.mean((-2, -1), keepdim=True).expand_as(kernels))


def with_copies_of_the_weights(x, kernels):
    share = x.shape[1] // kernels.shape[1]
    return shifted(x, kernels, lambda w, q: w[:, :, q].repeat_interleave(share, 1).unflatten(1, (w.shape[1], -1)))


def padded_inside_the_loop(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    r, out = k // 2, 0
    for q in range(taps):
        dy, dx = q // k - r, q % k - r
        moved = F.pad(x, (-dx, dx, -dy, dy)).unflatten(1, (heads, -1))
        out = out + moved * kernels[:, :, None, q]
    return out.flatten(1, 2)


def rolled(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    out = 0
    for q in range(taps):
        moved = x.roll((k // 2 - q // k, k // 2 - q % k), (2, 3)).unflatten(1, (heads, -1))
        out = out + moved * kernels[:, :, None, q]
    return out.flatten(1, 2)


def stacked(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    padded = F.pad(x, (k // 2,) * 4).unflatten(1, (heads, -1))
    products = [padded[..., q // k : q // k + height, q % k : q % k + width] * kernels[:, :, None, q]
                for q in range(taps)]  # fmt: skip
    return torch.stack(products).sum(0).flatten(1, 2)


def only_the_last(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    padded = F.pad(x, (k // 2,) * 4).unflatten(1, (heads, -1))
    for q in range(taps):
        out = padded[..., q // k : q // k + height, q % k : q % k + width] * kernels[:, :, None, q]
    return out.flatten(1, 2)


def last_tap_missing(x, kernels):
    batch, channels, height, width, heads, taps, k = sizes(x, kernels)
    return (gather(x, kernels)[:, :, :, :-1] * kernels[:, :, None, :-1]).sum(3).flatten(1, 2)


# --- exercise 3: mass_inside(kernels [heads, k*k, H, W]) -> [heads, H, W] --------------------------------------------


def inside(height, width, k):
    """[k*k, H, W], 1 where the tap lies in the image."""
    ones = F.unfold(torch.ones(1, 1, height, width), k, padding=k // 2)
    return ones.view(k * k, height, width)


def by_mask(kernels):
    height, width = kernels.shape[2:]
    return (kernels * inside(height, width, math.isqrt(kernels.shape[1]))).sum(1)


def by_comparing(kernels):
    heads, taps, height, width = kernels.shape
    k, total = math.isqrt(taps), 0
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    for q in range(taps):
        y, x = rows + q // k - k // 2, columns + q % k - k // 2
        total = total + kernels[:, q] * ((y >= 0) & (y < height) & (x >= 0) & (x < width))
    return total


def one_minus_outside(kernels):
    height, width = kernels.shape[2:]
    return 1 - (kernels * (1 - inside(height, width, math.isqrt(kernels.shape[1])))).sum(1)


def mass(change_kernels=lambda w: w, change_inside=lambda m: m):
    def answer(kernels):
        height, width = kernels.shape[2:]
        taps = inside(height, width, math.isqrt(kernels.shape[1]))
        return (change_kernels(kernels) * change_inside(taps)).sum(1)

    return answer


def bounds(low, high):
    """Inside is low <= y < H + high."""

    def answer(kernels):
        heads, taps, height, width = kernels.shape
        k, total = math.isqrt(taps), torch.zeros(heads, height, width)
        for q in range(taps):
            for i in range(height):
                for j in range(width):
                    y, x = i + q // k - k // 2, j + q % k - k // 2
                    if low <= y < height + high and low <= x < width + high:
                        total[:, i, j] = total[:, i, j] + kernels[:, q, i, j]
        return total

    return answer


def by_columns(kernels):
    k = math.isqrt(kernels.shape[1])
    return by_mask(kernels.unflatten(1, (k, k)).transpose(1, 2).flatten(1, 2))


def seven_built_in(kernels):
    height, width = kernels.shape[2:]
    return (kernels * inside(height, width, 7)[: kernels.shape[1]]).sum(1)


def mass_in_place(kernels):
    height, width = kernels.shape[2:]
    kernels *= inside(height, width, math.isqrt(kernels.shape[1]))
    return kernels.sum(1)


# --- exercise 5: judgement() -----------------------------------------------------------------------------------------


def judge(letters):
    return lambda: letters


WRONG_OPERATORS = [
    ("heads interleaved", interleaved, "heads are interleaved"),
    ("repeat in place of repeat_interleave", repeated, "heads are interleaved"),
    ("taps column by column", column_major, "column by column"),
    ("kernel flipped", lambda x, w: by_einsum(x, w.flip(2)), "kernel is flipped"),
    ("heads in reverse order", lambda x, w: by_einsum(x, w.flip(1)), "reverse order"),
    ("only head 0", lambda x, w: by_einsum(x, w[:, :1].expand_as(w)), "head 0 filters all"),
    ("heads averaged", lambda x, w: by_einsum(x, w.mean(1, keepdim=True).expand_as(w)), "heads are averaged"),
    ("softmax again", lambda x, w: by_einsum(x, w.softmax(2)), "took a softmax"),
    ("normalised by the sum", lambda x, w: by_einsum(x, w / w.sum(2, keepdim=True)), "divided by their sum"),
    ("mean for sum", lambda x, w: (gather(x, w) * w[:, :, None]).mean(3).flatten(1, 2), "mean over the taps"),
    ("padding missing", without_padding, "padding is missing"),
    (
        "padded at the far end only",
        lambda x, w: shifted(x, w, pad=lambda k: (0, k - 1, 0, k - 1)),
        "padding is shifted",
    ),
    (
        "padded at the near end only",
        lambda x, w: shifted(x, w, pad=lambda k: (k - 1, 0, k - 1, 0)),
        "padding is shifted",
    ),
    (
        "columns padded at the far end",
        lambda x, w: shifted(x, w, pad=lambda k: (0, k - 1, k // 2, k // 2)),
        "is shifted",
    ),
    ("logits taken for granted", lambda x, w: by_einsum(x, w.exp()), "exp of the kernels"),
    ("largest for sum", lambda x, w: (gather(x, w) * w[:, :, None]).amax(3).flatten(1, 2), "largest product"),
    ("subtracted", lambda x, w: -by_einsum(x, w), "sign is wrong"),
    ("summed over the wrong dimension", lambda x, w: (gather(x, w) * w[:, :, None]).sum(2), "channels of a head"),
    ("padding of 1 for every k", padding_one, "right for k=3, wrong for k=5"),
    ("border repeated", lambda x, w: shifted(x, w, mode="replicate"), "not copies of the border"),
    ("padded with ones", lambda x, w: shifted(x, w, value=1.0), "wrong near the border"),
    ("image goes round", lambda x, w: shifted(x, w, mode="circular"), "image goes round"),
    ("kernel of the neighbour", kernel_of_the_neighbour, "taken from the neighbour"),
    ("one kernel for all pixels", first_pixel_kernels, "one kernel filters all pixels"),
    ("mean kernel for all pixels", mean_kernel, "one kernel filters all pixels"),
    ("kernels of the first image", first_image_kernels, "first image filter all"),
    ("last tap forgotten", last_tap_missing, "last tap is missing"),
    ("pixel added", lambda x, w: by_einsum(x, w) + x, "pixel itself is added"),
    ("channels added, shape kept", all_channels_added, "channels are added up"),
    ("channels added", summed_over_channels, "added up the channels"),
    ("channels of a head added", summed_over_a_head, "channels of a head"),
    ("heads not merged", not_merged, "merge heads"),
    ("k=3 built in", k_is_three, "wrong for k=5"),
    ("cut off from autograd", lambda x, w: by_shifts(x.detach(), w.detach()), "no gradient flows through"),
    ("kernels cut off", half_detached, "gradient of the kernels is not"),
    ("input changed in place", scaled_in_place, "changes the kernels"),
    ("the library called", through_the_library, "library's own version"),
    ("the library's reference called", through_the_reference, "library's own version"),
    ("the library called by another name", through_another_name, "library's operator"),
    ("unfold viewed as heads, taps, channels", taps_before_channels, "order heads, C / heads, k\\*k"),
]

EXERCISES = {
    "exercise_1": Exercise(
        right=[by_divmod, by_numpy, by_list],
        wrong=[
            ("rows and columns exchanged", lambda q, k: (q % k - k // 2, q // k - k // 2), "are exchanged"),
            ("from the corner", lambda q, k: (q // k, q % k), "counted from the centre"),
            ("sign wrong", lambda q, k: (k // 2 - q // k, k // 2 - q % k), "sign is wrong"),
            ("3 built in", lambda q, k: (q // 3 - 1, q % 3 - 1), "3 is built in"),
            ("7 built in", lambda q, k: (q // 7 - 3, q % 7 - 3), "7 is built in"),
            ("window always 1 wide", lambda q, k: (q // k - 1, q % k - 1), "not 1"),
            ("k for k // 2", lambda q, k: (q // k - k, q % k - k), "centre is k // 2"),
            ("taps from 1", lambda q, k: ((q - 1) // k - k // 2, (q - 1) % k - k // 2), "numbered from 0"),
            ("dy points up", lambda q, k: (k // 2 - q // k, q % k - k // 2), "dy points down"),
            ("dx points left", lambda q, k: (q // k - k // 2, k // 2 - q % k), "dx points right"),
            ("row not centred", lambda q, k: (q // k, q % k - k // 2), "only dx is counted"),
            ("column not centred", lambda q, k: (q // k - k // 2, q % k), "only dy is counted"),
            ("true division", with_true_division, "whole numbers"),
            ("one number", lambda q, k: q - k * k // 2, "return two numbers"),
            ("tensors", offsets_in_tensors, "return ints, .*item"),
            ("one tensor", lambda q, k: torch.tensor([q // k - k // 2, q % k - k // 2]), "return ints, .*item"),
            ("printed, not returned", lambda q, k: print(end=""), "returns nothing"),
        ],
    ),
    "exercise_2": Exercise(
        right=[by_einsum, by_head, by_repeat, by_shifts],
        wrong=[
            *WRONG_OPERATORS,
            ("heads inside", heads_inside, "heads outside"),
            ("unfold without padding", unfolded(padding=lambda k: 0), "stops with RuntimeError.* padding=k // 2"),
            ("padding=k", unfolded(padding=lambda k: k), "stops with RuntimeError.* padding=k // 2"),
            ("k=7 built in", unfolded(k=7, padding=lambda k: 3), "stops with RuntimeError.* k from kernels.shape"),
            ("1 before heads", unfolded(weights=lambda w: w[:, None]), "stops with RuntimeError.* belongs after heads"),
            ("no dimension of 1", unfolded(weights=lambda w: w), "stops with RuntimeError.* belongs after heads"),
            ("no sum", nothing_summed, "nothing is added up"),
            ("unfold viewed as taps, channels", taps_outside, "channels are mixed"),
            ("H * W viewed as W, H", width_first, "height and width are exchanged"),
            ("two heads built in", two_heads, "stops with RuntimeError|is a number built in"),
            ("kernels copied", copied, "no gradient flows to the kernels"),
            ("left torch", in_numpy, "with requires_grad the function stops"),
        ],
    ),
    "exercise_3": Exercise(
        right=[by_mask, by_comparing, one_minus_outside, bounds(0, 0)],
        wrong=[
            ("mass outside", lambda w: 1 - by_mask(w), "mass outside"),
            ("kernel flipped", mass(lambda w: w.flip(1)), "kernel is flipped"),
            ("taps column by column", by_columns, "column by column"),
            ("taps counted, share", lambda w: mass()(torch.full_like(w, 1 / w.shape[1])), "count taps"),
            ("taps counted", lambda w: mass()(torch.ones_like(w)), "count taps"),
            ("all taps", lambda w: w.sum(1), "inside or not"),
            ("mean for sum", lambda w: by_mask(w) / w.shape[1], "mean over the taps"),
            ("softmax again", lambda w: by_mask(w.softmax(1)), "took a softmax"),
            ("row -1 and row H are inside", bounds(-1, 1), "off by one"),
            ("row 0 and row H - 1 are outside", bounds(1, -1), "off by one"),
            ("row 0 is outside", bounds(1, 0), "off by one"),
            ("row H is inside", bounds(0, 1), "off by one"),
            ("heads averaged", lambda w: by_mask(w).mean(0), "one number for each head"),
            ("heads averaged, shape kept", lambda w: by_mask(w).mean(0).expand(len(w), -1, -1), "heads are averaged"),
            ("one head of the image of ones", lambda w: by_mask(w)[:1], "one number for each head"),
            ("batch dimension kept", lambda w: by_mask(w)[None], "drop the batch"),
            ("summed dimension kept", lambda w: by_mask(w)[:, None], "keepdim"),
            ("no sum", lambda w: w * inside(*w.shape[2:], math.isqrt(w.shape[1])), "add up over the taps"),
            ("7 built in", seven_built_in, "stops with RuntimeError|is a size built in"),
            (
                "replicate padding",
                lambda w: dynamic_conv2d(torch.ones(1, len(w), *w.shape[2:]), w[None], "replicate")[0],
                "inside or not",
            ),
            ("the library called", lambda w: kernel_in_bounds(w[None])[0], "library's own version"),
            ("input changed in place", mass_in_place, "changes the kernels"),
            ("cut off from autograd", lambda w: by_mask(w.detach()), "no gradient"),
            ("left torch", lambda w: by_mask(w).numpy(), "return a tensor"),
        ],
    ),
    "exercise_4": Exercise(
        right=[by_shifts, by_addcmul, by_channel, in_slices],
        wrong=[
            *WRONG_OPERATORS,
            ("offsets from the centre", offsets_from_the_centre, "start at 0: do not subtract k // 2"),
            (
                "weights without a dimension of 1",
                lambda x, w: shifted(x, w, lambda w, q: w[:, :, q]),
                "stops with RuntimeError.* belongs after heads",
            ),
            ("gathered after all", by_einsum, "C\\*k\\*k\\*H\\*W"),
            ("kernels repeated for every channel", by_repeat, "C\\*k\\*k\\*H\\*W"),
            ("products stacked", stacked, "one tap at a time"),
            ("weights copied at each tap", with_copies_of_the_weights, "repeat_interleave"),
            ("image padded at each tap", padded_inside_the_loop, "F.pad in the loop"),
            ("a copy for each pixel", by_pixel, "autograd keeps"),
            ("image rolled", rolled, "image goes round"),
            ("sum overwritten", only_the_last, "only the last tap"),
            ("every second tap", lambda x, w: shifted(x, w, step=2), "values are off"),
        ],
    ),
    "exercise_5": Exercise(
        right=[judge({"A", "C", "F", "G"}), judge("GFCA"), judge(["A", "C", "F", "G"])],
        wrong=[
            ("place matters for an average", judge("CFG"), "missing: the average"),
            ("weights for each pixel", judge("ABCFG"), "B is false: .* learnt 1 x 1"),
            ("depthwise is something else", judge("AFG"), "missing: one kernel for all pixels"),
            ("an average can overshoot", judge("ACDFG"), "D is false: an average never"),
            ("many kernels are enough", judge("ACEFG"), "E is false: .* one Gaussian"),
            ("averages only flatten", judge("ACG"), "missing: each side"),
            ("sum 1 keeps a constant", judge("ACF"), "missing: an average of equal"),
            ("kernels cost nothing", judge("ACFGH"), "H is false: .* kernels themselves"),
            ("all", judge("ABCDEFGH"), "B is false"),
            ("none", judge(set()), "a true statement is missing"),
            ("letters that do not exist", judge({"A", "Z"}), "letters A to H"),
            ("true or false for each", judge({"A": True}), "letters A to H"),
        ],
    ),
}
