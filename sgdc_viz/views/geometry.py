"""Contours in numbers: signed distance, rings, normals, how well two boundaries agree, and means with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .style import outlines_of

RESAMPLES, SEED = 2000, 0  # as in sgdc_viz.learn.metrics


def signed_distance(labels: np.ndarray) -> np.ndarray:
    """Distance of each pixel's centre to the nearest outline, in pixels: negative inside an object, positive outside.

    The outline runs between pixels, so the two pixels beside it have -0.5 and +0.5. The frame of the image is no
    outline. Objects that touch have an outline between them.

    Args:
        labels: object numbers [H, W], 0 background (a binary mask: 0 and 1).

    Returns:
        float [H, W]; infinite where there is no outline to measure from (+ no object, - nothing but one object).
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    labels = np.asarray(labels).astype(np.int32)
    background = labels == 0
    if background.all():
        return np.full(labels.shape, np.inf)
    distance = distance_transform_edt(background) - 0.5
    for value, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        # one more pixel on each side (where the image has one), so that the surroundings are seen
        grown = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        inside = labels[grown] == value
        depth = np.full(inside.shape, np.inf) if inside.all() else distance_transform_edt(inside) - 0.5
        distance[grown][inside] = -depth[inside]
    return distance


def ring(labels: np.ndarray, width: float = 3.0) -> np.ndarray:
    """Pixels whose centre is at most `width` pixels from an outline: labels [H, W] -> bool [H, W].

    Raises:
        ValueError: width is not above 0.5 (no pixel's centre is nearer), or no outline exists.
    """
    if not width >= 0.5:
        raise ValueError(f"width={width!r} must be 0.5 pixels or more: the nearest pixel centres are that far away.")
    near = np.abs(signed_distance(labels)) <= width
    if not near.any():
        raise ValueError("there is no outline to lay a ring around: the mask is empty or covers the whole image.")
    return near


