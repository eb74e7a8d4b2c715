"""Charts beside pictures: lines over a quantity (`Plot`) and effects as points with intervals (`Effects`).

Each is drawn twice, as inline SVG and by matplotlib, like every cell of a `Figure`. Colour never tells things apart
alone: each series has its own dashes and its own marker as well.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from html import escape

import numpy as np

from .style import MINUS, number

# colour (readable on white and on dark pages), SVG dashes, matplotlib dashes, marker
SERIES = (
    ("#d95f02", "none", "-", "o"),
    ("#2f7de1", "7 4", (0, (5, 3)), "s"),
    ("#1b9e77", "2 3", (0, (1.5, 1.8)), "^"),
    ("#9467bd", "9 3 2 3", (0, (6, 2, 1.5, 2)), "D"),
    ("#808080", "4 2", (0, (3, 1.5)), "x"),
    ("#e7298a", "1 4", (0, (1, 3)), "v"),
    ("#17a2b8", "14 3", (0, (9, 2)), "+"),
)
MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle",
    "D": "diamond",
    "x": "cross",
    "v": "triangle down",
    "+": "plus",
}
SHAPES = {"o": "M0 -3.4A3.4 3.4 0 1 1 -0.01 -3.4Z", "s": "M-3 -3H3V3H-3Z", "^": "M0 -4L3.8 3H-3.8Z",
          "D": "M0 -4.2L4.2 0L0 4.2L-4.2 0Z", "x": "M-3 -3L3 3M3 -3L-3 3", "v": "M0 4L3.8 -3H-3.8Z",
          "+": "M-4 0H4M0 -4V4"}  # fmt: skip
WIDE, HIGH = 280, 205  # units of the SVG; its text is 12 units high
NARROW = 236  # units, where four or more stand side by side: drawn smaller, their text would be too small to read
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 26, 42
LETTER = 6.7  # width of a digit


@dataclass(frozen=True, eq=False)
class Series:
    """One line: y over x, float [n]; NaN leaves a gap. low, high: float [n], the shaded interval. style: its look."""

    label: str
    x: np.ndarray
    y: np.ndarray
    style: int
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def __post_init__(self):
        if not 0 <= self.style < len(SERIES):
            raise ValueError(f"series {self.label!r}: at most {len(SERIES)} lines can be told apart; draw fewer.")


@dataclass(frozen=True, eq=False)
class Plot:
    """Lines on common axes.

    Attributes:
        title: what is drawn, above it.
        series: the lines.
        x_label, y_label: quantity and unit.
        y_range: (low, high); plots that are compared get the same.
        alt: one sentence for those who do not see it, with the conclusion.
        zero: name of x = 0, drawn as a vertical line ("" draws none).
        mark: (x, name) of one more vertical line, dashed, such as the chosen step.
        ticks: (x, text) pairs in place of numbers at the x axis.
        level: name of y = 0, drawn as a horizontal line ("" draws none).
    """

    title: str
    series: tuple[Series, ...]
    x_label: str
    y_label: str
    y_range: tuple[float, float]
    alt: str
    zero: str = ""
    mark: tuple[float, str] | None = None
    ticks: tuple[tuple[float, str], ...] = ()
    level: str = ""

    @property
    def x_range(self) -> tuple[float, float]:
        xs = np.concatenate([np.asarray(s.x, float) for s in self.series])
        low, high = float(xs.min()), float(xs.max())
        if self.ticks:  # named places: air for their names
            return low - 0.4, high + 0.5
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    @property
    def x_ticks(self) -> tuple[tuple[float, str], ...]:
        return self.ticks or tuple((v, _tick(v)) for v in nice_ticks(*self.x_range))


@dataclass(frozen=True)
class Effect:
    """One row of `Effects`.

    Attributes:
        label: what was done.
        value: its effect.
        low, high: 95 % interval; None for one image.
        control: drawn as a hollow square.
        beside: a second value on the same axis, drawn as a cross (such as the effect away from the outline).
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    control: bool = False
    beside: float | None = None


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects as points on a common axis, with zero marked.

    Attributes:
        title, axis: what is measured; quantity and unit.
        entries: rows, from the top; NaN values are written as "undefined".
        alt: one sentence for those who do not see it, with the conclusion.
        zero: what zero means.
        plus: write the sign of positive values (for changes; not for amounts).
    """

    title: str
    entries: tuple[Effect, ...]
    axis: str
    alt: str
    zero: str = "unchanged"
    plus: bool = True

    def written(self, entry: Effect) -> str:
        """The value of a row as text."""
        return signed(entry.value) if self.plus else number(entry.value, 2)

    @property
    def x_range(self) -> tuple[float, float]:
        """Holds every point, every interval and zero."""
        values = [v for e in self.entries for v in (e.value, e.low, e.high, e.beside) if v is not None]
        return padded_range([0.0, *values])


def padded_range(*values: np.ndarray) -> tuple[float, float]:
    """(low, high) around all finite values, with a little air; never of width zero."""
    known = np.concatenate([np.ravel(np.asarray(v, float)) for v in values])
    known = known[np.isfinite(known)]
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    air = 0.06 * (high - low) if high - low > 1e-9 else max(abs(high), 1e-3) / 2
    return low - air, high + air


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers inside [low, high]."""
    from matplotlib.ticker import MaxNLocator

    span = high - low
    ticks = MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(t) + 0.0 for t in ticks if low - 1e-9 * span <= t <= high + 1e-9 * span]


