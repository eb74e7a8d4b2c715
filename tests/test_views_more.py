"""The views behind the first ones: geometry against hand-made shapes, messages that follow the data, both drawings."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sgdc_viz.views import (
    BlockMaps,
    Case,
    Change,
    Column,
    Effect,
    Effects,
    Figure,
    KernelEllipses,
    KernelMaps,
    Picture,
    Plot,
    PoolingStep,
    Prediction,
    ProfileMaps,
    Region,
    Scale,
    Series,
    SGEStages,
    Strokes,
    TrainingStep,
    boundary_branch,
    boundary_profile,
    boundary_score,
    causal,
    ellipses,
    elsewhere,
    kernel_maps,
    outlines_of,
    pooling,
    region,
    ring,
    sge_stages,
    signed_distance,
    statistic_by_distance,
    training,
    true_boundary,
)
from sgdc_viz.views.boundary_branch import thin
from sgdc_viz.views.boundary_profile import crossing
from sgdc_viz.views.charts import SERIES, nice_ticks, padded_range, signed
from sgdc_viz.views.ellipses import alignment
from sgdc_viz.views.geometry import interval_of_mean, normal_at, sample, steepness, upsample

SIZE, STRIDE = 48, 2
FINE = SIZE // STRIDE
YY, XX = np.indices((SIZE, SIZE)) + 0.5
DISC = ((YY - 24) ** 2 + (XX - 24) ** 2 < 12**2).astype(np.int32)
TWO = np.zeros((SIZE, SIZE), np.int32)
TWO[10:30, 8:20], TWO[10:30, 20:36] = 1, 2  # two objects that touch
IMAGE = np.repeat((60 + 120 * DISC)[..., None], 3, 2).astype(np.uint8)


def soft(shift: float = 0.0, width: float = 1.0) -> np.ndarray:
    """A probability that crosses 0.5 `shift` pixels outside the disc's outline."""
    away = np.hypot(YY - 24, XX - 24) - 12
    return (1 / (1 + np.exp(np.minimum((away - shift) / width * 4, 50)))).astype(np.float32)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def block_maps(seed: int = 0) -> BlockMaps:
    return BlockMaps(*noise(3, FINE, FINE, seed=seed), 1e-6)


def metrics(nsd1: float, hd95: float = 2.0) -> dict:
    return {"iou": 0.8, "nsd1": nsd1, "hd95": hd95}


# --- figures as people would make them -------------------------------------------------------------------------------


def some_pooling(start: float = 0.8, end: float = 0.6, trained: float = 0.75, **arguments) -> Figure:
    steps = {"guided": PoolingStep(block_maps(), soft(), 1, metrics=metrics(start))}
    for i, p in enumerate((2, 8, None), start=1):
        probability = soft(0.3 * i)
        steps[f"pool size {p}"] = PoolingStep(block_maps(i), probability, p, metrics=metrics(end))
    steps["pooled"] = PoolingStep(block_maps(9), soft(0.2), 8, True, metrics(trained))
    return pooling(IMAGE, steps, stride=STRIDE, **arguments)


def change(moved: np.ndarray | float, before: float = 0.8, after: float = 0.7, control: bool = False) -> Change:
    edge = noise(FINE, FINE)
    first = soft()
    return Change(
        Prediction(first, edge, metrics(before)), Prediction(first + moved, edge, metrics(after, 4.0)), control
    )


RING = ring(DISC, 3.0)


def some_causal(images: int = 3, truth: bool = True, **changes: Change) -> Figure:
    changes = changes or {"zeroed": change(-0.2 * RING), "shuffled": change(-0.1 * RING),
                          "control": change(0.01 * RING, after=0.8, control=True)}  # fmt: skip
    return causal([Case(IMAGE, changes, DISC if truth else None)] * images, faithfulness=0.0)


def profile_maps(shift: float = 0.0) -> ProfileMaps:
    fine = noise(5, FINE, FINE)
    return ProfileMaps(soft(shift), fine[0], fine[1], fine[2], fine[3], 1e-6, anisotropy=fine[4])


def some_profile(first: float = 0.1, second: float = 1.5, **arguments) -> Figure:
    maps = {"guided": replace(profile_maps(first), guidance=noise(FINE, FINE)), "pooled": profile_maps(second)}
    return boundary_profile(IMAGE, maps, (24, 33), stride=STRIDE, contour=DISC, **arguments)


def edge_map(labels: np.ndarray) -> np.ndarray:
    near = np.abs(signed_distance(labels)) < 1.5
    return near.reshape(FINE, STRIDE, FINE, STRIDE).mean((1, 3))


def some_boundary(*second: np.ndarray) -> Figure:
    maps = {"guided": edge_map(DISC), "pooled": edge_map(np.roll(DISC, 3, 0)) if not second else second[0]}
    return boundary_branch(IMAGE, maps, DISC, stride=STRIDE)


def head_maps(*entropies: float) -> KernelMaps:
    n = len(entropies)
    flat = np.ones((n, FINE, FINE)) * np.array(entropies)[:, None, None]
    moved = np.ones((n, 2, FINE, FINE)) * np.arange(n)[:, None, None, None]
    return KernelMaps(flat, 0.5 * flat, np.full_like(flat, 0.9), moved, 1e-6)


def some_heads(*entropies: float) -> Figure:
    return kernel_maps(IMAGE, {"guided": head_maps(*(entropies or (0.1, 0.6))), "pooled": head_maps(0.5, 0.5)},
                       stride=STRIDE, truth=DISC)  # fmt: skip


def kernel_shapes(turn: float = 0.0, unimodal: bool = True) -> KernelEllipses:
    """Two heads whose long axis runs along the disc's outline, turned by `turn`."""
    y, x = (np.indices((FINE, FINE)) + 0.5) * STRIDE - 24
    angle = np.stack([np.arctan2(y, x) + np.pi / 2 + turn] * 2)
    ones = np.ones((2, FINE, FINE))
    return KernelEllipses(2 * ones, 0.5 * ones, angle, ones > (0 if unimodal else 1), np.ones((2, 2, FINE, FINE)), 1e-6)


def some_ellipses(first: float = 0.0, **arguments) -> Figure:
    return ellipses(IMAGE, {"guided": kernel_shapes(first), "pooled": kernel_shapes(np.pi / 4)}, stride=STRIDE,
                    truth=DISC, **arguments)  # fmt: skip


