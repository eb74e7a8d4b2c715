"""Checks of notebook 07. Each is given the learner's own function and raises `CheckFailed`, or prints one line."""

from __future__ import annotations

import dis
import math
import random
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import CheckFailed, call, choose, own_lines, passed


@contextmanager
def _borrowed_randomness() -> Iterator[None]:
    """What a learner's function does to the global random states is undone."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - the old one is global
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def _random_states() -> tuple:
    """The three global random states, to be compared."""
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), keys.tolist(), position, random.getstate()


# --- exercise 1 ------------------------------------------------------------------------------------------------------


def exercise_1(shuffle_places: Callable[[Tensor, str], Tensor]) -> None:
    """The same pixels at other places. Any order is accepted that keeps each pixel's vector together.

    All values of the test maps differ, so each value of the answer tells from which image, channel and pixel it came.

    Args:
        shuffle_places: (value [B, ..., H, W], site) -> tensor of the same shape.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    _not_the_library_s(shuffle_places)
    with _borrowed_randomness():
        for shape in ((2, 6, 8, 12), (1, 3, 13, 5), (2, 2, 9, 7, 10)):
            _places(shuffle_places, shape)
    passed("Every pixel's vector is still there, whole and once, at another place.")


def _not_the_library_s(function: Callable) -> None:
    """`shuffle` of sgdc_viz.lens is refused; a generator's own method of that name (rng.shuffle) is not."""
    from sgdc_viz import lens

    todo = [getattr(function, "__code__", None)]
    while todo:
        code = todo.pop()
        if code is None:
            continue
        names = [(i.opname, i.argval) for i in dis.get_instructions(code)]
        known = getattr(function, "__globals__", {})
        if known.get("shuffle") is lens.shuffle and ("LOAD_GLOBAL", "shuffle") in names:
            own_lines(function, "shuffle")
        if "lens" in code.co_names or any(name == "IMPORT_NAME" and str(v).startswith("sgdc_viz") for name, v in names):
            own_lines(function, "shuffle")
        todo += [part for part in code.co_consts if hasattr(part, "co_names")]


def _places(function: Callable[[Tensor, str], Tensor], shape: tuple[int, ...]) -> None:
    told = f"value of shape {shape}"
    generator = torch.Generator().manual_seed(1)
    value = torch.randperm(math.prod(shape), generator=generator).float().view(shape)
    before, states = value.clone(), _random_states()
    answer = call(function, value, "decoder.s2.block.guidance", told=told)
    if not isinstance(answer, Tensor):
        raise CheckFailed(f"return the new value, a tensor, not a {type(answer).__name__}.")
    if not torch.equal(value, before):
        raise CheckFailed("your function writes into `value` itself (in place): make a new tensor and return that.")
    if answer.shape != value.shape:
        why = "rows and columns are exchanged, H comes before W" if answer.ndim == len(shape) else (
            "bring the flat pixels back into H rows and W columns with .unflatten(-1, value.shape[-2:])")  # fmt: skip
        raise CheckFailed(f"{told}: the answer has shape {tuple(answer.shape)}, and must have the same; {why}.")
    _sources(before, answer)
    again = call(function, value, "decoder.s2.block.guidance", told=told)
    if not torch.equal(answer, again):
        raise CheckFailed(
            "two calls give two different orders, so nobody could repeat your experiment: use a generator of your own, "
            "torch.Generator().manual_seed(0)."
        )
    if _random_states() != states:
        raise CheckFailed(
            "your function changes the global random state (torch.manual_seed or a draw without a generator), and so "
            "other code: use a generator of your own, torch.Generator().manual_seed(0)."
        )


