"""Checks of notebook 08. Each is given the learner's own function and raises `CheckFailed`, or prints one line."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch

from .errors import CheckFailed, call, own_lines, passed

# --- exercise 1: pairs of files ---------------------------------------------------------------------------------------


def exercise_1(pair_isic: Callable[[list[str]], dict[str, tuple[str, str]]]) -> None:
    """Images and masks of the ISIC layouts, paired by name. Compared with lists of files made by hand.

    Args:
        pair_isic: file names -> {"ISIC_0000001": (image, mask)}; ValueError for a file without its partner.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    names, wanted = _isic("segmentation", [3, 1, 2])
    before = list(names)
    answer = call(pair_isic, names, told="three pairs of 2018")
    if names != before:
        raise CheckFailed("your function changes the list it is given: work on a copy, such as sorted(names).")
    _compare_pairs(answer, wanted)

    others = ["ISIC_0000001_superpixels.png", "ISIC_0000003_attribute_streaks.png", "LICENSE.txt"]
    told = "with _superpixels.png, _attribute_streaks.png and LICENSE.txt, to be left alone"
    answer = call(pair_isic, [*others, *names, *(f"ISIC_0000002{o[12:]}" for o in others[:2])], told=told)
    if any(word in str(answer) for word in ("superpixels", "attribute", "LICENSE")):
        raise CheckFailed("_superpixels.png, _attribute_streaks.png or LICENSE.txt was taken for an image or a mask: "
                          "they are neither, leave them out.")  # fmt: skip
    _compare_pairs(answer, wanted)

    names, wanted = _isic("Segmentation", [12, 7])
    told = "two pairs of 2016, whose masks end in _Segmentation.png: a capital S"
    try:
        answer = pair_isic(list(names))
    except Exception as error:
        raise CheckFailed(f"{told}: your function stops with {type(error).__name__}; compare in lower case.") from None
    if not answer:
        raise CheckFailed(f"{told}: you find no pair; compare in lower case.")
    _compare_pairs(answer, wanted)

    names, _ = _isic("segmentation", [1, 2, 3])
    _refuses(pair_isic, [n for n in names if n != "ISIC_0000002_segmentation.png"], "ISIC_0000002",
             "the image ISIC_0000002.jpg has no mask")  # fmt: skip
    _refuses(pair_isic, [n for n in names if n != "ISIC_0000003.jpg"], "ISIC_0000003",
             "the mask ISIC_0000003_segmentation.png has no image")  # fmt: skip
    both = [n for n in names if n not in ("ISIC_0000003.jpg", "ISIC_0000001_segmentation.png")]
    _refuses(pair_isic, both, ("ISIC_0000001", "ISIC_0000003"),
             "image 1 has no mask and mask 3 no image, so there are as many images as masks")  # fmt: skip
    instead = [n for n in names if n != "ISIC_0000002_segmentation.png"] + ["ISIC_0000002_superpixels.png"]
    _refuses(pair_isic, instead, "ISIC_0000002", "image 2 has superpixels but no mask")
    passed("Both years, in any order, nothing but images and masks, and every file without a partner is named.")


def _isic(word: str, numbers: Sequence[int]) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """File names out of order, masks in another order than images; and the pairs."""
    keys = [f"ISIC_{n:07d}" for n in numbers]
    wanted = {key: (f"{key}.jpg", f"{key}_{word}.png") for key in keys}
    return [mask for _, mask in reversed(wanted.values())] + [image for image, _ in wanted.values()], wanted