def some_region(inside: float = 0.3, beside: float = 0.05) -> Figure:
    other = elsewhere(RING)
    return region(IMAGE, {"ring": Region(RING, soft(), soft() + inside * RING, 0.9),
                          "elsewhere": Region(other, soft(), soft() + beside * other, 0.1, control=True)},
                  what="guidance zeroed", truth=DISC, faithfulness=0.0)  # fmt: skip


def some_stages(gate: float | None = 1.0) -> Figure:
    deep, fine = noise(2, 3, 3), noise(5, FINE, FINE)
    gates = {} if gate is None else {"gate_deep": np.full((3, 3), gate), "gate_shallow": np.full((FINE, FINE), gate)}
    return sge_stages(IMAGE, SGEStages(*deep, *fine, faithfulness=1e-6, **gates), strides=(16, STRIDE), truth=DISC)


def some_distance(rise: float = 0.5, images: int = 6, other: float = 0.0) -> Figure:
    truths = [np.roll(DISC, i, 0) for i in range(images)]
    near = [(np.abs(signed_distance(t)) < 3).reshape(FINE, 2, FINE, 2).mean((1, 3)) for t in truths]
    rng = np.random.default_rng(1)
    curves = {name: [size * m + 0.05 * rng.standard_normal(m.shape) for m in near]
              for name, size in (("guided", rise), ("pooled", other))}  # fmt: skip
    return statistic_by_distance({"Static gate": curves, "Kernel entropy": curves}, truths, stride=STRIDE,
                                 units={"Static gate": "0..1"}, faithfulness=1e-6)  # fmt: skip


def some_training(sharp: bool = True, **arguments) -> Figure:
    flat, one = np.full((2, 5, 5), 1 / 25), np.zeros((2, 5, 5))
    one[:, 2, 3] = 1
    last = one if sharp else flat
    shares = {0: 0.0, 200: 0.5, 50: 0.1, 900: 1.0}  # not in order
    steps = {s: TrainingStep((1 - b) * flat + b * last, block_maps(s)) for s, b in shares.items()}
    curve = np.arange(0, 901, 100.0)
    return training(steps, {"training loss": (curve, np.exp(-curve / 300))}, (11, 21), stride=STRIDE, **arguments)


FIGURES = {
    "pooling": some_pooling, "causal": some_causal, "causal without truth": lambda: some_causal(1, truth=False),
    "profile": some_profile, "boundary": some_boundary, "kernel-maps": some_heads, "ellipses": some_ellipses,
    "region": some_region, "sge": some_stages, "distance": some_distance, "training": some_training,
    "pooling, chosen": lambda: some_pooling(chosen="pool size 8"),
    "training, chosen": lambda: some_training(chosen=200),
}  # fmt: skip
INSIDE = ("pooling", "profile", "kernel-maps", "ellipses", "sge", "distance", "training", "causal", "region")


def parse(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html)


# --- every figure ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_complete_in_words_and_drawn_twice(name):
    figure = FIGURES[name]()
    for text in (figure.title, figure.message, figure.summary, figure.alt):
        assert len(text) > 5 and "nan" not in text.lower().split()
    assert figure.message in figure.alt  # the conclusion, for those who do not see it
    assert figure.message[0].isupper() or figure.message[0] == "“" or figure.message[-1] == "."
    assert (figure.faithfulness is not None) == (name.split(",")[0].split(" ")[0] in INSIDE)
    assert not figure.badge or figure.badge.startswith("Faithful: ")
    html = figure.to_html()
    root = parse(html)
    drawn = [svg for svg in root.iter("svg") if svg.get("aria-hidden") is None]
    assert drawn and all(svg.get("role") in ("img", "application") and len(svg.get("aria-label")) > 10 for svg in drawn)
    assert "nan" not in re.sub(r"base64,[^\"]*", "", html).lower()
    for found in re.findall(r"""(?:href|src|url)\s*[=(]\s*["']?([^"')\s>]+)""", html):
        assert found.startswith("data:image/png;base64,")
    picture = Image.open(io.BytesIO(figure.to_png(60)))
    assert picture.format == "PNG" and np.asarray(picture.convert("L")).std() > 10


@pytest.mark.parametrize("name", FIGURES)
def test_compared_panels_share_one_scale(name):
    figure = FIGURES[name]()
    for c, column in enumerate(figure.columns):
        cells = [cell for row in figure.cells for cell in (row[c] if isinstance(row[c], tuple) else (row[c],))]
        for cell in cells:
            if column.scale is not None and getattr(cell, "scale", None) is not None:
                assert cell.scale is column.scale
    signed_scales = [c.scale for c in figure.columns if c.scale is not None and c.scale.cmap == "RdBu_r"]
    assert all(scale.low == -scale.high for scale in signed_scales)  # white is zero


@pytest.mark.parametrize("name", FIGURES)
def test_images_and_intervals_are_counted_in_words(name):
    figure = FIGURES[name]()
    if name in ("causal", "distance"):
        assert re.search(r"\d images", figure.summary) and "95 % bootstrap interval" in figure.summary
    else:
        assert "one image" in figure.summary.lower() and "no interval" in figure.summary.lower()
        assert "95 %" not in figure.summary


# --- charts ----------------------------------------------------------------------------------------------------------


def test_series_differ_by_dashes_and_markers_and_not_by_colour_alone():
    assert len({dashes for _, dashes, *_ in SERIES}) == len({marker for *_, marker in SERIES}) == len(SERIES)
    with pytest.raises(ValueError, match="at most 7 lines"):
        Series("eighth", np.arange(2), np.arange(2), 7)


def test_a_plot_leaves_gaps_where_values_are_missing():
    y = np.array([0.0, 1, np.nan, 1, 0])
    plot = Plot("t", (Series("a", np.arange(5.0), y, 0, y - 0.1, y + 0.1),), "x", "y", (0, 1), "alt", zero="here")
    figure = Figure("x", "t", "m", "s", "a", (), (), (), strip=(plot,))
    paths = [p.get("d") for p in parse(figure.to_html()).iter("path") if p.get("stroke-dasharray") == "none"]
    assert len(paths) == 2 and figure.to_png(60)
    assert "here" in figure.to_html()


@pytest.mark.parametrize("y_range, drawn", [((-1, 1), True), ((0.5, 1), False)])
def test_a_plot_draws_zero_where_zero_is(y_range, drawn):
    plot = Plot("t", (Series("a", np.arange(3.0), np.full(3, 0.7), 0),), "x", "y", y_range, "alt", level="no gain")
    figure = Figure("x", "t", "m", "s", "a", (), (), (), strip=(plot,))
    lines = [p for p in parse(figure.to_html()).iter("path") if p.get("class") == "sg-zero"]
    assert len(lines) == drawn and ("no gain" in figure.to_html()) == drawn and figure.to_png(60)


