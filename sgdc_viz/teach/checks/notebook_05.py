"""Checks of notebook 05. Each is given the learner's own function and raises `CheckFailed`, or prints one line."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import CheckFailed, call, choose, own_lines, passed

# --- exercise 1: fair_pairs(runs) ------------------------------------------------------------------------------------


def _run(name: str, source: str, **changes) -> dict:
    run = {"name": name, "kernel_source": source, "seed": 0, "steps": 600, "data": "nuclei"}
    return {**run, "iou": 0.7 + len(name) / 100 + (source == "pooled") / 50, **changes}


def exercise_1(fair_pairs: Callable[[list[dict]], list[tuple[str, str]]]) -> None:
    """Which runs make a fair pair? Compared with lists sorted out by hand.

    Args:
        fair_pairs: list of runs (dicts) -> list or set of (name of the guided run, name of the pooled run).

    Raises:
        CheckFailed: naming the likely mistake.
    """
    g, p = _run("g0", "structure"), _run("p0", "pooled")
    cases: list[tuple[list[dict], set, str]] = [
        ([g, p], {("g0", "p0")},
         'these two differ in nothing but kernel_source, which is "structure" or "pooled" (name and iou are no '
         "settings: a result may differ)"),
        ([{**g, "name": "x1"}, {**p, "name": "x2"}], {("x1", "x2")},
         "these two make a pair; look at kernel_source, not at how a run is called"),
        ([g, {**p, "seed": 1}], set(), "their seeds differ, so they began with other weights and saw other data"),
        ([{**g, "iou": 0.8}, {**p, "iou": 0.8, "seed": 1}], set(),
         "their seeds differ; that their results are equal does not make up for it"),
        ([g, {**p, "steps": 1200}], set(), "their steps differ: the longer training has an advantage"),
        ([g, {**p, "data": "dermoscopy"}], set(), "their data differ"),
        ([{**g, "crop": 96}, {**p, "crop": 128}], set(),
         "their crop differs: compare *every* setting that a run has, not a list of names that you know"),
        ([{**g, "init": "nuclei-structure"}, p], set(),
         "one has a setting (init) that the other does not have: that is a difference"),
        ([g, {**p, "init": "nuclei-pooled"}], set(),
         "one has a setting (init) that the other does not have: that is a difference, on whichever side"),
        ([{**g, "init": None}, p], set(),
         "one has a setting (init, with the value None) that the other does not have: .get() gives None for both"),
        ([{**g, "crop": 64}, {**p, "augment": 64}], set(),
         "the values are equal but belong to different settings: compare keys and values"),
        ([g, dict(reversed(p.items()))], {("g0", "p0")}, "in which order the settings stand does not matter"),
        ([g, _run("g1", "structure")], set(), "two guided runs are no pair of arms"),
        ([_run("s0", "semantic"), p], set(), "a pair here is structure against pooled; this one is semantic"),
        ([g, _run("s0", "semantic")], set(), "a pair here is structure against pooled; this one is semantic"),
        ([p, g], {("g0", "p0")}, "the pooled run may stand first in the list: look at all pairs, in both orders"),
        ([g, p, _run("g1", "structure", seed=1), _run("p1", "pooled", seed=1)], {("g0", "p0"), ("g1", "p1")},
         "two fair pairs are in this list: do not stop at the first one"),
        ([g, _run("g1", "structure", seed=1), _run("p1", "pooled", seed=1), p], {("g0", "p0"), ("g1", "p1")},
         "partners do not stand at equal places of the list: compare each guided run with each pooled run"),
        ([g, _run("g1", "structure", seed=1), p], {("g0", "p0")}, "g1 has no partner and must not appear"),
        ([g, p, _run("again", "pooled")], {("g0", "p0"), ("g0", "again")},
         "a run may have two partners (here a repeated run): every fair pair counts"),
    ]  # fmt: skip
    for runs, wanted, mistake in cases:
        told = "runs " + ", ".join(run["name"] for run in runs)
        given = copy.deepcopy(runs)
        answer = call(fair_pairs, given, told=told)
        if given != runs:
            raise CheckFailed("your function changes the runs it is given (pop, del or =): make copies of the dicts.")
        found = _pairs(answer, told)
        if found == wanted:
            continue
        if found == {(b, a) for a, b in wanted}:
            raise CheckFailed(f"{told}: give (guided, pooled), the guided name first; yours is {sorted(found)}.")
        if wanted and found > wanted and {(b, a) for a, b in wanted} <= found:
            raise CheckFailed(f"{told}: each pair once, (guided, pooled), not in both orders; yours {sorted(found)}.")
        raise CheckFailed(f"{told}: wanted {_told(wanted)}, yours {_told(found)}: {mistake}.")
    if list(call(fair_pairs, [], told="no runs")):
        raise CheckFailed("no runs, no pairs: for an empty list the answer is empty.")
    passed("A fair pair differs in kernel_source and in no other setting.")


def _pairs(answer: Any, told: str) -> set[tuple[str, str]]:
    if not isinstance(answer, list | set | tuple | frozenset):
        raise CheckFailed(f"{told}: return a list of pairs, got {type(answer).__name__}.")
    pairs = [tuple(pair) if isinstance(pair, tuple | list) else pair for pair in answer]
    if any(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], dict) for pair in pairs):
        raise CheckFailed(f'{told}: give the *names* of the two runs, run["name"], not the dicts.')
    if not all(isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(n, str) for n in pair) for pair in pairs):
        raise CheckFailed(f"{told}: each entry must be (name of the guided run, name of the pooled run).")
    if len(set(pairs)) < len(pairs):
        raise CheckFailed(f"{told}: the pair {max(pairs, key=pairs.count)} is there twice: list each pair once.")
    return set(pairs)


def _told(pairs: set) -> str:
    return ", ".join(map(str, sorted(pairs))) or "no pair"


# --- exercise 2: overlap(pred, true) ---------------------------------------------------------------------------------


def exercise_2(overlap: Callable[[np.ndarray, np.ndarray], tuple[float, float]]) -> None:
    """IoU and Dice of two bool masks. Compared with hand values and with counts of single pixels.

    Args:
        overlap: (pred, true), bool [H, W] -> (iou, dice), NaN where both masks are empty.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(overlap, "evaluate_masks", "evaluate_labels", "evaluate", "iou", "dice")
    pred, true = np.zeros((4, 7), bool), np.zeros((4, 7), bool)
    pred[0, :3], true[0, 1:7] = True, True  # 3 and 6 pixels, 2 shared, 28 in all: each mistake has a value of its own
    _overlap(overlap, pred, true, "3 predicted and 6 true pixels of which 2 are shared")
    _overlap(overlap, true, pred, "6 predicted and 3 true pixels of which 2 are shared")
    _overlap(overlap, true, true, "two equal masks")
    _overlap(overlap, pred, ~pred & true, "two masks that share no pixel")
    _overlap(overlap, pred, np.zeros_like(true), "nothing is there, something was predicted")
    _overlap(overlap, np.zeros_like(pred), true, "something is there, nothing was predicted")
    large = np.ones((300, 301), bool)
    _overlap(overlap, large, large & (np.arange(301) < 200), "a large mask, 300 x 301 pixels")
    rng = np.random.default_rng(0)
    for size in ((7, 9), (1, 40), (33, 8)):
        _overlap(overlap, rng.random(size) < 0.4, rng.random(size) < 0.5, f"random masks of size {size}")
    empty = np.zeros((6, 4), bool)
    for name, value in zip(("IoU", "Dice"), _two(overlap, empty, empty, "two empty masks", "(iou, dice)"), strict=True):
        if math.isnan(value):
            continue
        why = {1.0: "nothing was found, so nothing was right; or did you add a small number against 0 / 0",
               0.0: "nothing was missed, so nothing was wrong"}.get(round(value, 3), "0 / 0 is undefined")  # fmt: skip
        raise CheckFailed(
            f"two empty masks: {name} must be NaN (math.nan), yours is {value:.3g} ({why}). Undefined images are left "
            "out of the mean and counted."
        )
    passed("IoU and Dice agree with counted pixels; two empty masks are undefined, one empty mask scores 0.")


