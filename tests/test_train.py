"""The training loop: it learns, repeats, goes on after a kill, and says what is wrong."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sgdc_viz.data import Sample, open_dataset
from sgdc_viz.learn import (
    TrainConfig,
    evaluate,
    fit,
    list_pretrained,
    load_checkpoint,
    load_pretrained,
    save_checkpoint,
    start_from,
)
from sgdc_viz.learn.checkpoints import read_safetensors, write_safetensors
from sgdc_viz.learn.train import make_batch
from sgdc_viz.nn import SGDCNet, SGDCNetConfig

TINY = dict(encoder_channels=(8, 8, 16, 16), decoder_channels=(8, 8, 16, 16), mid_channels=8, kernel_size=3)
QUICK = dict(crop=32, batch_size=2, warmup=2, save_every=2, validate_every=0)


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    return SGDCNet(SGDCNetConfig.compact(**TINY, **changes))


def squares(count):
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        image = rng.integers(0, 60, (48, 48, 3), dtype=np.uint8)
        y, x = rng.integers(4, 20, 2)
        mask = np.zeros((48, 48), np.uint8)
        mask[y : y + 20, x : x + 20] = 1
        image[mask > 0] += 150
        made.append(Sample(image, mask, None, f"s{i}", f"s{i}"))
    return made


@pytest.fixture(scope="module")
def samples():
    return [s for s in open_dataset("synthetic-nuclei", count=10, size=64, split="train")]


def weights_equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_learns_a_bright_square():
    data = squares(8)
    model = tiny()
    before = evaluate(model.eval(), data)["summary"]["iou"]["mean"]
    history = fit(model, data[:6], data[6:], TrainConfig(steps=60, **{**QUICK, "batch_size": 4}), progress=False)
    after = evaluate(model, data[6:])["summary"]["iou"]["mean"]
    assert history[-1]["total"] < 0.75 * history[0]["total"]
    assert after > 0.75 > before
    assert not model.training


def test_same_seed_same_weights_other_seed_other_weights(samples):
    runs = [tiny() for _ in range(3)]
    for model, seed in zip(runs, (1, 1, 2), strict=True):
        torch.rand(seed)  # the caller's random state must not matter
        fit(model, samples, config=TrainConfig(steps=3, seed=seed, **QUICK), progress=False)
    assert weights_equal(runs[0], runs[1])
    assert not weights_equal(runs[0], runs[2])


def test_the_callers_random_state_is_left_alone(samples):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = tiny()
    torch.manual_seed(5)
    fit(model, samples, config=TrainConfig(steps=1, **QUICK), progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_every_arm_sees_the_same_data_and_an_epoch_visits_every_image(samples):
    config = TrainConfig(steps=5, **QUICK)
    batches = [make_batch(samples, config, step) for step in range(5)]
    again = [make_batch(samples, config, step) for step in (4, 2)]
    assert torch.equal(batches[4][0], again[0][0]) and torch.equal(batches[2][1], again[1][1])
    seen = []

    class Spy(list):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    for step in range(5):
        make_batch(Spy(samples), config, step)
    assert sorted(seen) == list(range(10))


def test_resume_equals_an_unbroken_run(samples, tmp_path):
    config = TrainConfig(steps=6, **QUICK)
    whole, one, two = tiny(drop_path=0.3), tmp_path / "one", tmp_path / "two"
    history = fit(whole, samples, config=config, out=one, progress=False)
    broken = tiny(drop_path=0.3)
    fit(broken, samples, config=config, out=two, progress=False, on_step=lambda step, _: step == 3)
    revived = tiny(seed=99, drop_path=0.3)  # its own weights must not matter
    resumed = fit(revived, samples, config=config, out=two, resume=True, progress=False)
    assert [r["total"] for r in resumed] == [r["total"] for r in history]
    assert weights_equal(whole, revived)
    assert weights_equal(load_checkpoint(two / "model.safetensors"), whole)
    assert json.loads((two / "history.json").read_text()) == history
    for name in ("model.safetensors", "state.safetensors", "history.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


CHILD = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_train import QUICK, fit, squares, tiny, TrainConfig
torch.set_num_threads(1)
fit(tiny(), squares(6), config=TrainConfig(steps=60, **QUICK), out={out!r}, progress=False)
"""


