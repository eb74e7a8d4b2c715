"""Code and figures of notebook 02: each number compared with one that was made in another way."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d

from sgdc_viz.data.samples import example
from sgdc_viz.explore import Explorer, load_network
from sgdc_viz.lens import record
from sgdc_viz.nn import pool_context
from sgdc_viz.teach.lessons import pooling as lesson
from sgdc_viz.views import Plot
from sgdc_viz.views.overview import within_block_variation


@pytest.fixture(scope="module")
def pair():
    return Explorer().look("nuclei", *example("synthetic-nuclei").load())


# --- the filter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taps", [1, 2, 3, 8, 16])
def test_gain_is_what_an_average_leaves_of_a_wave(taps):
    frequencies = np.arange(-40, 41, 5) / 80
    gain = lesson.gain_of_average(taps, frequencies)
    for f, expected in zip(frequencies, gain, strict=True):
        wave = np.exp(2j * np.pi * f * np.arange(80))
        left = [uniform_filter1d(part, taps, mode="wrap") for part in (wave.real, wave.imag)]
        assert np.hypot(*left) == pytest.approx(np.full(80, expected), abs=1e-12)


def test_gain_of_one_number_and_of_no_taps():
    assert lesson.gain_of_average(8, 0.0) == 1
    assert lesson.gain_of_average(8, 0.125).shape == ()
    with pytest.raises(ValueError, match="taps=0"):
        lesson.gain_of_average(0, 0.1)


def test_gain_figure_draws_what_was_measured_and_says_if_it_is_off_the_formula():
    frequencies = np.linspace(0, 0.5, 9)
    measured = lesson.gain_of_average(8, frequencies)
    figure = lesson.gain_figure(frequencies, measured, 8, (2, 4))
    lines = {series.label: series for plot in figure.strip for series in plot.series}
    assert list(lines) == ["n = 8", "measured (squares)", "n = 2", "n = 4"]
    dots = lines["measured (squares)"]
    assert dots.x[::2] == pytest.approx(8 * frequencies) and dots.y[::2] == pytest.approx(measured)
    assert np.isnan(dots.y[1::2]).all() and np.isfinite(dots.x).all()  # nothing joins them
    with pytest.raises(ValueError, match="10 frequencies"):
        lesson.gain_figure(np.linspace(0, 0.5, 10), np.zeros(10), 8, ())
    assert lines["n = 4"].y == pytest.approx(lesson.gain_of_average(4, lines["n = 4"].x / 8))
    assert "; equal to the formula" in figure.summary
    assert "; not the formula" in lesson.gain_figure(frequencies, measured + 0.01, 8, ()).summary


@pytest.mark.parametrize("taps", [3, 8])
def test_surface_is_the_product_of_the_formula_and_both_twins_hold_it(taps):
    plot, still = lesson.response_surface(taps, size=33)
    trace = plot.data[0]
    wanted = np.outer(*[lesson.gain_of_average(taps, np.asarray(f)) for f in (trace.y, trace.x)])
    assert np.asarray(trace.z) == pytest.approx(wanted, abs=1e-6)
    image, cut = still.cells[0]
    assert image.pixels == pytest.approx(wanted, abs=1e-6) and image.pixels[16, 16] == pytest.approx(1)
    assert isinstance(cut, Plot)
    diagonal = cut.series[1]
    length = diagonal.x[40] / 8 / np.sqrt(2)  # the same frequency in both directions
    assert diagonal.y[40] == pytest.approx(float(lesson.gain_of_average(taps, length)) ** 2)
    assert len(plot.to_json()) < 40_000
    assert json.loads(plot.to_json())["layout"]["scene"]["xaxis"]["title"]["text"].startswith("f_x")


@pytest.mark.parametrize("size", [32, 7])
def test_surface_needs_frequency_zero_in_the_middle(size):
    with pytest.raises(ValueError, match=f"size={size}"):
        lesson.response_surface(8, size=size)


# --- the picture -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 9])
def test_every_measured_dot_has_a_marker(count):
    import matplotlib.pyplot as plt

    from sgdc_viz.views.charts import draw_plot

    frequencies = np.linspace(0, 0.5, count)
    figure = lesson.gain_figure(frequencies, lesson.gain_of_average(8, frequencies), 8, ())
    fig, ax = plt.subplots()
    draw_plot(ax, figure.strip[0])
    line = ax.lines[-1]
    marked = np.asarray(line.get_ydata())[line.get_markevery()]
    plt.close(fig)
    assert np.isfinite(marked).sum() == count


def test_means_figure_shows_image_means_and_their_difference():
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    figure = lesson.means_figure(image, 8, truth=np.pad(np.ones((6, 6), int), 9)[:20, :24])
    grey, means, lost = (cell.pixels for cell in figure.cells[0])
    assert means[16:, 16:] == pytest.approx(np.full((4, 8), grey[16:, 16:].mean()))  # a block that is cut off
    assert grey - means == pytest.approx(lost, abs=1e-6)
    assert figure.cells[0][0].scale == figure.cells[0][1].scale != figure.cells[0][2].scale
    assert [bool(cell.outlines) for cell in figure.cells[0]] == [True, False, True]


def test_turned_blocks_have_the_same_means_and_turned_twice_are_the_map():
    values = np.random.default_rng(0).normal(size=(12, 8))
    turned = lesson.turn_blocks(values, 4)
    assert turned[0, 0] == values[3, 3] and turned[7, 4] == values[4, 7]
    assert np.array_equal(lesson.turn_blocks(turned, 4), values) and not np.array_equal(turned, values)
    means = [v.reshape(3, 4, 2, 4).mean((1, 3)) for v in (values, turned)]
    assert means[0] == pytest.approx(means[1])
    with pytest.raises(ValueError, match="whole blocks of 5"):
        lesson.turn_blocks(values, 5)


def test_disc_and_pieces_give_a_pooled_block_the_very_same_kernels_and_no_other_block():
    a, b = lesson.disc_and_pieces()
    assert set(np.unique(a)) == {0, 1} and a.sum() == b.sum() and not np.array_equal(a, b)
    same, outputs = {}, {}
    for source, block in lesson.blocks_of_each_source().items():
        kernels, out = [], []
        for pattern in (a, b):
            x, guidance = lesson.features_of(pattern)
            with record(block, "kernels") as recording, torch.no_grad():
                out.append(block(x, guidance))
            kernels.append(recording["kernels"])
        same[source], outputs[source] = torch.equal(*kernels), torch.equal(*out)
        distance = lesson.kernel_distance(*kernels)
        assert distance.shape == a.shape and distance.min() >= 0 and distance.max() <= 1
        assert (distance.max() == 0) == same[source]
        if source == "semantic":  # a context per pixel: the kernel differs exactly where the pattern does
            assert np.array_equal(distance > 1e-3, a != b)
    assert same == {"pooled": True, "semantic": False, "structure": False}
    assert not any(outputs.values())


def test_blocks_of_each_source_differ_in_the_switch_alone_and_leave_the_global_seed():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    pooled, semantic = lesson.blocks_of_each_source(("pooled", "semantic")).values()
    assert torch.equal(torch.rand(1), expected)
    assert pooled.kernel_source != semantic.kernel_source
    torch.manual_seed(6)
    again = lesson.blocks_of_each_source(("pooled",))["pooled"]
    assert torch.equal(again.attn.weight, pooled.attn.weight)
    for name, value in pooled.state_dict().items():
        assert torch.equal(value, semantic.state_dict()[name]), name


def test_kernel_distance_by_hand():
    a, b = torch.zeros(1, 2, 9, 1, 2), torch.zeros(1, 2, 9, 1, 2)
    a[:, :, 4] = 1
    b[:, :, 4, 0, 0], b[:, 0, 4, 0, 1], b[:, 1, 3, 0, 1] = 1, 1, 1  # second pixel: one of two heads moved
    assert lesson.kernel_distance(a, b) == pytest.approx(np.array([[0.0, 0.5]]))


def test_pair_figure_shares_one_scale_among_kernels():
    a, b = lesson.disc_and_pieces()
    distances = {"pooled": np.zeros((32, 32)), "semantic": np.full((32, 32), 0.4)}
    figure = lesson.pair_figure(a, b, distances, np.ones((32, 32)))
    cells = {cell.title: cell for row in figure.cells for cell in row if hasattr(cell, "pixels")}
    assert np.array_equal(cells["block means of A"].pixels, cells["block means of B"].pixels)
    scales = {cell.scale for name, cell in cells.items() if name.startswith("kernels")}
    assert len(scales) == 1 and scales.pop().high == 1
    assert "semantic 0.40" in figure.summary and "0.4" not in figure.message


# --- the trained networks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "pool_size"), [((16, 24), 8), ((17, 22), 5)])
def test_variation_inside_is_that_of_one_map_and_adds_up_over_channels(shape, pool_size):
    maps = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 2, 3])[:, None, None]
    shares = [within_block_variation(m.double().numpy(), pool_size) for m in maps]
    for m, share in zip(maps, shares, strict=True):
        assert lesson.variation_inside(m, pool_size) == pytest.approx(share, abs=1e-6)
    weights = [float(m.var(correction=0)) for m in maps]
    together = np.average(shares, weights=weights)
    assert lesson.variation_inside(maps, pool_size) == pytest.approx(together, abs=1e-6)
    assert lesson.variation_inside(torch.full(shape, 0.1), pool_size) == 0
    assert lesson.variation_inside(pool_context(maps[None], pool_size), pool_size) == pytest.approx(0, abs=1e-9)


def test_pooled_network_keeps_detail_in_values_and_prediction_but_not_in_kernels(pair):
    pooled, guided = (lesson.shares_inside(pair.runs[name], 8) for name in ("pooled", "guided"))
    assert set(pooled) == {*lesson.FROM_CONTEXT, *lesson.FROM_FEATURES, "probability"}
    assert all(pooled[site] < 1e-6 for site in lesson.FROM_CONTEXT)
    assert all(guided[site] > 0.3 for site in lesson.FROM_CONTEXT)
    assert all(pooled[site] > 0.2 for site in (*lesson.FROM_FEATURES, "probability"))


def test_sites_figure_shows_the_runs_own_maps(pair):
    run, pixel = pair.runs["pooled"], (129, 124)
    figure = lesson.sites_figure(pair.image, run, pixel, pair.truth)
    cells = {cell.title: cell for row in figure.cells for cell in row}
    assert list(cells) == ["image", "static gate", "dynamic gate", "kernel entropy", "value v", "static branch s",
                           "dynamic branch u", "predicted probability"]  # fmt: skip
    assert np.array_equal(cells["kernel entropy"].pixels, run.maps.entropy)
    channel = int(cells["value v"].scale.label.removeprefix("channel "))
    size = run.recording[f"{run.block}.dynamic_out"][0].abs().mean((1, 2))
    assert size[channel] == size.max()
    assert np.array_equal(cells["value v"].pixels, run.recording[f"{run.block}.value"][0, channel].numpy())
    assert len({cell.window for cell in cells.values()}) == 1
    assert figure.to_png()[:4] == b"\x89PNG"


def test_slider_still_is_small_and_has_no_measured_number_in_its_message(pair):
    figure = lesson.slider_still(pair, (129, 124), (1, 4, 8, None))
    steps = pair.pooling_steps((1, 4, 8, None))
    start, same, trained_so = (steps[k] for k in ("guided, pool size 1", "pool size 8", "pooled, pool size 8"))
    (_, *gates), (plot, probability, *changes) = figure.cells
    for cell, step in zip(gates, (start, same, trained_so), strict=True):
        assert np.array_equal(cell.pixels, step.maps.gate_static) and cell.scale == gates[0].scale
    assert np.array_equal(probability.pixels, start.probability)
    for cell, step in zip(changes, (same, trained_so), strict=True):
        assert np.array_equal(cell.pixels, step.probability - start.probability)
    assert plot.series[0].y == pytest.approx([s.metrics["nsd1"] for s in steps.values() if not s.retrained])
    assert plot.series[1].y == pytest.approx([trained_so.metrics["nsd1"]])
    assert not figure.table and not any(letter.isdigit() for letter in figure.message)
    with pytest.raises(ValueError, match="must hold 8"):
        lesson.slider_still(pair, (129, 124), (1, 4))


def test_on_the_drawn_image_weights_that_were_not_retrained_keep_more_of_the_border(pair):
    """The surprise of section 5: its Explain holds only as long as this does."""
    start, same, trained_so = (step.metrics["nsd1"] for step in pair.pooling_steps((1, 8)).values())
    assert start > same > trained_so + 0.02


def test_moving_disc_begins_where_it_says():
    discs = lesson.moving_disc([30.0, 37.5])
    assert discs.dtype == np.uint8 and discs.shape == (2, 128, 128, 3)
    dark = 1 - (discs[..., 1] - 70.0) / (215 - 70)  # 1 inside, 0 outside
    assert lesson.left_border(dark) == pytest.approx([30.0, 37.5], abs=0.15)
    assert np.array_equal(discs, lesson.moving_disc([30.0, 37.5]))


def test_left_border_by_hand():
    rows = np.array([[0.0, 0.2, 0.8, 1.0], [0.0, 0.0, 0.0, 0.0], [0.9, 1.0, 0.0, 1.0], [0.0, 0.4, 0.5, 0.6]])
    found = lesson.left_border(rows[:, None, :])
    assert found[[0, 2, 3]] == pytest.approx([2.0, 0.0, 2.5])  # halfway between the middles of pixels 1 and 2
    assert np.isnan(found[1])


@pytest.mark.parametrize("source", ["structure", "pooled"])
def test_both_networks_follow_a_border_through_a_block(source):
    true = np.array([32.0, 36.0, 40.0, 44.0])
    found = lesson.predicted_left(load_network("nuclei", source), lesson.moving_disc(true))
    assert np.abs(found - true).max() < 2


def test_border_figure_draws_prediction_error_and_the_imagined_jump():
    true = np.arange(32.0, 49.0)
    figure = lesson.border_figure(true, {"guided": true + 0.25, "pooled": true - 1.5}, 16)
    place, error = figure.strip
    lines = {series.label: series.y for series in error.series}
    assert lines["pooled"] == pytest.approx(np.full(17, -1.5))
    assert {series.label: series.y for series in place.series}["guided"] == pytest.approx(true + 0.25)
    assert set(true + lines["imagined: whole blocks"]) == {32.0, 48.0}
    assert "pooled 1.5 px" in figure.summary and "pooled 1.5 px" in figure.alt