def _overlap(function: Callable, pred: np.ndarray, true: np.ndarray, told: str) -> None:
    iou, dice = _two(function, pred, true, told, "(iou, dice)")
    flat = list(zip(pred.ravel().tolist(), true.ravel().tolist(), strict=True))
    both, one = sum(a and b for a, b in flat), sum(a != b for a, b in flat)
    first, second, pixels = sum(a for a, _ in flat), sum(b for _, b in flat), len(flat)
    right = {"IoU": both / (both + one), "Dice": 2 * both / (first + second)}
    mistakes = {
        "pred + true of two bool arrays is their union, not a sum; add .sum() of each": (
            lambda: both / (first + second - both - one)
        ),
        "you divide twice the shared pixels by the union; Dice divides them by the sum of both sizes": (
            lambda: 2 * both / (both + one)
        ),
        "you count all pixels where the masks agree, background too: that is accuracy, and an empty image would score "
        "nearly 1": lambda: (pixels - one) / pixels,
        "you divide by the number of predicted pixels (that is precision)": lambda: both / first,
        "you divide by the number of true pixels (that is recall)": lambda: both / second,
        "you divide by the sum of both sizes; shared pixels are then counted twice: the union holds them once": (
            lambda: both / (first + second)
        ),
        "you divide by the pixels of the whole image": lambda: both / pixels,
        "len() of a mask counts its rows; count its pixels with .sum()": lambda: both / len(pred),
        "you divide by the pixels that are in one mask only (xor): the union holds the shared ones too": (
            lambda: both / one
        ),
    }
    for name, value in (("IoU", iou), ("Dice", dice)):
        wanted = right[name]
        if abs(value - wanted) < 1e-6:
            continue
        other = right["Dice" if name == "IoU" else "IoU"]
        head = f"{told}: {name} is {wanted:.4f}, yours is {value:.4f}"
        if math.isnan(value):
            raise CheckFailed(f"{head}: only *two* empty masks are undefined; a miss or a false alarm scores 0.")
        if abs(value - other) < 1e-6:
            swapped = abs(iou - right["Dice"]) < 1e-6 and abs(dice - right["IoU"]) < 1e-6
            raise CheckFailed(f"{head}: {'return (iou, dice) in this order' if swapped else 'that is the other one'}.")
        if name == "Dice" and abs(2 * value - wanted) < 1e-6:
            raise CheckFailed(f"{head}: the factor 2 is missing; equal masks must score 1.")
        if abs(value - 100 * wanted) < 1e-4:
            raise CheckFailed(f"{head}: a number from 0 to 1 is asked for, not percent.")
        if abs(value) > 1 + 1e-9 or value < 0:
            raise CheckFailed(f"{head}: no overlap is under 0 or over 1; a count overflows or is of the wrong masks.")
        for mistake, formula in mistakes.items():
            try:
                if abs(value - formula()) < 1e-6:
                    raise CheckFailed(f"{head}: {mistake}.")
            except ZeroDivisionError:
                continue
        if pixels > 65_535:
            raise CheckFailed(f"{head}: right on small masks, so a count overflows (8 or 16 bits): sum as int.")
        raise CheckFailed(f"{head}: shared pixels are pred & true, all pixels of either mask are pred | true.")


