"""The command line: what works, and one sentence for what does not."""

import json
import os
import shutil
import subprocess
import sys
import weakref

import numpy as np
import pytest
from conftest import run
from PIL import Image

from sgdc_viz import assets_dir
from sgdc_viz.data import DATASETS, open_dataset
from sgdc_viz.data.samples import examples
from sgdc_viz.learn import load_checkpoint, load_pretrained
from sgdc_viz.nn import ALL_KERNEL_SOURCES


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


def test_predict_overwrites_its_own_results_and_nothing_else(capsys, folder, tmp_path, monkeypatch):
    """A mask drawn by hand may be called as predict calls its own, in the layout that the README shows."""
    monkeypatch.chdir(tmp_path)
    truth = tmp_path / "masks" / "cell 0_mask.png"
    truth.parent.mkdir()
    truth.write_bytes((folder / "masks" / "cell 0.png").read_bytes())
    kept = truth.read_bytes()
    command = ("predict", folder / "images" / "cell 0.png", "--checkpoint", "nuclei-structure", "--out")
    code, _, error = run(capsys, *command, "masks")
    assert code == 2 and "mask.png' is there already and not by an earlier run: give another --out." in error
    assert truth.read_bytes() == kept and [p.name for p in truth.parent.iterdir()] == [truth.name]
    for _ in range(2):
        assert run(capsys, *command, "made")[0] == 0
    (tmp_path / "taken" / "cell 0_overlay.png").mkdir(parents=True)
    code, _, error = run(capsys, *command, "taken")
    assert code == 2 and "cell 0_overlay.png' is a folder: give another --out." in error
    assert not (tmp_path / "taken" / "cell 0_mask.png").exists()


def test_predict_holds_one_image_at_a_time(capsys, folder, tmp_path, monkeypatch):
    from sgdc_viz import data

    held, load = weakref.WeakSet(), data.load_image

    def loaded(*given, **more):
        image = load(*given, **more).view(Seen)
        held.add(image)
        assert len(held) <= 2  # the one before lives until the next is there
        return image

    monkeypatch.setattr(data, "load_image", loaded)
    images = [folder / "images" / f"cell {i}.png" for i in range(6)]
    assert run(capsys, "predict", *images, "--checkpoint", "nuclei-structure", "--out", tmp_path / "out")[0] == 0


class Seen(np.ndarray):
    """An array that can be looked for."""

    __hash__ = object.__hash__


@pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")
def test_a_report_goes_into_a_pipe_and_through_a_link(capsys, folder, tmp_path):
    command = ("evaluate", "--checkpoint", "nuclei-structure", "--data", "folder", "--root", folder, "--json")
    pipe, link, file = (tmp_path / name for name in ("pipe", "link.json", "file.json"))
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert run(capsys, *command, pipe)[0] == 0
    assert json.loads(os.read(reader, 2**20))["images"] and pipe.is_fifo()
    os.close(reader)
    link.symlink_to(file.name)
    assert run(capsys, *command, link)[0] == 0
    assert link.is_symlink() and json.loads(file.read_text())["images"]


def test_what_memory_does_not_hold_is_one_sentence(capsys, folder, tmp_path):
    code, _, error = run(capsys, "train", "--data", "folder", "--root", folder, "--out", tmp_path / "r", "--steps", 1,
                         "--crop", 32 * 2**15)  # fmt: skip
    said = error.strip().splitlines()[-1]
    assert code == 2 and said.startswith("error: not enough memory (") and said.endswith("): take smaller numbers.")


BRIEF = ("--steps", 2, "--crop", 32, "--batch-size", 2)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """The same kind of folder, where the masks number the objects, and one image has no mask."""
    root = tmp_path_factory.mktemp("numbered")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    for i, sample in enumerate(open_dataset("synthetic-nuclei", count=9, size=64, split="train")):
        Image.fromarray(sample.image).save(root / "images" / f"{i}.png")
        if i < 8:
            Image.fromarray(sample.instances.astype(np.uint16)).save(root / "masks" / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory):
    """Background 0, a square 1, a square 2."""
    root = tmp_path_factory.mktemp("classes")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    mask = np.zeros((48, 48), np.uint8)
    mask[4:20, 4:20], mask[24:44, 24:44] = 1, 2
    for i in range(8):
        turned = np.rot90(mask, i)
        Image.fromarray(np.dstack([turned * 100, turned * 50, 255 - turned * 90])).save(root / "images" / f"{i}.png")
        Image.fromarray(turned).save(root / "masks" / f"{i}.png")
    return root


