"""One image through a pair of networks: kept recordings, honest refusals; and the examples to start with."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import sgdc_viz.explore as explore
from sgdc_viz.data import samples
from sgdc_viz.explore import FAMILIES, UNTRAINED, Explorer, fit, load_network
from sgdc_viz.views.microscope import neighbours

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
    monkeypatch.setattr(explore, "list_pretrained", lambda: ("nuclei-structure",))
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
    assert "along outlines, pixel by pixel" in pair.overview(e.pixel).message
    guided, pooled = (neighbours_at(run, e.pixel) for run in pair.runs.values())
    assert guided < pooled  # on a border the guided kernels pick their neighbours, the pooled ones average


def neighbours_at(run, pixel) -> float:
    """How many neighbours count, mean over the heads."""
    return float(np.mean([neighbours(k) for k in run.at(pixel).kernels.numpy().astype(float)]))