def _two(function: Callable, first: np.ndarray, second: np.ndarray, told: str, names: str, *more) -> tuple:
    """Call with copies; two floats."""
    given = first.copy(), second.copy()
    answer = call(function, *given, *more, told=told)
    if not (np.array_equal(given[0], first) and np.array_equal(given[1], second)):
        raise CheckFailed(
            "your function changes the arrays it is given: avoid &=, |=, .sort() and assignment to parts."
        )
    return _numbers(answer, names, 2)


def _numbers(answer: Any, names: str, count: int) -> tuple[float, ...]:
    try:
        if len(answer) == count:
            return tuple(float(value) for value in answer)
    except (TypeError, ValueError):
        pass
    for i, part in enumerate(answer if isinstance(answer, tuple | list) else (), 1):
        if np.ndim(part) > 0:
            raise CheckFailed(
                f"return {names}, {count} single numbers; entry {i} of yours is an array of {np.size(part)}. (Python's "
                "own sum() adds rows only, array.sum() adds everything; two ends are two entries.)"
            )
    raise CheckFailed(f"return {names}, {count} numbers, got {type(answer).__name__} {_short(answer)}.")


def _short(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) else value  # 2.5, where NumPy 2 writes np.float64(2.5)
    text = " ".join(repr(plain).split())
    return text if len(text) < 40 else text[:37] + "..."


# --- exercise 3: border_scores(from_pred, from_true, tolerance) ------------------------------------------------------


