"""The widgets in a real JupyterLab: mouse, keyboard and fields, as people use them."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec

import nbformat
import numpy as np
import pytest
from conftest import absent

from sgdc_viz.explore import Explorer
from sgdc_viz.teach.classroom import student_notebook
from sgdc_viz.views.style import number

HEIGHT, WIDTH = 45, 62
SETUP = f"""
import numpy as np
from sgdc_viz.explore import Explorer
from sgdc_viz.teach.widgets import BoundaryProfile, CausalPanel, KernelMicroscope, PoolingSlider
image = np.random.default_rng(0).integers(0, 256, ({HEIGHT}, {WIDTH}, 3)).astype(np.uint8)
truth = np.zeros(image.shape[:2], np.int32)
truth[10:30, 12:44] = 1
pair = Explorer().look("untrained", image, truth)
"""
CELLS = {
    "microscope": "display(KernelMicroscope(pair, 20, 31), KernelMicroscope(pair, 1, 2))",
    "others": "display(PoolingSlider(pair, 20, 31), CausalPanel(pair, 20, 31, changes=['guidance zeroed', "
    "'kernels uniform']), BoundaryProfile(pair, 20, 31))",
    "lesson": """
from plotly import graph_objects
from sgdc_viz.teach import show_plotly
from sgdc_viz.teach.widgets import Dial
from sgdc_viz.views import Scale, panels
def grey(value):
    return panels({"a map": np.full((9, 9), value)}, scale=Scale("value (0 to 1)", 0, 1, "gray"), title=f"At {value}",
                  message="Flat.", alt="A flat map.")
display(Dial("value", {str(v): lambda v=v: grey(v) for v in (0.0, 0.5, 1.0)}, "0.5"))
show_plotly(graph_objects.Figure(graph_objects.Heatmap(z=np.eye(9))), grey(0.5))
from sgdc_viz.teach.lessons.training import LiveTraining
live = LiveTraining(steps=20)
display(live)
step_done = live.follow("guided")
for step in range(1, 21):
    step_done(step, {"total": 3 / step})