def _compare_pairs(answer: object, wanted: dict[str, tuple[str, str]]) -> None:
    if not isinstance(answer, dict):
        raise CheckFailed(f'return a dictionary, {{"ISIC_0000001": (image, mask)}}, got {type(answer).__name__}.')
    key = next(iter(wanted))
    given = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in answer.items()}
    if given == wanted:
        return
    if set(given) == {"ISIC"}:
        raise CheckFailed('every name became the key "ISIC": cut at the underscore of _segmentation, not at the first.')
    if set(given) != set(wanted):
        strange = sorted(map(str, set(given) - set(wanted)))
        if strange:
            raise CheckFailed(f"{strange[0]!r} is no key; keys look like {key!r}, without what follows the digits.")
        raise CheckFailed(f"{min(set(wanted) - set(given))!r} is missing, though both of its files are there.")
    if {k: v[::-1] for k, v in given.items() if isinstance(v, tuple)} == wanted:
        raise CheckFailed("the mask comes first in your pairs: the image belongs first, then the mask.")
    key = next(k for k in wanted if given[k] != wanted[k])
    mask = given[key][1] if isinstance(given[key], tuple) and len(given[key]) == 2 else None
    if mask not in {pair[1] for pair in wanted.values()}:
        raise CheckFailed(f"{key} got the mask {mask!r}, which is not in the list: take the names as they are given.")
    raise CheckFailed(
        f"{key} got {given[key]!r}, not {wanted[key]!r}: pair by the number in the name; the places in a list say "
        "nothing, whatever the list."
    )


def _refuses(function: Callable, names: list[str], lonely: str | tuple[str, str], why: str) -> None:
    """A ValueError that names the lonely file; one of them, where there are several."""
    try:
        function(list(names))
    except ValueError as error:
        wanted = (lonely,) if isinstance(lonely, str) else lonely
        if not any(name in str(error) for name in wanted):
            raise CheckFailed(
                f"{why}: your ValueError does not say which file; put its name into the message."
            ) from None
        others = {n[:12] for n in names if n.startswith("ISIC")} - set(wanted)
        if any(name in str(error) for name in others):
            raise CheckFailed(
                f"{why}: your message also names files that have their partner; name the lonely one."
            ) from None
        return
    except Exception as error:
        raise CheckFailed(f"{why}: raise a ValueError that names it, not a {type(error).__name__}.") from None
    if "superpixels" in why:
        raise CheckFailed(f"{why}: you took the superpixels for its mask; raise a ValueError that names the image.")
    raise CheckFailed(f"{why}: you leave it out or pair it wrongly without a word; raise a ValueError that names it.")


# --- exercise 2: a split by group -------------------------------------------------------------------------------------


