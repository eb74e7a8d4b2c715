"""What notebook 07 stands on: the control of equal size, and the chart of paired effects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sgdc_viz.lens import intervene, record, zero
from sgdc_viz.nn import SGDC
from sgdc_viz.teach.lessons import cause
from sgdc_viz.teach.lessons.cause import effects_figure, rotation, turned

WORDS = dict(title="Title", axis="change of IoU", message="All fall.", alt="All fall.")


def test_rotations_are_orthogonal_differ_by_seed_and_do_not_touch_the_global_state():
    state = torch.get_rng_state()
    for seed in range(3):
        r = rotation(16, seed)
        assert torch.allclose(r @ r.T, torch.eye(16, dtype=torch.float64), atol=1e-12)
        assert torch.equal(r, rotation(16, seed))
    assert not torch.allclose(rotation(16, 0), rotation(16, 1))
    assert torch.equal(torch.get_rng_state(), state)


def test_rotations_favour_no_direction():
    """The mean of uniformly drawn rotations is 0; with QR's own signs the diagonal would lean to one side."""
    mean = torch.stack([rotation(4, seed) for seed in range(400)]).mean(0)
    assert mean.abs().max() < 0.1


def test_the_turned_change_is_as_long_as_zeroing_at_every_pixel():
    value = torch.randn(2, 16, 5, 7, generator=torch.Generator().manual_seed(0))
    before = value.clone()
    change = turned(3)
    added = change(value, "guidance") - value
    assert torch.equal(value, before)
    assert torch.allclose(added.norm(dim=1), value.norm(dim=1), rtol=1e-5)
    assert not torch.allclose(added, -value, atol=0.1)
    # the same rotation at all pixels and images
    wanted = torch.einsum("ij,bjhw->bihw", rotation(16, 3).float(), value)
    assert torch.allclose(-added, wanted, atol=1e-5)
    assert repr(change) == "turned(seed=3)" and change(value, "guidance").dtype == value.dtype


def test_the_turned_change_works_as_an_intervention():
    generator = torch.Generator().manual_seed(0)
    block = SGDC(8, guidance_channels=16, layer_scale_init=0.1).eval()
    x, guidance = (torch.randn(1, c, 6, 6, generator=generator) for c in (8, 16))
    with torch.no_grad():
        plain = block(x, guidance)
        with intervene(block, {"guidance": turned(0)}), record(block, "guidance") as rec:
            changed = block(x, guidance)
        with intervene(block, {"guidance": zero()}):
            without = block(x, guidance)
    assert (changed - plain).abs().max() > 1e-5 and (changed - without).abs().max() > 1e-5
    assert torch.allclose((rec["guidance"] - guidance).norm(dim=1), guidance.norm(dim=1), rtol=1e-5)
    with pytest.raises(ValueError, match="not for 'kernels'"), intervene(block, {"kernels": turned(0)}):
        block(x, guidance)


def test_the_chart_holds_means_intervals_and_controls():
    effects = {"zeroed": np.array([-0.1, -0.3, -0.2]), "turned": np.array([0.01, -0.01, 0.0])}
    figure = effects_figure(effects, controls=["turned"], zero="as it is", summary="More.", **WORDS)
    ((chart,),) = (figure.strip,)
    assert [entry.label for entry in chart.entries] == ["zeroed", "turned"]
    assert [entry.value for entry in chart.entries] == pytest.approx([-0.2, 0.0])
    assert [entry.control for entry in chart.entries] == [False, True]
    for entry, values in zip(chart.entries, effects.values(), strict=True):
        assert values.min() <= entry.low <= entry.value <= entry.high <= values.max()
    assert chart.title == "Mean over 3 images" and "Hollow square: control. More." in figure.summary
    assert figure.to_png()[:4] == b"\x89PNG" and "zeroed" in figure.to_html()


def test_the_chart_of_one_image_has_no_interval():
    figure = effects_figure({"zeroed": np.array([-0.1])}, **WORDS)
    (entry,) = figure.strip[0].entries
    assert entry.low is None and entry.high is None
    assert figure.strip[0].title == "One image" and figure.summary == "One image, no interval."


