"""Figures for lessons: pictures and maps side by side (`panels`), lines over a quantity (`curves`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .charts import SERIES, Plot, Series, padded_range
from .figure import Cell, Column, Figure, Heat, Outline, Picture, Words
from .style import Scale, number


def panels(
    cells: Mapping[str, np.ndarray | Cell],
    *,
    title: str,
    message: str,
    alt: str,
    scale: Scale | Mapping[str, Scale] | None = None,
    columns: int = 4,
    outlines: tuple[Outline, ...] = (),
    window: tuple[int, int, int, int] | None = None,
    summary: str = "",
    legend: tuple[tuple[str, str], ...] = (),
    name: str = "panels",
) -> Figure:
    """Pictures side by side, each with its name above it.

    Args:
        cells: name -> uint8 [H, W, 3] (a picture), float or bool [h, w] (a map), or any ready cell of a `Figure`.
        title, message: what is shown; one plain sentence that says what to see, without measured numbers.
        alt: the conclusion for those who do not see it.
        scale: of all maps (compared maps share one), or name -> scale for maps of different quantities.
        columns: pictures in a row.
        outlines: drawn on pictures and maps given as arrays of the size of the largest one.
        window: (y0, x0, y1, x1), the part of such arrays to show; None shows all.
        summary: the same in numbers.
        legend: what outlines mean, as (style, text).

    Raises:
        ValueError: no cells, or a map without a scale.
    """
    if not cells:
        raise ValueError("panels needs at least one picture.")
    shapes = [c.shape[:2] for c in cells.values() if isinstance(c, np.ndarray)]
    full = max(shapes, default=None)
    columns = min(columns, len(cells))
    made = []
    for label, cell in cells.items():
        if isinstance(cell, np.ndarray):
            own = scale.get(label) if isinstance(scale, Mapping) else scale
            same = {"outlines": outlines, "window": window} if cell.shape[:2] == full else {}
            cell = _picture(label, cell, own, bar=isinstance(scale, Mapping), **same)
        elif isinstance(cell, Picture | Heat):
            cell = replace(cell, title=cell.title or label)
        made.append(cell)
    made += [Words(("",))] * (-len(made) % columns)
    rows = [tuple(made[i : i + columns]) for i in range(0, len(made), columns)]
    shared = scale if isinstance(scale, Scale) else None
    return Figure(
        name=name, title=title, message=message, summary=summary, alt=alt,
        rows=("",) * len(rows),
        columns=tuple(Column("", shared if i == 0 else None) for i in range(columns)),
        cells=tuple(rows), legend=legend,
    )  # fmt: skip


def _picture(label: str, values: np.ndarray, scale: Scale | None, bar: bool, **more) -> Picture:
    if values.ndim == 3:
        return Picture(values, f"{label}.", title=label, **more)
    if scale is None:
        raise ValueError(f"the map {label!r} needs a scale: what its colours mean, and from where to where.")
    values = values.astype(np.float32)
    told = f"{label}: {number(float(values.min()), 2)} to {number(float(values.max()), 2)}."
    return Picture(values, told, scale, title=label, bar=bar, **more)


def heat(values: np.ndarray, scale: Scale, label: str = "") -> Heat:
    """A small kernel, float [k, k], as a cell for `panels`: each weight can be read."""
    values = np.asarray(values, np.float64)
    return Heat(values, scale, label, f"{label or 'kernel'}: {number(values.min(), 2)} to {number(values.max(), 2)}.")


def curves(
    plots: Mapping[str, Mapping[str, tuple[np.ndarray, ...]]],
    *,
    x_label: str,
    y_label: str | Mapping[str, str],
    title: str,
    message: str,
    alt: str,
    y_range: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    ticks: tuple[tuple[float, str], ...] = (),
    zero: str = "",
    level: str = "",
    summary: str = "",
    name: str = "curves",
) -> Figure:
    """Lines on one or several pairs of axes; a name has the same line everywhere.

    Args:
        plots: name of a plot -> name of a line -> (x, y) or (x, y, low, high), float [n] each; NaN leaves a gap.
        x_label: quantity and unit. y_label: the same, or one for each plot.
        title, message, alt, summary: as for `panels`.
        y_range: common to all plots (default: holds everything), or one for each plot.
        ticks: (x, text) in place of numbers at the x axis.
        zero, level: name of x = 0, drawn as a vertical line, and of y = 0, a horizontal one ("" draws none).

    Raises:
        ValueError: nothing to draw, or more lines than can be told apart.
    """
    labels = list(dict.fromkeys(label for lines in plots.values() for label in lines))
    if not labels:
        raise ValueError("curves needs at least one plot with one line.")
    if len(labels) > len(SERIES):
        raise ValueError(f"{len(labels)} lines: at most {len(SERIES)} can be told apart; draw fewer.")
    drawn = []
    everything = padded_range(*(np.asarray(v, float) for p in plots.values() for line in p.values() for v in line[1:]))
    for plot, lines in plots.items():
        series = tuple(
            Series(label, np.asarray(line[0], float), np.asarray(line[1], float), labels.index(label),
                   *(np.asarray(v, float) for v in line[2:4]))
            for label, line in lines.items()
        )  # fmt: skip
        span = y_range.get(plot) if isinstance(y_range, Mapping) else y_range
        unit = y_label[plot] if isinstance(y_label, Mapping) else y_label
        drawn.append(Plot(plot, series, x_label, unit, span or everything, alt, zero=zero, ticks=ticks, level=level))
    legend = tuple((f"series-{i}", label) for i, label in enumerate(labels)) if len(labels) > 1 else ()
    return Figure(
        name=name, title=title, message=message, summary=summary, alt=alt, rows=(), columns=(), cells=(),
        strip=tuple(drawn), legend=legend,
    )  # fmt: skip


def square(kernel: Sequence[float] | np.ndarray) -> np.ndarray:
    """k*k weights in row-major order -> [k, k]."""
    kernel = np.asarray(kernel, np.float64).ravel()
    side = math.isqrt(kernel.size)
    if side * side != kernel.size:
        raise ValueError(f"{kernel.size} weights do not make a square.")
    return kernel.reshape(side, side)