def exercise_2(split_by_group: Callable[[list[str], float, int], tuple[list[int], list[int]]]) -> None:
    """A split that never cuts a group in two. Properties on lists of groups of uneven size, out of order.

    Args:
        split_by_group: (groups, share, seed) -> indices of train, indices of test.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    state = _global_state()
    try:
        _split_checks(split_by_group, state)
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])  # noqa: NPY002 - put back, not used
        torch.set_rng_state(state[2])
    passed(
        "Every sample once, no group in two parts, the same split for the same seed, whatever the groups are called."
    )


def _global_state() -> tuple:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - watched, not used


def _groups(count: int, prefix: str = "slide_") -> list[str]:
    """1 to 6 samples a group, out of order: index -> name of its group. Numbers of two digits, so order survives."""
    rng = np.random.default_rng(0)
    sizes = 1 + np.arange(count) % 6
    return [f"{prefix}{10 + g}" for g in rng.permutation(np.repeat(np.arange(count), sizes))]


def _split_checks(function: Callable, state: tuple) -> None:
    groups, share = _groups(12), 0.3
    before = list(groups)
    train, test = _parts(function, groups, share, 0)
    if groups != before:
        raise CheckFailed("your function changes the list it is given: shuffle a copy.")
    again = _parts(function, groups, share, 0)
    if (sorted(train), sorted(test)) != (sorted(again[0]), sorted(again[1])):
        raise CheckFailed("two calls with the same seed give two splits: make the generator from the seed.")
    now = _global_state()
    if (
        now[0] != state[0]
        or any(not np.array_equal(a, b) for a, b in zip(now[1], state[1], strict=True))
        or not torch.equal(now[2], state[2])
    ):
        raise CheckFailed(
            "your function seeds or uses a global generator, which changes everybody's random numbers: make one of "
            "your own, np.random.default_rng(seed)."
        )
    for prefix in ("a", "patient ", "2024-"):
        renamed = _parts(function, _groups(12, prefix), share, 0)
        if sorted(renamed[1]) != sorted(test):
            raise CheckFailed(
                "with another word before every group's name the split is another: it hangs on hash() or on the order "
                "of a set, which differ from one Python process to the next. Number the groups in the order in which "
                "they first appear."
            )
    reversed_names = [f"slide_{99 - int(name[-2:])}" for name in groups]
    for seed in range(4):
        if sorted(_parts(function, reversed_names, share, seed)[1]) != sorted(_parts(function, groups, share, seed)[1]):
            raise CheckFailed(
                "the same groups under names that sort the other way round give another split: sorted(), np.unique() "
                "and the like go by name. Number the groups in the order in which they first appear."
            )
    for share, wanted in ((0.3, 4), (0.2, 2)):  # 3.6 and 2.4 groups
        counts = {len({groups[i] for i in _parts(function, groups, share, seed)[1]}) for seed in range(6)}
        if counts == {wanted}:
            continue
        put = " or ".join(map(str, sorted(counts)))
        told = f"12 groups, share {share}: {share} * 12 = {12 * share:.1f}, so {wanted} groups belong to test"
        told += f"; over six seeds you put {put} there"
        if wanted == 2 and counts == {4}:
            raise CheckFailed(f"{told}. Is a share built in?")
        if counts == {12 - wanted}:
            raise CheckFailed(f"{told}. Are train and test swapped? Return train first.")
        if counts == {3}:  # 3.6 cut off, or 2.4 rounded up
            raise CheckFailed(f"{told}: int() and // cut off, ceil() goes up, round() rounds.")
        raise CheckFailed(f"{told}: share counts groups, not samples, and no group is drawn twice.")
    share = 0.3
    tests = [tuple(sorted(_parts(function, groups, share, seed)[1])) for seed in range(60)]
    if len(set(tests[:6])) < 3:
        raise CheckFailed("six seeds give (nearly) one and the same split: draw the groups with the seed.")
    if len(set(tests)) < 30 or any(len({groups[i] for i in test}) != 4 for test in tests):
        raise CheckFailed(
            f"60 seeds give only {len(set(tests))} different splits, or some without their 4 groups: draw at random, a "
            "window that moves with the seed always takes the same neighbours."
        )
    drawn = {groups[i] for test in tests for i in test}
    if len(drawn) < 12:
        never = sorted(set(groups) - drawn)[0]
        raise CheckFailed(f"{never!r} is never in test, for none of 60 seeds: every group must have its chance.")
    _, test = _parts(function, ["b", "a", "b"], 0.2, 0)
    if not test:
        raise CheckFailed(
            "2 groups, share 0.2: 0.2 * 2 rounds to 0 and test is empty; at least one group belongs there."
        )
    train, _ = _parts(function, ["b", "a", "b"], 0.9, 0)
    if not train:
        raise CheckFailed(
            "2 groups, share 0.9: 0.9 * 2 rounds to 2 and train is empty; never put all groups into test."
        )
    _, test = _parts(function, [f"p{i}" for i in range(20)], 0.5, 1)
    if len(test) != 10:
        raise CheckFailed(
            f"20 groups of one sample, share 0.5: test has {len(test)} samples, not 10. Is a share built in?"
        )


def _parts(function: Callable, groups: list[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """The answer as two lists of int: every sample once, no group in both."""
    told = f"{len(set(groups))} groups, {len(groups)} samples, share={share}, seed={seed}"
    answer = call(function, groups, share, seed, told=told)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise CheckFailed("return two lists: (train, test).")
    parts = []
    for name, part in zip(("train", "test"), answer, strict=True):
        values = list(part)
        if any(isinstance(v, str) for v in values):
            raise CheckFailed(f"{name} holds names of groups: give the places (indices) of the samples in the list.")
        if any(isinstance(v, bool | np.bool_) for v in values):
            raise CheckFailed(f"{name} holds True and False: give the places (indices), np.flatnonzero finds them.")
        if not all(isinstance(v, int | np.integer) for v in values):
            raise CheckFailed(f"{name} must hold whole numbers, the places (indices) of the samples.")
        parts.append([int(v) for v in values])
    train, test = parts
    both = sorted(
        {groups[i] for i in train if 0 <= i < len(groups)} & {groups[i] for i in test if 0 <= i < len(groups)}
    )
    if both:
        raise CheckFailed(
            f"{both[0]!r} has samples in both parts: that is the leak. Draw groups, not samples, and mind that the "
            "samples of a group need not stand side by side."
        )
    everything = sorted(train + test)
    if everything != list(range(len(groups))):
        missing = sorted(set(range(len(groups))) - set(everything))
        if missing:
            raise CheckFailed(f"sample {missing[0]} of {told} is in neither part: none may get lost.")
        raise CheckFailed(f"a sample appears twice, or a number is no place in the list ({told}).")
    return train, test


# --- exercise 3: scores with failures ---------------------------------------------------------------------------------

Pair = tuple[np.ndarray, np.ndarray]


def exercise_3(summarise_masks: Callable[[list[Pair]], dict[str, float]]) -> None:
    """Mean and median IoU with undefined images and failures told apart. Compared with values worked out by hand.

    Args:
        summarise_masks: pairs of bool masks (predicted, true) -> {"undefined", "failures", "mean", "median"}.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(summarise_masks, "summarise", "evaluate_masks")
    plain = [_pair(4, 6, 2), _pair(8, 10, 6), _pair(5, 5, 5)]  # IoU 1/4, 1/2, 1
    copies = [(a.copy(), b.copy()) for a, b in plain]
    answer = _summary(summarise_masks, plain, "three images without a failure")
    if any(not np.array_equal(x, y) for a, b in zip(plain, copies, strict=True) for x, y in zip(a, b, strict=True)):
        raise CheckFailed("your function changes the masks it is given: leave out &=, |= and the like.")
    values = [_iou(p, t) for p, t in plain]
    _plain(answer, plain, values)

    rule = "one empty mask: IoU 0, counted as a failure and in mean and median"
    for missed, told in ((_pair(0, 9, 0), "an object not found"), (_pair(7, 0, 0), "a false alarm")):
        pairs = [*plain, missed, missed]
        answer = _summary(summarise_masks, pairs, told)
        if _near(answer["mean"], np.mean(values)):
            raise CheckFailed(f"{told}, twice: you leave it out of the mean. That makes misses free; {rule}.")
        if answer["failures"] != 2 or answer["undefined"] != 0:
            raise CheckFailed(f"{told}, twice: got {_counts(answer)}; {rule}.")
        _means(answer, [*values, 0.0, 0.0], told)

    empty = _pair(0, 0, 0)
    pairs = [empty, *plain, empty]
    told = "two images where both masks are empty"
    answer = _summary(summarise_masks, pairs, told)
    if math.isnan(answer["mean"]):
        raise CheckFailed(f"{told}: your mean is NaN; 0 / 0 is undefined: leave such images out and count them.")
    for value, what in ((1.0, "a perfect score for finding nothing"), (0.0, "a failure")):
        if _near(answer["mean"], np.mean([*values, value, value])):
            raise CheckFailed(f"{told} count as {value:.0f} in your mean, {what}: they are undefined, leave them out.")
    if answer["undefined"] != 2 or answer["failures"] != 0:
        raise CheckFailed(f"{told}: got {_counts(answer)}; both empty is undefined, not a failure.")
    _means(answer, values, told)

    pairs = [*plain, _pair(4, 4, 0)]
    told = "two masks that do not touch"
    answer = _summary(summarise_masks, pairs, told)
    if answer["failures"]:
        raise CheckFailed(f"{told}: IoU is 0, but neither is empty; a failure is an image with exactly one empty mask.")
    _means(answer, [*values, 0.0], told)

    answer = _summary(summarise_masks, [empty], "one image, both masks empty")
    if answer["undefined"] != 1 or not (math.isnan(answer["mean"]) and math.isnan(answer["median"])):
        raise CheckFailed("one image, both masks empty: nothing was measured, so mean and median must be NaN.")
    many = [_pair(3, 3, shared) for shared in (0, 1, 1, 2, 3)] + [empty, _pair(0, 2, 0)]
    answer = _summary(summarise_masks, many, "seven images of all kinds")
    if (answer["undefined"], answer["failures"]) != (1, 1):
        raise CheckFailed(f"seven images, one undefined, one failure: got {_counts(answer)}.")
    _means(answer, [0.0, 1 / 5, 1 / 5, 1 / 2, 1.0, 0.0], "seven images of all kinds")
    passed("Undefined images are left out and counted, failures are counted and stay in, mean and median agree.")


