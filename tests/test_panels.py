"""Figures, widget and displays that lessons use: panels, curves, the dial, several states in one picture, plotly."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from sgdc_viz.teach import show_plotly, show_states
from sgdc_viz.teach.dial import Dial, DialState, render
from sgdc_viz.views import Bars, Heat, Picture, Scale, curves, heat, panels, square

GREY = Scale("grey value (0 to 1)", 0.0, 1.0, "gray")
RAMP = np.linspace(0, 1, 6 * 8, dtype=np.float32).reshape(6, 8)
TOLD = dict(title="A title", message="See this.", alt="What it means.")


def some_panels(**more):
    cells = {"one": RAMP, "two": RAMP > 0.5, "photo": np.zeros((6, 8, 3), np.uint8)}
    return panels(cells, scale=GREY, **{**TOLD, **more})


def some_curves(**more):
    x = np.arange(5)
    plots = {"left": {"a": (x, x), "b": (x, 2 * x)}, "right": {"b": (x, -x, -x - 1, -x + 1)}}
    return curves(plots, x_label="steps", **{"y_label": "loss", **TOLD, **more})


def test_panels_put_every_cell_under_its_name_on_one_scale():
    figure = some_panels(columns=2)
    pictures = [cell for row in figure.cells for cell in row if isinstance(cell, Picture)]
    assert [p.title for p in pictures] == ["one", "two", "photo"] and len(figure.rows) == 2
    assert pictures[0].scale == pictures[1].scale == GREY and pictures[2].scale is None
    assert np.array_equal(pictures[1].pixels, (RAMP > 0.5).astype(np.float32))
    html = figure.to_html()
    assert all(name in html for name in ("one", "two", "photo", "grey value (0 to 1)"))
    assert Image.open(io.BytesIO(figure.to_png())).width > 300


def test_panels_of_different_quantities_have_a_scale_each():
    other = Scale("gain", 0.0, 2.0, "magma")
    figure = panels({"one": RAMP, "two": 2 * RAMP}, scale={"one": GREY, "two": other}, **TOLD)
    one, two = figure.cells[0]
    assert one.scale == GREY and two.scale == other and one.bar and two.bar
    assert figure.columns[0].scale is None  # no colour bar that would seem to belong to both


def test_panels_take_ready_cells():
    kernel = heat(square(np.arange(9) / 36), GREY)
    x = np.arange(3)
    plot = some_curves().strip[0]
    figure = panels({"kernel": kernel, "curve": plot, "weights": Bars(x / 3, GREY, "weights", chosen=1)}, **TOLD)
    assert isinstance(figure.cells[0][0], Heat) and figure.cells[0][0].title == "kernel"
    assert figure.cells[0][0].values[0, 1] == pytest.approx(1 / 36)  # row by row
    assert figure.to_png() and "kernel" in figure.to_html()


def test_panels_say_what_is_missing():
    with pytest.raises(ValueError, match="at least one picture"):
        panels({}, **TOLD)
    with pytest.raises(ValueError, match="the map 'one' needs a scale"):
        panels({"one": RAMP}, **TOLD)
    with pytest.raises(ValueError, match="the map 'two' needs a scale"):
        panels({"one": RAMP, "two": RAMP}, scale={"one": GREY}, **TOLD)
    with pytest.raises(ValueError, match="8 weights do not make a square"):
        square(np.ones(8))


def test_curves_give_a_name_the_same_look_everywhere_and_one_axis():
    figure = some_curves()
    left, right = figure.strip
    assert {s.label: s.style for s in left.series} == {"a": 0, "b": 1}
    assert right.series[0].style == 1 and right.series[0].low[4] == -5
    assert left.y_range == right.y_range and left.y_range[0] < -5 and left.y_range[1] > 8
    assert figure.legend == (("series-0", "a"), ("series-1", "b"))
    own = some_curves(y_range={"left": (0, 9), "right": (-9, 0)}, y_label={"left": "loss", "right": "gain"})
    assert [(p.y_range, p.y_label) for p in own.strip] == [((0, 9), "loss"), ((-9, 0), "gain")]
    assert own.to_png() and "loss" in own.to_html()


def test_curves_refuse_what_cannot_be_read():
    x = np.arange(2)
    with pytest.raises(ValueError, match="at least one plot"):
        curves({}, x_label="x", y_label="y", **TOLD)
    with pytest.raises(ValueError, match="8 lines: at most 7"):
        curves({"all": {str(i): (x, x) for i in range(8)}}, x_label="x", y_label="y", **TOLD)


# --- the dial --------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn():
    """Which values were drawn, and how often."""
    return []


@pytest.fixture
def dial(drawn):
    def figure(label):
        def draw():
            drawn.append(label)
            return some_panels(title=f"At {label}")

        return draw

    return Dial("size", {label: figure(label) for label in ("1", "8", "whole image")}, "8")


@pytest.mark.parametrize("label", ["1", "8", "whole image"])  # minimum, default, maximum
def test_the_dial_shows_its_value_by_any_way(dial, label):
    dial.turn(label)
    by_code = dial.picture.detail
    assert f"At {label}" in by_code and dial.slider.value == label and dial.state == DialState(label)
    dial.turn("8" if label != "8" else "1")
    dial.slider.value = label
    assert dial.picture.detail == by_code and dial.state == DialState(label)


def test_an_invalid_value_leaves_the_dial_as_it_is(dial):
    before = dial.picture.detail
    with pytest.raises(ValueError, match="'9' is none of 1, 8, whole image"):
        dial.turn("9")
    assert dial.picture.detail == before and dial.state == DialState("8") and dial.slider.value == "8"
    with pytest.raises(ValueError, match="is none of"):
        Dial("size", {"1": some_panels}, "2")
    with pytest.raises(ValueError, match="at least one value"):
        Dial("size", {})
    with pytest.raises(ValueError, match="is none of"):
        render({"1": some_panels}, DialState("2"))


def test_each_value_is_drawn_once(dial, drawn):
    for label in ("1", "8", "1", "whole image", "8"):
        dial.turn(label)
    assert sorted(drawn) == ["1", "8", "whole image"]


def test_what_a_reader_without_kernel_gets(dial):
    assert not re.search(r"0x[0-9a-f]{6}", repr(dial)) and "8" in repr(dial)
    assert list(dial.still("1", "whole image")) == ["1", "whole image"]
    with pytest.raises(ValueError, match="2 to 4"):
        dial.still("1")
    with pytest.raises(ValueError, match="is none of"):
        dial.still("1", "2")


# --- displays --------------------------------------------------------------------------------------------------------


@pytest.fixture
def displayed(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, metadata=None, raw=False: shown.append((data, metadata))
    )
    return shown


def test_states_stand_below_each_other_in_one_picture(displayed):
    one, two = some_panels(), some_panels(columns=1)
    show_states({"small": one, "large": two}, alt="A conclusion.")
    ((data, metadata),) = displayed
    sizes = [Image.open(io.BytesIO(f.to_png())).size for f in (one, two)]
    whole = Image.open(io.BytesIO(data["image/png"])).size
    assert whole == (max(w for w, _ in sizes), sum(h + 26 for _, h in sizes))
    assert metadata["image/png"]["alt"] == "A conclusion."
    assert "small" in data["text/plain"] and "large" in data["text/plain"]
    for count in (1, 5):
        with pytest.raises(ValueError, match="2 to 4 states"):
            show_states({str(i): one for i in range(count)}, alt="x")


def test_a_plotly_figure_travels_with_its_still_picture(displayed):
    from plotly import graph_objects

    surface = graph_objects.Figure(graph_objects.Surface(z=RAMP))
    show_plotly(surface, some_panels())
    ((data, metadata),) = displayed
    held = data["application/vnd.plotly.v1+json"]
    assert held["data"][0]["type"] == "surface" and json.dumps(held)
    assert Image.open(io.BytesIO(data["image/png"])).width > 300
    assert metadata["image/png"]["alt"] == "What it means." and "<script" not in json.dumps(held)
