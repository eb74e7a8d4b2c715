"""Checks of notebook 06. Each is given the learner's own function and raises `CheckFailed`, or prints one line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import CheckFailed, call, choose, own_lines, passed


def _kernel(k: int, weights: dict[tuple[int, int], float]) -> Tensor:
    """(dy, dx) from the centre -> weight, as float32 [k*k], row by row."""
    kernel = torch.zeros(k, k)
    for (dy, dx), weight in weights.items():
        kernel[k // 2 + dy, k // 2 + dx] = weight
    return kernel.flatten()


def _random(k: int, seed: int, sharp: float = 2.0) -> Tensor:
    return torch.randn(k * k, generator=torch.Generator().manual_seed(seed)).mul(sharp).softmax(0)


def _offsets(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the taps from the centre, float64 [k*k] each, row by row."""
    y, x = np.mgrid[:k, :k] - k // 2
    return y.ravel().astype(float), x.ravel().astype(float)


def _numbers(answer: Any, count: int, what: str, told: str) -> list[float]:
    """The answer as `count` floats."""
    try:
        values = np.array([float(v) for v in answer])
    except (TypeError, ValueError):
        kind = f"shape {tuple(answer.shape)}" if hasattr(answer, "shape") else f"a {type(answer).__name__}"
        raise CheckFailed(f"{told}: return {count} numbers, {what}; got {kind}.") from None
    if len(values) != count:
        raise CheckFailed(f"{told}: return {count} numbers, {what}; got {len(values)}.")
    return [float(v) for v in values]


def _near(a: Sequence[float], b: Sequence[float], off: float = 2e-3) -> bool:
    return all(math.isclose(x, y, abs_tol=off) for x, y in zip(a, b, strict=True))


def _told(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v + 0.0:.2f}" for v in values) + ")"


def _keep(function: Callable, kernel: Tensor, *more: Any, told: str) -> Any:
    """Call with a kernel that must come out unchanged."""
    before = kernel.clone()
    answer = call(function, kernel, *more, told=told)
    if not torch.equal(kernel, before):
        raise CheckFailed("your function changes the kernel it is given: avoid in-place operations (+=, mul_).")
    return answer


def _named(answers: Sequence, cases: Sequence[tuple], wrongs: Sequence[tuple[Callable, str]], near: Callable) -> str:
    """The first mistake that explains the answers in all cases; "" if none does. wrongs: (function of a case, name)."""
    for wrong, mistake in wrongs:
        if all(near(answer, wrong(*case)) for answer, case in zip(answers, cases, strict=True)):
            return mistake
    return ""


# --- exercise 1 ------------------------------------------------------------------------------------------------------


