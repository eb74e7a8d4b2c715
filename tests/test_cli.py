"""The command line: what works, and one sentence for what does not."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sgdc_viz import cli
from sgdc_viz.data import open_dataset


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of a command, in this process."""
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sgdc", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve images with masks in a plain folder, as a user would bring them."""
    root = tmp_path_factory.mktemp("own images")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    for i, sample in enumerate(open_dataset("synthetic-nuclei", count=12, size=64, split="train")):
        Image.fromarray(sample.image).save(root / "images" / f"cell {i}.png")
        Image.fromarray(sample.mask * 255).save(root / "masks" / f"cell {i}.png")
    return root


def test_train_evaluate_predict_on_own_images(capsys, folder, tmp_path):
    out = tmp_path / "run"
    brief = ("--steps", 2, "--crop", 32, "--batch-size", 2)
    arguments = ("train", "--data", "folder", "--root", folder, *brief, "--out", out)
    code, told, _ = run(capsys, *arguments)
    assert code == 0 and "model.safetensors" in told
    code, _, error = run(capsys, *arguments)
    assert code == 2 and "--resume" in error
    assert run(capsys, *arguments, "--resume")[0] == 0

    report = tmp_path / "deep" / "report.json"
    model = out / "model.safetensors"
    own = ("--data", "folder", "--root", folder, "--split", "all", "--json", report)
    code, told, _ = run(capsys, "evaluate", "--checkpoint", model, *own)
    assert code == 0 and "12 images" in told
    values = json.loads(report.read_text())
    assert len(values["images"]) == 12 and values["data"]["name"] == "folder"

    picture = folder / "images" / "cell 0.png"
    code, told, _ = run(capsys, "predict", picture, "--checkpoint", model, "--out", tmp_path / "masks")
    assert code == 0
    mask = np.asarray(Image.open(tmp_path / "masks" / "cell 0_mask.png"))
    assert mask.shape == (64, 64) and set(np.unique(mask)) <= {0, 255}
    assert Image.open(tmp_path / "masks" / "cell 0_overlay.png").size == (64, 64)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("evaluate", "--checkpoint", "no-such", "--data", "synthetic-nuclei"), "no shipped model 'no-such'"),
        (("train", "--data", "cats", "--out", "OUT"), "unknown data set 'cats'"),
        (("train", "--data", "bbbc038", "--out", "OUT"), "root"),
        (("train", "--data", "bbbc038", "--root", "/nowhere/at/all", "--out", "OUT"), "does not exist"),
        (("train", "--data", "synthetic-nuclei", "--kernel-source", "magic", "--out", "OUT"), "kernel_source='magic'"),
        (("train", "--data", "synthetic-nuclei", "--crop", "50", "--out", "OUT"), "crop=50"),
        (("predict", "gone.png", "--checkpoint", "nuclei-structure", "--out", "OUT"), "gone.png"),
    ],
)
def test_mistakes_get_one_sentence(capsys, tmp_path, arguments, says):
    arguments = [tmp_path / "out" if a == "OUT" else a for a in arguments]
    code, _, error = run(capsys, *arguments)
    assert code == 2 and says in error
    assert error.startswith("error: ") and len(error.strip().splitlines()) == 1 and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_broken_image_stops_before_anything_is_written(capsys, tmp_path):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("I am no picture")
    code, _, error = run(
        capsys, "predict", tmp_path / "good.png", tmp_path / "bad.png",
        "--checkpoint", "nuclei-structure", "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 2 and "bad.png" in error and not (tmp_path / "out").exists()


def test_two_images_of_one_name_would_overwrite_each_other(capsys, tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    both = (tmp_path / "a.png", tmp_path / "a.jpg")
    code, _, error = run(capsys, "predict", *both, "--checkpoint", "nuclei-structure", "--out", tmp_path / "out")
    assert code == 2 and "'a'" in error


def test_help_is_quick_and_lists_the_commands():
    done = subprocess.run([sys.executable, "-m", "sgdc_viz", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for command in ("train", "evaluate", "predict", "bench"):
        assert command in done.stdout


def test_look_draws_what_the_demo_shows(capsys, folder, tmp_path):
    one = ("look", folder / "images" / "cell 0.png", "--networks", "untrained")
    code, told, _ = run(capsys, *one, "--at", 3, 60, "--out", tmp_path / "pictures")
    assert code == 0 and "Random weights" in told and "Faithful" in told
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == ["kernels.png", "microscope.png", "overview.png", "predictions.png"]
    assert all(min(Image.open(tmp_path / "pictures" / name).size) > 200 for name in drawn)
    code, _, error = run(capsys, *one, "--at", 3, 64, "--out", tmp_path / "outside")
    assert code == 2 and "outside the image" in error and not (tmp_path / "outside").exists()
    code, _, error = run(capsys, "look", "no-such-sample", "--out", tmp_path / "outside")
    assert code == 2 and "no-such-sample" in error and not (tmp_path / "outside").exists()
