"""Checks of notebook 03. Each is given the learner's own function and raises `CheckFailed`, or prints one line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .errors import CheckFailed, call, choose, own_lines, passed

SOBEL_X = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
SOBEL_Y = SOBEL_X.T


# --- exercise 1 ------------------------------------------------------------------------------------------------------


def exercise_1(sobel: Callable[[Tensor], Tensor]) -> None:
    """The two Sobel derivatives of an image. Compared with SciPy's correlation and, for the gradient, its adjoint.

    Args:
        sobel: image [H, W] -> [2, H, W], Gx and Gy, zero padding.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    generator = torch.Generator().manual_seed(0)
    step = torch.zeros(6, 8)
    step[:, 4:] = 1  # dark on the left
    gx, gy = _derivatives(sobel, step, "a vertical step from 0 to 1")
    if not _same(gx[2, 3], -4.0) or not _same(gx[2, 4], -4.0):
        raise CheckFailed(
            f"where the image steps from 0 (left) to 1 (right), Gx must be -4 on both sides, yours gives "
            f"{gx[2, 3]:.3g} and {gx[2, 4]:.3g}: {_ended(_told_by_step(gx, gy))}"
        )
    for size in ((7, 11), (2, 5), (1, 1)):
        image = torch.randn(size, generator=generator)
        gx, gy = _derivatives(sobel, image, f"an image of {size[0]} x {size[1]} pixels")
        _compare_sobel(image.double().numpy(), gx, gy, size)
    _sobel_gradient(sobel, generator)
    passed("Both derivatives agree with SciPy on four sizes, frame included, and the gradient flows back.")


def _derivatives(sobel: Callable[[Tensor], Tensor], image: Tensor, told: str) -> tuple[np.ndarray, np.ndarray]:
    before = image.clone()
    answer = call(sobel, image, told=f"for {told}")
    if not torch.equal(image, before):
        raise CheckFailed("your function changes the image it is given: avoid in-place operations (+=, mul_).")
    if not isinstance(answer, Tensor):
        raise CheckFailed(f"return one tensor [2, H, W], got {type(answer).__name__}: torch.stack([gx, gy]).")
    h, w = image.shape
    reasons = {
        (h, w): "one map only: return Gx and Gy, not their length or sum",
        (1, 2, h, w): "the batch dimension is still there: take [0]",
        (2, 1, h, w): "a dimension of length 1 is still there",
        (h, w, 2): "the two derivatives come first: stack along dimension 0",
        (2, h - 2, w - 2): "without padding the outermost pixels are lost: padding=1",
        (2, h + 2, w + 2): "the image grew: pad by 1 on each side only once",
    }
    if answer.shape != (2, h, w):
        why = reasons.get(tuple(answer.shape), "[2, H, W], first Gx, then Gy")
        raise CheckFailed(f"for {told} the answer must have shape {(2, h, w)}, got {tuple(answer.shape)}: {why}.")
    values = answer.detach().double().numpy()
    return values[0], values[1]


def _told_by_step(gx: np.ndarray, gy: np.ndarray) -> str:
    pair = gx[2, 3], gx[2, 4]
    if _same(pair[0], 4.0) and _same(gx[2, 7], 4.0):
        return "the sign is lost: no absolute value here, the length is taken later"
    if _same(gx[2, 2], -4.0) or _same(gx[2, 5], -4.0):
        return "the map is moved by one pixel: pad by 1 on every side"
    for values, why in {
        (4.0, 4.0): "the sign is turned round. Is the kernel flipped, as in a true convolution, or right minus left? "
        "Here it is cross-correlation (F.conv2d), left minus right",
        (-3.0, -3.0): "the rows count 1, 1, 1 (Prewitt); Sobel counts the middle row twice: 1, 2, 1",
        (-0.5, -0.5): "you divided by 8",
        (-1.0, -1.0): "you divided by 4, or took one row only",
        (-2.0, -2.0): "the middle row alone is not Sobel: 1, 2, 1",
        (
            0.5,
            0.5,
        ): "that is half of right minus left in one row (torch.gradient): Sobel is left minus right over three "
        "rows, not halved",
    }.items():
        if _same(pair[0], values[0]) and _same(pair[1], values[1]):
            return why
    if _same(gx[2, 3], 0.0) and _same(np.abs(gy[2, 3]), 4.0):
        return "Gx and Gy are swapped: Gx compares left with right and comes first"
    if _same(pair[0], pair[1]) and not _same(pair[0], 0.0):
        return f"that is {pair[0] / -4:.3g} times too much; are the rows counted 1, 2, 1?"
    return "Gx = (left column minus right column), rows counted 1, 2, 1"