def exercise_1(displacement: Callable[[Tensor], Any]) -> None:
    """Centre of mass of a kernel. Compared with hand values and with scipy's centre of mass.

    Args:
        displacement: kernel [k*k], row by row, sum 1 -> (dy, dx) from the centre; dy > 0 down, dx > 0 to the right.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    from scipy.ndimage import center_of_mass

    own_lines(displacement, "kernel_displacement")
    what = "(dy, dx)"
    cases = [
        ("7 x 7, all weight one row down and two columns to the right", _kernel(7, {(1, 2): 1.0}), (1.0, 2.0)),
        ("7 x 7, half the weight 3 up, half 1 down and 2 left", _kernel(7, {(-3, 0): 0.5, (1, -2): 0.5}),
         (-1.0, -1.0)),
        ("7 x 7, weights 0.7 at the centre, 0.3 three to the right", _kernel(7, {(0, 0): 0.7, (0, 3): 0.3}), (0, 0.9)),
    ]  # fmt: skip
    for seed in range(3):
        kernel = _random(7, seed)
        cases.append(("a random 7 x 7 kernel", kernel, tuple(v - 3 for v in center_of_mass(_square(kernel)))))
    cases.append(("a 7 x 7 kernel of equal weights", torch.full((49,), 1 / 49), (0.0, 0.0)))
    answers = [_numbers(_keep(displacement, kernel, told=told), 2, what, told) for told, kernel, _ in cases]
    for (told, _, truth), answer in zip(cases, answers, strict=True):
        if not _near(answer, truth):
            mistake = _named(answers, [case[1:] for case in cases], _displaced(), _near)
            mistake = mistake or "sum over the taps of weight times offset, rows for dy and columns for dx"
            raise CheckFailed(f"{told}: it is {_told(truth)}, you say {_told(answer)}; {mistake}.")
    for k, tap in ((3, (1, -1)), (5, (-2, 1)), (1, (0, 0))):
        told = f"a {k} x {k} kernel: is 7 built in?"
        kernel = _kernel(k, {tap: 1.0})
        answer = _numbers(_keep(displacement, kernel, told=told), 2, what, told)
        if not _near(answer, tap):
            raise CheckFailed(
                f"a {k} x {k} kernel: it is {_told(tap)}, you say {_told(answer)}; take the side k from the number of "
                "weights: 7 (or its half, 3) is built in somewhere."
            )
    passed("Weights times offsets, added up: (dy, dx) from the centre, for kernels of 1 to 7 taps a side.")


def _square(kernel: Tensor) -> np.ndarray:
    k = math.isqrt(len(kernel))
    return kernel.double().numpy().reshape(k, k)


def _displaced() -> list[tuple[Callable, str]]:
    """Wrong displacements of a 7 x 7 kernel: functions of (kernel, truth), and their names."""
    y, x = _offsets(7)

    def moved(change: Callable) -> Callable:
        return lambda kernel, truth: change(*truth)

    def soft(kernel: Tensor, truth) -> tuple[float, float]:
        p = kernel.double().softmax(0).numpy()
        return (p * y).sum(), (p * x).sum()

    def peak(kernel: Tensor, truth) -> tuple[float, float]:
        q = int(kernel.argmax())
        return y[q], x[q]

    def counted(kernel: Tensor, truth) -> tuple[float, float]:
        there = kernel.numpy() > 0
        return y[there].mean(), x[there].mean()

    return [
        (moved(lambda dy, dx: (dx, dy)), "dy and dx are swapped: the order is (dy, dx), and the taps go row by row"),
        (moved(lambda dy, dx: (dy + 3, dx + 3)), "you count from the upper left corner; the centre is (0, 0)"),
        (moved(lambda dy, dx: (dx + 3, dy + 3)), "you count from the upper left corner, and dy and dx are swapped"),
        (moved(lambda dy, dx: (dy - 0.5, dx - 0.5)), "the centre is tap k // 2 = 3, not 3.5"),
        (moved(lambda dy, dx: (dy + 4, dx + 4)), "you count from 1 at the upper left corner; the centre is (0, 0)"),
        *((moved(lambda dy, dx, n=n: (dy + n, dx + n)), "the centre is off by one: with k = 7 it is row 3, column 3, "
           "counted from 0") for n in (-1, 1)),
        (moved(lambda dy, dx: (-dy, -dx)), "the sign is turned round: a tap below the centre has dy > 0, one to its "
                                           "right dx > 0"),
        (moved(lambda dy, dx: (-dy, dx)), "dy has the wrong sign: rows are counted downwards, so dy > 0 is down"),
        (moved(lambda dy, dx: (dy, -dx)), "dx has the wrong sign: dx > 0 is to the right"),
        (moved(lambda dy, dx: (-dx, dy)), "dy and dx are swapped, and a sign is wrong"),
        (moved(lambda dy, dx: (dx, -dy)), "dy and dx are swapped, and a sign is wrong"),
        (moved(lambda dy, dx: (abs(dy), abs(dx))), "the sign is lost: up and left are negative"),
        (moved(lambda dy, dx: (dy / 49, dx / 49)), "you averaged over the taps (mean) where the formula adds up"),
        (moved(lambda dy, dx: (dy / 7, dx / 7)), "you averaged over rows or columns (mean) where the formula adds up"),
        (moved(lambda dy, dx: (dy / 3, dx / 3)), "you divided by half the width; the answer is in feature pixels"),
        (moved(lambda dy, dx: (2 * dy, 2 * dx)), "twice too large: feature pixels are asked, not image pixels"),
        (moved(lambda dy, dx: (round(dy), round(dx))), "you rounded; a centre of mass lies between pixels"),
        (moved(lambda dy, dx: (int(dy), int(dx))), "you cut off the digits; a centre of mass lies between pixels"),
        (peak, "that is the place of the largest weight; every tap counts, by its weight"),
        (counted, "the weights do not count: multiply each offset by its weight"),
        (soft, "you took a softmax, but the weights sum to 1 already"),
    ]  # fmt: skip


# --- exercise 2 ------------------------------------------------------------------------------------------------------


def exercise_2(ellipse: Callable[[Tensor], Any]) -> None:
    """Standard deviations along the two axes of a kernel, and the angle. Compared with NumPy's eigenvalues.

    Args:
        ellipse: kernel [k*k], row by row, sum 1 -> (major, minor, angle): half axes in feature pixels; angle of the
            long axis in radians from +x (right) towards +y (down), any of those that differ by pi.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(ellipse, "kernel_ellipse", "kernel_covariance", "kernel_displacement")
    what = "(major, minor, angle)"
    slanted = {(-1, -2): 0.25, (0, 0): 0.5, (1, 2): 0.25}
    aside = {(0, 1): 0.25, (0, 2): 0.5, (0, 3): 0.25}
    cases = [
        ("7 x 7, weights 1/2 at the centre, 1/4 at (1, 2) and (-1, -2)", _kernel(7, slanted)),
        ("7 x 7, weights 1/4, 1/2, 1/4 one to three columns right of the centre", _kernel(7, aside)),
        *(("a random 7 x 7 kernel", _random(7, seed)) for seed in range(4)),
        ("7 x 7, half the weight at (-3, 3), half at (1, -1)", _kernel(7, {(-3, 3): 0.5, (1, -1): 0.5})),
    ]
    answers = [_numbers(_keep(ellipse, kernel, told=told), 3, what, told) for told, kernel in cases]
    for (told, kernel), answer in zip(cases, answers, strict=True):
        truth = _axes(kernel)
        _not_nan(answer, told)
        if not _alike(answer, truth):
            mistake = _stretched(answers, [case[1:] for case in cases])
            raise CheckFailed(f"{told}: it is {_told(truth)}, you say {_told(answer)}; {mistake}.")
    told = "7 x 7, three taps on one line"
    for kernel in _lines():  # many, since it depends on the rounding which ones come out below 0
        answer = _numbers(_keep(ellipse, kernel, told=told), 3, what, told)
        _not_nan(answer, told)
        if not _alike(answer, _axes(kernel)):
            raise CheckFailed(f"{told}: it is {_told(_axes(kernel))}, you say {_told(answer)}.")
    told = "a random 5 x 5 kernel: is 7 built in?"
    answer = _numbers(_keep(ellipse, _random(5, 5), told=told), 3, what, told)
    if not _alike(answer, _axes(_random(5, 5))):
        raise CheckFailed(f"{told} It is {_told(_axes(_random(5, 5)))}, you say {_told(answer)}.")
    for told, kernel, size in (("all weight on one tap", _kernel(7, {(2, -3): 1.0}), 0),
                               ("a kernel of equal weights", torch.full((49,), 1 / 49), 2)):  # fmt: skip
        answer = _numbers(_keep(ellipse, kernel, told=told), 3, what, told)
        if not _near(answer[:2], (size, size), 1e-2) or math.isnan(answer[2]):
            raise CheckFailed(f"{told}: both half axes are {size} (and nothing is NaN), you say {_told(answer)}.")
    passed("Half axes and angle agree with NumPy's eigenvalues; one tap gives a point, equal weights a circle.")