def _tick(value: float) -> str:
    return f"{round(value, 12) + 0.0:g}".replace("-", MINUS)


def signed(value: float) -> str:
    """A change as people write it: always with its sign; "0" without."""
    text = number(value, 2)
    return f"+{text}" if value > 0 and text != "0" else text


# --- SVG -------------------------------------------------------------------------------------------------------------


def key_svg(style: int) -> str:
    """The sample of a line in a legend."""
    colour, dashes, _, marker = SERIES[style]
    return (
        f'<svg class="sg-sample" viewBox="0 0 34 12" aria-hidden="true">'
        f'<path d="M0 6H34" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        f"{_marker(marker, 17, 6, colour)}</svg>"
    )


def _marker(marker: str, x: float, y: float, colour: str) -> str:
    fill = "none" if marker in "x+" else colour
    return f'<path d="{SHAPES[marker]}" transform="translate({x:.1f} {y:.1f})" fill="{fill}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", css: str = "", turn: bool = False) -> str:
    move = f' transform="rotate(-90 {x:g} {y:g})"' if turn else ""
    css = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}{move}>{escape(text)}</text>'


def plot_svg(plot: Plot, wide: int = WIDE) -> str:
    """wide: units of the SVG from left to right."""
    (x0, x1), (y0, y1) = plot.x_range, plot.y_range
    end = wide - RIGHT

    def place(x, y):
        u = LEFT + (np.asarray(x, float) - x0) / (x1 - x0) * (end - LEFT)
        v = HIGH - BOTTOM - (np.asarray(y, float) - y0) / (y1 - y0) * (HIGH - TOP - BOTTOM)
        return u, np.clip(v, TOP, HIGH - BOTTOM)

    bottom = HIGH - BOTTOM
    parts = [_text(LEFT, 14, plot.title, css="sg-strong")]
    widest = 0  # letters of a number at the left axis
    for value in nice_ticks(y0, y1):
        v, told = float(place(x0, value)[1]), _tick(value)
        widest = max(widest, len(told))
        parts.append(f'<path class="sg-rule" d="M{LEFT} {v:.1f}H{end}"/>')
        parts.append(_text(LEFT - 5, v + 4, told, "end"))
    parts.append(f'<path class="sg-edge" d="M{LEFT} {TOP}V{bottom}H{end}"/>')
    shown = -np.inf  # where the last number under the axis ends; one that would touch it is left out
    for value, text in plot.x_ticks:
        u, half = float(place(value, y0)[0]), LETTER * len(text) / 2
        parts.append(f'<path class="sg-edge" d="M{u:.1f} {bottom}v4"/>')
        if u - half > shown:
            parts.append(_text(u, bottom + 16, text, "middle"))
            shown = u + half + 2
    names = []  # on top of the lines
    for value, name, css in _uprights(plot):
        u = float(place(value, y0)[0])
        side, du = ("start", 6) if u < 0.7 * wide else ("end", -6)
        parts.append(f'<path class="{css}" d="M{u:.1f} {TOP}V{bottom}"/>')
        names.append(_text(u + du, TOP + 8, name, side, "sg-name"))
    if plot.level and y0 <= 0 <= y1:
        v = float(place(x0, 0)[1])
        parts.append(f'<path class="sg-zero" d="M{LEFT} {v:.1f}H{end}"/>')
        names.append(_text(end - 2, v + 11, plot.level, "end", "sg-name"))
    parts += [_line_svg(s, place) for s in plot.series] + names
    parts.append(_text((LEFT + end) / 2, HIGH - 8, plot.x_label, "middle"))
    beside = min(12, LEFT - 12 - LETTER * widest)  # left of the longest number
    parts.append(_text(round(beside, 1), (TOP + bottom) / 2, plot.y_label, "middle", turn=True))
    return (
        f'<svg class="sg-chart" role="img" aria-label="{escape(plot.alt)}" viewBox="0 0 {wide} {HIGH}">'
        f"{''.join(parts)}</svg>"
    )