@pytest.mark.parametrize(
    ("effects", "controls", "message"),
    [
        ({}, [], "effects is empty"),
        ({"a": np.zeros(3)}, ["b"], "'b' is none of the effects: a"),
        ({"a": np.zeros(3), "b": np.zeros(2)}, [], "of the same images"),
        ({"a": np.zeros((3, 2))}, [], "one number an image"),
    ],
)
def test_the_chart_refuses_what_it_cannot_compare(effects, controls, message):
    with pytest.raises(ValueError, match=message):
        effects_figure(effects, controls=controls, **WORDS)


PARTS = ("kernels", "gate_static", "gate_dynamic")


def test_the_charts_of_the_notebook_hold_every_effect():
    effects = {"zeroed": np.array([-0.1, -0.3]), "turned": np.array([0.01, -0.01])}
    (chart,) = cause.chart_of_changes(effects, controls=["turned"]).strip
    assert [(e.label, e.control) for e in chart.entries] == [("zeroed", False), ("turned", True)]
    alone = {part: np.array([-0.1 * i, -0.2]) for i, part in enumerate(PARTS)}
    kept = {part: np.array([-0.01 * i, -0.02]) for i, part in enumerate(PARTS)}
    (chart,) = cause.chart_of_ways(alone, kept, np.array([-0.5, -0.7])).strip
    assert [e.label for e in chart.entries] == [
        "kernels cut", "static gate cut", "dynamic gate cut", "only kernels left", "only static gate left",
        "only dynamic gate left", "all three cut: guidance zeroed",
    ]  # fmt: skip
    assert [e.value for e in chart.entries][::3] == pytest.approx([-0.1, -0.01, -0.6])


def test_the_corner_shares_one_scale_from_minus_1_to_1():
    image, off = np.zeros((80, 90, 3), np.uint8), np.full((80, 90), 0.25)
    figure = cause.corner({"sharp image": image}, {"off: a": off, "off: b": -off}, side=40)
    first, second = (c for row in figure.cells for c in row if getattr(c, "scale", None) is not None)
    assert (first.scale.low, first.scale.high) == (second.scale.low, second.scale.high) == (-1, 1)
    assert first.window == (0, 0, 40, 40)


def test_maps_of_regions_show_both_changes_on_shared_scales():
    region = np.zeros((20, 24), bool)
    region[4:9, 5:12] = True
    base = np.zeros((20, 24))
    changed = {"ring": (base + 2.0 * region, region), "elsewhere": (base + 4.0 * ~region, ~region)}
    figure = cause.maps_of_regions(np.zeros((20, 24, 3), np.uint8), base, changed)
    (_, p_ring, l_ring), (_, p_other, l_other) = figure.cells
    assert p_ring.pixels[5, 6] == pytest.approx(1 / (1 + np.exp(-2)) - 0.5) and p_ring.pixels[0, 0] == 0
    assert l_ring.pixels.max() == 2 and l_other.pixels.max() == 4
    assert l_ring.scale.high == l_other.scale.high and p_ring.scale.high == p_other.scale.high


def test_two_questions_are_the_formulas_of_exercise_4():
    scores = {0: 0.9, 1: 0.8, 2: 0.6, 3: 0.5}  # taken: a is 1, b is 2
    told = cause.two_questions(lambda taken: scores[("a" in taken) + 2 * ("b" in taken)], ("a", "b"))
    assert told["needed"] == pytest.approx({"a": 0.25, "b": 0.75})
    assert told["enough"] == pytest.approx({"a": 0.25, "b": 0.75}) and told["interaction"] == pytest.approx(0)
    backup = cause.two_questions(lambda taken: 0.9 - 0.4 * (len(taken) == 2), ("a", "b"))  # each replaces the other
    assert backup == {"needed": {"a": 0, "b": 0}, "enough": {"a": 1, "b": 1}, "interaction": 1}
    nothing = cause.two_questions(lambda taken: 0.9, ("a", "b"))
    assert np.isnan([*nothing["needed"].values(), *nothing["enough"].values(), nothing["interaction"]]).all()
    assert [cause.to_5_percent(v) for v in (0.31, 0.55, -0.08)] == ["30 %", "55 %", "-10 %"]