def exercise_3(border_scores: Callable[[np.ndarray, np.ndarray, float], tuple[float, float]]) -> None:
    """Surface Dice and HD95 from border distances. Compared with hand values and, on masks, with a nearest-neighbour
    search of SciPy and the library.

    Args:
        border_scores: (from_pred [n], from_true [m], tolerance) -> (surface_dice, hd95).

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(border_scores, "surface_dice", "_surface_dice", "hd95", "_hd95", "evaluate_masks")
    zeros = np.zeros(4)
    _surface_share(border_scores, zeros, np.array([0.0, 3.0]), 1.0)
    _surface_share(border_scores, np.array([0.0, 3.0, 3.0]), zeros, 1.0)
    _surface_share(border_scores, np.array([1.0, 1.0, 2.0]), np.array([0.0, 1.0]), 1.0)
    _surface_share(border_scores, np.array([2.0, 0.0, 3.0]), np.array([1.5, 2.0, 0.0, 0.0, 4.0]), 2.0)
    _surface_share(border_scores, np.array([0.0, math.sqrt(2)]), np.array([1.4, 0.0, 0.0]), 1.0)
    _surface_share(border_scores, np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0]), 0.0)

    _direction(border_scores)
    rng = np.random.default_rng(0)
    for n, m, scale in ((60, 23, 1.0), (17, 90, 3.0), (8, 5, 1.0), (1, 3, 1.0), (40, 41, 0.2)):
        _hd95(border_scores, scale * rng.gamma(1.0, 2.0, n), rng.gamma(1.0, 2.0, m))
    stray = np.zeros(89)
    stray[40] = 45.0
    _hd95(border_scores, stray, np.zeros(88))
    _on_masks(border_scores)
    passed("Surface Dice counts both borders in one share, HD95 takes the larger of two percentiles; SciPy agrees.")


def _surface_share(function: Callable, from_pred: np.ndarray, from_true: np.ndarray, tolerance: float) -> None:
    told = f"from_pred {_list(from_pred)}, from_true {_list(from_true)}, tolerance {tolerance:g}"
    share, distance = _two(function, from_pred, from_true, told, "(surface_dice, hd95)", tolerance)
    near = [sum(d <= tolerance for d in side.tolist()) for side in (from_pred, from_true)]
    sizes = [len(from_pred), len(from_true)]
    wanted = sum(near) / sum(sizes)
    if abs(share - wanted) < 1e-6:
        return
    joined = np.r_[from_pred, from_true]
    head = f"{told}: surface Dice is {wanted:.3f}, yours is {share:.3f}"
    mistakes = [
        (float((joined < tolerance).mean()), "a distance *equal* to the tolerance still counts: use <="),
        (sum(a / b for a, b in zip(near, sizes, strict=True)) / 2,
         "you averaged the shares of the two borders; count the near pixels of both and divide by all pixels of both"),
        (near[0] / sizes[0], "you looked at the predicted border only: what is missing lies on the true one"),
        (near[1] / sizes[1], "you looked at the true border only: false alarms lie on the predicted one"),
        (1 - wanted, "that is the share that is too far away"),
        (float((joined <= 1).mean()), "1 px is built in: use the argument tolerance"),
        (float((joined.round() <= tolerance).mean()), "do not round distances: 1.4 is more than 1"),
        (float((joined.astype(int) <= tolerance).mean()), "do not cut distances to whole numbers: 1.4 is more than 1"),
        (100 * wanted, "a share from 0 to 1 is asked for, not percent"),
        *((near[i] / sum(sizes), "you divide the near pixels of *one* border by the pixels of both: count the near "
           "ones of both") for i in (0, 1)),
        *((2 * near[i] / sum(sizes), "you count the near pixels of one border twice; count those of each border once")
          for i in (0, 1)),
        *((sum(near) / (2 * sizes[i]), "you take both borders to be equally long; divide by the pixels of the one plus "
           "the pixels of the other") for i in (0, 1)),
        (2 * min(near) / sum(sizes), "you count the smaller number twice; count the near pixels of each border once"),
        (float(sum(near)), "that is a count; divide by the number of pixels of both borders"),
        (2 * sum(near) / sum(sizes), "the factor 2 of Dice is in already: both borders are counted"),
    ]  # fmt: skip
    if abs(distance - wanted) < 1e-6:
        raise CheckFailed(f"{head}: return (surface_dice, hd95) in this order.")
    for value, mistake in mistakes:
        if abs(share - value) < 1e-6:
            raise CheckFailed(f"{head}: {mistake}.")
    raise CheckFailed(f"{head}: near pixels of both borders, divided by all pixels of both borders.")


def _list(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{v:.3g}" for v in values) + "]"


def _percentile(values: np.ndarray, share: float) -> float:
    """By hand: linear interpolation between the sorted values."""
    ordered = sorted(values.tolist())
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _direction(function: Callable) -> None:
    """Those who look in one direction only are right half the time: two cases tell them from those who take the min."""
    near, far = np.array([0.0, 1.0, 1.0]), np.array([0.0, 6.0, 6.0, 6.0])
    names, told = "(surface_dice, hd95)", "distances that are larger from one border than from the other"
    found = [_two(function, *sides, told, names, 1.0)[1] for sides in ((near, far), (far, near))]
    for ends, mistake in (
        ((1.0, 6.0), "you look from the predicted border only; what was missed lies on the true one"),
        ((6.0, 1.0), "you look from the true border only; false alarms lie on the predicted one"),
        ((1.0, 1.0), "you take the smaller of the two percentiles; the definition takes the larger one"),
    ):
        if np.allclose(found, ends, atol=1e-6):
            raise CheckFailed(f"from_pred {_list(near)}, from_true {_list(far)}: HD95 is 6, in both orders: {mistake}.")


def _near_the_place(*sides: np.ndarray) -> set[float]:
    """What those may take who sort and count, without interpolation: a value beside the place of the percentile."""
    found = set()
    for values in sides:
        place = int(0.95 * (len(values) - 1))
        found |= set(sorted(values.tolist())[max(0, place - 1) : place + 3])
    return found


def _hd95(function: Callable, from_pred: np.ndarray, from_true: np.ndarray) -> None:
    told = f"{len(from_pred)} distances from the predicted border and {len(from_true)} from the true one"
    _, distance = _two(function, from_pred, from_true, told, "(surface_dice, hd95)", 1.0)
    ends = [_percentile(side, 0.95) for side in (from_pred, from_true)]
    wanted = max(ends)
    if abs(distance - wanted) < 1e-6:
        return
    joined = np.r_[from_pred, from_true]
    head = f"{told}: HD95 is {wanted:.3f}, yours is {distance:.3f}"
    mistakes = [
        (sum(ends) / 2, "you averaged the two percentiles; the definition takes the larger one"),
        (_percentile(joined, 0.95), "you took one percentile of both lists put together; take one of each list, then "
                                    "the larger (some codes do as you did: never compare numbers across the two)"),
        (float(joined.max()), "that is the plain Hausdorff distance, the maximum; take the 95th percentile"),
        (max(_percentile(s, 0.0095) for s in (from_pred, from_true)), "np.percentile counts to 100: 95, not 0.95"),
        (max(_percentile(s, 0.05) for s in (from_pred, from_true)), "that is the 5th percentile"),
        (max(float(s.mean()) for s in (from_pred, from_true)), "that is a mean distance, not a percentile"),
        (sum(ends), "you added the two percentiles; the definition takes the larger one"),
        (_percentile(np.array(ends), 0.95), "you took a percentile of the two percentiles; take the larger one"),
        (max(_percentile(s, 0.5) for s in (from_pred, from_true)), "that is a median; take the 95th percentile"),
        (max(_percentile(s, 0.9) for s in (from_pred, from_true)), "that is the 90th percentile; take the 95th"),
        (max(_percentile(s, 0.99) for s in (from_pred, from_true)), "that is the 99th percentile; take the 95th"),
        (0.95 * float(joined.max()), "that is 95 % of the largest distance; take the distance that 95 % do not exceed"),
        (wanted**2, "you squared the distance"),
    ]  # fmt: skip
    for value, mistake in mistakes:
        if abs(distance - value) < 1e-6:
            raise CheckFailed(f"{head}: {mistake}.")
    if any(abs(distance - value) < 1e-6 for value in _near_the_place(from_pred, from_true)):
        raise CheckFailed(f"{head}: interpolate between neighbouring values, as np.percentile(values, 95) does.")
    raise CheckFailed(f"{head}: the larger of np.percentile(from_pred, 95) and np.percentile(from_true, 95).")


def _on_masks(function: Callable) -> None:
    from scipy.spatial import cKDTree

    from sgdc_viz.learn.metrics import hd95, surface_dice

    y, x = np.mgrid[:40, :48]
    pred, true = np.hypot(y - 18, x - 20) < 11.5, np.hypot(y - 20, x - 22) < 9.0
    pred[35:37, 44:46] = True
    borders = []
    for mask in (pred, true):
        padded = np.pad(mask, 1)
        inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        borders.append(np.argwhere(mask & ~inside))
    from_pred, from_true = cKDTree(borders[1]).query(borders[0])[0], cKDTree(borders[0]).query(borders[1])[0]
    for tolerance in (1.0, 2.0):
        told = f"distances of two masks, tolerance {tolerance:g}"
        share, distance = _two(function, from_pred, from_true, told, "(surface_dice, hd95)", tolerance)
        wanted = surface_dice(pred, true, tolerance), hd95(pred, true)
        if not np.allclose((share, distance), wanted, atol=1e-6):
            raise CheckFailed(
                f"{told}: the library says ({wanted[0]:.3f}, {wanted[1]:.3f}), yours ({share:.3f}, {distance:.3f})."
            )


# --- exercise 4: paired_interval(first, second, resamples, generator) ------------------------------------------------

RESAMPLES = 4000
_NAMES = "(mean, low, high)"


def exercise_4(
    paired_interval: Callable[[np.ndarray, np.ndarray, int, np.random.Generator], tuple[float, float, float]],
) -> None:
    """A paired percentile bootstrap interval. Compared with a bootstrap of SciPy and with cases known by hand.

    Args:
        paired_interval: (first [n], second [n], resamples, generator) -> (mean, low, high) of first - second.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(paired_interval, "paired_difference", "summarise", "_summary", "interval", "unpaired_interval")
    # Images differ much from each other (0.2 to 0.9), the two networks little; the differences are skewed, so that an
    # interval from a standard error has other ends than the percentiles.
    rng = np.random.default_rng(3)
    hard = rng.uniform(0.2, 0.9, 24)
    differences = 0.02 * rng.exponential(1.0, 24) ** 2 - 0.01
    first, second = hard + differences, hard

    mean, low, high = _three(paired_interval, first, second, RESAMPLES, 0, "24 images")
    _mean(mean, low, high, first, second)
    same = _three(paired_interval, hard + 0.125, hard, 50, 0, "24 images, each better by exactly 0.125")
    if same[1] < 0 < same[2] and abs(same[1] + same[2]) < 0.08:
        raise CheckFailed(
            f"on 24 images that differ by exactly 0.125 each, the interval must be 0.125 to 0.125, yours is "
            f"{same[1]:.3f} to {same[2]:.3f}, around 0: signs turned at random make a *test* of 'no difference', not "
            "an interval of the mean; draw the differences as they are, with replacement."
        )
    if abs(same[1] - same[2]) < 1e-9 and abs(same[1] - 0.125) > 1e-9:
        raise CheckFailed(
            f"on 24 images that differ by exactly 0.125 each, the interval must be 0.125 to 0.125, yours is "
            f"{same[1]:.3f} to {same[2]:.3f}: low and high are percentiles of the *means* of the resamples."
        )
    if abs(same[1] - 0.125) > 1e-9 or abs(same[2] - 0.125) > 1e-9:
        raise CheckFailed(
            f"on 24 images that differ by exactly 0.125 each, the interval must be 0.125 to 0.125, yours is "
            f"{same[1]:.3f} to {same[2]:.3f}: take the difference of each *pair* first, and resample pairs (an "
            "unpaired bootstrap mixes the images of one list with those of the other)."
        )
    _ends(low, high, first, second)
    _every_image(paired_interval)
    _nan(paired_interval)
    _nearly_all_undefined(paired_interval)
    _one_resample(paired_interval, first, second)
    _generator(paired_interval, first, second)
    few = _three(paired_interval, first[:6], second[:6], RESAMPLES, 1, "6 images")
    wanted = _reference(differences[:6])
    if np.abs(np.subtract(few[1:], wanted)).max() > 0.2 * _error(differences[:6]):
        raise CheckFailed(f"6 images: the interval is {_between(wanted)}, yours {_between(few[1:])}: is 24 built in?")
    passed("Pairs are resampled together, with replacement; undefined pairs are left out; SciPy finds the same ends.")


