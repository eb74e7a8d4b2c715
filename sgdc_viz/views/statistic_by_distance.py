"""Not one place but all: a statistic against the signed distance to the outline, over several images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .charts import Plot, Series, padded_range, signed
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
    contour_is: str = "true outline",
    units: Mapping[str, str] | None = None,
    reach: float = 16.0,
    width: float = 2.0,
    faithfulness: float | None = None,
) -> Figure:
    """Mean of a statistic in bins of signed distance, each image counted once, with intervals over the images.

    A feature pixel has the distance of its middle: the mean of the signed distances of its image pixels. The message
    compares the mean within 2 px of the outline with the mean beyond 6 px inside and with that beyond 6 px outside,
    image by image: objects and background need not be alike.

    Args:
        values: quantity -> network (or control) -> its map [h, w] of each image, in the order of `truths`. The
            message is about the first quantity: it compares the first network with the others.
        truths: object numbers (or a binary mask) [H, W] of each image.
        stride: image pixels per feature pixel.
        contour_is: what the outlines of `truths` are.
        units: quantity -> its unit, for the axis.
        reach: largest distance shown, in pixels.
        width: of a bin, in pixels.
        faithfulness: largest |rebuilt - the network's own| over all recordings; None if a statistic of outputs.

    Raises:
        ValueError: no quantity or network, more than 7 networks, numbers of maps and images that differ, a map that
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
    plots, means = [], {}
    for quantity, curves in values.items():
        series = []
        for style, (label, maps) in enumerate(curves.items()):
            _check(label, maps, distances)
            bins = np.array([_binned(m, d, edges) for m, d in zip(maps, distances, strict=True)])
            mean, low, high = interval_of_mean(bins)
            series.append(Series(label, middle, mean, style, low, high))
            means[quantity, label] = np.array([_three(m, d) for m, d in zip(maps, distances, strict=True)])
        bounds = [b for s in series for b in (s.y, s.low, s.high) if b is not None]
        told = "; ".join(
            f"{s.label} "
            + ", ".join(f"{_signed(gap)} against {side}" for side, gap in _gaps(means[quantity, s.label]).items())
            for s in series
        )
        plots.append(Plot(
            quantity, tuple(series), "px from the outline, inside < 0", (units or {}).get(quantity, ""),
            padded_range(*bounds), f"{quantity} at the outline: {told}.", zero="outline",
        ))  # fmt: skip
    first = next(iter(values))
    lowest = _lowest(plots[0].series[0], width)
    message = _message(first, {label: means[first, label] for label in values[first]}, lowest)
    n = len(truths)
    count = "One image, no interval." if n == 1 else (
        f"{n} images; shaded: 95 % bootstrap intervals of the mean over images (2000 resamples).")  # fmt: skip
    summary = (
        f"{count} Signed distance to the nearest {contour_is}, negative inside, in bins of {width:g} px; each image "
        f"counts once in each bin, however many pixels it has there. One feature pixel is {stride} × {stride} image "
        f"pixels, so nothing sharper than {stride} px can show. At the outline: within {NEAR:g} px; inside "
        f"and outside: beyond {FAR:g} px."
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
        table=_table(means),
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


def _three(values: np.ndarray, distance: np.ndarray) -> list[float]:
    """Means well inside, at the outline and well outside; NaN where there is no such pixel."""
    places = (
        (distance <= -FAR) & np.isfinite(distance),
        np.abs(distance) <= NEAR,
        (distance >= FAR) & np.isfinite(distance),
    )
    return [float(values[p].mean()) if p.any() else np.nan for p in places]


def _gaps(three: np.ndarray) -> dict[str, np.ndarray]:
    """[images, 3] -> side -> mean at the outline minus mean on that side, image by image."""
    return {"inside": three[:, 1] - three[:, 0], "outside": three[:, 1] - three[:, 2]}


def _number(values: np.ndarray) -> str:
    return with_interval(*interval_of_mean(values))


def _signed(values: np.ndarray) -> str:
    """A mean change with its sign and interval."""
    mean, low, high = interval_of_mean(values)
    return signed(float(mean)) + ("" if low is None or np.isnan(mean) else f" ({signed(low)} to {signed(high)})")


def _table(means: Mapping[tuple[str, str], np.ndarray]) -> tuple[tuple[str, ...], ...]:
    head = ("quantity, network", "inside", "at the outline", "outside", "outline minus inside", "outline minus outside")
    return (head, *((f"{quantity}, {label}", *(_number(column) for column in three.T),
                     *(_signed(gap) for gap in _gaps(three).values()))
                    for (quantity, label), three in means.items()))  # fmt: skip


def _lowest(curve: Series, width: float) -> str:
    """The bin in which a curve is lowest."""
    if not np.isfinite(curve.y).any():
        return ""
    at = float(curve.x[np.nanargmin(curve.y)])
    low, high = abs(at) - width / 2, abs(at) + width / 2
    return f"; its curve is lowest {low:g} to {high:g} px {'inside' if at < 0 else 'outside'}"


def _message(quantity: str, means: Mapping[str, np.ndarray], lowest: str) -> str:
    """The first network at the outline against inside and against outside."""
    names, told = list(means), []
    for side, gap in _gaps(means[names[0]]).items():
        mean, low, high = interval_of_mean(gap)
        if np.isnan(mean):
            told.append(f"no pixels {FAR:g} px {side} to compare with")
        elif low is not None and low <= 0 <= high:
            told.append(f"no difference shown to {side} ({_signed(gap)})")
        else:
            amount = with_interval(mean, low, high) if mean > 0 or low is None else with_interval(-mean, -high, -low)
            amount = number(abs(float(mean)), 2) if low is None else amount
            told.append(f"{'higher' if mean > 0 else 'lower'} than {side} by {amount}")
    if all(np.isnan(interval_of_mean(gap)[0]) for gap in _gaps(means[names[0]]).values()):
        return f"No image has pixels both within {NEAR:g} px of an outline and beyond {FAR:g} px: nothing to compare."
    one = len(means[names[0]]) == 1
    name = quantity[0].lower() + quantity[1:]
    start = f"In this one image, {name}" if one else name[0].upper() + name[1:]
    text = f"{start} of {names[0]} at the outline: {', '.join(told)}{lowest}"
    if len(names) > 1:
        text += f". {names[1][0].upper()}{names[1][1:]}: {_against(means[names[0]], means[names[1]])}"
    return f"{text}; one image, no interval." if one else f"{text}."


def _against(first: np.ndarray, second: np.ndarray) -> str:
    """The second network's differences, each with what they are beside the first's: both saw the same images."""
    told, gaps = [], _gaps(first)
    for side, gap in _gaps(second).items():
        mean, low, high = interval_of_mean(gaps[side] - gap)
        if np.isnan(mean):
            continue
        own = f"{signed(float(interval_of_mean(gap)[0]))} against {side}"
        told.append(
            own
            if low is None
            else f"{own} ({'no difference between the two shown' if low <= 0 <= high else 'the two differ'})"
        )
    return ", ".join(told) or "nothing to compare"
