"""Not one place but all: a statistic against the signed distance to the outline, over several images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .charts import Plot, Series, padded_range
from .figure import Figure
from .geometry import interval_of_mean, signed_distance
from .style import number, with_interval

NEAR = 2.0  # px: what counts as "at the outline"
FAR = 6.0  # px: what counts as "away from it"


def statistic_by_distance(
    values: Mapping[str, Mapping[str, Sequence[np.ndarray]]],
    truths: Sequence[np.ndarray],
    *,
    stride: int,
    units: Mapping[str, str] | None = None,
    reach: float = 16.0,
    width: float = 2.0,
    faithfulness: float | None = None,
) -> Figure:
    """Mean of a statistic in bins of signed distance, each image counted once, with intervals over the images.

    A feature pixel has the distance of its middle: the mean of the signed distances of its image pixels. The message
    is about the rise at the outline: mean within 2 px of it minus mean beyond 6 px, image by image.

    Args:
        values: quantity -> network (or control) -> its map [h, w] of each image, in the order of `truths`. The
            message is about the first quantity: it compares the first network with the others.
        truths: object numbers (or a binary mask) [H, W] of each image.
        stride: image pixels per feature pixel.
        units: quantity -> its unit, for the axis.
        reach: largest distance shown, in pixels.
        width: of a bin, in pixels.
        faithfulness: largest |rebuilt - the network's own| over all recordings; None if a statistic of outputs.

    Raises:
        ValueError: no quantity or network, more than 6 networks, numbers of maps and images that differ, a map that
            does not fit its image, or no image with an outline.
    """
    if not values or not all(values.values()):
        raise ValueError("values is empty: give at least one quantity of one network.")
    if not 0 < width <= reach:
        raise ValueError(f"width={width!r} must be above 0 and at most reach={reach!r} pixels.")
    distances = [_at_stride(signed_distance(truth), stride) for truth in truths]
    if not any(np.isfinite(d).any() for d in distances):
        raise ValueError("no image has an outline: all masks are empty or cover everything.")
    count = int(np.floor(reach / width))
    edges = np.arange(-count, count + 1) * width
    middle = (edges[:-1] + edges[1:]) / 2
    plots, rises = [], {}
    for quantity, curves in values.items():
        series = []
        for style, (label, maps) in enumerate(curves.items()):
            _check(label, maps, distances)
            bins = np.array([_binned(m, d, edges) for m, d in zip(maps, distances, strict=True)])
            mean, low, high = interval_of_mean(bins)
            series.append(Series(label, middle, mean, style, low, high))
            rise = np.array([_rise(m, d) for m, d in zip(maps, distances, strict=True)])
            rises[quantity, label] = rise
        bounds = [b for s in series for b in (s.y, s.low, s.high) if b is not None]
        told = "; ".join(f"{s.label} {_number(rises[quantity, s.label])}" for s in series)
        plots.append(Plot(
            quantity, tuple(series), "px from the outline, inside < 0", (units or {}).get(quantity, ""),
            padded_range(*bounds), f"{quantity}, at the outline minus away from it: {told}.", zero="outline",
        ))  # fmt: skip
    first = next(iter(values))
    message = _message(first, {label: rises[first, label] for label in values[first]})
    n = len(truths)
    count = "One image, no interval." if n == 1 else (
        f"{n} images; shaded: 95 % bootstrap intervals of the mean over images (2000 resamples).")  # fmt: skip
    summary = (
        f"{count} Signed distance to the nearest true outline, negative inside, in bins of {width:g} px; each image "
        f"counts once in each bin, however many pixels it has there. One feature pixel is {stride} × {stride} image "
        f"pixels, so nothing sharper than {stride} px can show. At the outline: within {NEAR:g} px; away: beyond "
        f"{FAR:g} px."
    )
    return Figure(
        name="distance",
        title="At the outline and away from it",
        message=message,
        summary=summary,
        alt=f"Curves over the signed distance to the outline. {message}",
        rows=(),
        columns=(),
        cells=(),
        legend=tuple((f"series-{i}", label) for i, label in enumerate(values[first])),
        table=(("at the outline minus away", *values),
               *((label, *(_number(rises[q, label]) if (q, label) in rises else "" for q in values))
                 for label in values[first])),
        strip=tuple(plots),
        faithfulness=faithfulness,
        data=(("images", str(n)),),
    )  # fmt: skip


def _at_stride(distance: np.ndarray, stride: int) -> np.ndarray:
    """Mean over the stride x stride pixels of each feature pixel: [H, W] -> [h, w]."""
    distance = np.pad(distance, [(0, -n % stride) for n in distance.shape], mode="edge")
    h, w = (n // stride for n in distance.shape)
    return distance.reshape(h, stride, w, stride).mean((1, 3))


def _check(label: str, maps: Sequence[np.ndarray], distances: Sequence[np.ndarray]) -> None:
    if len(maps) != len(distances):
        raise ValueError(f"{label!r} has {len(maps)} maps for {len(distances)} images: give one for each.")
    for i, (m, d) in enumerate(zip(maps, distances, strict=True)):
        if m.shape != d.shape:
            raise ValueError(f"{label!r}, image {i}: its map is {m.shape}, but image and stride ask for {d.shape}.")


def _binned(values: np.ndarray, distance: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean of the map in each bin; NaN in an empty one."""
    place = np.digitize(distance, edges) - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    total = np.bincount(place[inside], values[inside], len(edges) - 1)
    number_in = np.bincount(place[inside], minlength=len(edges) - 1)
    return np.where(number_in > 0, total / np.maximum(number_in, 1), np.nan)