def test_masks_that_number_objects(capsys, numbered, tmp_path):
    own, out = ("--data", "folder", "--root", numbered), tmp_path / "run"
    code, _, error = run(capsys, "train", *own, *BRIEF, "--out", out)
    assert code == 2 and "has no mask" in error and "--skip-unpaired" in error and len(error.splitlines()) == 1
    code, _, error = run(capsys, "train", *own, "--skip-unpaired", *BRIEF, "--out", out)
    last = error.splitlines()[-1]  # after the progress bar
    assert code == 2 and last.startswith("error: 'masks/") and "0, 1, 2" in last and "--instances" in last
    own += ("--skip-unpaired", "--instances")
    assert run(capsys, "train", *own, *BRIEF, "--out", tmp_path / "again")[0] == 0
    model = tmp_path / "again" / "model.safetensors"
    code, told, _ = run(capsys, "evaluate", "--checkpoint", model, *own, "--split", "all")
    assert code == 0 and "8 images" in told and "too few" not in told
    code, told, _ = run(capsys, "evaluate", "--checkpoint", model, *own)
    assert code == 0 and told.count("(too few images for an interval)") == 6  # one or two images in the test split
    picture = numbered / "images" / "0.png"
    assert run(capsys, "predict", picture, "--checkpoint", model, "--out", tmp_path / "masks")[0] == 0
    assert set(np.unique(Image.open(tmp_path / "masks" / "0_mask.png"))) <= {0, 255}
    arguments = (tmp_path / "again", "--name", "mine", *own, "--out", tmp_path / "assets")
    (tmp_path / "assets").mkdir()
    assert run(capsys, "publish", *arguments)[0] == 0
    assert load_checkpoint(tmp_path / "assets" / "mine.safetensors").info.metrics["summary"]["images"] > 0


def test_masks_of_three_classes(capsys, three_classes, tmp_path):
    own, out = ("--data", "folder", "--root", three_classes), tmp_path / "run"
    code, _, error = run(capsys, "train", *own, *BRIEF, "--out", tmp_path / "binary")
    assert code == 2 and "--num-classes" in error.splitlines()[-1]
    assert run(capsys, "train", *own, "--num-classes", 3, *BRIEF, "--out", out)[0] == 0
    model = out / "model.safetensors"
    assert load_checkpoint(model).config.num_classes == 3
    code, _, error = run(capsys, "evaluate", "--checkpoint", model, *own)
    assert code == 2 and "do not belong together" in error
    report = tmp_path / "report.json"
    code, told, _ = run(capsys, "evaluate", "--checkpoint", model, *own, "--num-classes", 3, "--json", report)
    assert code == 0 and "test" in told
    assert {"class_1_iou", "class_2_iou"} <= set(json.loads(report.read_text())["summary"])
    picture = three_classes / "images" / "0.png"
    assert run(capsys, "predict", picture, "--checkpoint", model, "--out", tmp_path / "masks")[0] == 0
    assert set(np.unique(Image.open(tmp_path / "masks" / "0_mask.png"))) <= {0, 1, 2}
    code, _, error = run(capsys, "publish", out, "--name", "mine", *own, "--out", tmp_path)
    assert code == 2 and "do not belong together" in error and not (tmp_path / "mine.md").exists()


def test_train_starts_from_a_shipped_model(capsys, folder, tmp_path):
    out = tmp_path / "run"
    start = ("--init", "synthetic-structure", "--learning-rate", 0)
    code, told, error = run(capsys, "train", "--data", "folder", "--root", folder, *BRIEF, *start, "--out", out)
    assert code == 0, error
    ours, shipped = load_checkpoint(out / "model.safetensors"), load_pretrained("synthetic-structure")
    for (name, mine), theirs in zip(ours.named_parameters(), shipped.parameters(), strict=True):
        assert mine.equal(theirs), name
    code, told, error = run(capsys, "train", "--data", "folder", "--root", folder, *BRIEF, "--init", "nuclei-structure",
                            "--learning-rate", 0, "--out", out, "--resume")  # fmt: skip
    assert code == 0 and "--init is not used: the interrupted run goes on with its own weights" in told, error