def _three(function: Callable, first: np.ndarray, second: np.ndarray, resamples: int, seed: int, told: str) -> tuple:
    given = first.copy(), second.copy()
    answer = call(function, *given, resamples, np.random.default_rng(seed), told=told)
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(given, (first, second), strict=True)):
        raise CheckFailed("your function changes the arrays it is given: avoid shuffle, .sort() and -=.")
    return _numbers(answer, _NAMES, 3)


def _error(differences: np.ndarray) -> float:
    return float(np.std(differences)) / math.sqrt(len(differences))


def _reference(
    differences: np.ndarray,
    level: float = 0.95,
    of: Callable = np.mean,
    method: str = "percentile",
    resamples: int = 20_000,
) -> tuple[float, float]:
    """SciPy's bootstrap, with more resamples than the learner's."""
    from scipy import stats

    generator = np.random.default_rng(99)
    named = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"  # by SciPy's version
    found = stats.bootstrap((differences,), of, n_resamples=resamples, confidence_level=level, method=method,
                            **{named: generator})  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _between(ends: tuple[float, ...]) -> str:
    return f"{ends[0]:.4f} to {ends[1]:.4f}"


def _mean(mean: float, low: float, high: float, first: np.ndarray, second: np.ndarray) -> None:
    differences = first - second
    wanted = float(differences.mean())
    if abs(mean - wanted) < 1e-9:
        if low > high:
            raise CheckFailed(f"low ({low:.4f}) is larger than high ({high:.4f}): return (mean, low, high).")
        return
    head = f"24 images: the mean difference is {wanted:.4f}, yours is {mean:.4f}"
    if abs(mean + wanted) < 1e-9:
        raise CheckFailed(f"{head}: the sign is turned round; first - second is asked for.")
    if abs(mean - np.abs(differences).mean()) < 1e-9:
        raise CheckFailed(f"{head}: you took absolute values; a difference may be negative.")
    if abs(mean - np.median(differences)) < 1e-9:
        raise CheckFailed(f"{head}: that is the median.")
    if any(abs(other - wanted) < 1e-9 for other in (low, high)):
        raise CheckFailed(f"{head}: return (mean, low, high) in this order.")
    if abs(mean - wanted) < 0.3 * _error(differences):
        raise CheckFailed(f"{head}: take the mean of the images themselves; only low and high come from resamples.")
    raise CheckFailed(f"{head}: the mean over the images of first - second.")