def test_a_killed_process_resumes_to_the_same_weights(tmp_path):
    """A real SIGKILL at an arbitrary moment of a real process."""
    config = TrainConfig(steps=60, **QUICK)
    whole = tiny()
    history = fit(whole, squares(6), config=config, progress=False)
    script = CHILD.format(tests=str(Path(__file__).parent), out=str(tmp_path))
    victim = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 200
    while not (tmp_path / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.kill()
    victim.wait()
    assert not (tmp_path / "model.safetensors").exists(), "the run was over before it could be killed"
    assert 0 < int(read_safetensors(tmp_path / "state.safetensors")[1]["step"]) < 60
    revived = tiny(seed=99)
    resumed = fit(revived, squares(6), config=config, out=tmp_path, resume=True, progress=False)
    assert [r["total"] for r in resumed] == [r["total"] for r in history]
    assert weights_equal(whole, revived)


def test_a_second_run_never_overwrites_the_first(samples, tmp_path):
    config = TrainConfig(steps=2, **QUICK)
    fit(tiny(), samples, config=config, out=tmp_path, progress=False)
    with pytest.raises(FileExistsError, match="resume"):
        fit(tiny(), samples, config=config, out=tmp_path, progress=False)
    with pytest.raises(ValueError, match="learning_rate 0.002 -> 0.1"):
        other = TrainConfig(steps=2, learning_rate=0.1, **QUICK)
        fit(tiny(), samples, config=other, out=tmp_path, resume=True, progress=False)


def drawn(kind="nuclei", **options):
    return open_dataset(f"synthetic-{kind}", split="train", **{"count": 4, "size": 64, **options})


OTHER_DATA = {
    "images 4 -> 3": dict(count=3),
    "other images": dict(seed=1),
    "drawn or chosen in another way": dict(size=96),
    "name synthetic-nuclei -> synthetic-dermoscopy, kind nuclei -> dermoscopy": dict(kind="dermoscopy"),
}


@pytest.fixture(scope="module")
def first_step(tmp_path_factory):
    """Folder of a run on `drawn()` that stopped after its first step."""
    folder = tmp_path_factory.mktemp("first")
    fit(tiny(), drawn(), config=TrainConfig(steps=2, **QUICK), out=folder, progress=False, on_step=lambda *_: True)
    return folder


@pytest.mark.parametrize("says", OTHER_DATA)
def test_a_run_is_not_resumed_with_other_images(first_step, says):
    before, config = (first_step / "state.safetensors").read_bytes(), TrainConfig(steps=2, **QUICK)
    with pytest.raises(ValueError, match=rf"state\.safetensors' was trained on other data \({says}.*\): resume with"):
        fit(tiny(), drawn(**OTHER_DATA[says]), config=config, out=first_step, resume=True, progress=False)
    assert (first_step / "state.safetensors").read_bytes() == before


def test_a_run_is_not_resumed_with_images_that_were_changed(tmp_path):
    """The same names; from a zip as well as from the folder that it was packed from."""
    files, out = tmp_path / "mine", tmp_path / "out"
    for sample in squares(3):
        for kind, array in (("images", sample.image), ("masks", sample.mask * 255)):
            (files / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(files / kind / f"{sample.name}.png")
    zipped = shutil.make_archive(str(tmp_path / "packed"), "zip", files)
    settings = dict(config=TrainConfig(steps=3, **QUICK), out=out, progress=False)
    fit(tiny(), open_dataset("folder", files), **settings, on_step=lambda *_: True)
    fit(tiny(), open_dataset("folder", zipped), **settings, resume=True, on_step=lambda *_: True)
    changed = files / "masks" / f"{squares(1)[0].name}.png"
    Image.fromarray(np.roll(np.array(Image.open(changed)), 3, 0)).save(changed)
    with changed.open("ab") as file:
        file.write(b"!")  # in case it happens to be as long
    with pytest.raises(ValueError, match=r"other data \(an image or a mask was changed since\): resume with the same"):
        fit(tiny(), open_dataset("folder", files), **settings, resume=True)
    assert len(fit(tiny(), open_dataset("folder", zipped), **settings, resume=True)) == 3


def test_a_run_is_not_resumed_with_truth_read_in_another_way(tmp_path):
    """As `--instances` does: the same images, and now their masks number the objects."""
    data, settings = squares(3), dict(config=TrainConfig(steps=2, **QUICK), out=tmp_path, progress=False)
    fit(tiny(), data, **settings, on_step=lambda *_: True)
    numbered = [replace(sample, instances=sample.mask.astype(np.int32)) for sample in data]
    with pytest.raises(ValueError, match=r"other data \(instances False -> True\)"):
        fit(tiny(), numbered, **settings, resume=True)
    assert len(fit(tiny(), data, **settings, resume=True)) == 2


def test_a_state_of_old_that_does_not_say_its_images_is_resumed(first_step, tmp_path):
    tensors, metadata = read_safetensors(first_step / "state.safetensors")
    del metadata["data"]
    write_safetensors(tmp_path / "state.safetensors", tensors, metadata)
    config = TrainConfig(steps=2, **QUICK)
    assert len(fit(tiny(), drawn(), config=config, out=tmp_path, resume=True, progress=False)) == 2
    assert "data" in read_safetensors(tmp_path / "state.safetensors")[1]


def test_bf16_autocast_trains_close_to_float32_and_leaves_the_model_as_it_was(samples):
    losses = {}
    for precision in ("no", "bf16"):
        model = tiny()
        forward = model.forward
        config = TrainConfig(steps=4, mixed_precision=precision, **QUICK)
        losses[precision] = [r["total"] for r in fit(model, samples, config=config, progress=False)]
        assert model.forward == forward  # accelerate's wrapper is gone
        assert next(model.parameters()).dtype == torch.float32
    np.testing.assert_allclose(losses["bf16"], losses["no"], rtol=0.05)


def test_diverging_loss_is_named_and_the_model_stays_usable(samples, tmp_path):
    model = tiny()
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="step 0: lower the learning rate"):
        fit(model, samples, config=TrainConfig(steps=2, **QUICK), out=tmp_path / "a" / "run", progress=False)
    assert not model.training and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change, says",
    [
        ({"crop": 30}, "crop=30"),
        ({"steps": 0}, "steps=0"),
        ({"mixed_precision": "int8"}, "int8"),
        ({"batch_size": 0}, "batch"),
        ({"longest_side": 0}, "longest_side=0"),
    ],
)
def test_settings_are_checked(change, says):
    with pytest.raises(ValueError, match=says):
        TrainConfig(**change)


