"""Widgets of the notebooks: pure render functions and the Python side of a click (the browser's: test_jupyterlab)."""

from __future__ import annotations

import io
import re
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from PIL import Image

from sgdc_viz.explore import POOL_SIZES, Arm, Explorer, Film
from sgdc_viz.explore.film import Reel
from sgdc_viz.explore.runs import run_network
from sgdc_viz.learn.history import TrainingHistory
from sgdc_viz.nn import SGDCNet, SGDCNetConfig
from sgdc_viz.teach import causal_panel, pooling_slider, profile, scrubber, show, show_table
from sgdc_viz.teach.show import small_png
from sgdc_viz.teach.widgets import (
    ESM,
    BoundaryProfile,
    CausalPanel,
    CausalState,
    KernelMicroscope,
    MicroscopeState,
    PoolingSlider,
    PoolingState,
    ProfileState,
    ScrubberState,
    TrainingScrubber,
    render,
    still,
)
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
    sizes = [run.at(state.pixel).model_dynamic.abs().numpy() for run in pair.runs.values()]
    channel = int(np.mean(sizes, axis=0).argmax()) if state.channel is None else state.channel
    for network, run in pair.runs.items():
        own = run.at(state.pixel).model_dynamic
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


# --- the other four: slider, panel, profile, scrubber ----------------------------------------------------------------

OFFERED = ("guidance zeroed", "kernels uniform", "dynamic gate shut")


@pytest.fixture(scope="module")
def nuclei():
    """Random weights and a truth of two squares."""
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    truth = np.zeros((HEIGHT, WIDTH), np.int32)
    truth[5:20, 6:22], truth[24:40, 30:52] = 1, 2
    return Explorer().look("untrained", image, truth)


@pytest.fixture(scope="module")
def film(nuclei):
    """Two "trainings" of three steps: random weights whose attention grows."""
    narrow = dict(encoder_channels=(8, 8, 16, 16), decoder_channels=(8, 8, 16, 16), mid_channels=8)
    reels = {}
    for name, source in (("guided", "structure"), ("pooled", "pooled")):
        config = SGDCNetConfig.compact(kernel_source=source, **narrow)
        steps, maps, kernels = (0, 10, 40), {}, {}
        for step in steps:
            torch.manual_seed(0)
            network = SGDCNet(config).eval()
            with torch.no_grad():
                for block in network.decoder.values():
                    block.block.attn.weight.mul_(1 + step)
            run = run_network(network, nuclei.image)
            maps[step], kernels[step] = run.maps, run.recording[f"{run.block}.kernels"][0].half()
        scores = {"iou": np.array([0.1, 0.4, 0.6]), "nsd1": np.array([0.1, 0.3, 0.7])}
        history = TrainingHistory(name, config, steps, np.linspace(3, 1, 40), scores, 4, {}, {}, {}, {})
        reels[name] = Reel(history, run.stride, maps, kernels)
    return Film("key", nuclei.image, reels, ())


WIDGETS = {
    # name: (make from (pair, film), other states to choose: (setter, value, field, value of the field), bad values)
    "pooling": (lambda p, f: PoolingSlider(p, 20, 31), ("pool", None, "size", 0), (3, -1, 0.5)),
    "causal": (lambda p, f: CausalPanel(p, 20, 31, changes=OFFERED), ("choose", OFFERED[1], "choice", OFFERED[1]),
               ("no such change", "guidance mirrored")),
    "profile": (lambda p, f: BoundaryProfile(p, 20, 31), ("control", True, "beside", True), ("yes", 2)),
    "scrubber": (lambda p, f: TrainingScrubber(f, 20, 31), ("scrub", 40, "time", 40), (7, -1, 1.5)),
}  # fmt: skip


@pytest.fixture(params=WIDGETS)
def other(request, nuclei, film):
    """(widget, what can be set, what cannot)."""
    make, *told = WIDGETS[request.param]
    return make(nuclei, film), *told