def test_effects_write_every_value_and_mark_controls_by_shape():
    chart = Effects(
        "t", (Effect("a", -0.5, -0.6, -0.4), Effect("b", 0.25, control=True), Effect("c", np.nan)), "px", "alt"
    )
    html = Figure("x", "t", "m", "s", "a", (), (), (), strip=(chart,)).to_html()
    texts = [t.text for t in parse(html).iter("text")]
    assert {"a", "b", "c", "−0.50", "+0.25", "undefined", "0 = unchanged"} <= set(texts)
    marks = [p for p in parse(html).iter("path") if p.get("stroke-width") == "1.5"]
    assert [m.get("fill") == "none" for m in marks] == [False, True] and marks[0].get("d") != marks[1].get("d")
    low, high = chart.x_range
    assert low < -0.6 and high > 0.25


def test_text_of_others_is_escaped_in_charts_too():
    plot = Plot("<b>", (Series("<i>", np.arange(2), np.arange(2), 0),), "<u>", "<s>", (0, 1), '"<em>')
    chart = Effects("<b>", (Effect("<i>", 1.0),), "<u>", '"<em>', "<s>")
    picture = Picture(IMAGE, "a", title="<q>", strokes=(Strokes("<k>", (np.zeros((2, 2)),), "normal"),))
    figure = Figure("x", "t", "m", "s", "a", ("r",), (Column("c"),), ((picture,),), strip=(plot, chart),
                    legend=(("series-0", "<p>"),))  # fmt: skip
    assert not {e.tag for e in parse(figure.to_html()).iter()} & {"b", "i", "u", "s", "em", "q", "k", "p>"}
    assert figure.to_png(60)


@settings(deadline=None, max_examples=40)
@given(st.floats(-1e4, 1e4), st.floats(1e-4, 1e4))
def test_ticks_lie_inside_and_ranges_hold_all(low, width):
    ticks = nice_ticks(low, low + width)
    assert all(low - 1e-6 * width <= t <= low + width * (1 + 1e-6) for t in ticks)
    a, b = padded_range(np.array([low, low + width, np.nan]))
    assert a < low and b > low + width
    assert padded_range(np.array([np.nan])) == (0.0, 1.0) and padded_range([3.0])[0] < 3 < padded_range([3.0])[1]


def test_changes_carry_their_sign():
    assert [signed(v) for v in (0.5, -0.5, 0.0, np.nan)] == ["+0.50", "−0.50", "0", "undefined"]


def test_a_colour_bar_and_a_title_belong_to_a_single_picture():
    scale = Scale("unit of it", 0, 1)
    picture = Picture(noise(4, 4), "a map of noise", scale, title="first", bar=True)
    figure = Figure("x", "t", "m", "s", "a", ("r",), (Column(""),), ((picture,),))
    text = "".join(parse(figure.to_html()).itertext())
    assert "first" in text and "unit of it" in text and figure.to_png(60)


# --- geometry --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.integers(6, 14), st.integers(-4, 4))
def test_signed_distance_of_a_disc_is_the_radius_and_changes_sign_with_the_mask(radius, shift):
    away = np.hypot(YY - 24, XX - 24 - shift) - radius
    mask = (away < 0).astype(int)
    distance = signed_distance(mask)
    assert ((distance < 0) == (mask == 1)).all() and np.abs(distance).min() == 0.5
    assert np.abs(distance - away).max() < 1.2  # a disc of pixels is round to about one pixel
    assert np.array_equal(signed_distance(1 - mask), -distance)


def test_touching_objects_have_an_outline_between_them_and_the_frame_is_none():
    distance = signed_distance(TWO)
    assert distance[20, 19] == distance[20, 20] == -0.5 and signed_distance(TWO > 0)[20, 20] < -5
    half = np.zeros((SIZE, SIZE), int)
    half[:, :10] = 1
    assert signed_distance(half)[24, 0] == -9.5
    assert (signed_distance(np.zeros((4, 4))) == np.inf).all() and (signed_distance(np.ones((4, 4))) == -np.inf).all()


@settings(deadline=None, max_examples=20)
@given(st.floats(0.5, 5), st.integers(0, 5))
def test_a_ring_and_its_control_have_the_same_size_and_do_not_meet(width, seed):
    near = ring(DISC, width)
    assert (np.abs(signed_distance(DISC))[near] <= width).all()
    other = elsewhere(near, seed)
    assert other.sum() == near.sum() and not (other & near).any()
    assert np.array_equal(other, elsewhere(near, seed))


def test_rings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="no outline"):
        ring(np.zeros((8, 8)))
    with pytest.raises(ValueError, match="width=0.1 must be 0.5"):
        ring(DISC, 0.1)
    with pytest.raises(ValueError, match="at most half"):
        elsewhere(np.ones((8, 8), bool))


def test_the_true_boundary_is_one_pixel_inside_every_object():
    edge = true_boundary(TWO)
    assert edge[10, 8:36].all() and edge[20, 19] and edge[20, 20] and not edge[20, 10] and not edge[TWO == 0].any()
    full = np.ones((6, 6), int)
    assert not true_boundary(full).any()  # the frame is no boundary


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(0, 4))
def test_boundary_score_counts_every_pixel_once_and_grows_with_the_tolerance(seed, tolerance):
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 12, 15)) < 0.15
    score = boundary_score(a, b, tolerance)
    assert np.array_equal(score.hits | score.misses, b) and not (score.hits & score.misses).any()
    assert not (score.false_alarms & ~a).any()
    if a.any() and b.any():
        assert score.recall == pytest.approx(score.hits.sum() / b.sum())
        assert score.precision == pytest.approx(1 - score.false_alarms.sum() / a.sum())
        assert boundary_score(b, a, tolerance).f == pytest.approx(score.f)  # roles change, F stays
        assert boundary_score(a, b, tolerance + 1).f >= score.f - 1e-12
    assert boundary_score(b, b, 0).f == pytest.approx(1) or not b.any()


