"""One image through a pair of networks: kept recordings, honest refusals; and the examples to start with."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

import sgdc_viz.explore as explore
import sgdc_viz.lens as lens
from sgdc_viz.data import samples
from sgdc_viz.explore import (
    CHANGES,
    COMPARISONS,
    CONTROLS,
    FAMILIES,
    UNTRAINED,
    Arm,
    Explorer,
    Place,
    fit,
    load_network,
    networks,
    several,
)
from sgdc_viz.explore.arms import MIRRORED, RANDOM, REWRITTEN
from sgdc_viz.learn import checkpoints, save_checkpoint
from sgdc_viz.learn.metrics import evaluate_masks
from sgdc_viz.nn import SGDCNet, SGDCNetConfig, pool_context
from sgdc_viz.views.microscope import neighbours
from sgdc_viz.views.overview import within_block_variation

IMAGE = samples.example("immunohistochemistry").make().image[:64, :48]


@pytest.fixture(scope="module")
def pair():
    return Explorer().look(UNTRAINED, IMAGE, np.eye(64, 48, dtype=np.int32))


def test_the_pair_differs_in_the_kernel_source_alone(pair):
    guided, pooled = pair.runs.values()
    assert list(pair.runs) == ["guided", "pooled"]
    assert guided.pool_size is None and pooled.pool_size == 8
    a, b = load_network(UNTRAINED, "structure"), load_network(UNTRAINED, "pooled")
    assert all((x == y).all() for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert (a.config.kernel_source, b.config.kernel_source) == ("structure", "pooled")


def test_every_number_is_faithful(pair):
    for run in pair.runs.values():
        assert run.maps.faithfulness < 1e-5
        assert run.at((63, 47)).error < 1e-5
        assert run.probability.shape == (64, 48) and run.maps.entropy.shape == (32, 24) == run.boundary.shape
        assert 0 <= run.maps.entropy.min() and run.maps.entropy.max() <= 1


def test_pooled_maps_are_blocks_and_guided_ones_are_not(pair):
    summary = pair.overview((10, 10)).summary
    assert "0 % when pooled" in summary and "0 % happens inside the 16 × 16 pixel blocks when guided" not in summary


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (17, 40)])
def test_any_size_can_be_looked_at(size):
    seen = Explorer().look(UNTRAINED, IMAGE[: size[0], : size[1]])
    last = (size[0] - 1, size[1] - 1)
    for figure in (seen.overview(last, 2), seen.kernels(last), seen.microscope(last), seen.predictions(last, 2)):
        assert figure.to_html()


def test_a_second_look_runs_no_network_and_the_oldest_recording_goes(monkeypatch):
    explorer = Explorer(keep=4)
    first = explorer.look(UNTRAINED, IMAGE)
    assert explorer.forward_passes == 2
    assert explorer.look(UNTRAINED, IMAGE.copy()).runs["guided"] is first.runs["guided"]
    assert explorer.forward_passes == 2
    for i in range(3):
        explorer.look(UNTRAINED, IMAGE[i + 1 :])
    assert len(explorer._runs) == 4 and explorer.forward_passes == 8
    assert explorer.look(UNTRAINED, IMAGE).runs["guided"] is not first.runs["guided"]
    with pytest.raises(ValueError, match="keep=1"):
        Explorer(keep=1)


def test_several_threads_see_the_same():
    explorer, seen = Explorer(), []
    threads = [threading.Thread(target=lambda: seen.append(explorer.look(UNTRAINED, IMAGE))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert explorer.forward_passes == 2
    assert len({id(pair.runs["pooled"]) for pair in seen}) == 1
    for network in explorer._networks.values():  # nothing of the recording stays in the network
        assert all(not m._forward_hooks and not m._forward_pre_hooks for m in network.modules())


def test_missing_weights_are_said_and_never_replaced(monkeypatch):
    monkeypatch.setattr(networks, "list_pretrained", lambda: ("nuclei-structure",))
    assert explore.families() == ()
    assert "nuclei-pooled.safetensors" in explore.missing_weights()
    assert "nuclei-structure.safetensors" not in explore.missing_weights()
    with pytest.raises(ValueError, match="assets/nuclei-pooled.safetensors are missing"):
        load_network("nuclei", "pooled")
    with pytest.raises(ValueError, match="choose one of nuclei, dermoscopy, synthetic, untrained"):
        Explorer().look("cats", IMAGE)


def test_images_are_fitted_and_the_reader_is_told():
    image, truth = np.zeros((100, 200, 3), np.uint8), np.zeros((100, 200), np.int32)
    truth[50:, 100:] = 7
    small, small_truth, (note,) = fit(image, truth, 100)
    assert small.shape == (50, 100, 3) and "200 × 100" in note and "100 × 50" in note
    assert set(np.unique(small_truth)) == {0, 7} and (small_truth[25:, 50:] == 7).all()
    assert fit(image, truth, None)[0] is image and fit(image, truth, 200)[0] is image
    large = np.zeros((600, 100, 3), np.uint8)
    large[300] = 255
    cut, none, (note,) = fit(large, None, None)
    assert cut.shape == (512, 100, 3) and none is None and cut[256].all() and "middle 100 × 512" in note


@pytest.mark.parametrize("longest_side", [None, 100, 300])
def test_a_place_is_found_again_in_the_same_image_at_another_size(longest_side):
    image = np.zeros((600, 200, 3), np.uint8)
    image[400:420, 60:80] = 255
    seen = fit(image, None, longest_side)[0]
    there = networks.place(image.shape[:2], seen.shape[:2], longest_side)
    y, x = there.from_other((410, 70), Place())
    assert seen[y, x].min() > 200 and there.from_other((y, x), there) == (y, x)
    back = networks.place(image.shape[:2], (600, 200), 600).from_other((y, x), there)
    assert np.abs(np.array(back) - (410, 70)).max() <= 3  # half a pixel of the smaller image
    last = there.from_other((599, 199), Place())
    assert last == tuple(n - 1 for n in seen.shape[:2])  # what was cut off is nearest to the edge


# --- examples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [e.key for e in samples.EXAMPLES])
def test_every_example_opens_offline(key, monkeypatch, tmp_path):
    monkeypatch.setenv("SKIMAGE_DATADIR", str(tmp_path))  # an empty cache: only what the wheel carries
    e = samples.example(key)
    sample = e.make()
    height, width = sample.image.shape[:2]
    assert sample.image.dtype == np.uint8 and sample.image.std() > 5
    assert 0 <= e.pixel[0] < height and 0 <= e.pixel[1] < width
    assert e.family in (*FAMILIES, None) and len(e.note) > 20
    assert e.has_truth == bool(sample.mask.any())


def test_examples_with_truth_open_on_a_border():
    for e in samples.examples():
        if e.has_truth:
            sample, (y, x) = e.make(), e.pixel
            truth = sample.mask if sample.instances is None else sample.instances
            assert len(np.unique(truth[y - 1 : y + 2, x - 1 : x + 2])) > 1


def test_a_file_that_scikit_image_does_not_carry_is_left_out(monkeypatch):
    monkeypatch.setitem(samples.FILES, "retina", "no-such-file.jpg")
    assert "retina" not in [e.key for e in samples.examples()]
    with pytest.raises(ValueError, match="no sample 'retina'; choose one of immunohistochemistry"):
        samples.example("retina")


@pytest.mark.skipif("nuclei" not in explore.families(), reason="the weights for nuclei are not in assets/ yet")
def test_the_shipped_networks_make_the_point_on_the_opening_image():
    e = samples.example("immunohistochemistry")
    pair = Explorer().look("nuclei", e.make().image)
    message = pair.overview(e.pixel).message
    assert "change from pixel to pixel; pooled ones only from block to block" in message
    assert "compare with “guidance zeroed”" in message
    zeroed = pair.against("guidance zeroed").overview(e.pixel).message
    assert "“guidance zeroed” maps follow the outlines more closely" in zeroed  # so no claim about outlines above
    assert "are alike" in pair.against("kernels permuted").overview(e.pixel).message  # entropy knows no order
    guided, pooled = (neighbours_at(run, e.pixel) for run in pair.runs.values())
    assert guided < pooled  # on a border the guided kernels pick their neighbours, the pooled ones average


def neighbours_at(run, pixel) -> float:
    """How many neighbours count, mean over the heads."""
    return float(np.mean([neighbours(k) for k in run.at(pixel).kernels.numpy().astype(float)]))


# --- arms, changes and controls --------------------------------------------------------------------------------------

TRUTH = np.zeros((64, 48), np.int32)
TRUTH[10:30, 8:24], TRUTH[34:58, 20:44] = 1, 2
PIXEL = (20, 24)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A family of two networks of its own, with weights on which guidance and kernels have an effect; image, truth."""
    folder = tmp_path_factory.mktemp("assets")
    for source in ("structure", "pooled"):
        torch.manual_seed(3)
        network = SGDCNet(SGDCNetConfig.compact(kernel_source=source))
        with torch.no_grad():
            for name, value in network.named_parameters():
                if name.endswith(("attn.weight", "proj_guidance.weight", "ls1")):
                    value.mul_(6)
        save_checkpoint(folder / f"synthetic-{source}.safetensors", network)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "assets_dir", lambda: folder)
        yield Explorer().look("synthetic", IMAGE, TRUTH)