def _pair(predicted: int, true: int, shared: int) -> Pair:
    """Two bool masks [4, 6] with so many pixels, `shared` of them in common."""
    p, t = np.zeros(24, bool), np.zeros(24, bool)
    p[:predicted] = True
    t[predicted - shared : predicted - shared + true] = True
    return p.reshape(4, 6), t.reshape(4, 6)


def _iou(p: np.ndarray, t: np.ndarray) -> float:
    """From the sizes of sets of pixel numbers."""
    first, second = set(np.flatnonzero(p).tolist()), set(np.flatnonzero(t).tolist())
    return len(first & second) / len(first | second)


def _summary(function: Callable, pairs: list[Pair], told: str) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mean of nothing warns and gives NaN, which is the answer
        answer = call(function, pairs, told=told)
    keys = {"undefined", "failures", "mean", "median"}
    if not isinstance(answer, dict) or set(answer) != keys:
        raise CheckFailed('return {"undefined": ..., "failures": ..., "mean": ..., "median": ...}, with these names.')
    for key in sorted(keys):
        if np.ndim(answer[key]) or not isinstance(answer[key], int | float | np.number | np.bool_):
            raise CheckFailed(f"{key!r} must be one number, got {type(answer[key]).__name__}.")
    return {key: float(value) for key, value in answer.items()}


