"""Widgets of the notebooks: pure render functions, the Python side of a click, and one run in a real JupyterLab."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace

import nbformat
import numpy as np
import pytest
from PIL import Image

from sgdc_viz.explore import Explorer
from sgdc_viz.teach import show, show_table
from sgdc_viz.teach.show import small_png
from sgdc_viz.teach.widgets import ESM, KernelMicroscope, MicroscopeState, render, still
from sgdc_viz.views.style import number

HEIGHT, WIDTH = 45, 62  # odd and even; neither a multiple of 16
STATES = {"minimum": (0, 0, 0), "default": (20, 31, None), "maximum": (HEIGHT - 1, WIDTH - 1, 23)}
INVALID = {
    "above": (-1, 0, None), "below": (HEIGHT, 0, None), "left": (0, -1, None), "right": (0, WIDTH, None),
    "no such channel": (0, 0, 24), "negative channel": (0, 0, -1),
}  # fmt: skip


@pytest.fixture(scope="module")
def pair():
    """Random weights, so that these tests need no trained network."""
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return Explorer().look("untrained", image)


@pytest.fixture
def widget(pair):
    return KernelMicroscope(pair, 20, 31)


# --- the pure function -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATES)
def test_render_tells_the_networks_own_value(pair, name):
    state = MicroscopeState(*STATES[name])
    html = render(pair, state)
    assert html == render(pair, state)  # pure
    assert f'data-y="{state.y}" data-x="{state.x}"' in html
    for network, run in pair.runs.items():
        own = run.at(state.pixel).model_dynamic
        channel = int(own.abs().argmax()) if state.channel is None else state.channel
        told = rf"{network}, channel {channel}: [^;]*; the network computed {re.escape(number(own[channel].item()))}"
        assert re.search(told, html)
    assert html.count("<figure") == html.count("</figure>") == 2


@pytest.mark.parametrize("name", INVALID)
def test_render_refuses_an_invalid_state(pair, name):
    with pytest.raises(ValueError, match="outside the image|channel"):
        render(pair, MicroscopeState(*INVALID[name]))


@pytest.mark.parametrize("bad", [(0.5, 0, None), ("1", 0, None), (0, None, None), (0, 0, 1.5)])
def test_a_state_holds_whole_numbers(bad):
    with pytest.raises(ValueError, match="must be a whole number"):
        MicroscopeState(*bad)


def test_a_state_takes_numpys_whole_numbers():
    assert MicroscopeState(np.int64(3), np.uint8(4)) == MicroscopeState(3, 4)


# --- the widget: a thin shell ----------------------------------------------------------------------------------------


def shown(widget):
    return widget.state.pixel, widget.row.value, widget.column.value, tuple(widget.figures.pixel), widget.figures.detail


def test_all_ways_to_choose_a_pixel_show_the_same(widget, pair):
    def click_in_the_browser():
        widget.figures.pixel = [7, 9]  # what linked.js sends

    def type_it():
        widget.row.value = 7
        widget.column.value = 9

    for choose in (lambda: widget.click(7, 9), click_in_the_browser, type_it):
        widget.click(20, 31)
        choose()
        assert shown(widget) == ((7, 9), 7, 9, (7, 9), render(pair, MicroscopeState(7, 9)))


def test_following_a_channel(widget, pair):
    widget.follow(5)
    assert widget.channel.value == 5 and widget.figures.detail == render(pair, MicroscopeState(20, 31, 5))
    widget.channel.value = -1
    assert widget.state.channel is None and widget.figures.detail == render(pair, MicroscopeState(20, 31))


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_click_leaves_the_widget_as_it_is(widget, name):
    before = shown(widget)
    y, x, channel = INVALID[name]
    with pytest.raises(ValueError, match="outside the image|channel"):
        widget.click(y, x) if channel is None else widget.follow(channel)
    assert shown(widget) == before


@pytest.mark.parametrize("name", INVALID)
def test_no_widget_is_made_in_an_invalid_state(pair, name):
    with pytest.raises(ValueError, match="outside the image|channel"):
        KernelMicroscope(pair, *INVALID[name])


def test_a_click_renders_once(widget, monkeypatch):
    rendered = []
    real = widget.render
    monkeypatch.setattr(widget, "render", lambda state: rendered.append(state) or real(state))
    widget.click(3, 4)
    widget.click(3, 4)  # nothing new
    assert rendered == [MicroscopeState(3, 4)]


def test_typing_cannot_leave_the_image(widget):
    widget.row.value = 10_000
    widget.column.value = -3
    assert widget.state.pixel == (HEIGHT - 1, 0)


def test_what_a_reader_without_kernel_gets_is_stable(widget):
    text = widget._repr_mimebundle_()["text/plain"]
    assert text == repr(widget) and "row 20, column 31" in text and "0x" not in text and len(text) < 110
    fields = (widget.row, widget.column, widget.channel)
    assert [field.description for field in fields] == ["row y", "column x", "channel"]


def test_the_script_asks_no_other_host():
    assert not re.search(r"https?://|import\s*\(|\bfetch\b", ESM)


# --- its static twin -------------------------------------------------------------------------------------------------


def test_still_shows_the_kernels_of_its_states_on_one_scale(pair):
    # pool_size 8 at stride 2: blocks of 16 image pixels. A and B lie in one, C does not.
    pixels = {"A, here": (17, 18), "B, same block": (30, 31), "C, there": (5, 50)}
    states = {label: MicroscopeState(*pixel) for label, pixel in pixels.items()}
    figure = still(pair, states)
    assert figure.rows == ("image", "guided", "pooled") and [c.title for c in figure.columns] == list(states)
    heats = []
    for row, run in zip(figure.cells[1:], pair.runs.values(), strict=True):
        for cell, state in zip(row, states.values(), strict=True):
            np.testing.assert_array_equal([h.values for h in cell], run.at(state.pixel).kernels.double())
            heats += cell
    (scale,) = {heat.scale for heat in heats}
    assert scale.high == max(heat.values.max() for heat in heats)
    assert "Pooled: A and B have one and the same kernels." in figure.alt and "Guided: all differ." in figure.alt
    assert Image.open(io.BytesIO(figure.to_png(60))).width > 300


def test_still_marks_footprint_and_shared_block(pair):
    figure = still(pair, {"A": MicroscopeState(17, 18), "B": MicroscopeState(5, 50)})
    solid, dashed = figure.cells[0][0].boxes
    assert (solid.y0, solid.x0, solid.y1, solid.x1) == pair.runs["guided"].at((17, 18)).box
    assert (dashed.y0, dashed.x0, dashed.y1, dashed.x1, dashed.style) == (16, 16, 32, 32, "block")


@pytest.mark.parametrize("count", [1, 5])
def test_still_wants_two_to_four_states(pair, count):
    with pytest.raises(ValueError, match=f"2 to 4 states, got {count}"):
        still(pair, {str(i): MicroscopeState(i, i) for i in range(count)})


def test_still_refuses_a_pixel_outside(pair):
    with pytest.raises(ValueError, match="outside the image"):
        still(pair, {"A": MicroscopeState(0, 0), "B": MicroscopeState(HEIGHT, 0)})


# --- pictures and tables ---------------------------------------------------------------------------------------------


@pytest.fixture
def displayed(monkeypatch):
    calls = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **kwargs: calls.append((args, kwargs)))
    return calls


def test_show_gives_every_picture_an_alt_text(pair, displayed):
    figure = pair.kernels((3, 4))
    show(figure)
    show(figure, alt="what it means")
    for (bundle,), kwargs in displayed:
        assert kwargs["raw"] and Image.open(io.BytesIO(bundle["image/png"])).format == "PNG"
        assert figure.message in bundle["text/plain"]
    assert [kwargs["metadata"]["image/png"]["alt"] for _, kwargs in displayed] == [figure.alt, "what it means"]


def test_small_pictures_keep_their_colours(pair):
    ramp = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1) * 4  # noise has too many colours
    calm = replace(pair, image=np.dstack([ramp, ramp[..., :1]]).astype(np.uint8))
    png = calm.overview((3, 4)).to_png()
    small = small_png(png)
    before, after = (np.asarray(Image.open(io.BytesIO(p)).convert("RGB")).astype(int) for p in (png, small))
    assert len(small) < len(png) / 2
    assert abs(before - after).max() <= 20  # of 255


def test_a_table_has_equal_rows(displayed):
    show_table(["a", "b"], [["1", "2"]])
    ((table,), _), = displayed  # fmt: skip
    assert table.data.splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
    with pytest.raises(ValueError, match="a row has 1 cells and the head 2"):
        show_table(["a", "b"], [["1"]])


# --- a real JupyterLab -----------------------------------------------------------------------------------------------

CELL = f"""
import numpy as np
from sgdc_viz.explore import Explorer
from sgdc_viz.teach.widgets import KernelMicroscope
image = np.random.default_rng(0).integers(0, 256, ({HEIGHT}, {WIDTH}, 3)).astype(np.uint8)
pair = Explorer().look("untrained", image)
display(KernelMicroscope(pair, 20, 31), KernelMicroscope(pair, 1, 2))
"""


@pytest.fixture
def lab(tmp_path):
    """Address of a JupyterLab that knows one notebook and no setting of the person who runs the tests."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}  # without it, Lab opens a dialogue
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata={"kernelspec": kernel})
    (tmp_path / "work").mkdir()
    nbformat.write(notebook, tmp_path / "work" / "try.ipynb")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    own = {name: str(tmp_path / name.lower()) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR",
    )}  # fmt: skip
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
               "--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path / 'work'}",
               "--LabApp.news_url=None", "--LabApp.extension_manager=readonly"]  # fmt: skip
    with open(tmp_path / "lab.log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env={**os.environ, **own},
                                  stdout=log, stderr=subprocess.STDOUT)  # fmt: skip
    try:
        for _ in range(300):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (tmp_path / "lab.log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.browser
def test_click_keys_and_fields_in_jupyterlab(lab, chromium, pair):
    from playwright import sync_api as playwright

    playwright.expect.set_options(timeout=20_000)
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(**chromium)
        page = browser.new_page(viewport={"width": 1366, "height": 1600})
        page.set_default_timeout(60_000)
        errors, hosts = [], set()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.goto(f"{lab}/lab/tree/try.ipynb")
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").click()
        page.get_by_text(re.compile(r"Python 3.*\| Idle")).wait_for()  # Shift+Enter is lost while the kernel starts
        page.keyboard.press("Shift+Enter")

        first, second = page.locator(".sg-notebook").nth(0), page.locator(".sg-notebook").nth(1)
        kernels, picture = first.locator("[data-figure=kernels]"), first.locator(".sg-lead svg")
        fields = page.locator(".widget-hbox input")

        def expect(y, x):
            playwright.expect(kernels).to_have_attribute("data-y", str(y))
            playwright.expect(kernels).to_have_attribute("data-x", str(x))
            playwright.expect(fields.nth(0)).to_have_value(str(y))
            playwright.expect(fields.nth(1)).to_have_value(str(x))

        picture.wait_for()  # the cell imports torch first
        expect(20, 31)
        # The picture fits a 62 x 45 image into its square; ask the SVG itself where a pixel is.
        where = picture.evaluate(
            "svg => { const p = new DOMPoint(10.5, 12.5).matrixTransform(svg.getScreenCTM()); return [p.x, p.y]; }"
        )
        page.mouse.click(*where)
        expect(12, 10)
        page.keyboard.press("Escape")  # command mode, where arrow keys belong to JupyterLab, except on the picture
        picture.focus()
        page.keyboard.press("ArrowRight")
        expect(12, 11)
        page.keyboard.press("Shift+ArrowDown")
        expect(22, 11)
        fields.nth(0).fill("3")
        fields.nth(0).press("Enter")
        expect(3, 11)
        told = first.locator("[data-figure=microscope] .sg-summary")
        own = pair.runs["guided"].at((3, 11)).model_dynamic
        value = number(own[int(own.abs().argmax())].item())
        playwright.expect(told).to_contain_text(f"the network computed {value}")
        # The mark has moved with the pixel (feature row 1, column 5; 7 x 7 taps of 2 pixels) in this widget alone.
        mark, other = (w.locator(".sg-lead .sg-mark .sg-line") for w in (first, second))
        playwright.expect(mark).to_have_attribute("y", "-4")
        playwright.expect(mark).to_have_attribute("x", "4")
        playwright.expect(second.locator("[data-figure=kernels]")).to_have_attribute("data-y", "1")
        playwright.expect(other).to_have_attribute("y", "-6")
        browser.close()
    assert hosts == {lab.removeprefix("http://")}
    assert errors == []
