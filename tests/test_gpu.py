"""What may differ on another device: `pytest -m gpu` runs these on CUDA or Apple's MPS where there is one.

The ordinary suite runs the same bodies on the CPU, so that they cannot rot unseen; what a GPU alone can show has no
twin there. Expected values are computed on the CPU. A GPU sums in another order, and its convolutions may round to
TF32: hence the tolerances.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import gpu

from sgdc_viz.data import Sample
from sgdc_viz.learn import (
    CheckpointInfo,
    TrainConfig,
    fit,
    load_checkpoint,
    predict_mask,
    predict_probability,
    prepare,
    save_checkpoint,
)
from sgdc_viz.learn.predict import TILE
from sgdc_viz.lens import blocks, intervene, record, zero
from sgdc_viz.nn import SGDCNet, SGDCNetConfig, dynamic_conv2d, dynamic_conv2d_reference
from sgdc_viz.nn.dynamic_conv import PADDINGS

TINY = dict(encoder_channels=(8, 8, 16, 16), decoder_channels=(8, 8, 16, 16), mid_channels=8, kernel_size=3)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request) -> torch.device:
    return gpu() if request.param == "gpu" else torch.device("cpu")


@pytest.fixture
def cuda() -> torch.device:
    if gpu().type != "cuda":
        pytest.skip("only CUDA tells how much memory was used at most")
    return gpu()


def net(**changes) -> SGDCNet:
    torch.manual_seed(0)
    return SGDCNet(SGDCNetConfig.compact(**TINY, **changes)).eval()


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def discs(count: int) -> list[Sample]:
    made = []
    for i in range(count):
        inside = np.hypot(*(np.indices((48, 48)) - 16 - 2 * i)) < 12
        image = picture(48, 48) // 2 + np.uint8(100) * inside[:, :, None]
        made.append(Sample(image, inside.astype(np.uint8), None, f"s{i}", f"s{i}"))
    return made


@pytest.mark.parametrize("padding", PADDINGS)
def test_operator_and_its_gradients(device, padding):
    """Fast and readable form, on the device, against the readable form in float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 13, 11, generator=generator, dtype=torch.float64)
    kernels = torch.randn(2, 3, 25, 13, 11, generator=generator, dtype=torch.float64).softmax(2)
    toward = torch.randn(2, 6, 13, 11, generator=generator, dtype=torch.float64)

    def of(operator, device, dtype):
        inputs = [t.to(device, dtype).requires_grad_() for t in (x, kernels)]
        out = operator(*inputs, padding)
        return [out.detach(), *torch.autograd.grad((out * toward.to(device, dtype)).sum(), inputs)]

    exact = of(dynamic_conv2d_reference, "cpu", torch.float64)
    for operator in (dynamic_conv2d, dynamic_conv2d_reference):
        for found, wanted in zip(of(operator, device, torch.float32), exact, strict=True):
            assert found.device.type == device.type
            torch.testing.assert_close(found.cpu().double(), wanted, atol=1e-4, rtol=1e-4)


def train_and_resume(device: torch.device, precision: str, folder: Path) -> None:
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = TrainConfig(
        steps=2, crop=32, batch_size=2, warmup=1, save_every=1, validate_every=0, mixed_precision=precision
    )
    told = dict(config=config, out=folder, progress=False, cpu=device.type == "cpu")
    fit(model, discs(4), **told, on_step=lambda step, _: step == 1)
    assert next(model.parameters()).device.type == device.type
    history = fit(model, discs(4), **told, resume=True)
    assert [record["step"] for record in history] == [1, 2]
    assert np.isfinite([record["total"] for record in history]).all()
    after = model.state_dict()
    assert all(value.device.type == device.type and value.isfinite().all() for value in after.values())
    assert any(not torch.equal(value.cpu(), before[name]) for name, value in after.items())


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_training(device, precision, tmp_path):
    train_and_resume(device, precision, tmp_path)


@pytest.mark.gpu
def test_training_with_scaled_losses(cuda, tmp_path):
    train_and_resume(cuda, "fp16", tmp_path)


@pytest.mark.gpu
def test_the_device_is_chosen_anew_for_each_training():
    """Accelerate keeps one state for a whole process, and `cpu=True` of one training must not decide the next."""
    for cpu in (True, False, True):
        model = net()
        config = TrainConfig(steps=1, crop=32, batch_size=2, validate_every=0)
        fit(model, discs(2), config=config, progress=False, cpu=cpu)
        assert next(model.parameters()).device.type == ("cpu" if cpu else gpu().type)


