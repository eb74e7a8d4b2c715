"""Answers to the exercises of notebook 08: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import hashlib
import math
import random
import re
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.transform import resize

from answers import Exercise
from sgdc_viz.data import Sample
from sgdc_viz.data.transforms import to_scale
from sgdc_viz.learn.metrics import evaluate_masks, iou, summarise

# --- exercise 1: pair_isic(names) ------------------------------------------------------------------------------------


def by_pattern(names):
    found = {}
    for name in names:
        told = re.fullmatch(r"(ISIC_\d+)(\.jpg|_segmentation\.png)", name, re.IGNORECASE)
        if told:
            found.setdefault(told[1], {})[told[2].lower() == ".jpg"] = name
    for parts in found.values():
        if len(parts) != 2:
            raise ValueError(f"{next(iter(parts.values()))!r} has no partner")
    return {key: (parts[True], parts[False]) for key, parts in found.items()}


def one_by_one(names):
    pairs = {}
    for image in sorted(n for n in names if n.endswith(".jpg")):
        masks = [n for n in names if n.lower() == image[:-4].lower() + "_segmentation.png"]
        if not masks:
            raise ValueError("missing mask of " + image)
        pairs[image[:-4]] = [image, masks[0]]
    for name in names:
        if name.lower().endswith("_segmentation.png") and name[:12] not in pairs:
            raise ValueError("missing image of " + name)
    return pairs


def _images(names, suffix=".jpg"):
    return {n[:12]: n for n in names if n.endswith(suffix)}


def _masks(names):
    return {n[:12]: n for n in names if n.lower().endswith("_segmentation.png")}


def _joined(images, masks):
    lonely = images.keys() ^ masks.keys()
    if lonely:
        raise ValueError(f"no partner: {sorted(lonely)}")
    return {k: (images[k], masks[k]) for k in images}


def lower_case_only(names):
    return _joined(_images(names), {n[:12]: n for n in names if n.endswith("_segmentation.png")})


def skips_what_is_lonely(names):
    images, masks = _images(names), _masks(names)
    return {k: (images[k], masks[k]) for k in images if k in masks}


def asks_images_only(names):
    images, masks = _images(names), _masks(names)
    for key in images:
        if key not in masks:
            raise ValueError(f"{key} has no mask")
    return {k: (images[k], masks[k]) for k in images}


def asks_masks_only(names):
    images, masks = _images(names), _masks(names)
    for key in masks:
        if key not in images:
            raise ValueError(f"{key} has no image")
    return {k: (images[k], masks[k]) for k in images if k in masks}


def any_png_is_a_mask(names):
    return _joined(_images(names), {n[:12]: n for n in names if n.endswith(".png")})


def png_sorted_first(names):
    return _joined(_images(names), {n[:12]: n for n in sorted(names, reverse=True) if n.endswith(".png")})


def by_place_in_sorted_lists(names):
    images, masks = sorted(_images(names).values()), sorted(_masks(names).values())
    if len(images) != len(masks):
        return _joined(_images(names), _masks(names))  # raises
    return {i[:12]: (i, m) for i, m in zip(images, masks, strict=True)}


def by_place_as_given(names):
    images, masks = _images(names), _masks(names)
    return {k: (image, mask) for (k, image), mask in zip(images.items(), masks.values(), strict=False)}


def counts_only(names):
    images, masks = _images(names), _masks(names)
    if len(images) != len(masks):
        raise ValueError("an image has no mask, or a mask no image")
    return {k: (images[k], masks.get(k)) for k in images}


def key_error(names):
    images, masks = _images(names), _masks(names)
    return {k: (images[k], masks[k]) for k in images.keys() | masks.keys()}


def first_underscore(names):
    images = {n.split("_")[0]: n for n in names if n.endswith(".jpg")}
    masks = {n.split("_")[0]: n for n in names if n.lower().endswith("_segmentation.png")}
    return _joined(images, masks)


def key_with_suffix(names):
    return {image: pair for image, pair in ((p[0], p) for p in _joined(_images(names), _masks(names)).values())}


def names_made_up(names):
    pairs = _joined(_images(names), _masks(names))
    return {key: (f"{key}.jpg", f"{key}_segmentation.png") for key in pairs}


def mask_first(names):
    return {k: (m, i) for k, (i, m) in _joined(_images(names), _masks(names)).items()}


def list_of_pairs(names):
    return list(_joined(_images(names), _masks(names)).values())


def sorts_in_place(names):
    names.sort()
    return _joined(_images(names), _masks(names))


def names_everything(names):
    images, masks = _images(names), _masks(names)
    if images.keys() != masks.keys():
        raise ValueError(f"images {list(images)} and masks {list(masks)} differ")
    return _joined(images, masks)


# --- exercise 2: split_by_group(groups, share, seed) ------------------------------------------------------------------


def with_numpy_unique(groups, share, seed):
    unique, place = np.unique(groups, return_index=True)
    unique = unique[np.argsort(place)]
    count = int(np.clip(round(share * len(unique)), 1, len(unique) - 1))
    test = np.isin(groups, np.random.default_rng(seed).choice(unique, count, replace=False))
    return np.flatnonzero(~test), np.flatnonzero(test)


def with_random_module(groups, share, seed):
    unique = sorted(set(groups), key=groups.index)
    count = min(max(1, round(share * len(unique))), len(unique) - 1)
    chosen = random.Random(seed).sample(unique, count)
    test = [i for i in range(len(groups)) if groups[i] in chosen]
    return [i for i in range(len(groups)) if i not in test], test


def sorted_names(groups, share, seed):
    unique = sorted(set(groups))
    return _split(groups, random.Random(seed).sample(unique, _count(share, len(unique))))


def unique_names(groups, share, seed):
    unique = np.unique(groups)
    drawn = np.random.default_rng(seed).permutation(len(unique))[: _count(share, len(unique))]
    return _split(groups, set(unique[drawn].tolist()))


def with_torch(groups, share, seed):
    unique = list(dict.fromkeys(groups))
    count = min(max(1, round(share * len(unique))), len(unique) - 1)
    order = torch.randperm(len(unique), generator=torch.Generator().manual_seed(seed)).tolist()
    rank = {unique[g]: r for r, g in enumerate(order)}
    return [i for i, g in enumerate(groups) if rank[g] >= count], [i for i, g in enumerate(groups) if rank[g] < count]


def _split(groups, chosen):
    return [i for i, g in enumerate(groups) if g not in chosen], [i for i, g in enumerate(groups) if g in chosen]


def _count(share, n):
    return min(max(1, round(share * n)), n - 1)


def draws_samples(groups, share, seed):
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    count = round(share * len(groups))
    return order[count:], order[:count]


def cuts_the_list(groups, share, seed):
    count = round(share * len(groups))
    return list(range(count, len(groups))), list(range(count))


def neighbours_are_a_group(groups, share, seed):
    runs = [[i for i, _ in run] for _, run in groupby(enumerate(groups), key=lambda pair: pair[1])]
    drawn = set(np.random.default_rng(seed).permutation(len(runs))[: round(share * len(runs))].tolist())
    train = [i for r, run in enumerate(runs) if r not in drawn for i in run]
    return train, [i for r, run in enumerate(runs) if r in drawn for i in run]


def order_of_a_set(groups, share, seed):
    unique = list(set(groups))
    chosen = np.random.default_rng(seed).permutation(unique)[: _count(share, len(unique))]
    return _split(groups, set(chosen.tolist()))


def by_hash(groups, share, seed):
    return _split(groups, {g for g in groups if hash((g, seed)) % 100 < 100 * share})


def by_digest(groups, share, seed):
    unique = sorted(set(groups), key=lambda g: hashlib.sha256(f"{seed}{g}".encode()).hexdigest())
    return _split(groups, unique[: _count(share, len(unique))])


def share_of_samples(groups, share, seed):
    chosen = []
    for g in np.random.default_rng(seed).permutation(list(dict.fromkeys(groups))).tolist():
        if sum(groups.count(c) for c in chosen) < share * len(groups):
            chosen.append(g)
    return _split(groups, chosen)


def coin_for_each_group(groups, share, seed):
    rng = np.random.default_rng(seed)
    return _split(groups, {g for g in dict.fromkeys(groups) if rng.random() < share})


def _drawn(groups, count, seed, generator=None):
    unique = list(dict.fromkeys(groups))
    rng = generator or np.random.default_rng(seed)
    return _split(groups, {unique[n] for n in rng.permutation(len(unique))[:count]})


def cut_off(groups, share, seed):
    return _drawn(groups, int(share * len(set(groups))), seed)


def rounded_up(groups, share, seed):
    return _drawn(groups, math.ceil(share * len(set(groups))), seed)


def may_be_empty(groups, share, seed):
    return _drawn(groups, round(share * len(set(groups))), seed)


def may_be_everything(groups, share, seed):
    return _drawn(groups, max(1, round(share * len(set(groups)))), seed)


def swapped(groups, share, seed):
    train, test = _drawn(groups, _count(share, len(set(groups))), seed)
    return test, train


def no_seed(groups, share, seed):
    return _drawn(groups, _count(share, len(set(groups))), None)


def seed_built_in(groups, share, seed):
    return _drawn(groups, _count(share, len(set(groups))), 0)


def first_groups(groups, share, seed):
    return _split(groups, list(dict.fromkeys(groups))[: _count(share, len(set(groups)))])


def moving_window(groups, share, seed):
    unique = list(dict.fromkeys(groups))
    return _split(groups, {unique[(seed + i) % len(unique)] for i in range(_count(share, len(unique)))})


def share_built_in(groups, share, seed):
    return _drawn(groups, _count(0.3, len(set(groups))), seed)


def seeds_everybody(groups, share, seed):
    np.random.seed(seed)  # noqa: NPY002 - the mistake
    unique = list(dict.fromkeys(groups))
    return _split(groups, np.random.permutation(unique)[: _count(share, len(unique))].tolist())  # noqa: NPY002


def shuffles_the_list(groups, share, seed):
    random.Random(seed).shuffle(groups)
    return _drawn(groups, _count(share, len(set(groups))), seed)


def with_replacement(groups, share, seed):
    unique = list(dict.fromkeys(groups))
    drawn = np.random.default_rng(seed).integers(0, len(unique), _count(share, len(unique)))
    return _split(groups, {unique[n] for n in drawn})


def never_the_last(groups, share, seed):
    unique = list(dict.fromkeys(groups))
    drawn = np.random.default_rng(seed).permutation(max(1, len(unique) - 1))[: _count(share, len(unique))]
    return _split(groups, {unique[n] for n in drawn})


def names_of_groups(groups, share, seed):
    unique = list(dict.fromkeys(groups))
    return unique[4:], unique[:4]


def masks_for_indices(groups, share, seed):
    train, test = _drawn(groups, _count(share, len(set(groups))), seed)
    return [i in train for i in range(len(groups))], [i in test for i in range(len(groups))]


def numbers_of_groups(groups, share, seed):
    unique = list(dict.fromkeys(groups))
    order = np.random.default_rng(seed).permutation(len(unique)).tolist()
    return order[_count(share, len(unique)) :], order[: _count(share, len(unique))]


def one_of_each_group(groups, share, seed):
    train, test = _drawn(groups, _count(share, len(set(groups))), seed)
    return [i for i in train if groups.index(groups[i]) == i], test


def test_alone(groups, share, seed):
    return _drawn(groups, _count(share, len(set(groups))), seed)[1]


# --- exercise 3: summarise_masks(pairs) -------------------------------------------------------------------------------


def with_the_library(pairs):
    told = summarise([evaluate_masks(p, t) for p, t in pairs])
    return {"undefined": told["undefined"], "failures": told["failures"],
            "mean": told["iou"]["mean"], "median": told["iou"]["median"]}  # fmt: skip


def with_iou_of_the_library(pairs):
    return _summary(pairs, iou=iou)


def with_nan_for_undefined(pairs):
    both = np.array([(p & t).sum() for p, t in pairs], float)
    either = np.array([(p | t).sum() for p, t in pairs], float)
    with np.errstate(invalid="ignore"):
        values = both / either  # 0 / 0 is NaN: exactly the undefined ones
    failures = sum(bool(p.any()) ^ bool(t.any()) for p, t in pairs)
    return {"undefined": int(np.isnan(values).sum()), "failures": failures,
            "mean": np.nanmean(values), "median": np.nanmedian(values)}  # fmt: skip


def _summary(pairs, iou=None, keep=lambda p, t: p.any() or t.any(), failed=lambda p, t: p.any() != t.any(),
             undefined=lambda p, t: not (p.any() or t.any()), mean=np.mean, median=np.median):  # fmt: skip
    iou = iou or (lambda p, t: (p & t).sum() / max((p | t).sum(), 1))
    values = [iou(p, t) for p, t in pairs if keep(p, t)]
    return {
        "undefined": sum(undefined(p, t) for p, t in pairs),
        "failures": sum(failed(p, t) for p, t in pairs),
        "mean": float(mean(values)) if values else float("nan"),
        "median": float(median(values)) if values else float("nan"),
    }


def misses_left_out(pairs):
    return _summary(pairs, keep=lambda p, t: p.any() and t.any())


def misses_of_truth_left_out(pairs):
    return _summary(pairs, keep=lambda p, t: p.any())


def false_alarms_left_out(pairs):
    return _summary(pairs, keep=lambda p, t: t.any())


def empty_is_perfect(pairs):
    return _summary(
        pairs, keep=lambda p, t: True, iou=lambda p, t: 1.0 if not (p | t).any() else (p & t).sum() / (p | t).sum()
    )


def empty_is_zero(pairs):
    return _summary(pairs, keep=lambda p, t: True)


def nan_in_the_mean(pairs):
    with np.errstate(invalid="ignore"):
        return _summary(pairs, keep=lambda p, t: True, iou=lambda p, t: np.divide((p & t).sum(), (p | t).sum()))


def failure_is_iou_zero(pairs):
    return _summary(pairs, failed=lambda p, t: (p | t).any() and not (p & t).any())


def failure_is_empty_prediction(pairs):
    return _summary(pairs, failed=lambda p, t: not p.any() and t.any())


def undefined_is_a_failure(pairs):
    return _summary(pairs, failed=lambda p, t: not (p.any() and t.any()))


def undefined_not_counted(pairs):
    return _summary(pairs, undefined=lambda p, t: False)


def misses_are_undefined(pairs):
    return _summary(pairs, undefined=lambda p, t: not (p.any() and t.any()), failed=lambda p, t: False)


def median_of_successes(pairs):
    answer = _summary(pairs)
    answer["median"] = misses_left_out(pairs)["median"]
    return answer


def pooled_pixels(pairs):
    both, either = (sum(op(p, t).sum() for p, t in pairs) for op in (np.logical_and, np.logical_or))
    return {**_summary(pairs), "mean": both / max(either, 1)}


def dice_for_iou(pairs):
    return _summary(pairs, iou=lambda p, t: 2 * (p & t).sum() / (p.sum() + t.sum()))


def union_counted_twice(pairs):
    return _summary(pairs, iou=lambda p, t: (p & t).sum() / (p.sum() + t.sum()))


def share_of_equal_pixels(pairs):
    return _summary(pairs, iou=lambda p, t: (p == t).mean())


def recall(pairs):
    return _summary(pairs, iou=lambda p, t: (p & t).sum() / max(t.sum(), 1))


def precision(pairs):
    return _summary(pairs, iou=lambda p, t: (p & t).sum() / max(p.sum(), 1))


def mean_and_median_swapped(pairs):
    return _summary(pairs, mean=np.median, median=np.mean)


def upper_middle(pairs):
    return _summary(pairs, median=lambda values: sorted(values)[len(values) // 2])


def zero_for_nothing(pairs):
    answer = _summary(pairs)
    return {k: 0.0 if v != v else v for k, v in answer.items()}


def changes_masks(pairs):
    values = []
    for p, t in pairs:
        either = (p | t).sum()
        p &= t
        values.append(p.sum() / either)
    return {"undefined": 0, "failures": 0, "mean": np.mean(values), "median": np.median(values)}


def only_the_mean(pairs):
    return _summary(pairs)["mean"]


def lists_for_counts(pairs):
    answer = _summary(pairs)
    answer["failures"] = [i for i, (p, t) in enumerate(pairs) if p.any() != t.any()]
    return answer


# --- exercise 4: mask_at_own_size(image, longest_side, segment) -------------------------------------------------------


def _size(image, side, rounding=round):
    height, width = image.shape[:2]
    scale = side / max(height, width)
    return max(1, rounding(height * scale)), max(1, rounding(width * scale))


def _shrink(image, size, how=Image.Resampling.BICUBIC):
    return np.asarray(Image.fromarray(image).resize(size[::-1], how))


def _nearest(mask, shape):
    rows = ((np.arange(shape[0]) + 0.5) * mask.shape[0] / shape[0]).astype(int)
    columns = ((np.arange(shape[1]) + 0.5) * mask.shape[1] / shape[1]).astype(int)
    return mask[rows][:, columns]


def by_indices(image, longest_side, segment):
    return _nearest(segment(_shrink(image, _size(image, longest_side))), image.shape)


def by_torch(image, longest_side, segment):
    size = _size(image, longest_side)
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    small = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)[0].permute(1, 2, 0)
    mask = torch.from_numpy(np.array(segment(small.round().clamp(0, 255).byte().numpy())))
    return F.interpolate(mask[None, None].float(), image.shape[:2], mode="nearest-exact")[0, 0].numpy() > 0.5


def by_skimage(image, longest_side, segment):
    small = resize(image, _size(image, longest_side), preserve_range=True, anti_aliasing=True).round().astype(np.uint8)
    mask = segment(small).astype(np.uint8)
    return resize(mask, image.shape[:2], order=0, preserve_range=True, anti_aliasing=False) > 0


def by_boxes(image, longest_side, segment):
    small = _shrink(image, _size(image, longest_side), Image.Resampling.BOX)
    mask = Image.fromarray(segment(small).astype(np.uint8) * 255)
    return np.array(mask.resize(image.shape[1::-1], Image.Resampling.NEAREST)) > 127


def by_the_library(image, longest_side, segment):
    empty = np.zeros(image.shape[:2], np.uint8)
    return _nearest(segment(to_scale(Sample(image, empty, None, "", ""), longest_side).image), image.shape)


def to_a_square(image, longest_side, segment):
    return _nearest(segment(_shrink(image, (longest_side, longest_side))), image.shape)


def shorter_side_scaled(image, longest_side, segment):
    height, width = image.shape[:2]
    scale = longest_side / min(height, width)
    return _nearest(segment(_shrink(image, (round(height * scale), round(width * scale)))), image.shape)


def sides_swapped(image, longest_side, segment):
    return _nearest(segment(_shrink(image, _size(image, longest_side)[::-1])), image.shape)


def short_side_cut_off(image, longest_side, segment):
    return _nearest(segment(_shrink(image, _size(image, longest_side, int))), image.shape)


def side_may_vanish(image, longest_side, segment):
    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    return _nearest(segment(_shrink(image, (round(height * scale), round(width * scale)))), image.shape)


def width_may_vanish(image, longest_side, segment):
    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    return _nearest(segment(_shrink(image, (max(1, round(height * scale)), round(width * scale)))), image.shape)


def only_smaller(image, longest_side, segment):
    if max(image.shape) <= longest_side:
        return segment(image)
    return by_indices(image, longest_side, segment)


def side_built_in(image, longest_side, segment):
    return by_indices(image, 45, segment)


def not_resized(image, longest_side, segment):
    return segment(image)


def not_brought_back(image, longest_side, segment):
    return segment(_shrink(image, _size(image, longest_side)))


def back_sides_swapped(image, longest_side, segment):
    mask = segment(_shrink(image, _size(image, longest_side))).astype(np.uint8)
    return np.asarray(Image.fromarray(mask).resize(image.shape[:2], Image.Resampling.NEAREST)) > 0


def _back(way):
    def answer(image, longest_side, segment):
        mask = segment(_shrink(image, _size(image, longest_side)))
        return way(mask, image.shape[:2])

    return answer


def _corner(mask, shape):
    x = torch.from_numpy(np.array(mask))[None, None].float()
    return F.interpolate(x, shape, mode="nearest")[0, 0].numpy() > 0.5


def _ends(mask, shape):
    rows, columns = (np.rint(np.linspace(0, n - 1, s)).astype(int) for n, s in zip(mask.shape, shape, strict=True))
    return mask[rows][:, columns]


def _bilinear(mask, shape):
    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR)) > 0.5


def _any_touch(mask, shape):
    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR)) > 0


def _numpy_resize(mask, shape):
    return np.resize(mask, shape)


def _numbers(mask, shape):
    return _nearest(mask, shape).astype(np.uint8) * 255


def _inverted(mask, shape):
    return ~_nearest(mask, shape)


def _upside_down(mask, shape):
    return _nearest(mask, shape)[::-1]


def _mirrored(mask, shape):
    return _nearest(mask, shape)[:, ::-1]


def image_picked_not_averaged(image, longest_side, segment):
    small = _shrink(image, _size(image, longest_side), Image.Resampling.NEAREST)
    return _nearest(segment(small), image.shape)


def image_without_antialias(image, longest_side, segment):
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    small = F.interpolate(x, _size(image, longest_side), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    return _nearest(segment(small.byte().numpy()), image.shape)


def image_repeated(image, longest_side, segment):
    return _nearest(segment(np.resize(image, (*_size(image, longest_side), 3))), image.shape)


def image_cut(image, longest_side, segment):
    h, w = _size(image, longest_side)
    return _nearest(segment(np.pad(image, ((0, h), (0, w), (0, 0)))[:h, :w]), image.shape)


def values_0_to_1(image, longest_side, segment):
    return _nearest(segment(_shrink(image, _size(image, longest_side)) / 255), image.shape)


def pillow_image_given(image, longest_side, segment):
    return _nearest(segment(Image.fromarray(image).resize(_size(image, longest_side)[::-1])), image.shape)


def grey_image_given(image, longest_side, segment):
    small = _shrink(image, _size(image, longest_side)).mean(2).astype(np.uint8)
    return _nearest(segment(small), image.shape)


def blue_first(image, longest_side, segment):
    return _nearest(segment(_shrink(image, _size(image, longest_side))[..., ::-1]), image.shape)


def never_asked(image, longest_side, segment):
    return np.zeros(image.shape[:2], bool)


def writes_into_the_image(image, longest_side, segment):
    image -= 1
    return by_indices(image, longest_side, segment)


# --- exercise 5: report() ---------------------------------------------------------------------------------------------


def say(use="no", sentences=("A", "C", "G"), missing=(1, 3, 4)):
    return lambda: {"use": use, "sentences": set(sentences), "missing": set(missing)}


EXERCISES = {
    "exercise_1": Exercise(
        right=[by_pattern, one_by_one],
        wrong=[
            ("masks of 2016 are written like those of 2018", lower_case_only, "capital S"),
            ("what is lonely may be skipped", skips_what_is_lonely, "without a word"),
            ("only images can be lonely", asks_images_only, "the mask ISIC_0000003_segmentation.png has no image"),
            ("only masks can be lonely", asks_masks_only, "the image ISIC_0000002.jpg has no mask"),
            ("any PNG is a mask", any_png_is_a_mask, "they are neither"),
            ("any PNG is a mask, segmentation preferred", png_sorted_first, "LICENSE|neither|took the superpixels"),
            ("sorted lists pair themselves", by_place_in_sorted_lists, "as many images as masks"),
            ("lists pair themselves", by_place_as_given, "pair by the number"),
            ("equal counts are enough", counts_only, "does not say which"),
            ("a KeyError is enough", key_error, "not a KeyError"),
            ("the key ends at the first underscore", first_underscore, 'became the key "ISIC"'),
            ("the key keeps its suffix", key_with_suffix, "is no key"),
            ("names made up", names_made_up, "not in the list"),
            ("mask before image", mask_first, "mask comes first"),
            ("pairs without a key", list_of_pairs, "return a dictionary"),
            ("the list sorted in place", sorts_in_place, "changes the list"),
            ("the message names everything", names_everything, "name the lonely one"),
        ],
    ),
    "exercise_2": Exercise(
        right=[with_numpy_unique, with_random_module, with_torch],
        wrong=[
            ("samples drawn", draws_samples, "that is the leak"),
            ("the list cut in two", cuts_the_list, "that is the leak"),
            ("groups stand side by side", neighbours_are_a_group, "side by side"),
            ("the order of a set holds", order_of_a_set, "order of a set"),
            ("hash of a name", by_hash, "hash\\(\\)"),
            ("the names decide", by_digest, "in which they first appear"),
            ("names sorted", sorted_names, "sort the other way round"),
            ("np.unique sorts", unique_names, "sort the other way round"),
            ("share of the samples", share_of_samples, "share counts groups"),
            ("a coin for each group", coin_for_each_group, "share counts groups"),
            ("int for round", cut_off, "round\\(\\) rounds"),
            ("ceil for round", rounded_up, "ceil\\(\\) goes up"),
            ("test may be empty", may_be_empty, "test is empty"),
            ("train may be empty", may_be_everything, "train is empty"),
            ("train and test swapped", swapped, "swapped"),
            ("no seed", no_seed, "two calls with the same seed"),
            ("seed built in", seed_built_in, "six seeds"),
            ("first groups, nothing drawn", first_groups, "six seeds"),
            ("a window that moves with the seed", moving_window, "same neighbours"),
            ("share built in", share_built_in, "share built in"),
            ("global generator", seeds_everybody, "generator of|one of your own"),
            ("the given list shuffled", shuffles_the_list, "changes the list"),
            ("drawn with replacement", with_replacement, "no group is drawn twice"),
            ("one group has no chance", never_the_last, "never in test"),
            ("names for indices", names_of_groups, "holds names of groups"),
            ("True and False for indices", masks_for_indices, "True and False"),
            ("numbers of groups for indices", numbers_of_groups, "both parts|neither part"),
            ("one sample of each group kept", one_of_each_group, "neither part"),
            ("only the test part", test_alone, "two lists"),
        ],
    ),
    "exercise_3": Exercise(
        right=[with_nan_for_undefined, with_iou_of_the_library],
        wrong=[
            ("the library's summary called", with_the_library, "write the steps yourself"),
            ("misses left out", misses_left_out, "an object not found, twice: you leave it out"),
            ("empty predictions left out", misses_of_truth_left_out, "an object not found, twice: you leave it out"),
            ("false alarms left out", false_alarms_left_out, "a false alarm, twice: you leave it out"),
            ("both empty is perfect", empty_is_perfect, "perfect score for finding nothing"),
            ("both empty is a failure of IoU 0", empty_is_zero, "count as 0 in your mean"),
            ("0 / 0 in the mean", nan_in_the_mean, "your mean is NaN"),
            ("IoU 0 is a failure", failure_is_iou_zero, "do not touch"),
            ("only misses are failures", failure_is_empty_prediction, "a false alarm, twice: got"),
            ("undefined is a failure", undefined_is_a_failure, "both empty is undefined"),
            ("undefined not counted", undefined_not_counted, "both empty is undefined"),
            ("a miss is undefined", misses_are_undefined, "counted as a failure"),
            ("median of the successes", median_of_successes, "the median of"),
            ("all pixels put together", pooled_pixels, "image by image"),
            ("Dice for IoU", dice_for_iou, "that is Dice"),
            ("union counted twice", union_counted_twice, "counts them twice"),
            ("share of equal pixels", share_of_equal_pixels, "background counts"),
            ("recall", recall, "recall"),
            ("precision", precision, "precision"),
            ("mean and median swapped", mean_and_median_swapped, "are swapped"),
            ("median of an even number", upper_middle, "the median of"),
            ("0 where nothing was measured", zero_for_nothing, "must be NaN"),
            ("masks changed in place", changes_masks, "changes the masks"),
            ("one number alone", only_the_mean, "with these names"),
            ("a list for a count", lists_for_counts, "must be one number"),
        ],
    ),
    "exercise_4": Exercise(
        right=[by_indices, by_torch, by_skimage, by_boxes],
        wrong=[
            ("the library's scaling called", by_the_library, "write the steps yourself"),
            ("squeezed to a square", to_a_square, "square"),
            ("shorter side scaled", shorter_side_scaled, "the longer side that segment got is"),
            ("height and width swapped", sides_swapped, "height and width are swapped"),
            ("short side cut off", short_side_cut_off, "int cuts off"),
            ("a side of 0 pixels", side_may_vanish, "ValueError|never go under 1"),
            ("a width of 0 pixels", width_may_vanish, "ValueError|never go under 1"),
            ("small images left as they are", only_smaller, "at its own size"),
            ("longest side built in", side_built_in, "the longer side that segment got is 45"),
            ("not resized", not_resized, "at its own size"),
            ("not brought back", not_brought_back, "still the small size"),
            ("swapped on the way back", back_sides_swapped, "Pillow takes"),
            ("corners for centres", _back(_corner), "nearest-exact"),
            ("ends laid on ends", _back(_ends), "corner pixels were laid"),
            ("bilinear on the way back", _back(_bilinear), "mixes neighbours"),
            ("any touch counts", _back(_any_touch), "mixes neighbours"),
            ("np.resize repeats", _back(_numpy_resize), "on the way back"),
            ("0 and 255 for False and True", _back(_numbers), "must be bool"),
            ("object and background swapped", _back(_inverted), "background are swapped"),
            ("upside down", _back(_upside_down), "upside down"),
            ("mirrored", _back(_mirrored), "left and right"),
            ("image by nearest neighbour", image_picked_not_averaged, "hairs"),
            ("image without antialiasing", image_without_antialias, "hairs"),
            ("np.resize of the image", image_repeated, "not get the same picture"),
            ("cut for scaled", image_cut, "not get the same picture|other colours"),
            ("0 to 1 for 0 to 255", values_0_to_1, "takes uint8"),
            ("a Pillow image for an array", pillow_image_given, "NumPy array"),
            ("grey for colour", grey_image_given, "takes \\[h, w, 3\\]"),
            ("blue first", blue_first, "red and blue"),
            ("segment never asked", never_asked, "never call segment"),
            ("image changed in place", writes_into_the_image, "changes the image"),
        ],
    ),
    "exercise_5": Exercise(
        right=[
            say(),
            lambda: {"use": "no", "sentences": "GCA", "missing": ["4", "3", "1"]},
            lambda: {"use": "no", "sentences": ["A", "G", "C"], "missing": (1, 4, 3)},
        ],
        wrong=[
            ("a good mean is enough", say(use="yes"), "missed almost wholly"),
            ("the mean is a typical image", say(sentences="ABCG"), "sentence B may not stand: the mean is no typical"),
            ("undecided means unused", say(sentences="ACDG"), "sentence D may not stand: the control"),
            ("guidance improves lesions", say(sentences="ACEG"), "sentence E may not stand: guided minus pooled"),
            ("sure is right", say(sentences="ACFG"), "sentence F may not stand: on the retina"),
            ("misses may be left out", say(sentences="ACGH"), "sentence H may not stand: leaving out"),
            ("misses need no sentence", say(sentences="CG"), "sentence A may stand"),
            ("undecided may not be said", say(sentences="AG"), "sentence C may stand"),
            ("seeds need no sentence", say(sentences="AC"), "sentence G may stand"),
            ("tuning on the test set", say(missing=(1, 2, 3, 4)), "2 is not what is missing: whoever tunes"),
            ("kernel maps are evidence", say(missing=(1, 3, 4, 5)), "5 is not what is missing"),
            ("the paper's numbers carry over", say(missing=(1, 3, 4, 6)), "6 is not what is missing"),
            ("own patients not needed", say(missing=(3, 4)), "more is missing, 1"),
            ("kinds of patients not needed", say(missing=(1, 4)), "more is missing, 3"),
            ("doctors not needed", say(missing=(1, 3)), "more is missing, 4"),
            ("other names", lambda: {"use": "no"}, "with these three names"),
            ("neither yes nor no", say(use="perhaps"), 'answer "yes" or "no"'),
            ("letters that do not exist", say(sentences="AZ"), "the letters A to H"),
            ("letters for numbers", say(missing="ACG"), "the numbers 1 to 6"),
        ],
    ),
}