def _rise(values: np.ndarray, distance: np.ndarray) -> float:
    """Mean at the outline minus mean away from it."""
    near, far = np.abs(distance) <= NEAR, (np.abs(distance) >= FAR) & np.isfinite(distance)
    return float(values[near].mean() - values[far].mean()) if near.any() and far.any() else np.nan


def _number(rise: np.ndarray) -> str:
    return with_interval(*interval_of_mean(rise))


def _message(quantity: str, rises: Mapping[str, np.ndarray]) -> str:
    """Does the first network change at the outline, and more than the second? Only what the intervals allow."""
    names = list(rises)
    mean, low, high = interval_of_mean(rises[names[0]])
    name = quantity[0].lower() + quantity[1:]
    if np.isnan(mean):
        return f"No image has pixels both within {NEAR:g} px of an outline and beyond {FAR:g} px: nothing to compare."
    if low is None:
        text = (
            f"In this one image, {name} of {names[0]} differs by {number(float(mean), 2)} between outline and elsewhere"
        )
        others = [f"{n} {number(float(interval_of_mean(rises[n])[0]), 2)}" for n in names[1:]]
        return text + (f" ({', '.join(others)})" if others else "") + "; one image, no interval."
    if low <= 0 <= high:
        text = f"{quantity} of {names[0]} is the same at the outline as elsewhere, within its interval"
    else:
        amount = with_interval(mean, low, high) if mean > 0 else with_interval(-mean, -high, -low)
        text = f"{quantity} of {names[0]} {'rises' if mean > 0 else 'falls'} at the outline by {amount}"
    if len(names) == 1:
        return f"{text}."
    # compared image by image: both networks saw the same images
    gap, under, over = interval_of_mean(np.abs(rises[names[0]]) - np.abs(rises[names[1]]))
    other = number(float(interval_of_mean(rises[names[1]])[0]), 2)
    if np.isnan(gap):
        return f"{text}."
    if under <= 0 <= over:
        return f"{text}; {names[1]} ({other}) cannot be told from it with these images."
    return f"{text}, {'more' if gap > 0 else 'less'} than {names[1]} ({other})."