def _compare_sobel(image: np.ndarray, gx: np.ndarray, gy: np.ndarray, size: tuple[int, int]) -> None:
    from scipy.ndimage import correlate

    right = {"Gx": correlate(image, SOBEL_X, mode="constant"), "Gy": correlate(image, SOBEL_Y, mode="constant")}
    for (name, wanted), got in zip(right.items(), (gx, gy), strict=True):
        if _same(got, wanted):
            continue
        told = f"{name} of a random image of {size[0]} x {size[1]} pixels"
        if _same(got, -wanted):
            raise CheckFailed(f"{told} has the wrong sign: Gy is upper row minus lower row, Gx left minus right.")
        if _same(got, np.abs(wanted)):
            raise CheckFailed(f"{told} has lost its sign: no absolute value here; the length is taken later.")
        if name == "Gy" and _same(got, right["Gx"]):
            raise CheckFailed(f"{told} equals Gx: for Gy the kernel is transposed, it compares rows.")
        inner = (slice(1, -1), slice(1, -1))
        if min(size) > 2 and _same(got[inner], wanted[inner]):
            raise CheckFailed(f"{told} is right inside but not at the frame: pad with zeros, not by repeating or "
                              "mirroring pixels, nor with a value left out.")  # fmt: skip
        prewitt = correlate(image, np.minimum(np.abs(SOBEL_Y), 1) * np.sign(SOBEL_Y), mode="constant")
        if name == "Gy" and _same(got, prewitt):
            raise CheckFailed(f"{told} counts the columns 1, 1, 1 (Prewitt); Sobel counts the middle twice: 1, 2, 1.")
        raise CheckFailed(f"{told} is off by up to {np.abs(got - wanted).max():.2g}: Gx = left minus right with rows "
                          "1, 2, 1; Gy = upper minus lower with columns 1, 2, 1.")  # fmt: skip


def _sobel_gradient(sobel: Callable[[Tensor], Tensor], generator: torch.Generator) -> None:
    from scipy.ndimage import convolve

    image = torch.randn(5, 6, generator=generator).requires_grad_()
    weight = torch.randn(2, 5, 6, generator=generator)
    answer = sobel(image)
    if not answer.requires_grad:
        raise CheckFailed("no gradient flows through your function: stay in torch, without .detach() and .numpy().")
    (got,) = torch.autograd.grad((answer * weight).sum(), image)
    w = weight.double().numpy()
    wanted = convolve(w[0], SOBEL_X, mode="constant") + convolve(w[1], SOBEL_Y, mode="constant")
    if not _same(got.double().numpy(), wanted):
        raise CheckFailed("the values are right, the gradient is not: is one of the two derivatives detached?")


# --- exercise 2 ------------------------------------------------------------------------------------------------------