def _sources(value: Tensor, answer: Tensor) -> None:
    """From which image, channel and pixel does each value of the answer come?"""
    images, (h, w) = len(value), value.shape[-2:]
    pixels, channels = h * w, value[0, ..., 0, 0].numel()
    origin = torch.empty(value.numel(), dtype=torch.long)
    origin[value.flatten().long()] = torch.arange(value.numel())
    known = torch.isin(answer, value)
    if not known.all():
        raise CheckFailed(
            "your answer has values that `value` does not have: pixels must move, their values must not change "
            "(no noise, no average, no rounding)."
        )
    source = origin[answer.flatten().long()].view(images, channels, pixels)
    image, channel, pixel = source // (channels * pixels), source // pixels % channels, source % pixels
    if not torch.equal(image, torch.arange(images)[:, None, None].expand_as(image)):
        raise CheckFailed(
            "pixels went from one image of the batch to another: each image must keep its own pixels; shuffle the two "
            "last axes alone."
        )
    same_order = (pixel == pixel[:, :1]).all()
    if not torch.equal(channel, torch.arange(channels)[None, :, None].expand_as(channel)):
        moved = "channels changed places and pixels did not" if torch.equal(
            pixel, torch.arange(pixels).expand_as(pixel)) else "values went from one channel to another"  # fmt: skip
        raise CheckFailed(f"{moved}: shuffle places, the two last axes; the axis of the channels stays as it is.")
    if not same_order:
        raise CheckFailed(
            "each channel has an order of its own, so every pixel's vector is torn apart: draw one order, and use it "
            "for all channels."
        )
    for order in pixel[:, 0]:
        _one_order(order, h, w)


def _one_order(order: Tensor, h: int, w: int) -> None:
    """order [H*W]: the pixel that now stands at each place."""
    places = torch.arange(h * w)
    if len(order.unique()) < h * w:
        raise CheckFailed(
            "some pixels appear twice and others are lost: draw an order (torch.randperm), not random numbers with "
            "repetition (torch.randint)."
        )
    if torch.equal(order, places):
        raise CheckFailed("all pixels are where they were: nothing is shuffled.")
    rows, columns = (order // w).view(h, w), (order % w).view(h, w)
    if (rows == torch.arange(h)[:, None]).all() or (columns == torch.arange(w)).all():
        which = "row" if (rows == torch.arange(h)[:, None]).all() else "column"
        raise CheckFailed(
            f"each pixel stays in its {which}: flatten the two last axes to one, so that a pixel can go anywhere."
        )
    jump = (rows[:, 1:] - rows[:, :-1]).abs() + (columns[:, 1:] - columns[:, :-1]).abs()
    if (jump == 1).float().mean() > 0.5:
        raise CheckFailed(
            "neighbours are still neighbours: the picture was mirrored, turned or shifted as a whole. Put the pixels "
            "in random order (torch.randperm)."
        )
    _, often = ((order[1:] - order[:-1]) % (h * w)).unique(return_counts=True)
    if often.max() > 0.4 * (h * w - 1):
        raise CheckFailed(
            "the pixels follow a fixed rule (each source is the same step after the one before, as when H and W change "
            "places), not chance: put them in random order (torch.randperm)."
        )
    if (rows == rows[:, :1]).all() or (columns == columns[:1]).all():
        raise CheckFailed(
            "pixels of one row (or column) stay together: shuffling rows and columns keeps lines as lines. Flatten the "
            "two last axes to one, so that each pixel goes its own way."
        )
    if (order == places).float().mean() > 0.5:
        raise CheckFailed("most pixels are where they were: all of them must be in the random order.")


# --- exercise 2 ------------------------------------------------------------------------------------------------------


def exercise_2(restored: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, float]]) -> None:
    """Shares restored by patching, of each image and together. Compared with hand values.

    Args:
        restored: (clean [n], corrupt [n], patched [n]) -> (each [n], together).

    Raises:
        CheckFailed: naming the likely mistake.
    """
    clean, corrupt = np.array([0.9, 0.8, 0.75, 0.7]), np.array([0.5, 0.6, 0.25, 0.9])
    patched = np.array([0.8, 0.5, 0.85, 0.85])
    each, together = _shares(restored, clean, corrupt, patched)
    _same_share(each, clean, corrupt, patched)
    _same_together(together, clean, corrupt, patched)

    _not_clipped(restored)
    ties = np.array([0.9, 0.6, 0.6]), np.array([0.5, 0.6, 0.6]), np.array([0.7, 0.6, 0.8])
    each, together = _shares(restored, *ties)
    if not np.isclose(each[0], 0.5):
        raise CheckFailed(f"one image of three with a gap (0.9, 0.5, 0.7): its share is 0.5, yours {each[0]:.3g}.")
    for i, share in enumerate(each[1:], start=1):
        if not math.isnan(share):
            kind = (
                "patched equals them too" if i == 1 else "patched differs: a number divided by 0 is infinite, not NaN"
            )
            hint = "" if share != 0 else " 0 would say that nothing came back; but nothing was lost."
            if 1 < abs(share) < math.inf:
                hint = " A small number added to the divisor hides the problem: the share becomes huge."
            raise CheckFailed(
                f"clean and corrupt are both 0.6 ({kind}): nothing can be restored, so the share is NaN, yours is "
                f"{share:.3g}.{hint}"
            )
    if not np.isclose(together, 1.0):
        raise CheckFailed(
            "images without a gap count in `together` as well (their patch may do something): mean(patched - corrupt) "
            f"/ mean(clean - corrupt) is 1 in the case of clean {ties[0]}, corrupt {ties[1]}, patched {ties[2]}, yours "
            f"is {together:.3g}."
        )
    balanced = np.array([0.75, 0.5]), np.array([0.5, 0.75]), np.array([0.75, 0.75])
    each, together = _shares(restored, *balanced)
    if not np.allclose(each, [1.0, 0.0]):
        raise CheckFailed(f"clean {balanced[0]}, corrupt {balanced[1]}, patched {balanced[2]}: each must be 1 and 0.")
    if not math.isnan(together):
        raise CheckFailed(
            "the gaps 0.25 and -0.25 have the mean 0: there is nothing to share, `together` is NaN, yours is "
            f"{together:.3g}."
        )
    _shares(restored, *(np.array([v]) for v in (0.9, 0.5, 0.8)))
    passed("Shares of each image and of the mean gap; NaN where nothing was lost, and nothing clipped.")


