"""Weights on disk: they come back equal, whole or not at all, and nothing is ever unpickled."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from sgdc_viz.learn import list_pretrained, load_checkpoint, load_pretrained, save_checkpoint
from sgdc_viz.learn.checkpoints import read_safetensors, write_safetensors
from sgdc_viz.nn import SGDCNet, SGDCNetConfig

TINY = dict(encoder_channels=(8, 8, 16, 16), decoder_channels=(8, 8, 16, 16), mid_channels=8, kernel_size=3)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SGDCNet(SGDCNetConfig.compact(**TINY, kernel_source="pooled", pool_size=4, num_classes=3)).eval()


@pytest.fixture
def path(model, tmp_path):
    data = {"kind": "nuclei", "longest_side": 96}
    return save_checkpoint(
        tmp_path / "sub" / "m.safetensors", model, data=data, metrics={"iou": 0.5}, training={"step": 7}
    )


def test_round_trip(model, path):
    again = load_checkpoint(path)
    image = torch.rand(1, 3, 40, 24)
    with torch.no_grad():
        assert torch.equal(again(image).logits, model(image).logits)
    assert again.config == model.config and not again.training
    assert again.info.name == "m" and again.info.data == {"kind": "nuclei", "longest_side": 96}
    assert again.info.metrics == {"iou": 0.5} and again.info.training == {"step": 7}


def test_saving_a_loaded_model_keeps_what_is_known(path, tmp_path):
    again = load_checkpoint(path)
    other = load_checkpoint(save_checkpoint(tmp_path / "other.safetensors", again, metrics={"iou": 0.6}))
    assert other.info.data == again.info.data and other.info.metrics == {"iou": 0.6}


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(path, monkeypatch):
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="disk is full"):
        write_safetensors(path, {"x": torch.zeros(3)}, {})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled!",))


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.pkl", "weights.safetensors"])
def test_pickles_are_refused_unread(tmp_path, capsys, name):
    file = tmp_path / name
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="not a .safetensors file|is a pickle, whatever its name says"):
        load_checkpoint(file)
    assert "unpickled" not in capsys.readouterr().out


def test_truncated_file(path):
    data = path.read_bytes()
    for keep in (0, 4, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:keep])
        with pytest.raises(ValueError, match="broken or incomplete"):
            load_checkpoint(path)


def rewrite(path, tensors=None, **metadata):
    old, known = read_safetensors(path)
    save_file(tensors or old, path, {**known, **metadata})


def test_what_does_not_fit_is_named(path):
    tensors = load_file(path)
    rewrite(path, {k: v for k, v in tensors.items() if k != "head.bias"})
    with pytest.raises(ValueError, match="head.bias"):
        load_checkpoint(path)
    rewrite(path, {**tensors, "head.bias": torch.zeros(7)})
    with pytest.raises(ValueError, match="head.bias"):
        load_checkpoint(path)
    rewrite(path, {**tensors, "head.bias": torch.full((3,), float("nan"))})
    with pytest.raises(ValueError, match="NaN or infinite weights in 'head.bias'"):
        load_checkpoint(path)
    rewrite(path, tensors, format_version="99", sgdc_viz="9.9")
    with pytest.raises(ValueError, match=r"newer sgdc_viz \('9.9'\)"):
        load_checkpoint(path)
    rewrite(path, tensors, format_version="1", config=json.dumps({"telepathy": True}))
    with pytest.raises(ValueError, match="telepathy"):
        load_checkpoint(path)


def test_other_peoples_safetensors(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "theirs.safetensors")
    with pytest.raises(ValueError, match="no sgdc_viz settings"):
        load_checkpoint(tmp_path / "theirs.safetensors")


def test_names_and_paths(path, tmp_path):
    assert load_pretrained(str(path)).info.name == "m"
    with pytest.raises(ValueError, match="no shipped model 'brains'"):
        load_pretrained("brains")
    with pytest.raises(FileNotFoundError, match="check the path"):
        load_pretrained(str(tmp_path / "gone.safetensors"))
    with pytest.raises(ValueError, match="must end in .safetensors"):
        save_checkpoint(tmp_path / "m.pt", load_checkpoint(path))


@pytest.mark.parametrize("kind", ["nuclei", "dermoscopy", "synthetic"])
def test_shipped_pairs_differ_only_in_their_kernel_source(kind):
    guided, pooled = (load_pretrained(f"{kind}-{source}") for source in ("structure", "pooled"))
    assert guided.config.kernel_source == "structure" and pooled.config.kernel_source == "pooled"
    same = {**guided.config.to_dict(), "kernel_source": None}
    assert same == {**pooled.config.to_dict(), "kernel_source": None}
    assert guided.info.training["config"] == pooled.info.training["config"]
    assert guided.info.data["names_sha256"] == pooled.info.data["names_sha256"]
    for model in (guided, pooled):
        summary = model.info.metrics["summary"]
        assert 0 < summary["iou"]["low"] < summary["iou"]["mean"] < summary["iou"]["high"] < 1
        assert all(torch.isfinite(p).all() for p in model.parameters())


def test_shipped_files_are_small_and_have_a_card():
    from sgdc_viz import assets_dir

    assert set(list_pretrained()) == {
        f"{k}-{s}" for k in ("nuclei", "dermoscopy", "synthetic") for s in ("structure", "pooled")
    }
    for name in list_pretrained():
        assert (assets_dir() / f"{name}.safetensors").stat().st_size < 3_000_000
        card = (assets_dir() / f"{name}.md").read_text(encoding="utf-8")
        iou = load_pretrained(name).info.metrics["summary"]["iou"]["mean"]
        assert "python -m sgdc_viz train" in card and f"{iou:.3f}" in card and "seed" in card.lower()