def elsewhere(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """A region of the same size and much the same shape as `mask`, but beside it: the control for a ring.

    The mask is shifted (wrapping around) to where it overlaps itself least, of 64 random shifts; of the pixels outside
    the mask, those nearest to the shifted copy are taken, as many as the mask has.

    Args:
        mask: bool [H, W].
        seed: of the shifts.

    Returns:
        bool [H, W], no pixel in common with `mask`, and equally many.

    Raises:
        ValueError: the mask is empty or covers more than half of the image.
    """
    from scipy.ndimage import distance_transform_edt

    mask = np.asarray(mask, bool)
    count = int(mask.sum())
    if not 0 < count <= mask.size // 2:
        raise ValueError(f"the region covers {count} of {mask.size} pixels: give one with at least one, at most half.")
    rng = np.random.default_rng(seed)
    shifts = rng.integers(0, mask.shape, (64, 2))
    copies = (np.roll(mask, shift, (0, 1)) for shift in shifts)
    shifted = min(copies, key=lambda copy: int((copy & mask).sum()))
    distance = distance_transform_edt(~shifted) + 0.1 * rng.random(mask.shape)  # ties are broken at random
    distance[mask] = np.inf
    chosen = np.zeros(mask.size, bool)
    chosen[np.argsort(distance, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(mask.shape)


def true_boundary(labels: np.ndarray) -> np.ndarray:
    """Pixels of an object with a 4-neighbour that is not of the same object: labels [H, W] -> bool [H, W].

    The frame of the image is no boundary.
    """
    labels = np.asarray(labels).astype(np.int32)
    padded = np.pad(labels, 1, mode="edge")
    neighbours = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    return (labels > 0) & np.any([labels != other for other in neighbours], axis=0)


@dataclass(frozen=True, eq=False)
class BoundaryScore:
    """How well a predicted boundary agrees with the true one.

    Attributes:
        precision: share of predicted pixels with a true one within the tolerance; NaN if nothing is predicted.
        recall: share of true pixels with a predicted one within the tolerance; NaN if there are none.
        f: their harmonic mean; 0 if one of the two boundaries is empty, NaN if both are.
        hits, misses: bool [H, W], the true pixels found and not found.
        false_alarms: bool [H, W], the predicted pixels with no true one near.
    """

    precision: float
    recall: float
    f: float
    hits: np.ndarray
    misses: np.ndarray
    false_alarms: np.ndarray


def boundary_score(predicted: np.ndarray, true: np.ndarray, tolerance: float = 1.0) -> BoundaryScore:
    """Boundary F score (Csurka 2013; Perazzi 2016): F = 2 P R / (P + R), pixels within `tolerance` pixels agree.

    Args:
        predicted, true: bool [H, W], thin boundaries.
        tolerance: Euclidean distance of pixel centres that still counts as right; 0 or more.

    Raises:
        ValueError: shapes differ, or the tolerance is negative.
    """
    from scipy.ndimage import distance_transform_edt

    predicted, true = np.asarray(predicted, bool), np.asarray(true, bool)
    if predicted.shape != true.shape:
        raise ValueError(f"predicted boundary {predicted.shape} and true boundary {true.shape} must agree in shape.")
    if not tolerance >= 0:
        raise ValueError(f"tolerance={tolerance!r} must be 0 or more pixels.")

    def near(mask: np.ndarray) -> np.ndarray:
        return distance_transform_edt(~mask) <= tolerance if mask.any() else mask

    found, right = true & near(predicted), predicted & near(true)
    precision = right.sum() / predicted.sum() if predicted.any() else np.nan
    recall = found.sum() / true.sum() if true.any() else np.nan
    if np.isnan(precision) and np.isnan(recall):
        f = np.nan
    else:
        p, r = np.nan_to_num(precision), np.nan_to_num(recall)
        f = 2 * p * r / (p + r) if p + r > 0 else 0.0
    return BoundaryScore(float(precision), float(recall), float(f), found, true & ~found, predicted & ~right)


def steepness(probability: np.ndarray, labels: np.ndarray) -> float:
    """How sharply a prediction changes at outlines: mean |gradient| of the probability, per pixel.

    The gradient is taken by central differences, over the pixels beside the outline (centre at most 1 px from it). A
    ramp of slope s has s; a step from 0 to 1 has 0.5, the most that there is: half of it falls on each side.

    Args:
        probability: float [H, W], 0..1.
        labels: object numbers (or a binary mask) [H, W], whose outlines are looked at.

    Returns:
        0 .. 0.71, in 1/px; NaN where there is no outline, or the image is one pixel wide.
    """
    return mean_gradient(probability, beside_outline(labels))


def beside_outline(labels: np.ndarray) -> np.ndarray:
    """Pixels whose centre is at most 1 px from an outline: object numbers [H, W] -> bool [H, W]."""
    return np.abs(signed_distance(labels)) <= 1


def mean_gradient(probability: np.ndarray, where: np.ndarray) -> float:
    """Mean |gradient| of float [H, W] over the pixels of bool [H, W]; NaN as in `steepness`."""
    if min(probability.shape) < 2 or not where.any():
        return np.nan
    return float(np.hypot(*np.gradient(np.asarray(probability, float)))[where].mean())


@dataclass(frozen=True, eq=False)
class Normal:
    """A line across an outline.

    Attributes:
        point: (y, x) on the outline, in image pixels (a pixel covers [i, i+1)).
        direction: (dy, dx) of length 1, pointing out of the object.
        label: number of the object.
    """

    point: tuple[float, float]
    direction: tuple[float, float]
    label: int

    def at(self, distance: np.ndarray) -> np.ndarray:
        """Signed distances along the normal [n] (negative inside) -> (y, x) [2, n] in image pixels."""
        return np.array(self.point)[:, None] + np.array(self.direction)[:, None] * np.asarray(distance)


def normal_at(labels: np.ndarray, pixel: tuple[int, int]) -> Normal:
    """The outline point nearest to a pixel, and the direction that leads straight out of the object there.

    The direction is the gradient of the object's signed distance, smoothed by 1.5 pixels: without that it would follow
    the staircase of the pixels.

    Raises:
        ValueError: there is no outline (the frame of the image is none).
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    labels = np.asarray(labels).astype(np.int32)
    size, centre = np.array(labels.shape, float), np.array(pixel) + 0.5
    best = (np.inf, None)
    for curve in outlines_of(labels):
        start, step = curve[:-1], np.diff(curve, axis=0)
        end = start + step
        # along the frame, or cutting its corner: that is where the image ends, not the object
        frame = ((start <= 0) | (end <= 0) | (start >= size) | (end >= size)).any(1)
        length = (step**2).sum(1)
        along = np.clip(((centre - start) * step).sum(1) / np.maximum(length, 1e-12), 0, 1)
        points = start + along[:, None] * step
        away = np.where(frame, np.inf, ((points - centre) ** 2).sum(1))
        if away.min() < best[0]:
            best = (away.min(), points[away.argmin()])
    if best[1] is None:
        raise ValueError("there is no outline to cross: the mask is empty or covers the whole image.")
    point = best[1]
    # the object on whose outline the point lies: the nearest object pixel (of the two where objects touch)
    y, x = (int(v) for v in np.clip(np.round(point - 0.5), 0, size - 1))
    y0, x0 = max(0, y - 1), max(0, x - 1)
    around = labels[y0 : y + 2, x0 : x + 2]
    places = np.argwhere(around > 0)
    near = places[((places + (y0, x0) + 0.5 - point) ** 2).sum(1).argmin()]
    own = labels[pixel] if labels[pixel] in around and labels[pixel] > 0 else around[tuple(near)]
    # a window around the point is enough, and quick on a large image
    top, left = max(0, y - 24), max(0, x - 24)
    distance = gaussian_filter(signed_distance(labels[top : y + 25, left : x + 25] == own), 1.5)
    place = (point - 0.5 - (top, left))[:, None]
    gradient = np.array([map_coordinates(g, place, order=1, mode="nearest")[0] for g in np.gradient(distance)])
    length = float(np.hypot(*gradient))
    direction = gradient / length if length > 1e-6 else np.array([-1.0, 0.0])  # flat only in the middle of a speck
    return Normal((float(point[0]), float(point[1])), (float(direction[0]), float(direction[1])), int(own))


def sample(values: np.ndarray, points: np.ndarray, stride: int = 1) -> np.ndarray:
    """A map [h, w] read at image positions (y, x) [2, n], bilinear between the centres of its pixels -> [n].

    NaN where a point lies outside the map.
    """
    from scipy.ndimage import map_coordinates

    values = np.asarray(values, float)
    place = np.asarray(points, float) / stride
    read = map_coordinates(values, place - 0.5, order=1, mode="nearest")
    outside = ((place < 0) | (place > np.array(values.shape)[:, None])).any(0)
    return np.where(outside, np.nan, read)


def grey_at(image: np.ndarray, shape: tuple[int, int], stride: int) -> np.ndarray:
    """The grey image at feature pixels: uint8 [H, W, 3] -> float [h, w] = shape, means over stride x stride pixels."""
    h, w = shape
    grey = image.mean(2)
    grey = np.pad(grey, [(0, max(0, n * stride - m)) for n, m in zip((h, w), grey.shape, strict=True)], mode="edge")
    return grey[: h * stride, : w * stride].reshape(h, stride, w, stride).mean((1, 3))


def upsample(values: np.ndarray, stride: int, shape: tuple[int, int]) -> np.ndarray:
    """A map [h, w] at image resolution, bilinear between the centres of its pixels: float [H, W]."""
    points = np.indices(shape).reshape(2, -1) + 0.5
    return np.nan_to_num(sample(values, np.minimum(points, np.array(values.shape)[:, None] * stride), stride)).reshape(
        shape
    )


def arrow_head(start: np.ndarray, end: np.ndarray, size: float) -> np.ndarray:
    """The two short lines at the end of an arrow from `start` to `end`: (y, x) [3, 2]."""
    along = (end - start) / max(float(np.hypot(*(end - start))), 1e-9)
    across = np.array([-along[1], along[0]])
    return np.array([end - size * (along + 0.6 * across), end, end - size * (along - 0.6 * across)])


def interval_of_mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Mean over images and its 95 % interval (percentile bootstrap, 2000 resamples of the images, fixed seed).

    Args:
        values: [n, ...], one entry an image; NaN where an image says nothing.

    Returns:
        (mean, low, high), each [...]; low and high are None for a single image: nothing can be resampled.
    """
    values = np.asarray(values, float)
    there = np.isfinite(values)
    known = np.where(there, values, 0)
    count = there.sum(0)
    mean = np.where(count > 0, known.sum(0) / np.maximum(count, 1), np.nan)
    n = len(values)
    if n < 2:
        return mean, None, None
    rng = np.random.default_rng(SEED)
    times = np.zeros((RESAMPLES, n))  # how often each image is drawn
    np.add.at(times, (np.arange(RESAMPLES)[:, None], rng.integers(n, size=(RESAMPLES, n))), 1)
    weight = np.tensordot(times, there.astype(float), 1)
    with np.errstate(invalid="ignore"):
        means = np.where(weight > 0, np.tensordot(times, known, 1) / np.maximum(weight, 1), np.nan)
    means = np.where(np.isnan(means), mean, means)  # a resample without any image that knows this bin
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return mean, low, high