@pytest.mark.parametrize("change", [c for c in CHANGES if c != RANDOM])
def test_every_change_is_the_lens_own_intervention(seen, change):
    """Against `intervene` used directly, without an explorer between."""
    network = load_network("synthetic", "structure")
    image = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())[None].float() / 255
    site, make = CHANGES[change]
    with torch.no_grad():
        if make is lens.swap:
            with lens.record(network, site) as other:
                network(image.flip(-1) if change == MIRRORED else image)
            interventions = {name: lens.swap(other) for name in other.sites}
        else:
            interventions = {site: make()}
        plain = network(image).logits.sigmoid()[0, 0].numpy()
        with lens.intervene(network, interventions):
            expected = network(image).logits.sigmoid()[0, 0].numpy()
    run = seen.run(Arm(change=change), recorded=True)
    np.testing.assert_array_equal(run.probability, expected)
    np.testing.assert_array_equal(seen.runs["guided"].probability, plain)  # the change is gone again
    assert run.maps.faithfulness < 1e-5  # what was recorded is what the changed network did
    assert np.array_equal(expected, plain) == (change == REWRITTEN)


def test_one_head_alone_can_be_made_uniform(seen):
    assert load_network("synthetic", "structure").config.heads == sum(c.startswith("head ") for c in CHANGES) == 4
    run = seen.run(Arm(change="head 2 uniform"), recorded=True)
    entropy = run.kernel_maps.entropy
    np.testing.assert_allclose(entropy[1], 1, atol=1e-6)
    assert (entropy[[0, 2, 3]].mean((1, 2)) < 0.999).all()
    figure = seen.causal([f"head {h} uniform" for h in range(1, 5)], controls=False)
    assert len({row[1] for row in figure.table[1:]}) > 1  # the heads do not all do the same