def _not_clipped(function: Callable) -> None:
    """`together` below 0 and above 1."""
    clean, corrupt = np.array([0.75, 0.5]), np.array([0.25, 0.25])
    for patched, wanted in ((np.array([0.0, 0.125]), -0.5), (np.array([0.8, 0.75]), 1.4)):
        _, together = _shares(function, clean, corrupt, patched)
        if math.isclose(together, wanted, abs_tol=1e-9):
            continue
        why = "divide the mean gain by the mean gap"
        if together in (0.0, 1.0):
            why = "you clipped `together`; below 0: the patch makes it worse, above 1: better than clean"
        elif math.isclose(together, -wanted, abs_tol=1e-9):
            why = "you took the absolute value; below 0 says that the patch makes it worse"
        raise CheckFailed(
            f"clean {clean}, corrupt {corrupt}, patched {patched}: `together` is {wanted}, yours is {together:.3g}; "
            f"{why}."
        )


def _shares(function: Callable, *scores: np.ndarray) -> tuple[np.ndarray, float]:
    """The two answers, as an array [n] and a number."""
    kept = [one.copy() for one in scores]
    told = f"clean {scores[0]}, corrupt {scores[1]}, patched {scores[2]}"
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        answer = call(function, *scores, told=told)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise CheckFailed("return two things, (each, together): an array [n] and one number.")
    try:
        each, together = (np.asarray(part, dtype=float) for part in answer)
    except (TypeError, ValueError):
        raise CheckFailed("(each, together) must be an array of numbers and one number.") from None
    n = len(scores[0])
    if each.shape != (n,):
        why = "one share for each image, so do not average" if each.ndim == 0 else "one share for each image"
        raise CheckFailed(f"`each` must have shape ({n},), got {each.shape}: {why}.")
    if together.size != 1:
        raise CheckFailed(f"`together` must be one number, got shape {together.shape}: average the gaps, then divide.")
    if any(not np.array_equal(a, b) for a, b in zip(kept, scores, strict=True)):
        raise CheckFailed("your function changes the scores that it is given: avoid in-place operations (-=, /=).")
    if any(issubclass(w.category, RuntimeWarning) and "divide" in str(w.message) for w in noticed):
        raise CheckFailed(
            f"NumPy warns that you divide by 0 ({told}), and x / 0 is infinite: divide only where clean and corrupt "
            "differ, and put NaN elsewhere."
        )
    return each, float(together.reshape(()))


