"""Views: what is drawn is what was measured, and every figure says in words what it shows."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sgdc_viz.lens import record
from sgdc_viz.nn import SGDC
from sgdc_viz.views import (
    Bars,
    BlockMaps,
    Column,
    Figure,
    Heat,
    Outline,
    Picture,
    Prediction,
    Scale,
    Words,
    microscope,
    outlines_of,
    overview,
    pixel_kernels,
    predictions,
    shared_scale,
)
from sgdc_viz.views.microscope import describe_spread, neighbours
from sgdc_viz.views.overview import edge_agreement, footprint, window_around, within_block_variation
from sgdc_viz.views.style import colour_table, direction, number, percent, png_uri, two_digits

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)
POOL = 4


@lru_cache
def block_view(kernel_source: str, pixel=(11, 21)):
    """A bare block on random features, recorded: what the microscope gets, here with stride 1."""
    torch.manual_seed(3)
    block = SGDC(8, guidance_channels=2, heads=2, kernel_size=5, kernel_source=kernel_source, pool_size=POOL).eval()
    with record(block) as rec, torch.no_grad():
        block(torch.randn(1, 8, 40, 56) * 3, torch.randn(1, 2, 40, 56) * 3)
    return rec.at("", *pixel)


def views(pixel=(11, 21)) -> dict:
    return {"guided": block_view("structure", pixel), "pooled": block_view("pooled", pixel)}


def maps(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    fine = rng.random((3, 20, 28)).astype(np.float32)
    blocks = rng.random((3, 5, 7)).astype(np.float32).repeat(4, 1).repeat(4, 2)
    return {"guided": BlockMaps(*fine, 1e-6), "pooled": BlockMaps(*blocks, 3e-7)}


TRUTH = np.zeros((40, 56), np.int32)
TRUTH[5:15, 5:20], TRUTH[5:15, 20:30] = 1, 2  # two objects that touch


def some_predictions(metrics=None) -> dict:
    a, b = np.full((40, 56), 0.1, np.float32), np.full((40, 56), 0.1, np.float32)
    a[5:15, 5:30], b[5:15, 5:27] = 0.9, 0.8  # b misses the last three columns
    edge = RNG.random((20, 28)).astype(np.float32)
    return {"guided": Prediction(a, edge, metrics), "pooled": Prediction(b, edge, metrics)}


FIGURES = {
    "overview": lambda: overview(IMAGE, maps(), stride=2, pool_size=POOL, pixel=(11, 21), truth=TRUTH, zoom=2),
    "kernels": lambda: pixel_kernels(views(), (11, 21)),
    "microscope": lambda: microscope(IMAGE, views(), (11, 21), pool_sizes={"guided": None, "pooled": POOL}),
    "prediction": lambda: predictions(IMAGE, some_predictions(), stride=2, truth=TRUTH),
}


def parse(html: str) -> ElementTree.Element:
    """Well-formed, or this raises: browsers forgive what Gradio's re-rendering does not."""
    return ElementTree.fromstring(html)


# --- style -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.sampled_from([0.5, 1.0]))
def test_a_scale_keeps_order_and_ends(low, width, power):
    scale = Scale("x", low, low + width, power=power)
    index = scale.index(np.linspace(low - width, low + 2 * width, 50)).astype(int)
    assert (np.diff(index) >= 0).all()
    assert scale.index([low, low + width]).tolist() == [0, 255]


def test_the_middle_tick_stands_where_the_middle_colour_is():
    for power in (1.0, 0.5):
        scale = Scale("x", 0.0, 1.0, power=power)
        assert abs(int(scale.index(float(scale.ticks[1]))) - 127.5) <= 1


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, ("0", "0.5", "1")), (0.493, 0.511, ("0.493", "0.502", "0.511")), (-4.8, 4.8, ("−4.8", "0", "4.8")),
     (0, 120, ("0", "60", "120")), (0, 3e-9, ("0", "1.5e−9", "3.0e−9"))],
)  # fmt: skip
def test_ticks_are_short_and_tell_the_ends_apart(low, high, ticks):
    assert Scale("x", low, high).ticks == ticks


