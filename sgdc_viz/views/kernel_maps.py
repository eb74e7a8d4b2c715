"""What the kernels of each head look like: their statistics as maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from .charts import signed
from .figure import Column, Figure, Picture, true_outline, truth_key
from .overview import edge_agreement
from .style import MAPS, Scale, number, percent, shared_scale, two_digits


@dataclass(frozen=True, eq=False)
class KernelMaps:
    """Statistics of the kernels of one block, for each head and feature pixel (`sgdc_viz.lens.kernel_*`).

    Attributes:
        entropy: float [heads, h, w], 0 (one neighbour only) .. 1 (all alike).
        anisotropy: float [heads, h, w], 0 (round) .. 1 (a line).
        in_bounds: float [heads, h, w], share of the mass on taps inside the feature map.
        displacement: float [heads, 2, h, w], centre of mass (dy, dx) in feature pixels.
        faithfulness: largest |rebuilt - the network's own| over the pixels that were checked.
    """

    entropy: np.ndarray
    anisotropy: np.ndarray
    in_bounds: np.ndarray
    displacement: np.ndarray
    faithfulness: float


UNIFORM = 0.9  # an entropy above this is called near uniform


def kernel_maps(
    image: np.ndarray,
    maps: Mapping[str, KernelMaps],
    *,
    stride: int,
    truth: np.ndarray | None = None,
    window: tuple[int, int, int, int] | None = None,
    controls: Collection[str] = (),
) -> Figure:
    """Entropy, displacement, anisotropy and out-of-bounds mass of the kernels, one small map for each head.

    What kernels look like is not yet what a head does: for that, change one and see what happens
    (`sgdc_viz.explore.causal` with "head 1 uniform" and so on).

    Args:
        image: uint8 [H, W, 3], as the networks saw it.
        maps: name of a network (or of a control) -> its statistics; the message is about the first.
        stride: image pixels per feature pixel.
        truth: object numbers (or a binary mask) [H, W]; its outline is drawn on the image.
        window: part to show first, (y0, x0, y1, x1).
        controls: those of `maps` that are controls; the message says if one follows the image's edges as much.

    Raises:
        ValueError: no network.
    """
    if not maps:
        raise ValueError("maps is empty: give at least one network.")
    shift = {name: np.hypot(*np.moveaxis(m.displacement, 1, 0)) for name, m in maps.items()}
    outside = {name: np.clip(1 - m.in_bounds, 0, 1) for name, m in maps.items()}
    moved = shared_scale("feature pixels from the centre", *shift.values(), cmap="magma")
    quantities = (
        ("Kernel entropy", Scale("0 one neighbour, 1 all alike", 0.0, 1.0, MAPS["entropy"]),
         {name: m.entropy for name, m in maps.items()}),
        ("Displacement", Scale(moved.label, 0.0, moved.high, moved.cmap), shift),
        ("Anisotropy", Scale("0 round, 1 a line", 0.0, 1.0, "viridis"), {n: m.anisotropy for n, m in maps.items()}),
        ("Mass outside the image", Scale("share of the weights; lost to zero padding", 0.0, 1.0, "magma", power=0.5),
         outside),
    )  # fmt: skip
    rows = []
    for name in maps:
        rows.append(tuple(
            tuple(Picture(v, f"{title} of head {h}, {name}: mean {number(float(v.mean()), 2)}.", scale, stride,
                          linked=True, window=window, title=f"{h}: {number(float(v.mean()), 2)}")
                  for h, v in enumerate(values[name], start=1))
            for title, scale, values in quantities
        ))  # fmt: skip
    follow = {
        name: [edge_agreement(image, head, stride) for head in m.entropy[:, : -(-image.shape[0] // stride)]]
        for name, m in maps.items()
    }
    first = next(iter(maps))
    message = _message(first, maps[first], shift[first]) + _beaten(
        first, follow, {n: float(m.entropy.std((1, 2)).mean()) for n, m in maps.items()}, controls
    )
    sharp = "; ".join(
        f"{name}: {percent(float((m.entropy < UNIFORM).mean()))} of all kernels are sharper than nearly uniform "
        f"(entropy under {UNIFORM:g})"
        for name, m in maps.items()
    )
    ways = "; ".join(f"head {h} {signed(float(d[0]))} down, {signed(float(d[1]))} right"
                     for h, d in enumerate(maps[first].displacement.mean((2, 3)), start=1))  # fmt: skip
    summary = (
        "One small map for each head, above it the head and the map's mean; one "
        f"map pixel is {stride} × {stride} image pixels, rows on one scale. {sharp}. "
        f"Mean displacement of {first}, in feature pixels: {ways}. "
        "Kernels sum to one, so their sum says nothing and is not shown. One image, no interval."
    )
    table = (("network, head", "entropy", "displacement (feature px)", "its mean (down, right)", "anisotropy",
              "mass outside", "entropy changes at image edges (correlation)"),)  # fmt: skip
    for name, m in maps.items():
        for h in range(len(m.entropy)):
            entropy, moved_by, *more = (number(float(v.mean()), 2) for v in (
                m.entropy[h], shift[name][h], m.anisotropy[h], outside[name][h]))  # fmt: skip
            way = ", ".join(signed(float(v)) for v in m.displacement[h].mean((1, 2)))
            table += ((f"{name}, {h + 1}", entropy, moved_by, way, *more, two_digits(follow[name][h])),)
    lines = true_outline(truth)
    return Figure(
        name="kernel-maps",
        title="What the kernels of each head look like",
        message=message,
        summary=summary,
        alt=f"Maps of four statistics of the kernels, one for each head. {message}",
        rows=tuple(maps),
        columns=tuple(Column(title, scale) for title, scale, _ in quantities),
        cells=tuple(rows),
        lead=Picture(image, "The image as the network saw it.", outlines=lines, linked=True, window=window),
        legend=(truth_key(truth),),
        table=table,
        faithfulness=max(m.faithfulness for m in maps.values()),
    )


def _beaten(
    first: str, follow: Mapping[str, list[float]], spread: Mapping[str, float], controls: Collection[str]
) -> str:
    """Does the entropy follow the image's edges, and do controls as much? Of each network its strongest head."""
    best = {name: max(values, key=abs) for name, values in follow.items()}
    rivals = [name for name in best if name in controls and name != first]
    if not rivals:
        return ""
    top = max(rivals, key=lambda name: abs(best[name]))
    start = f" Entropy changes at image edges with correlation {two_digits(best[first])} at most"
    if abs(best[top]) >= abs(best[first]):
        return (
            f"{start}, and the control “{top}” does so no less "
            f"({two_digits(best[top])}); standard deviation of the entropy: {number(spread[first], 2)} and "
            f"{number(spread[top], 2)}."
        )
    return f"{start}, controls with {two_digits(best[top])}."