def test_two_images_are_too_few(capsys, folder, tmp_path):
    for part in ("images", "masks"):
        (tmp_path / "own" / part).mkdir(parents=True)
        for name in ("cell 0.png", "cell 1.png"):
            (tmp_path / "own" / part / name).write_bytes((folder / part / name).read_bytes())
    code, _, error = run(capsys, "train", "--data", "folder", "--root", tmp_path / "own", "--out", tmp_path / "out")
    assert code == 2 and "at least 3 images are needed to make train, val and test" in error
    assert not (tmp_path / "out").exists()


def test_out_that_is_a_file_is_refused(capsys, folder, tmp_path):
    (tmp_path / "taken").write_text("mine")
    picture = folder / "images" / "cell 0.png"
    for arguments in (
        ("predict", picture, "--checkpoint", "synthetic-structure"),
        ("look", picture, "--networks", "untrained"),
        ("train", "--data", "folder", "--root", folder, *BRIEF),
    ):
        code, _, error = run(capsys, *arguments, "--out", tmp_path / "taken")
        assert code == 2 and error.startswith("error: --out '") and "is a file: give the name of a folder" in error
        assert len(error.splitlines()) == 1 and (tmp_path / "taken").read_text() == "mine"


def help_of(command):
    """The help as one line of words, without the frame."""
    done = subprocess.run([sys.executable, "-m", "sgdc_viz", command, "--help"], capture_output=True, text=True,
                          env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.replace("│", " ").split())


def test_help_lists_every_name_and_flags_take_no_value():
    told = help_of("train")
    for name in (*DATASETS, *ALL_KERNEL_SOURCES, "fp16 on a GPU only", "shipped model"):
        assert name in told, name
    for flag in ("--resume", "--small", "--instances", "--skip-unpaired"):
        after = told.partition(f"{flag} ")[2]
        assert after and not after.startswith(("<", "BOOL", "bool")), flag
    assert "--num-classes" in told and "..." not in told
    for command in ("publish", "history"):
        told = help_of(command)
        assert "RUN" in told and "For maintainers" in told and "--out of train" in told and DATASETS[-1] in told


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("train", "--data", "synthetic-nuclei", "--instances", "--out", "OUT"), "--instances is no option of synthet"),
        (("train", "--data", "isic2016", "--num-classes", "3", "--out", "OUT"), "it is for folder"),
        (("train", "--data", "conic", "--skip-unpaired", "--out", "OUT"), "it is for isic2016, "),
        (("train", "--data", "cats", "--instances", "--out", "OUT"), "unknown data set 'cats'"),
        (("train", "--data", "folder", "--root", "ROOT", "--num-classes", "0", "--out", "OUT"), "num_classes=0"),
        (("train", "--data", "folder", "--root", "ROOT", "--longest-side", "-3", "--out", "OUT"), "--longest-side 0"),
        (("train", "--data", "bbbc038", "--out", "OUT"), "on the command line --root"),
        (("look", "cell", "--networks", "untrained", "--zoom", "0", "--out", "OUT"), "--zoom 0"),
        (("look", "nosuch", "--out", "OUT"), ", ".join(e.key for e in examples())),
        (("evaluate", "--checkpoint", "no-such", "--data", "synthetic-nuclei"), "no shipped model 'no-such'"),
        (("train", "--data", "cats", "--out", "OUT"), "unknown data set 'cats'"),
        (("train", "--data", "bbbc038", "--out", "OUT"), "root"),
        (("train", "--data", "bbbc038", "--root", "/nowhere/at/all", "--out", "OUT"), "does not exist"),
        (("train", "--data", "synthetic-nuclei", "--kernel-source", "magic", "--out", "OUT"), "kernel_source='magic'"),
        (("train", "--data", "synthetic-nuclei", "--crop", "50", "--out", "OUT"), "crop=50"),
        (("predict", "gone.png", "--checkpoint", "nuclei-structure", "--out", "OUT"), "gone.png"),
        (("train", "--data", "synthetic-nuclei", "--threads", "5000", "--out", "OUT"), "--threads 5000 must be from 1"),
        (("train", "--data", "synthetic-nuclei", "--learning-rate", "nan", "--out", "OUT"), "learning_rate=nan must"),
        (("train", "--data", "synthetic-nuclei", "--learning-rate", "-1", "--out", "OUT"), "learning_rate=-1.0 must"),
        (("history", "ROOT", "--data", "synthetic-nuclei", "--out", "h.txt"), "'h.txt', must end in .safetensors"),
        (("history", "ROOT", "--data", "synthetic-nuclei", "--images", "0", "--out", "OUT"), "--images 0 must be 1"),
        (("experiment", "folder"), "needs --root, the folder or zip that holds your images and masks"),
    ],
)
def test_mistakes_get_one_sentence(capsys, tmp_path, folder, arguments, says):
    arguments = [{"OUT": tmp_path / "out", "ROOT": folder}.get(a, a) for a in arguments]
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


