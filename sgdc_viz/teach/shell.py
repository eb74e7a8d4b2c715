"""What all widgets share: two pieces of HTML with linked pictures, fields above them, and one way to change state."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anywidget
import ipywidgets
import traitlets

from sgdc_viz.views import CSS, LINKED_JS

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
    const picture = () => el.querySelector("svg[tabindex]");
    const reachable = () => {{
      if (!picture()) el.querySelector("svg.sg-linked")?.setAttribute("tabindex", "0");
    }};
    const watch = (_, read) => {{
      for (const name of ["overview", "detail"])
        model.on("change:" + name, () => {{
          const focused = picture() !== null && picture() === document.activeElement;
          parts[name].innerHTML = model.get(name);
          reachable();
          if (focused) picture()?.focus({{ preventScroll: true }}); // arrow keys go on, on the new picture
          read();
        }});
    }};
    reachable();
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
.sg-notebook .sg-training { --sg-unit: clamp(70px, (100cqw - 90px) / 6, 180px); }
.sg-notebook .sg-pooling .sg-table { display: none; }
.sg-notebook .sg-profile .sg-grid { flex: 1; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); }
.sg-notebook .sg-profile .sg-grid > * { grid-row: auto; grid-column: auto; }
.sg-notebook .sg-profile .sg-head { display: none; }
/* what a click tells stands above the pictures, where the fields are */
.sg-notebook:has(.sg-pixel) { display: flex; flex-direction: column-reverse; }
.sg-pixel .sg-title { font-size: 1em; }
.sg-pixel :is(.sg-title, .sg-message) { display: inline; margin-right: 0.6em; }
"""


class LinkedFigures(anywidget.AnyWidget):
    """Two pieces of HTML made by sgdc_viz.views; a click or an arrow key on a linked picture sets `pixel`."""

    _esm = ESM
    _css = CSS + NOTEBOOK_CSS
    overview = traitlets.Unicode().tag(sync=True)
    detail = traitlets.Unicode().tag(sync=True)
    pixel = traitlets.List(traitlets.Int(), minlen=2, maxlen=2).tag(sync=True)


class AtPixel:
    """What the states of all widgets have: y, x, the selected image pixel (row, column)."""

    y: int
    x: int

    @property
    def pixel(self) -> tuple[int, int]:
        return self.y, self.x


class Shell(ipywidgets.VBox):
    """Fields above linked pictures: what a click leaves as it is (`overview`), and what the click tells (`render`).

    A widget is a frozen state and pure functions of it. A subclass says what its state looks like (`overview`,
    `render`) and how its fields hold one (`read`, `write`). Every way to change the state ends in `_show`, which draws
    first: a state that cannot be drawn raises and leaves the widget as it is.

    Args:
        state: a frozen dataclass that is `AtPixel`.
        fields: attribute name -> field; `pixel_fields` among them.
        hint: what one can do, in a few words.
    """

    def __init__(self, state: Any, fields: Mapping[str, ipywidgets.Widget], hint: str):
        overview, detail = self.overview(state), self.render(state)  # first: an invalid state never becomes a widget
        self.state, self._showing = state, False
        self.figures = LinkedFigures(overview=overview, detail=detail, pixel=list(state.pixel))
        row = ipywidgets.HBox(
            [*fields.values(), ipywidgets.Label(hint)], layout=ipywidgets.Layout(flex_flow="row wrap")
        )
        super().__init__([row, self.figures])
        for name, field in fields.items():
            setattr(self, name, field)
            field.observe(self._typed, "value")
        self.figures.observe(lambda change: self.click(*change["new"]), "pixel")

    def overview(self, state: Any) -> str:
        """The part that does not depend on the pixel, as HTML."""
        return ""

    def render(self, state: Any) -> str:
        """What the widget tells in `state`, as HTML; changes nothing."""
        raise NotImplementedError

    def read(self) -> Any:
        """The state that the fields hold."""
        raise NotImplementedError

    def write(self, state: Any) -> None:
        """Put a state into the fields other than row and column."""
        raise NotImplementedError

    def click(self, y: int, x: int) -> None:
        """Do what a click on image pixel (y, x) = (row, column) does.

        Raises:
            ValueError: outside the image; the widget then stays as it is.
        """
        self._show(replace(self.state, y=y, x=x))

    def _typed(self, change: dict) -> None:
        if not self._showing:
            self._show(self.read())

    def _show(self, state: Any) -> None:
        if self._showing or state == self.state:  # fields and pictures are being set to what is shown already
            return
        overview, detail = self.overview(state), self.render(state)
        self.state, self._showing = state, True
        try:
            self.row.value, self.column.value = state.pixel
            self.write(state)
            self.figures.overview, self.figures.detail, self.figures.pixel = overview, detail, list(state.pixel)
        finally:
            self._showing = False

    def __repr__(self) -> str:
        return f"{type(self).__name__} at row {self.state.y}, column {self.state.x} (works while a kernel is running)"


def number(name: str, value: int, low: int, high: int) -> ipywidgets.BoundedIntText:
    """A field for a whole number."""
    return ipywidgets.BoundedIntText(
        value=value, min=low, max=high, description=name, layout=ipywidgets.Layout(width="150px"),
        style={"description_width": "65px"},
    )  # fmt: skip


def pixel_fields(pixel: tuple[int, int], shape: tuple[int, ...]) -> dict[str, ipywidgets.BoundedIntText]:
    """Fields for row and column in an image of `shape`."""
    return {"row": number("row y", pixel[0], 0, shape[0] - 1), "column": number("column x", pixel[1], 0, shape[1] - 1)}


def slider(name: str, options: list[tuple[str, Any]], value: Any, width: str = "330px") -> ipywidgets.SelectionSlider:
    """A slider over a few named values, with its readout; the arrow keys move it."""
    return ipywidgets.SelectionSlider(
        options=options, value=value, description=name, continuous_update=True, layout=ipywidgets.Layout(width=width),
        style={"description_width": "initial"},
    )  # fmt: skip


def whole_numbers(state: Any, *names: str) -> None:
    """Turn attributes of a frozen state into ints (numpy's whole numbers are welcome).

    Raises:
        ValueError: naming the attribute that is no whole number.
    """
    for name in names:
        value = getattr(state, name)
        try:
            object.__setattr__(state, name, operator.index(value))
        except TypeError:
            raise ValueError(f"{name}={value!r} must be a whole number.") from None


def check_count(count: int) -> None:
    """A still picture shows 2 to 4 states: fewer make no comparison, more no point."""
    if not 2 <= count <= 4:
        raise ValueError(f"a still picture shows 2 to 4 states, got {count}.")