def _not_nan(answer: Sequence[float], told: str) -> None:
    if any(map(math.isnan, answer)):
        raise CheckFailed(
            f"{told}: you return NaN. Rounding can make the smaller variance slightly negative: keep it at 0 or above "
            "before the square root."
        )


def _lines() -> list[Tensor]:
    """Kernels of three taps on a slanted line, of any weights: their smaller variance is exactly 0."""
    weights = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) + 0.1
    return [
        _kernel(7, dict(zip(((-dy, -3), (0, 0), (dy, 3)), (w / w.sum()).tolist(), strict=True)))
        for dy in (1, 2) for w in weights
    ]  # fmt: skip


def _axes(kernel: Tensor, centred: bool = True) -> tuple[float, float, float]:
    """(major, minor, angle) from the eigenvalues and eigenvectors of the covariance, in the order x, y."""
    p = kernel.double().numpy()
    y, x = _offsets(math.isqrt(len(p)))
    if centred:
        y, x = y - (p * y).sum(), x - (p * x).sum()
    values, vectors = np.linalg.eigh([[(p * x * x).sum(), (p * x * y).sum()], [(p * x * y).sum(), (p * y * y).sum()]])
    angle = math.remainder(math.atan2(vectors[1, 1], vectors[0, 1]), math.pi)
    return math.sqrt(max(values[1], 0)), math.sqrt(max(values[0], 0)), angle


def _same_axis(a: float, b: float) -> bool:
    """Do two angles in radians name the same axis (angles that differ by pi do)?"""
    return abs(math.remainder(a - b, math.pi)) < 0.01


def _alike(answer: Sequence[float], truth: Sequence[float]) -> bool:
    return _near(answer[:2], truth[:2]) and _same_axis(answer[2], truth[2])