def test_pooling_the_context_by_eight_is_not_the_pooled_network_but_pools_as_it_does(seen):
    run = seen.run(Arm(change="pooled 8"), recorded=True)
    kernels = run.recording[f"{run.block}.kernels"].flatten(1, 2)
    assert torch.allclose(kernels, pool_context(kernels, 8), atol=1e-6)  # one kernel for each 8 x 8 block
    assert not np.allclose(run.probability, seen.runs["pooled"].probability)


def test_random_weights_are_the_untrained_family(seen):
    run = seen.run(Arm(change=RANDOM))
    np.testing.assert_array_equal(run.probability, Explorer().look(UNTRAINED, IMAGE).runs["guided"].probability)
    np.testing.assert_array_equal(run.probability, seen.random_weights().runs["guided"].probability)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("magic",), "source='magic' is unknown: use one of structure"),
        (("structure", "kernels cooked"), "change='kernels cooked' is unknown: use one of guidance zeroed"),
        (("pooled", "guidance zeroed"), "a 'pooled' network reads no guidance"),
    ],
)
def test_bad_arms_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Arm(*arguments)


def test_compare_takes_any_arms_and_keeps_their_runs(seen):
    explorer = seen.explorer
    arms = {"guided": Arm(), "uniform": Arm(change="kernels uniform"), "pooled": Arm("pooled")}
    pair = explorer.compare("synthetic", IMAGE, arms, TRUTH)
    before = explorer.forward_passes
    assert explorer.compare("synthetic", IMAGE, arms).runs["uniform"] is pair.runs["uniform"]
    assert explorer.forward_passes == before and list(pair.runs) == list(arms)
    np.testing.assert_allclose(pair.runs["uniform"].maps.entropy, 1, atol=1e-6)
    with pytest.raises(ValueError, match="at least two arms"):
        explorer.compare("synthetic", IMAGE, {"guided": Arm()})