def exercise_2(safe_magnitude: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Length of (gx, gy), with a gradient that is finite where both are 0. Compared with NumPy's hypot.

    Args:
        safe_magnitude: (gx, gy), equal shapes -> same shape.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    generator = torch.Generator().manual_seed(0)
    gx, gy = torch.randn(2, 4, 5, generator=generator) * 3
    gx[0, 0], gy[0, 0], gx[1, 1], gy[1, 1] = 3.0, 4.0, 0.0, 0.0
    gx[2, 2], gy[2, 2], gx[3, 3], gy[3, 3] = 0.08, -0.06, 0.0, -2.0  # a short one; one derivative 0
    got, back = _magnitude(safe_magnitude, gx, gy)
    at_zero = got[1, 1]
    if not _same(got[0, 0], 5.0, 2e-3):
        raise CheckFailed(f"gx = 3, gy = 4 must give 5, yours gives {got[0, 0]:.3g}: {_told_by_345(got[0, 0])}.")
    if not np.isfinite(got).all():
        raise CheckFailed("a value is NaN or infinite: where both are 0 the length is 0.")
    if got[2, 2] > 0.102:
        raise CheckFailed(f"a length of 0.1 becomes {got[2, 2]:.3g}: your eps (or lower limit) is so large that it "
                          "swallows weak edges. Make it 1e-6 or smaller.")  # fmt: skip
    if at_zero > 1.1e-3:
        raise CheckFailed(f"where both are 0 the length must be 0 within 0.001, yours gives {at_zero:.2g}: make eps "
                          "smaller. (Inside the root an eps of 1e-4 becomes 0.01.)")  # fmt: skip
    wanted = np.hypot(gx.double().numpy(), gy.double().numpy())
    if not _same(got, wanted, 2e-3):
        raise CheckFailed(f"random values are off by up to {np.abs(got - wanted).max():.2g}: sqrt(gx^2 + gy^2).")
    _magnitude_gradient(back, gx, gy, at_zero)
    for shape in ((3,), (2, 1, 3, 3)):
        flat, back = _magnitude(safe_magnitude, torch.zeros(shape), torch.zeros(shape))
        if not np.isfinite(back).all() or not _same(flat, 0.0, 1.1e-3):
            raise CheckFailed(f"in a map of shape {shape} that is 0 everywhere, values or gradients are not 0.")
    passed("Lengths agree with NumPy; where both derivatives are 0 the gradient is 0, not NaN.")


def _magnitude(function: Callable[[Tensor, Tensor], Tensor], gx: Tensor, gy: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Values, and the gradient for both inputs [2, ...]."""
    one, two = gx.clone().requires_grad_(), gy.clone().requires_grad_()
    a, b = one * 1, two * 1  # not leaves: an in-place change is then seen as a change, not as an error of autograd
    answer = call(function, a, b, told=f"for two maps of shape {tuple(gx.shape)}")
    if not torch.equal(a.detach(), gx) or not torch.equal(b.detach(), gy):
        raise CheckFailed("your function changes gx or gy: avoid in-place operations (square_, +=, clamp_).")
    if not isinstance(answer, Tensor):
        raise CheckFailed(f"return a tensor, got {type(answer).__name__}: stay in torch.")
    if answer.shape != gx.shape:
        raise CheckFailed(f"the answer must have the shape of gx, {tuple(gx.shape)}, got {tuple(answer.shape)}: one "
                          "length for each pixel, without a sum or a mean over pixels.")  # fmt: skip
    if not answer.requires_grad:
        raise CheckFailed("no gradient flows through your function: leave out .detach(), .data and no_grad.")
    try:
        gradient = torch.autograd.grad(answer.sum(), (one, two), allow_unused=True)
    except RuntimeError as error:
        raise CheckFailed(f"the backward pass stops: {str(error).splitlines()[0]}") from None
    if any(g is None for g in gradient):
        raise CheckFailed("one of gx and gy gets no gradient at all: is it detached, or not used?")
    return answer.detach().double().numpy(), torch.stack(gradient).double().numpy()


def _told_by_345(value: float) -> str:
    for wrong, why in {
        7.0: "|gx| + |gy| is another length (the way of a taxi), and it makes diagonal edges stronger",
        4.0: "the larger of the two is another length",
        25.0: "the root is missing",
        12.5: "the root is missing, and you averaged",
        3.5355: "you averaged the squares (mean) where the formula adds them up",
        3.5: "you averaged |gx| and |gy|",
        2.6458: "gx and gy are not squared under the root",
        3.0: "gy is missing",
        0.625: "you divided by 8; that belongs to the gate, not to the length",
    }.items():
        if abs(value - wrong) < 2e-3 * wrong:
            return why
    return "sqrt(gx^2 + gy^2)"


def _magnitude_gradient(back: np.ndarray, gx: Tensor, gy: Tensor, at_zero: float) -> None:
    if not np.isfinite(back).all():
        if at_zero > 0:
            raise CheckFailed(
                "the gradient is NaN where both are 0: an eps added after the root (or a limit set there) changes the "
                "value, not the slope of the root at 0. Put it inside, under the root."
            )
        raise CheckFailed(
            "the gradient is NaN where both are 0: 0 still goes into the root, whose slope there is infinite, and "
            "infinite * 0 is NaN. To pick the value afterwards (torch.where, nan_to_num, hypot) does not help: "
            "the backward pass still goes through the root. Keep 0 out of it."
        )
    vector = torch.stack([gx, gy]).double().numpy()
    length = np.hypot(*vector)
    wanted = vector / np.where(length > 0, length, 1)
    long = length >= 0.05
    if (back[:, 1, 1] != 0).any():
        raise CheckFailed(
            f"where both are 0 the gradient is {back[0, 1, 1]:.2g} and {back[1, 1, 1]:.2g}: there it must be 0, no "
            "direction is steeper than another. Did you move gx or gy away from 0?"
        )
    if (back[:, long] == 0).all():
        raise CheckFailed("all gradients are 0: a limit (clamp) or a detach cuts them off.")
    if (back[:, 2, 2] == 0).all():
        raise CheckFailed("a length of 0.1 gets no gradient: the lower limit (clamp) cuts weak edges off.")
    if not _same(back[:, long], wanted[:, long], 0.02):
        raise CheckFailed("the values are right, the gradient is not (gx, gy) / length: is a part of it detached?")


# --- exercise 3 ------------------------------------------------------------------------------------------------------


def _inner(labels: np.ndarray, own: bool = True, corners: bool = True) -> np.ndarray:
    """Pixel by pixel, from the definition: an object pixel with another label in its 3 x 3 window (in the image)."""
    h, w = labels.shape
    line = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            here = labels[y, x]
            for i in range(max(0, y - 1), min(h, y + 2)):
                for j in range(max(0, x - 1), min(w, x + 2)):
                    line[y, x] |= labels[i, j] != here and (corners or i == y or j == x)
    return line & (labels != 0) if own else line


def _widen(line: np.ndarray, reach: int = 1) -> np.ndarray:
    out = np.zeros_like(line)
    for y, x in np.argwhere(line):
        out[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = True
    return out


def exercise_3(edge_target_3: Callable[[Tensor], Tensor]) -> None:
    """Boundary target of width 3 from object numbers. Compared with the definition, pixel by pixel in NumPy.

    Args:
        edge_target_3: labels [H, W], whole numbers, 0 background -> [H, W] of zeros and ones.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(edge_target_3, "edge_target")
    square = np.zeros((12, 14), np.int64)
    square[4:9, 4:10] = 1
    _target(edge_target_3, square, "one object on background", _told_by_square)
    empty = np.zeros((5, 7), np.int64)
    _target(edge_target_3, empty, "an image without objects", lambda *_: "without an object there is no boundary")
    whole = np.ones((6, 5), np.int64)
    _target(edge_target_3, whole, "one object that fills the image", lambda *_: (
        "the frame of the image is no boundary, the object just goes on outside. Which padding do you use?"
    ))  # fmt: skip
    framed = np.zeros((9, 12), np.int64)
    framed[2:7, :4] = 1
    _target(edge_target_3, framed, "an object cut by the left frame", _told_by_frame)
    touching = np.zeros((11, 16), np.int64)
    touching[2:9, 2:8], touching[2:9, 8:14] = 2, 1
    _target(edge_target_3, touching, "two objects that touch", _told_by_touching)
    bend = np.zeros((12, 12), np.int64)
    bend[1:11, 1:11] = 1
    bend[7:, 7:] = 0
    _target(edge_target_3, bend, "an object with a bend inwards", lambda *_: (
        "diagonal neighbours count too: the window is 3 x 3, not a cross"
    ))  # fmt: skip
    thin = np.zeros((9, 9), np.int64)
    thin[1:8, 4] = 1
    _target(edge_target_3, thin, "an object one pixel wide", lambda *_: (
        "differences with a sign (Sobel) cancel out: left and right are both background. Ask where labels differ"
    ))  # fmt: skip
    numbers = touching.copy()
    numbers[touching == 2] = 257
    _target(edge_target_3, numbers, "objects number 1 and 257", lambda *_: (
        "object numbers can be larger than 255: do not turn them into uint8"
    ))  # fmt: skip
    rng = np.random.default_rng(0)
    for size in ((8, 9), (1, 6), (13, 7)):
        labels = np.kron(rng.integers(0, 4, (-(-size[0] // 2), -(-size[1] // 2))), np.ones((2, 2), np.int64))
        labels = np.ascontiguousarray(labels[: size[0], : size[1]])
        _target(edge_target_3, labels, f"a random map of {size[0]} x {size[1]} pixels", lambda *_: (
            "step 1, the inner border: object pixels whose 3 x 3 window holds another label; step 2, widen by one pixel"
        ))  # fmt: skip
    passed("Eleven maps agree with the definition: touching objects, the frame, bends and large numbers too.")


def _target(
    function: Callable[[Tensor], Tensor], labels: np.ndarray, told: str, why: Callable[[np.ndarray, np.ndarray], str]
) -> None:
    given = torch.from_numpy(labels.copy())
    answer = call(function, given, told=f"for {told}")
    if not torch.equal(given, torch.from_numpy(labels)):
        raise CheckFailed("your function changes the labels it is given: avoid in-place operations.")
    if not isinstance(answer, Tensor):
        raise CheckFailed(f"return a tensor, got {type(answer).__name__}.")
    if answer.shape != labels.shape:
        why = "take away dimensions that you added for the pooling"
        if answer.ndim == 2:
            why = "without padding the outermost pixels are lost"
        raise CheckFailed(f"the answer must have the shape of the labels, {labels.shape}, got {tuple(answer.shape)}: "
                          f"{why}.")  # fmt: skip
    got = answer.detach().double().numpy()
    if not np.isin(got, (0, 1)).all():
        raise CheckFailed(f"for {told} the answer holds {got[~np.isin(got, (0, 1))][0]:g}: a target has zeros and ones "
                          "only; where is it on, not how large is the difference.")  # fmt: skip
    wanted = _widen(_inner(labels))
    if not np.array_equal(got > 0, wanted):
        wrong = int(((got > 0) != wanted).sum())
        reason = why(got > 0, labels)
        raise CheckFailed(f"{told}: {wrong} pixels are wrong; {_ended(reason)}")


def _told_by_square(got: np.ndarray, labels: np.ndarray) -> str:
    inner, both = _inner(labels), _inner(labels, own=False)
    outer = both & ~inner
    known = (
        (np.zeros_like(inner), "nothing is on. Does the largest label of the window decide alone? The object has the "
                               "larger number here: compare with the smallest as well"),
        (inner, "that is the inner border, width 1: widen it by one pixel on each side"),
        (outer, "that is the outer border, on the background: take the object's own outermost pixels, then widen"),
        (both, "that is two pixels wide (largest minus smallest label in the window): an even width has no middle. "
               "Keep the object's side only, then widen"),
        (_widen(inner, 2), "that is five pixels wide: widen by one pixel only"),
        (_widen(both), "that is four pixels wide: keep the object's side only before you widen"),
        (_widen(outer), "that line has its middle one pixel outside: widen the object's own outermost pixels"),
        (labels == 1, "that is the object, not its boundary"),
    )  # fmt: skip
    for wrong, why in known:
        if np.array_equal(got, wrong):
            return why
    one_side = np.zeros_like(inner)
    one_side[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    one_side[1:] |= labels[1:] != labels[:-1]
    for line in (one_side, one_side & (labels != 0)):
        if np.array_equal(got, line) or np.array_equal(got, _widen(line)):
            return "you compare with the neighbours on one side only (left, above): the window has all eight"
    deep = _widen(outer, 2) & (labels != 0)
    if np.array_equal(got, deep):
        return "that is a band inside the object: the window of step 1 is 3 x 3, and widening goes to both sides"
    cross = _inner(labels)
    cross = cross | np.roll(cross, 1, 0) | np.roll(cross, -1, 0) | np.roll(cross, 1, 1) | np.roll(cross, -1, 1)
    if np.array_equal(got, cross):
        return "widen with a 3 x 3 square, not with a cross: the corners are missing"
    return "the line must be three pixels wide: the object's outermost pixels, and one pixel to each side"


def _told_by_frame(got: np.ndarray, labels: np.ndarray) -> str:
    shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    rolled = np.any([np.roll(labels, shift, (0, 1)) != labels for shift in shifts], axis=0) & (labels != 0)
    if np.array_equal(got, _widen(rolled)):
        return "pixels at the frame are compared with the opposite side: torch.roll goes round the image"
    return "where the object is cut by the frame there is no boundary. Which padding do you use?"


def _told_by_touching(got: np.ndarray, labels: np.ndarray) -> str:
    if np.array_equal(got, _widen(_inner((labels > 0).astype(int)))):
        return ("the border between the two objects is lost: do not make one mask of all objects (labels > 0), nor "
                "compare with 0 alone")  # fmt: skip
    middle = got[5, 5:11]
    if not middle.any():
        return "the border between the two objects is missing: another object counts as much as background"
    if middle.sum() == 3:
        return "both objects have an inner border where they touch (4 pixels together), yours marks one of them"
    return "where they touch, each object has its own inner border; widened, 4 pixels together"


# --- exercise 4 ------------------------------------------------------------------------------------------------------


def exercise_4(balanced_bce: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Class-balanced cross-entropy. Compared with the formula in NumPy, in double precision.

    Args:
        balanced_bce: (logits, target), both [B, 1, H, W] -> scalar.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 12, 10, generator=generator) * 2
    order = torch.rand(2, 1, 12, 10, generator=generator).flatten(1).argsort(1).view(2, 1, 12, 10)
    some = torch.tensor([45, 6]).view(2, 1, 1, 1)  # edge pixels in each of the two images: ratio 189 / 51 over both
    _bce(balanced_bce, torch.zeros_like(logits), (order < some).float(), "logits of 0 everywhere (it must be log 2)")
    _bce(balanced_bce, logits, (order < some).float(), "a batch of two images")
    few = (order < torch.tensor([2, 0]).view(2, 1, 1, 1)).float()
    _bce(balanced_bce, logits, few, "2 boundary pixels in 240: the weight stops at 10")
    _bce(
        balanced_bce, logits, (order < 96).float(), "a target with more boundary than not: the weight is never under 1"
    )
    _bce(balanced_bce, logits, torch.zeros_like(logits), "a batch without any boundary (plain cross-entropy)")
    _bce(balanced_bce, logits[:1, :, :5, :3], (order[:1, :, :5, :3] < 60).float(), "one image of 5 x 3 pixels")
    two = torch.zeros(1, 1, 4, 3)
    two[0, 0, 1, :2] = 1
    _bce(balanced_bce, logits[:1, :, :4, :3], two, "2 boundary pixels in 12")
    sharp = torch.tensor([200.0, -200.0, 200.0, -200.0]).view(1, 1, 2, 2)
    _bce(balanced_bce, sharp, torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 1, 2, 2), "logits of 200 and -200")
    _bce_gradient(balanced_bce, logits, (order < some).float())
    passed("The formula's values on eight batches (few boundary pixels, many, none, large logits), and its gradient.")


def _terms(z: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, z) - t * z  # -t log s(z) - (1 - t) log(1 - s(z)), without overflow


def _weighted(z: np.ndarray, t: np.ndarray, ratio: float, mean: bool = True) -> float:
    w = np.where(t > 0, ratio, 1.0)
    return float((w * _terms(z, t)).sum() / (w.sum() if mean else 1))


def _dice_loss(z: np.ndarray, t: np.ndarray) -> float:
    """1 - soft Dice, mean over the images that have an edge."""
    p, axes = 1 / (1 + np.exp(-np.clip(z, -50, 50))), (1, 2, 3)
    dice = (2 * (p * t).sum(axes) + 1) / (p.sum(axes) + t.sum(axes) + 1)
    return float((1 - dice)[t.any(axes)].mean()) if t.any() else 0.0


def _ratio(t: np.ndarray) -> float:
    return float(np.clip((t.size - t.sum()) / max(t.sum(), 1), 1, 10))


def _bce(function: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor, told: str) -> None:
    before = logits.clone(), target.clone()
    answer = call(function, logits, target, told=told)
    if not torch.equal(logits, before[0]) or not torch.equal(target, before[1]):
        raise CheckFailed("your function changes the logits or the target: avoid in-place operations (sigmoid_, +=).")
    if not isinstance(answer, Tensor):
        raise CheckFailed(f"return a tensor, got {type(answer).__name__}: a loss must let gradients through.")
    if answer.numel() != 1 or answer.ndim:
        raise CheckFailed(f"{told}: the loss must be one number (shape ()), got shape {tuple(answer.shape)}: add up, "
                          "and divide by the sum of the weights.")  # fmt: skip
    got = float(answer)
    z, t = logits.double().numpy(), target.double().numpy()
    wanted = _weighted(z, t, _ratio(t))
    if np.isfinite(got) and abs(got - wanted) <= 1e-4 * max(1, abs(wanted)):
        return
    raise CheckFailed(f"{told}: it must be {wanted:.4f}, yours gives {got:.4f}; {_told_by_bce(got, z, t)}.")


def _told_by_bce(got: float, z: np.ndarray, t: np.ndarray) -> str:
    edges, n, r = t.sum(), t.size, _ratio(t)
    exchanged = np.logaddexp(0, t) - t * z  # binary_cross_entropy_with_logits(target, logits)
    w = np.where(t > 0, r, 1.0)
    for wrong in ((w * exchanged).sum() / w.sum(), exchanged.mean(), (w * exchanged).mean()):
        if abs(got - wrong) <= 1e-4 * max(1.0, abs(wrong)):
            return "the arguments are exchanged: F.binary_cross_entropy_with_logits(logits, target)"
    if not edges and not np.isfinite(got):
        return "you divide by the number of boundary pixels, which is 0 here"
    if np.abs(z).max() >= 100:
        return ("log(sigmoid(z)) runs out of digits here: use F.binary_cross_entropy_with_logits, which takes logits, "
                "or F.logsigmoid")  # fmt: skip
    raw = (n - edges) / max(edges, 1)
    plain = float(_terms(z, t).mean())
    once = 1 / (1 + np.exp(-z))
    known = [
        (0.0, "it is 0: a batch without a boundary must still teach the network to say so"),
        (_weighted(z, t, r, mean=False) / n, "you divided by the number of pixels (what .mean() does): divide by the "
                                             "sum of the weights, so that the scale stays"),
        (_weighted(z, t, r, mean=False), "you added up and did not divide: divide by the sum of the weights"),
        (_weighted(z, t, raw), "the weight is not limited (the mean of both classes' means does the same): clip it to "
                               "1 ... 10"),
        (_weighted(z, t, min(raw, 10.0)), "the weight can fall under 1: clip it to 1 ... 10"),
        (_weighted(z, t, max(raw, 1.0)), "the weight has no upper limit: clip it to 1 ... 10"),
        (_weighted(z, t, 1 / r), "the pixels that are *not* boundary count more: is the ratio upside down, or is the "
                                 "weight on the wrong class? (#(T=0) / #(T=1), on the boundary)"),
        (_weighted(z, t, 1 + r), "the weight is 1 too large: #(T=0) / #(T=1), not all / #(T=1), and not 1 + that"),
        (_weighted(z, t, float(np.clip(1 + raw, 1, 10))), "the ratio is #(T=0) / #(T=1), not all / #(T=1)"),
        (float(np.mean([_weighted(a, b, _ratio(b)) for a, b in zip(z, t, strict=True)])),
         "you balance each image by itself: count over the whole batch"),
        (_weighted(once, t, r), "the sigmoid is taken twice: binary_cross_entropy_with_logits takes logits"),
        (-_weighted(z, t, r), "the sign is turned round"),
        (_weighted(z, t, 10.0), "10 is the limit, not the weight: w = #(T=0) / #(T=1), limited to 1 ... 10"),
        (_weighted(z, t, 10.0, mean=False) / n, "10 is the limit, not the weight; and divide by the sum of the "
                                                "weights, not by the number of pixels"),
        (_weighted(z, t, float(round(raw))), "the ratio is rounded: divide with /, not with // or int"),
        (_weighted(z, t, float(int(raw))), "the ratio is rounded: divide with /, not with // or int"),
        (_weighted(z, t, r) + _dice_loss(z, t), "that includes the Dice term: here the cross-entropy alone"),
        (float((np.where(t > 0, 1 - t.mean(), t.mean()) * _terms(z, t)).mean()),
         "the weights are 1 - share and share, not divided by their sum: here #(T=0) / #(T=1), limited to 1 ... 10"),
    ]  # fmt: skip
    if edges:
        known.append((plain, "that is plain cross-entropy: the weight is missing, or its ratio is upside down and the "
                             "clip makes it 1"))  # fmt: skip
        per = np.array([_ratio(b) for b in t]).reshape(-1, 1, 1, 1)
        w = np.where(t > 0, per, 1.0)
        known.append((float((w * _terms(z, t)).sum() / w.sum()),
                      "you count boundary pixels in each image by itself: count over the whole batch"))  # fmt: skip
    if not z.any() and any(abs(got - v) < 1e-2 for v in (100 * edges / n, 100 * r * edges / (r * edges + n - edges))):
        return "F.binary_cross_entropy takes probabilities, these are logits: use binary_cross_entropy_with_logits"
    for wrong, why in known:
        if abs(got - wrong) <= 1e-4 * max(1.0, abs(wrong)):
            return why
    if not np.isfinite(got):
        return "it is not finite"
    return (
        "sum(w * bce) / sum(w), w = clip(#(T=0) / #(T=1), 1, 10) on the boundary and 1 elsewhere, over the whole batch"
    )


def _bce_gradient(function: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> None:
    given = logits.clone().requires_grad_()
    answer = function(given, target)
    if not answer.requires_grad:
        raise CheckFailed("no gradient flows through your loss: leave out .detach(), .item() and no_grad.")
    (got,) = torch.autograd.grad(answer, given)
    t, z = target.double().numpy(), logits.double().numpy()
    w = np.where(t > 0, _ratio(t), 1.0)
    wanted = w * (1 / (1 + np.exp(-z)) - t) / w.sum()
    if not _same(got.double().numpy(), wanted, 1e-5):
        raise CheckFailed("the values are right, the gradient is not: is a part of the loss detached?")


# --- exercise 5 ------------------------------------------------------------------------------------------------------

SHOWS = {
    "C": "a boundary is right or wrong in its place: that needs truth, unseen images and a tolerance",
    "E": "a score means something only beside another one, such as that of plain Sobel on the same images",
    "G": "one run may be luck: the same score in several runs says more",
}
SHOWS_NOT = {
    "A": "with few boundary pixels a network that always says no has such an accuracy too",
    "B": "sharp lines can lie in the wrong place; and you see only the picture that you chose",
    "D": "a low loss in training says nothing of unseen images, and losses with other weights cannot be compared",
    "F": "a map that is on everywhere finds every boundary: recall needs precision beside it",
    "H": "the mask is drawn by the whole network, and may be good without this branch",
}


def exercise_5(judgement: Callable[[], dict]) -> None:
    """What shows that a boundary branch finds boundaries, and whether the boundary map enters the mask.

    Args:
        judgement: () -> {"shows": set of letters A to H, "mask changes": "yes" or "no"}.

    Raises:
        CheckFailed: naming the first letter too many or too few, and why.
    """
    answer = call(judgement)
    if not isinstance(answer, dict) or set(answer) != {"shows", "mask changes"}:
        raise CheckFailed('return {"shows": {...letters...}, "mask changes": "yes" or "no"}, with these two names.')
    shows, changes = answer["shows"], answer["mask changes"]
    if changes not in ("yes", "no"):
        raise CheckFailed(f'"mask changes" is {changes!r}: answer "yes" or "no", in small letters.')
    if changes == "yes":
        raise CheckFailed(
            '"mask changes": no block reads the boundary map; the guidance is made beside it, by another 1 x 1 '
            "convolution. Erasing the boundary map changes nothing."
        )
    choose(shows, SHOWS, SHOWS_NOT, ("{letter} does not show it", "something is missing"), "shows")
    passed("Truth with a tolerance on unseen images, something to compare with, several runs; and no block reads it.")


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith("?") else f"{sentence}."


def _same(got: np.ndarray | float, wanted: np.ndarray | float, tolerance: float = 1e-4) -> bool:
    return bool(np.allclose(got, wanted, rtol=1e-4, atol=tolerance))
