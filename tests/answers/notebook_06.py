"""Answers to the exercises of notebook 06: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import math

import numpy as np
import torch

from answers import Exercise

# --- exercise 1: displacement(kernel [k*k]) -> (dy, dx) --------------------------------------------------------------


def by_rows_and_columns(kernel):
    k = math.isqrt(len(kernel))
    square, offsets = kernel.reshape(k, k), torch.arange(k) - k // 2
    return (square.sum(1) * offsets).sum(), (square.sum(0) * offsets).sum()


def by_numpy(kernel):
    k = math.isqrt(kernel.numel())
    y, x = np.mgrid[:k, :k] - k // 2
    return [float((kernel.numpy() * v.ravel()).sum()) for v in (y, x)]


def by_loop(kernel):
    k, dy, dx = round(len(kernel) ** 0.5), 0.0, 0.0
    for q, weight in enumerate(kernel.tolist()):
        dy += weight * (q // k - (k - 1) / 2)
        dx += weight * (q % k - (k - 1) / 2)
    return torch.tensor([dy, dx])


def by_lens(kernel):
    from sgdc_viz.lens import kernel_displacement

    return kernel_displacement(kernel[None, :, None, None])[0, :, 0, 0]


def _moment(kernel, change=lambda dy, dx: (dy, dx), from_centre=True, k=None):
    k = k or math.isqrt(len(kernel))
    offsets = torch.arange(k) - (k // 2 if from_centre else 0)
    square = kernel.reshape(k, k)
    return change((square * offsets[:, None]).sum(), (square * offsets).sum())


def swapped(kernel):
    return _moment(kernel, lambda dy, dx: (dx, dy))


def column_major(kernel):
    k = math.isqrt(len(kernel))
    return _moment(kernel.reshape(k, k).T.flatten())


def from_corner(kernel):
    return _moment(kernel, from_centre=False)


def corner_and_swapped(kernel):
    return _moment(kernel, lambda dy, dx: (dx, dy), from_centre=False)


def turned_round(kernel):
    return _moment(kernel, lambda dy, dx: (-dy, -dx))


def y_up(kernel):
    return _moment(kernel, lambda dy, dx: (-dy, dx))


def x_left(kernel):
    return _moment(kernel, lambda dy, dx: (dy, -dx))


def mean_for_sum(kernel):
    return _moment(kernel, lambda dy, dx: (dy / len(kernel), dx / len(kernel)))


def in_image_pixels(kernel):
    return _moment(kernel, lambda dy, dx: (2 * dy, 2 * dx))


def as_share_of_half(kernel):
    return _moment(kernel, lambda dy, dx: (dy / 3, dx / 3))


def largest(kernel):
    k = math.isqrt(len(kernel))
    q = int(kernel.argmax())
    return q // k - k // 2, q % k - k // 2


def unweighted(kernel):
    k = math.isqrt(len(kernel))
    places = torch.nonzero(kernel.reshape(k, k)) - k // 2
    return places.float().mean(0)


def softmax_again(kernel):
    return _moment(kernel.softmax(0))


def rounded(kernel):
    return _moment(kernel, lambda dy, dx: (round(float(dy)), round(float(dx))))


def seven_built_in(kernel):
    return _moment(kernel, k=7)


def three_built_in(kernel):
    k = math.isqrt(len(kernel))
    square, offsets = kernel.reshape(k, k), torch.arange(k) - 3
    return (square * offsets[:, None]).sum(), (square * offsets).sum()


def half_of_seven(kernel):
    return _moment(kernel, lambda dy, dx: (dy - 0.5, dx - 0.5))


def one_based(kernel):
    return _moment(kernel, lambda dy, dx: (dy + 1, dx + 1))


def centre_from_1(kernel):
    return _moment(kernel, lambda dy, dx: (dy - 1, dx - 1))


def one_based_corner(kernel):
    return _moment(kernel, lambda dy, dx: (dy + 1, dx + 1), from_centre=False)


def length_only(kernel):
    return _moment(kernel, lambda dy, dx: torch.hypot(dy, dx))


def no_sign(kernel):
    k = math.isqrt(len(kernel))
    dy, dx = _moment(kernel)
    return abs(dy), abs(dx) if k else None


def not_summed(kernel):
    k = math.isqrt(len(kernel))
    offsets = torch.arange(k) - k // 2
    return kernel.reshape(k, k) * offsets[:, None], kernel.reshape(k, k) * offsets


def in_place_1(kernel):
    kernel /= kernel.max()
    return _moment(kernel / kernel.sum())


# --- exercise 2: ellipse(kernel [k*k]) -> (major, minor, angle) ------------------------------------------------------


def _covariance(kernel, centred=True, transposed=False):
    k = math.isqrt(len(kernel))
    y, x = torch.meshgrid(torch.arange(k) - k // 2, torch.arange(k) - k // 2, indexing="ij")
    y, x = y.flatten().double(), x.flatten().double()
    if transposed:
        y, x = x, y
    p = kernel.double()
    if centred:
        y, x = y - (p * y).sum(), x - (p * x).sum()
    return (p * x * x).sum(), (p * x * y).sum(), (p * y * y).sum()


def by_formula(kernel):
    a, b, c = _covariance(kernel)
    gap = torch.hypot((a - c) / 2, b)
    root = lambda v: v.clamp_min(0).sqrt()  # noqa: E731
    return root((a + c) / 2 + gap), root((a + c) / 2 - gap), torch.atan2(2 * b, a - c) / 2


def by_eigh(kernel):
    a, b, c = (float(v) for v in _covariance(kernel))
    values, vectors = np.linalg.eigh([[a, b], [b, c]])
    minor, major = np.sqrt(np.clip(values, 0, None))
    return major, minor, math.atan2(vectors[1, 1], vectors[0, 1])


def by_np_cov(kernel):
    k = math.isqrt(len(kernel))
    x, y = np.tile(np.arange(k), k), np.repeat(np.arange(k), k)
    u, s, _ = np.linalg.svd(np.cov(np.stack([x, y]), ddof=0, aweights=kernel.double().numpy()))
    return torch.tensor([s[0] ** 0.5, s[1] ** 0.5, np.arctan(u[1, 0] / u[0, 0]) if u[0, 0] else np.pi / 2])


def _from(covariance, change=lambda major, minor, angle: (major, minor, angle)):
    a, b, c = covariance
    gap = torch.hypot((a - c) / 2, b)
    root = lambda v: float(v.clamp_min(0).sqrt())  # noqa: E731
    return change(root((a + c) / 2 + gap), root((a + c) / 2 - gap), float(torch.atan2(2 * b, a - c) / 2))


def not_centred(kernel):
    return _from(_covariance(kernel, centred=False))


def not_centred_variance(kernel):
    return _from(_covariance(kernel, centred=False), lambda a, b, t: (a * a, b * b, t))


def transposed(kernel):
    return _from(_covariance(kernel, transposed=True))


def variances(kernel):
    return _from(_covariance(kernel), lambda a, b, t: (a * a, b * b, t))


def variances_upwards(kernel):
    return _from(_covariance(kernel), lambda a, b, t: (b * b, a * a, t))


def degrees(kernel):
    return _from(_covariance(kernel), lambda a, b, t: (a, b, math.degrees(t)))


def minor_first(kernel):
    return _from(_covariance(kernel), lambda a, b, t: (b, a, t))


def short_axis(kernel):
    return _from(_covariance(kernel), lambda a, b, t: (a, b, t + math.pi / 2))


def y_is_up(kernel):
    return _from(_covariance(kernel), lambda a, b, t: (a, b, -t))


def not_halved(kernel):
    return _from(_covariance(kernel), lambda a, b, t: (a, b, 2 * t))


def atan_of_quotient(kernel):
    a, b, c = _covariance(kernel)
    return _from((a, b, c), lambda s, t, _: (s, t, float(torch.atan(2 * b / (a - c + 1e-12)) / 2)))


def atan2_swapped(kernel):
    a, b, c = _covariance(kernel)
    return _from((a, b, c), lambda s, t, _: (s, t, float(torch.atan2(a - c, 2 * b) / 2)))


def diameters(kernel):
    return _from(_covariance(kernel), lambda a, b, t: (2 * a, 2 * b, t))


def sample_covariance(kernel):
    k = math.isqrt(len(kernel))
    x, y = torch.arange(k).repeat(k).double(), torch.arange(k).repeat_interleave(k).double()
    (a, b), (_, c) = torch.cov(torch.stack([x, y]), aweights=kernel.double())
    return _from((a, b, c))


def mean_in_covariance(kernel):
    return _from(tuple(v / len(kernel) for v in _covariance(kernel)))


def diagonal_only(kernel):
    a, b, c = _covariance(kernel)
    return _from((a, b, c), lambda s, t, angle: (float(a.sqrt()), float(c.sqrt()), angle))


def unsorted_eig(kernel):
    a, b, c = (float(v) for v in _covariance(kernel))
    values, vectors = np.linalg.eig(np.array([[a, b], [b, c]]))
    first, second = np.sqrt(np.clip(values, 0, None))
    return first, second, math.atan2(vectors[1, 0], vectors[0, 0])


def no_cross_term(kernel):
    a, b, c = _covariance(kernel)
    return _from((a, 0 * b, c))


def two_missing(kernel):
    a, b, c = _covariance(kernel)
    return _from((a, b, c), lambda s, t, _: (s, t, float(torch.atan2(b, a - c) / 2)))


def by_acos(kernel):
    a, b, c = (float(v) for v in _covariance(kernel))
    values, vectors = np.linalg.eigh([[a, b], [b, c]])
    minor, major = np.sqrt(np.clip(values, 0, None))
    return major, minor, math.acos(vectors[0, 1])


def no_clamp(kernel):
    y, x = torch.meshgrid(torch.arange(7) - 3, torch.arange(7) - 3, indexing="ij")
    y, x = y.flatten() - (kernel * y.flatten()).sum(), x.flatten() - (kernel * x.flatten()).sum()
    a, b, c = (kernel * x * x).sum(), (kernel * x * y).sum(), (kernel * y * y).sum()
    half, gap = (a + c) / 2, torch.hypot((a - c) / 2, b)
    return (half + gap).sqrt(), (half - gap).sqrt(), torch.atan2(2 * b, a - c) / 2


def ellipse_by_lens(kernel):
    from sgdc_viz.lens import kernel_ellipse

    e = kernel_ellipse(kernel[None, :, None, None])
    return e.major.item(), e.minor.item(), e.angle.item()


def covariance_by_lens(kernel):
    from sgdc_viz import lens

    values, vectors = torch.linalg.eigh(lens.kernel_covariance(kernel[None, :, None, None])[0, :, :, 0, 0])
    return values[1] ** 0.5, values[0] ** 0.5, torch.atan2(vectors[0, 1], vectors[1, 1])


def only_axes(kernel):
    return by_formula(kernel)[:2]


def seven_built_in_2(kernel):
    return by_formula(kernel.reshape(7, 7).flatten())


# --- exercise 3: passes(kernel [k*k], fy, fx) ------------------------------------------------------------------------


def by_cos_and_sin(kernel, fy, fx):
    k = math.isqrt(len(kernel))
    offsets = torch.arange(k) - k // 2
    phase = 2 * math.pi * (fy * offsets.repeat_interleave(k) + fx * offsets.repeat(k))
    return math.hypot((kernel * phase.cos()).sum(), (kernel * phase.sin()).sum())


def from_the_corner(kernel, fy, fx):
    k = math.isqrt(len(kernel))
    y, x = np.mgrid[:k, :k]
    return abs((kernel.numpy().reshape(k, k) * np.exp(2j * np.pi * (fy * y + fx * x))).sum())


def separable(kernel, fy, fx):
    k = math.isqrt(len(kernel))
    n = torch.arange(k)
    wave = lambda f: torch.polar(torch.ones(k), -2 * math.pi * f * n)  # noqa: E731
    return (wave(fy) @ kernel.reshape(k, k).to(torch.complex64) @ wave(fx)).abs()


def _wave(kernel, fy, fx, turn=2 * np.pi, origin=None):
    k = math.isqrt(len(kernel))
    y, x = np.mgrid[:k, :k] - (k // 2 if origin is None else origin)
    return kernel.double().numpy() * np.exp(-1j * turn * (fy * y + fx * x)).ravel()


def power(kernel, fy, fx):
    return abs(_wave(kernel, fy, fx).sum()) ** 2


def no_pi(kernel, fy, fx):
    return abs(_wave(kernel, fy, fx, 1.0).sum())


def half_turn(kernel, fy, fx):
    return abs(_wave(kernel, fy, fx, np.pi).sum())


def real_part(kernel, fy, fx):
    return _wave(kernel, fy, fx).sum().real


def abs_real_part(kernel, fy, fx):
    return abs(_wave(kernel, fy, fx).sum().real)


def real_part_from_corner(kernel, fy, fx):
    return _wave(kernel, fy, fx, origin=0).sum().real


def imaginary_part(kernel, fy, fx):
    return abs(_wave(kernel, fy, fx).sum().imag)


def parts_added(kernel, fy, fx):
    total = _wave(kernel, fy, fx).sum()
    return abs(total.real) + abs(total.imag)


def squares_before_sum(kernel, fy, fx):
    return math.sqrt((np.abs(_wave(kernel, fy, fx)) ** 2).sum())


def mean_over_taps(kernel, fy, fx):
    return abs(_wave(kernel, fy, fx).mean())


def abs_inside(kernel, fy, fx):
    return np.abs(_wave(kernel, fy, fx)).sum()


def swapped_frequencies(kernel, fy, fx):
    return abs(_wave(kernel, fx, fy).sum())


def taps_by_column(kernel, fy, fx):
    k = math.isqrt(len(kernel))
    return abs(_wave(kernel.reshape(k, k).T.flatten(), fy, fx).sum())


def per_kernel(kernel, fy, fx):
    k = math.isqrt(len(kernel))
    return abs(_wave(kernel, fy / k, fx / k).sum())


def difference_of_phases(kernel, fy, fx):
    return abs(_wave(kernel, fy, -fx).sum())


def rows_times_columns(kernel, fy, fx):
    return abs(_wave(kernel, fy, 0).sum()) * abs(_wave(kernel, 0, fx).sum())


def columns_forgotten(kernel, fy, fx):
    return abs(_wave(kernel, fy, 0).sum())


def complex_number(kernel, fy, fx):
    return _wave(kernel, fy, fx).sum()


def whole_spectrum(kernel, fy, fx):
    k = math.isqrt(len(kernel))
    return torch.fft.fft2(kernel.reshape(k, k)).abs()


def nearest_bin(kernel, fy, fx):
    k = math.isqrt(len(kernel))
    return torch.fft.fft2(kernel.reshape(k, k)).abs()[round(fy * k) % k, round(fx * k) % k]


def response_by_lens(kernel, fy, fx):
    from sgdc_viz.lens import kernel_response

    spectrum = kernel_response(kernel[None, :, None, None], 65)[0, :, :, 0, 0]
    return spectrum[32 + round(65 * fy), 32 + round(65 * fx)]


def stopped(kernel, fy, fx):
    return 1 - abs(_wave(kernel, fy, fx).sum())


def no_weights(kernel, fy, fx):
    return abs(_wave(torch.full_like(kernel, 1 / len(kernel)), fy, fx).sum())


def seven_built_in_3(kernel, fy, fx):
    return abs(_wave(kernel.reshape(7, 7).flatten(), fy, fx).sum())


# --- exercise 4: shift_test(statistic, edges, shifts) -> (observed, p) -----------------------------------------------


def _r(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _test(a, b, shifts, move=None, p=None, observed=_r):
    move = move or (lambda m, s: np.roll(m, s, (0, 1)))
    p = p or (lambda seen, others, n: (1 + (abs(others) >= abs(seen) - 1e-12).sum()) / (1 + n))
    seen = _r(a, b)
    others = np.array([_r(move(a, s), b) for s in shifts])
    return observed(a, b), float(p(seen, others, len(shifts)))


def by_scipy(statistic, edges, shifts):
    from scipy.stats import pearsonr

    a, b = statistic.ravel(), edges.ravel()
    observed = pearsonr(a, b).statistic
    count = 1
    for dy, dx in shifts:
        moved = np.roll(np.roll(edges, dy, 0), dx, 1)
        count += abs(pearsonr(a, moved.ravel()).statistic) >= abs(observed) - 1e-9
    return observed, count / (len(shifts) + 1)


def by_torch(statistic, edges, shifts):
    a, b = torch.from_numpy(statistic), torch.from_numpy(edges)
    r = lambda m: torch.corrcoef(torch.stack([m.flatten(), b.flatten()]))[0, 1].item()  # noqa: E731
    values = [r(a)] + [r(a.roll(s, (0, 1))) for s in shifts]  # the unshifted one counts itself
    return values[0], sum(abs(v) >= abs(values[0]) - 1e-12 for v in values) / len(values)


def by_z_scores(statistic, edges, shifts):
    z = lambda m: (m - m.mean()) / m.std()  # noqa: E731
    a, b = z(statistic), z(edges)
    others = np.array([(a * np.roll(b, s, axis=(0, 1))).mean() for s in shifts])
    observed = (a * b).mean()
    return np.array([observed, (1 + np.sum(np.abs(others) >= abs(observed) - 1e-12)) / (1 + len(others))])


def no_plus_one(a, b, shifts):
    return _test(a, b, shifts, p=lambda seen, others, n: (abs(others) >= abs(seen)).mean())


def plus_one_below_only(a, b, shifts):
    return _test(a, b, shifts, p=lambda seen, others, n: (abs(others) >= abs(seen)).sum() / (1 + n))


def plus_one_above_only(a, b, shifts):
    return _test(a, b, shifts, p=lambda seen, others, n: (1 + (abs(others) >= abs(seen)).sum()) / n)


def one_sided(a, b, shifts):
    return _test(a, b, shifts, p=lambda seen, others, n: (1 + (others >= seen).sum()) / (1 + n))


def other_side(a, b, shifts):
    return _test(a, b, shifts, p=lambda seen, others, n: (1 + (others <= seen).sum()) / (1 + n))


def observed_with_sign(a, b, shifts):
    return _test(a, b, shifts, p=lambda seen, others, n: (1 + (abs(others) >= seen - 1e-12).sum()) / (1 + n))


def strictly_larger(a, b, shifts):
    return _test(a, b, shifts, p=lambda seen, others, n: (1 + (abs(others) > abs(seen) + 1e-12).sum()) / (1 + n))


def fewer_counted(a, b, shifts):
    return _test(a, b, shifts, p=lambda seen, others, n: (1 + (abs(others) < abs(seen)).sum()) / (1 + n))


def one_minus_p(a, b, shifts):
    seen, p = by_z_scores(a, b, shifts)
    return seen, 1 - p


def a_count(a, b, shifts):
    return _test(a, b, shifts, p=lambda seen, others, n: (abs(others) >= abs(seen)).sum())


def mean_of_controls(a, b, shifts):
    return _test(a, b, shifts, p=lambda seen, others, n: abs(others).mean())


def pixels_shuffled(a, b, shifts):
    rng = np.random.default_rng(0)
    return _test(a, b, shifts, move=lambda m, s: rng.permutation(m.ravel()))


def rows_shuffled(a, b, shifts):
    rng = np.random.default_rng(0)
    return _test(a, b, shifts, move=lambda m, s: rng.permutation(m))


def both_shifted(a, b, shifts):
    others = [_r(np.roll(a, s, (0, 1)), np.roll(b, s, (0, 1))) for s in shifts]
    seen = _r(a, b)
    return seen, (1 + sum(abs(o) >= abs(seen) - 1e-9 for o in others)) / (1 + len(others))


def rows_only(a, b, shifts):
    return _test(a, b, shifts, move=lambda m, s: np.roll(m, s[0], 0))


def columns_only(a, b, shifts):
    return _test(a, b, shifts, move=lambda m, s: np.roll(m, s[1], 1))


def dy_and_dx_swapped(a, b, shifts):
    return _test(a, b, shifts, move=lambda m, s: np.roll(m, s, (1, 0)))


def without_axis(a, b, shifts):
    return _test(a, b, shifts, move=lambda m, s: np.roll(m, s))


def piled_up(a, b, shifts):
    seen, others = _r(a, b), []
    moved = a
    for s in shifts:
        moved = np.roll(moved, s, (0, 1))
        others.append(_r(moved, b))
    return seen, (1 + sum(abs(o) >= abs(seen) - 1e-12 for o in others)) / (1 + len(others))


def p_of_scipy(a, b, shifts):
    from scipy.stats import pearsonr

    return tuple(pearsonr(a.ravel(), b.ravel()))


def zeros_enter(a, b, shifts):
    from scipy.ndimage import shift

    return _test(a, b, shifts, move=lambda m, s: shift(m, s, order=0))


def own_shifts(a, b, shifts):
    rng = np.random.default_rng(1)
    return _test(a, b, [tuple(rng.integers(0, 8, 2)) for _ in shifts])


def absolute_observed(a, b, shifts):
    return _test(a, b, shifts, observed=lambda a, b: abs(_r(a, b)))


def squared(a, b, shifts):
    return _test(a, b, shifts, observed=lambda a, b: _r(a, b) ** 2)


def covariance_only(a, b, shifts):
    return _test(a, b, shifts, observed=lambda a, b: ((a - a.mean()) * (b - b.mean())).mean())


def cosine(a, b, shifts):
    return _test(a, b, shifts, observed=lambda a, b: (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def slope(a, b, shifts):
    return _test(a, b, shifts, observed=lambda a, b: np.polyfit(b.ravel(), a.ravel(), 1)[0])


def p_first(a, b, shifts):
    return by_z_scores(a, b, shifts)[::-1]


def p_alone(a, b, shifts):
    return by_z_scores(a, b, shifts)[1]


def doubled(a, b, shifts):
    return _test(
        a, b, shifts,
        p=lambda seen, others, n: min(1, 2 * (1 + min((others >= seen).sum(), (others <= seen).sum())) / (1 + n)),
    )  # fmt: skip


# --- exercise 5: supported() -----------------------------------------------------------------------------------------


def choose(letters):
    return lambda: letters


EXERCISES = {
    "exercise_1": Exercise(
        right=[by_rows_and_columns, by_numpy, by_loop],
        wrong=[
            ("the library's function", by_lens, "kernel_displacement is the library's own version"),
            ("dx before dy", swapped, "swapped"),
            ("taps read column by column", column_major, "row by row"),
            ("counted from the corner", from_corner, "from the upper left corner"),
            ("counted from the corner, dx first", corner_and_swapped, "corner, and dy and dx are swapped"),
            ("from the neighbour to the pixel", turned_round, "turned round"),
            ("y points up", y_up, "down"),
            ("x points left", x_left, "dx > 0 is to the right"),
            ("mean in place of sum", mean_for_sum, "averaged over the taps"),
            ("in image pixels", in_image_pixels, "twice too large"),
            ("as a share of half the width", as_share_of_half, "half the width"),
            ("the largest weight alone", largest, "largest weight"),
            ("offsets without weights", unweighted, "weights do not count"),
            ("softmax of what is a softmax already", softmax_again, "softmax"),
            ("rounded to whole taps", rounded, "rounded"),
            ("7 built in", seven_built_in, "is 7 built in"),
            ("3 built in", three_built_in, "built in somewhere"),
            ("centre at 3.5", half_of_seven, "not 3.5"),
            ("centre off by one", one_based, "off by one"),
            ("centre off by one, the other way", centre_from_1, "off by one"),
            ("counted from 1 at the corner", one_based_corner, "from 1 at the upper left"),
            ("the length only", length_only, "return 2 numbers"),
            ("sign lost", no_sign, "sign is lost"),
            ("no sum", not_summed, "return 2 numbers"),
            ("kernel changed in place", in_place_1, "changes the kernel"),
        ],
    ),
    "exercise_2": Exercise(
        right=[by_formula, by_eigh, by_np_cov],
        wrong=[
            ("the library's function", ellipse_by_lens, "kernel_ellipse is the library's own version"),
            ("the library's covariance", covariance_by_lens, "kernel_covariance is the library's own version"),
            ("offsets not centred", not_centred, "subtract the centre of mass"),
            ("not centred, no square root", not_centred_variance, "subtract the centre of mass first, and take"),
            ("x and y swapped", transposed, "x and y are swapped"),
            ("variances for standard deviations", variances, "take the root"),
            ("variances, short one first", variances_upwards, "variances, in the wrong order"),
            ("angle in degrees", degrees, "degrees"),
            ("short axis first", minor_first, "wrong order of the axes"),
            ("angle of the short axis", short_axis, "angle of the short axis"),
            ("y points up", y_is_up, "turns the wrong way"),
            ("half of the angle forgotten", not_halved, "halve it"),
            ("atan2 with x first", atan2_swapped, "atan2 takes y first"),
            ("atan for atan2", atan_of_quotient, "cannot tell the long axis"),
            ("diameters for half axes", diameters, "twice too long"),
            ("covariance of a sample", sample_covariance, "no n - 1"),
            ("mean in place of sum", mean_in_covariance, "averaged over the taps"),
            ("diagonal for eigenvalues", diagonal_only, "diagonal of Sigma"),
            ("eigenvalues in any order", unsorted_eig, "always come first"),
            ("cross term forgotten", no_cross_term, "diagonal of Sigma"),
            ("2 missing in the angle", two_missing, "a 2 is missing"),
            ("acos for atan2", by_acos, "loses its sign"),
            ("negative variance by rounding", no_clamp, "NaN"),
            ("angle forgotten", only_axes, "return 3 numbers"),
            ("7 built in", seven_built_in_2, "is 7 built in"),
        ],
    ),
    "exercise_3": Exercise(
        right=[by_cos_and_sin, from_the_corner, separable],
        wrong=[
            ("power for amplitude", power, "that is the power"),
            ("2 pi forgotten", no_pi, "2 pi is missing"),
            ("pi for 2 pi", half_turn, "one cycle is a full turn"),
            ("real part only", real_part, "real part"),
            ("absolute value of the real part", abs_real_part, "imaginary part"),
            ("real part, counted from the corner", real_part_from_corner, "real part"),
            ("imaginary part only", imaginary_part, "real part"),
            ("both parts added, not squared", parts_added, "squares"),
            ("squared before the sum", squares_before_sum, "squared before adding up"),
            ("mean in place of sum", mean_over_taps, "averaged over the taps"),
            ("absolute value before the sum", abs_inside, "before the sum"),
            ("a constant 1", lambda kernel, fy, fx: 1.0, "you return a constant"),
            ("the sum of the weights", lambda kernel, fy, fx: kernel.sum(), "or the sum of the weights"),
            ("a constant 0.5", lambda kernel, fy, fx: 0.5, "the same number for every kernel"),
            ("the library's function", response_by_lens, "kernel_response is the library's own version"),
            ("fy and fx swapped", swapped_frequencies, "swapped"),
            ("taps read column by column", taps_by_column, "column by column"),
            ("cycles per kernel", per_kernel, "do not divide by k"),
            ("minus between the two phases", difference_of_phases, "both are added"),
            ("rows and columns apart", rows_times_columns, "taken apart"),
            ("fx forgotten", columns_forgotten, "fx does not count"),
            ("complex number returned", complex_number, "complex number"),
            ("the whole spectrum", whole_spectrum, "return one number"),
            ("nearest bin of an FFT of k", nearest_bin, "nearest bin"),
            ("what is stopped", stopped, "what is stopped"),
            ("weights forgotten", no_weights, "weights do not count"),
            ("7 built in", seven_built_in_3, "is 7 built in"),
        ],
    ),
    "exercise_4": Exercise(
        right=[by_scipy, by_torch, by_z_scores],
        wrong=[
            ("p can be 0", no_plus_one, "1 is missing above and below"),
            ("1 added below only", plus_one_below_only, "to the count as well"),
            ("1 added above only", plus_one_above_only, "to the number of shifts as well"),
            ("large values only", one_sided, "one side only"),
            ("small values only", other_side, "one side only"),
            ("sign of observed kept in the comparison", observed_with_sign, "its absolute value too"),
            ("ties not counted", strictly_larger, ">=, not >"),
            ("the wrong ones counted", fewer_counted, "reach \\*less\\*"),
            ("1 - p", one_minus_p, "1 - p"),
            ("a count, not a share", a_count, "count; p is a share"),
            ("mean of the controls", mean_of_controls, "mean of the controls"),
            ("pixels shuffled", pixels_shuffled, "shuffle"),
            ("rows shuffled", rows_shuffled, "shuffle"),
            ("both maps shifted", both_shifted, "shift both"),
            ("columns not shifted", rows_only, "only the rows"),
            ("rows not shifted", columns_only, "only the columns"),
            ("dy and dx swapped", dy_and_dx_swapped, "dy and dx are swapped"),
            ("flattened map rolled", without_axis, "without axis"),
            ("shifts pile up", piled_up, "pile up"),
            ("p-value for independent pixels", p_of_scipy, "independent pixels"),
            ("zeros shifted in", zeros_enter, "shift one map round"),
            ("shifts of one's own", own_shifts, "shifts of your own"),
            ("sign of the correlation lost", absolute_observed, "sign is lost"),
            ("correlation squared", squared, "square of the correlation"),
            ("covariance for correlation", covariance_only, "covariance"),
            ("means not subtracted", cosine, "subtract each map's mean"),
            ("slope for correlation", slope, "slope"),
            ("p before observed", p_first, "order is"),
            ("p alone", p_alone, "return 2 numbers"),
            ("one side doubled", doubled, "doubled one side"),
        ],
    ),
    "exercise_5": Exercise(
        right=[choose({"B", "D", "F", "H"}), choose(["H", "F", "D", "B"]), choose("BDFH")],
        wrong=[
            ("a constant read as a finding", choose({"A", "B", "D", "F", "H"}), "A is not supported"),
            ("more than chance read as strong", choose({"B", "C", "D", "F", "H"}), "C is not supported"),
            ("structure read as training", choose({"B", "D", "E", "F", "H"}), "E is not supported"),
            ("looks read as cause", choose({"B", "D", "F", "G", "H"}), "G is not supported"),
            ("far tap taken for a low-pass", choose({"B", "D", "F", "H", "I"}), "I is not supported"),
            ("direction not believed", choose({"D", "F", "H"}), "B is supported and missing"),
            ("several peaks overlooked", choose({"B", "F", "H"}), "D is supported and missing"),
            ("spread overlooked", choose({"B", "D", "H"}), "F is supported and missing"),
            ("permuting thought to change entropy", choose({"B", "D", "F"}), "H is supported and missing"),
            ("nothing believed", choose(set()), "supported and missing"),
            ("letters that do not exist", choose({"Z"}), "letters A to I"),
            ("a number", choose(4), "letters A to I"),
        ],
    ),
}