def _stretched(answers: Sequence[Sequence[float]], cases: Sequence[tuple[Tensor]]) -> str:
    """Which mistake makes these half axes or, where those are right, these angles."""

    def sizes(change: Callable, centred: bool = True) -> Callable:
        return lambda kernel: change(*_axes(kernel, centred)[:2])

    def sample(kernel: Tensor) -> tuple[float, float]:
        p = kernel.double().numpy()
        return tuple(v / math.sqrt(1 - (p * p).sum()) for v in _axes(kernel)[:2])

    def diagonal(kernel: Tensor, order: int) -> tuple[float, ...]:
        p = kernel.double().numpy()
        return tuple(math.sqrt((p * (v - (p * v).sum()) ** 2).sum()) for v in _offsets(7)[::order])

    first = "subtract the centre of mass first"
    wrong_sizes = [
        (sizes(lambda a, b: (b, a)), "wrong order of the axes: the longer one comes first (eigh sorts upwards)"),
        (sizes(lambda a, b: (a, b), False), f"the offsets are counted from the kernel's own pixel; {first}"),
        (sizes(lambda a, b: (b, a), False), f"the longer axis comes first, and {first}"),
        (sizes(lambda a, b: (a * a, b * b)), "these are variances; a half axis is a standard deviation: take the root"),
        (sizes(lambda a, b: (b * b, a * a)), "these are variances, in the wrong order: the longer axis comes first"),
        (sizes(lambda a, b: (a * a, b * b), False), f"{first}, and take the square root at the end"),
        (sizes(lambda a, b: (2 * a, 2 * b)), "twice too long: give half axes, one standard deviation"),
        (sizes(lambda a, b: (a / 7, b / 7)), "you averaged over the taps (mean) where the formula adds up"),
        (sizes(lambda a, b: (a * a / 49, b * b / 49)), "you averaged over the taps (mean), and the root is missing"),
        (sample, "the weights sum to 1 and are no sample: no n - 1 (torch.cov: correction=0, np.cov: ddof=0)"),
        *((lambda kernel, order=order: diagonal(kernel, order),
           "the diagonal of Sigma is the spread along x and y; the axes of the ellipse are Sigma's eigenvalues")
          for order in (1, -1)),
        (lambda kernel: sorted(diagonal(kernel, 1), reverse=True),
         "the diagonal of Sigma is the spread along x and y; the axes of the ellipse are Sigma's eigenvalues"),
    ]  # fmt: skip
    if not all(_near(answer[:2], _axes(*case)[:2]) for answer, case in zip(answers, cases, strict=True)):
        named = _named([answer[:2] for answer in answers], cases, wrong_sizes, _near)
        if not named and all(
            _near(sorted(answer[:2]), sorted(_axes(*case)[:2])) for answer, case in zip(answers, cases, strict=True)
        ):
            return "the longer axis must always come first (np.linalg.eig does not sort; eigh does, upwards)"
        return named or "half axes are the roots of the eigenvalues of Sigma, with offsets from the centre of mass"

    def turned(change: Callable) -> Callable:
        return lambda kernel: change(_axes(kernel)[2])

    wrong_angles = [
        (turned(math.degrees), "the angle is in degrees; give radians"),
        (turned(lambda t: t + math.pi / 2), "this is the angle of the short axis"),
        (turned(lambda t: math.pi / 2 - t), "x and y are swapped in the angle: it starts at +x (columns) and goes "
                                            "towards +y (rows); atan2 takes y first"),
        (turned(lambda t: -t), "the angle turns the wrong way: it goes from +x (right) towards +y, which is down"),
        (turned(lambda t: 2 * t), "atan2(2 xy, xx - yy) is twice the angle: halve it"),
        (turned(lambda t: math.atan2(math.sin(2 * t) / 2, math.cos(2 * t)) / 2), "a 2 is missing: "
                                                                                 "atan2(2 xy, xx - yy) / 2"),
        (turned(lambda t: math.pi / 4 - t), "atan2 takes y first: atan2(2 xy, xx - yy) / 2"),
        (turned(lambda t: math.atan(math.tan(2 * t)) / 2), "atan of a quotient cannot tell the long axis from the "
                                                           "short one: use atan2(2 xy, xx - yy) / 2"),
    ]  # fmt: skip

    def near(answer: float, wrong: float) -> bool:
        return abs(math.remainder(answer - wrong, 180)) < 0.5 if abs(wrong) > 7 else _same_axis(answer, wrong)

    named = _named([answer[2] for answer in answers], cases, wrong_angles, near)
    either = ((answer[2], _axes(*case)[2]) for answer, case in zip(answers, cases, strict=True))
    if not named and all(near(said, angle) or near(said, -angle) for said, angle in either):
        return "the angle loses its sign: acos cannot tell up from down, use atan2"
    return named or "the half axes are right, the angle is not: from +x (right) towards +y (down), of the long axis"


