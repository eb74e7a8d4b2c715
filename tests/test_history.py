"""Training histories: steps kept by `fit`, a kill in between, the one small file, and the shipped pair."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_cli import run as run_cli
from test_train import QUICK, squares, tiny, weights_equal

import sgdc_viz.data as cli_data
from sgdc_viz import assets_dir
from sgdc_viz.learn import TrainConfig, fit, list_pretrained, load_checkpoint, load_pretrained, save_checkpoint
from sgdc_viz.learn.checkpoints import read_safetensors, write_safetensors
from sgdc_viz.learn.history import list_histories, load_history, pack_history
from sgdc_viz.learn.train import kept_path

CONFIG = TrainConfig(steps=6, **QUICK)
KEEP = (0, 1, 3, 6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished training of six steps with four of them kept; beside it the model and the losses."""
    folder = tmp_path_factory.mktemp("run")
    model = tiny()
    losses = fit(model, squares(6), config=CONFIG, out=folder, keep=KEEP, progress=False)
    return folder, model, losses


def kept(folder):
    return sorted(path.name for path in (folder / "history").iterdir())


def test_the_steps_asked_for_are_kept_and_no_others(run):
    folder, model, losses = run
    assert kept(folder) == [f"step-00000{step}.safetensors" for step in KEEP]
    assert weights_equal(load_checkpoint(kept_path(folder, 0)), tiny())  # before training
    assert weights_equal(load_checkpoint(kept_path(folder, 6)), model)
    third = load_checkpoint(kept_path(folder, 3))
    assert third.info.training["step"] == 3 and not third.training
    assert third.info.training["loss"] == pytest.approx(np.mean([r["total"] for r in losses[:3]]))
    other = tiny()
    fit(other, squares(6), config=CONFIG, progress=False, on_step=lambda step, _: step == 3)
    assert weights_equal(third, other)


@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_an_interrupted_run_keeps_the_same_steps(run, tmp_path, at):
    """However far it came: the state is saved every second step, so some kept steps lie behind it and some ahead."""

    class Killed(Exception):
        pass

    def kill(step, _):
        if step == at:
            raise Killed  # like a kill: the state of this step is not saved any more

    with pytest.raises(Killed):
        fit(tiny(), squares(6), config=CONFIG, out=tmp_path, keep=KEEP, progress=False, on_step=kill)
    fit(tiny(seed=0), squares(6), config=CONFIG, out=tmp_path, keep=KEEP, resume=True, progress=False)
    folder, *_ = run
    assert kept(tmp_path) == kept(folder)
    for step in KEEP:
        assert weights_equal(load_checkpoint(kept_path(tmp_path, step)), load_checkpoint(kept_path(folder, step)))


def test_a_step_that_a_resumed_run_has_passed_cannot_be_kept(run):
    folder, *_ = run
    with pytest.raises(ValueError, match="keep asks for step 2, and the run in .* is at step 6"):
        fit(tiny(), squares(6), config=CONFIG, out=folder, keep=(0, 2, 6), resume=True, progress=False)


@pytest.mark.parametrize("keep", [(-1,), (7,), (1.0,), ("1",), (True,)])
def test_steps_to_keep_are_checked(tmp_path, keep):
    with pytest.raises(ValueError, match="is no step of this run: give whole numbers from 0 to 6"):
        fit(tiny(), squares(6), config=CONFIG, out=tmp_path, keep=keep, progress=False)
    assert not any(tmp_path.iterdir())


def test_keeping_needs_a_folder():
    with pytest.raises(ValueError, match="give out= as well"):
        fit(tiny(), squares(6), config=CONFIG, keep=(0,), progress=False)


# --- one file ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "history-squares.safetensors"
    return path, pack_history(run[0], path, squares(9)[6:])


def test_the_packed_file_holds_every_step_to_half_precision(run, packed):
    folder, _, losses = run
    path, history = packed
    assert history.name == "squares" and history.steps == KEEP and history.tested == 3
    np.testing.assert_allclose(history.losses, [r["total"] for r in losses], rtol=1e-6)
    image = torch.rand(1, 3, 40, 24, generator=torch.Generator().manual_seed(0))
    for step in KEEP:
        exact, stored = load_checkpoint(kept_path(folder, step)), history.model(step)
        assert not stored.training and stored.info.name == f"squares step {step}"
        for name, value in exact.state_dict().items():
            got = stored.state_dict()[name]
            if value.ndim < 2:
                assert torch.equal(got, value)  # vectors are stored as they are
            else:
                torch.testing.assert_close(got, value, rtol=2**-10, atol=1e-7)
        with torch.no_grad():
            difference = (stored(image).logits.sigmoid() - exact(image).logits.sigmoid()).abs().max()
        assert difference < 0.01
    assert 0 < history.rounding["probability"] < 0.01 and 0 <= history.rounding["mask"] < 0.01
    assert path.stat().st_size < 0.8 * sum(kept_path(folder, step).stat().st_size for step in KEEP)


def test_every_step_has_its_test_score(packed):
    _, history = packed
    assert set(history.scores) == {"iou", "nsd1"}
    for values in history.scores.values():
        assert values.shape == (len(KEEP),) and ((values >= 0) & (values <= 1)).all()


def test_a_step_that_was_not_kept_is_named(packed):
    with pytest.raises(ValueError, match="step=2 of 'squares' was not kept: choose one of 0, 1, 3, 6"):
        packed[1].model(2)


def test_a_run_without_kept_steps_or_unfinished_is_refused(tmp_path, run):
    with pytest.raises(FileNotFoundError, match="no finished training with kept checkpoints"):
        pack_history(tmp_path, tmp_path / "h.safetensors", squares(1))
    with pytest.raises(ValueError, match="no test image"):
        pack_history(run[0], tmp_path / "h.safetensors", [])