""",
}

# A master with one exercise, whose reference solution goes when it is handed out.
GRADED = {"grade_id": "exercise_1_check", "grade": True, "points": 1, "locked": True, "solution": False, "task": False}
SOLVED = {**GRADED, "grade_id": "exercise_1", "grade": False, "locked": False, "solution": True}
UNSOLVED = nbformat.v4.new_notebook(
    metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    cells=[
        nbformat.v4.new_code_cell("from sgdc_viz.teach.checks import notebook_00 as check"),
        nbformat.v4.new_code_cell(
            "def judgement():\n    ### BEGIN SOLUTION\n    return {}\n    ### END SOLUTION",
            metadata={"nbgrader": SOLVED},
        ),
        nbformat.v4.new_code_cell("check.exercise_3(judgement)", metadata={"nbgrader": GRADED}),
        nbformat.v4.new_code_cell("print('went', 'on')"),
    ],
)


@pytest.fixture(scope="module")
def pair():
    """What the notebook makes: random weights, so that the test needs no trained network."""
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    truth = np.zeros(image.shape[:2], np.int32)
    truth[10:30, 12:44] = 1
    return Explorer().look("untrained", image, truth)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, token) of a JupyterLab that knows these notebooks and no setting of the person who runs the tests."""
    if find_spec("jupyterlab") is None:
        absent("jupyterlab")
    folder = tmp_path_factory.mktemp("lab")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}  # without it, Lab opens a dialogue
    (folder / "work").mkdir()
    for name, cell in CELLS.items():
        cells = [nbformat.v4.new_code_cell(SETUP + cell)]
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, folder / "work" / f"{name}.ipynb")
    (folder / "work" / "student.ipynb").write_text(json.dumps(student_notebook(UNSOLVED)))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    own = {name: str(folder / name.lower()) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR",
    )}  # fmt: skip
    token = secrets.token_hex(16)
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
               f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder / 'work'}",
               "--LabApp.news_url=None", "--LabApp.extension_manager=readonly"]  # fmt: skip
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env={**os.environ, **own},
                                  stdout=log, stderr=subprocess.STDOUT)  # fmt: skip
    try:
        for _ in range(600):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (folder / "lab.log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", token
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def opened(lab, browser, name):
    """The page of a notebook whose one cell has run; afterwards: no error in it, and no request left this machine."""
    from playwright.sync_api import expect

    address, token = lab
    expect.set_options(timeout=20_000)
    page = browser.new_page(viewport={"width": 1366, "height": 1600})
    try:
        page.set_default_timeout(60_000)
        errors, hosts = [], set()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.goto(f"{address}/lab/workspaces/{name}/tree/{name}.ipynb?token={token}")  # else Lab opens the last one too
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").click()
        page.get_by_text(re.compile(r"Python 3.*\| Idle")).wait_for()  # Shift+Enter is lost while the kernel starts
        page.keyboard.press("Shift+Enter")
        page.locator(".sg-notebook .sg-plane").first.wait_for()  # the cell imports torch first
        yield page, expect
    finally:
        page.close()
    assert hosts == {address.removeprefix("http://")}
    assert errors == []


def click_pixel(page, picture, y: int, x: int) -> None:
    """The image does not fill its square: ask the SVG itself where a pixel is."""
    picture.scroll_into_view_if_needed()
    where = picture.evaluate(
        "(svg, [x, y]) => { const p = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM()); return [p.x, p.y]; }",
        [x + 0.5, y + 0.5],
    )
    page.mouse.click(*where)


@pytest.mark.browser
def test_click_keys_and_fields_of_the_microscope(lab, browser, pair):
    with opened(lab, browser, "microscope") as (page, expect):
        first, second = page.locator(".sg-notebook").nth(0), page.locator(".sg-notebook").nth(1)
        kernels, picture = first.locator("[data-figure=kernels]"), first.locator(".sg-lead svg")
        fields = page.locator(".widget-hbox input")

        def shows(y, x):
            expect(kernels).to_have_attribute("data-y", str(y))
            expect(kernels).to_have_attribute("data-x", str(x))
            expect(fields.nth(0)).to_have_value(str(y))
            expect(fields.nth(1)).to_have_value(str(x))

        shows(20, 31)
        click_pixel(page, picture, 12, 10)
        shows(12, 10)
        page.keyboard.press("Escape")  # command mode, where arrow keys belong to JupyterLab, except on the picture
        picture.focus()
        page.keyboard.press("ArrowRight")
        shows(12, 11)
        page.keyboard.press("Shift+ArrowDown")
        shows(22, 11)
        fields.nth(0).fill("3")
        fields.nth(0).press("Enter")
        shows(3, 11)
        told = first.locator("[data-figure=microscope] .sg-summary")
        own = pair.runs["guided"].at((3, 11)).model_dynamic
        value = number(own[int(own.abs().argmax())].item())
        expect(told).to_contain_text(f"the network computed {value}")
        # The mark has moved with the pixel (feature row 1, column 5; 7 x 7 taps of 2 pixels) in this widget alone.
        mark, other = (w.locator(".sg-lead .sg-mark .sg-line") for w in (first, second))
        expect(mark).to_have_attribute("y", "-4")
        expect(mark).to_have_attribute("x", "4")
        expect(second.locator("[data-figure=kernels]")).to_have_attribute("data-y", "1")
        expect(other).to_have_attribute("y", "-6")


@pytest.mark.browser
def test_slider_panel_and_profile_by_mouse_and_keyboard(lab, browser, pair):
    with opened(lab, browser, "others") as (page, expect):
        slider, panel, profile = (page.locator(".sg-notebook").nth(i) for i in range(3))

        # the slider: arrow keys on it choose p, a click tells every network's own probability
        handle = page.locator(".widget-hslider .noUi-handle").first
        handle.focus()
        page.keyboard.press("ArrowRight")
        expect(slider.locator("[data-figure=pooling]")).to_have_attribute("data-chosen", "pool size 16")
        click_pixel(page, slider.locator(".sg-lead svg"), 12, 10)
        told = slider.locator("[data-figure=pixel]")
        expect(told).to_have_attribute("data-y", "12")
        here = number(float(pair.runs["guided"].probability[12, 10]))
        expect(told).to_contain_text(f"{here} with guided, pool size 1")
        expect(slider.locator(".sg-lead .sg-mark .sg-line")).to_have_attribute("y", "12")  # the mark went along

        # the panel: choose a change; the pictures take arrow keys although none of them is large
        page.locator(".widget-dropdown select").first.select_option("kernels uniform")
        expect(panel.locator("[data-figure=pixel]")).to_have_attribute("data-chosen", "kernels uniform")
        panel.locator("svg[tabindex]").focus()
        page.keyboard.press("ArrowUp")
        expect(panel.locator("[data-figure=pixel]")).to_have_attribute("data-y", "19")

        # the profile: its picture is drawn anew at each step, and keeps the focus
        profile.locator(".sg-lead svg").focus()
        for expected in (32, 33, 34):
            page.keyboard.press("ArrowRight")
            expect(profile.locator("[data-figure=profile]")).to_have_attribute("data-x", str(expected))
        page.locator("label", has_text="controls").locator("input").check()
        expect(profile).to_contain_text("guidance shuffled")


@pytest.mark.browser
def test_what_lessons_use(lab, browser):
    with opened(lab, browser, "lesson") as (page, expect):
        dial = page.locator(".sg-notebook").first
        expect(dial).to_contain_text("At 0.5")
        handle = page.locator(".widget-hslider .noUi-handle").first
        handle.focus()
        page.keyboard.press("ArrowRight")
        expect(dial).to_contain_text("At 1.0")
        expect(page.locator(".widget-readout")).to_have_text("1.0")
        # the curves of a training, which grew while the cell was running
        expect(page.locator(".widget-label", has_text="step 20 of 20")).to_be_visible()
        expect(page.locator("svg.sg-chart")).to_contain_text("training step")
        # JupyterLab shows the still picture until the mouse is over it: then plotly draws (and asks no other host)
        still = page.locator(".jp-RenderedPlotly img.plot-img")
        still.scroll_into_view_if_needed()
        expect(still).to_be_visible()
        box = still.bounding_box()
        page.mouse.move(box["x"] + 50, box["y"] + 50)
        expect(page.locator(".jp-RenderedPlotly .plot-container .heatmaplayer").first).to_be_attached()
        expect(still).to_be_hidden()


@pytest.mark.browser
def test_run_all_goes_on_after_an_unsolved_exercise(lab, browser):
    from playwright.sync_api import expect

    address, token = lab
    page = browser.new_page(viewport={"width": 1366, "height": 1000})
    try:
        page.goto(f"{address}/lab/workspaces/student/tree/student.ipynb?token={token}")
        page.get_by_text(re.compile(r"Python 3.*\| Idle")).wait_for(timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name=re.compile("^Run All Cells$")).click()
        expect(page.get_by_text("went on", exact=True)).to_be_visible(timeout=60_000)
        said = page.get_by_text(re.compile("^Not yet[.] judgement is still empty"))
        expect(said).to_be_visible()
        expect(page.get_by_text("Traceback")).to_have_count(0)
    finally:
        page.close()