def test_one_image_and_one_arm_is_run_once_and_light_runs_are_bounded(monkeypatch):
    monkeypatch.setattr(explore.explorer, "KEEP_LIGHT", 5)
    pair = Explorer(keep=2).look(UNTRAINED, IMAGE, TRUTH)
    explorer = pair.explorer
    pair.pooling_steps((1, 2, None))
    passes = explorer.forward_passes
    assert passes == 4  # guided and pooled before, p = 2 and the whole image now
    assert pair.run(Arm(change="pooled 2")).recording is None  # only maps and prediction stay
    assert explorer.forward_passes == passes
    pair.pooling_steps()
    assert len(explorer._light) == 5 and len(explorer._runs) == 2


# --- the inputs of the views -----------------------------------------------------------------------------------------


def test_the_slider_goes_from_guided_to_the_whole_image_beside_the_trained_one(seen):
    steps = seen.pooling_steps()
    assert [s.pool_size for s in steps.values()] == [1, 2, 4, 8, 16, 32, None, 8]
    assert [s.retrained for s in steps.values()] == [False] * 7 + [True]
    labels = list(steps)
    assert labels[0] == "guided, pool size 1" and labels[-1] == "pooled, pool size 8"
    np.testing.assert_array_equal(steps[labels[0]].probability, seen.runs["guided"].probability)
    np.testing.assert_array_equal(steps[labels[-1]].probability, seen.runs["pooled"].probability)
    whole = steps["whole image"].maps
    assert whole.entropy.std() < 1e-6 < steps[labels[0]].maps.entropy.std()
    for step in steps.values():
        assert step.metrics == evaluate_masks(step.probability > 0.5, TRUTH > 0)
    figure = seen.pooling(4)
    assert "pool size 4 · not retrained" in figure.rows and not any("pool size 2" in row for row in figure.rows)
    with pytest.raises(ValueError, match="pool_size=3 is none of 1, 2, 4"):
        seen.pooling(3)


def test_the_region_view_changes_only_there(seen):
    figure = seen.region("guidance zeroed")
    assert list(figure.rows) == ["ring around the outlines", "as large, elsewhere",
                                 "ring around the outlines, random weights"]  # fmt: skip
    assert figure.faithfulness == 0  # writing back what was recorded changes nothing
    mask = np.zeros((64, 48), bool)
    mask[:8, :8] = True
    run = seen.run(Arm(change="kernels uniform"), mask=mask, recorded=True)
    entropy = run.maps.entropy
    np.testing.assert_allclose(entropy[:4, :4], 1, atol=1e-6)  # stride 2
    assert entropy[4:, 4:].max() < 1
    own = seen.region("kernels uniform", mask=mask, controls=False)
    assert own.rows == ("your region",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(change=RANDOM), "cannot be made in a region"),
        (dict(change="nothing"), "change='nothing' is unknown"),
        (dict(mask=np.zeros((64, 48), bool)), "mask is empty"),
        (dict(mask=np.full((64, 48), 0.5)), "mask is float64: give bool"),
        (dict(mask=np.ones((4, 4), bool)), r"mask has shape \(4, 4\) and the image \(64, 48\)"),
    ],
)
def test_bad_regions_are_refused(seen, arguments, message):
    with pytest.raises(ValueError, match=message):
        seen.region(**arguments)


