"""The counterfactual: the guided network's own weights, with its kernels made from averages over p x p blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .charts import Plot, Series, padded_range
from .figure import Column, Figure, Picture, true_outline, truth_key
from .overview import COLUMNS, BlockMaps, block_scales, within_block_variation
from .style import MAPS, number, percent, shared_scale

HARDLY = 0.005  # changes of surface Dice, or of a mean probability, that this figure calls none


@dataclass(frozen=True, eq=False)
class PoolingStep:
    """What the network does when its kernels are made from averages over p x p feature pixels.

    Attributes:
        maps: of its finest block.
        probability: float [H, W], 0..1, of being object.
        pool_size: p in feature pixels; 1 is per pixel, None the average over the whole image.
        retrained: True if these weights were trained with this p; False if only p was changed.
        metrics: as `sgdc_viz.learn.metrics.evaluate_masks` gives them; None without truth.
    """

    maps: BlockMaps
    probability: np.ndarray
    pool_size: int | None
    retrained: bool = False
    metrics: Mapping[str, float] | None = None


def pooling(
    image: np.ndarray,
    steps: Mapping[str, PoolingStep],
    *,
    stride: int,
    truth: np.ndarray | None = None,
    chosen: str | None = None,
    window: tuple[int, int, int, int] | None = None,
) -> Figure:
    """The same weights with coarser and coarser kernels, beside the network that was trained with pooled ones.

    Args:
        image: uint8 [H, W, 3], as the networks saw it.
        steps: label -> what happened; the first is the network as it is (pool size 1), then 2, 4, 8, ..., None with the
            same weights, and (retrained=True) the separately trained pooled network.
        stride: image pixels per feature pixel of the maps.
        truth: object numbers (or a binary mask) [H, W]; None where nobody knows it.
        chosen: show only the first, this and the retrained rows; the curves still hold all.
        window: part to show first, (y0, x0, y1, x1).

    Raises:
        ValueError: no step, an unknown `chosen`, or a first step that pools or was retrained.
    """
    steps = dict(steps)
    if not steps:
        raise ValueError("steps is empty: give at least the network as it is (pool_size=1).")
    first = next(iter(steps))
    if steps[first].pool_size != 1 or steps[first].retrained:
        raise ValueError(f"the first step, {first!r}, must be the network as it is: pool_size=1, retrained=False.")
    if chosen is not None and chosen not in steps:
        raise ValueError(f"chosen={chosen!r} is none of the steps: give one of {', '.join(steps)}.")
    shown = {k: s for k, s in steps.items() if chosen in (None, k) or k == first or s.retrained}
    reference = steps[first]
    focus = _focus(steps, chosen)
    changes = {k: s.probability - reference.probability for k, s in steps.items()}
    signed = shared_scale(f"probability minus that of {first}", *(changes[k] for k in shown), cmap=MAPS["signed"],
                          symmetric=True, share=99.5)  # fmt: skip
    scales = block_scales(s.maps for s in shown.values())
    lines = true_outline(truth)
    common = dict(linked=True, window=window)
    rows = []
    for label, step in shown.items():
        mean = float(np.abs(changes[label]).mean())
        cells = [Picture(getattr(step.maps, name), f"{title}, {label}: {_told(step.pool_size, stride)}.", scale, stride,
                         **common) for (name, title, *_), scale in zip(COLUMNS, scales, strict=True)]  # fmt: skip
        text = f"Change of the probability, {label} minus {first}: {number(mean, 2)} on average, without sign."
        rows.append((*cells, Picture(changes[label], text, signed, **common)))

    message = _message(steps, first, focus, changes, stride)
    parts = [
        f"{k}: {percent(within_block_variation(s.maps.gate_static, s.pool_size))} of the static gate's variation lies "
        f"inside its {s.pool_size * stride} px blocks"
        for k, s in shown.items()
        if s.pool_size is not None and s.pool_size > 1
    ]
    size = f"One map pixel is {stride} × {stride} image pixels; the average is over pool size × pool size of them"
    told = "; ".join([size, *parts])
    summary = (
        f"{told}. Only the input of kernels and gates is averaged; rows called not retrained keep every weight of "
        f"{first}, which was never trained for averages. One image, no interval."
    )
    return Figure(
        name="pooling",
        title="The same weights, coarser kernels",
        message=message,
        summary=summary,
        alt=f"Gates, kernel entropy and change of the probability for several sizes of averages. {message}",
        rows=tuple(_row(label, step) for label, step in shown.items()),
        columns=(*(Column(title, scale) for (_, title, *_), scale in zip(COLUMNS, scales, strict=True)),
                 Column("Change of the probability", signed)),
        cells=tuple(rows),
        lead=Picture(image, "The image as the network saw it.", outlines=lines, **common),
        legend=(*_series_legend(steps),
                truth_key(truth)),
        table=_table(steps),
        strip=_curves(steps, changes, chosen),
        faithfulness=max(step.maps.faithfulness for step in steps.values()),
        data=(("chosen", chosen or ""),),
    )  # fmt: skip


def _row(label: str, step: PoolingStep) -> str:
    if step.retrained:
        return f"{label} · trained this way"
    return label if step.pool_size == 1 else f"{label} · not retrained"


def _told(pool_size: int | None, stride: int) -> str:
    if pool_size is None:
        return "one kernel for the whole image"
    return "kernels of each pixel" if pool_size == 1 else f"kernels shared by blocks of {pool_size * stride} px"


def _focus(steps: Mapping[str, PoolingStep], chosen: str | None) -> str:
    """The step the message is about: the chosen one, else p of the retrained network, else the coarsest."""
    if chosen is not None:
        return chosen
    wanted = [s.pool_size for s in steps.values() if s.retrained]
    same = [k for k, s in steps.items() if not s.retrained]
    return next((k for k in same if steps[k].pool_size in wanted), same[-1])


def _message(steps, first: str, focus: str, changes, stride: int) -> str:
    step, reference = steps[focus], steps[first]
    moved = float(np.abs(changes[focus]).mean())
    if focus == first:
        return f"This is {first} as it was trained; choose a larger pool size to see what averages take away."
    way = _told(step.pool_size, stride)
    start = f"{focus} was trained with {way}" if step.retrained else f"With the same weights but {way}"
    if step.metrics is None or reference.metrics is None:
        if moved < HARDLY:
            return (
                f"{start}, the probability hardly moves ({number(moved, 2)} on average): averages change little here."
            )
        return f"{start}, the probability moves by {number(moved, 2)} on average; the last column shows where."
    a, b = reference.metrics["nsd1"], step.metrics["nsd1"]
    if np.isnan(a) or np.isnan(b):
        return f"{start}, the probability moves by {number(moved, 2)} on average; surface Dice is undefined here."
    if max(a, b) < 0.05:
        return f"{start}, there is nothing to compare: the network finds no outline here (surface Dice {number(a)})."
    if abs(b - a) < HARDLY:
        text = f"{start}, surface Dice at 1 px on this image stays at {number(b)} ({first}: {number(a)})"
    else:
        verb = "falls" if b < a else "rises"
        text = f"{start}, surface Dice at 1 px on this image {verb} from {number(a)} to {number(b)}"
    other = next((k for k, s in steps.items() if s.retrained and s.pool_size == step.pool_size and k != focus), None)
    if other is None or steps[other].metrics is None or step.retrained:
        return f"{text}."
    c = steps[other].metrics["nsd1"]
    return f"{text}." if np.isnan(c) else f"{text}; a network trained this way reaches {number(c)} (one training run)."


def _positions(steps: Mapping[str, PoolingStep]) -> dict[int | None, int]:
    """Place of each p on the axis: in order, the whole image last."""
    sizes = {s.pool_size for s in steps.values()}
    order = sorted(p for p in sizes if p is not None) + ([None] if None in sizes else [])
    return {p: i for i, p in enumerate(order)}


def _curves(steps, changes, chosen) -> tuple[Plot, ...]:
    place = _positions(steps)
    measures = [
        ("Change of the probability", "mean |change|", {k: float(np.abs(c).mean()) for k, c in changes.items()})
    ]
    if all(s.metrics is not None for s in steps.values()):
        measures += [(title, unit, {k: s.metrics[key] for k, s in steps.items()})
                     for key, title, unit in (("nsd1", "Surface Dice at 1 px", "surface Dice, 0..1"),
                                              ("iou", "IoU", "IoU, 0..1"))
                     if any(np.isfinite(s.metrics[key]) for s in steps.values())]  # fmt: skip
    ticks = tuple((i, "all" if p is None else str(p)) for p, i in place.items())
    plots = []
    for title, unit, values in measures:
        series = []
        for style, retrained in enumerate((False, True)):
            chain = sorted((place[s.pool_size], values[k]) for k, s in steps.items() if s.retrained == retrained)
            if chain:
                x, y = np.array(chain, float).T
                series.append(Series(KINDS[style], x, y, style))
        ends = f"{number(series[0].y[0])} at pool size 1, {number(series[0].y[-1])} at the coarsest"
        plots.append(Plot(
            title, tuple(series), "pool size, feature pixels (all: whole image)", unit,
            padded_range(list(values.values())),
            f"{title} over the pool size, with the same weights: {ends}.",
            mark=None if chosen is None else (place[steps[chosen].pool_size], "chosen"), ticks=ticks,
        ))  # fmt: skip
    return tuple(plots)


KINDS = ("same weights, not retrained", "trained with this pool size")


def _series_legend(steps) -> tuple[tuple[str, str], ...]:
    retrained = any(s.retrained for s in steps.values())
    return tuple((f"series-{i}", text) for i, text in enumerate(KINDS) if i == 0 or retrained)


def _table(steps) -> tuple[tuple[str, ...], ...]:
    if any(s.metrics is None for s in steps.values()):
        return ()
    head = ("this image alone", "IoU", "surface Dice at 1 px", "HD95 (px)")
    return (head,) + tuple(
        (
            _row(k, s),
            *(number(s.metrics[m]) for m in ("iou", "nsd1", "hd95")),
        )
        for k, s in steps.items()
    )