def _ends(low: float, high: float, first: np.ndarray, second: np.ndarray) -> None:
    differences, n = first - second, len(first)
    error, centre = _error(differences), float(differences.mean())
    wanted = _reference(differences, resamples=100_000)  # the ends of 4000 resamples vary by 0.06 errors, these hardly

    def near(other: tuple[float, float], slack: float = 0.25) -> bool:
        return abs(low - other[0]) < slack * error and abs(high - other[1]) < slack * error

    if near(wanted):
        return
    head = f"24 images: the 95 % interval is {_between(wanted)}, yours {_between((low, high))}"
    if high - low < 1e-9:
        raise CheckFailed(
            f"{head}: all your resamples have the same mean; draw *with* replacement (integers, or choice with "
            "replace=True), and anew for each resample."
        )
    spread = float(np.std(differences))
    narrow = math.sqrt(n / RESAMPLES)
    images = tuple(np.percentile(differences, [2.5, 97.5]))
    known = [
        (_reference(differences, 0.9), "you cut off 5 % at *each* end; 95 % in the middle leaves 2.5 % at each"),
        (_reference(differences, 0.99), "that is a 99 % interval: take the percentiles 2.5 and 97.5"),
        (_reference(differences, 0.5), "that is a 50 % interval: take the percentiles 2.5 and 97.5"),
        ((2 * centre - wanted[1], 2 * centre - wanted[0]), "you mirrored the ends (that is the 'basic' bootstrap)"),
        (_reference(np.sort(first) - np.sort(second)), "you sorted each list by itself, so the pairs are broken"),
        (
            tuple(np.percentile((n * centre - differences) / (n - 1), [2.5, 97.5])),
            f"each of your resamples leaves one image out (that is the jackknife); draw {n} with replacement",
        ),
        (images, "those are percentiles of the single images; take them of the means of the resamples"),
    ]
    for width, what in ((1.96 * spread, "1.96 standard deviations"), (2 * spread, "2 standard deviations"),
                        (spread, "one standard deviation")):  # fmt: skip
        known.append(((centre - width, centre + width), f"you used {what} *of the images*: that tells where single "
                      "images lie, not how far their mean can be off"))  # fmt: skip
    for width in (1.96 * error, 2 * error, error):
        known.append(((centre - width, centre + width), "you used a standard error, which makes both sides equally "
                      "long; take percentiles of the means of resamples"))  # fmt: skip
    if near(_reference(differences, of=np.median), 0.3):
        raise CheckFailed(f"{head}: take the mean of each resample, not its median.")
    if high > wanted[1] and near(_reference(differences, method="BCa"), 0.35):
        raise CheckFailed(
            f"{head}: that is SciPy's default, the BCa interval; here the plain percentiles of the means are asked for."
        )
    for other, mistake in known:
        if near(other, 0.12):
            raise CheckFailed(f"{head}: {mistake}.")
    if high < centre or low > centre:
        raise CheckFailed(
            f"{head}: it does not hold the mean; np.percentile counts to 100: 2.5 and 97.5 (np.quantile: 0.025, 0.975)."
        )
    if high - low < 3 * narrow * (wanted[1] - wanted[0]):
        raise CheckFailed(
            f"{head}: far too narrow; each resample must hold as many images as there are ({n}), and there must be "
            f"`resamples` of them ({RESAMPLES}). Are the two sizes exchanged?"
        )
    if high - low > 2.5 * (wanted[1] - wanted[0]):
        raise CheckFailed(
            f"{head}: far too wide, as wide as single images spread; each resample must hold as many images as there "
            f"are ({n}), and its *mean* counts."
        )
    raise CheckFailed(
        f"{head}: draw {n} pairs with replacement, take the mean, do so {RESAMPLES} times; then the percentiles 2.5 "
        "and 97.5 of these means."
    )