def test_boundary_score_by_hand_and_at_its_limits():
    true, predicted = np.zeros((2, 9, 9), bool)
    true[4, 2:6] = True  # four pixels
    predicted[5, 2:4] = predicted[0, 0] = True  # two of them one pixel away, one far off
    score = boundary_score(predicted, true, 1.0)
    assert (score.precision, score.recall) == pytest.approx((2 / 3, 0.5)) and score.f == pytest.approx(4 / 7)
    empty = np.zeros((9, 9), bool)
    assert boundary_score(empty, true).f == 0 and np.isnan(boundary_score(empty, empty).f)
    with pytest.raises(ValueError, match="tolerance=-1 must be 0 or more"):
        boundary_score(true, true, -1)
    with pytest.raises(ValueError, match="agree in shape"):
        boundary_score(true, true[:-1])


@settings(deadline=None, max_examples=20)
@given(st.floats(0.02, 0.15), st.floats(-1, 1))
def test_the_steepness_of_a_blurred_step_is_its_slope(slope, shift):
    labels = np.zeros((20, 20), int)
    labels[:, :10] = 1
    ramp = np.clip(0.5 - slope * (np.arange(20) + 0.5 - 10 - shift), 0, 1) * np.ones((20, 1))
    assert steepness(ramp, labels) == pytest.approx(slope)
    assert steepness(ramp.T, labels.T) == pytest.approx(slope)


def test_the_steepness_at_its_limits():
    step = (XX < 24).astype(float)
    assert steepness(step, step) == 0.5 and steepness(0 * step, step) == 0
    assert np.isnan(steepness(step, 0 * step)) and np.isnan(steepness(np.ones((1, 5)), np.ones((1, 5))))


@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_the_normal_of_a_disc_points_away_from_its_middle(degrees):
    y, x = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    normal = normal_at(DISC, (int(24 + 9 * y), int(24 + 9 * x)))
    assert np.hypot(normal.point[0] - 24, normal.point[1] - 24) == pytest.approx(12, abs=0.8)
    out = np.array(normal.point) - 24
    assert np.dot(normal.direction, out / np.hypot(*out)) > 0.97 and normal.label == 1
    assert np.hypot(*normal.direction) == pytest.approx(1)


def test_the_normal_belongs_to_the_object_of_the_pixel_and_avoids_the_frame():
    left, right = normal_at(TWO, (20, 18)), normal_at(TWO, (20, 21))
    assert (left.label, right.label) == (1, 2) and left.direction[1] > 0.9 and right.direction[1] < -0.9
    half = np.zeros((SIZE, SIZE), int)
    half[:, :20] = 1
    normal = normal_at(half, (24, 0))  # the frame is nearer, but no outline
    assert normal.point[1] == pytest.approx(20) and normal.direction == pytest.approx((0, 1), abs=1e-6)
    for empty in (np.zeros((8, 8)), np.ones((8, 8))):
        with pytest.raises(ValueError, match="no outline to cross"):
            normal_at(empty, (4, 4))


@settings(deadline=None, max_examples=30)
@given(st.floats(-3, 3), st.floats(-3, 3), st.sampled_from([1, 2, 4]))
def test_sampling_is_exact_on_ramps_whatever_the_stride(a, b, stride):
    y, x = (np.indices((12, 12)) + 0.5) * stride
    ramp = a * y + b * x
    points = np.random.default_rng(0).uniform(stride, 11 * stride, (2, 20))
    assert sample(ramp, points, stride) == pytest.approx(a * points[0] + b * points[1], abs=1e-9)
    assert np.isnan(sample(ramp, np.array([[-1.0], [2.0]]), stride)).all()
    assert upsample(ramp, stride, (12 * stride - 1, 12 * stride)).shape == (12 * stride - 1, 12 * stride)


def test_intervals_hold_the_mean_and_need_two_images():
    values = np.random.default_rng(0).normal(2.0, 1.0, (40, 3))
    values[5:, 2] = np.nan
    mean, low, high = interval_of_mean(values)
    assert (low < mean).all() and (mean < high).all() and high[0] - low[0] == pytest.approx(4 / 40**0.5, rel=0.4)
    assert mean[2] == pytest.approx(values[:5, 2].mean())
    assert interval_of_mean(values[:1])[1:] == (None, None)
    assert np.isnan(interval_of_mean(np.full((3, 1), np.nan))[0]).all()
    again = interval_of_mean(values)
    assert np.array_equal(again[1], low)  # a fixed seed


# --- what each view says: expected, none, reversed -------------------------------------------------------------------


def test_pooling_says_what_averages_cost_and_what_training_gives_back():
    assert "falls from 0.800 to 0.600" in some_pooling().message
    assert "on this image falls from" in some_pooling().message
    for trained in (0.8, 0.75, 0.5):  # no cause is named: it is one training, on one image
        told = f"a network trained this way reaches {trained:.3f} (one training run)."
        assert some_pooling(trained=trained).message.endswith(told)
    assert "on this image stays at 0.801" in some_pooling(end=0.801).message
    assert "rises from 0.800 to 0.900" in some_pooling(end=0.9).message
    assert "finds no outline here" in some_pooling(start=0.0, end=0.0).message
    assert "surface Dice is undefined" in some_pooling(end=np.nan).message


def test_pooling_labels_what_was_not_retrained_and_shows_the_chosen_step():
    figure = some_pooling(truth=DISC)
    assert figure.rows == ("guided", "pool size 2 · not retrained", "pool size 8 · not retrained",
                           "pool size None · not retrained", "pooled · trained this way")  # fmt: skip
    assert np.allclose(figure.cells[2][-1].pixels, soft(0.6) - soft())
    assert (figure.cells[0][-1].pixels == 0).all()
    chosen = some_pooling(chosen="pool size 8")
    assert chosen.rows == ("guided", "pool size 8 · not retrained", "pooled · trained this way")
    assert chosen.strip[0].mark == (2, "chosen") and len(chosen.strip[0].series[0].x) == 4  # curves keep all steps
    assert "8 px" not in figure.message and "16 px" in figure.message  # p = 8 feature pixels are 16 image pixels
    assert "as it was trained" in some_pooling(chosen="guided").message
    assert "was trained with" in some_pooling(chosen="pooled").message
    with pytest.raises(ValueError, match="chosen='pool size 3' is none of the steps: give one of guided"):
        some_pooling(chosen="pool size 3")
    with pytest.raises(ValueError, match="must be the network as it is"):
        pooling(IMAGE, {"p": PoolingStep(block_maps(), soft(), 2)}, stride=2)
    with pytest.raises(ValueError, match="steps is empty"):
        pooling(IMAGE, {}, stride=2)


