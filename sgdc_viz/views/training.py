"""Kernels being born: one pixel's kernels, and the maps, at several steps of the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .charts import Plot, Series, padded_range
from .figure import Column, Figure, Heat, Picture
from .microscope import neighbours
from .overview import COLUMNS, BlockMaps, block_scales, check_inside, footprint
from .style import MAPS, Scale, number


@dataclass(frozen=True, eq=False)
class TrainingStep:
    """The network after some steps: kernels at the selected pixel, float [heads, k, k], and maps of the block."""

    kernels: np.ndarray
    maps: BlockMaps


def training(
    steps: Mapping[int, TrainingStep],
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    pixel: tuple[int, int],
    *,
    stride: int,
    chosen: int | None = None,
    network: str = "guided",
) -> Figure:
    """Kernels of all heads at one pixel, gates and entropy everywhere, step by step, on one scale for each quantity.

    Args:
        steps: number of training steps -> the network then.
        curves: name, such as "training loss" -> (steps [n], values [n]); one plot for each.
        pixel: (y, x) selected image pixel.
        stride: image pixels per feature pixel.
        chosen: show this step (and first and last for comparison) and mark it in the curves; None shows all.
        network: its name.

    Raises:
        ValueError: no step, or a chosen one that is not among them.
    """
    if not steps:
        raise ValueError("steps is empty: give the network at one step of the training or more.")
    order = sorted(steps)
    if chosen is not None and chosen not in steps:
        raise ValueError(f"chosen={chosen} is no kept step: give one of {', '.join(map(str, order))}.")
    (y, x), (h, w) = pixel, steps[order[0]].maps.entropy.shape
    check_inside(pixel, h * stride, w * stride)
    shown = [s for s in order if chosen is None or s in (order[0], chosen, order[-1])]
    # scales of all steps, shown or not: a slider must not change what a colour means
    weight = Scale("weight (they sum to 1), square-root colours", 0.0,
                   max(float(s.kernels.max()) for s in steps.values()), MAPS["kernel"], power=0.5)  # fmt: skip
    scales = block_scales(s.maps for s in steps.values())
    mark = footprint(pixel, stride, np.shape(steps[order[0]].kernels)[-1])
    rows = []
    for s in shown:
        step = steps[s]
        heads = tuple(Heat(k, weight, f"{i}: {number(neighbours(k), 2)} of {k.size}",
                           f"Kernel of head {i} after {s} steps: {number(neighbours(k), 2)} neighbours count.")
                      for i, k in enumerate(np.asarray(step.kernels, float), start=1))  # fmt: skip
        maps = (Picture(getattr(step.maps, name), f"{title} after {s} steps.", scale, stride, linked=True,
                        mark=mark)
                for (name, title, *_), scale in zip(COLUMNS, scales, strict=True))  # fmt: skip
        rows.append((heads, *maps))
    message = _message(steps, order, network)
    counts = "; ".join(f"{s} steps: {number(_count(steps[s]), 2)}" for s in order)
    summary = (
        f"{network.capitalize()} network, row {y}, column {x}; one image, one training, no interval. Neighbours that "
        f"count there (mean over heads): {counts}. One map pixel is {stride} × {stride} image pixels."
    )
    return Figure(
        name="training",
        title="Kernels being born",
        message=message,
        summary=summary,
        alt=f"Kernels at one pixel and maps of the block at several steps of the training. {message}",
        rows=tuple(f"{s} steps" for s in shown),
        columns=(Column("Kernels at the pixel", weight),
                 *(Column(title, scale) for (_, title, *_), scale in zip(COLUMNS, scales, strict=True))),
        cells=tuple(rows),
        legend=(("footprint", "what the kernels of the selected pixel reach"),),
        strip=tuple(_curve(name, *curve, order, chosen) for name, curve in curves.items()),
        faithfulness=max(step.maps.faithfulness for step in steps.values()),
        data=(("y", str(y)), ("x", str(x)), ("chosen", "" if chosen is None else str(chosen))),
    )  # fmt: skip


def _count(step: TrainingStep) -> float:
    return float(np.mean([neighbours(k) for k in np.asarray(step.kernels, float)]))


def _curve(name: str, at: np.ndarray, values: np.ndarray, order: list[int], chosen: int | None) -> Plot:
    at, values = np.asarray(at, float), np.asarray(values, float)
    known = values[np.isfinite(values)]
    told = f"from {number(float(known[0]))} to {number(float(known[-1]))}" if known.size else "not known"
    return Plot(name[0].upper() + name[1:], (Series(name, at, values, 0),), "training step", name, padded_range(values),
                f"{name[0].upper() + name[1:]} over the training: {told}.",
                mark=None if chosen is None else (float(chosen), "chosen"))  # fmt: skip


def _message(steps: Mapping[int, TrainingStep], order: list[int], network: str) -> str:
    first, last = steps[order[0]], steps[order[-1]]
    if len(order) == 1:
        return f"After {order[0]} steps, {number(_count(first), 2)} of {first.kernels[0].size} neighbours count here."
    a, b, size = _count(first), _count(last), first.kernels[0].size
    change = float(np.abs(last.maps.gate_static - first.maps.gate_static).mean())
    gate = f"the static gate moves by {number(change, 2)} on average"
    span = f"from step {order[0]} to {order[-1]}"
    counts = f"of {size} neighbours {number(a, 2)} count at first, {number(b, 2)} at last"
    if b < 0.8 * a:
        return f"Kernels sharpen here {span}: {counts}; {gate}."
    if b > 1.25 * a:
        return f"Kernels widen here {span}: {counts}; {gate}."
    return f"Kernels stay about as wide here {span}: {counts}; {gate}."
