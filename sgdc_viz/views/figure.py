"""What a view returns: one `Figure`, drawn twice from one description.

`to_html` gives HTML with inline SVG for the app: sharp at any size, text that a screen reader reads and that wraps on a
phone. `to_png` gives the static twin (matplotlib) for notebooks and papers. Nothing in it asks another host for
anything: maps are embedded as lossless PNG, one map pixel for one PNG pixel.
"""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from functools import cached_property
from html import escape
from importlib.resources import files

import numpy as np

from .charts import NARROW, WIDE, Effects, Plot, draw_effects, draw_plot, effects_svg, handles, key_svg, plot_svg
from .style import Scale, colour_table, direction, number, outlines_of, png_uri

CSS = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
LINKED_JS = files(__package__).joinpath("linked.js").read_text(encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Outline:
    """Closed curves [n, 2] of (y, x) in image pixels, see `outlines_of`.

    style: "truth" (dashed), "prediction" or "region". fine: a thinner line, for many small objects.
    """

    label: str
    curves: tuple[np.ndarray, ...]
    style: str = "truth"
    fine: bool = False


def true_outline(truth: np.ndarray | None) -> tuple[Outline, ...]:
    """The outlines of object numbers (or of a binary mask) [H, W]; none where nobody knows the truth."""
    return () if truth is None else (Outline("true outline", outlines_of(truth)),)


def truth_key(truth: np.ndarray | None) -> tuple[str, str]:
    """The line of the legend about it."""
    return ("none", "no truth is known for this image") if truth is None else ("truth", "true outline")


@dataclass(frozen=True)
class Box:
    """A rectangle [y0, y1) x [x0, x1) in image pixels. style: "footprint" (solid) or "block" (dashed)."""

    label: str
    y0: float
    x0: float
    y1: float
    x1: float
    style: str = "footprint"


@dataclass(frozen=True, eq=False)
class Strokes:
    """Open lines [n, 2] of (y, x) in image pixels. style: "ellipse", "arrow", "xmark" or "normal"."""

    label: str
    lines: tuple[np.ndarray, ...]
    style: str


@dataclass(frozen=True, eq=False)
class Picture:
    """An image, or a map over the image plane.

    Attributes:
        pixels: uint8 [h, w, 3], or float [h, w] with a `scale`.
        alt: one sentence for those who do not see it.
        stride: image pixels per pixel of `pixels`.
        origin: (y, x) of its first pixel in the image.
        outlines, boxes, strokes: drawn on top, in image pixels.
        linked: shares zoom, cross-hair and the selected pixel with all linked pictures of the page; its `mark` moves.
        mark: box around the selected pixel.
        window: (y0, x0, y1, x1), the part to show first; None shows all.
        title: printed above it, where a grid holds pictures of several kinds.
        bar: draw its colour bar below it (where the column has none that all share).
    """

    pixels: np.ndarray
    alt: str
    scale: Scale | None = None
    stride: int = 1
    origin: tuple[int, int] = (0, 0)
    outlines: tuple[Outline, ...] = ()
    boxes: tuple[Box, ...] = ()
    linked: bool = False
    mark: Box | None = None
    window: tuple[int, int, int, int] | None = None
    strokes: tuple[Strokes, ...] = ()
    title: str = ""
    bar: bool = False

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(y0, x0, y1, x1): what it covers, in image pixels."""
        (y, x), (h, w) = self.origin, self.pixels.shape[:2]
        return y, x, y + h * self.stride, x + w * self.stride


@dataclass(frozen=True, eq=False)
class Heat:
    """A small grid of numbers, such as a kernel: float [k, k]. The centre is ringed; each cell tells its value."""

    values: np.ndarray
    scale: Scale
    title: str
    alt: str


@dataclass(frozen=True, eq=False)
class Bars:
    """One bar for each value, float [n]; `chosen` is marked with a triangle as well as with colour."""

    values: np.ndarray
    scale: Scale
    alt: str
    chosen: int | None = None


@dataclass(frozen=True)
class Words:
    """Lines of text in place of a picture; the last line is set strong."""

    lines: tuple[str, ...]


Cell = Picture | Heat | Bars | Words | Plot | Effects | tuple[Heat | Picture, ...]


@dataclass(frozen=True)
class Column:
    """Heading of a column, and the colour scale that all its cells share (None: no colour bar)."""

    title: str
    scale: Scale | None = None


@dataclass(frozen=True, eq=False)
class Figure:
    """A finished figure.

    Attributes:
        name: short and unique on a page, such as "overview".
        title: what is shown.
        message: one plain sentence: what to see.
        summary: the same in numbers.
        alt: a description that says the conclusion.
        rows: name of each row; compared rows share all scales.
        columns: headings and scales.
        cells: cells[row][column].
        lead: one large picture in front of the grid.
        strip: charts above the grid; a figure of charts alone has no rows.
        legend: what lines and boxes mean, (style, text) pairs.
        table: rows of text, the first is the heading.
        faithfulness: largest |value rebuilt from the recorded parts - the network's own|; None where nothing inside
            the network is shown.
        checked: what the faithfulness compares.
        data: further facts, written as data-* attributes.
    """

    name: str
    title: str
    message: str
    summary: str
    alt: str
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    lead: Picture | None = None
    legend: tuple[tuple[str, str], ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    faithfulness: float | None = None
    data: tuple[tuple[str, str], ...] = ()
    strip: tuple[Plot | Effects, ...] = ()
    checked: str = "rebuilt from the recorded parts"

    def __post_init__(self):
        if len(self.cells) != len(self.rows) or any(len(row) != len(self.columns) for row in self.cells):
            raise ValueError(f"figure {self.name!r}: cells must be {len(self.rows)} rows of {len(self.columns)} cells.")

    @property
    def badge(self) -> str:
        """The faithfulness in words; empty where there is none."""
        if self.faithfulness is None:
            return ""
        off = f"off by at most {number(self.faithfulness, 2)}" if self.faithfulness else "equal to the last bit"
        return f"Faithful: {self.checked}, {off}."

    @property
    def crowded(self) -> bool:
        """Many rows: drawn smaller."""
        return len(self.rows) > 3

    def to_html(self) -> str:
        """HTML for a page that carries `CSS` (and, for linked pictures, `LINKED_JS`)."""
        return _html(self)

    def to_png(self, dpi: int = 110) -> bytes:
        """The static twin: a PNG file."""
        return _png(self, dpi)

    @cached_property
    def _still(self) -> bytes:
        return self.to_png()

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """In a notebook: the static twin, with the alt text beside it."""
        return {"image/png": self._still, "text/plain": self.alt}


# --- HTML ------------------------------------------------------------------------------------------------------------


ZOOM = (
    '<div class="sg-tools" role="group" aria-label="Zoom of all linked pictures">Zoom '
    + "".join(
        f'<button type="button" class="sg-zoom" data-zoom="{z}" aria-pressed="false">{text}</button>'
        for z, text in (("1", "whole image"), ("2", "2×"), ("4", "4×"))
    )
    + '<span class="sg-hint">arrow keys move the pixel</span></div>'
)


def _html(figure: Figure) -> str:
    e = escape
    data = "".join(f' data-{e(k)}="{e(v)}"' for k, v in figure.data)
    if figure.faithfulness is not None:
        data += f' data-faithfulness="{figure.faithfulness:.3e}"'
    classes = " ".join(["sg-figure", f"sg-{e(figure.name)}", *_layout(figure)])
    parts = [
        f'<figure class="{classes}" data-figure="{e(figure.name)}" aria-label="{e(figure.title)}"{data} '
        f'style="{_sizes(figure)}">',
        f'<h2 class="sg-title">{e(figure.title)}</h2><p class="sg-message">{e(figure.message)}</p>',
    ]
    lines = [(style, text) for style, text in figure.legend if style.startswith("series-")]
    if lines:
        keys = "".join(f"<li>{key_svg(int(style[7:]))}{e(text)}</li>" for style, text in lines)
        parts.append(f'<ul class="sg-legend">{keys}</ul>')
    if figure.strip:
        parts.append(f'<div class="sg-strip">{"".join(_cell(chart) for chart in figure.strip)}</div>')
    parts.append('<div class="sg-body">')
    if figure.lead is not None:
        bar = _bar(figure.lead.scale) if figure.lead.scale else ""
        tools = ZOOM if figure.lead.linked else ""
        parts.append(f'<div class="sg-lead">{_svg(figure.lead, focusable=figure.lead.linked)}{bar}{tools}</div>')
    parts.append('<div class="sg-grid">' if figure.rows else "<div>")
    for c, column in enumerate(figure.columns, start=2):
        parts.append(f'<div class="sg-head" style="--r:1;--c:{c}">{e(column.title)}</div>')
        if column.scale is not None:
            parts.append(f'<div class="sg-foot" style="--r:{len(figure.rows) + 2};--c:{c}">{_bar(column.scale)}</div>')
    wide = NARROW if len(figure.columns) > 3 else WIDE
    for r, (name, row) in enumerate(zip(figure.rows, figure.cells, strict=True), start=2):
        if name:
            parts.append(f'<div class="sg-row" style="--r:{r};--c:1"><span>{e(name)}</span></div>')
        for c, cell in enumerate(row, start=2):
            parts.append(f'<div class="sg-cell" data-row="{e(name)}" style="--r:{r};--c:{c}">'
                         f"{_cell(cell, wide)}</div>")  # fmt: skip
    parts.append("</div></div>")
    if figure.legend:
        keys = "".join(
            f'<li><span class="sg-key sg-key-{e(style)}"></span>{e(text)}</li>'
            for style, text in figure.legend
            if (style, text) not in lines
        )
        parts.append(f'<ul class="sg-legend">{keys}</ul>' if keys else "")
    if figure.table:
        head, *body = figure.table
        rows = "".join("<tr>" + "".join(f"<td>{e(v)}</td>" for v in row) + "</tr>" for row in body)
        head = "".join(f'<th scope="col">{e(v)}</th>' for v in head)
        parts.append(f'<table class="sg-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>')
    badge = f' <span class="sg-badge">{e(figure.badge)}</span>' if figure.badge else ""
    parts.append(f'<figcaption class="sg-summary">{e(figure.summary)}{badge}</figcaption></figure>')
    return "".join(parts)


def _layout(figure: Figure) -> list[str]:
    """Classes for the style sheet: many rows; a grid whose columns mean nothing, so that it may be laid out anew."""
    free = len(figure.columns) > 0 and not any(column.title for column in figure.columns)
    return ["sg-crowded"] * figure.crowded + ["sg-free"] * free


def _sizes(figure: Figure) -> str:
    """Numbers for the style sheet: rows, columns, width of the lead, and how many cells a phone shows side by side."""
    rows, columns = len(figure.rows), len(figure.columns)
    cells = [cell for row in figure.cells for cell in row]
    charts = any(isinstance(cell, Plot | Effects) for cell in cells)
    groups = any(isinstance(cell, tuple) and isinstance(cell[0], Picture) for cell in cells)
    if charts or groups:  # these need the whole width of a phone
        abreast = 1
    elif "sg-free" in _layout(figure):
        abreast = columns if columns <= 3 else 2
    else:
        abreast = 2 if figure.crowded else rows
    lead = min(1.4 if charts else 2, rows)
    sizes = f"--columns:{columns};--rows:{rows};--lead:{lead:g};--abreast:{abreast}"
    if charts:  # their words grow with them: they get what room there is
        return f"{sizes};--sg-cell:calc({min(1.6, 4.5 / columns):.3g} * var(--sg-unit))"
    return sizes + (";--sg-cell:calc(0.85 * var(--sg-unit))" if figure.crowded and figure.lead is None else "")


def _bar(scale: Scale) -> str:
    table = colour_table(scale.cmap)[np.linspace(0, 255, 17).astype(int)]
    stops = ",".join("#" + "".join(f"{c:02x}" for c in colour) for colour in table)
    ticks = "".join(f"<span>{escape(t)}</span>" for t in scale.ticks)
    return (
        f'<div class="sg-bar" style="background:linear-gradient(to right,{stops})"></div>'
        f'<div class="sg-ticks">{ticks}</div><div class="sg-unit">{escape(scale.label)}</div>'
    )


def _cell(cell: Cell, wide: int = WIDE) -> str:
    if isinstance(cell, tuple):
        return '<div class="sg-many">' + "".join(_cell(part) for part in cell) + "</div>"
    if isinstance(cell, Picture):
        if not (cell.title or cell.bar):
            return _svg(cell)
        bar = _bar(cell.scale) if cell.bar else ""
        return f'<div class="sg-titled"><span>{escape(cell.title)}</span>{_svg(cell)}{bar}</div>'
    if isinstance(cell, Plot):
        return plot_svg(cell, wide)
    if isinstance(cell, Effects):
        return effects_svg(cell)
    if isinstance(cell, Heat):
        return _heat_svg(cell)
    if isinstance(cell, Bars):
        return _bars_svg(cell)
    *lines, last = (escape(line) for line in cell.lines)
    return (
        '<div class="sg-words">' + "".join(f"<p>{line}</p>" for line in lines) + f"<p><strong>{last}</strong></p></div>"
    )


def _svg(picture: Picture, focusable: bool = False) -> str:
    y0, x0, y1, x1 = picture.box
    wy0, wx0, wy1, wx1 = picture.window or picture.box
    shapes = []
    for outline in picture.outlines:
        d = "".join("M" + "L".join(f"{x:g} {y:g}" for y, x in curve[:-1]) + "Z" for curve in outline.curves)
        line, thin = f"sg-line sg-{escape(outline.style)}", "sg-fine" if outline.fine else "sg-thin"
        shapes.append(f'<path class="sg-halo {thin}" d="{d}"/><path class="{line} {thin}" d="{d}"/>')
    for strokes in picture.strokes:
        d = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in line) for line in strokes.lines)
        line = f"sg-line sg-{escape(strokes.style)}"
        shapes.append(f'<path class="sg-halo sg-thin" d="{d}"/><path class="{line} sg-thin" d="{d}"/>')
    shapes += [_rect(box) for box in picture.boxes]
    data = ""
    if picture.linked:
        data = f' data-height="{y1 - y0}" data-width="{x1 - x0}"'
        if picture.mark is not None:
            m = picture.mark
            data += f' data-side="{m.y1 - m.y0:g}"'
            shapes.append(f'<path class="sg-cross" d=""/><g class="sg-mark">{_rect(m)}</g>')
    focus = ' tabindex="0" role="application" aria-roledescription="pixel picker"' if focusable else ' role="img"'
    css = "sg-plane sg-linked" if picture.linked else "sg-plane"
    return (
        f'<svg class="{css}"{focus} aria-label="{escape(picture.alt)}"{data} '
        f'viewBox="{wx0} {wy0} {wx1 - wx0} {wy1 - wy0}">'
        f'<image href="{png_uri(picture.pixels, picture.scale)}" x="{x0}" y="{y0}" width="{x1 - x0}" '
        f'height="{y1 - y0}" preserveAspectRatio="none"/>{"".join(shapes)}</svg>'
    )


def _rect(box: Box) -> str:
    place = f'x="{box.x0:g}" y="{box.y0:g}" width="{box.x1 - box.x0:g}" height="{box.y1 - box.y0:g}"'
    return (
        f'<rect class="sg-halo" {place}/><rect class="sg-line sg-{escape(box.style)}" {place}>'
        f"<title>{escape(box.label)}</title></rect>"
    )


def _heat_svg(heat: Heat) -> str:
    k, n = heat.values.shape
    cells = "".join(
        f'<rect x="{x}" y="{y}" width="1.02" height="1.02" fill="{heat.scale.colour(v)}">'
        f"<title>{direction(y - k // 2, x - n // 2)}: {number(v)}</title></rect>"
        for (y, x), v in np.ndenumerate(heat.values)
    )
    place = f'x="{n // 2}" y="{k // 2}" width="1" height="1"'
    return (
        f'<div class="sg-heat"><svg class="sg-plane" role="img" aria-label="{escape(heat.alt)}" viewBox="0 0 {n} {k}">'
        f'{cells}<rect class="sg-halo" {place}/><rect class="sg-line sg-centre" {place}/></svg>'
        f"<span>{escape(heat.title)}</span></div>"
    )


def _bars_svg(bars: Bars) -> str:
    n, low, high = len(bars.values), bars.scale.low, bars.scale.high
    rects = []
    for i, v in enumerate(bars.values):
        height = 100 * float(np.clip((v - low) / (high - low), 0, 1))
        rects.append(
            f'<rect class="{"sg-chosen" if i == bars.chosen else "sg-plain"}" x="{i + 0.12:g}" y="{100 - height:.2f}" '
            f'width="0.76" height="{height:.2f}"><title>channel {i}: {number(v)}</title></rect>'
        )
    if bars.chosen is not None:
        x = bars.chosen + 0.5
        rects.append(f'<path class="sg-chosen" d="M{x - 0.6} 106L{x + 0.6} 106L{x} 101Z"/>')
    lines = "".join(f'<path class="sg-rule" d="M0 {y}H{n}"/>' for y in (0, 50, 100))
    ticks = "".join(f"<span>{t}</span>" for t in reversed(bars.scale.ticks))
    return (
        f'<div class="sg-bars"><div class="sg-axis" aria-hidden="true">{ticks}</div>'
        f'<svg role="img" aria-label="{escape(bars.alt)}" viewBox="0 -2 {n} 110" preserveAspectRatio="none">'
        f'{lines}{"".join(rects)}</svg></div><div class="sg-unit">{escape(bars.scale.label)}</div>'
    )


# --- the static twin -------------------------------------------------------------------------------------------------

LINE_STYLES = {"truth": ("white", (0, (3, 2))), "prediction": ("#ffd60a", "-"), "footprint": ("white", "-"),
               "block": ("#ffd60a", (0, (3, 2))), "centre": ("white", "-"), "region": ("#ffd60a", "-"),
               "ellipse": ("white", "-"), "arrow": ("#ffd60a", "-"), "xmark": ("#ff7b4a", "-"),
               "normal": ("#ffd60a", "-")}  # fmt: skip
KEYS = {"truth": "dashed white line", "prediction": "yellow line", "footprint": "white box",
        "block": "dashed yellow box", "chosen": "orange bar", "region": "yellow line", "ellipse": "white ellipse",
        "arrow": "yellow arrow", "xmark": "orange cross", "normal": "yellow line", "hit": "white pixels",
        "miss": "orange pixels", "false": "blue pixels"}  # fmt: skip


def _png(figure: Figure, dpi: int) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    n_rows, n_columns, lead = len(figure.rows), len(figure.columns), figure.lead is not None
    cells = [cell for row in figure.cells for cell in row]
    charts = any(isinstance(cell, Plot | Effects) for cell in cells)
    unit = 2.1 if not figure.crowded else 1.45 if lead else 1.8  # inches a cell
    plotted = [any(isinstance(row[c], Plot | Effects) for row in figure.cells) for c in range(n_columns)]
    widths = ([min(2, n_rows) * 1.0] if lead else []) + [1.4 if plot else 1.0 for plot in plotted]
    width = unit * sum(widths) * (1.25 if charts else 1.12) + 0.5
    if charts or figure.strip:
        width = max(width, 6.4, 3.4 * len(figure.strip) + 0.3)
    notes = textwrap.wrap(f"{figure.summary} {figure.badge}", int(width * 13.5))
    table = _table_lines(figure.table)
    if figure.table and not table:
        for name, *values in figure.table[1:]:
            notes.append(f"{name}: " + ", ".join(f"{h} {v}" for h, v in zip(figure.table[0][1:], values, strict=True)))
    legend = [(style, text) for style, text in figure.legend if not style.startswith("series-")]
    told = " · ".join(f"{KEYS[style]}: {text}" if style in KEYS else text for style, text in legend)
    notes += textwrap.wrap(told, int(width * 13.5))
    message = textwrap.wrap(figure.message, int(width * 12))
    lines = [(int(style[7:]), text) for style, text in figure.legend if style.startswith("series-")]
    # inches that titles (above) and colour bars (below) of single pictures need
    above = 0.2 * any(isinstance(c, Picture | Heat) and c.title for c in cells)
    below = 0.45 * any(isinstance(c, Picture) and c.bar for c in cells)
    extra = 0.35 * unit if charts else above + below
    strip = 0 if not figure.strip else max(_chart_height(chart) for chart in figure.strip) + (0.95 if n_rows else 0.7)
    # names of lines: as many in a row as fit (inches: the sample of a line, then its name)
    abreast = max(1, int((width - 0.2) / max((0.62 + 0.078 * len(text) for _, text in lines), default=1)))
    keys = 0.07 + 0.21 * -(-len(lines) // abreast) if lines else 0
    top = 0.72 + 0.2 * len(message) + keys + strip
    bottom = (0.75 if n_rows else 0.1) + 0.19 * len(notes) + 0.15 * len(table)
    body = 1.1 * unit * n_rows + extra * max(0, n_rows - 1)
    height = body + top + bottom
    canvas = Canvas(figsize=(width, height), dpi=dpi, facecolor="white")
    FigureCanvasAgg(canvas)
    canvas.text(0.1 / width, 1 - 0.08 / height, figure.title, size=13, weight="bold", va="top")
    canvas.text(0.1 / width, 1 - 0.34 / height, "\n".join(message), size=10, va="top")
    canvas.text(0.1 / width, 0.08 / height, "\n".join(notes), size=8.5, va="bottom", linespacing=1.35)
    if table:
        canvas.text(0.1 / width, (0.2 + 0.165 * len(notes)) / height, "\n".join(table), size=7.5, va="bottom",
                    linespacing=1.35, family="monospace")  # fmt: skip
    under = 0.4 + 0.2 * len(message)  # inches from the top edge
    if lines:
        known = handles()
        canvas.legend([known[i] for i, _ in lines], [t for _, t in lines], loc="upper left",
                      ncols=min(abreast, len(lines)), bbox_to_anchor=(0.02 / width, 1 - under / height),
                      frameon=False, fontsize=8.5, handlelength=3.2)  # fmt: skip
        under += keys
    each = (width - 0.3) / max(1, len(figure.strip))
    for i, chart in enumerate(figure.strip):
        tall = _chart_height(chart)
        place = (0.2 + i * each + 0.4, height - under - 0.3 - tall, min(each - 0.6, 4.2), tall)
        _draw(canvas.add_axes([v / (width, height)[k % 2] for k, v in enumerate(place)]), chart)
    if n_rows:
        grid = canvas.add_gridspec(
            n_rows, len(widths), width_ratios=widths, left=0.4 / width, right=1 - 0.1 / width,
            top=1 - top / height, bottom=1 - (top + body) / height, hspace=0.1 + extra / unit,
            wspace=0.12 if not charts else 0.38 if all(plotted) else 0.25,
        )  # fmt: skip
        _png_grid(canvas, grid, figure, width, height)
    file = io.BytesIO()
    canvas.savefig(file, format="png", metadata={"Software": "sgdc_viz"})
    return file.getvalue()


def _chart_height(chart: Plot | Effects) -> float:
    return 2.1 if isinstance(chart, Plot) else 0.33 * len(chart.entries) + 0.1


def _png_grid(canvas, grid, figure: Figure, width: float, height: float) -> None:
    n_rows, lead = len(figure.rows), figure.lead is not None
    if lead:
        place = grid[: min(2, n_rows), 0]
        _draw(canvas.add_subplot(place), figure.lead)
        box = place.get_position(canvas)
        if figure.lead.scale is not None:
            _draw_bar(canvas, (box.x0 + 0.25 * box.width, box.y0 - 0.16 / height, 0.5 * box.width, 0.09 / height),
                      figure.lead.scale)  # fmt: skip
    for r, row in enumerate(figure.cells):
        for c, cell in enumerate(row):
            place = grid[r, c + lead]
            box = place.get_position(canvas)
            if isinstance(cell, tuple):
                many = place.subgridspec(-(-len(cell) // 2), 2, wspace=0.06, hspace=0.28)
                for i, part in enumerate(cell):
                    ax = canvas.add_subplot(many[i // 2, i % 2])
                    _draw(ax, part)
                    ax.set_title(part.title, size=7, pad=2)
            else:
                ax = canvas.add_subplot(place)
                _draw(ax, cell)
                if isinstance(cell, Picture | Heat) and cell.title:
                    ax.set_title("\n".join(textwrap.wrap(cell.title, 40)), size=8, pad=3)
                if isinstance(cell, Picture) and cell.bar:
                    down = 0.16 / height
                    _draw_bar(canvas, (box.x0 + 0.04 * box.width, box.y0 - down, 0.92 * box.width, 0.09 / height),
                              cell.scale)  # fmt: skip
            if r == 0:
                head = "\n".join(textwrap.wrap(figure.columns[c].title, 30))
                canvas.text((box.x0 + box.x1) / 2, box.y1 + 0.16 / height, head, size=9, ha="center", va="bottom")
            if c == 0 and figure.rows[r]:
                size, name = (8, textwrap.fill(figure.rows[r], 22)) if figure.crowded else (
                    10, textwrap.fill(figure.rows[r], 24))  # fmt: skip
                canvas.text(box.x0 - 0.06 / width, (box.y0 + box.y1) / 2, name, size=size, weight="bold",
                            rotation=90, ha="right", va="center", multialignment="center")  # fmt: skip
            scale = figure.columns[c].scale
            if r == n_rows - 1 and scale is not None:
                _draw_bar(
                    canvas, (box.x0 + 0.04 * box.width, box.y0 - 0.16 / height, 0.92 * box.width, 0.09 / height), scale
                )


def _table_lines(table: tuple[tuple[str, ...], ...]) -> list[str]:
    """A large table as lines of equal columns, for a font of equal letters; a small one goes into the notes."""
    if len(table) < 5 and max((len(row) for row in table), default=0) < 4:
        return []
    wide = [max(len(row[c]) for row in table) for c in range(len(table[0]))]
    return ["   ".join(v.ljust(w) for v, w in zip(row, wide, strict=True)).rstrip() for row in table]


def _draw(ax, cell: Cell) -> None:
    if isinstance(cell, Words):
        ax.axis("off")
        lines = [wrapped for line in cell.lines for wrapped in textwrap.wrap(line, 30)]
        ax.text(0, 0.98, "\n".join(lines), size=8, va="top", transform=ax.transAxes, linespacing=1.4)
        return
    if isinstance(cell, Bars):
        colours = ["#d95f02" if i == cell.chosen else "#4c78a8" for i in range(len(cell.values))]
        ax.bar(np.arange(len(cell.values)), cell.values, color=colours)
        if cell.chosen is not None:
            ax.plot(cell.chosen, cell.scale.low - 0.05 * (cell.scale.high - cell.scale.low), "^", color="#d95f02",
                    clip_on=False, markersize=4)  # fmt: skip
        ax.set_ylim(cell.scale.low, cell.scale.high)
        ax.tick_params(labelsize=6, length=2, pad=1)
        ax.set_xticks([])
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel(cell.scale.label, size=7, labelpad=9)
        return
    if isinstance(cell, Plot):
        draw_plot(ax, cell)
        return
    if isinstance(cell, Effects):
        draw_effects(ax, cell)
        return
    ax.set_xticks([])
    ax.set_yticks([])
    if isinstance(cell, Heat):
        ax.imshow(_coloured(cell.values, cell.scale), interpolation="nearest")
        k = cell.values.shape[0] // 2
        _draw_box(ax, Box("centre", k - 0.5, k - 0.5, k + 0.5, k + 0.5, "centre"))
        return
    y0, x0, y1, x1 = cell.box
    pixels = cell.pixels if cell.scale is None else _coloured(cell.pixels, cell.scale)
    ax.imshow(pixels, extent=(x0, x1, y1, y0), interpolation="nearest")
    for outline in cell.outlines:
        colour, dashes = LINE_STYLES[outline.style]
        width = 0.45 if outline.fine else 0.9
        for curve in outline.curves:
            ax.plot(curve[:, 1], curve[:, 0], color="black", linewidth=2 * width)
            ax.plot(curve[:, 1], curve[:, 0], color=colour, linewidth=width, linestyle=dashes)
    for strokes in cell.strokes:
        _draw_strokes(ax, strokes)
    for box in (*cell.boxes, *([cell.mark] if cell.mark else [])):
        _draw_box(ax, box)
    wy0, wx0, wy1, wx1 = cell.window or cell.box
    ax.set_xlim(wx0, wx1)
    ax.set_ylim(wy1, wy0)


def _coloured(values: np.ndarray, scale: Scale) -> np.ndarray:
    return colour_table(scale.cmap)[scale.index(values)]


def _draw_bar(canvas, place: tuple[float, float, float, float], scale: Scale) -> None:
    bar = canvas.add_axes(place)
    bar.imshow(colour_table(scale.cmap)[None], aspect="auto", extent=(0, 1, 0, 1))
    bar.set_yticks([])
    bar.set_xticks([0, 0.5, 1], scale.ticks, size=7)
    bar.tick_params(length=2, pad=1)
    letters = min(38, int(20 * place[2] * canvas.get_figwidth()))  # as many as are as wide as the bar
    bar.set_xlabel("\n".join(textwrap.wrap(scale.label, letters)), size=7.5, labelpad=1)


def _draw_box(ax, box: Box) -> None:
    from matplotlib.patches import Rectangle

    colour, dashes = LINE_STYLES[box.style]
    for edge, line, width in (("black", "-", 2.2), (colour, dashes, 1.1)):
        ax.add_patch(Rectangle((box.x0, box.y0), box.x1 - box.x0, box.y1 - box.y0, fill=False, edgecolor=edge,
                               linewidth=width, linestyle=line))  # fmt: skip


def _draw_strokes(ax, strokes: Strokes) -> None:
    from matplotlib.collections import LineCollection

    lines = [line[:, ::-1] for line in strokes.lines]
    for colour, width in (("black", 2.0), (LINE_STYLES[strokes.style][0], 1.0)):
        ax.add_collection(LineCollection(lines, colors=colour, linewidths=width))