def _same_share(each: np.ndarray, clean: np.ndarray, corrupt: np.ndarray, patched: np.ndarray) -> None:
    right = (patched - corrupt) / (clean - corrupt)  # 0.75, -0.5, 1.2, 0.25
    mistakes = [
        ((clean - patched) / (clean - corrupt), "that is what is still missing, 1 - share: the patched run is compared "
                                                "with the corrupt one"),
        ((patched - corrupt) / clean, "you divided by the clean score: divide by the gap, clean - corrupt"),
        ((patched - corrupt) / corrupt, "you divided by the corrupt score: divide by the gap, clean - corrupt"),
        (patched - corrupt, "that is the gain itself: divide by the gap, clean - corrupt"),
        ((patched - corrupt) / (clean - patched), "you divided by clean - patched, what is still missing: divide by "
                                                  "clean - corrupt"),
        (patched / clean, "that is a ratio of scores: 0 means as bad as corrupt, so subtract corrupt above and below"),
        (-right, "the sign is wrong: a patch that brings everything back has share +1"),
        (1 / right, "numerator and denominator are exchanged"),
        ((patched - clean) / (corrupt - patched), "the three runs are mixed up: only corrupt is subtracted"),
        ((clean - corrupt) / (patched - corrupt), "numerator and denominator are exchanged"),
        (right.clip(0, 1), "you clipped to 0..1: a share below 0 (worse) or above 1 (better than clean) is a finding"),
        (right.clip(min=0), "you clipped at 0: a negative share says that the patch makes it worse"),
        (right.clip(max=1), "you clipped at 1: more than 1 says better than clean"),
        (abs(right), "you took the absolute value: a negative share says that the patch makes it worse"),
        ((patched - corrupt) / abs(clean - corrupt), "keep the sign of the gap: where corrupting helps (clean < "
                                                     "corrupt), going down is going back"),
        (100 * right, "that is in percent: 1 means all"),
    ]  # fmt: skip
    if np.allclose(each, right):
        return
    for wrong, mistake in mistakes:
        if np.allclose(each, wrong):
            raise CheckFailed(f"clean {clean}, corrupt {corrupt}, patched {patched}: {mistake}.")
    if np.isnan(each).any():
        raise CheckFailed(
            f"clean {clean}, corrupt {corrupt}, patched {patched}: a share is NaN only where clean and corrupt are "
            "equal; where corrupting helps (clean < corrupt) it is still a number."
        )
    i = int(np.argmax(abs(each - right)))
    raise CheckFailed(
        f"clean {clean[i]}, corrupt {corrupt[i]}, patched {patched[i]}: the share is {right[i]:.3g}, yours is "
        f"{each[i]:.3g}."
    )


def _same_together(together: float, clean: np.ndarray, corrupt: np.ndarray, patched: np.ndarray) -> None:
    right = (patched - corrupt).mean() / (clean - corrupt).mean()
    shares = (patched - corrupt) / (clean - corrupt)
    mistakes = {
        shares.mean(): "that is the mean of the shares, which one tiny gap can spoil: divide the mean gain by the mean "
        "gap",
        float(np.median(shares)): "that is the median of the shares: divide the mean gain by the mean gap",
        shares.sum(): "that is the sum of the shares: divide the mean gain by the mean gap",
        1 - right: "that is what is still missing: the patched run is compared with the corrupt one",
        abs(patched - corrupt).mean() / abs(clean - corrupt).mean(): "keep the signs: gains and losses must cancel",
        right / len(clean): "one of the two is a sum and the other a mean",
        right * len(clean): "one of the two is a sum and the other a mean",
        (patched - corrupt).mean() / (clean - patched).mean(): "you divided by clean - patched, what is still missing: "
        "divide by the mean of clean - corrupt",
    }
    if math.isclose(together, right, abs_tol=1e-9):
        return
    for wrong, mistake in mistakes.items():
        if math.isclose(together, wrong, abs_tol=1e-9):
            raise CheckFailed(f"`together`: {mistake}.")
    raise CheckFailed(f"`together` must be mean(patched - corrupt) / mean(clean - corrupt) = {right:.3g}, "
                      f"yours is {together:.3g}.")  # fmt: skip


# --- exercise 3 ------------------------------------------------------------------------------------------------------