def test_pooling_without_truth_speaks_of_the_probability():
    steps = {"guided": PoolingStep(block_maps(), soft(), 1), "pool size 4": PoolingStep(block_maps(1), soft(2.0), 4)}
    assert "moves by" in pooling(IMAGE, steps, stride=2).message
    steps["pool size 4"] = replace(steps["pool size 4"], probability=soft())
    figure = pooling(IMAGE, steps, stride=2)
    assert "hardly moves" in figure.message and figure.table == () and len(figure.strip) == 1


def test_causal_tells_the_strongest_cause_and_where_it_acts():
    figure = some_causal()
    assert figure.message.startswith(
        "“zeroed” moves the prediction most: by 0.20 near the outline, and hardly anything"
    )
    alone = some_causal(zeroed=change(-0.2 * RING)).message
    assert alone.startswith("“zeroed” moves the prediction by 0.20 near the outline")  # most of one is no news
    assert "falls by 0.10" in figure.message
    near, surface, far, steep = figure.strip
    assert steep.title == "Steepness" and "left is blurrier" in steep.axis and "at the true outline" in figure.summary
    assert [e.value for e in near.entries] == pytest.approx([0.2, 0.1, 0.01], abs=1e-6)
    assert [e.beside for e in near.entries] == pytest.approx([0, 0, 0], abs=1e-6)
    assert [e.value for e in surface.entries] == pytest.approx([-0.1, -0.1, 0]) and far.entries[0].value == 2.0
    assert near.entries[2].control and near.entries[0].low is not None and far.zero == "unchanged network"
    assert figure.cells[0][0].title == "the image" and figure.cells[0][1].scale is figure.cells[0][3].scale
    assert "Faithful: same probability after writing back what was recorded, equal to the last bit." == figure.badge


def test_causal_is_honest_when_nothing_happens_when_it_helps_and_when_a_control_does_the_same():
    assert "hardly used" in some_causal(zeroed=change(0.001, after=0.8)).message
    assert "even rises by 0.10" in some_causal(zeroed=change(-0.2 * RING, after=0.9)).message
    assert "stays the same" in some_causal(zeroed=change(-0.2 * RING, after=0.8)).message
    assert "and elsewhere no less (0.20)" in some_causal(zeroed=change(0.2)).message
    where = -0.018 * RING - 0.002  # ten times as much near the outline, which a control can do as well
    alike = some_causal(zeroed=change(10 * where), random=change(where, control=True)).message
    assert "10.0 times as much as elsewhere" in alike and "takes no training: the same holds of “random”" in alike
    alike = some_causal(zeroed=change(10 * where), random=change(-0.002, control=True)).message
    assert "10.0 times as much as elsewhere" in alike and "takes no training" not in alike
    same = some_causal(zeroed=change(-0.2 * RING), random=change(-0.2 * RING, control=True))
    assert "but the control “random” moves it as much" in same.message
    assert "Only controls" in some_causal(random=change(0.2, control=True)).message


def test_causal_with_one_image_has_no_interval_and_without_truth_no_accuracy():
    figure = some_causal(1, truth=False)
    assert all(e.low is None for e in figure.strip[0].entries) and "One image, no interval" in figure.summary
    assert "unchanged prediction's outline" in figure.summary
    bare = Change(Prediction(soft(), noise(4, 4)), Prediction(soft(0.5), noise(4, 4)))
    figure = causal([Case(IMAGE, {"a": bare})])
    assert len(figure.strip) == 2 and "No truth, so no surface Dice" in figure.summary
    assert "the outline of each prediction" in figure.summary
    nothing = Change(Prediction(0 * soft(), noise(4, 4)), Prediction(0 * soft(), noise(4, 4)))
    assert "no outline in this image" in causal([Case(IMAGE, {"a": nothing})]).message
    assert "no outline in these images" in causal([Case(IMAGE, {"a": nothing})] * 2).message
    assert "Only controls were given" in causal([Case(IMAGE, {"a": replace(nothing, control=True)})]).message
    many = causal([Case(IMAGE, {str(i): bare for i in range(7)})])
    assert len(many.cells) == 2 and many.to_html()


def test_causal_and_region_tell_blurrier_from_moved_and_on_which_scale():
    edge = noise(FINE, FINE)
    rows = {name: Change(Prediction(p, edge), Prediction(q, edge), control=c)
            for name, p, q, c in (("blurred", soft(), soft(width=4.0), False),
                                  ("sharper", soft(), soft(width=0.5), False),
                                  ("random", 0.5 + 0.01 * soft(), 0.5 + 0 * soft(), True))}  # fmt: skip
    figure = causal([Case(IMAGE, rows, DISC)])
    blurred, sharper, random = figure.strip[-1].entries
    assert blurred.value < -0.1 < 0 < sharper.value and random.value == pytest.approx(
        -0.01 * steepness(soft(), DISC), rel=0.01
    )
    assert blurred.value == pytest.approx(steepness(soft(width=4.0), DISC) - steepness(soft(), DISC))
    std = soft().std()
    assert f"over the image: the network {std:.2f}; random {0.01 * std:.4f}" in figure.summary
    parts = {name: Region(RING, c.before.probability, c.after.probability, control=c.control, surface_dice=(0.8, 0.7))
             for name, c in rows.items()}  # fmt: skip
    figure = region(IMAGE, parts, what="x", truth=DISC)
    steep, dice = figure.strip[1:]
    assert [e.value for e in steep.entries] == pytest.approx([blurred.value, sharper.value, random.value])
    assert [e.value for e in dice.entries] == pytest.approx([-0.1] * 3)
    assert f"before, over the image: blurred {std:.2f}" in figure.summary and figure.alt.startswith("Regions")


def test_causal_refuses_cases_that_do_not_fit():
    with pytest.raises(ValueError, match="cases is empty"):
        causal([])
    with pytest.raises(ValueError, match="no changes"):
        causal([Case(IMAGE, {})])
    with pytest.raises(ValueError, match="case 1 has the rows"):
        causal([Case(IMAGE, {"a": change(0)}), Case(IMAGE, {"b": change(0)})])
    with pytest.raises(ValueError, match="shown=2 is no case: give 0 to 0"):
        causal([Case(IMAGE, {"a": change(0)})], shown=2)
    with pytest.raises(ValueError, match="ring_width=0 must be"):
        causal([Case(IMAGE, {"a": change(0)})], ring_width=0)


