"""Widgets for notebooks: thin shells over pure functions, so what a click shows can be tested without a browser."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace

import anywidget
import ipywidgets
import torch
import traitlets

from sgdc_viz.explore import Pair
from sgdc_viz.views import CSS, LINKED_JS, Box, Column, Figure, Picture
from sgdc_viz.views.overview import check_pixel, footprint


@dataclass(frozen=True)
class MicroscopeState:
    """What the microscope shows: image pixel y (row), x (column); the channel to follow (None: the largest value)."""

    y: int
    x: int
    channel: int | None = None

    def __post_init__(self):
        for name in ("y", "x", "channel"):
            value = getattr(self, name)
            try:
                value = value if value is None and name == "channel" else operator.index(value)
            except TypeError:
                raise ValueError(f"{name}={value!r} must be a whole number.") from None
            object.__setattr__(self, name, value)

    @property
    def pixel(self) -> tuple[int, int]:
        return self.y, self.x


def render(pair: Pair, state: MicroscopeState) -> str:
    """Kernels and sum at one pixel, guided above pooled, as HTML. Pure: same pair and state, same text.

    Raises:
        ValueError: the pixel lies outside the image, or there is no such channel.
    """
    check_pixel(state.pixel, pair.image)
    return pair.kernels(state.pixel).to_html() + pair.microscope(state.pixel, state.channel).to_html()


def still(pair: Pair, states: Mapping[str, MicroscopeState]) -> Figure:
    """The static twin of the microscope: a few clicks side by side, all kernels on one scale.

    Args:
        states: label, such as "A, on a border" -> state; 2 to 4 of them.

    Raises:
        ValueError: not 2 to 4 states, or a pixel outside the image.
    """
    if not 2 <= len(states) <= 4:
        raise ValueError(f"a still picture shows 2 to 4 states, got {len(states)}.")
    for state in states.values():
        check_pixel(state.pixel, pair.image)
    figures = [pair.kernels(state.pixel) for state in states.values()]
    scale = replace(figures[0].columns[0].scale, high=max(f.columns[0].scale.high for f in figures))
    rows = [tuple(_place(pair, label, state) for label, state in states.items())]
    for r in range(len(pair.runs)):
        rows.append(tuple(tuple(replace(heat, scale=scale) for heat in f.cells[r][0]) for f in figures))
    told = " ".join(_alike(name, pair, states) for name in pair.runs)
    places = "; ".join(f"{label}: row {state.y}, column {state.x}" for label, state in states.items())
    return Figure(
        name="states",
        title=f"The same microscope after {len(states)} clicks",
        message="Top: where (solid, the kernel's reach; dashed, the pixels that share one pooled kernel). Below: the "
        "kernels of the heads.",
        summary=f"{told} {places}.",
        alt=f"Kernels of both networks at {len(states)} pixels. {told} {places}.",
        rows=("image", *pair.runs),
        columns=tuple(Column(label, scale if i == 0 else None) for i, label in enumerate(states)),
        cells=tuple(rows),
    )


def _place(pair: Pair, label: str, state: MicroscopeState) -> Picture:
    """The image around a pixel, with the kernel's footprint and the block of pixels that share one pooled kernel."""
    run = next(iter(pair.runs.values()))
    boxes = [footprint(state.pixel, run.stride, run.at(state.pixel).kernels.shape[-1])]
    for other in pair.runs.values():
        if other.pool_size is not None:
            side = other.pool_size * other.stride
            y, x = (n // side * side for n in state.pixel)
            boxes.append(Box("pixels that share one kernel", y, x, y + side, x + side, "block"))
    window = (state.y - 24, state.x - 24, state.y + 24, state.x + 24)
    return Picture(pair.image, f"{label}: the image around row {state.y}, column {state.x}.", boxes=tuple(boxes),
                   window=window)  # fmt: skip


def _alike(name: str, pair: Pair, states: Mapping[str, MicroscopeState]) -> str:
    """Which of the states have one and the same kernels, in words."""
    kernels = {label.split(",")[0]: pair.runs[name].at(state.pixel).kernels for label, state in states.items()}
    labels = list(kernels)
    same = [
        f"{a} and {b}"
        for i, a in enumerate(labels)
        for b in labels[i + 1 :]
        if torch.allclose(kernels[a], kernels[b], atol=1e-6)
    ]
    return f"{name.capitalize()}: " + (f"{', '.join(same)} have one and the same kernels." if same else "all differ.")


# The app's own script, run once for each view of the widget. Its `document` is this widget alone and its `window` an
# empty object, so two widgets in one notebook do not disturb each other.
ESM = f"""
function link(element, trigger, watch, window, document) {{
{LINKED_JS}
}}
export default {{
  render({{ model, el }}) {{
    const parts = {{}};
    el.classList.add("sg-notebook");
    el.dataset.lmSuppressShortcuts = "true"; // arrow keys are for the picture, not for JupyterLab's own shortcuts
    for (const name of ["overview", "detail"]) {{
      parts[name] = document.createElement("div");
      parts[name].innerHTML = model.get(name);
      el.append(parts[name]);
    }}
    const trigger = (event, data) => {{
      model.set("pixel", [data.index[1], data.index[0]]);
      model.save_changes();
    }};
    const watch = (_, read) => {{
      for (const name of ["overview", "detail"])
        model.on("change:" + name, () => {{
          parts[name].innerHTML = model.get(name);
          read();
        }});
    }};
    link(el, trigger, watch, {{}}, el);
  }},
}};
"""

# Widths follow the notebook's column, not the window. Picture and kernels must be seen together after a click, so the
# heads stand in one row and the overview leaves out its text (the notebook shows it as a picture of its own).
NOTEBOOK_CSS = """
.sg-notebook { container-type: inline-size; }
.sg-notebook .sg-figure { --sg-unit: clamp(80px, (100cqw - 80px) / 5, 200px); margin-bottom: 10px; }
.sg-notebook .sg-overview > :is(.sg-message, .sg-legend, .sg-summary) { display: none; }
.sg-notebook .sg-kernels .sg-grid { grid-template-columns: 22px minmax(0, calc(2.4 * var(--sg-unit))); }
.sg-notebook .sg-kernels .sg-many { grid-template-columns: repeat(4, 1fr); }
.sg-notebook .sg-kernels .sg-many .sg-plane { width: calc(0.48 * var(--sg-unit)); }
"""


class LinkedFigures(anywidget.AnyWidget):
    """Two pieces of HTML made by sgdc_viz.views; a click or an arrow key on a linked picture sets `pixel`."""

    _esm = ESM
    _css = CSS + NOTEBOOK_CSS
    overview = traitlets.Unicode().tag(sync=True)
    detail = traitlets.Unicode().tag(sync=True)
    pixel = traitlets.List(traitlets.Int(), minlen=2, maxlen=2).tag(sync=True)


class KernelMicroscope(ipywidgets.VBox):
    """Click a pixel, or type its row and column, and see what both networks did there: the app's click, here.

    Mouse: click any picture of the upper part. Keyboard: the arrow keys on the large picture (shift: ten pixels), or
    the three number fields. No network runs on a click; everything was recorded when `pair` was made.

    Args:
        pair: from `sgdc_viz.explore.Explorer.look`.
        y, x: image pixel (row, column) to begin with.
        channel: which channel to follow; None: in each network the one with the largest value.
        zoom: show 1/zoom of the picture at first.

    Raises:
        ValueError: the pixel lies outside the image, or there is no such channel.
    """

    def __init__(self, pair: Pair, y: int, x: int, channel: int | None = None, zoom: int = 1):
        self.pair, self.state = pair, MicroscopeState(y, x, channel)
        detail = render(pair, self.state)  # first, so that an invalid state never becomes a widget
        height, width = pair.image.shape[:2]
        channels = len(next(iter(pair.runs.values())).at(self.state.pixel).gate_static)
        self.row = _number("row y", self.state.y, 0, height - 1)
        self.column = _number("column x", self.state.x, 0, width - 1)
        self.channel = _number("channel", -1 if channel is None else channel, -1, channels - 1)
        self.figures = LinkedFigures(
            overview=pair.overview(self.state.pixel, zoom).to_html(), detail=detail, pixel=list(self.state.pixel)
        )
        hint = ipywidgets.Label("click a picture, or type here (channel −1: the largest value)")
        super().__init__([ipywidgets.HBox([self.row, self.column, self.channel, hint]), self.figures])
        self._showing = False
        self.figures.observe(lambda change: self.click(*change["new"]), "pixel")
        for field in (self.row, self.column, self.channel):
            field.observe(self._typed, "value")

    def render(self, state: MicroscopeState) -> str:
        """What the widget shows in `state`, as HTML; changes nothing."""
        return render(self.pair, state)

    def click(self, y: int, x: int) -> None:
        """Do what a click on image pixel (y, x) = (row, column) does.

        Raises:
            ValueError: outside the image; the widget then stays as it is.
        """
        self._show(replace(self.state, y=y, x=x))

    def follow(self, channel: int | None) -> None:
        """Follow another channel; None: in each network the one with the largest value.

        Raises:
            ValueError: no such channel; the widget then stays as it is.
        """
        self._show(replace(self.state, channel=channel))

    def _typed(self, change: dict) -> None:
        channel = None if self.channel.value < 0 else self.channel.value
        self._show(MicroscopeState(self.row.value, self.column.value, channel))

    def _show(self, state: MicroscopeState) -> None:
        if self._showing or state == self.state:  # fields and pictures are being set to what is shown already
            return
        detail = self.render(state)
        self.state, self._showing = state, True
        try:
            self.row.value, self.column.value = state.pixel
            self.channel.value = -1 if state.channel is None else state.channel
            self.figures.detail, self.figures.pixel = detail, list(state.pixel)
        finally:
            self._showing = False

    def __repr__(self) -> str:
        return f"KernelMicroscope at row {self.state.y}, column {self.state.x} (works while a kernel is running)"


def _number(name: str, value: int, low: int, high: int) -> ipywidgets.BoundedIntText:
    return ipywidgets.BoundedIntText(
        value=value, min=low, max=high, description=name, layout=ipywidgets.Layout(width="150px"),
        style={"description_width": "65px"},
    )  # fmt: skip