def exercise_3(control_region: Callable[[np.ndarray, int, int], np.ndarray]) -> None:
    """As many boxes elsewhere. Every valid choice is accepted: counted, not compared with one answer.

    Args:
        control_region: (region bool [H, W], stride, seed) -> bool [H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    with _borrowed_randomness():
        for shape, stride in (((24, 32), 2), ((40, 24), 4), ((18, 30), 3)):
            region = _ring(shape)
            first = _fair(control_region, region, stride, 0)
            if not np.array_equal(first, _fair(control_region, region, stride, 0)):
                raise CheckFailed(
                    "the same seed gives two different regions: make the generator from the seed inside your function, "
                    "np.random.default_rng(seed)."
                )
            others = [_fair(control_region, region, stride, seed) for seed in (1, 2, 3)]
            if all(np.array_equal(first, other) for other in others):
                raise CheckFailed(
                    "all seeds give the same region: one fixed choice (a corner, say) may be special; take boxes at "
                    "random, with np.random.default_rng(seed)."
                )
        _reaches_everywhere(control_region)
        _no_room(control_region)
    passed("As many boxes as the region touches, none of its own, and others with another seed.")


def _ring(shape: tuple[int, int]) -> np.ndarray:
    """An uneven ring: touches many boxes with one or two pixels only, and is not centred."""
    y, x = np.indices(shape)
    distance = np.hypot((y - 0.45 * shape[0]) / shape[0], (x - 0.4 * shape[1]) / shape[1])
    return abs(distance - 0.27) < 0.045


def _boxes(mask: np.ndarray, stride: int) -> np.ndarray:
    h, w = mask.shape[0] // stride, mask.shape[1] // stride
    return mask.reshape(h, stride, w, stride).any((1, 3))


def _fair(function: Callable, region: np.ndarray, stride: int, seed: int) -> np.ndarray:
    told = f"region of shape {region.shape}, stride={stride}, seed={seed}"
    before, states = region.copy(), _random_states()
    answer = call(function, region, stride, seed, told=told)
    if not np.array_equal(region, before):
        raise CheckFailed("your function writes into `region` itself: make a new array.")
    if _random_states() != states:
        raise CheckFailed(
            "your function changes a global random state (np.random.seed): use np.random.default_rng(seed)."
        )
    answer = np.asarray(answer)
    h, w = region.shape
    if answer.shape != region.shape:
        small = answer.shape == (h // stride, w // stride)
        why = "return a bool array as large as the region"
        if small:
            why = "that is the map of boxes; bring it back to pixels with .repeat(stride, 0).repeat(stride, 1)"
        raise CheckFailed(f"{told}: the answer has shape {answer.shape}: {why}.")
    if answer.dtype != bool:
        raise CheckFailed(f"the answer has dtype {answer.dtype}: a mask is bool, True where it acts.")
    mine, own = _boxes(answer, stride), _boxes(region, stride)
    count, wanted, shared = int(mine.sum()), int(own.sum()), int((mine & own).sum())
    if np.array_equal(answer, region):
        raise CheckFailed("you return the region itself: a control must act elsewhere.")
    if count != wanted and (np.array_equal(answer, ~region) or np.array_equal(mine, ~own)):
        raise CheckFailed("that is everything else: a control of another size is no fair one.")
    if stride != 2 and (shared or count != wanted) and not h % 2 and not w % 2:
        two, of_region = _boxes(answer, 2), _boxes(region, 2)
        if two.sum() == of_region.sum() and not (two & of_region).any():
            raise CheckFailed(f"{told}: your boxes have 2 x 2 pixels; is 2 built in? Use `stride`.")
    if (answer & region).any():
        raise CheckFailed(
            f"{told}: {int((answer & region).sum())} pixels lie in the region itself: choose among the boxes that it "
            "does not touch."
        )
    if shared:
        raise CheckFailed(
            f"{told}: no pixel in common, but {shared} boxes touch both: a feature pixel changes if any of its image "
            "pixels is in the mask, so a box is either the region's or yours."
        )
    if count != wanted:
        pixels = int(answer.sum())
        why = "too many"
        if count < wanted:
            why = (
                "too few: are boxes drawn twice (use replace=False), or drawn among all and removed after drawing? "
                "Draw among the free boxes"
            )
        if pixels == int(region.sum()):
            why = "you have as many image pixels as the region, but what acts are feature pixels: count boxes"
        elif count * stride**2 <= region.sum() < (count + 1) * stride**2:
            why = (
                "you divided the number of pixels by those of a box; count the boxes that the region touches, even "
                "with one pixel"
            )
        raise CheckFailed(f"{told}: the region touches {wanted} boxes, your control {count}: {why}.")
    return answer


def _reaches_everywhere(function: Callable) -> None:
    """Over many seeds, each free box must come up now and then: none is left out."""
    region = np.zeros((12, 16), bool)
    region[4:7, 5:9] = True  # touches 2 x 3 of 6 x 8 boxes
    drawn = [_boxes(_fair(function, region, 2, seed), 2) for seed in range(150)]
    used = np.sum(drawn, axis=0)  # a free box is missed by all with probability (36/42)**150 < 1e-9
    left_out = (used == 0) & ~_boxes(region, 2)
    if left_out.any():
        frame = np.ones((6, 8), bool)
        frame[1:-1, 1:-1] = False
        why = "boxes at the frame of the image are free as well" if not (left_out & ~frame).any() else (
            "take them from all that are free")  # fmt: skip
        raise CheckFailed(f"{int(left_out.sum())} free boxes never come up, whatever the seed: {why}.")
    different = len({boxes.tobytes() for boxes in drawn})
    if different < 100:  # of 5 million choices, 150 at random are all different
        raise CheckFailed(
            f"150 seeds give only {different} different regions: draw the boxes at random; a window that moves with "
            "the seed always takes the same neighbours."
        )


def _no_room(function: Callable) -> None:
    """Half of the boxes is the most that a control can balance."""
    half = np.zeros((8, 12), bool)
    half[:4] = True
    try:
        _fair(function, half, 2, 0)
    except CheckFailed as error:
        if "stops with ValueError" not in str(error):
            raise
        raise CheckFailed("the region touches 12 of 24 boxes: there is room, the other 12 are free.") from None
    region = np.ones((8, 12), bool)
    region[:, 6:8] = False
    told = "a region that touches 20 of 24 boxes"
    try:
        answer = function(region, 2, 0)
    except ValueError:
        return
    except Exception as error:
        raise CheckFailed(f"{told}: raise a ValueError, yours stops with {type(error).__name__}: {error}") from error
    answer = np.asarray(answer)
    got = f"a region of {int(_boxes(answer, 2).sum())} boxes" if answer.shape == region.shape else "something else"
    raise CheckFailed(
        f"{told}: there is no room for a fair control; raise a ValueError, yours gives {got}, and nobody would notice."
    )


# --- exercise 4 ------------------------------------------------------------------------------------------------------


def exercise_4(credit: Callable[[Callable, tuple[str, ...]], dict]) -> None:
    """Which part is needed, which is enough, and what they do together. Compared with the formula on tables of scores.

    Args:
        credit: (run, parts) -> {"needed": {part: share}, "enough": {part: share}, "interaction": number}.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    parts = ("kernels", "gate_static", "gate_dynamic")
    rng = np.random.default_rng(0)
    own_lines(credit, "two_questions")
    _credit(credit, _Table(parts, lambda taken: 0.9 - 0.06 * len(taken) ** 1.4 - 0.1 * ("gate_static" in taken)))
    _credit(credit, _Table(parts, lambda taken: 0.9 - 0.2 * len(taken) ** 0.5 - 0.01 * ("kernels" in taken)))
    for names in (parts, ("left", "right"), ("a", "b", "c", "d")):
        scores = rng.uniform(0.3, 0.7, 2 ** len(names))
        _credit(credit, _Table(names, lambda taken, scores=scores, names=names: 0.05 + scores[_number(taken, names)]))
    _credit(credit, _Table(parts, lambda taken: 0.5 + 0.1 * len(taken) - 0.03 * ("kernels" in taken)))  # taking helps
    _nothing_to_share(credit, _Table(parts, lambda taken: 0.8 - 0.1 * (len(taken) == 1)))
    passed("Needed, enough and what the parts do together, with two forward passes a part and two more.")