def whole(widget) -> tuple:
    fields = tuple(f.value for f in widget.children[0].children if hasattr(f, "value") and hasattr(f, "description"))
    return widget.state, tuple(widget.figures.pixel), widget.figures.overview, widget.figures.detail, fields


def test_a_click_by_any_way_shows_the_same(other):
    widget, *_ = other

    def type_it():
        widget.row.value, widget.column.value = 7, 9

    seen = []
    for choose in (lambda: widget.click(7, 9), lambda: setattr(widget.figures, "pixel", [7, 9]), type_it):
        widget.click(20, 31)
        before = widget.figures.detail
        choose()
        assert widget.state.pixel == (7, 9) and (widget.row.value, widget.column.value) == (7, 9)
        assert widget.figures.detail == widget.render(widget.state) != before
        assert 'data-y="7" data-x="9"' in widget.figures.detail
        seen.append(whole(widget))
    assert seen[0] == seen[1] == seen[2]


def test_setting_from_code_and_by_field_shows_the_same(other):
    widget, (setter, value, field, in_field), _ = other
    start = whole(widget)
    getattr(widget, setter)(value)
    by_code = whole(widget)
    assert by_code != start and getattr(widget, field).value == in_field
    widget.click(5, 5)
    widget.click(20, 31)
    assert whole(widget) == by_code  # a click keeps everything else
    widget._show(start[0])
    assert whole(widget) == start
    getattr(widget, field).value = in_field
    assert whole(widget) == by_code


def test_invalid_states_raise_and_leave_the_widget_as_it_is(other):
    widget, (setter, *_), bad = other
    before = whole(widget)
    for y, x in ((-1, 0), (HEIGHT, 0), (0, -1), (0, WIDTH), (0.5, 1)):
        with pytest.raises(ValueError, match="outside the image|whole number"):
            widget.click(y, x)
    for value in bad:
        with pytest.raises(ValueError, match="none of|unknown|was not kept|no kept step|whole number|True or False"):
            getattr(widget, setter)(value)
    assert whole(widget) == before


@pytest.mark.parametrize("pixel", [(HEIGHT, 0), (0, -1)])
def test_no_other_widget_is_made_outside_the_image(nuclei, film, pixel):
    for kind, source in ((PoolingSlider, nuclei), (CausalPanel, nuclei), (BoundaryProfile, nuclei),
                         (TrainingScrubber, film)):  # fmt: skip
        with pytest.raises(ValueError, match="outside the image"):
            kind(source, *pixel)


def test_no_network_runs_on_a_click_or_a_known_choice(nuclei):
    slider, panel = PoolingSlider(nuclei, 20, 31), CausalPanel(nuclei, 20, 31, changes=OFFERED)
    passes = nuclei.explorer.forward_passes
    for p in POOL_SIZES:
        slider.pool(p)
        slider.click(3, 4 + (p or 0))
    for change in OFFERED:
        panel.choose(change)
    assert nuclei.explorer.forward_passes == passes


def test_what_is_saved_and_what_people_read_is_stable(other):
    widget, *_ = other
    text = widget._repr_mimebundle_()["text/plain"]
    assert text == repr(widget) and "row 20, column 31" in text and "0x" not in text and len(text) < 110
    *fields, hint = widget.children[0].children
    assert all(field.description for field in fields) and hint.value  # everything says what it is
    with pytest.raises(FrozenInstanceError):
        widget.state.y = 1


# what each tells is the network's own


def test_the_slider_tells_every_networks_own_probability(nuclei):
    html = pooling_slider.render(nuclei, PoolingState(4, 7, 9))
    for p in (1, 4):
        own = nuclei.run(Arm(change=None if p == 1 else "pooled 4")).probability[7, 9]
        assert f"{number(float(own))} with " in html
    slider = PoolingSlider(nuclei, 7, 9, pool_size=4)
    assert "pool size 4 · not retrained" in slider.figures.overview and "pooled, pool size 8" in slider.figures.overview
    assert [label for label, _ in slider.size.options] == ["1", "2", "4", "8", "16", "32", "whole image"]
    slider.size.value = 0
    assert slider.state.pool_size is None and "whole image · not retrained" in slider.figures.overview