def test_patching_everything_restores_everything(seen):
    mask = np.ones((64, 48), bool)
    args = ("synthetic", Arm(), seen.image, seen.key)
    before, after, effect = seen.explorer.patch(*args, "decoder.s2.block.*", 2.0, mask)
    sharp = seen.runs["guided"].probability
    assert 0 < effect < 1  # x still enters the block from the blurred image
    assert effect == pytest.approx(1 - np.abs(after - sharp).mean() / np.abs(before - sharp).mean(), abs=1e-4)
    figure = seen.patching(controls=False)
    assert figure.rows == ("ring around the outlines",) and "blurred" in figure.title
    assert "of the gap" in figure.message and [c.title for c in figure.strip][-2:] == [
        "Steepness",
        "Surface Dice at 1 px",
    ]
    dice = [seen._metrics(p > 0.5)["nsd1"] for p in (before, after)]
    whole = seen.patching("decoder.s2.block.*", mask=mask, controls=False)
    assert whole.strip[-1].entries[0].value == pytest.approx(dice[1] - dice[0])


def test_causal_rows_have_their_own_unchanged_network_and_a_control(seen):
    figure = seen.causal()
    names = [row[0] for row in figure.table[1:]]
    assert names[:-1] == list(several.CAUSES) and names[-1] == "guidance zeroed, random weights (control)"
    assert figure.faithfulness == 0
    other = Explorer().look("synthetic", IMAGE[::-1].copy(), TRUTH[::-1].copy())
    both = explore.causal([seen, other], changes=["guidance shuffled", "kernels uniform"])
    assert "2 images" in both.summary
    with pytest.raises(ValueError, match="no image"):
        explore.causal([])
    with pytest.raises(ValueError, match=r"changes='guidance zeroed' is a text: give a list, \['guidance zeroed'\]"):
        seen.causal("guidance zeroed")
    assert repr(seen) == "Pair(guided, pooled; synthetic, 64 x 48, with truth)"
    with pytest.raises(ValueError, match="some of these images have a truth"):
        explore.causal([seen, Explorer().look("synthetic", IMAGE)])


def test_a_profile_of_many_arms_leaves_out_what_has_no_line_left(seen):
    arms = {"guided": Arm(), "pooled": Arm("pooled"), "uniform": Arm(change="kernels uniform")}
    figure = seen.explorer.compare("synthetic", IMAGE, arms, TRUTH).boundary_profile(PIXEL, controls=True)
    assert [text for style, text in figure.legend if "series" in style] == [*arms, *CONTROLS, "image"]


def controls_in(figure) -> list[str]:
    """Which of the controls have a row or a line."""
    told = [*figure.rows, *(text for _, text in figure.legend)]
    return [name for name in CONTROLS if name in told]


@pytest.mark.parametrize("view", ["kernel_maps", "ellipses", "boundary_profile", "statistic_by_distance"])
def test_controls_come_in_one_call(seen, view):
    draw = getattr(seen, view)
    arguments = (PIXEL,) if view == "boundary_profile" else ()
    with_controls = draw(*arguments, controls=True)
    assert controls_in(with_controls) == list(CONTROLS)
    assert controls_in(draw(*arguments)) == []
    if view == "boundary_profile":
        legend = [text for _, text in with_controls.legend]
        assert "guidance zeroed" in legend
        assert len({style for style, _ in with_controls.legend if "series" in style}) == 7  # six networks, the image
    assert with_controls.faithfulness < 1e-5 and with_controls.alt