def _number(taken: Collection[str], names: tuple[str, ...]) -> int:
    return sum(2**i for i, name in enumerate(names) if name in taken)


class _Table:
    """Stands for the network: gives the score of a set of parts that lost their guidance, and counts the calls."""

    def __init__(self, parts: tuple[str, ...], score: Callable[[frozenset], float]):
        self.parts, self.score, self.calls = parts, score, 0

    def __call__(self, taken: Any) -> float:
        self.calls += 1
        if isinstance(taken, str):
            raise TypeError(f"run({taken!r}) was given a text: give a set of names, {{{taken!r}}}.")
        taken = frozenset(taken)
        if unknown := taken - set(self.parts):
            raise ValueError(f"run was given {sorted(map(str, unknown))[0]!r}, which is none of {self.parts}.")
        return float(self.score(taken))

    def __repr__(self) -> str:
        return "run"


def _asked(function: Callable, table: _Table) -> dict:
    parts = table.parts
    answer = call(function, table, parts, told=f"parts={parts}")
    wanted = {"needed", "enough", "interaction"}
    if not isinstance(answer, dict) or set(answer) != wanted:
        got = sorted(map(str, answer)) if isinstance(answer, dict) else type(answer).__name__
        raise CheckFailed(f'return a dict with the keys "needed", "enough" and "interaction", got {got}.')
    for key in ("needed", "enough"):
        if not isinstance(answer[key], dict) or set(answer[key]) != set(parts):
            raise CheckFailed(f'"{key}" must be a dict with one share for each of {parts}, got {answer[key]!r}.')
    try:
        return {**{k: {p: float(answer[k][p]) for p in parts} for k in ("needed", "enough")},
                "interaction": float(answer["interaction"])}  # fmt: skip
    except (TypeError, ValueError):
        raise CheckFailed("all shares and the interaction must be single numbers.") from None