def _uprights(plot: Plot) -> list[tuple[float, str, str]]:
    lines = [(0.0, plot.zero, "sg-zero")] if plot.zero and plot.x_range[0] <= 0 <= plot.x_range[1] else []
    return lines + ([(*plot.mark, "sg-chosen-step")] if plot.mark else [])


def _line_svg(s: Series, place) -> str:
    colour, dashes, _, marker = SERIES[s.style]
    parts = []
    for part in _runs(s.y):
        u, v = place(np.asarray(s.x)[part], np.asarray(s.y)[part])
        if s.low is not None:
            lower, upper = (place(np.asarray(s.x)[part], np.asarray(b)[part])[1] for b in (s.low, s.high))
            edge = [f"{a:.1f} {b:.1f}" for a, b in zip([*u, *u[::-1]], [*lower, *upper[::-1]], strict=True)]
            parts.append(f'<path d="M{"L".join(edge)}Z" fill="{colour}" fill-opacity="0.2"/>')
        line = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(u, v, strict=True))
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>')
        for i in _marked(len(u), s.style):
            parts.append(_marker(marker, u[i], v[i], colour))
    return f"<g><title>{escape(s.label)}</title>{''.join(parts)}</g>"


def _runs(y: np.ndarray) -> list[slice]:
    """The stretches without NaN."""
    there = np.isfinite(np.asarray(y, float))
    edges = np.flatnonzero(np.diff(np.r_[False, there, False]))
    return [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _marked(n: int, style: int) -> list[int]:
    """Which points get a marker: all of a few; else about six, at other places for each series."""
    return list(range(n)) if n <= 8 else list(range((style * n // 24) % max(1, n // 6), n, max(1, n // 6)))


ROW = 36  # units a row of `Effects`: its words, and the line below them


def effects_svg(chart: Effects) -> str:
    x0, x1 = chart.x_range
    left, right, top = 8, 8, 26
    bottom = top + ROW * len(chart.entries) + 4

    def place(x: float) -> float:
        return left + (x - x0) / (x1 - x0) * (WIDE - left - right)

    def lanes(u: float) -> str:
        """A vertical line that leaves the words out."""
        return "".join(f"M{u:.1f} {top + ROW * i + 16}v16" for i in range(len(chart.entries)))

    parts = [_text(left, 14, chart.title, css="sg-strong")]
    for value in nice_ticks(x0, x1):
        parts.append(_text(place(value), bottom + 15, _tick(value), "middle"))
        parts.append(f'<path class="sg-rule" d="{lanes(place(value))}"/>')
    parts.append(f'<path class="sg-zero" d="{lanes(place(0))}"/>')
    parts.append(f'<path class="sg-edge" d="M{left} {bottom}H{WIDE - right}"/>')
    for i, entry in enumerate(chart.entries):
        y = top + ROW * i
        known = np.isfinite(entry.value)
        written = chart.written(entry)
        crowded = len(entry.label) + len(written) > 38  # letters that fit side by side
        parts.append(_text(left, y + 13, entry.label, css="sg-long" if crowded else ""))
        parts.append(_text(WIDE - right, y + 13, written, "end", css="sg-long" if crowded else ""))
        if not known:
            continue
        v, u = y + 24, place(entry.value)
        colour = SERIES[4][0] if entry.control else SERIES[0][0]
        if entry.low is not None:
            parts.append(f'<path d="M{place(entry.low):.1f} {v}H{place(entry.high):.1f}" stroke="{colour}" '
                         'stroke-width="2.5"/>')  # fmt: skip
        if entry.beside is not None and np.isfinite(entry.beside):
            parts.append(f'<path class="sg-beside" d="{SHAPES["x"]}" transform="translate({place(entry.beside):.1f} '
                         f'{v})"/>')  # fmt: skip
        shape, fill = (SHAPES["s"], "none") if entry.control else (SHAPES["o"], colour)
        parts.append(f'<path d="{shape}" transform="translate({u:.1f} {v}) scale(1.4)" fill="{fill}" '
                     f'stroke="{colour}" stroke-width="1.5"><title>{escape(entry.label)}: {number(entry.value)}'
                     "</title></path>")  # fmt: skip
    parts += [_text(WIDE / 2, bottom + 30 + 14 * i, line, "middle") for i, line in enumerate(_axis_lines(chart))]
    return (
        f'<svg class="sg-chart" role="img" aria-label="{escape(chart.alt)}" '
        f'viewBox="0 0 {WIDE} {bottom + 22 + 14 * len(_axis_lines(chart))}">{"".join(parts)}</svg>'
    )


def _axis_lines(chart: Effects) -> list[str]:
    return [*textwrap.wrap(chart.axis, 44), f"0 = {chart.zero}"]


# --- matplotlib ------------------------------------------------------------------------------------------------------


def draw_plot(ax, plot: Plot) -> None:
    ax.set_xlim(*plot.x_range)
    ax.set_ylim(*plot.y_range)
    for value, name, css in _uprights(plot):
        ax.axvline(value, color="black", linewidth=0.9, linestyle="-" if css == "sg-zero" else (0, (4, 2)))
        late = value > plot.x_range[0] + 0.7 * (plot.x_range[1] - plot.x_range[0])
        ax.annotate(name, (value, 1), xycoords=("data", "axes fraction"), xytext=(-2 if late else 2, -2),
                    textcoords="offset points", size=6.5, ha="right" if late else "left", va="top")  # fmt: skip
    if plot.level and plot.y_range[0] <= 0 <= plot.y_range[1]:
        ax.axhline(0, color="black", linewidth=0.9)
        ax.annotate(plot.level, (1, 0), xycoords=("axes fraction", "data"), xytext=(-2, -8), textcoords="offset points",
                    size=6.5, ha="right")  # fmt: skip
    for s in plot.series:
        colour, _, dashes, marker = SERIES[s.style]
        x, y = np.asarray(s.x, float), np.asarray(s.y, float)
        if s.low is not None:
            ax.fill_between(x, s.low, s.high, where=np.isfinite(y), color=colour, alpha=0.2, linewidth=0)
        ax.plot(x, y, color=colour, linestyle=dashes, linewidth=1.4, marker=marker, markersize=3.5,
                markevery=_marked(len(x), s.style))  # fmt: skip
    ax.set_title(plot.title, size=8.5, loc="left", pad=3, weight="bold")
    ax.set_xlabel(plot.x_label, size=7.5, labelpad=2)
    ax.set_ylabel(plot.y_label, size=7.5, labelpad=2)
    ax.set_xticks([v for v, _ in plot.x_ticks], [t for _, t in plot.x_ticks])
    ticks = nice_ticks(*plot.y_range)
    ax.set_yticks(ticks, [_tick(v) for v in ticks])
    _tidy(ax)
    ax.grid(axis="y", color="#cccccc", linewidth=0.5)
    ax.set_axisbelow(True)


def draw_effects(ax, chart: Effects) -> None:
    """Names to the left of the axes and values to the right, so that no line runs through them."""
    n, (left, bottom, width, height) = len(chart.entries), ax.get_position().bounds
    inches = width * ax.figure.get_figwidth()
    names = [textwrap.fill(entry.label, max(12, int(0.42 * inches / 0.057))) for entry in chart.entries]
    room = 0.1 + 0.057 * max((len(line) for name in names for line in name.splitlines()), default=0)
    room, values = room / inches, 0.06 * max((len(chart.written(e)) for e in chart.entries), default=0) / inches
    ax.set_position((left + room * width, bottom, (1 - room - values) * width, height))
    ax.set_xlim(*chart.x_range)
    ax.set_ylim(n, 0)
    ax.axvline(0, color="black", linewidth=0.9)
    for i, (entry, name) in enumerate(zip(chart.entries, names, strict=True)):
        for x, text, side in ((-0.02, name, "right"), (1.02, chart.written(entry), "left")):
            ax.text(x, i + 0.5, text, size=7, ha=side, va="center", transform=ax.get_yaxis_transform())
        if not np.isfinite(entry.value):
            continue
        colour = SERIES[4][0] if entry.control else SERIES[0][0]
        if entry.low is not None:
            ax.plot([entry.low, entry.high], [i + 0.5] * 2, color=colour, linewidth=1.8)
        if entry.beside is not None:
            ax.plot(entry.beside, i + 0.5, "x", color="black", markersize=4)
        ax.plot(entry.value, i + 0.5, "s" if entry.control else "o", color=colour, markersize=5,
                markerfacecolor="white" if entry.control else colour)  # fmt: skip
    ax.set_title(chart.title, size=8.5, loc="left", pad=3, weight="bold", x=-room / (1 - room - values))
    ax.set_xlabel("\n".join(_axis_lines(chart)), size=7.5, labelpad=2)
    ticks = nice_ticks(*chart.x_range, count=3)
    ax.set_xticks(ticks, [_tick(v) for v in ticks])
    ax.set_yticks([])
    _tidy(ax)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="both", color="#dddddd", linewidth=0.5)
    ax.set_axisbelow(True)


def _tidy(ax) -> None:
    ax.tick_params(labelsize=7, length=2, pad=2)
    ax.spines[["top", "right"]].set_visible(False)


def handles() -> list:
    """One legend handle for each look of a series."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=c, linestyle=d, marker=m, markersize=4, linewidth=1.4) for c, _, d, m in SERIES]
