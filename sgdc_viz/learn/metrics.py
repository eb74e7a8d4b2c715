"""How good is a mask? Overlap and boundary metrics of one image, and their summary over many. NumPy and SciPy only.

Two conventions hold throughout:

* The surface of a mask is its outermost pixels: those with a background pixel above, below, left or right. Pixels
  beyond the image count as background, so an object cut by the image's frame has surface along the frame (as in MONAI
  and in the boundary IoU of its authors).
* Empty masks. Both empty: there is nothing to measure, every metric is NaN ("undefined"), left out of means and
  counted. One empty (an object missed, or invented): overlap and surface metrics are 0 and HD95 is the image's diagonal
  sqrt(H^2 + W^2), more than any two pixels can be apart, so a miss is never better than a bad hit ("failure", counted).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

METRICS = ("iou", "dice", "hd95", "nsd1", "nsd2", "boundary_iou")
BOUNDARY_RATIO = 0.02  # of the diagonal, Cheng 2021
BOOTSTRAP_RESAMPLES = 2000
BOOTSTRAP_SEED = 0
LEAST_IMAGES = 5  # for an interval that is worth showing


def iou(pred: np.ndarray, true: np.ndarray) -> float:
    """Intersection over union (Jaccard index), |P and T| / |P or T|.

    Args:
        pred: predicted mask, bool [H, W].
        true: true mask, bool [H, W].

    Returns:
        0 (nothing shared) to 1 (equal); NaN if both are empty.

    Raises:
        ValueError: a mask is not bool [H, W], or the shapes differ.
    """
    _check(pred, true)
    union = int(np.count_nonzero(pred | true))
    return int(np.count_nonzero(pred & true)) / union if union else math.nan


def dice(pred: np.ndarray, true: np.ndarray) -> float:
    """Dice coefficient (F1 score of the pixels), 2 |P and T| / (|P| + |T|) = 2 IoU / (1 + IoU).

    Args:
        pred: predicted mask, bool [H, W].
        true: true mask, bool [H, W].

    Returns:
        0 (nothing shared) to 1 (equal); NaN if both are empty.

    Raises:
        ValueError: a mask is not bool [H, W], or the shapes differ.
    """
    _check(pred, true)
    size = int(np.count_nonzero(pred)) + int(np.count_nonzero(true))
    return 2 * int(np.count_nonzero(pred & true)) / size if size else math.nan


def hd95(pred: np.ndarray, true: np.ndarray, spacing: float | tuple[float, float] = 1.0) -> float:
    """95th percentile Hausdorff distance: how far apart the two surfaces are, forgiving the worst 5 % of each.

    For every surface pixel of one mask take the Euclidean distance to the nearest surface pixel of the other; take the
    95th percentile (linear interpolation); do so in both directions; return the larger. (MONAI does the same. Some
    codes take one percentile of both lists put together: never compare numbers across the two.)

    Args:
        pred: predicted mask, bool [H, W].
        true: true mask, bool [H, W].
        spacing: size of a pixel, one number or (down, across), to measure in its unit instead of in pixels.

    Returns:
        0 or more, in pixels (or the unit of `spacing`); NaN if both are empty; the image's diagonal if one is.

    Raises:
        ValueError: a mask is not bool [H, W], the shapes differ, or a spacing is not above 0.
    """
    _check(pred, true)
    spacing = _spacing(spacing)
    if not (pred.any() and true.any()):
        return _diagonal(true.shape, spacing) if pred.any() or true.any() else math.nan
    return _hd95(*_surface_distances(*_crop(pred, true), spacing))


def surface_dice(
    pred: np.ndarray, true: np.ndarray, tolerance: float = 1.0, spacing: float | tuple[float, float] = 1.0
) -> float:
    """Normalised surface distance (NSD, surface Dice; Nikolov 2018, arXiv 1809.04430, on surface pixels).

    The share of surface pixels, of both masks together, that lie within `tolerance` of the other mask's surface.

    Args:
        pred: predicted mask, bool [H, W].
        true: true mask, bool [H, W].
        tolerance: distance that still counts as right, in pixels (or the unit of `spacing`); 0 or more.
        spacing: size of a pixel, one number or (down, across).

    Returns:
        0 (no surface pixel is near) to 1 (all are); NaN if both are empty; 0 if one is.

    Raises:
        ValueError: a mask is not bool [H, W], the shapes differ, the tolerance is negative or a spacing not above 0.
    """
    _check(pred, true)
    spacing = _spacing(spacing)
    if not tolerance >= 0:
        raise ValueError(f"tolerance={tolerance!r} must be 0 or more.")
    if not (pred.any() and true.any()):
        return 0.0 if pred.any() or true.any() else math.nan
    return _surface_dice(*_surface_distances(*_crop(pred, true), spacing), tolerance)


def boundary_iou(pred: np.ndarray, true: np.ndarray, ratio: float = BOUNDARY_RATIO) -> float:
    """Boundary IoU (Cheng 2021, arXiv 2103.16562): the IoU of two bands along the inside of each mask's border.

    The band of a mask is what d erosions with a 3x3 square take away, d = ratio * image diagonal, rounded, 1 or more
    (256x256: 7 pixels; 512x512: 14). Objects thinner than 2d are all band, and the value is then plain IoU.

    Args:
        pred: predicted mask, bool [H, W].
        true: true mask, bool [H, W].
        ratio: width of the band as a share of the image's diagonal; above 0.

    Returns:
        0 to 1; NaN if both are empty; 0 if one is.

    Raises:
        ValueError: a mask is not bool [H, W], the shapes differ, or the ratio is not above 0.
    """
    _check(pred, true)
    if not ratio > 0:
        raise ValueError(f"ratio={ratio!r} must be above 0; the paper uses 0.02.")
    if not (pred.any() or true.any()):
        return math.nan
    return _boundary_iou(*_crop(pred, true), _band_width(true.shape, ratio))


def evaluate_masks(pred: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """All metrics of one binary image. Equal to the single functions, but the work they share is done once.

    Args:
        pred: predicted mask, bool [H, W].
        true: true mask, bool [H, W].

    Returns:
        "iou", "dice", "hd95" (pixels), "nsd1" and "nsd2" (surface Dice at 1 and 2 pixels), "boundary_iou", and two
        flags, 0.0 or 1.0: "undefined" (both masks empty, metrics NaN) and "failure" (exactly one empty).

    Raises:
        ValueError: a mask is not bool [H, W], or the shapes differ.
    """
    _check(pred, true)
    found, present = bool(pred.any()), bool(true.any())
    if not found and not present:
        return {**dict.fromkeys(METRICS, math.nan), "undefined": 1.0, "failure": 0.0}
    if not found or not present:
        return {**dict.fromkeys(METRICS, 0.0), "hd95": _diagonal(true.shape), "undefined": 0.0, "failure": 1.0}
    band = _band_width(true.shape, BOUNDARY_RATIO)
    pred, true = _crop(pred, true)
    distances = _surface_distances(pred, true)
    return {
        "iou": iou(pred, true),
        "dice": dice(pred, true),
        "hd95": _hd95(*distances),
        "nsd1": _surface_dice(*distances, 1.0),
        "nsd2": _surface_dice(*distances, 2.0),
        "boundary_iou": _boundary_iou(pred, true, band),
        "undefined": 0.0,
        "failure": 0.0,
    }


def evaluate_labels(pred: np.ndarray, true: np.ndarray, num_classes: int) -> dict[str, float]:
    """All metrics of one multi-class image: `evaluate_masks` for each foreground class, then the mean.

    The mean is over the classes present in the truth or the prediction, so an invented class counts as the failure it
    is, and a class absent from both neither helps nor hurts.

    Args:
        pred: predicted class map, whole numbers [H, W], 0 is the background.
        true: true class map, whole numbers [H, W].
        num_classes: classes with the background: values run from 0 to num_classes - 1.

    Returns:
        The keys of `evaluate_masks`: each metric a mean over classes; "undefined" 1.0 if no class is present; "failure"
        1.0 if a class was missed or invented. And the same for each class c alone: "class_c_iou" to "class_c_failure".

    Raises:
        ValueError: a map is not of whole numbers [H, W], the shapes differ, or a value is not a class.
    """
    _check(pred, true, kinds="iu", wanted="class map of whole numbers")
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes!r} must be 2 or more: the background and at least one class.")
    for name, labels in (("pred", pred), ("true", true)):
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise ValueError(
                f"{name} holds values from {labels.min()} to {labels.max()}, but {num_classes} classes allow 0 to "
                f"{num_classes - 1}; give num_classes with the background counted."
            )
    by_class = {c: evaluate_masks(pred == c, true == c) for c in range(1, num_classes)}
    present = [values for values in by_class.values() if not values["undefined"]]
    record = {name: float(np.mean([values[name] for values in present])) if present else math.nan for name in METRICS}
    record["undefined"] = float(not present)
    record["failure"] = float(any(values["failure"] for values in present))
    for c, values in by_class.items():
        record.update({f"class_{c}_{name}": value for name, value in values.items()})
    return record


def summarise(records: Sequence[dict[str, float]]) -> dict:
    """Summary over images of what `evaluate_masks` or `evaluate_labels` returned.

    The interval is a percentile bootstrap of the mean (2000 resamples of the images, fixed seed, so it repeats): it
    says how much the mean would vary with other images of the same kind, not with another training seed. It takes the
    images as independent; near-duplicates make it too narrow. One failure puts a whole diagonal into the mean of HD95:
    read the median and the failures beside it.

    The bootstrap knows only the images it is given: of one image the interval has no width, and of two to four it is
    far too narrow. The numbers are given all the same, but an interval over fewer than LEAST_IMAGES (5) images says
    nothing, and the command line does not print it.

    Args:
        records: one dictionary an image, all with the same keys.

    Returns:
        {"images": int, "undefined": int, "failures": int} and for each metric {"mean", "median", "low", "high" (95 %
        interval of the mean), "count" (images where it is defined)}; floats are NaN where the count is 0. Of
        `evaluate_labels` the single classes are summarised too ("class_1_iou", ..., "class_1_failures").

    Raises:
        ValueError: there are no records, or their keys differ.
    """
    if not records:
        raise ValueError("There are no records to summarise; evaluate at least one image.")
    names = list(records[0])
    for index, record in enumerate(records):
        if set(record) != set(names):
            raise ValueError(
                f"Record {index} has other keys than record 0 ({sorted(set(record) ^ set(names))}); summarise binary "
                "and multi-class images apart."
            )
    summary: dict = {"images": len(records)}
    for name in names:
        values = np.array([record[name] for record in records], dtype=float)
        if name.endswith("undefined"):
            summary[name] = int(values.sum())
        elif name.endswith("failure"):
            summary[name + "s"] = int(values.sum())
        else:
            summary[name] = _summary(values[~np.isnan(values)])
    return summary


def _summary(values: np.ndarray) -> dict[str, float | int]:
    if not len(values):
        return {"mean": math.nan, "median": math.nan, "low": math.nan, "high": math.nan, "count": 0}
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = rng.integers(len(values), size=(BOOTSTRAP_RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "low": float(low),
        "high": float(high),
        "count": len(values),
    }


def _check(pred: np.ndarray, true: np.ndarray, kinds: str = "b", wanted: str = "bool mask") -> None:
    for name, mask in (("pred", pred), ("true", true)):
        if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype.kind not in kinds:
            got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            remedy = "compare first, for example mask > 0" if kinds == "b" else "use the class numbers"
            raise ValueError(f"{name} must be a NumPy {wanted} [H, W], got {got}; {remedy}.")
    if pred.shape != true.shape:
        raise ValueError(f"pred {pred.shape} and true {true.shape} differ in shape; predict at the truth's size.")


def _spacing(spacing: float | tuple[float, float]) -> tuple[float, float]:
    pair = np.broadcast_to(np.asarray(spacing, dtype=float), (2,)) if np.size(spacing) in (1, 2) else np.zeros(2)
    if not (np.isfinite(pair).all() and (pair > 0).all()):
        raise ValueError(f"spacing={spacing!r} must be one number or (down, across), above 0.")
    return float(pair[0]), float(pair[1])


def _diagonal(shape: tuple[int, ...], spacing: tuple[float, float] = (1.0, 1.0)) -> float:
    return math.hypot(shape[0] * spacing[0], shape[1] * spacing[1])


def _crop(pred: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks cut to the bounding box of their union. Exact for every metric here: nothing but background is cut
    away, both surfaces lie inside the box, and erosion sees background beyond the box as it did beyond the frame."""
    union = pred | true
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return pred[box], true[box]