# --- exercise 3 ------------------------------------------------------------------------------------------------------


def exercise_3(passes: Callable[[Tensor, float, float], Any]) -> None:
    """Share of a pattern's amplitude that a kernel lets pass. Compared with hand values and with numpy.fft.

    Args:
        passes: (kernel [k*k] row by row, fy, fx in cycles per feature pixel) -> one number 0..1.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(passes, "kernel_response")
    two = _kernel(7, {(0, -1): 0.5, (0, 1): 0.5})
    equal = torch.full((49,), 1 / 49)
    told_two = "half the weight one to the left, half one to the right"
    cases = [  # what, truth, then the arguments
        ("all weight on a corner tap", 1.0, _kernel(7, {(3, 3): 1.0}), 0.25, 0.1),
        ("equal weights, frequency 0", 1.0, equal, 0.0, 0.0),
        (f"{told_two}, stripes along a row", 0.5**0.5, two, 0.0, 0.125),
        (f"{told_two}, stripes down a column", 1.0, two, 0.125, 0.0),
        (f"{told_two}, stripes along a row", 0.0, two, 0.0, 0.25),
        ("equal weights", abs(np.exp(-2j * np.pi * 0.1 * np.arange(7)).mean()), equal, 0.0, 0.1),
    ]
    cases += [case for seed in range(3) for case in _by_fft(7, seed)]
    answers = [_one_share(passes, *case) for case in cases]
    for answer, (about, truth, _, fy, fx) in zip(answers, cases, strict=True):
        if not _close(answer, truth):
            mistake = _named(answers, [case[2:] for case in cases], _passed_wrongly(), _close)
            if not mistake and max(answers) - min(answers) < 1e-6:
                mistake = "you return the same number for every kernel and every frequency"
            mistake = mistake or "|sum over the taps of K exp(-2 pi i (fy dy + fx dx))|"
            raise CheckFailed(f"{about}, fy={fy:g}, fx={fx:g}: it is {truth:.2f}, you say {answer:.2f}; {mistake}.")
    for case in (*_by_fft(5, 2), *_by_fft(3, 3)):
        answer = _one_share(passes, *case)
        if not _close(answer, case[1]):
            raise CheckFailed(f"{case[0]} It is {case[1]:.2f}, you say {answer:.2f}.")
    passed("The values of numpy's FFT, and those worked out by hand: 1 at frequency 0, and for any single tap.")


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, abs_tol=2e-3)


def _by_fft(k: int, seed: int) -> list[tuple]:
    kernel = _random(k, seed, 3.0)
    spectrum = np.abs(np.fft.fft2(_square(kernel), (32, 32)))
    name = f"a random {k} x {k} kernel" + (": is 7 built in?" if k != 7 else "")
    return [(name, float(spectrum[i, j]), kernel, i / 32, j / 32) for i, j in ((3, 7), (8, -2), (-5, 11))]


def _one_share(passes: Callable, about: str, truth: float, kernel: Tensor, fy: float, fx: float) -> float:
    told = f"{about}, fy={fy:g}, fx={fx:g}"
    answer = _keep(passes, kernel, fy, fx, told=told)
    if isinstance(answer, complex) or "complex" in str(getattr(answer, "dtype", "")):
        raise CheckFailed(f"{told}: you return a complex number; its absolute value is the share that passes.")
    try:
        return float(answer)
    except (TypeError, ValueError, RuntimeError):
        kind = f"shape {tuple(answer.shape)}" if hasattr(answer, "shape") else type(answer).__name__
        raise CheckFailed(f"{told}: return one number, got {kind}: sum over all taps.") from None


def _passed_wrongly() -> list[tuple[Callable, str]]:
    """Wrong frequency responses: functions of (kernel, fy, fx), and their names."""

    def wave(kernel: Tensor, fy: float, fx: float, turn: float = 2 * np.pi, corner: int = 0) -> np.ndarray:
        p = kernel.double().numpy()
        y, x = (v + corner for v in _offsets(math.isqrt(len(p))))
        return p * np.exp(-1j * turn * (fy * y + fx * x))

    def total(change: Callable, **options) -> Callable:
        return lambda *case: change(wave(*case, **options).sum())

    def at(change: Callable) -> Callable:
        return lambda kernel, fy, fx: abs(wave(kernel, *change(fy, fx)).sum())

    real = "that is the real part; kernels off centre have an imaginary part too: take abs()"
    no_imaginary = "you dropped the imaginary part: square both parts, add, take the root"
    no_real = "you dropped the real part: square both parts, add, take the root"
    return [
        (total(lambda z: abs(z) ** 2), "that is the power; the amplitude is its square root (abs() alone)"),
        (total(lambda z: z.real), real), (total(lambda z: z.real, corner=3), real),
        (total(lambda z: abs(z.real)), no_imaginary), (total(lambda z: abs(z.real), corner=3), no_imaginary),
        *((total(change, corner=c), no_real) for c in (0, 3)
          for change in (lambda z: z.imag, lambda z: -z.imag, lambda z: abs(z.imag))),
        *((total(lambda z: abs(z.real) + abs(z.imag), corner=c), "add the *squares* of both parts, then take the root")
          for c in (0, 3)),
        (lambda *case: np.abs(wave(*case)).sum(), "that is 1 for every pattern: you took abs() before the sum "
                                                  "(every wave has length 1; sum first), or you return a constant or "
                                                  "the sum of the weights"),
        (at(lambda fy, fx: (fx, fy)), "fy and fx are swapped (or the taps are read column by column)"),
        (total(abs, turn=1.0), "2 pi is missing: fy and fx are cycles, not radians"),
        (total(abs, turn=np.pi), "pi where 2 pi belongs: one cycle is a full turn"),
        (at(lambda fy, fx: (fy / 7, fx / 7)), "frequencies are per feature pixel: do not divide by k"),
        (at(lambda fy, fx: (fy * 7, fx * 7)), "frequencies are per feature pixel: do not multiply by k"),
        (total(lambda z: abs(z) / 49), "you averaged over the taps (mean, or / k*k) where the formula adds up"),
        (at(lambda fy, fx: (fy, 0)), "fx does not count in your sum: fy * dy + fx * dx"),
        (at(lambda fy, fx: (0, fx)), "fy does not count in your sum: fy * dy + fx * dx"),
        (at(lambda fy, fx: (fy, -fx)), "the sign between fy * dy and fx * dx is wrong: both are added"),
        (lambda kernel, fy, fx: abs(wave(kernel, fy, 0).sum() * wave(kernel, 0, fx).sum()),
         "rows and columns were taken apart: the wave is exp(-2 pi i (fy dy + fx dx)) for each tap"),
        (lambda *case: math.sqrt((np.abs(wave(*case)) ** 2).sum()), "you squared before adding up: first both sums, "
                                                                   "then the squares"),
        (total(lambda z: 1 - abs(z)), "that is what is stopped; asked is what passes"),
        (lambda kernel, fy, fx: abs(wave(torch.full_like(kernel, 1 / len(kernel)), fy, fx).sum()),
         "the weights do not count: multiply waves by weights"),
        (lambda kernel, fy, fx: abs(wave(kernel, round(fy * 7) / 7, round(fx * 7) / 7).sum()),
         "that is the nearest bin of an FFT with k points: compute the sum at exactly fy and fx"),
    ]  # fmt: skip


# --- exercise 4 ------------------------------------------------------------------------------------------------------


def exercise_4(shift_test: Callable[[np.ndarray, np.ndarray, list[tuple[int, int]]], Any]) -> None:
    """Correlation of two maps, and its p-value among shifted maps. Compared with NumPy and with counting by hand.

    Args:
        shift_test: (statistic [h, w], edges [h, w], shifts [(dy, dx)]) -> (observed, p). Each set of shifts holds every
            shift with its opposite, so either map may be the one that is moved.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    noise = np.random.default_rng(0).standard_normal((3, 16, 24))
    one, two, three = (_smooth(n) for n in noise)
    shifts = _both_ways([(a, b) for a in range(0, 6) for b in range(2, 12, 2)])
    stripes = np.tile([0.0, 1.0, 2.0, 1.0], (8, 4))  # whole numbers: exact sums, so ties are ties on every machine
    cases = [
        ("two unrelated smooth maps", one, two, shifts),
        ("two related smooth maps", one + 0.5 * three, three + 0.2 * two + 3, shifts),
        ("two maps of opposite sign", 0.01 * two, 5 - two + 0.6 * one, shifts[:24]),
        ("two unrelated smooth maps, few shifts", three, one - two, _both_ways([(4, 9), (5, 2), (7, 3)])),
        ("two striped maps, where a shift by 4 columns changes nothing", stripes, stripes * 2 + 1,
         [(0, 4), (0, 8), (2, 1), (5, 2), (0, 3)]),
    ]  # fmt: skip
    answers = []
    for told, statistic, edges, moves in cases:
        given = statistic.copy(), edges.copy(), list(moves)
        answers.append(_numbers(call(shift_test, *given, told=told), 2, "(observed, p)", told))
        if not (np.array_equal(given[0], statistic) and np.array_equal(given[1], edges) and given[2] == moves):
            raise CheckFailed("your function changes the maps or shifts that it is given: work on copies.")
    arguments = [case[1:] for case in cases]
    for what, index, truth_of, wrongs, generic in (
        ("observed", 0, lambda a, b, moves: _r(a, b), _observed_wrongly(), "take Pearson's correlation of all pixels"),
        ("p", 1, _p_value, _counted_wrongly(), "shift one map round by each (dy, dx) and count how often |correlation| "
         "is at least |observed| (did you shuffle pixels, or draw shifts of your own?)"),
    ):  # fmt: skip
        said = [answer[index] for answer in answers]
        for value, case, argument in zip(said, cases, arguments, strict=True):
            truth = truth_of(*argument)
            if not math.isclose(value, truth, abs_tol=1e-4):
                mistake = _named(said, arguments, wrongs, lambda x, y: math.isclose(x, y, abs_tol=1e-4)) or generic
                raise CheckFailed(f"{case[0]}: {what} is {truth:.3f}, you say {value:.3f}; {mistake}.")
    passed("Correlations agree with NumPy's, and p counts the shifts that reach as much, with 1 added above and below.")