def test_fp16_needs_a_gpu(samples):
    for cpu in {True, not torch.cuda.is_available()}:
        with pytest.raises(ValueError, match="'fp16' .*needs a GPU"):
            fit(tiny(), samples, config=TrainConfig(steps=1, mixed_precision="fp16", **QUICK), progress=False, cpu=cpu)


def test_start_from_a_shipped_model_or_a_file(tmp_path):
    name = list_pretrained()[0]
    shipped = load_pretrained(name)
    model = SGDCNet(shipped.config)
    assert not weights_equal(model, shipped)
    start_from(model, name)
    assert weights_equal(model, shipped)
    other = tiny(seed=3)
    start_from(other, save_checkpoint(tmp_path / "mine.safetensors", tiny(seed=1)))
    assert weights_equal(other, tiny(seed=1))
    with pytest.raises(ValueError, match=f"{name}.*another architecture.*mid_channels 32 there, 8 here"):
        start_from(other, name)
    with pytest.raises(ValueError, match="'pooled' blocks, whose weights do not fit the 'dyconv' blocks"):
        start_from(
            tiny(kernel_source="dyconv"), save_checkpoint(tmp_path / "p.safetensors", tiny(kernel_source="pooled"))
        )
    with pytest.raises(ValueError, match="no shipped model 'nuclei'"):
        start_from(other, "nuclei")


def test_no_images(samples):
    with pytest.raises(ValueError, match="no image"):
        fit(tiny(), [], progress=False)


def test_multi_class_training():
    rng = np.random.default_rng(0)
    data = []
    for i in range(4):
        mask = np.zeros((40, 40), np.uint8)
        mask[5:20, 5:20], mask[22:35, 22:35] = 1, 2
        image = (mask[..., None] * 100 + rng.integers(0, 20, (40, 40, 3))).astype(np.uint8)
        data.append(Sample(image, mask, None, f"m{i}", f"m{i}"))
    model = tiny(num_classes=3)
    history = fit(model, data, data[:1], TrainConfig(steps=20, **{**QUICK, "validate_every": 10}), progress=False)
    assert history[-1]["total"] < history[0]["total"] and "val_iou" in history[-1]
    assert set(evaluate(model, data)["images"][0]) >= {"class_1_iou", "class_2_iou", "iou"}