def _plain(answer: dict[str, float], pairs: list[Pair], values: list[float]) -> None:
    if (answer["undefined"], answer["failures"]) != (0, 0):
        raise CheckFailed(f"three images with both masks filled: got {_counts(answer)}; both counts must be 0.")
    p, t = (np.stack(masks) for masks in zip(*pairs, strict=True))
    both, either = (p & t).sum((1, 2)), (p | t).sum((1, 2))
    sizes = p.sum((1, 2)) + t.sum((1, 2))
    mistakes = {
        float(np.mean(2 * both / sizes)): "that is Dice; IoU divides by the pixels in either mask",
        float(both.sum() / either.sum()): "you added the pixels of all images first, so large objects count more; take "
        "IoU image by image, then the mean",
        float(
            np.mean((p == t).mean((1, 2)))
        ): "that is the share of equal pixels, where background counts as a success",
        float(np.mean(both / sizes)): "the union counts shared pixels once: |P| + |T| counts them twice",
        float(np.mean(both / t.sum((1, 2)))): "you divided by the true mask alone (recall)",
        float(np.mean(both / p.sum((1, 2)))): "you divided by the predicted mask alone (precision)",
    }
    for wrong, mistake in mistakes.items():
        if _near(answer["mean"], wrong):
            raise CheckFailed(f"the mean of {_list(values)} is {np.mean(values):.3f}, yours is {wrong:.3f}: {mistake}.")
    if _near(answer["mean"], np.median(values)) and _near(answer["median"], np.mean(values)):
        raise CheckFailed("mean and median are swapped.")
    _means(answer, values, "three images without a failure")