def _every_image(function: Callable) -> None:
    for place, name in ((0, "first"), (7, "last")):
        first = np.zeros(8)
        first[place] = 1.0
        told = f"8 images that agree but for the {name} one"
        high = _three(function, first, np.zeros(8), 500, 0, told)[2]
        if high < 0.1:
            raise CheckFailed(
                f"{told}: high must be over 0, yours is {high:.3f}: the {name} image is never drawn. "
                "generator.integers(m) gives 0 to m - 1."
            )


def _nan(function: Callable) -> None:
    rng = np.random.default_rng(5)
    hard = rng.uniform(0.2, 0.9, 30)
    first, second = hard + rng.normal(0.03, 0.02, 30), hard.copy()
    first[[2, 5, 11, 13, 24, 28]], second[[0, 7, 8, 16, 19, 23]] = np.nan, np.nan
    mean, low, high = _three(function, first, second, RESAMPLES, 0, "30 images, some undefined (NaN)")
    good = np.isfinite(first - second)
    differences = (first - second)[good]
    wanted, ends = float(differences.mean()), _reference(differences)
    head = f"30 images, of which 12 are undefined (NaN) for one network or the other: the mean is {wanted:.4f}"
    if any(math.isnan(v) for v in (mean, low, high)):
        raise CheckFailed(f"{head}, yours holds NaN: leave out the pairs in which either value is undefined.")
    if abs(mean - wanted) > 1e-9:
        if abs(mean - (np.nanmean(first) - np.nanmean(second))) < 1e-9:
            raise CheckFailed(
                f"{head}, yours is {mean:.4f}: you left out undefined images of each list by itself, so the two means "
                "are of different images; leave out the *pair*."
            )
        if abs(mean - (np.nan_to_num(first) - np.nan_to_num(second)).mean()) < 1e-9:
            raise CheckFailed(f"{head}, yours is {mean:.4f}: undefined is not 0; leave out the pair.")
        if abs(mean - np.nan_to_num(first - second).mean()) < 1e-9:
            raise CheckFailed(f"{head}, yours is {mean:.4f}: an undefined difference is not 0; leave out the pair.")
        raise CheckFailed(f"{head}, yours is {mean:.4f}: leave out the pairs in which either value is undefined.")
    if np.abs(np.subtract((low, high), ends)).max() > 0.25 * _error(differences):
        raise CheckFailed(
            f"{head}; its interval is {_between(ends)}, yours {_between((low, high))}: resample the 18 defined pairs "
            "only, 18 at a time, and keep the two lists in step."
        )