def _smooth(noise: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(noise, 1.5, mode="wrap") * 5


def _both_ways(shifts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [s for dy, dx in shifts for s in ((dy, dx), (-dy, -dx))]


def _r(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


_TIE = 1e-12  # two sums in another order may differ in the last digit


def _p_value(a: np.ndarray, b: np.ndarray, moves: list) -> float:
    return _share(a, b, [np.roll(a, move, (0, 1)) for move in moves])


def _share(a: np.ndarray, b: np.ndarray, controls: Sequence[np.ndarray]) -> float:
    """(1 + controls that reach |observed|) / (1 + controls)."""
    reach = abs(_r(a, b)) - _TIE
    return (1 + sum(abs(_r(control, b)) >= reach for control in controls)) / (1 + len(controls))


def _observed_wrongly() -> list[tuple[Callable, str]]:
    """Wrong correlations: functions of (statistic, edges, shifts), and their names."""

    def covariance(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a - a.mean()) * (b - b.mean())).mean())

    scale = "divide by both standard deviations"
    return [
        (_p_value, "the order is (observed, p)"),
        (lambda a, b, _: abs(_r(a, b)), "the sign is lost: observed is the correlation itself, -1 to 1"),
        (lambda a, b, _: _r(a, b) ** 2, "that is the square of the correlation"),
        (lambda a, b, _: covariance(a, b), f"that is the covariance: {scale}"),
        (lambda a, b, _: covariance(a, b) * a.size / (a.size - 1), f"that is the covariance: {scale}"),
        (lambda a, b, _: covariance(a, b) / a.var(), f"that is a slope: {scale}"),
        (lambda a, b, _: covariance(a, b) / b.var(), f"that is a slope: {scale}"),
        (lambda a, b, _: (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()), "subtract each map's mean first"),
        (lambda a, b, _: (a * b).mean() / (a.std() * b.std()), "subtract each map's mean first"),
        (lambda a, b, _: _r(a.mean(0), b.mean(0)), "compare pixel with pixel, not means of columns"),
    ]


def _counted_wrongly() -> list[tuple[Callable, str]]:
    """Wrong p-values: functions of (statistic, edges, shifts), and their names."""

    def counting(change: Callable) -> Callable:
        """change: (observed, correlations of the shifted maps, their number) -> p."""
        return lambda a, b, moves: float(
            change(_r(a, b), np.array([_r(np.roll(a, move, (0, 1)), b) for move in moves]), len(moves))
        )

    def moving(roll: Callable) -> Callable:
        return lambda a, b, moves: _share(a, b, [roll(a, move) for move in moves])

    def reach(seen: float, shifted: np.ndarray) -> int:
        return int((abs(shifted) >= abs(seen) - _TIE).sum())

    def above(seen: float, shifted: np.ndarray) -> int:
        return int((shifted >= seen - _TIE).sum())

    def below(seen: float, shifted: np.ndarray) -> int:
        return int((shifted <= seen + _TIE).sum())

    def independent(a: np.ndarray, b: np.ndarray, moves: list) -> float:
        """As scipy.stats.pearsonr, whose import alone takes a second."""
        from scipy.special import stdtr

        free, r = a.size - 2, _r(a, b)
        return float(2 * stdtr(free, -abs(r) * math.sqrt(free / max(1 - r * r, 1e-15))))

    def piled(a: np.ndarray, b: np.ndarray, moves: list) -> float:
        controls = [a]
        for move in moves:
            controls.append(np.roll(controls[-1], move, (0, 1)))
        return _share(a, b, controls[1:])

    one_side = "you count one side only; compare absolute values, as asked"
    flat = "np.roll without axis=(0, 1) rolls the flattened map"
    return [
        (counting(lambda o, s, n: reach(o, s) / n), "1 is missing above and below: the unshifted map is one of the "
                                                    "1 + n, so p is never 0"),
        (counting(lambda o, s, n: reach(o, s) / (1 + n)),
         "add 1 to the count as well, not to the number of shifts alone"),
        (counting(lambda o, s, n: (1 + reach(o, s)) / n),
         "add 1 to the number of shifts as well, not to the count alone"),
        (counting(lambda o, s, n: (1 + above(o, s)) / (1 + n)), one_side),
        (counting(lambda o, s, n: (1 + below(o, s)) / (1 + n)), one_side),
        (counting(lambda o, s, n: (1 + (s >= abs(o) - _TIE).sum()) / (1 + n)), one_side),
        (counting(lambda o, s, n: min(1.0, 2 * (1 + min(above(o, s), below(o, s))) / (1 + n))),
         "you doubled one side; compare absolute values"),
        (counting(lambda o, s, n: (1 + (abs(s) >= o - _TIE).sum()) / (1 + n)),
         "observed may be negative: compare with its absolute value too"),
        (counting(lambda o, s, n: (1 + (abs(s) > abs(o) + _TIE).sum()) / (1 + n)),
         "a shift that reaches exactly the observed value counts too: >=, not >"),
        (counting(lambda o, s, n: (1 + n - reach(o, s)) / (1 + n)), "you count the shifts that reach *less*"),
        (counting(lambda o, s, n: 1 - (1 + reach(o, s)) / (1 + n)), "that is 1 - p, the share that reaches less"),
        (counting(lambda o, s, n: reach(o, s)), "that is the count; p is a share"),
        (counting(lambda o, s, n: 1 + reach(o, s)), "that is the count; p is a share"),
        (counting(lambda o, s, n: abs(s).mean()), "that is the mean of the controls, not a share of them"),
        (counting(lambda o, s, n: s.mean()), "that is the mean of the controls, not a share of them"),
        (moving(lambda m, s: np.roll(m, s, (1, 0))), "dy and dx are swapped: dy moves rows (axis 0), dx columns"),
        (moving(lambda m, s: np.roll(m, s[0], 0)), "only the rows are shifted"),
        (moving(lambda m, s: np.roll(m, s[1], 1)), "only the columns are shifted"),
        (moving(lambda m, s: np.roll(m, s)), flat), (moving(lambda m, s: np.roll(m, s[0] + s[1])), flat),
        (lambda a, b, moves: 1.0, "all controls equal the observed value: did you shift both maps alike? Shift one"),
        (independent, "that is the p-value for independent pixels; neighbours are alike: count shifts"),
        (piled, "the shifts pile up: always shift the original map"),
        (lambda a, b, moves: 1 / (1 + len(moves)), "no control reaches the observed value: did you shuffle the pixels? "
         "Shuffled maps are not smooth any more, and too easy to beat: shift them"),
    ]  # fmt: skip


# --- exercise 5 ------------------------------------------------------------------------------------------------------

SUPPORTED = {
    "B": "kernels beside an outline look to their own side in each of the drawn images, and in no control",
    "D": "the cross of several peaks stands on nearly a third of all guided kernels, and most of one head's",
    "F": "the correlation of random weights is the larger one, and its spread the tiny one: both were measured",
    "H": "permuting leaves every weight in the kernel, so entropy is the same by its formula, and the map shows it",
}  # fmt: skip
UNSUPPORTED = {
    "A": "the weights sum to 1 by construction (softmax), for any network and any image: a constant says nothing "
         "of what this network does",
    "C": "along the edges they reach 0.1 on a scale to 1: more than by chance, but far from what this sentence says",
    "E": "random weights reach a higher correlation: following edges needs no training, so it is no evidence of it",
    "G": "nothing was changed and no mask was scored: what kernels look like says nothing yet about what they cause",
    "I": "one tap passes every frequency, wherever it lies: it moves the picture and smooths nothing",
}  # fmt: skip


def exercise_5(supported: Callable[[], Any]) -> None:
    """Which statements do the figures with their controls support?

    Args:
        supported: () -> set of letters A to I.

    Raises:
        CheckFailed: naming the first letter too many or too few, and why.
    """
    answer = call(supported)
    choose(answer, SUPPORTED, UNSUPPORTED, ("{letter} is not supported", "{letter} is supported and missing"))
    passed("Four statements that their controls could have refuted, and did not; none of them says what causes what.")