def test_a_scale_upside_down_is_refused():
    with pytest.raises(ValueError, match="low=1.0 must be below high=1.0"):
        Scale("x", 1.0, 1.0)


def test_a_shared_scale_covers_both_maps_and_is_not_ruled_by_one_pixel():
    a, b = np.linspace(0, 1, 1000), np.linspace(2, 3, 1000)
    b[0] = 1e6
    scale = shared_scale("x", a, b)
    assert 0 <= scale.low < 0.1 and 2.9 < scale.high < 3.1
    signed = shared_scale("x", np.array([-4.0, 1.0]), symmetric=True, share=100)
    assert (signed.low, signed.high) == (-4.0, 4.0)
    assert int(signed.index(0.0)) in (127, 128)
    constant = shared_scale("x", np.full((3, 3), 0.7))
    assert constant.low < 0.7 < constant.high
    with pytest.raises(ValueError, match="NaN"):
        shared_scale("x", np.array([0.0, np.nan]))


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (32, 33)])
def test_embedded_maps_are_lossless(shape):
    def decode(uri):
        assert uri.startswith("data:image/png;base64,")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))

    image = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(decode(png_uri(image)), image)
    values, scale = RNG.random(shape), Scale("x", 0.2, 0.8, "cividis", power=0.5)
    assert np.array_equal(decode(png_uri(values, scale)), colour_table("cividis")[scale.index(values)])


def test_outlines_enclose_each_object_on_pixel_edges():
    curves = outlines_of(TRUTH)
    assert len(curves) == 2  # they touch and are told apart
    for curve, (y0, x0, y1, x1) in zip(curves, [(5, 5, 15, 20), (5, 20, 15, 30)], strict=True):
        assert curve.min(0).tolist() == [y0, x0] and curve.max(0).tolist() == [y1, x1]
        y, x = curve[:-1].T
        area = abs(np.dot(y, np.roll(x, 1)) - np.dot(x, np.roll(y, 1))) / 2
        assert area == pytest.approx((y1 - y0) * (x1 - x0) - 0.5)  # four corners cut at 45 degrees
    assert outlines_of(np.zeros((4, 4))) == ()
    assert len(outlines_of(np.ones((4, 4), bool))) == 1  # an object as large as the image has its outline too


def test_numbers_in_words():
    assert [number(v) for v in (0, 1.5, -0.25, 123.4, 1.2e-7, 1)] == ["0", "1.50", "−0.250", "123", "1.2e−7", "1.00"]
    assert [percent(v) for v in (0, 0.005, 0.42, 1e-6)] == ["0 %", "0.5 %", "42 %", "under 0.1 %"]
    assert [two_digits(v) for v in (-0.001, 0.256, -0.5)] == ["0.00", "0.26", "−0.50"]
    assert [direction(*d) for d in ((0, 0), (-1, 2), (3, 0))] == ["centre", "1 up, 2 right", "3 down"]