def test_the_profile_finds_where_each_network_crosses():
    figure = some_profile()
    assert "pooled crosses 0.5 at 1." in figure.message and "guided is nearer by" in figure.message
    assert "pooled is nearer by" in some_profile(-2.0, 0.2).message
    assert "the same within 0.25 px" in some_profile(0.5, 0.6).message
    assert "which is right is not known" in some_profile(contour_is="prediction", is_truth=False).message
    assert "equally far from the outline" in some_profile(-0.9, 1.1).message
    assert "px apart, on opposite sides" in some_profile(-0.9, 1.1).message
    shifts = {row[0]: float(row[1].replace("−", "-")) for row in figure.table[1:]}
    assert shifts["pooled"] - shifts["guided"] == pytest.approx(1.4, abs=0.1)
    plots = {p.title: p for row in figure.cells for p in row if isinstance(p, Plot)}
    assert len(plots["Guidance"].series) == 1 and len(plots["Probability of object"].series) == 2
    image = plots["Image"].series[0]
    assert image.style == 6 and ("series-6", "image") in figure.legend  # no control can have it
    assert plots["Guidance"].series[0].style == 0  # the same look in every plot
    assert not figure.lead.linked and "sg-zoom" not in figure.to_html()  # it shows its own part of the image
    curve = plots["Probability of object"].series[0]
    assert curve.y[curve.x < -4].min() > 0.9 and curve.y[curve.x > 4].max() < 0.1  # negative is inside


def test_the_profile_tells_when_it_meets_another_object_and_when_nothing_crosses():
    flat = replace(profile_maps(), probability=np.zeros((SIZE, SIZE)))
    figure = boundary_profile(IMAGE, {"guided": flat, "pooled": profile_maps()}, (20, 19), stride=STRIDE, contour=TWO)
    assert "meets another object" in figure.summary and "guided never crosses 0.5" in figure.message
    alone = boundary_profile(IMAGE, {"guided": profile_maps()}, (24, 33), stride=STRIDE, contour=DISC, reach=40)
    assert alone.message.startswith("Here guided crosses") and alone.to_png(60)  # the line leaves the image: gaps
    with pytest.raises(ValueError, match="outside the image"):
        boundary_profile(IMAGE, {"a": flat}, (99, 0), stride=2, contour=DISC)
    with pytest.raises(ValueError, match="maps is empty"):
        boundary_profile(IMAGE, {}, (0, 0), stride=2, contour=DISC)
    with pytest.raises(ValueError, match="maps has 7 networks: at most 6"):
        boundary_profile(IMAGE, {str(i): flat for i in range(7)}, (0, 0), stride=2, contour=DISC)
    with pytest.raises(ValueError, match="reach=1 must be 2"):
        boundary_profile(IMAGE, {"a": flat}, (0, 0), stride=2, contour=DISC, reach=1)


@settings(deadline=None, max_examples=30)
@given(st.floats(-5, 5), st.floats(0.02, 0.2))
def test_crossings_of_straight_lines_are_exact(where, slope):
    distance = np.arange(-12, 13) * 0.5
    found = crossing(distance, 0.5 - slope * (distance - where))
    assert found == pytest.approx((where, slope), abs=1e-6)
    assert crossing(distance, np.full(25, 0.2)) is None
    assert crossing(distance, np.full(25, np.nan)) is None


def test_the_boundary_view_counts_and_ranks_by_the_f_score():
    figure = some_boundary()
    assert "guided has the better F score" in figure.message
    table = {row[0]: row[1:] for row in figure.table}
    true = int(true_boundary(DISC).sum())
    assert int(table["guided"][0]) + int(table["guided"][1]) == true
    assert float(table["guided"][5]) > 0.9 > float(table["pooled"][5])
    judged = figure.cells[1][1].pixels
    assert (judged == (230, 97, 0)).all(2).sum() == int(table["pooled"][1])  # each miss is one orange pixel
    curve = figure.cells[0][2].series[0]
    assert (np.diff(curve.y) >= 0).all()
    swapped = boundary_branch(
        IMAGE, {"guided": edge_map(np.roll(DISC, 3, 0)), "pooled": edge_map(DISC)}, DISC, stride=2
    )
    assert "pooled has the better F score" in swapped.message
    assert "are alike" in some_boundary(edge_map(DISC)).message


def test_the_boundary_view_at_its_limits():
    empty = boundary_branch(IMAGE, {"guided": edge_map(DISC)}, np.zeros_like(DISC), stride=2)
    assert "no true boundary" in empty.message and "undefined" in str(empty.table)
    silent = boundary_branch(IMAGE, {"guided": np.zeros((FINE, FINE))}, DISC, stride=2)
    assert "guided 0 %" in silent.message and silent.table[1][4] == "undefined"
    assert thin(edge_map(DISC), 2, DISC.shape).sum() < 1.3 * true_boundary(DISC).sum()
    for wrong in ({"threshold": 0.0}, {"tolerance": -1}, {"truth": DISC[:-1]}):
        with pytest.raises(ValueError):
            boundary_branch(IMAGE, {"a": edge_map(DISC)}, wrong.pop("truth", DISC), stride=2, **wrong)
    with pytest.raises(ValueError, match="boundaries is empty"):
        boundary_branch(IMAGE, {}, DISC, stride=2)


def test_heads_that_differ_heads_that_do_not_and_uniform_kernels():
    figure = some_heads(0.1, 0.6)
    assert "head 1 is the sharpest (mean entropy 0.10), head 2 the widest (0.60)" in figure.message
    assert "head 2 looks farthest" in figure.message and "1.4 feature pixels" in figure.message
    alike = KernelMaps(*(np.full((2, FINE, FINE), v) for v in (0.3, 0.2, 1.0)), np.zeros((2, 2, FINE, FINE)), 0.0)
    assert "do much the same" in kernel_maps(IMAGE, {"guided": alike}, stride=2).message
    assert "Nearly uniform" in some_heads(0.95, 0.99).message
    assert "one head" in kernel_maps(IMAGE, {"guided": head_maps(0.5)}, stride=2).message
    assert len(figure.cells[0][0]) == 2 and figure.table[1][0] == "guided, 1"
    assert figure.table[2][3] == "+1.0, +1.0" and "head 2 +1.0 down, +1.0 right" in figure.summary
    assert figure.title == "What the kernels of each head look like"
    assert np.allclose(figure.cells[0][3][0].pixels, 0.1)  # mass outside = 1 - in bounds
    with pytest.raises(ValueError, match="maps is empty"):
        kernel_maps(IMAGE, {}, stride=2)