def _credit(function: Callable, table: _Table) -> None:
    parts, score = table.parts, table.score
    answer = _asked(function, table)
    n, everything = len(parts), frozenset(parts)
    full, none = score(frozenset()), score(everything)
    total = full - none
    alone = {p: score(frozenset({p})) for p in parts}
    left = {p: score(everything - {p}) for p in parts}
    needed = {p: (full - alone[p]) / total for p in parts}
    enough = {p: (left[p] - none) / total for p in parts}
    exchanged = _close(answer["needed"], enough) and _close(answer["enough"], needed)
    if exchanged and not _close(needed, enough):
        raise CheckFailed('"needed" and "enough" are exchanged: needed = what is lost if this part alone is taken.')
    wrong_needed = {
        "T has its sign turned: T = S(nothing taken) - S(all taken), also where taking helps": {
            p: (full - alone[p]) / abs(total) for p in parts},
        "the sign is wrong: lost means S(nothing taken) - S(this part taken)": _each(needed, lambda v: -v),
        "it is not divided by the total T": _each(needed, lambda v: v * total),
        "you divided by the score of the whole network: divide by T = S(nothing taken) - S(all taken)": _each(
            needed, lambda v: v * total / full),
        "the score of the remaining run was left standing: subtract it from S(nothing taken)": {
            p: alone[p] / total for p in parts},
        "you compared with the run in which all is taken; needed starts from the whole network": {
            p: (alone[p] - none) / total for p in parts},
        "that is what the *other* parts lose: take this part alone, run({part})": {
            p: (full - left[p]) / total for p in parts},
        "that is in percent: 1 means all of T": _each(needed, lambda v: 100 * v),
        "you took the absolute value: a part whose loss helps has a negative share": _each(needed, abs),
        "you scaled the shares so that they sum to 1; they need not, the rest is the interaction": _each(
            needed, lambda v: v / sum(needed.values())),
    }  # fmt: skip
    _compare("needed", answer["needed"], needed, wrong_needed)
    wrong_enough = {
        "you measured what is lost, S(nothing taken) - S(all but this), not what is kept: subtract S(all taken)": {
            p: (full - left[p]) / total for p in parts},
        "you put this part back into nothing by taking it alone: the others must be taken, set(parts) - {part}": {
            p: (alone[p] - none) / total for p in parts},
        "1 - needed is not measured: the parts may act together, so run it with all others taken": {
            p: 1 - needed[p] for p in parts},
        "enough is not needed: run it with all others taken": needed,
        "the sign is wrong: S(all but this taken) - S(all taken)": _each(enough, lambda v: -v),
        "it is not divided by the total T": _each(enough, lambda v: v * total),
        "you divided by the score of the whole network: divide by T": _each(enough, lambda v: v * total / full),
        "S(all taken) was not subtracted": {p: left[p] / total for p in parts},
        "that is in percent: 1 means all of T": _each(enough, lambda v: 100 * v),
        "you took the absolute value: a share can be negative": _each(enough, abs),
        "you scaled the shares so that they sum to 1; they need not": _each(enough, lambda v: v / sum(enough.values())),
    }  # fmt: skip
    _compare("enough", answer["enough"], enough, wrong_enough)
    interaction = 1 - sum(needed.values())
    wrong_interaction = {
        "do not take the absolute value: negative says that the losses add up to more than T": abs(interaction),
        "the sign is wrong: 1 minus the sum": -interaction,
        "that is the sum itself: subtract it from 1": 1 - interaction,
        'use "needed", not "enough"': 1 - sum(enough.values()),
        "you subtracted the mean of the shares, not their sum": 1 - sum(needed.values()) / n,
        "it is not divided by T": total * interaction,
        "the number of parts is not in it: 1 minus the sum": n - sum(needed.values()),
    }
    if not math.isclose(answer["interaction"], interaction, abs_tol=1e-9):
        for mistake, wrong in wrong_interaction.items():
            if math.isclose(answer["interaction"], wrong, abs_tol=1e-9):
                raise CheckFailed(f'"interaction": {mistake}.')
        raise CheckFailed(f'"interaction" must be 1 - the sum of "needed" = {interaction:.3g}, '
                          f'yours is {answer["interaction"]:.3g}.')  # fmt: skip
    if table.calls > 2 + 2 * n:
        raise CheckFailed(
            f"you called run {table.calls} times for {n} parts, and {2 + 2 * n} are enough; each call is a forward "
            "pass: keep run(set()) and run(set(parts)) in variables, outside the loop."
        )