@pytest.mark.parametrize("change", CONTROLS)
def test_views_of_two_rows_stand_against_a_control(seen, change):
    pair = seen.against(change)
    figure = pair.overview(PIXEL)
    assert figure.rows == ("guided", change)
    assert ("Random weights" in figure.message) == (change == RANDOM)
    assert "Two things differ" not in figure.message
    for other in (pair.microscope(PIXEL), pair.kernels(PIXEL), pair.predictions(PIXEL)):
        assert other.to_html()
    with pytest.raises(ValueError, match="is changed already"):
        seen.explorer.compare("synthetic", IMAGE, {"a": Arm(change=change), "b": Arm()}).against("kernels uniform")


def test_the_boundary_branch_needs_truth_and_has_one_control(seen):
    assert controls_in(seen.boundary_branch(controls=True)) == [RANDOM]
    with pytest.raises(ValueError, match="the truth of this image is not known"):
        Explorer().look("synthetic", IMAGE).boundary_branch()


def test_the_stages_are_those_of_the_network(seen):
    stages, strides = seen.explorer.stages("synthetic", seen.image, seen.key)
    assert strides == (16, 2) and stages.faithfulness < 1e-5
    assert stages.deep.shape == (4, 3) and stages.fused.shape == (32, 24) == stages.guidance.shape
    np.testing.assert_allclose(stages.boundary, seen.runs["guided"].boundary, atol=1e-6)
    np.testing.assert_allclose(stages.guidance * 4, seen.runs["guided"].guidance, rtol=1e-5)  # sqrt of 16 channels
    before = seen.explorer.forward_passes
    assert seen.sge_stages().faithfulness == stages.faithfulness and seen.explorer.forward_passes == before


def test_without_truth_the_predicted_outline_is_used_and_without_that_it_is_said():
    pair = Explorer().look(UNTRAINED, IMAGE)
    mask = pair.runs["guided"].mask
    if not mask.any() or mask.all():
        with pytest.raises(ValueError, match="there is no outline in this image"):
            pair.boundary_profile(PIXEL)
    run = pair.runs["guided"]
    half = replace(run, probability=np.where(np.arange(48) < 20, 0.9, 0.1) * np.ones((64, 1)))
    told = replace(pair, runs={**pair.runs, "guided": half})
    profile = told.boundary_profile(PIXEL)
    assert "outline of the guided mask" in profile.summary and "nearer" not in profile.message
    pooled = replace(run, probability=np.where(np.arange(48) < 24, 0.9, 0.1) * np.ones((64, 1)))
    both = replace(told, runs={"guided": half, "pooled": pooled})
    assert "which is right is not known without truth" in both.boundary_profile(PIXEL).message
    truth = (np.arange(48) < 20) * np.ones((64, 1), int)
    assert "guided is nearer by" in replace(both, truth=truth).boundary_profile(PIXEL).message
    assert "nearest outline of the guided mask" in told.statistic_by_distance().summary
    with pytest.raises(ValueError, match="some of these images have a true outline and some have none"):
        explore.statistic_by_distance([told, replace(told, truth=truth)])
    assert told.region(controls=False).rows


def test_views_with_a_pixel_share_the_pages_selection(seen):
    for figure in (seen.pooling(4, PIXEL, 2), seen.causal(["kernels uniform"], PIXEL, 2), seen.kernel_maps(PIXEL, 2),
                   seen.boundary_profile(PIXEL), seen.region(pixel=PIXEL)):  # fmt: skip
        html = figure.to_html()
        assert f'data-key="{seen.key}"' in html and 'data-row="20" data-column="24"' in html and "sg-mark" in html
    with pytest.raises(ValueError, match="outside the image"):
        seen.pooling(4, (64, 0))