def _means(answer: dict[str, float], values: list[float], told: str) -> None:
    for key, wanted in (("mean", np.mean(values)), ("median", np.median(values))):
        if not _near(answer[key], wanted):
            raise CheckFailed(f"{told}: the {key} of {_list(values)} is {wanted:.3f}, yours is {answer[key]:.3f}.")


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, abs_tol=1e-5)


def _list(values: list[float]) -> str:
    return ", ".join(f"{v:.2f}" for v in values)


def _counts(answer: dict[str, float]) -> str:
    return f"undefined {answer['undefined']:g}, failures {answer['failures']:g}"


# --- exercise 4: to the network's scale and back ----------------------------------------------------------------------

Segment = Callable[[np.ndarray], np.ndarray]


def exercise_4(mask_at_own_size: Callable[[np.ndarray, int, Segment], np.ndarray]) -> None:
    """An image to its longest side, its mask back to the image's size. Compared with the formula, pixel by pixel.

    Args:
        mask_at_own_size: (image uint8 [H, W, 3], longest_side, segment) -> bool [H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(mask_at_own_size, "to_scale", "through_the_grid")
    # Height, width, longest side; short and long side that `segment` must get. No pixel's centre lies on a border
    # between two small pixels, where rounding would decide.
    cases = [
        (60, 90, 45, 30, 45),
        (97, 61, 49, 31, 49),
        (40, 70, 113, 65, 113),
        (3, 200, 50, 1, 50),
        (1, 300, 50, 1, 50),
        (300, 1, 50, 1, 50),
    ]
    for height, width, side, short, long in cases:
        wanted = (long, short) if height > width else (short, long)
        _one_size(mask_at_own_size, height, width, side, wanted)
    _hair(mask_at_own_size)
    passed("Scale and sides right, thin lines survive, and every pixel gets the mask of the small pixel it lies in.")


def _one_size(function: Callable, height: int, width: int, side: int, wanted: tuple[int, int]) -> None:
    told = f"image of {height} x {width} (height x width), longest_side={side}"
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(20, 220, height)[:, None]
    image[..., 1] = np.linspace(220, 20, width)
    image[..., 2] = 90
    before, seen = image.copy(), []
    small = np.random.default_rng(1).random(wanted) < 0.4  # what the network answers

    def segment(given):
        seen.append(given)
        return small if np.shape(given)[:2] == wanted else np.zeros(np.shape(given)[:2], bool)

    answer = call(function, image, side, segment, told=told)
    if not np.array_equal(image, before):
        raise CheckFailed("your function changes the image it is given: work on a copy.")
    if not seen:
        raise CheckFailed("you never call segment: it is the network, given as a function.")
    _given(seen[0], image, wanted, told)
    answer = answer.numpy() if isinstance(answer, torch.Tensor) else np.asarray(answer)
    if answer.shape != (height, width):
        if answer.shape == wanted:
            raise CheckFailed(f"{told}: the mask has still the small size {wanted}: bring it back to the image's size.")
        if answer.shape == (width, height):
            raise CheckFailed(
                f"{told}: the mask is {answer.shape}; Pillow takes (width, height), arrays (height, width)."
            )
        raise CheckFailed(f"{told}: the mask has shape {answer.shape}, not {(height, width)}.")
    if answer.dtype != bool:
        raise CheckFailed(f"{told}: the mask must be bool, yours is {answer.dtype}; compare: mask > 0.")
    rows, columns = (np.arange(n) for n in (height, width))
    exact = small[_lies_in(rows, height, wanted[0])][:, _lies_in(columns, width, wanted[1])]
    if np.array_equal(answer, exact):
        return
    corner = small[rows * wanted[0] // height][:, columns * wanted[1] // width]
    ends = small[np.rint(rows * max(wanted[0] - 1, 0) / max(height - 1, 1)).astype(int)]
    ends = ends[:, np.rint(columns * max(wanted[1] - 1, 0) / max(width - 1, 1)).astype(int)]
    for other, mistake in (
        (exact[::-1], "it is upside down"),
        (exact[:, ::-1], "left and right are swapped"),
        (~exact, "object and background are swapped"),
        (corner, 'it is moved by up to half a small pixel: take the small pixel that the *centre* (i + 1/2) lies in '
                 '(torch\'s mode is "nearest-exact", not "nearest")'),
        (ends, "corner pixels were laid on corner pixels: rows i / (H - 1); take centres, (i + 1/2) / H"),
    ):  # fmt: skip
        if np.array_equal(answer, other):
            raise CheckFailed(f"{told}: the mask is wrong on the way back: {mistake}.")
    off = (answer != exact).mean()
    raise CheckFailed(
        f"{told}: on the way back {off:.0%} of the pixels are wrong: take the small pixel that each pixel's centre "
        "lies in (nearest neighbour); bilinear or bicubic mixes neighbours, and some mixtures are cut off."
    )


def _lies_in(index: np.ndarray, size: int, small: int) -> np.ndarray:
    """Which of `small` equal parts of a line of `size` pixels holds the centre of each pixel; in whole numbers."""
    return (2 * index + 1) * small // (2 * size)


def _given(small: np.ndarray, image: np.ndarray, wanted: tuple[int, int], told: str) -> None:
    """What segment was given: type, size, and the same picture, smaller."""
    height, width = image.shape[:2]
    if not isinstance(small, np.ndarray):
        raise CheckFailed(f"segment takes a NumPy array, you gave it {type(small).__name__}: np.asarray(...).")
    if small.ndim != 3 or small.shape[2] != 3:
        raise CheckFailed(f"{told}: segment takes [h, w, 3], you gave it {small.shape}.")
    h, w = small.shape[:2]
    side = max(wanted)
    if (h, w) != wanted:
        if (h, w) == (height, width):
            raise CheckFailed(f"{told}: segment got the image at its own size: bring it to the longest side first.")
        if (h, w) == (wanted[1], wanted[0]):
            raise CheckFailed(
                f"{told}: segment got {h} x {w}; height and width are swapped (Pillow takes width first)."
            )
        if h == w == side:
            raise CheckFailed(f"{told}: segment got a square; both sides are scaled by the same factor.")
        if max(h, w) != side:
            raise CheckFailed(f"{told}: the longer side that segment got is {max(h, w)}, not {side}.")
        raise CheckFailed(f"{told}: segment got {h} x {w}, not {wanted[0]} x {wanted[1]}: round the shorter side "
                          "(int cuts off), and never go under 1 pixel.")  # fmt: skip
    if small.dtype != np.uint8:
        raise CheckFailed(f"{told}: segment takes uint8, 0 to 255, you gave it {small.dtype}.")
    rows, columns = (np.arange(h) + 0.5) * height / h - 0.5, (np.arange(w) + 0.5) * width / w - 0.5
    there = np.interp(rows, np.arange(height), image[:, 0, 0].astype(float))
    across = np.interp(columns, np.arange(width), image[0, :, 1].astype(float))
    off_red = np.abs(small[..., 0] - there[:, None]).max() if h > 2 else 0
    off_green = np.abs(small[..., 1] - across).max()
    if small[..., 2].mean() > 95 or small[..., 2].mean() < 85:
        raise CheckFailed(f"{told}: segment got other colours than the image has: are red and blue swapped?")
    step = 200 / max(min(h, w), 2) if h > 2 else 200 / w
    if max(off_red, off_green) > max(8, 2 * step):
        raise CheckFailed(f"{told}: segment did not get the same picture, smaller: is it cut, padded or turned?")


def _hair(function: Callable) -> None:
    """Dark lines of one pixel, five times smaller: filtered they darken, picked they vanish."""
    image = np.full((60, 100, 3), 200, np.uint8)
    image[:, ::5] = 0
    for moved in (0, 2, 4):
        seen = []

        def segment(given, seen=seen):
            seen.append(given)
            return np.zeros(given.shape[:2], bool)

        call(function, np.roll(image, moved, 1), 20, segment, told="image with thin dark lines")
        if abs(float(seen[0][:, 3:-3].mean()) - 160) > 20:
            raise CheckFailed(
                "dark lines of one pixel (hairs) vanish, or are all that is left, when the image is made five times "
                "smaller: for the *image* use a filter that averages (Pillow's BICUBIC, torch's antialias=True)."
            )


# --- exercise 5: what may be said -------------------------------------------------------------------------------------

MAY_STAND = {
    "A": "it is what the scores say, with its number of images, and it hides no miss",
    "C": "the interval of that difference contains 0, and the sentence says that it is one run",
    "G": "it names the limit of the interval, without which the table is read for more than it says",
}
MAY_NOT = {
    "B": "the mean is no typical image: most images lie well above it and two far below",
    "D": "the control contradicts it: with its guidance set to zero the trained network loses IoU on nuclei. And "
         "'cannot be told apart' is not 'is the same'",
    "E": "guided minus pooled is undecided there for IoU, on few images, in one run, so 'improves' claims too much",
    "F": "on the retina the network gave high probabilities to objects that are no nuclei",
    "H": "leaving out the misses makes the score of exactly those patients vanish whom the network fails",
}  # fmt: skip
MISSING = {
    1: "eleven images of one collection say little about this clinic's patients and cameras",
    3: "a mean hides whether one group of patients bears the misses",
    4: "whether a miss matters depends on what a doctor would have done with the same photograph",
}
NO_EVIDENCE = {
    2: "whoever tunes on the test images has no test images left",
    5: "what kernels look like is no measure of what is missed",
    6: "other network, other training, other images: the paper's numbers do not pass on to this one",
}


def exercise_5(report: Callable[[], dict]) -> None:
    """May the network be used, what may the report say, and what would have to be known?

    Args:
        report: () -> {"use": "yes" or "no", "sentences": letters A to H, "missing": numbers 1 to 6}.

    Raises:
        CheckFailed: naming the first choice too many or too few, and why.
    """
    answer = call(report)
    if not isinstance(answer, dict) or set(answer) != {"use", "sentences", "missing"}:
        raise CheckFailed(
            'return {"use": "yes" or "no", "sentences": {...}, "missing": {...}}, with these three names.'
        )
    if answer["use"] not in ("yes", "no"):
        raise CheckFailed(f'"use" is {answer["use"]!r}: answer "yes" or "no".')
    if answer["use"] == "yes":
        raise CheckFailed('"use": two of eleven lesions were missed almost wholly, and nobody would look at those '
                          "photographs again; nothing here is a medical device.")  # fmt: skip
    sentences = _choices(answer["sentences"], "sentences", {*MAY_STAND, *MAY_NOT}, "the letters A to H", str)
    for letter in sorted(sentences & set(MAY_NOT)):
        raise CheckFailed(f"sentence {letter} may not stand: {MAY_NOT[letter]}.")
    for letter in sorted(set(MAY_STAND) - sentences):
        raise CheckFailed(f"sentence {letter} may stand: {MAY_STAND[letter]}.")
    missing = _choices(answer["missing"], "missing", {*MISSING, *NO_EVIDENCE}, "the numbers 1 to 6", int)
    for number in sorted(missing & set(NO_EVIDENCE)):
        raise CheckFailed(f"{number} is not what is missing: {NO_EVIDENCE[number]}.")
    for number in sorted(set(MISSING) - missing):
        raise CheckFailed(f"more is missing, {number}: {MISSING[number]}.")
    passed("Measured sentences with their limits, no more; and patients, misses and doctors before any use.")


def _choices(given: object, name: str, known: set, told: str, kind: type) -> set:
    try:
        chosen = {kind(item) for item in given}
    except (TypeError, ValueError):
        chosen = {None}
    if not chosen <= known:
        raise CheckFailed(f'"{name}" must be a set of {told}.')
    return chosen
