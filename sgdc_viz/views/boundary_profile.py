"""Across the outline: what image, gates, kernels and prediction do along the line that crosses it at a right angle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .charts import SERIES, Plot, Series, padded_range, signed
from .figure import Column, Figure, Outline, Picture, Strokes, Words
from .geometry import Normal, arrow_head, normal_at, sample
from .overview import check_pixel, footprint
from .style import number, outlines_of

STEP = 0.5  # pixels between samples
SAME = 0.25  # px: crossings nearer to each other than this are called the same
MOST = len(SERIES) - 1  # networks; the last look is the image's own, so that no control has it


@dataclass(frozen=True, eq=False)
class ProfileMaps:
    """What one network does everywhere: maps that are read along the normal.

    Attributes:
        probability: float [H, W], 0..1, of being object.
        boundary: float [h, w], 0..1, output of the boundary branch.
        gate_static, gate_dynamic, entropy: float [h, w], as in `BlockMaps`.
        faithfulness: largest |rebuilt - the network's own|.
        anisotropy: float [h, w], 0 (round kernels) .. 1, mean over heads; None leaves it out.
        guidance: float [h, w], length of the guidance vector; None for a network that reads none.
    """

    probability: np.ndarray
    boundary: np.ndarray
    gate_static: np.ndarray
    gate_dynamic: np.ndarray
    entropy: np.ndarray
    faithfulness: float
    anisotropy: np.ndarray | None = None
    guidance: np.ndarray | None = None


QUANTITIES = (("probability", "Probability of object", "0..1"), ("boundary", "Boundary branch", "probability, 0..1"),
              ("gate_static", "Static gate", "mean over channels, 0..1"),
              ("gate_dynamic", "Dynamic gate", "mean over channels, 0..1"),
              ("entropy", "Kernel entropy", "mean over heads, 0..1"),
              ("anisotropy", "Kernel anisotropy", "mean over heads, 0..1"),
              ("guidance", "Guidance", "length of its vector"))  # fmt: skip


def boundary_profile(
    image: np.ndarray,
    maps: Mapping[str, ProfileMaps],
    pixel: tuple[int, int],
    *,
    stride: int,
    contour: np.ndarray,
    contour_is: str = "true outline",
    is_truth: bool = True,
    reach: float = 12.0,
    window: tuple[int, int, int, int] | None = None,
) -> Figure:
    """Values along the outline's normal against signed distance, all networks on the same axes.

    The line starts at the outline point nearest to `pixel`; maps are read every half pixel, bilinear between the
    centres of their pixels.

    Args:
        image: uint8 [H, W, 3], as the networks saw it.
        maps: name of a network (or of a control) -> its maps; at most 6. The message compares the first two.
        pixel: (y, x) selected image pixel.
        stride: image pixels per pixel of the maps [h, w].
        contour: object numbers (or a binary mask) [H, W], true or predicted, whose outline is crossed.
        contour_is: what that outline is.
        is_truth: False if it is a prediction: then no network is called nearer to it, since one of them drew it.
        reach: how far to go to each side, in pixels.
        window: part of the image to show; None shows the surroundings of the line.

    Raises:
        ValueError: no network or more than 6, a pixel outside the image, or nothing to cross.
    """
    check_pixel(pixel, image)
    if not maps:
        raise ValueError("maps is empty: give at least one network.")
    if len(maps) > MOST:
        raise ValueError(f"maps has {len(maps)} networks: at most {MOST} lines can be told apart; give fewer.")
    if not reach >= 2:
        raise ValueError(f"reach={reach!r} must be 2 pixels or more.")
    labels = np.asarray(contour).astype(np.int32)
    normal = normal_at(labels, pixel)
    distance = np.arange(-np.floor(reach / STEP), np.floor(reach / STEP) + 1) * STEP
    points = normal.at(distance)
    grey = sample(image.mean(2) / 255, points)
    read = {
        name: {key: sample(getattr(m, key), points, 1 if key == "probability" else stride)
               for key, *_ in QUANTITIES if getattr(m, key) is not None}
        for name, m in maps.items()
    }  # fmt: skip
    crossings = {name: crossing(distance, values["probability"]) for name, values in read.items()}
    message = _message(crossings, contour_is, is_truth)
    plots = [_plot(key, title, unit, distance, read, contour_is) for key, title, unit in QUANTITIES
             if any(key in values for values in read.values())]  # fmt: skip
    plots.append(Plot("Image", (Series("image", distance, grey, MOST),), "px from the outline, inside < 0",
                      "mean of red, green, blue, 0..1", padded_range(grey),
                      f"The image along the line, {number(float(np.nanmin(grey)))} to "
                      f"{number(float(np.nanmax(grey)))}.", zero="outline"))  # fmt: skip
    n = -(-len(plots) // 2)
    plots += [Words(("",))] * (2 * n - len(plots))
    neighbour = _neighbour(labels, normal, distance, points)
    summary = (
        f"One place, one image, no interval. The {contour_is} nearest to row {pixel[0]}, column {pixel[1]} passes row "
        f"{normal.point[0]:.1f}, column {normal.point[1]:.1f}; the line crosses it at a right angle, negative inside, "
        f"positive outside, read every {STEP} px. One pixel of gates, kernels and boundary is {stride} × {stride} "
        f"image pixels, so nothing finer than {stride} px can show there.{neighbour}"
    )
    line = (points[:, [0, -1]].T, arrow_head(points[:, 0], points[:, -1], 2.5))
    if window is None:
        y, x = (int(v) for v in normal.point)
        side = int(2 * reach)
        window = (y - side, x - side, y + side, x + side)
    return Figure(
        name="profile",
        title="Across the outline",
        message=message,
        summary=summary,
        alt=f"Profiles along a line across the {contour_is}. {message}",
        rows=("", ""),
        columns=tuple(Column("") for _ in range(n)),
        cells=(tuple(plots[:n]), tuple(plots[n:])),
        lead=Picture(
            image, f"The image with the {contour_is} and the line that crosses it.", window=window,
            outlines=(Outline(contour_is, outlines_of(labels)),), boxes=(footprint(pixel, stride, 1),),
            strokes=(Strokes("the line that is read", line, "normal"),),
        ),
        legend=(*((f"series-{i}", name) for i, name in enumerate(maps)), (f"series-{MOST}", "image"),
                ("truth", contour_is), ("normal", "the line that is read; its tip is outside"),
                ("footprint", "feature pixel of the selected pixel")),
        table=(("network", "crosses 0.5 at (px from the outline)", "steepness there (probability a px)"),
               *((name, "nowhere near" if at is None else signed(at[0]), "" if at is None else number(at[1], 2))
                 for name, at in crossings.items())),
        faithfulness=max(m.faithfulness for m in maps.values()),
        data=(("y", str(pixel[0])), ("x", str(pixel[1]))),
    )  # fmt: skip


def crossing(distance: np.ndarray, probability: np.ndarray) -> tuple[float, float] | None:
    """Where a profile [n] goes through 0.5 nearest to distance 0, and |slope| there; None if it never does."""
    a, b = probability[:-1] - 0.5, probability[1:] - 0.5
    with np.errstate(invalid="ignore"):
        places = np.flatnonzero((a > 0) != (b > 0))
    places = [i for i in places if np.isfinite(a[i] + b[i]) and a[i] != b[i]]
    if not places:
        return None
    width = float(distance[1] - distance[0])
    found = [(float(distance[i] + width * a[i] / (a[i] - b[i])), float(abs(b[i] - a[i]) / width)) for i in places]
    return min(found, key=lambda at: abs(at[0]))


def _message(crossings: Mapping[str, tuple[float, float] | None], contour_is: str, is_truth: bool) -> str:
    names = list(crossings)
    # rounded first, so that the numbers of the sentence add up
    places = {name: None if at is None else round(at[0], 1) for name, at in crossings.items()}

    def told(name: str) -> str:
        at = places[name]
        if at is None:
            return f"{name} never crosses 0.5"
        where = "on" if at == 0 else f"at {abs(at):.1f} px {'outside' if at > 0 else 'inside'}"
        return f"{name} crosses 0.5 {where} the {contour_is}"

    if len(names) == 1:
        return f"Here {told(names[0])}."
    first, second = names[:2]
    a, b = places[first], places[second]
    text = f"Here {told(first)}, {told(second)}"
    if a is None or b is None:
        return f"{text}."
    if not is_truth:
        return f"{text}: {abs(b - a):.1f} px apart; which is right is not known without truth."
    ahead, apart = abs(b) - abs(a), abs(b - a)
    if apart < SAME:
        return f"{text}: the same within {SAME:g} px."
    if abs(ahead) < SAME:
        return f"{text}: equally far from the outline ({apart:.1f} px apart, on opposite sides)."
    winner = first if ahead > 0 else second
    return f"{text}: {winner} is nearer by {abs(ahead):.1f} px."


def _plot(key: str, title: str, unit: str, distance: np.ndarray, read, contour_is: str) -> Plot:
    lines = [(style, name, values[key]) for style, (name, values) in enumerate(read.items()) if key in values]
    middle = int(len(distance) // 2)
    at = "; ".join(f"{name} {number(float(y[middle]), 2)}" for _, name, y in lines)
    y_range = (-0.03, 1.03) if key == "probability" else padded_range(*(y for *_, y in lines))
    return Plot(title, tuple(Series(name, distance, y, style) for style, name, y in lines),
                "px from the outline, inside < 0", unit, y_range, f"{title} at the {contour_is}: {at}.",
                zero="outline")  # fmt: skip


def _neighbour(labels: np.ndarray, normal: Normal, distance: np.ndarray, points: np.ndarray) -> str:
    """Where the line meets another object."""
    y, x = np.floor(points).astype(int)
    inside = (y >= 0) & (x >= 0) & (y < labels.shape[0]) & (x < labels.shape[1])
    met = [d for d, a, b, ok in zip(distance, y, x, inside, strict=True)
           if ok and labels[a, b] not in (0, normal.label)]  # fmt: skip
    if not met:
        return ""
    return f" The line meets another object {number(float(min(met, key=abs)), 2)} px from the outline."