def _message(name: str, maps: KernelMaps, shift: np.ndarray) -> str:
    """How the heads of one network differ: the sharpest and the widest, or that they are alike."""
    spread, moved = maps.entropy.mean((1, 2)), shift.mean((1, 2))
    uniform = float((maps.entropy > UNIFORM).mean())
    if uniform > 0.95:
        return f"Nearly uniform: {percent(uniform)} of the {name} kernels weigh all neighbours almost alike."
    low, high, far = int(spread.argmin()), int(spread.argmax()), int(moved.argmax())
    if len(spread) == 1:
        return (
            f"The one head of {name} has mean entropy {number(spread[0], 2)} and looks {number(moved[0], 2)} px away."
        )
    if spread[high] - spread[low] < 0.05 and moved.max() - moved.min() < 0.2:
        return (
            f"The heads of {name} do much the same: mean entropy {number(spread[low], 2)} to "
            f"{number(spread[high], 2)}, displacement {number(moved.min(), 2)} to {number(moved.max(), 2)} feature "
            "pixels."
        )
    return (
        f"The heads of {name} differ: head {low + 1} is the sharpest (mean entropy {number(spread[low], 2)}), head "
        f"{high + 1} the widest ({number(spread[high], 2)}); head {far + 1} looks farthest from its own pixel "
        f"({number(moved[far], 2)} feature pixels)."
    )