def test_the_panel_tells_before_and_after(nuclei):
    html = causal_panel.render(nuclei, CausalState("kernels uniform", 7, 9))
    before, after = (nuclei.run(Arm(change=c)).probability[7, 9] for c in (None, "kernels uniform"))
    assert f"{number(float(before))} as it is, {number(float(after))} with kernels uniform" in html
    with pytest.raises(ValueError, match="none of those offered"):
        CausalPanel(nuclei, 7, 9, change="guidance mirrored", changes=OFFERED)


def test_the_profile_is_that_of_the_pixel_and_controls_come_with_a_tick(nuclei):
    state = ProfileState(7, 9)
    assert profile.render(nuclei, state) == nuclei.boundary_profile((7, 9)).to_html()
    assert "guidance shuffled" not in profile.render(nuclei, state)
    assert "guidance shuffled" in profile.render(nuclei, replace(state, controls=True))


def test_the_scrubber_shows_the_kernels_of_its_step(film):
    figure = film.training((20, 31), 10, "pooled", film.steps)
    reel = film.reels["pooled"]
    shown = np.stack([heat.values for heat in figure.cells[1][0]])
    np.testing.assert_array_equal(shown.reshape(4, 49), reel.kernels[10][:, :, 10, 15].numpy())
    assert figure.rows == ("0 steps", "10 steps", "40 steps")
    assert scrubber.render(film, ScrubberState(10, 20, 31, "pooled")) == figure.to_html()
    widget = TrainingScrubber(film, 20, 31)
    widget.play.value = 2  # what the play button does
    assert widget.state.step == 40 and widget.time.value == 40
    widget.scrub(0)
    assert widget.play.value == 0
    widget.choose("pooled")
    assert widget.which.value == "pooled" and "Pooled network" in widget.figures.detail
    with pytest.raises(ValueError, match="network='cats' is unknown: use one of guided, pooled"):
        widget.choose("cats")


# static twins


def test_static_twins_show_two_to_four_states(nuclei, film):
    twins = {
        "pooling": PoolingSlider.still(nuclei, (1, 8, None)),
        "causal": CausalPanel.still(nuclei, OFFERED),
        "profiles": BoundaryProfile.still(nuclei, {"A": ProfileState(7, 9), "B": ProfileState(24, 40)}),
        "training": TrainingScrubber.still(film, (20, 31)),
    }
    for name, figure in twins.items():
        assert figure.name == name and len(figure.alt) > 40
        assert Image.open(io.BytesIO(figure.to_png(50))).width > 300
    assert twins["pooling"].rows[1] == "pool size 8 · not retrained" and len(twins["pooling"].rows) == 4
    assert [row[0] for row in twins["causal"].table[1:]][:3] == list(OFFERED)
    assert [c.title for c in twins["profiles"].columns] == ["A", "B"]
    for row in twins["profiles"].cells[1:]:
        assert len({plot.y_range for plot in row}) == 1  # one scale for all places
    assert twins["training"].rows == ("0 steps", "10 steps", "40 steps")


@pytest.mark.parametrize("count", [1, 5])
def test_static_twins_refuse_other_counts(nuclei, film, count):
    asked = (
        lambda: PoolingSlider.still(nuclei, POOL_SIZES[:count]),
        lambda: CausalPanel.still(nuclei, (*OFFERED, *OFFERED)[:count]),
        lambda: BoundaryProfile.still(nuclei, {str(i): ProfileState(i, i) for i in range(count)}),
        lambda: TrainingScrubber.still(film, (1, 1), (0,) * count),
    )
    for ask in asked:
        with pytest.raises(ValueError, match=f"2 to 4 states, got {count}"):
            ask()
    with pytest.raises(ValueError, match="must begin with 1"):
        PoolingSlider.still(nuclei, (2, 8))


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