def test_record_and_intervene(device):
    model, image = net(), picture(40, 56)
    finest = blocks(model)[-1]

    def seen():
        batch = prepare(model, image)
        with torch.no_grad(), record(model) as rec:
            plain = model(batch).logits
        with torch.no_grad(), intervene(model, {"*.guidance": zero()}):
            changed = model(batch).logits
        return rec, plain, changed

    wanted = seen()
    model.to(device)
    found = seen()
    assert found[1].device.type == device.type
    for ours, theirs in zip(found[1:], wanted[1:], strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, atol=5e-3, rtol=5e-3)
    assert max(found[0].verify().values()) < 1e-2
    view, same = found[0].at(finest, y=20, x=31), wanted[0].at(finest, y=20, x=31)
    torch.testing.assert_close(view.kernels.cpu(), same.kernels, atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("longest_side", [None, 32, 100])
def test_masks(device, longest_side):
    model, image = net(), picture(70, 45)
    model.info = CheckpointInfo("tiny", model.config, {"kind": "nuclei", "longest_side": longest_side})
    wanted = predict_probability(model, image)
    model.to(device)
    found = predict_probability(model, image)
    np.testing.assert_allclose(found, wanted, atol=5e-3)
    mask, sure = predict_mask(model, image), np.abs(wanted - 0.5) > 5e-3
    assert mask.shape == (70, 45) and mask.dtype == bool
    np.testing.assert_array_equal(mask[sure], wanted[sure] > 0.5)


def test_tiles_meet_on_the_device(device, monkeypatch):
    monkeypatch.setattr("sgdc_viz.learn.predict.TILE", 128)
    monkeypatch.setattr("sgdc_viz.learn.predict.OVERLAP", 32)
    model, image = net(), picture(150, 170)
    wanted = predict_probability(model, image)
    np.testing.assert_allclose(predict_probability(model.to(device), image), wanted, atol=5e-3)


def test_checkpoints_move_between_devices(device, tmp_path):
    model = net().to(device)
    save_checkpoint(tmp_path / "a.safetensors", model)
    here = load_checkpoint(tmp_path / "a.safetensors")
    there = load_checkpoint(tmp_path / "a.safetensors", device)
    assert next(here.parameters()).device.type == "cpu" and next(there.parameters()).device.type == device.type
    for name, value in model.state_dict().items():
        assert torch.equal(here.state_dict()[name], value.cpu()) and torch.equal(there.state_dict()[name], value), name
    save_checkpoint(tmp_path / "b.safetensors", here)
    assert torch.equal(prepare(there, picture(8, 9)).cpu(), prepare(here, picture(8, 9)))


def test_half_precision_of_the_device(device):
    model, image = net().to(device), torch.rand(1, 3, 32, 48).to(device)
    with torch.no_grad(), record(model) as rec, torch.autocast(device.type, dtype=torch.bfloat16):
        logits = model(image).logits
    assert logits.isfinite().all() and max(rec.verify().values()) < 0.2
    assert logits.device.type == device.type


@pytest.mark.gpu
def test_the_operator_needs_memory_for_its_result_only(cuda):
    """No k*k copies of the features, forward or backward: 49 of them would be 49 times `x`."""
    x = torch.randn(1, 32, 256, 256, device=cuda, requires_grad=True)
    kernels = torch.rand(1, 4, 49, 256, 256, device=cuda, requires_grad=True)
    before = torch.cuda.memory_allocated(cuda)
    torch.cuda.reset_peak_memory_stats(cuda)
    dynamic_conv2d(x, kernels).sum().backward()
    given = x.nbytes + kernels.nbytes
    assert torch.cuda.max_memory_allocated(cuda) - before < 3 * given < 49 * x.nbytes


@pytest.mark.gpu
def test_tiles_bound_the_memory(cuda):
    """Four times the pixels need little more than the larger sum of logits."""
    model = net().to(cuda)

    def peak(side: int) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(cuda)
        predict_mask(model, picture(side, side))
        return torch.cuda.max_memory_allocated(cuda)

    peak(TILE)  # libraries take their share once
    assert peak(4 * TILE) < peak(2 * TILE) + 6 * 4 * (4 * TILE) ** 2