def _nearly_all_undefined(function: Callable) -> None:
    """Those who resample first and leave out NaN afterwards draw some resamples without any image."""
    first = np.full(30, np.nan)
    first[[4, 17]] = 0.5, 0.7
    low, high = _three(function, first, np.zeros(30), 500, 0, "30 images, of which 2 are defined")[1:]
    if not (abs(low - 0.5) < 1e-9 and abs(high - 0.7) < 1e-9):
        raise CheckFailed(
            f"30 images, of which only 2 are defined (differences 0.5 and 0.7): the interval must be 0.5 to 0.7, yours "
            f"is {low:.3f} to {high:.3f}: leave undefined pairs out *before* you draw: each resample has 2 images."
        )


def _one_resample(function: Callable, first: np.ndarray, second: np.ndarray) -> None:
    _, low, high = _three(function, first, second, 1, 0, "resamples=1")
    if abs(high - low) > 1e-12:
        raise CheckFailed(
            "with resamples=1 there is one mean, so low and high must be equal: is the number of resamples built in?"
        )


def _generator(function: Callable, first: np.ndarray, second: np.ndarray) -> None:
    once, again, other = (_three(function, first, second, 30, seed, "resamples=30") for seed in (7, 7, 8))
    if once != again:
        raise CheckFailed(
            "two generators with the same seed gave two answers: draw from `generator`, not from np.random, so that "
            "a result can be repeated."
        )
    if once[1:] == other[1:]:
        raise CheckFailed(
            "generators with different seeds gave the same interval: draw from the `generator` that is passed in, "
            "do not make one of your own."
        )


# --- exercise 5: report() --------------------------------------------------------------------------------------------

MAY = {
    "A": "an interval, what it is about, and over which images: this is what the row of surface Dice says, and no more",
    "D": "an interval that contains 0 leaves both directions open, and its ends say how large a difference may be",
    "G": "what the interval does not contain belongs into the report: each arm was trained once",
}
MAY_NOT = {
    "B": "the difference is in the fifth digit and its interval goes from minus to plus: other images of the same kind "
         "would make the other number bold about half the time",
    "C": "'undecided' is not 'equal': differences up to the ends of the interval fit these images as well",
    "E": "the interval is over images; another seed is another network, and section 6 shows that such intervals often "
         "leave 0 out for two seeds of one arm",
    "F": "95 % belongs to the procedure that makes the interval, not to images; guided was better on little more "
         "than half of them",
    "H": "the switch changes two things at once (kernels per pixel, and guidance); without a control nobody knows "
         "which of them it was",
}  # fmt: skip


def exercise_5(report: Callable[[], set[str]]) -> None:
    """Which sentences does the table of results carry?

    Args:
        report: () -> set of letters A to H.

    Raises:
        CheckFailed: naming the first letter too many or too few, and why.
    """
    answer = call(report)
    choose(answer, MAY, MAY_NOT, ("{letter} may not be said", "{count} more may (and should) be said"))
    passed("An interval with its scope, 'undecided' with its width, and what the interval does not contain.")