def test_ellipses_along_across_and_unrelated():
    assert "Guided kernels are stretched along the edges" in some_ellipses().message
    assert "stretched across the edges" in some_ellipses(np.pi / 2).message
    assert "no more than by chance" in some_ellipses(np.pi / 4).message
    assert re.search(r"\(0\.\d\d; image shifted −?0\.\d\d \(−?0\.\d\d to −?0\.\d\d\)\)", some_ellipses().message)
    k = kernel_shapes()
    assert alignment(IMAGE, k.angle[0], k.major[0], k.minor[0], k.unimodal[0], STRIDE) > 0.9
    assert alignment(IMAGE, k.angle[0], k.major[0], k.major[0], k.unimodal[0], STRIDE) == 0  # round ones have no axis


def test_every_kernel_alike_is_stretched_along_edges_by_chance_only():
    """All point to the right, the edges of a striped image too: shifting it changes nothing."""
    k, flat = kernel_shapes(), np.zeros((2, FINE, FINE))
    stripes = np.repeat((255 * (YY // 4 % 2))[..., None], 3, 2).astype(np.uint8)
    figure = ellipses(stripes, {"guided": replace(k, angle=flat)}, stride=STRIDE)
    assert (
        "along the edges of the image no more than by chance (1.00; image shifted 1.00 (1.00 to 1.00))"
        in figure.message
    )
    assert figure.table[1][-2:] == ("1.00", "1.00 (1.00 to 1.00)")


def test_a_control_that_does_as_much_is_named():
    along, turned = kernel_shapes(), kernel_shapes(np.pi / 4)
    figure = ellipses(IMAGE, {"guided": along, "pooled": turned, "random weights": along}, stride=STRIDE,
                      controls=["random weights"])  # fmt: skip
    assert "The control “random weights” reaches as much" in figure.message
    for rows, controls in ((("guided", "pooled"), ()), (("guided", "shuffled"), ["shuffled"])):
        shapes = dict(zip(rows, (along, turned), strict=True))
        assert "The control" not in ellipses(IMAGE, shapes, stride=STRIDE, controls=controls).message
    edges = np.hypot(*np.gradient(IMAGE.mean(2).reshape(FINE, 2, FINE, 2).mean((1, 3))))
    follows = replace(head_maps(0.5, 0.5), entropy=np.stack([edges / edges.max(), noise(FINE, FINE)]))
    plain = replace(head_maps(0.5, 0.5), entropy=noise(2, FINE, FINE))
    maps = {"guided": plain, "random weights": follows}
    assert "the control “random weights” does so no less" in kernel_maps(IMAGE, maps, stride=2, controls=maps).message
    told = kernel_maps(IMAGE, maps, stride=2, controls=maps).message
    assert told.endswith("standard deviation of the entropy: 0.29 and 0.26.")
    maps = {"guided": follows, "random weights": plain}
    assert ", controls with " in kernel_maps(IMAGE, maps, stride=2, controls=["random weights"]).message
    assert "control" not in kernel_maps(IMAGE, maps, stride=2).message


def test_ellipses_are_drawn_in_true_size_and_several_peaks_get_a_cross():
    figure = some_ellipses(across=6)
    shapes = {s.style: s for s in figure.cells[0][0].strokes}
    assert set(shapes) == {"ellipse", "arrow"}
    first = shapes["ellipse"].lines[0]
    span = np.hypot(*(first[:, None] - first[None]).T).max()
    assert span == pytest.approx(2 * 2.0 * STRIDE, rel=0.02)  # two standard deviations of 2 feature pixels
    arrow = shapes["arrow"].lines[0]
    assert np.diff(arrow, axis=0)[0] == pytest.approx((STRIDE, STRIDE))  # displacement (1, 1) in feature pixels
    crosses = ellipses(IMAGE, {"guided": kernel_shapes(unimodal=False)}, stride=2, window=(4, 4, 20, 20))
    assert [s.style for s in crosses.cells[0][0].strokes] == ["xmark"]
    assert crosses.cells[0][0].origin == (4, 4) and crosses.cells[0][0].pixels.shape == (16, 16, 3)
    with pytest.raises(ValueError, match="across=0 must be 1"):
        some_ellipses(across=0)
    with pytest.raises(ValueError, match="kernels is empty"):
        ellipses(IMAGE, {}, stride=2)


def test_a_region_matters_more_less_as_much_or_not_at_all():
    assert "6.0 times what it does with the same number of pixels" in some_region().message
    assert "and 6.0 times as much with the same number of pixels in “elsewhere”" in some_region(0.05, 0.3).message
    between = some_region(0.12, 0.1).message
    assert "1.2 times what it does" in between and "no difference" not in between
    assert "1.2 times as much with" in some_region(0.1, 0.12).message
    assert "It restores 90 % of the gap, in “elsewhere” 10 %." in some_region().message
    assert "the place makes no difference" in some_region(0.1, 0.1).message
    assert "next to nothing in either place" in some_region(1e-5, 1e-5).message
    figure = some_region()
    assert [e.value for e in figure.strip[1].entries] == [0.9, 0.1] and figure.strip[1].entries[1].control
    assert "100 % of the change lies inside it" in figure.summary
    line = Region(np.eye(SIZE, dtype=bool), soft(), soft(), control=True)
    uneven = region(IMAGE, {"ring": Region(RING, soft(), soft() + 0.3 * RING), "line": line}, what="x")
    assert f"48 pixels instead of {RING.sum()}" in uneven.message and len(uneven.strip) == 2
    alone = region(IMAGE, {"ring": Region(RING, soft(), soft() + 0.3 * RING)}, what="gate shut")
    assert alone.message.startswith("Gate shut only in “ring” moves the probability")
    with pytest.raises(ValueError, match="region 'a': its mask must be"):
        region(IMAGE, {"a": Region(np.zeros((SIZE, SIZE), bool), soft(), soft())}, what="x")
    with pytest.raises(ValueError, match="regions is empty"):
        region(IMAGE, {}, what="x")


def test_the_sobel_gate_stuck_open_at_work_and_off():
    assert "stuck open, over 0.99 on 100 % of the deep" in some_stages(1.0).message
    assert "gates work: mean 0.54" in some_stages(0.54).message
    off = some_stages(None)
    assert "is off" in off.message and len(off.columns) == 2
    assert [cell.stride for cell in some_stages().cells[0]] == [16] * 3 and some_stages().cells[1][0].stride == STRIDE
    half = SGEStages(*noise(2, 3, 3), *noise(5, FINE, FINE), faithfulness=0.0, gate_deep=np.ones((3, 3)))
    with pytest.raises(ValueError, match="give both gates"):
        sge_stages(IMAGE, half, strides=(16, 2))


def test_statistic_by_distance_claims_only_what_the_intervals_allow():
    figure = some_distance()
    number = r"0\.\d+ \(.* to .*\)"
    assert re.match(rf"Static gate of guided at the outline: higher than inside by {number}, higher than outside by "
                    rf"{number}; .*Pooled: .*the two differ", figure.message)  # fmt: skip
    lower = some_distance(-0.5).message
    assert re.match(rf"Static gate of guided at the outline: lower than inside by {number}, lower than", lower)
    assert re.search(r"its curve is lowest (0 to 2|2 to 4) px (in|out)side", lower)
    none = some_distance(0.0).message
    assert "no difference shown to" in none and "the same" not in none
    assert "no difference between the two shown" in some_distance(0.3, other=0.3).message
    assert "the nearest true outline" in figure.summary
    one = some_distance(images=1)
    assert one.message.endswith("one image, no interval.") and one.strip[0].series[0].low is None
    curve = figure.strip[0].series[0]
    assert curve.y[np.abs(curve.x) <= 1].min() > curve.y[curve.x > 6].max() + 0.3
    assert (curve.low <= curve.y + 1e-12)[np.isfinite(curve.y)].all()
    assert curve.x.tolist() == [-15 + 2 * i for i in range(16)]
    assert figure.data == (("images", "6"),) and figure.rows == ()


def test_statistic_by_distance_refuses_what_does_not_fit():
    fine = [noise(FINE, FINE)]
    for values, truths, said in (
        ({}, [DISC], "values is empty"),
        ({"q": {"a": fine}}, [DISC, DISC], "'a' has 1 maps for 2 images"),
        ({"q": {"a": [noise(4, 4)]}}, [DISC], "its map is"),
        ({"q": {"a": fine}}, [0 * DISC], "no image has an outline"),
    ):
        with pytest.raises(ValueError, match=said):
            statistic_by_distance(values, truths, stride=2)
    with pytest.raises(ValueError, match="width=20"):
        statistic_by_distance({"q": {"a": fine}}, [DISC], stride=2, width=20)
    stripes = (np.indices((SIZE, SIZE))[0] // 6 % 2).astype(int)  # nowhere 6 px away from an outline
    figure = statistic_by_distance({"q": {"a": fine}}, [stripes], stride=2)
    assert (
        "nothing to compare" in figure.message
        and figure.table[1][0] == "q, a"
        and figure.table[1][3:] == ("undefined",) * 3
    )
    assert (
        "nearest outline of a mask"
        in statistic_by_distance({"q": {"a": fine}}, [DISC], stride=2, contour_is="outline of a mask").summary
    )


def test_the_two_sides_of_the_outline_are_compared_apart():
    """Low inside, middling at the outline, high outside: the mean of both sides would hide it."""
    truths = [np.roll(DISC, i, 0) for i in range(4)]
    away = [signed_distance(t).reshape(FINE, 2, FINE, 2).mean((1, 3)) for t in truths]
    steps = [np.where(np.abs(d) < 4, 0.5, np.where(d < 0, 0.2, 0.8)) for d in away]
    figure = statistic_by_distance({"entropy": {"guided": steps}}, truths, stride=2)
    assert "higher than inside by 0.30" in figure.message and "lower than outside by 0.30" in figure.message
    assert re.search(r"lowest \d+ to \d+ px inside", figure.message)
    assert [v.split(" ")[0] for v in figure.table[1][1:]] == ["0.20", "0.50", "0.80", "+0.30", "−0.30"]


def test_training_sharpens_or_does_not():
    figure = some_training()
    assert "of 25 neighbours 25 count at first, 1.0 at last" in figure.message and "sharpen" in figure.message
    assert "stay about as wide" in some_training(sharp=False).message
    assert figure.rows == ("0 steps", "50 steps", "200 steps", "900 steps")  # in order, however they were given
    chosen = some_training(chosen=200)
    assert chosen.rows == ("0 steps", "200 steps", "900 steps") and chosen.strip[0].mark == (200.0, "chosen")
    assert chosen.columns == figure.columns  # the slider does not change what a colour means
    one, flat = np.eye(25)[:2].reshape(2, 5, 5), np.full((2, 5, 5), 1 / 25)
    wider = {0: TrainingStep(one, block_maps()), 9: TrainingStep(flat, block_maps())}
    assert "widen" in training(wider, {}, (0, 0), stride=2).message
    alone = training({7: TrainingStep(np.full((1, 3, 3), 1 / 9), block_maps())}, {}, (0, 0), stride=2)
    assert "After 7 steps, 9.0 of 9 neighbours count here" in alone.message and alone.strip == ()
    with pytest.raises(ValueError, match="chosen=5 is no kept step: give one of 0, 50, 200, 900"):
        some_training(chosen=5)
    with pytest.raises(ValueError, match="outside the image: rows go from 0 to 47"):
        training({0: TrainingStep(np.full((1, 3, 3), 1 / 9), block_maps())}, {}, (48, 0), stride=2)
    with pytest.raises(ValueError, match="steps is empty"):
        training({}, {}, (0, 0), stride=2)


# --- outlines --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000))
def test_outlines_keep_every_corner_and_nothing_else(seed):
    """The same closed curve as with all its points: equal area, and no point in the middle of a straight line."""
    mask = np.random.default_rng(seed).random((9, 11)) < 0.6
    area = 0.0
    for curve in outlines_of(mask):
        assert np.array_equal(curve[0], curve[-1])
        step = np.diff(curve, axis=0)
        assert (step[:-1, 0] * step[1:, 1] != step[:-1, 1] * step[1:, 0]).all()
        area += np.sum(curve[:-1, 1] * curve[1:, 0] - curve[1:, 1] * curve[:-1, 0]) / 2
    from skimage.measure import find_contours

    full = 0.0
    for curve in find_contours(np.pad(mask, 1).astype(float), 0.5):
        full += np.sum(curve[:-1, 1] * curve[1:, 0] - curve[1:, 1] * curve[:-1, 0]) / 2
    assert area == pytest.approx(full)
