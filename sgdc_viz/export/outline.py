"""The line across the nearest outline, for every pixel of an image at once: `views.geometry.normal_at` as a table."""

from __future__ import annotations

import numpy as np

from sgdc_viz.views import outlines_of, signed_distance

SMOOTH = 1.5  # pixels, as in normal_at: without it, directions follow the staircase of the pixels


def normals_everywhere(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """What `normal_at(labels, pixel)` says, for all pixels.

    Args:
        labels: object numbers (or a binary mask) [H, W], 0 background.

    Returns:
        (table, index): table float [n, 5], each row a point on an outline (y, x) in image pixels, the direction out of
        the object (dy, dx) of length 1, and the object's number; index int [H, W], each pixel's row of the table.
        None where there is no outline.
    """
    labels = np.asarray(labels).astype(np.int32)
    points = _nearest_points(labels)
    if points is None:
        return None
    index, known = np.empty(labels.shape, np.int32), {}
    for pixel in np.ndindex(labels.shape):
        point = points[pixel]
        own = _object_at(labels, point, int(labels[pixel]))
        index[pixel] = known.setdefault((point[0], point[1], own), len(known))
    table = np.array([(*key[:2], 0.0, 0.0, key[2]) for key in known])
    for own in np.unique(table[:, 4]):
        rows = table[:, 4] == own
        table[rows, 2:4] = _directions(labels == own, table[rows, :2])
    return table, index


def _nearest_points(labels: np.ndarray) -> np.ndarray | None:
    """The outline point nearest to each pixel's centre: float [H, W, 2], image pixels; None without an outline."""
    size = np.array(labels.shape, float)
    curves = outlines_of(labels)
    if not curves:
        return None
    start = np.concatenate([curve[:-1] for curve in curves])
    step = np.concatenate([np.diff(curve, axis=0) for curve in curves])
    end = start + step
    inside = ~((start <= 0) | (end <= 0) | (start >= size) | (end >= size)).any(1)  # the image's frame is no outline
    start, step = start[inside], step[inside]
    if not len(start):
        return None
    length = np.maximum((step**2).sum(1), 1e-12)
    nearest = np.empty((*labels.shape, 2))
    columns = np.arange(labels.shape[1])
    for y in range(labels.shape[0]):  # a row at a time: all pixels times all segments would be many megabytes
        centre = np.stack([np.full(len(columns), y + 0.5), columns + 0.5], 1)[:, None]
        along = np.clip(((centre - start) * step).sum(2) / length, 0, 1)
        points = start + along[..., None] * step  # [W, segments, 2]
        nearest[y] = points[columns, ((points - centre) ** 2).sum(2).argmin(1)]
    return nearest


def _object_at(labels: np.ndarray, point: np.ndarray, here: int) -> int:
    """Whose outline the point is on: the pixel's own object (`here`) if it lies there, else the nearest one."""
    y, x = (int(v) for v in np.clip(np.round(point - 0.5), 0, np.array(labels.shape) - 1))
    y0, x0 = max(0, y - 1), max(0, x - 1)
    around = labels[y0 : y + 2, x0 : x + 2]
    if here > 0 and here in around:
        return here
    places = np.argwhere(around > 0)
    return int(around[tuple(places[((places + (y0, x0) + 0.5 - point) ** 2).sum(1).argmin()])])


def _directions(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Straight out of an object (bool [H, W]) at points [n, 2] of its outline: unit vectors [n, 2]."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    distance = gaussian_filter(signed_distance(mask), SMOOTH)
    gradient = [map_coordinates(g, (points - 0.5).T, order=1, mode="nearest") for g in np.gradient(distance)]
    towards = np.stack(gradient, 1)
    length = np.hypot(*towards.T)[:, None]
    return np.where(length > 1e-6, towards / np.maximum(length, 1e-6), [-1.0, 0.0])