# --- what the views measure ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 6), st.integers(0, 9))
def test_a_map_of_blocks_has_no_variation_inside_them(h, w, p, seed):
    rng = np.random.default_rng(seed)
    blocks = rng.random((-(-h // p), -(-w // p))).repeat(p, 0).repeat(p, 1)[:h, :w]
    assert within_block_variation(blocks, p) == pytest.approx(0, abs=1e-12)
    assert 0 <= within_block_variation(rng.random((h, w)), p) <= 1
    assert within_block_variation(rng.random((h, w)), 1) == 0


def test_variation_inside_blocks_is_all_of_it_if_blocks_have_equal_means():
    checkers = np.indices((8, 8)).sum(0) % 2
    assert within_block_variation(checkers.astype(float), 2) == pytest.approx(1)


def test_edge_agreement_is_one_for_the_image_itself_and_zero_for_nothing():
    grey = IMAGE.mean(2).reshape(20, 2, 28, 2).mean((1, 3))
    assert edge_agreement(IMAGE, grey, 2) == pytest.approx(1)
    assert edge_agreement(IMAGE, -3 * grey, 2) == pytest.approx(1)  # edges have no sign
    assert edge_agreement(IMAGE, np.ones((20, 28)), 2) == 0
    y, x = np.indices((39, 55))  # odd sizes: a disc, and a map that holds it at half the resolution
    disc = (((y - 19) ** 2 + (x - 27) ** 2 < 144) * 255).astype(np.uint8)
    assert edge_agreement(disc[..., None].repeat(3, 2), disc[::2, ::2], 2) > 0.8


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_windows_hold_their_pixel_and_footprints_are_centred(h, w, data):
    pixel = data.draw(st.tuples(st.integers(0, h - 1), st.integers(0, w - 1)))
    zoom, stride = data.draw(st.sampled_from([1, 2, 4])), data.draw(st.sampled_from([1, 2, 4]))
    y0, x0, y1, x1 = window_around(pixel, (h, w), zoom)
    assert y0 <= pixel[0] < max(y1, 1) and x0 <= pixel[1] < max(x1, 1)
    assert zoom == 1 or y1 - y0 == x1 - x0
    box = footprint(pixel, stride, 7)
    assert box.y1 - box.y0 == 7 * stride
    assert box.y0 + 3 * stride <= pixel[0] < box.y0 + 4 * stride  # the pixel lies in the middle tap
    assert box.x0 + 3 * stride <= pixel[1] < box.x0 + 4 * stride


def test_spread_of_a_kernel():
    delta, uniform = np.zeros((7, 7)), np.full((7, 7), 1 / 49)
    delta[2, 3] = 1
    assert neighbours(delta) == 1 and neighbours(uniform) == pytest.approx(49)
    assert "single" in describe_spread(1, 49) and "alike" in describe_spread(49, 49)


# --- what every figure must have -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_complete_in_words(name):
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    for text in (figure.title, figure.message, figure.summary, figure.alt):
        assert len(text) > 5
    assert figure.rows == ("guided", "pooled")
    assert (figure.faithfulness is not None) == (name in ("overview", "microscope"))
    root = parse(figure.to_html())
    pictures = [svg for svg in root.iter("svg") if svg.get("aria-hidden") is None]
    assert len(pictures) >= 4
    for svg in pictures:
        assert svg.get("role") in ("img", "application") and len(svg.get("aria-label")) > 5
    for column in figure.columns:
        if column.scale is not None:  # quantity, unit and values beside each colour bar
            assert column.scale.label in "".join(root.itertext())
            assert column.scale.ticks[0] in "".join(root.itertext())


@pytest.mark.parametrize("name", FIGURES)
def test_no_figure_asks_another_host_for_anything(name):
    html = FIGURES[name]().to_html()
    for found in re.findall(r"""(?:href|src|url)\s*[=(]\s*["']?([^"')\s>]+)""", html):
        assert found.startswith(("data:image/png;base64,", "#"))
    assert "http" not in html and "<script" not in html


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_static_twin(name):
    figure = FIGURES[name]()
    picture = Image.open(io.BytesIO(figure.to_png()))
    assert picture.format == "PNG" and min(picture.size) > 200
    assert np.asarray(picture.convert("L")).std() > 10  # something is drawn on it
    bundle = figure._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG") and bundle["text/plain"] == figure.alt


@pytest.mark.parametrize("name", FIGURES)
def test_compared_rows_share_one_scale(name):
    figure = FIGURES[name]()
    for c, column in enumerate(figure.columns):
        cells = [cell for row in figure.cells for cell in (row[c] if isinstance(row[c], tuple) else (row[c],))]
        for cell in cells:
            if column.scale is not None:
                assert cell.scale is column.scale


def test_text_of_others_is_escaped():
    scale = Scale("<b>bold</b>", 0, 1)
    cells = (
        Picture(IMAGE, '"<script>alert(1)</script>', outlines=(Outline("<i>", outlines_of(TRUTH)),)),
        Heat(np.eye(3), scale, "<u>", "<u>"), Bars(np.array([0.5]), scale, "<s>"), Words(("<em>", "&")),
    )  # fmt: skip
    columns = (Column("<c>", scale),) * 4
    figure = Figure("x", "<title>", "<message>", "<summary>", "<alt>", ("<row>",), columns, (cells,),
                    legend=(("truth", "<legend>"),), table=(("<h>",), ("<d>",)), data=(("k", '"<v>"'),))  # fmt: skip
    tags = {element.tag for element in parse(figure.to_html()).iter()}
    assert not tags & {"script", "b", "i", "u", "s", "em", "title>", "row", "c", "d", "v", "alt", "message", "legend"}
    assert figure.to_png()


def test_a_figure_with_a_missing_cell_is_refused():
    with pytest.raises(ValueError, match="2 rows of 1 cells"):
        Figure("x", "t", "m", "s", "a", ("one", "two"), (Column("c"),), ((Words(("w",)),),))


# --- overview --------------------------------------------------------------------------------------------------------


def test_overview_shows_the_maps_it_was_given():
    given_maps = maps()
    figure = overview(IMAGE, given_maps, stride=2, pool_size=POOL, pixel=(11, 21))
    for row, m in zip(figure.cells, given_maps.values(), strict=True):
        shown = (m.gate_static, m.gate_dynamic, m.entropy)
        assert all(np.array_equal(cell.pixels, v) for cell, v in zip(row, shown, strict=True))
    assert figure.faithfulness == 1e-6  # the worse of the two
    assert "0 % when pooled" in figure.summary and "8 × 8 pixel blocks" in figure.summary
    assert "no truth is known" in str(figure.legend)


def test_overview_says_who_changes_from_pixel_to_pixel_and_claims_no_outlines():
    grey = IMAGE.mean(2).reshape(20, 2, 28, 2).mean((1, 3)).astype(np.float32)
    blocks = maps()["pooled"]
    follows = overview(IMAGE, {"guided": BlockMaps(grey, grey, grey, 0.0), "pooled": blocks}, stride=2, pool_size=POOL,
                       pixel=(0, 0))  # fmt: skip
    assert "change from pixel to pixel; pooled ones only from block to block" in follows.message
    assert "outline" not in follows.message  # how closely maps follow them is for the summary, as a number
    control = overview(IMAGE, {"guided": BlockMaps(grey, grey, grey, 0.0), "pooled": blocks}, stride=2, pool_size=POOL,
                       pixel=(0, 0), trained=False)  # fmt: skip
    assert control.message.startswith("Random weights")


def test_overview_says_when_both_are_fine_when_both_are_alike_and_which_follows_edges():
    grey = IMAGE.mean(2).reshape(20, 2, 28, 2).mean((1, 3)).astype(np.float32)
    follows, noise = BlockMaps(grey, grey, grey, 0.0), maps()["guided"]
    weak = BlockMaps(*[grey / 100] * 3, 0.0)
    blocks = maps()["pooled"]
    flat = BlockMaps(*np.ones((3, 20, 28)), 0.0)

    def message(first, second, name="guidance zeroed", **more):
        told = {"guided": first, name: second}
        return overview(IMAGE, told, stride=2, pool_size=POOL, pixel=(0, 0), **more).message

    assert "guided maps follow the outlines more closely (corr" in message(follows, noise)
    fine = message(noise, follows)
    assert "Both change pixel by pixel; “guidance zeroed” maps follow the outlines more closely than guided" in fine
    assert "1.00 “guidance zeroed”" in fine
    assert "“guidance zeroed” maps vary only 0.01" in message(follows, weak)
    assert "follow the outlines as closely as guided ones" in message(follows, weak)
    assert "are alike: what differs shows in the kernels" in message(follows, follows)
    assert "Pooled gates and kernels change from pixel to pixel; guided ones only" in message(blocks, noise, "pooled")
    assert "“guidance zeroed” ones are the same everywhere" in message(follows, flat)
    assert "neither guided nor “guidance zeroed” changes" in message(blocks, flat)
    assert message(follows, blocks, remark="Two things.").endswith("Two things.")


def test_the_truth_is_drawn_on_the_image_and_not_over_the_maps():
    figure = FIGURES["overview"]()
    assert len(figure.lead.outlines[0].curves) == 2
    assert all(cell.outlines == () for row in figure.cells for cell in row)


@pytest.mark.parametrize("pixel", [(-1, 0), (0, 56), (40, 0)])
def test_a_pixel_outside_the_image_is_refused(pixel):
    with pytest.raises(ValueError, match="outside the image: rows go from 0 to 39, columns to 55"):
        overview(IMAGE, maps(), stride=2, pool_size=POOL, pixel=pixel)
    with pytest.raises(ValueError, match="outside the image"):
        microscope(IMAGE, views(), pixel, pool_sizes={})


def test_maps_of_unequal_shape_are_refused():
    pair = maps()
    pair["pooled"] = BlockMaps(*np.zeros((3, 5, 7)), 0.0)
    with pytest.raises(ValueError, match="agree in shape"):
        overview(IMAGE, pair, stride=2, pool_size=POOL, pixel=(0, 0))


# --- microscope ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel", [(11, 21), (0, 0), (39, 55)])
@pytest.mark.parametrize("channel", [None, 0, 7])
def test_the_sum_shown_is_the_networks_own_value(pixel, channel):
    both = views(pixel)
    figure = microscope(IMAGE, both, pixel, pool_sizes={"guided": None, "pooled": POOL}, channel=channel)
    for row, view in zip(figure.cells, both.values(), strict=True):
        _, patch, kernel, product, words, static, dynamic = row
        followed = dynamic.chosen
        values = [v.model_dynamic.abs().double().numpy() for v in both.values()]
        assert followed == (int(np.mean(values, axis=0).argmax()) if channel is None else channel)  # one for both
        own = float(view.model_dynamic[followed])
        assert np.allclose(patch.values * kernel.values, product.values, atol=1e-6)
        assert product.values.sum() * dynamic.values[followed] == pytest.approx(own, abs=1e-5)
        assert kernel.values.sum() == pytest.approx(1, abs=1e-5)
        assert words.lines[-1].endswith(number(own))
        assert static.values.shape == dynamic.values.shape == (8,)
    assert figure.faithfulness == max(view.error for view in both.values()) < 1e-5


def test_the_badge_tells_when_the_sum_is_wrong():
    view = block_view("structure")
    names = ("block", "stride", "feature", "box", "kernels", "weights", "patch", "contribution", "filtered", "dynamic",
             "gate_static", "gate_dynamic", "static")  # fmt: skip
    lying = SimpleNamespace(**{n: getattr(view, n) for n in names}, model_dynamic=view.dynamic + 1, error=1.0)
    figure = microscope(IMAGE, {"guided": lying}, (11, 21), pool_sizes={})
    assert figure.faithfulness == 1.0 and "1.0" in figure.badge


def test_the_shared_block_is_drawn_for_the_pooled_network_alone():
    figure = FIGURES["microscope"]()
    guided, pooled = (row[0].boxes for row in figure.cells)
    assert len(guided) == 1 and len(pooled) == 2
    block = pooled[1]
    assert (block.y0, block.x0, block.y1, block.x1) == (8, 20, 12, 24)  # holds (11, 21), starts at multiples of 4
    # and it is true: the kernel is the same at every pixel in it, and another one outside
    own = block_view("pooled").kernels
    assert torch.equal(block_view("pooled", (8, 23)).kernels, own)
    assert not torch.equal(block_view("pooled", (12, 21)).kernels, own)
    assert not torch.equal(block_view("structure", (8, 23)).kernels, block_view("structure").kernels)


def test_kernels_of_every_head_with_the_value_of_every_cell():
    figure = FIGURES["kernels"]()
    root = parse(figure.to_html())
    for row, view in zip(figure.cells, views().values(), strict=True):
        assert len(row[0]) == 2
        assert all(np.allclose(heat.values, k) for heat, k in zip(row[0], view.kernels.numpy(), strict=True))
    titles = [title.text for title in root.iter("title")]
    assert len(titles) == 2 * 2 * 25
    assert titles.count("2 up, 2 left: " + number(float(views()["guided"].kernels[0, 0, 0]))) >= 1
    assert figure.columns[0].scale.high == pytest.approx(max(float(v.kernels.max()) for v in views().values()))


def test_an_unknown_channel_is_refused():
    with pytest.raises(ValueError, match="channel 8 does not exist: this block has channels 0 to 7"):
        microscope(IMAGE, views(), (11, 21), pool_sizes={}, channel=8)


# --- prediction ------------------------------------------------------------------------------------------------------


def test_the_difference_is_counted_and_judged_by_the_truth():
    figure = FIGURES["prediction"]()
    assert "differ at 30 of 2240 pixels" in figure.summary
    assert "30 are object for guided alone, 0 for pooled alone" in figure.summary
    assert "guided is right at 30, pooled at 0" in figure.summary
    assert "look alike" in figure.message
    assert figure.lead.pixels.max() == pytest.approx(0.8)
    without = predictions(IMAGE, some_predictions(), stride=2)
    assert "right" not in without.summary and without.table == ()


def test_equal_masks_and_masks_that_differ_much_say_so():
    same = some_predictions()
    same["pooled"] = same["guided"]
    assert predictions(IMAGE, same, stride=2).summary == "The two masks are equal at every pixel."
    other = some_predictions()
    other["pooled"] = Prediction(1 - other["guided"].probability, other["guided"].boundary)
    assert "differ visibly" in predictions(IMAGE, other, stride=2).message


def test_a_small_difference_looks_small():
    said = some_predictions()
    near = Prediction(said["guided"].probability - 0.001, said["guided"].boundary)
    for other, high in ((near, 0.05), (said["pooled"], 0.8)):
        scale = predictions(IMAGE, {"guided": said["guided"], "pooled": other}, stride=2).lead.scale
        assert scale.low == -scale.high and scale.high == pytest.approx(high, abs=0.01)


def test_what_holds_beyond_the_image_stands_under_the_table():
    metrics = {"iou": 0.5, "nsd1": 0.25, "hd95": 3.0}
    figure = predictions(IMAGE, some_predictions(metrics), stride=2, truth=TRUTH, beyond="Over 9 images: 0.")
    assert figure.summary.startswith("Over 9 images: 0. The masks differ")
    assert "Over 9" not in predictions(IMAGE, some_predictions(), stride=2, beyond="Over 9 images: 0.").summary


def test_metrics_are_tabled_and_undefined_ones_left_out():
    metrics = {"iou": 0.5, "nsd1": 0.25, "hd95": 3.0}
    table = predictions(IMAGE, some_predictions(metrics), stride=2, truth=TRUTH).table
    assert table[0] == ("this image alone", "guided", "pooled")
    assert table[1] == ("IoU", "0.500", "0.500") and len(table) == 4
    undefined = predictions(IMAGE, some_predictions({**metrics, "hd95": float("nan")}), stride=2, truth=TRUTH).table
    assert len(undefined) == 3
