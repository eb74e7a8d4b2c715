"""Checks of notebook 02. Each is given the learner's own function and raises `CheckFailed`, or prints one line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .errors import CheckFailed, call, choose, own_lines, passed

# --- exercise 1 ------------------------------------------------------------------------------------------------------


def exercise_1(block_means: Callable[[Tensor, int], Tensor]) -> None:
    """Every pixel gets the mean of its block. Compared with a loop in NumPy over pixels, and with the derivative.

    Args:
        block_means: (x [B, C, H, W], pool_size) -> [B, C, H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(block_means, "pool_context")
    cases = [(8, 8, 4, "whole blocks"), (7, 13, 3, "blocks cut off"), (11, 4, 3, "blocks cut off"),
             (5, 6, 8, "a block larger than the image"), (4, 6, 2, "whole blocks"),
             (3, 5, 1, "pool_size 1: every pixel is a block of its own")]  # fmt: skip
    for h, w, p, kind in cases:
        x = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(h * w))
        told = f"for x of shape {(2, 3, h, w)}, pool_size={p}: {kind}"
        before = x.clone()
        answer = call(block_means, x, p, told=told)
        if not isinstance(answer, Tensor):
            raise CheckFailed(f"return a tensor, got {type(answer).__name__}: stay in torch.")
        if not torch.equal(x, before):
            raise CheckFailed("your function changes the x that it is given: write the means into a new tensor.")
        wanted = _means(before, p)
        if answer.shape != x.shape:
            raise CheckFailed(f"{told}: {_wrong_shape(answer, x, p)}")
        if not torch.allclose(answer.detach().to(wanted.dtype), wanted, atol=1e-5):
            raise CheckFailed(f"{told}: {_why_not_means(answer.detach().to(x.dtype), before, wanted, p)}")
    x = torch.randn(1, 2, 5, 7, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weight = torch.randn(1, 2, 5, 7, generator=torch.Generator().manual_seed(2))
    answer = call(block_means, x, 3, told="for an x that needs a gradient")
    if not isinstance(answer, Tensor) or not answer.requires_grad:
        raise CheckFailed("no gradient flows through your function: leave out .detach(), .numpy() and no_grad.")
    (gradient,) = torch.autograd.grad((answer * weight).sum(), x)
    # Every pixel of a block gives 1/size to every pixel of it, so the derivative is the block mean again.
    if not torch.allclose(gradient, _means(weight, 3), atol=1e-5):
        raise CheckFailed("the values are right, the gradient is not: is a part cut off (.detach())?")
    passed("Whole blocks, blocks cut off at the right and bottom border, one block for all, and the gradient.")


def _means(x: Tensor, p: int, q: int | None = None) -> Tensor:
    """The definition, pixel by pixel: the mean of all pixels with the same block number. p rows, q (or p) columns."""
    values = x.double().numpy()
    rows, columns = np.arange(values.shape[2]) // p, np.arange(values.shape[3]) // (q or p)
    out = np.empty_like(values)
    for i, j in np.ndindex(values.shape[2:]):
        out[:, :, i, j] = values[:, :, rows == rows[i]][..., columns == columns[j]].mean((2, 3))
    return torch.from_numpy(out).to(x.dtype)


def _wrong_shape(answer: Tensor, x: Tensor, p: int) -> str:
    (b, c, h, w), shape = x.shape, tuple(answer.shape)
    if shape in ((b, c, -(-h // p), -(-w // p)), (b, c, h // p, w // p)):
        return (
            f"the answer has one value for each block, {shape}; every *pixel* gets its block's mean, {tuple(x.shape)}."
        )
    if shape == (b, c, h // p * p, w // p * p) or (len(shape) == 4 and shape[2] < h):
        return f"the blocks cut off at the right and bottom border are missing: {shape} for {tuple(x.shape)}."
    if len(shape) == 4 and shape[2] >= h and shape[3] >= w and (shape[2] > h or shape[3] > w):
        return f"the answer is larger than x, {shape} for {tuple(x.shape)}: cut it back to the size of x."
    if shape in ((h, w), (b, h, w), (b, 1, h, w)):
        return f"you averaged over channels or images too, {shape}: each channel of each image keeps its own means."
    return f"the answer must have the shape of x, {tuple(x.shape)}, got {shape}."


def _why_not_means(answer: Tensor, x: Tensor, wanted: Tensor, p: int) -> str:
    """Name the mistake behind wrong values of the right shape."""
    from torch.nn import functional as F

    h, w = x.shape[-2:]
    rows, columns = torch.arange(h), torch.arange(w)

    def is_(values: Tensor) -> bool:
        return values.shape == answer.shape and torch.allclose(answer, values, atol=1e-5)

    full = F.pad(x, (0, -w % p, 0, -h % p))
    if (h % p or w % p) and is_(_means(full, p)[..., :h, :w]):
        return "a block that is cut off must be divided by the pixels it has; yours counts zeros beyond the border."
    if (h % p or w % p) and is_(_means(F.pad(x, (0, -w % p, 0, -h % p), mode="replicate"), p)[..., :h, :w]):
        return "a block that is cut off averages only its own pixels; yours repeats the last row or column first."
    if is_(_means(x.flip(-1, -2), p).flip(-1, -2)):
        return "blocks start at the upper left corner; yours start at the lower right one."
    if (
        h // p
        and w // p
        and is_(F.adaptive_avg_pool2d(x, (h // p, w // p))[..., _near(h, h // p), :][..., _near(w, w // p)])
    ):
        return "adaptive pooling makes blocks of unequal size; here each has pool_size rows and columns."
    means = F.avg_pool2d(x, (min(p, h), min(p, w)), ceil_mode=True)
    if is_(means[..., _near(h, means.shape[-2]), :][..., _near(w, means.shape[-1])]):
        return "interpolating to the size of x stretches the blocks if the size is no multiple of pool_size: repeat "\
               "each mean pool_size times, then cut."  # fmt: skip
    if is_(F.interpolate(means, size=(h, w), mode="bilinear")):
        return "bilinear interpolation smooths between blocks; all pixels of a block get one and the same value."
    if is_(means.repeat(1, 1, p, p)[..., :h, :w]):
        return "`repeat` (or np.tile) puts copies of the small map side by side; each single value must be repeated "\
               "(repeat_interleave)."  # fmt: skip
    blocks = [(rows // p == i)[:, None] & (columns // p == j) for i in range(-(-h // p)) for j in range(-(-w // p))]
    if is_(
        sum(torch.where(block, x.masked_fill(~block, -torch.inf).amax((-2, -1), keepdim=True), 0) for block in blocks)
    ):
        return "you took the largest value of each block (max pooling); the context is the mean."
    if is_(_window_means(x, p)):
        return "each pixel has an average around itself (a sliding window); all pixels of a block share one mean."
    if is_(wanted.mean(1, keepdim=True).expand_as(x)):
        return "you averaged over the channels too: each channel keeps its own means."
    if is_(wanted.mean(0, keepdim=True).expand_as(x)):
        return "you averaged over the images too: each image of the batch keeps its own means."
    if is_(wanted.mean((0, 1), keepdim=True).expand_as(x)):
        return "you averaged over images and channels too: take block.mean((-2, -1), keepdim=True)."
    if is_(x.mean((-2, -1), keepdim=True).expand_as(x)):
        return 'that is the mean of the whole image (kernel_source="global"), not of each block.'
    if any(is_(_means(x, other)) for other in (2, 3, 4, 8, 16) if other != p):
        return "a fixed block size is built in: use pool_size."
    if is_(x):
        return "that is x itself: nothing was averaged."
    if is_(wanted * (p * p)):
        return "those are sums: divide by the number of pixels in the block."
    if is_(_means(x, p, 1)) or is_(_means(x, 1, p)):
        return "you averaged along one direction alone: a block has pool_size rows and pool_size columns."
    if is_(x[..., rows // p * p, :][..., columns // p * p]):
        return "you took the first pixel of each block; the context is the mean of all its pixels."
    if exchanged := _exchanged(answer, wanted, p):
        return exchanged
    zero = (answer == 0).all(0).all(0)
    whole = (rows < h // p * p)[:, None] & (columns < w // p * p)
    if torch.equal(zero, ~whole) and torch.allclose(answer[..., whole], wanted[..., whole], atol=1e-5):
        return "blocks cut off at the right and bottom are missing, they are 0: the loops must run to the very end."
    if any(zero[block].all() for block in blocks):
        return (
            "some blocks were never written, they are 0: the loops must run over the height and the width of x, its "
            "last two dimensions, to the very end."
        )
    inside = torch.zeros(h, w, dtype=torch.bool)
    inside[: h // p * p, : w // p * p] = True
    if torch.allclose(answer[..., inside], wanted[..., inside], atol=1e-5):
        return "whole blocks are right, those cut off at the right and bottom are not: average what is left of them."
    parts = [answer[..., block] for block in blocks]
    constant = all((part.amax(-1) - part.amin(-1)).max() < 1e-5 for part in parts)
    if not constant:
        return "inside a block your values differ; all its pixels get one and the same mean (do the blocks overlap?)."
    return "each block has one value, but not the mean of its own pixels: look which pixels you average."


def _exchanged(answer: Tensor, wanted: Tensor, p: int) -> str:
    """Right as far as a loop of the other side's length goes, wrong beyond: "" or the mistake."""
    h, w = answer.shape[-2:]
    right = torch.isclose(answer, wanted, atol=1e-5).all(0).all(0)
    rows, columns = -(-w // p) * p, -(-h // p) * p  # where such loops end
    for end, size, part, rest, told in (
        (columns, w, right[:, :columns], right[:, columns:], "columns must run over W"),
        (rows, h, right[:rows], right[rows:], "rows must run over H"),
    ):
        if end < size and part.all() and rest.float().mean() < 0.5:  # a block of one pixel is always right
            return f"beyond the first {end} of {size} the pixels are wrong: the loop over {told}."
    return ""


def _near(size: int, cells: int) -> Tensor:
    """For each pixel, the cell that nearest-neighbour interpolation takes."""
    return (torch.arange(size) * cells) // size


def _window_means(x: Tensor, p: int) -> Tensor:
    """Mean over a window of p x p pixels around each pixel; zeros outside count, as in avg_pool2d."""
    from torch.nn import functional as F

    h, w = x.shape[-2:]
    return F.avg_pool2d(x, p, stride=1, padding=p // 2)[..., :h, :w]


# --- exercise 2 ------------------------------------------------------------------------------------------------------


def exercise_2(average_gain: Callable[[int, np.ndarray], np.ndarray]) -> None:
    """Gain of an average over n pixels. Compared with the sum of complex exponentials that it stands for.

    Args:
        average_gain: (n, f) -> gain, f: float or array of any shape, cycles per pixel, -1/2..1/2.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    with np.errstate(all="ignore"):  # 0 / 0 is part of the exercise: no warnings beside the one line
        _gain(average_gain)
    passed("1 at f = 0, 0 wherever a whole number of waves fits, and the right bumps between; also for arrays.")


def _gain(function: Callable[[int, np.ndarray], np.ndarray]) -> None:
    own_lines(function, "gain_of_average")
    f = np.linspace(-0.5, 0.5, 42)  # 0 is not one of them: a case of its own
    before = f.copy()
    told = "f is an array of 42 frequencies here: each entry by itself; np.where or np.divide(..., where=...) choose"
    answer = call(function, 8, f, told=told)
    if not np.array_equal(f, before):
        raise CheckFailed("your function changes the f that it is given: work on a new array.")
    if isinstance(answer, Tensor):
        answer = answer.detach().numpy()
    answer = np.asarray(answer)
    if answer.dtype.kind not in "fiu":
        raise CheckFailed(f"the gain must be real numbers, got {answer.dtype}: take the absolute value of the sum.")
    if answer.shape != f.shape:
        raise CheckFailed(f"for f of shape {f.shape} the gain must have the same shape, got {answer.shape}.")
    _compare_gain(answer, 8, f, told="n=8")
    for n in (1, 2, 5, 16):
        _compare_gain(np.asarray(call(function, n, f, told=f"n={n}"), float), n, f, told=f"n={n}")
    zero = np.array([0.0, 0.25, 0.0, -0.125])
    at_zero = np.asarray(call(function, 8, zero, told="f = 0 is among the frequencies"), float)
    for value in (at_zero[0], float(np.asarray(call(function, 8, 0.0, told="f is the single number 0 here")))):
        if np.isnan(value):
            raise CheckFailed(
                "at f = 0 your gain is NaN: the formula is 0/0 there; its limit is 1, a constant row stays."
            )
        if not np.isclose(value, 1, atol=1e-6):
            raise CheckFailed(
                f"at f = 0 your gain is {value:.3g}, it must be 1: the mean of a constant is that constant."
            )
    if not np.allclose(at_zero, [1, 0, 1, 0], atol=1e-6):
        raise CheckFailed("beside an f = 0 the other entries change: treat each entry of f by itself.")
    tiny = float(np.asarray(call(function, 4, 1e-9, told="f = 1e-9")))
    if not np.isclose(tiny, 1, atol=1e-6):
        raise CheckFailed(f"at f = 1e-9 the gain is 1 (nearly), yours is {tiny:.3g}: only f = 0 itself is 0/0.")
    single = np.asarray(call(function, 3, 0.5, told="f is a single number here"))
    if single.shape != () or not np.isclose(single, 1 / 3, atol=1e-6):
        raise CheckFailed(f"n=3, f=0.5 must give one number, 1/3 (one pixel of three is left over), yours: {single}.")
    grid = np.asarray(call(function, 4, f.reshape(6, 7), told="f of shape (6, 7)"))
    if grid.shape != (6, 7):
        raise CheckFailed(f"for f of shape (6, 7) the gain must have the same shape, got {grid.shape}.")


def _true_gain(n: int, f: np.ndarray) -> np.ndarray:
    return np.abs(np.exp(2j * np.pi * np.multiply.outer(f, np.arange(n))).mean(-1))


def _compare_gain(answer: np.ndarray, n: int, f: np.ndarray, told: str) -> None:
    wanted = _true_gain(n, f)
    if answer.shape == wanted.shape and np.allclose(answer, wanted, atol=1e-6):
        return
    signed = np.sin(np.pi * n * f) / (n * np.sin(np.pi * f))
    mistakes = [
        (signed, "the bars |...| are missing: a gain is the size of what is left, it is never negative"),
        (n * wanted, "the factor n is missing below: that is the gain of a sum, not of an average"),
        (n * signed, "the factor n is missing below, and the bars |...|"),
        (wanted**2, "that is the squared gain (power): the gain of the amplitude has no square"),
        (np.abs(np.sin(n * f) / (n * np.sin(f))), "pi is missing: f counts cycles, and np.sin takes radians"),
        (np.abs(np.sin(2 * np.pi * n * f) / (n * np.sin(2 * np.pi * f))), "pi f, not 2 pi f, stands in the formula"),
        (np.abs(np.sinc(n * f)), "np.sinc(n f) divides by n pi f; n sin(pi f) stands below, as pixels are counted, "
                                 "not a continuous length"),
        (np.ones_like(f), "1 everywhere: does n stand inside the lower sine? It is n * sin(pi f)"),
        (np.abs(np.cos(2 * np.pi * np.multiply.outer(f, np.arange(n))).mean(-1)),
         "that is the real part of the sum alone: the gain is the absolute value of the complex number"),
        (_true_gain(n, f / 2), "half the frequency: one cycle is 2 pi in the sum, and pi f in the quotient of sines"),
        (np.abs(np.sin(n * f / 2) / (n * np.sin(f / 2))), "f counts cycles per pixel, not radians: 2 pi is missing"),
        (np.abs(np.sin(np.pi * n * f) / (n * np.sin(f))), "pi is missing in the lower sine"),
        (np.abs(np.sin(n * f) / (n * np.sin(np.pi * f))), "pi is missing in the upper sine"),
        (np.abs(np.exp(2j * np.pi * np.multiply.outer(f, np.arange(n + 1))).sum(-1)) / n,
         "n + 1 pixels are added up and divided by n"),
        (np.abs(np.exp(2j * np.pi * np.multiply.outer(f, np.arange(1, n))).sum(-1)) / n,
         "n - 1 pixels are added up and divided by n"),
        (np.abs(np.sin(np.pi * f) / (n * np.sin(np.pi * f))), "n is missing in the upper sine: sin(pi f n)"),
        (np.abs(np.sin(180 * n * f) / (n * np.sin(180 * f))), "np.sin takes radians, not degrees"),
        (np.abs(np.cos(np.pi * n * f) / (n * np.cos(np.pi * f))), "a cosine stands where the sine belongs"),
        (np.abs(n * np.sin(np.pi * f) / np.sin(np.pi * n * f)), "the fraction is upside down"),
    ]  # fmt: skip
    mistakes += [(_true_gain(m, f), f"those are the gains of {m} pixels") for m in (8, n - 1, n + 1) if m not in (n, 0)]
    for wrong, mistake in mistakes:
        if np.allclose(answer, wrong, atol=1e-6, equal_nan=True):
            built_in = " (is 8 built in?)" if "gains of 8 " in mistake else ""
            raise CheckFailed(f"{told}: {mistake}{built_in}.")
    positive = f > 0
    if np.allclose(answer[positive], wanted[positive], atol=1e-6):
        raise CheckFailed(
            f"{told}: right for f > 0, wrong for f < 0: a wave of frequency -f is left as much as one of f."
        )
    if (answer < -1e-9).any():
        raise CheckFailed(f"{told}: a gain is the size of what is left, it is never negative: take np.abs.")
    off = np.nanmax(np.abs(answer - wanted)) if np.isfinite(answer).any() else np.nan
    raise CheckFailed(f"{told}: your gains are off by up to {off:.2g} from |sin(pi f n) / (n sin(pi f))|.")


# --- exercise 3 ------------------------------------------------------------------------------------------------------


def exercise_3(share_inside: Callable[[np.ndarray, int], float]) -> None:
    """Share of a map's variation that lies inside its blocks. Compared with 1 - (variance of the means) / variance.

    Args:
        share_inside: (values [H, W], pool_size) -> float, 0..1.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(share_inside, "within_block_variation", "variation_inside")
    with np.errstate(all="ignore"):
        _shares(share_inside)
    passed("0 for maps of blocks and for constant maps, 1 where all blocks have one mean, and all shares between.")


def _shares(function: Callable[[np.ndarray, int], float]) -> None:
    rng = np.random.default_rng(0)
    blocky = np.kron(rng.normal(size=(3, 4)), np.ones((4, 4)))
    if not np.isclose(_share(function, blocky, 4, "a map of 3 x 4 blocks, each of one value"), 0, atol=1e-9):
        value = _share(function, blocky, 4, "")
        if np.isclose(value, 1, atol=1e-9):
            raise CheckFailed("a map whose blocks have one value each must give 0, yours gives 1: that is the share "
                              "*between* the blocks.")  # fmt: skip
        raise CheckFailed(f"a map whose blocks have one value each must give 0, yours gives {value:.3g}: compare "
                          "each pixel with the mean of its own block (does a reshape mix up the blocks?).")  # fmt: skip
    for h, w, p in ((8, 12, 4), (9, 15, 3), (7, 10, 4), (13, 5, 8), (6, 6, 1)):
        values = rng.normal(size=(h, w)).cumsum(0).cumsum(1) * 3 + 20
        before = values.copy()
        value = _share(function, values, p, f"a map of {h} x {w}, pool_size={p}")
        if not np.array_equal(values, before):
            raise CheckFailed("your function changes the map that it is given: work on a copy.")
        wanted = _true_share(values, p)
        if not np.isclose(value, wanted, atol=1e-6):
            raise CheckFailed(f"for a map of {h} x {w} and pool_size={p} the share is {wanted:.4f}, yours is "
                              f"{value:.4f}{_why_not_share(value, values, p)}.")  # fmt: skip
    mirrored = np.tile(np.array([[1.0, 2.0], [4.0, 3.0]]), (3, 5))  # every block holds the same four numbers
    value = _share(function, mirrored, 2, "blocks that all hold 1, 2, 3, 4")
    if not np.isclose(value, 1, atol=1e-9):
        raise CheckFailed(f"where all blocks have the same mean everything lies inside: 1, yours gives {value:.3g}.")
    for constant in (np.full((6, 8), 2.0), np.full((7, 9), 0.1)):
        value = _share(function, constant, 3, "a constant map")
        if np.isnan(value):
            raise CheckFailed("a constant map has no variation: 0/0 gives NaN, return 0 there.")
        if abs(value) > 1e-9:
            raise CheckFailed(f"a constant map must give 0, yours gives {value:.3g}: rounding leaves a variance of "
                              "about 1e-33, so treat everything under 1e-12 as none.")  # fmt: skip


def _share(function: Callable[[np.ndarray, int], float], values: np.ndarray, p: int, told: str) -> float:
    answer = call(function, values, p, told=told)
    if np.ndim(answer) != 0:
        raise CheckFailed(f"return one number, got an array of shape {np.shape(answer)}: add up over all pixels.")
    try:
        return float(answer)
    except (TypeError, ValueError):
        raise CheckFailed(f"return one number, got {type(answer).__name__}.") from None


def _block_of(shape: tuple[int, int], p: int) -> np.ndarray:
    """Number of the block that each pixel lies in."""
    rows, columns = np.indices(shape) // p
    return rows * (shape[1] // p + 1) + columns


def _parts(values: np.ndarray, p: int) -> list[np.ndarray]:
    """The pixels of each block."""
    block = _block_of(values.shape, p)
    return [values[block == i] for i in np.unique(block)]


def _true_share(values: np.ndarray, p: int) -> float:
    """From the other side: all variation less that of the block means, counted by pixels."""
    means = np.concatenate([np.full(part.size, part.mean()) for part in _parts(values, p)])
    return float(1 - means.var() / values.var())


def _why_not_share(value: float, values: np.ndarray, p: int) -> str:
    """ ", which mistake it looks like", or nothing."""
    parts = _parts(values, p)
    total, n = values.var(), values.size
    means = np.concatenate([np.full(part.size, part.mean()) for part in parts])
    share = _true_share(values, p)
    h, w = (side // p * p for side in values.shape)
    guesses = {
        "that is the share between the blocks": 1 - share,
        "that is a ratio of standard deviations: variations add up only as squares": np.sqrt(share),
        "blocks that are cut off count as much as whole ones: add up over pixels, not over blocks":
            np.mean([part.var() for part in parts]) / total,
        "you divided by the part between the blocks: divide by all, inside and between": share / (1 - share),
        "that is in percent: give a share, 0 to 1": 100 * share,
        "the blocks' variances are added up as if each block had one pixel: weigh each by its pixels":
            sum(part.var() for part in parts) / total,
        "that is a mean of standard deviations: variations add up only as squares":
            np.mean([part.std() for part in parts]) / np.sqrt(total),
        "you compared with the median of a block, not with its mean":
            sum(((part - np.median(part)) ** 2).sum() for part in parts) / (n * total),
        "both variances divide by one pixel less (ddof=1): divide by the number of pixels":
            sum(part.size * part.var(ddof=1) for part in parts if part.size > 1) / (n * values.var(ddof=1)),
        "that is what lies inside, not its share: divide by the variation of the whole map": share * total,
        "you forgot to divide by the whole map's variation, and added up": share * total * n,
        "the mean of the map is not taken off: divide by the variation about the mean, not by the squares":
            share * total / np.mean(values**2),
        "you compared with the map's mean square, not with its variance": 1 - np.mean(means**2) / np.mean(values**2),
        "each block's variance divides by one pixel less (ddof=1)":
            sum(part.size * part.var(ddof=1) for part in parts if part.size > 1) / (n * total),
        "one variance divides by one pixel less (ddof=1, as torch.var does)": share * (n - 1) / n,
        "one variance divides by one pixel less (ddof=1)": share * n / (n - 1),
        "you took |differences|, not their squares": np.abs(values.ravel() - _spread(values, p).ravel()).sum()
            / np.abs(values - values.mean()).sum(),
    }  # fmt: skip
    if (h, w) != values.shape:
        if h and w:
            whole = values[:h, :w]
            guesses["the blocks cut off at the right and bottom border are left out"] = _true_share(whole, p)
        height, width = values.shape
        zeros = np.pad(values, ((0, -height % p), (0, -width % p)))
        guesses["zeros beyond the border are counted in: average what is left of a block"] = _true_share(zeros, p)
        edge = np.pad(values, ((0, -height % p), (0, -width % p)), mode="edge")
        guesses["repeated rows or columns beyond the border are counted in"] = _true_share(edge, p)
    for other in (2, 4, 8, 16):
        if other != p:
            guesses[f"{other} is built in: use pool_size"] = _true_share(values, other)
        missing = "the blocks cut off at the right and bottom are missing: the loops must run to the very end"
        guesses[missing] = _inside_up_to(values, p, h, w) / (n * total)
    shorter = min(values.shape)  # both loops over one side, or the sides exchanged: these end here
    if -(-shorter // p) < -(-max(values.shape) // p):
        told = "rows run over H, columns over W: one of your loops ends where the other side ends"
        guesses[told] = _inside_up_to(values, p, shorter, shorter) / (n * total)
    strips = np.concatenate([values[i : i + p].var(0) * len(values[i : i + p]) for i in range(0, values.shape[0], p)])
    guesses["you averaged over rows alone: blocks have columns too"] = strips.sum() / (n * total)
    for told, guess in guesses.items():
        if np.isfinite(guess) and np.isclose(value, guess, rtol=1e-5, atol=1e-8):
            return f": {told}"
    if np.isnan(value):
        return ": NaN comes from a block without pixels, or from 0/0"
    return ": (squares of pixel minus block mean, added up) / (squares of pixel minus map mean, added up)"


def _inside_up_to(values: np.ndarray, p: int, rows: int, columns: int) -> float:
    """The part inside the blocks, of those alone that begin before these rows and columns."""
    blocks = [values[i : i + p, j : j + p] for i in range(0, rows, p) for j in range(0, columns, p)]
    return float(sum(((block - block.mean()) ** 2).sum() for block in blocks))


def _spread(values: np.ndarray, p: int) -> np.ndarray:
    """The block mean at each pixel."""
    block = _block_of(values.shape, p)
    out = np.empty_like(values)
    for i in np.unique(block):
        out[block == i] = values[block == i].mean()
    return out


# --- exercise 4 ------------------------------------------------------------------------------------------------------


def exercise_4(border_pair: Callable[[int, int], tuple[np.ndarray, np.ndarray]]) -> None:
    """Two images with equal block means and borders at different places. Any pair that keeps the rules is accepted.

    Args:
        border_pair: (blocks, pool_size) -> a, b, each [blocks * pool_size, blocks * pool_size], 0..1.

    Raises:
        CheckFailed: naming the rule that is broken, and where.
    """
    for blocks, p in ((2, 8), (3, 3), (1, 2), (2, 5), (1, 16), (4, 2)):
        told = f"blocks={blocks}, pool_size={p}"
        answer = call(border_pair, blocks, p, told=told)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise CheckFailed(f"return two images, `return a, b`, got {type(answer).__name__}.")
        a, b = (_image(name, image, blocks * p, told) for name, image in zip("ab", answer, strict=True))
        _check_pair(a, b, p, told)
        _same_kernels(a, b, p, told)
    passed("Same block means, borders elsewhere; a real pooled block makes one and the same kernels for both.")


def _image(name: str, image: object, side: int, told: str) -> np.ndarray:
    if isinstance(image, Tensor):
        image = image.detach().numpy()
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "fiub":
        raise CheckFailed(f"{told}: {name} must be an array of numbers, got {type(image).__name__}.")
    if image.shape != (side, side):
        fixed = " Is a size built in?" if image.shape in ((8, 8), (16, 16)) else ""
        raise CheckFailed(
            f"{told}: {name} must have shape {(side, side)}, blocks * pool_size, got {image.shape}.{fixed}"
        )
    image = image.astype(np.float64)
    if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
        raise CheckFailed(f"{told}: the values of {name} must lie between 0 and 1.")
    return image


def _borders(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps of 1/2 or more between neighbours: below [H - 1, W] and to the right [H, W - 1]."""
    return np.abs(np.diff(image, axis=0)) >= 0.5 - 1e-9, np.abs(np.diff(image, axis=1)) >= 0.5 - 1e-9


def _inside(borders: tuple[np.ndarray, np.ndarray], p: int) -> tuple[np.ndarray, np.ndarray]:
    """Those between two pixels of one block."""
    down, right = (b.copy() for b in borders)
    down[p - 1 :: p], right[:, p - 1 :: p] = False, False
    return down, right


def _check_pair(a: np.ndarray, b: np.ndarray, p: int, told: str) -> None:
    if np.array_equal(a, b):
        raise CheckFailed(f"{told}: a and b are the same image.")
    n = len(a) // p
    means = [image.reshape(n, p, n, p).mean((1, 3)) for image in (a, b)]
    off = np.abs(means[0] - means[1])
    if off.max() > 1e-6:
        y, x = np.unravel_index(off.argmax(), off.shape)
        whole = " Only the means of the whole images agree." if abs(a.mean() - b.mean()) < 1e-6 else ""
        raise CheckFailed(f"{told}: in block row {y}, column {x} the means are {means[0][y, x]:.3f} and "
                          f"{means[1][y, x]:.3f}; they must be equal in *every* block.{whole}")  # fmt: skip
    inside = [_inside(_borders(image), p) for image in (a, b)]
    for name, image, (down, right) in zip("ab", (a, b), inside, strict=True):
        for y, x in np.ndindex(n, n):
            rows, columns = slice(y * p, y * p + p), slice(x * p, x * p + p)
            if down[y * p : y * p + p - 1, columns].any() or right[rows, x * p : x * p + p - 1].any():
                continue
            block = image[rows, columns]
            step = max(np.abs(np.diff(block, axis=0)).max(), np.abs(np.diff(block, axis=1)).max())
            if step > 1e-9:
                raise CheckFailed(f"{told}: in block row {y}, column {x} of {name} the largest step between neighbours "
                                  f"is {step:.2f}; a border needs 0.5 or more.")  # fmt: skip
            if any(found.any() for found in _borders(image)):
                raise CheckFailed(f"{told}: block row {y}, column {x} of {name} is constant: a border must lie "
                                  "*inside* every block; the block means see one between two blocks.")  # fmt: skip
            raise CheckFailed(f"{told}: block row {y}, column {x} of {name} has no border inside.")
    both = [(first & second).sum() for first, second in zip(*inside, strict=True)]
    if sum(both):
        raise CheckFailed(f"{told}: {sum(both)} pair(s) of neighbours have a border in a *and* in b: the borders must "
                          f"lie at different places{_why_same_place(a, b)}.")  # fmt: skip


def _why_same_place(a: np.ndarray, b: np.ndarray) -> str:
    if np.allclose(a + b, 1):
        return "; swapping 0 and 1 keeps every border where it is"
    if np.allclose(a[:, ::-1], b) or np.allclose(a[::-1], b):
        return "; mirroring leaves a border in the middle of a block where it is"
    return ""


def _same_kernels(a: np.ndarray, b: np.ndarray, p: int, told: str) -> None:
    """The point of the exercise, in a real block; follows from equal means, up to rounding."""
    from sgdc_viz.lens import record
    from sgdc_viz.nn import SGDC

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = SGDC(4, guidance_channels=1, heads=2, kernel_size=3, kernel_source="pooled", pool_size=p).eval()
    kernels = []
    for image in (a, b):
        x = torch.from_numpy(image).float()[None, None] * torch.tensor([1.0, -1.0, 2.0, 0.5])[None, :, None, None]
        with record(block, "kernels") as recording, torch.no_grad():
            block(x)
        kernels.append(recording["kernels"])
    if not torch.allclose(*kernels, atol=1e-4):
        raise CheckFailed(f"{told}: a pooled block makes different kernels for a and b; are the block means equal?")


# --- exercise 5 ------------------------------------------------------------------------------------------------------

THROUGH = {
    "A": "the value v is the layer norm of x at each pixel: the shared kernel filters it, and nobody averaged it",
    "C": "the static branch filters x times a gate with a 3 x 3 kernel; its gate is one for the block, x is not",
    "D": "y = x + ...: the features go past both branches untouched",
    "F": "the decoder joins encoder features of the same resolution, which no context has averaged",
}
BLOCKED = {
    "B": "the softmax works at each pixel on logits that are the same in the whole block: its output is the same too",
    "E": "all channels' gates are made from one and the same block mean: together they know the mean, not the place",
    "G": "the boundary map enters no block, and a block with pooled contexts reads no guidance either",
    "H": "giving every pixel its block's mean makes the map large again, not detailed: it repeats one value",
}


def exercise_5(judgement: Callable[[], dict]) -> None:
    """By which ways may a border inside a block reach the prediction, if all contexts are pooled?

    Args:
        judgement: () -> {"claim": "yes" or "no", "ways": set of letters A to H}.

    Raises:
        CheckFailed: naming the first letter too many or too few, and why.
    """
    answer = call(judgement)
    if not isinstance(answer, dict) or set(answer) != {"claim", "ways"}:
        raise CheckFailed('return {"claim": "yes" or "no", "ways": {...letters...}}, with these two names.')
    claim, ways = answer["claim"], answer["ways"]
    if claim not in ("yes", "no"):
        raise CheckFailed(f'"claim" is {claim!r}: answer "yes" or "no".')
    if claim == "yes":
        raise CheckFailed(
            '"claim": the kernel forgets the place, but the disc moved one pixel at a time and the predicted border '
            "followed it: a prediction is made from more than kernels."
        )
    choose(ways, THROUGH, BLOCKED, ("{letter} is no way through", "a way is missing"), "ways")
    passed("The value, the static branch, the residual path and the skips carry the border; kernels and gates do not.")
