"""Checks of notebook 01. Each is given the learner's own function and raises `CheckFailed`, or prints one line.

The operator (exercises 2 and 4) is compared with the formula in NumPy, one pixel after the other. A wrong result is
compared with the results of the mistakes that are usual (`MISTAKES`), so that the message can name the right one.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sgdc_viz.teach.lessons.operator import saved_numbers

from .errors import CheckFailed, call, choose, own_lines, passed

Operator = Callable[[Tensor, Tensor], Tensor]

# --- exercise 1: tap number -> offset --------------------------------------------------------------------------------

OFFSETS = {  # what those say who make this mistake
    "rows and columns are exchanged: taps are numbered row by row, so q // k counts rows":
        lambda q, k: (q % k - k // 2, q // k - k // 2),
    "offsets are counted from the centre: subtract k // 2 from row and column":
        lambda q, k: (q // k, q % k),
    "the sign is wrong: tap 0 is the upper left one, so its dy and dx are negative":
        lambda q, k: (k // 2 - q // k, k // 2 - q % k),
    "3 is built in: use k":
        lambda q, k: (q // 3 - 1, q % 3 - 1),
    "7 is built in: use k":
        lambda q, k: (q // 7 - 3, q % 7 - 3),
    "the window of a kernel reaches k // 2 to each side, so subtract k // 2, not 1":
        lambda q, k: (q // k - 1, q % k - 1),
    "the centre is k // 2, not k: each number is off by k - k // 2":
        lambda q, k: (q // k - k, q % k - k),
    "taps are numbered from 0: tap 0 is the upper left one":
        lambda q, k: ((q - 1) // k - k // 2, (q - 1) % k - k // 2),
    "the order is (dy, dx), and dy points down: rows are numbered from the top":
        lambda q, k: (k // 2 - q // k, q % k - k // 2),
    "dx points right: columns are numbered from the left":
        lambda q, k: (q // k - k // 2, k // 2 - q % k),
    "only dx is counted from the centre: subtract k // 2 from the row too":
        lambda q, k: (q // k, q % k - k // 2),
    "only dy is counted from the centre: subtract k // 2 from the column too":
        lambda q, k: (q // k - k // 2, q % k),
}  # fmt: skip


def exercise_1(offset: Callable[[int, int], tuple[int, int]]) -> None:
    """Offset (dy, dx) of tap q of a k x k kernel. Compared with the list of all taps, written row by row.

    Args:
        offset: (q, k) -> (dy, dx), ints.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    given, truth = {}, {}
    for k in (3, 7, 1, 5):
        reach = range(-(k // 2), k // 2 + 1)
        for q, right in enumerate((dy, dx) for dy in reach for dx in reach):
            told = f"q={q}, k={k}"
            answer = call(offset, q, k, told=told)
            if isinstance(answer, Tensor) or (isinstance(answer, tuple | list)
                                              and any(isinstance(v, Tensor) for v in answer)):  # fmt: skip
                raise CheckFailed(f"{told}: return ints, got a tensor: .item() makes an int of a tensor of one number.")
            if not isinstance(answer, tuple | list) or len(answer) != 2:
                raise CheckFailed(f"{told}: return two numbers, `return dy, dx`; got {answer!r}.")
            if not all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in answer):
                raise CheckFailed(f"{told}: dy and dx must be whole numbers, got {answer!r}: use // in place of /.")
            given[q, k], truth[q, k] = (int(answer[0]), int(answer[1])), right
    wrong = [case for case in given if given[case] != truth[case]]
    if wrong:
        (q, k) = wrong[0]
        why = "number the taps of a 3 x 3 kernel on paper, row by row, and count from the centre"
        for mistake, function in OFFSETS.items():
            if all(given[case] == function(*case) for case in given):
                why = mistake
                break
        raise CheckFailed(f"tap q={q} of k={k}: you say {given[q, k]}, it is {truth[q, k]}; {why}.")
    passed(f"All {len(given)} taps of kernels with k = 1, 3, 5 and 7, row by row, counted from the centre.")


# --- exercises 2 and 4: the operator ---------------------------------------------------------------------------------


def _windows(x: np.ndarray, k: int, padding: str = "constant", shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    """x [B, C, H, W] -> the neighbours of each pixel, [B, C, k*k, H, W], row by row. shift: of the padding (wrong)."""
    r, (down, right) = k // 2, shift
    height, width = x.shape[-2:]
    padded = np.pad(x, ((0, 0), (0, 0), (r - down, r + down), (r - right, r + right)), padding)
    taps = [padded[:, :, dy : dy + height, dx : dx + width] for dy in range(k) for dx in range(k)]
    return np.stack(taps, 2)


def _apply(windows: np.ndarray, kernels: np.ndarray, interleaved: bool = False) -> np.ndarray:
    channels, heads = windows.shape[1], kernels.shape[1]
    head = [c % heads if interleaved else c // (channels // heads) for c in range(channels)]
    return (windows * kernels[:, head]).sum(2)


def _square(kernels: np.ndarray) -> np.ndarray:
    k = math.isqrt(kernels.shape[2])
    return kernels.reshape(*kernels.shape[:2], k, k, *kernels.shape[3:])


def _transposed(kernels: np.ndarray) -> np.ndarray:
    return _square(kernels).swapaxes(2, 3).reshape(kernels.shape)


def _softmax(kernels: np.ndarray, axis: int = 2) -> np.ndarray:
    e = np.exp(kernels)
    return e / e.sum(axis, keepdims=True)


def _at_the_neighbour(kernels: np.ndarray) -> np.ndarray:
    """K[q, p + q] in the place of K[q, p]."""
    k = math.isqrt(kernels.shape[2])
    moved = [_windows(kernels[:, :, q], k)[:, :, q] for q in range(k * k)]
    return np.stack(moved, 2)


def _taps_before_channels(x: np.ndarray, k: int, heads: int = 1) -> np.ndarray:
    """unfold's [C*k*k] read as [heads, k*k, C / heads]: the usual wrong order of a view."""
    windows = _windows(x, k)
    batch, channels, taps, height, width = windows.shape
    swapped = windows.reshape(batch, heads, taps, channels // heads, height, width).swapaxes(2, 3)
    return swapped.reshape(windows.shape)


def _columns_first(x: np.ndarray, k: int) -> np.ndarray:
    """unfold's H*W read as [W, H] and swapped back."""
    windows = _windows(x, k)
    batch, channels, taps, height, width = windows.shape
    return windows.reshape(batch, channels, taps, width, height).swapaxes(3, 4)


MISTAKES: list[tuple[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]]] = [
    ("the kernel is flipped: tap q belongs to the neighbour p + q, not to p - q (torch does not flip)",
     lambda x, w, k: _apply(_windows(x, k), w[:, :, ::-1])),
    ("the taps are read column by column: they are numbered row by row",
     lambda x, w, k: _apply(_windows(x, k), _transposed(w))),
    ("the heads are interleaved: head h owns the h-th contiguous slice of C / heads channels",
     lambda x, w, k: _apply(_windows(x, k), w, interleaved=True)),
    ("head 0 filters all channels: each head filters its own slice of C / heads channels",
     lambda x, w, k: _apply(_windows(x, k), w[:, :1])),
    ("the heads are averaged: each head filters its own slice of C / heads channels",
     lambda x, w, k: _apply(_windows(x, k), w.mean(1, keepdims=True))),
    ("the heads stand in reverse order: head 0 owns the first channels",
     lambda x, w, k: _apply(_windows(x, k), w[:, ::-1])),
    ("you took a softmax over the taps: `kernels` are used as they are",
     lambda x, w, k: _apply(_windows(x, k), _softmax(w))),
    ("the kernels are divided by their sum: `kernels` are used as they are",
     lambda x, w, k: _apply(_windows(x, k), w / w.sum(2, keepdims=True))),
    ("you took the mean over the taps where the formula adds up",
     lambda x, w, k: _apply(_windows(x, k), w) / k**2),
    ("outside the image there are zeros, not copies of the border",
     lambda x, w, k: _apply(_windows(x, k, "edge"), w)),
    ("outside the image there are zeros, not a mirror image",
     lambda x, w, k: _apply(_windows(x, k, "symmetric"), w)),
    ("the image goes round: what leaves on one side comes back on the other (roll, circular); outside there are zeros",
     lambda x, w, k: _apply(_windows(x, k, "wrap"), w)),
    ("the kernel is taken from the neighbour: out at p uses the kernel of p, K[q, p], at all its taps",
     lambda x, w, k: _apply(_windows(x, k), _at_the_neighbour(w))),
    ("the channels are mixed: unfold gives C * k*k values, the channel outside and the tap inside",
     lambda x, w, k: _apply(_taps_before_channels(x, k), w)),
    ("unfold keeps the channel outside and the tap inside: order heads, C / heads, k*k, not heads, k*k, C / heads",
     lambda x, w, k: _apply(_taps_before_channels(x, k, w.shape[1]), w)),
    ("height and width are exchanged when H * W becomes two dimensions again",
     lambda x, w, k: _apply(_columns_first(x, k), w)),
    ("one kernel filters all pixels: each pixel has a kernel of its own",
     lambda x, w, k: _apply(_windows(x, k), np.broadcast_to(w[..., :1, :1], w.shape))),
    ("one kernel filters all pixels: each pixel has a kernel of its own",
     lambda x, w, k: _apply(_windows(x, k), np.broadcast_to(w.mean((3, 4), keepdims=True), w.shape))),
    ("the kernels of the first image filter all images",
     lambda x, w, k: _apply(_windows(x, k), np.broadcast_to(w[:1], w.shape))),
    ("the last tap is missing",
     lambda x, w, k: _apply(_windows(x, k)[:, :, :-1], w[:, :, :-1])),
    ("the first tap is missing",
     lambda x, w, k: _apply(_windows(x, k)[:, :, 1:], w[:, :, 1:])),
    ("only the last tap is left: add all taps up (+=)",
     lambda x, w, k: _apply(_windows(x, k)[:, :, -1:], w[:, :, -1:])),
    ("you took the largest product over the taps where the formula adds up",
     lambda x, w, k: (_windows(x, k) * w.repeat(x.shape[1] // w.shape[1], 1)).max(2)),
    ("you took exp of the kernels: `kernels` are weights already, not logits",
     lambda x, w, k: _apply(_windows(x, k), np.exp(w))),
    ("the sign is wrong: add the products up",
     lambda x, w, k: -_apply(_windows(x, k), w)),
    ("the pixel itself is added to the sum",
     lambda x, w, k: _apply(_windows(x, k), w) + x),
    ("the channels are added up: each channel is filtered for itself",
     lambda x, w, k: np.broadcast_to(_apply(_windows(x, k), w).sum(1, keepdims=True), x.shape)),
]  # fmt: skip

SHIFTED = "the padding is shifted: pad k // 2 on all four sides, so that the kernel is centred on its pixel"
MISTAKES += [
    (SHIFTED, lambda x, w, k, a=a, b=b: _apply(_windows(x, k, shift=(a * (k // 2), b * (k // 2))), w))
    for a, b in itertools.product((-1, 0, 1), repeat=2)
    if (a, b) != (0, 0)
]

CASES = (  # batch, channels, heads, height, width, k; the first decides about the message
    (2, 6, 2, 5, 4, 3),
    (1, 6, 3, 4, 7, 5),
    (1, 4, 4, 5, 6, 7),  # as small as its kernel, one channel a head
    (2, 3, 1, 3, 3, 1),
)


def _inputs(
    batch: int, channels: int, heads: int, height: int, width: int, k: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """x and kernels, random; the kernels are no softmax and do not sum to one."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=generator)
    kernels = torch.rand(batch, heads, k * k, height, width, generator=generator) + 0.1
    return x, kernels


GATHERED = (
    "compare with the steps: F.unfold(x, k, padding=k // 2); k from kernels.shape[2]; in the product, "
    "kernels[:, :, None]: the dimension of length 1 belongs after heads"
)
SLICED = (
    "compare with the steps: slices of H x W from the padded image; k from kernels.shape[2]; kernels[:, :, None, q]: "
    "the dimension of length 1 belongs after heads"
)


def _said_more(function: Operator, x: Tensor, kernels: Tensor, told: str, steps: str) -> Tensor:
    """As `call`; what torch says of shapes that do not fit gets the steps to compare with, or the mistake itself."""
    try:
        return call(function, x, kernels, told=told)
    except CheckFailed as failed:
        error = failed.__cause__
        if not isinstance(error, RuntimeError):
            raise
        if steps == SLICED and re.search(r"size of tensor [ab] \(0\)", str(error)):
            steps = "slices of the padded image start at 0: do not subtract k // 2"
        raise CheckFailed(f"{failed}; {steps}.") from error


def _check_operator(function: Operator, steps: str) -> None:
    """Values, shape and both gradients, for several sizes.

    Args:
        function: what the learner wrote.
        steps: what to compare with, where torch says that shapes do not fit.
    """
    for case in CASES:
        batch, channels, heads, height, width, k = case
        x, kernels = _inputs(*case)
        told = f"x {tuple(x.shape)}, kernels {tuple(kernels.shape)}"
        copies = x.clone(), kernels.clone()
        answer = _said_more(function, x, kernels, told, steps)
        for name, given, before in zip(("x", "kernels"), (x, kernels), copies, strict=True):
            if not torch.equal(given, before):
                raise CheckFailed(f"your function changes the {name} that it is given: avoid in-place operations.")
        if not isinstance(answer, Tensor):
            raise CheckFailed(f"return a tensor, got {type(answer).__name__}.")
        _shape(tuple(answer.shape), case, told)
        w = kernels.double().numpy()
        pixels = x.double().numpy()
        values = answer.detach().double().numpy()
        if not np.allclose(values, _apply(_windows(pixels, k), w), rtol=1e-4, atol=1e-5):
            raise CheckFailed(f"{told}: {_diagnose(values, pixels, w, k)}.")
    _gradients(function)


def _shape(shape: tuple[int, ...], case: tuple[int, ...], told: str) -> None:
    batch, channels, heads, height, width, k = case
    wanted = (batch, channels, height, width)
    r = k // 2
    share = channels // heads
    why = {
        (batch, heads, share, height, width): "merge heads and channels a head: reshape or flatten(1, 2)",
        (batch, heads * k * k, height, width): "you added up the channels of a head: sum over the k*k taps",
        (batch, heads, k * k, height, width): "you added up the channels of a head: sum over the k*k taps",
        (batch * heads, share, height, width): "merge heads and channels a head: flatten(1, 2)",
        (batch, share, heads, height, width): "merge heads and channels a head, the heads outside",
        (batch, height, width): "you added up the channels: each channel is filtered for itself",
        (batch, 1, height, width): "you added up the channels: each channel is filtered for itself",
        (batch, heads, height, width): "you added up the channels of a head: each channel is filtered for itself",
        (batch, share, height, width): "you added up the heads: each head filters its own channels",
        (batch, channels, height * width): "H * W must become two dimensions again",
        (batch, heads, share, height * width): "H * W must become two dimensions again, and heads and channels one",
        (batch, channels, height - 2 * r, width - 2 * r): "the padding is missing: pad k // 2 on all four sides",
        (batch, channels, height + 2 * r, width + 2 * r): "the padding is still there, or is twice as wide as k // 2",
        (batch, channels, k * k, height, width): "nothing is added up: sum over the k*k taps",
        (batch, heads, share, k * k, height, width): "nothing is added up: sum over the k*k taps",
        (batch, channels, width, height): "height and width are exchanged",
    }.get(shape, "give one value for each channel and pixel")
    if shape != wanted:
        raise CheckFailed(f"{told}: the answer must have shape {wanted}, got {shape}: {why}.")


def _diagnose(values: np.ndarray, x: np.ndarray, w: np.ndarray, k: int) -> str:
    """The mistake whose result this is."""
    for mistake, wrong in MISTAKES:
        try:
            result = wrong(x, w, k)
        except ValueError:  # this mistake cannot be made at this size: np.pad cannot mirror that far
            continue
        if np.allclose(values, result, rtol=1e-4, atol=1e-5):
            return mistake
    right = _apply(_windows(x, k), w)
    off = np.abs(values - right)
    if not np.isfinite(values).all():
        return "there are NaN or infinite values: was a tensor made with torch.empty and not filled?"
    r = k // 2
    inner = off[..., r : off.shape[-2] - r, r : off.shape[-1] - r]
    if inner.size and inner.max() < 1e-4:
        return "right in the middle, wrong near the border: outside the image there are zeros"
    if k != 3:
        return f"right for k=3, wrong for k={k}: is a number built in? Take k from kernels.shape[2], which is k*k"
    return f"values are off by up to {off.max():.2g}: compare one pixel with the sum by hand of section 1"


def _gradients(function: Operator) -> None:
    """By hand: d kernels[q, p] = sum over the head's channels of g[p] x[p + q]; d x[p + q] = sum of K[q, p] g[p]."""
    batch, channels, heads, height, width, k = case = CASES[0]
    x, kernels = (t.requires_grad_() for t in _inputs(*case, seed=1))
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    try:
        out = function(x, kernels)
    except RuntimeError as error:  # such as .numpy() of a tensor that needs a gradient
        raise CheckFailed(f"with requires_grad the function stops: {str(error).splitlines()[0]}") from None
    if not out.requires_grad:
        raise CheckFailed("no gradient flows through your function: leave out .detach(), .data, .item() and no_grad.")
    try:
        found = torch.autograd.grad(out, (x, kernels), direction, allow_unused=True)
    except RuntimeError as error:
        raise CheckFailed(f"backward stops: {str(error).splitlines()[0]}") from None
    g = direction.double().numpy()
    w, windows = kernels.detach().double().numpy(), _windows(x.detach().double().numpy(), k)
    share, r = channels // heads, k // 2
    grad_kernels = (windows * g[:, :, None]).reshape(batch, heads, share, k * k, height, width).sum(2)
    padded = np.zeros((batch, channels, height + 2 * r, width + 2 * r))
    for q in range(k * k):
        weights = np.repeat(w[:, :, q], share, axis=1)
        padded[:, :, q // k : q // k + height, q % k : q % k + width] += weights * g
    wanted = padded[:, :, r : r + height, r : r + width], grad_kernels
    for name, gradient, right in zip(("x", "the kernels"), found, wanted, strict=True):
        if gradient is None:
            raise CheckFailed(f"no gradient flows to {name}: is it detached, or copied with torch.tensor or .data?")
        if not np.allclose(gradient.double().numpy(), right, rtol=1e-4, atol=1e-5):
            raise CheckFailed(f"the values are right, the gradient of {name} is not: is a part cut off (.detach())?")


def exercise_2(dynamic_conv_unfold: Operator) -> None:
    """Dynamic convolution by gathering all neighbours. Compared with the formula in NumPy, gradients too.

    Args:
        dynamic_conv_unfold: x [B, C, H, W], kernels [B, heads, k*k, H, W] -> [B, C, H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(dynamic_conv_unfold, "dynamic_conv2d", "dynamic_conv2d_reference")
    with _Watch() as watch:
        _check_operator(dynamic_conv_unfold, GATHERED)
    _own_work(watch)
    passed(f"{len(CASES)} sizes (k = 1, 3, 5, 7; one head to four) and both gradients equal the formula.")


class _Watch(TorchDispatchMode):
    """Sees each operation of torch: the largest new storage (views have none of their own), and its name."""

    def __init__(self):
        super().__init__()
        self.largest, self.maker, self.names = 0, "", set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.names.add(func._schema.name)
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                size = tensor.untyped_storage().nbytes() // tensor.element_size()
                if size > self.largest:
                    self.largest, self.maker = size, func._schema.name.split("::")[-1]
        return out


def _own_work(watch: _Watch) -> None:
    if any(name.startswith("sgdc_viz::") for name in watch.names):
        raise CheckFailed("you called the library's operator: the exercise is to build it yourself.")


def exercise_4(dynamic_conv_shifts: Operator) -> None:
    """Dynamic convolution without the gathered tensor. Values and gradients as in exercise 2; sizes are watched.

    Args:
        dynamic_conv_shifts: x [B, C, H, W], kernels [B, heads, k*k, H, W] -> [B, C, H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(dynamic_conv_shifts, "dynamic_conv2d", "dynamic_conv2d_reference")
    with _Watch() as watch:
        _check_operator(dynamic_conv_shifts, SLICED)
    _own_work(watch)

    channels, heads, side, k = 16, 2, 12, 7
    x, kernels = (t.requires_grad_() for t in _inputs(1, channels, heads, side, side, k))
    with _Watch() as watch:
        saved = saved_numbers(lambda: dynamic_conv_shifts(x, kernels)).total
    told = f"x {tuple(x.shape)}, kernels {tuple(kernels.shape)}"
    bound = max(kernels.numel(), channels * (side + k - 1) ** 2)
    gathered = channels * k * k * side * side
    if watch.largest > bound:
        size = "C*k*k*H*W numbers, all neighbours at once" if watch.largest >= gathered else "more than the kernels"
        raise CheckFailed(
            f"{told}: `{watch.maker}` makes a tensor of {watch.largest} numbers ({size}); the kernels are "
            f"{kernels.numel()}. Work on one tap at a time, and let a view broadcast in the place of a copy."
        )
    allowed = 2 * (x.numel() + kernels.numel())
    if saved > allowed:
        raise CheckFailed(
            f"{told}: autograd keeps {saved} numbers for the backward pass, allowed are {allowed}: at each tap a "
            "copy is made that is kept (repeat_interleave, roll, F.pad in the loop). Views (slices) cost nothing."
        )
    passed(
        "Values and gradients equal the formula; nothing larger than the kernels is made, and no copy a tap is kept."
    )


# --- exercise 3: mass inside the image -------------------------------------------------------------------------------


def _inside(height: int, width: int, k: int, low: int = 0, high: int = 0) -> np.ndarray:
    """[k*k, H, W]: 1 where tap q of the pixel lies in the image, 0 elsewhere.

    low, high: the first row (column) that counts, and how many more at the end; wrong unless 0.
    """
    r = k // 2
    inside = np.zeros((k * k, height, width))
    for q in range(k * k):
        for i in range(height):
            for j in range(width):
                y, x = i + q // k - r, j + q % k - r
                inside[q, i, j] = low <= y < height + high and low <= x < width + high
    return inside


MASS_MISTAKES: list[tuple[str, Callable[[np.ndarray, int], np.ndarray]]] = [
    ("that is the mass outside: the inside was asked for",
     lambda w, k: 1 - (w * _inside(*w.shape[2:], k)).sum(1)),
    ("the kernel is flipped: tap 0 looks up and left, so it is outside in the first row and column",
     lambda w, k: (w[:, ::-1] * _inside(*w.shape[2:], k)).sum(1)),
    ("the taps are read column by column: they are numbered row by row",
     lambda w, k: (_transposed(w[None])[0] * _inside(*w.shape[2:], k)).sum(1)),
    ("you count taps: add up the *weights* of the taps that lie inside",
     lambda w, k: np.broadcast_to(_inside(*w.shape[2:], k).mean(0), (len(w), *w.shape[2:]))),
    ("you count taps: add up the *weights* of the taps that lie inside",
     lambda w, k: np.broadcast_to(_inside(*w.shape[2:], k).sum(0), (len(w), *w.shape[2:]))),
    ("all taps are added up, inside or not",
     lambda w, k: w.sum(1)),
    ("you took the mean over the taps where the weights should be added up",
     lambda w, k: (w * _inside(*w.shape[2:], k)).mean(1)),
    ("you took a softmax, but `kernels` already are softmax weights that sum to 1",
     lambda w, k: (_softmax(w, 1) * _inside(*w.shape[2:], k)).sum(1)),
    ("off by one: row -1 is outside, row 0 is inside, row H is outside",
     lambda w, k: (w * _inside(*w.shape[2:], k, low=-1, high=1)).sum(1)),
    ("off by one: row -1 is outside, row 0 is inside, row H is outside",
     lambda w, k: (w * _inside(*w.shape[2:], k, low=1)).sum(1)),
    ("off by one: row -1 is outside, row 0 is inside, row H is outside",
     lambda w, k: (w * _inside(*w.shape[2:], k, high=1)).sum(1)),
    ("off by one: rows and columns 0 and H - 1, W - 1 are inside",
     lambda w, k: (w * _inside(*w.shape[2:], k, low=1, high=-1)).sum(1)),
    ("the mass is taken of the wrong pixels: the sum at p uses the kernel of p alone",
     lambda w, k: (_at_the_neighbour(w[None])[0]).sum(1)),
    ("the heads are averaged: one number for each head and pixel",
     lambda w, k: np.broadcast_to((w * _inside(*w.shape[2:], k)).sum(1).mean(0), (len(w), *w.shape[2:]))),
]  # fmt: skip


def exercise_3(mass_inside: Callable[[Tensor], Tensor]) -> None:
    """How much of each kernel's weight falls on pixels of the image. Compared with hand values and a triple loop.

    Args:
        mass_inside: kernels [heads, k*k, H, W], sums over k*k are 1 -> [heads, H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(mass_inside, "kernel_in_bounds")
    for heads, k, height, width in ((2, 7, 5, 6), (3, 3, 5, 4), (1, 1, 3, 2), (2, 7, 1, 9)):
        generator = torch.Generator().manual_seed(0)
        kernels = torch.randn(heads, k * k, height, width, generator=generator).mul(2).softmax(1)
        told, before = f"kernels {tuple(kernels.shape)}", kernels.clone()
        answer = call(mass_inside, kernels, told=told)
        if not torch.equal(kernels, before):
            raise CheckFailed("your function changes the kernels it is given: avoid in-place operations.")
        if not isinstance(answer, Tensor):
            raise CheckFailed(f"return a tensor, got {type(answer).__name__}.")
        wanted = (heads, height, width)
        if tuple(answer.shape) != wanted:
            why = {
                (1, heads, height, width): "drop the batch dimension that you added: [0]",
                (height, width): "one number for each head: do not add up or drop the heads",
                (heads, k * k, height, width): "add up over the taps (dimension 1)",
                (heads, 1, height, width): "the summed dimension is still there: leave out keepdim",
                (k * k, height, width): "you added up the heads: the taps are dimension 1",
                (1, height, width): "one number for each head: do not add up or drop the heads",
            }.get(tuple(answer.shape), "one number for each head and pixel")
            raise CheckFailed(f"{told}: the answer must have shape {wanted}, got {tuple(answer.shape)}: {why}.")
        w, values = before.double().numpy(), answer.detach().double().numpy()
        right = (w * _inside(height, width, k)).sum(1)
        if not np.allclose(values, right, atol=1e-5):
            if not np.isfinite(values).all():
                raise CheckFailed(f"{told}: there are NaN or infinite values.")
            for mistake, wrong in MASS_MISTAKES:
                if np.allclose(values, wrong(w, k), atol=1e-5):
                    raise CheckFailed(f"{told}: {mistake}.")
            h, i, j = np.unravel_index(np.abs(values - right).argmax(), right.shape)
            raise CheckFailed(
                f"{told}: at row {i}, column {j} the mass is {right[h, i, j]:.2f}, yours is {values[h, i, j]:.2f}: is "
                "a size built in? Which taps of this pixel lie inside?"
            )
    uniform = torch.full((1, 49, 15, 15), 1 / 49)
    mass = mass_inside(uniform)[0]
    for (row, column), share, where in (
        ((0, 0), 16 / 49, "a corner"),
        ((0, 7), 28 / 49, "a side"),
        ((7, 7), 1, "the middle"),
    ):
        if not math.isclose(float(mass[row, column]), share, abs_tol=1e-4):
            raise CheckFailed(
                f"a uniform 7 x 7 kernel in {where} of 15 x 15 pixels: {share:.2f} is inside, you say "
                f"{float(mass[row, column]):.2f}: is a size built in?"
            )
    logits = torch.randn(2, 9, 4, 5, generator=torch.Generator().manual_seed(3)).requires_grad_()
    try:
        out = mass_inside(logits.softmax(1))
    except RuntimeError as error:
        raise CheckFailed(f"with requires_grad the function stops: {str(error).splitlines()[0]}") from None
    if not out.requires_grad:
        raise CheckFailed("no gradient flows through your function: leave out .detach(), .data, .item() and no_grad.")
    (gradient,) = torch.autograd.grad(out.sum(), logits)
    w = logits.detach().double().softmax(1).numpy()
    inside = _inside(4, 5, 3)
    slope = w * (inside - (w * inside).sum(1, keepdims=True))  # of a softmax
    if not np.allclose(gradient.double().numpy(), slope, atol=1e-5):
        raise CheckFailed("the values are right, the gradient is not: is a part of the sum cut off (.detach())?")
    passed("A third at the corner, 57 % at a side, all in the middle, and the same for any kernel and size.")


# --- exercise 5: judgement -------------------------------------------------------------------------------------------

TRUE = {
    "A": "the average over all pixels does not know where they are, and the kernel is made from it alone",
    "C": "one kernel for all pixels is a special case of one per pixel; section 3 compared it with F.conv2d",
    "F": "each side of a border can average its own side only; section 3 measured it",
    "G": "an average of equal numbers is that number, but at the border a part of the weight meets zeros outside",
}
FALSE = {
    "B": "a pixel's kernels come from a learnt 1 x 1 convolution whose weights all pixels share; only the *result*, "
         "the kernels, grows with the image",
    "D": "an average never exceeds its largest input, however the kernel was made",
    "E": "in section 3's table they leave 60 % of the error, one Gaussian for all pixels 48 %; what counts is that the "
         "two sides of a border have different kernels, and a block has one kernel for both",
    "H": "the neighbours are never gathered, but the kernels themselves, heads * k*k * H * W numbers, are still there",
}  # fmt: skip


def exercise_5(judgement: Callable[[], set]) -> None:
    """Which statements about one kernel for all, per image and per pixel are true?

    Args:
        judgement: () -> set of letters A to H.

    Raises:
        CheckFailed: naming the first letter too many or too few, and why.
    """
    answer = call(judgement)
    choose(answer, TRUE, FALSE, ("{letter} is false", "a true statement is missing"))
    passed("Four are true. The others are what is said most often about dynamic convolution, and is wrong.")