def test_steps_of_two_trainings_are_not_mixed(tmp_path):
    other = TrainConfig(steps=2, seed=1, **QUICK)
    fit(tiny(), squares(6), config=TrainConfig(steps=2, **QUICK), out=tmp_path / "a", keep=(0, 1), progress=False)
    fit(tiny(), squares(6), config=other, out=tmp_path / "b", keep=(2,), progress=False)
    kept_path(tmp_path / "b", 2).rename(kept_path(tmp_path / "a", 2))
    with pytest.raises(ValueError, match="step-000002.* is of another training"):
        pack_history(tmp_path / "a", tmp_path / "h.safetensors", squares(1))
    assert not (tmp_path / "h.safetensors").exists()


def test_a_weight_too_large_for_half_precision_is_named(tmp_path):
    model = tiny()
    fit(model, squares(6), config=TrainConfig(steps=1, **QUICK), out=tmp_path, keep=(0, 1), progress=False)
    with torch.no_grad():
        model.head.weight.fill_(1e5)
    save_checkpoint(kept_path(tmp_path, 1), model, training={**model.info.training, "step": 1})
    with pytest.raises(ValueError, match="'head.weight' is over 65504"):
        pack_history(tmp_path, tmp_path / "h.safetensors", squares(1))


def test_files_of_other_kinds_are_told_apart(packed, run, tmp_path):
    path, _ = packed
    with pytest.raises(ValueError, match="several steps of a training: use .*load_history"):
        load_checkpoint(path)
    with pytest.raises(ValueError, match="no training history: make one with"):
        load_history(run[0] / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="check the path"):
        load_history(tmp_path / "gone.safetensors")
    with pytest.raises(ValueError, match="no training history 'cats'. Known: "):
        load_history("cats")
    tensors, metadata = read_safetensors(path)
    write_safetensors(tmp_path / "new.safetensors", tensors, {**metadata, "format_version": "99"})
    with pytest.raises(ValueError, match="written by a newer sgdc_viz"):
        load_history(tmp_path / "new.safetensors")
    save_file({n: t for n, t in tensors.items() if n != "head.bias"}, tmp_path / "less.safetensors", metadata)
    with pytest.raises(ValueError, match="does not fit its own settings"):
        load_history(tmp_path / "less.safetensors")
    save_file(tensors, tmp_path / "odd.safetensors", {**metadata, "history": "{}"})
    with pytest.raises(ValueError, match="settings that cannot be read"):
        load_history(tmp_path / "odd.safetensors")


# --- what ships -------------------------------------------------------------------------------------------------------


def test_the_shipped_pair_is_small_and_no_model():
    assert list_histories() == ("synthetic-pooled", "synthetic-structure")
    sizes = [(assets_dir() / f"history-{name}.safetensors").stat().st_size for name in list_histories()]
    assert sum(sizes) < 6_000_000 and max(sizes) < 4_000_000
    assert not any(name.startswith("history") for name in list_pretrained())
    with pytest.raises(ValueError, match="no shipped model 'history-synthetic-pooled'"):
        load_pretrained("history-synthetic-pooled")


def test_the_shipped_pair_began_alike_and_learnt():
    guided, pooled = (load_history(f"synthetic-{source}") for source in ("structure", "pooled"))
    assert guided.config.kernel_source == "structure" and pooled.config.kernel_source == "pooled"
    assert {**guided.config.to_dict(), "kernel_source": 0} == {**pooled.config.to_dict(), "kernel_source": 0}
    assert guided.steps == pooled.steps and guided.steps[0] == 0 and len(guided.steps) >= 8
    assert guided.training == pooled.training and guided.data == pooled.data
    assert weights_equal(guided.model(0), pooled.model(0))  # same seed, before training
    for history in (guided, pooled):
        assert len(history.losses) == history.steps[-1] and history.losses[-50:].mean() < 0.6 * history.losses[0]
        assert history.scores["iou"][-1] > 0.6 > history.scores["iou"][0]
        assert history.rounding["probability"] < 0.05 and history.rounding["mask"] < 1e-3


# --- from the command line --------------------------------------------------------------------------------------------


def test_keep_and_history_from_the_command_line(capsys, tmp_path, monkeypatch):
    real = cli_data.open_dataset
    monkeypatch.setattr(
        cli_data, "open_dataset", lambda name, root, split, seed=0: real(name, root, split, seed, size=64)
    )
    out, file = tmp_path / "run", tmp_path / "history-mine.safetensors"
    train = (
        "train",
        "--data",
        "synthetic-nuclei",
        "--steps",
        2,
        "--crop",
        32,
        "--batch-size",
        2,
        "--small",
        "--out",
        out,
    )
    code, _, error = run_cli(capsys, *train, "--keep", "0,two")
    assert code == 2 and "give steps separated by commas" in error and not out.exists()
    code, _, error = run_cli(capsys, *train, "--keep", "0,3")
    assert code == 2 and "keep=3 is no step of this run" in error and not out.exists()
    assert run_cli(capsys, *train, "--keep", "0, 2")[0] == 0
    assert kept(out) == ["step-000000.safetensors", "step-000002.safetensors"]
    code, told, _ = run_cli(
        capsys, "history", out, "--out", file, "--data", "synthetic-nuclei", "--images", 2, "--command", "as above"
    )
    assert code == 0 and "step     2: IoU" in told and "flips" in told
    history = load_history(file)
    assert history.steps == (0, 2) and history.tested == 2
    assert sum(p.numel() for p in history.model(0).parameters()) < 80_000
    written = file.with_suffix(".md").read_text(encoding="utf-8")
    assert "as above" in written and f"| 2 | {history.scores['iou'][1]:.3f} |" in written