def test_a_rate_that_blows_the_weights_up_is_named(capsys, folder, tmp_path):
    one = ("--steps", 1, "--crop", 32, "--batch-size", 2, "--learning-rate", "1e38")
    code, _, error = run(capsys, "train", "--data", "folder", "--root", folder, *one, "--out", tmp_path / "r")
    assert code == 2 and error.splitlines()[-1].endswith(": lower the learning rate.")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_what_torch_cannot_allocate_is_one_sentence(tmp_path):
    import resource

    Image.fromarray(np.zeros((1500, 1500, 3), np.uint8)).save(tmp_path / "large.png")
    words = ["predict", "large.png", "--checkpoint", "nuclei-structure", "--out", "made", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "sgdc_viz", *words], cwd=tmp_path, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (900_000_000,) * 2),
    )  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: not enough memory (") and not (tmp_path / "made").exists()


def test_several_pages_are_said(capsys, tmp_path):
    first = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    first.save(tmp_path / "stack.tif", save_all=True, append_images=[first])
    words = ("predict", tmp_path / "stack.tif", "--checkpoint", "nuclei-structure", "--out", tmp_path / "out")
    code, told, _ = run(capsys, *words)
    assert code == 0 and "foreground; the file has several pages, this is the first" in told


def test_images_that_came_after_the_training_are_noticed(capsys, folder, tmp_path):
    root, model = tmp_path / "data", tmp_path / "run" / "model.safetensors"
    shutil.copytree(folder, root)
    brief = ("--steps", 1, "--crop", 32, "--batch-size", 2)
    assert run(capsys, "train", "--data", "folder", "--root", root, *brief, "--out", model.parent)[0] == 0
    measure = ("evaluate", "--checkpoint", model, "--data", "folder", "--root", root)
    assert "note: " not in run(capsys, *measure)[2]
    for kind in ("images", "masks"):
        shutil.copy(root / kind / "cell 0.png", root / kind / "new.png")
    code, told, said = run(capsys, *measure)
    assert code == 0 and "IoU" in told.replace("iou", "IoU")
    assert "note: the training part of these images (9) is not the one that this model learnt from (8)" in said
    assert "note: " not in run(capsys, *measure, "--split", "all")[2]


def test_reports_and_pictures_go_over_nothing_else(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mask, model = folder / "masks" / "cell 0.png", tmp_path / "m.safetensors"
    shutil.copy(assets_dir() / "nuclei-structure.safetensors", model)
    shutil.copy(folder / "images" / "cell 0.png", "overview.png")
    mine = [path.read_bytes() for path in (mask, model, tmp_path / "overview.png")]
    for report in (mask, model):
        words = ("--checkpoint", model, "--data", "folder", "--root", folder, "--json", report)
        code, _, error = run(capsys, "evaluate", *words)
        assert code == 2 and "is there already and no earlier result: give another name." in error
    code, _, error = run(capsys, "look", "overview.png", "--networks", "untrained", "--out", ".")
    assert code == 2 and "'overview.png' is one of the images: give another --out." in error
    code, _, error = run(capsys, "look", folder / "images" / "cell 1.png", "--networks", "untrained", "--out", ".")
    assert code == 2 and "'overview.png' is there already and not by an earlier run" in error
    assert [path.read_bytes() for path in (mask, model, tmp_path / "overview.png")] == mine
    for _ in range(2):
        assert run(capsys, "look", "overview.png", "--networks", "untrained", "--out", "made")[0] == 0


def test_a_trained_model_is_not_trained_over(capsys, folder, tmp_path):
    words = ("train", "--data", "folder", "--root", folder, *BRIEF, "--out", tmp_path / "r")
    assert run(capsys, *words)[0] == 0
    (tmp_path / "r" / "state.safetensors").unlink()
    before = (tmp_path / "r" / "model.safetensors").read_bytes()
    for more in ((), ("--resume",)):
        code, _, error = run(capsys, *words, "--seed", 3, *more)
        assert code == 2 and "it would be lost; choose a new folder." in error
    assert (tmp_path / "r" / "model.safetensors").read_bytes() == before


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