def test_images_that_a_family_scales_are_scaled_once(tmp_path, monkeypatch):
    for source in ("structure", "pooled"):
        network = SGDCNet(SGDCNetConfig.compact(kernel_source=source))
        save_checkpoint(tmp_path / f"dermoscopy-{source}.safetensors", network, data={"longest_side": 48})
    monkeypatch.setattr(checkpoints, "assets_dir", lambda: tmp_path)
    pair = Explorer().look("dermoscopy", IMAGE, TRUTH)
    assert pair.image.shape == (48, 36, 3) and pair.truth.shape == (48, 36) and len(pair.notes) == 1
    again = pair.against("kernels uniform")
    assert again.key == pair.key and again.image is pair.image and again.notes == ()
    assert pair.random_weights().runs["guided"].probability.shape == (48, 36)


def test_images_too_small_to_mean_anything_are_called_so(seen):
    small = seen.explorer.compare("synthetic", IMAGE[:31], seen.arms)
    assert "too small: the networks were trained on" in small.notes[-1] and seen.notes == ()
    assert seen.explorer.compare(UNTRAINED, IMAGE[:31], seen.arms).notes == ()  # random ones were trained on nothing


@pytest.mark.parametrize("name", list(COMPARISONS))
def test_each_comparison_has_its_own_message_and_shared_blocks(seen, name):
    pair = seen.explorer.compare("synthetic", IMAGE, {"guided": Arm(), name: COMPARISONS[name]}, TRUTH)
    message = pair.overview(PIXEL).message
    assert ("Two things differ" in message) == (name == "pooled")
    assert ("only the sharing differs" in message) == name.startswith("context pooled")
    p = pair.runs[name].pool_size
    shared = {f"context pooled, pool size {n}": n for n in (2, 4, 8, 16)}
    assert p == {"pooled": 8, **shared, "context pooled, whole image": 32}.get(name)
    if p:
        maps = pair.runs[name].maps
        assert within_block_variation(maps.entropy, p) < 1e-6
        assert "share the" in pair.microscope(PIXEL).summary


def test_one_image_stands_beside_the_mean_over_the_test_images(seen):
    assert "test images" not in seen.predictions(PIXEL).summary  # no results in that folder
    file = checkpoints.assets_dir() / "results.json"
    images = [{"name": str(i), "iou": 0.5 + i / 100, "nsd1": 0.5} for i in range(4)]
    better = [{**record, "iou": record["iou"] + 0.01} for record in images]
    results = {f"synthetic-{source}": {"images": told, "summary": {"images": 4}, "data": {"name": "drawn"}}
               for source, told in (("structure", better), ("pooled", images))}  # fmt: skip
    file.write_text(json.dumps(results), encoding="utf-8")
    try:
        summary = seen.predictions(PIXEL).summary
        assert "over the 4 test images of these networks (drawn), guided minus pooled is" in summary
        assert "IoU +0.010 (+0.010 to +0.010), surface Dice at 1 px +0.000 (+0.000 to +0.000)" in summary
        assert "test images" not in seen.against("guidance zeroed").predictions(PIXEL).summary
        assert "test images" not in replace(seen, truth=None).predictions(PIXEL).summary
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("image", "truth", "message"),
    [
        (IMAGE / 255, None, r"image is float64 \[64, 48, 3\]: give uint8 \[H, W, 3\].*astype\(np.uint8\)"),
        (IMAGE[..., 0], None, r"image is uint8 \[64, 48\]: give uint8"),
        (np.dstack([IMAGE, IMAGE[..., :1]]), None, r"image is uint8 \[64, 48, 4\]"),
        (IMAGE, TRUTH[:-1], r"truth is int32 \[63, 48\]: give object numbers or a bool mask \[64, 48\]"),
        (IMAGE, TRUTH / 2, r"truth is float64 \[64, 48\]: .*truth > 0.5"),
    ],
)
def test_images_and_truths_that_are_none_are_refused(image, truth, message):
    with pytest.raises(ValueError, match=message):
        Explorer().look(UNTRAINED, image, truth)
    assert Explorer().look(UNTRAINED, IMAGE, TRUTH > 0).truth.dtype == bool
