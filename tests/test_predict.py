"""From images to masks: any size, any scale, in tiles or in one piece."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import sgdc_viz.learn.predict as predict
from sgdc_viz.data import Sample
from sgdc_viz.learn import CheckpointInfo, evaluate, load_pretrained, predict_mask, predict_probability, prepare
from sgdc_viz.nn import SGDCNet, SGDCNetConfig

SIDE = int(os.environ.get("SGDC_SIDE", 1100))

TINY = dict(encoder_channels=(8, 8, 16, 16), decoder_channels=(8, 8, 16, 16), mid_channels=8, kernel_size=3)


def tiny(longest_side=None, **changes):
    torch.manual_seed(0)
    config = SGDCNetConfig.compact(**TINY, **changes)
    model = SGDCNet(config).eval()
    model.info = CheckpointInfo("tiny", config, {"kind": "nuclei", "longest_side": longest_side})
    return model


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (33, 17), (64, 96)])
@pytest.mark.parametrize("longest_side", [None, 32, 100])
def test_mask_has_the_size_of_the_image(size, longest_side):
    mask = predict_mask(tiny(longest_side), picture(*size))
    assert mask.shape == size and mask.dtype == bool


def test_multi_class():
    probability = predict_probability(tiny(num_classes=4), picture(20, 30))
    np.testing.assert_allclose(probability.sum(0), 1, atol=1e-5)
    mask = predict_mask(tiny(num_classes=4), picture(20, 30))
    assert mask.shape == (20, 30) and mask.dtype == np.uint8 and mask.max() < 4


def test_file_and_array_agree(tmp_path):
    Image.fromarray(picture(30, 40)).save(tmp_path / "a b.png")
    np.testing.assert_array_equal(
        predict_probability(tiny(), tmp_path / "a b.png"), predict_probability(tiny(), picture(30, 40))
    )


def test_prepare_scales_to_the_models_scale():
    assert prepare(tiny(100), picture(50, 200)).shape == (1, 3, 25, 100)
    assert prepare(tiny(), picture(50, 200)).shape == (1, 3, 50, 200)
    tensor = prepare(tiny(), np.full((4, 4, 3), 255, np.uint8))
    assert tensor.min() == tensor.max() == 1


def test_tiles_meet_without_a_seam(monkeypatch):
    """A tiled prediction equals that in one piece, but for context cut off by a tile."""
    model, image = tiny(), picture(300, 420)
    whole = predict_probability(model, image)
    monkeypatch.setattr(predict, "TILE", 256)
    monkeypatch.setattr(predict, "OVERLAP", 128)
    tiled = predict_probability(model, image)
    assert np.abs(tiled - whole).max() < 0.02
    assert np.abs(tiled - whole).mean() < 1e-3


def difference(model, width=2500):
    """(columns, inner): largest difference of logits from those in one piece for each column of a wide image, and the
    columns in the middle of each tile but the first and the last."""
    image = picture(32, width)
    starts = []
    spans = predict._spans
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(predict, "_spans", lambda *a: starts.append([(y, len(w)) for y, w in spans(*a)]) or spans(*a))
        *_, step = predict.predict_tiles(model, image)
        whole = model(predict.image_tensor(image)).logits
    inner = [x for start, length in starts[1][1:-1] for x in range(start + length // 2 - 16, start + length // 2 + 16)]
    assert step.all == len(starts[1]) and inner
    return (step.logits - whole).abs().amax((0, 1, 2)), inner


LOCAL = [("structure", 1), ("semantic", 1), ("plain", 1), *(("pooled", p) for p in (1, 5, 8, 16))]


@pytest.mark.parametrize(("source", "pool_size"), LOCAL)
def test_tiles_equal_the_whole(source, pool_size):
    """Also where blocks share a kernel: those of a tile are those of the image."""
    columns, _ = difference(tiny(kernel_source=source, pool_size=pool_size, layer_scale_init=1.0))
    assert columns.max() < 1e-5


@pytest.mark.parametrize(("source", "pool_size"), LOCAL)
def test_tiles_that_overlap_less_equal_the_whole_in_their_middle(source, pool_size, monkeypatch):
    monkeypatch.setattr(predict, "OVERLAP", 64)
    columns, inner = difference(tiny(kernel_source=source, pool_size=pool_size, layer_scale_init=1.0))
    assert columns.max() > 3e-4  # at the borders of tiles context is missing
    assert columns[inner].max() < 1e-5


@pytest.mark.parametrize(("source", "pool_size"), [("global", 1), ("dyconv", 1), ("idconv", 1), ("pooled", 32)])
def test_tiles_differ_from_the_whole_where_kernels_are_made_from_more_than_a_tile_holds(source, pool_size):
    columns, inner = difference(tiny(kernel_source=source, pool_size=pool_size, layer_scale_init=1.0))
    assert columns[inner].max() > 1e-4


@pytest.mark.parametrize("name", ["nuclei-structure", "nuclei-pooled"])
def test_shipped_networks_in_tiles(name):
    """A real picture, repeated and mirrored. SGDC_SIDE=4096 needs 15 GB, for the one piece."""
    model, picture = load_pretrained(name), data.immunohistochemistry()
    picture = np.concatenate([picture, picture[:, ::-1]], 1)
    picture = np.concatenate([picture, picture[::-1]], 0)
    rows = SIDE if SIDE > 1100 else 320  # quick, unless asked for more
    picture = np.tile(picture, (-(-SIDE // 1024), -(-SIDE // 1024), 1))[:rows, :SIDE].copy()
    *_, step = predict.predict_tiles(model, picture)
    with torch.no_grad():
        whole = model(predict.image_tensor(picture)).logits
    assert step.all >= 2
    assert (step.logits.sigmoid() - whole.sigmoid()).abs().max() < (5e-4 if name == "nuclei-structure" else 5e-3)
    assert ((step.logits > 0) != (whole > 0)).float().mean() < 1e-5


def test_tiles_whose_blocks_do_not_meet_are_refused():
    model, image = tiny(kernel_source="pooled", pool_size=5), picture(32, 700)
    assert [step.all for step in predict.predict_tiles(model, image, tile=400, overlap=160)] == [3] * 4
    with pytest.raises(ValueError, match="multiple of 80, the side of the model's largest pooled block"):
        next(predict.predict_tiles(model, image, tile=400, overlap=144))


def test_what_fits_one_piece_is_one_piece():
    for side, tiles in ((1024, 1), (1025, 2)):
        assert next(predict.predict_tiles(tiny(kernel_source="pooled", pool_size=5), picture(8, side))).all == tiles


def test_where_the_device_cannot_resize_the_cpu_does():
    """On Apple's GPUs torch 2.5 and 2.6 cannot; played by tensors that say they lie on one, and hold no values."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Old(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            if "_aa" in str(operator) and args[0].device.type == "mps":
                raise NotImplementedError(f"{operator} is not currently implemented for the MPS device")
            return operator(*args, **(kwargs or {}))

    with FakeTensorMode(), Old():
        logits = torch.empty(1, 2, 30, 40, device="mps")
        with pytest.raises(NotImplementedError):
            torch.nn.functional.interpolate(logits, size=(60, 80), mode="bilinear", antialias=True)
        try:
            large = predict.at_size(logits, (60, 80))
        except RuntimeError as error:  # old torch moves nothing to a device that it was not built for
            if "not linked" not in str(error):
                raise
            pytest.skip(str(error))
    assert large.shape == (1, 2, 60, 80) and large.device.type == "mps"


@pytest.mark.parametrize(
    "bad",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_image_is_refused(bad):
    with pytest.raises(ValueError, match="must be uint8 RGB"):
        predict_mask(tiny(), bad)


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="model.eval"):
        predict_mask(tiny().train(), picture(8, 8))


def test_a_network_that_gives_nan_says_so():
    model = tiny()
    model.encoder.stages[0].conv1.bn.weight.data.fill_(3e38)  # finite, but not what comes of it
    with pytest.raises(ValueError, match="gives NaN for this image: its weights are broken"):
        predict_mask(model, picture(32, 32))


def test_evaluate_counts_empty_and_missed():
    model = tiny()
    with torch.no_grad():
        model.head.bias.fill_(-50)  # predicts nothing
    full, empty = np.ones((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    samples = [Sample(picture(20, 20), full, None, "full", "a"), Sample(picture(20, 20), empty, None, "empty", "b")]
    result = evaluate(model, samples)
    assert [r["name"] for r in result["images"]] == ["full", "empty"]
    assert result["summary"]["failures"] == 1 and result["summary"]["undefined"] == 1
    assert result["summary"]["iou"]["mean"] == 0 and result["summary"]["iou"]["count"] == 1
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(model, [])