def _each(shares: dict[str, float], change: Callable[[float], float]) -> dict[str, float]:
    return {part: change(share) for part, share in shares.items()}


def _close(a: dict[str, float], b: dict[str, float]) -> bool:
    return all(math.isclose(a[p], b[p], abs_tol=1e-9) for p in b)


def _compare(key: str, got: dict[str, float], right: dict[str, float], mistakes: dict[str, dict[str, float]]) -> None:
    if _close(got, right):
        return
    for mistake, wrong in mistakes.items():
        if _close(got, wrong):
            raise CheckFailed(f'"{key}": {mistake}.')
    part = max(right, key=lambda p: abs(got[p] - right[p]) if got[p] == got[p] else math.inf)
    raise CheckFailed(f'"{key}" of {part!r} must be {right[part]:.3g}, yours is {got[part]:.3g}: look at the formula.')


def _nothing_to_share(function: Callable, table: _Table) -> None:
    told = "run(set()) and run(set(parts)) give the same score, so T = 0"
    try:
        answer = function(table, table.parts)
    except ZeroDivisionError:
        raise CheckFailed(f"{told}: Python's numbers stop with ZeroDivisionError; make all shares NaN then.") from None
    except Exception as error:
        raise CheckFailed(f"{told}: yours stops with {type(error).__name__}: {error}") from error
    if answer is None:
        raise CheckFailed(f"{told}: yours returns nothing; return the same dict, all its numbers NaN.")
    answer = _asked(lambda *_: answer, table)
    shares = [*answer["needed"].values(), *answer["enough"].values()]
    if any(math.isinf(share) for share in shares):
        raise CheckFailed(f"{told}: a number divided by 0 is infinite for NumPy; nothing can be shared, so NaN.")
    if any(not math.isnan(share) for share in shares):
        raise CheckFailed(
            f"{told}: nothing can be shared, so all shares are NaN; 0 would say that the parts do nothing, but each of "
            "them, taken alone, changes the score."
        )
    if not math.isnan(answer["interaction"]):
        raise CheckFailed(f'{told}: "interaction" is NaN then too, yours is {answer["interaction"]:.3g}.')


# --- exercise 5 ------------------------------------------------------------------------------------------------------

HOLD = {
    "A": "the controls on 108 real test images show it: without its guidance this network's IoU falls, and the "
         "interval is far from 0",
    "C": "section 3 made exactly these runs: zeroed, and four equally long changes, on the same images",
    "G": "section 5 cut both ways, one at a time, in this network and on these images",
}  # fmt: skip
FAIL = {
    "B": "the pooled network was trained without guidance and reaches the same IoU there",
    "D": "cutting the kernels off from guidance cost about a quarter of what it cost to cut the static gates off, and "
         "left alone they kept no more than a third of the effect",
    "E": "the logits elsewhere moved even more, on nine of ten images; only no pixel could change sides there",
    "F": "what zeroing costs the network that was trained with guidance is not what guidance adds: the network that "
         "was trained without it is the comparison, and it is as good",
    "H": "that interval is over images; there was one training run, and none of these numbers says how runs differ",
}  # fmt: skip


def exercise_5(supported: Callable[[], set[str]]) -> None:
    """Which sentences do the measurements of the notebook support?

    Args:
        supported: () -> set of letters A to H.

    Raises:
        CheckFailed: naming the first letter too many or too few, and why.
    """
    answer = call(supported)
    choose(answer, HOLD, FAIL, ("{letter} is not supported", "a sentence that holds is missing"))
    passed("Used by this network, by direction and not by size, and needed most in the static gate: no more is shown.")