def _surface_distances(
    pred: np.ndarray, true: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Distances from each surface pixel of pred to true's surface, and from true's to pred's. Neither mask is empty."""
    pred_surface, true_surface = _surface(pred), _surface(true)
    return _distances(pred_surface, true_surface, spacing), _distances(true_surface, pred_surface, spacing)


def _surface(mask: np.ndarray) -> np.ndarray:
    # mask & ~scipy.ndimage.binary_erosion(mask), 15 times faster for this one-pixel cross.
    padded = np.pad(mask, 1)
    up, down, left, right = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    return mask & ~(up & down & left & right)


def _distances(start: np.ndarray, goal: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    # The distance transform knows the nearest goal pixel of every pixel. Asking for that pixel's place, and measuring
    # only from the start pixels, takes two thirds of the time of asking for all the distances.
    nearest = ndimage.distance_transform_edt(~goal, sampling=spacing, return_distances=False, return_indices=True)
    rows, columns = np.nonzero(start)
    return np.hypot((nearest[0][rows, columns] - rows) * spacing[0], (nearest[1][rows, columns] - columns) * spacing[1])


def _hd95(from_pred: np.ndarray, from_true: np.ndarray) -> float:
    return float(max(np.percentile(from_pred, 95), np.percentile(from_true, 95)))


def _surface_dice(from_pred: np.ndarray, from_true: np.ndarray, tolerance: float) -> float:
    near = int(np.count_nonzero(from_pred <= tolerance)) + int(np.count_nonzero(from_true <= tolerance))
    return near / (len(from_pred) + len(from_true))


def _band_width(shape: tuple[int, ...], ratio: float) -> int:
    return max(1, round(ratio * _diagonal(shape)))


def _boundary_iou(pred: np.ndarray, true: np.ndarray, width: int) -> float:
    bands = []
    for mask in (pred, true):
        # d erosions with a 3x3 square are one with a square of 2d + 1, and that is a separable minimum filter.
        eroded = ndimage.minimum_filter(mask.view(np.uint8), size=2 * width + 1, mode="constant", cval=0)
        bands.append(mask & (eroded == 0))
    return iou(*bands)
