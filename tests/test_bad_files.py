"""Bad and odd files: the good odd ones give the right pixels, the bad ones one sentence, and nothing is left behind.

The catalogue is `bad_files.py`. The last part damages good files at random; a few examples by default. A campaign:
`SGDC_FUZZ_SECONDS=600 pytest --timeout=0 -s -k damaged tests/test_bad_files.py tests/test_bad_weights.py`, in seconds
for all of those tests together; SGDC_SEED draws other damage. What campaigns found is in the catalogue.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import bad_files
import numpy as np
import pytest
from bad_files import (
    DISC,
    IMAGES,
    IS_ROOT,
    LINUX,
    MASKS,
    PHOTO,
    POSIX,
    RGB,
    ROOTS,
    all_quiet,
    conic_zip,
    encode,
    half,
    in_directory,
    pairs,
    palette,
    tiff,
    zipped,
)
from conftest import run
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning
from PIL import Image

from sgdc_viz.data import load_image, load_mask, open_dataset
from sgdc_viz.data.images import exif_orientation, load_labels, load_mask_values, read_truth
from sgdc_viz.demo import actions, gallery
from sgdc_viz.demo.view import View
from sgdc_viz.learn import fit
from sgdc_viz.nn import SGDCNet, SGDCNetConfig


def listing(folder: Path) -> list[str]:
    """Every name in a folder, however deep, and the sizes of files; links are not followed."""
    found = []
    for here, folders, files in os.walk(folder):
        found += [os.path.join(here, name) + "/" for name in folders]
        found += [f"{(path := os.path.join(here, name))} {os.lstat(path).st_size}" for name in files]
    return sorted(found)


def check_sentence(error: BaseException, words: str, name: str) -> None:
    text = str(error)
    assert re.search(words, text) or words in text, f"{text!r} does not say {words!r}"
    assert "\n" not in text and text.endswith(".") and len(text) < 600, text
    assert name in text, text


@pytest.fixture(autouse=True)
def quiet(tmp_path, capfd):
    """No warning, no line on stderr (libraries in C write there, too), no pickle run, nothing left behind."""
    with all_quiet(capfd):
        yield


# --- images ----------------------------------------------------------------------------------------------------------

HERE = [file for file in IMAGES if file.where]


def test_the_catalogue_is_large_and_its_names_are_unique():
    for part in (IMAGES, MASKS, ROOTS):
        assert len({item.what for item in part}) == len(part)
    bad = sum(isinstance(item.expect, str) for item in (*IMAGES, *MASKS, *ROOTS))
    assert len(IMAGES) + len(MASKS) + len(ROOTS) >= 200 and bad >= 100


@pytest.mark.parametrize("file", HERE, ids=str)
def test_every_reader_takes_the_odd_and_refuses_the_bad(file, tmp_path, capfd):
    path = file.write(tmp_path)
    before = listing(tmp_path)
    name = repr(str(path))
    if not file.works:
        for read in (load_image, load_mask, load_labels, load_mask_values):
            with pytest.raises(file.raises) as caught:
                read(path)
            check_sentence(caught.value, file.expect, name)
        if path.is_file() and path.stat().st_size < 2**20 and not path.is_symlink():
            with pytest.raises(ValueError) as caught:
                read_truth(path.read_bytes(), path.name, (6, 9))
            check_sentence(caught.value, file.expect, repr(path.name))
            assert exif_orientation(path.read_bytes()) in range(1, 9)
        if file.noisy:
            capfd.readouterr()
        assert listing(tmp_path) == before
        return
    image = load_image(path)
    seen = file.expect if file.expect.ndim == 3 else file.expect[:, :, None].repeat(3, 2)
    assert image.dtype == np.uint8 and image.shape == seen.shape
    assert np.abs(image.astype(int) - seen).max() <= file.off
    np.testing.assert_array_equal(image, load_image(path.read_bytes()))  # and as the bytes of an upload
    if file.labels is None and not file.off:
        expected = brightest = file.expect if file.expect.ndim == 2 else file.expect.max(2)
        if brightest.any() and "transparent" not in file.what:
            np.testing.assert_array_equal(load_mask(path), brightest > brightest.max() / 2)
            truth, said = read_truth(path.read_bytes(), path.name, image.shape[:2])
            assert truth.dtype == np.int32 and said.endswith(".")
        if file.expect.ndim == 2:
            labels = load_labels(path)
            assert labels.dtype == np.int32
            np.testing.assert_array_equal(labels, expected)
    elif isinstance(file.labels, str):
        with pytest.raises(ValueError) as caught:
            load_labels(path)
        check_sentence(caught.value, file.labels, name)
    elif file.labels is not None:
        np.testing.assert_array_equal(load_labels(path), file.labels)
    assert listing(tmp_path) == before


def test_colours_get_numbers_unless_they_are_to_be_classes():
    numbers = load_labels(encode(RGB))
    assert len(np.unique(numbers)) == len(np.unique(RGB.reshape(-1, 3), axis=0))
    with pytest.raises(ValueError, match="holds colours"):
        load_labels(encode(RGB), colours=False)


@contextmanager
def as_nobody():
    """The system administrator may read and write everything; nobody may not."""
    if IS_ROOT:
        os.seteuid(65534)
    try:
        yield
    finally:
        if IS_ROOT:
            os.seteuid(0)


@pytest.fixture
def guarded():
    """A folder with things that may not be read or written; not under tmp_path, which nobody may enter."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        here.chmod(0o755)
        for data in ("whole", "a mask", "its masks", "nothing"):
            bad_files.folder(pairs("a", "b", "c", "d"))(here / data)
        (here / "all.zip").write_bytes(zipped(pairs("a")))
        (here / "photo.png").write_bytes(encode(RGB))
        (here / "full").mkdir()
        shut = ("a mask/data/masks/b.png", "its masks/data/masks", "nothing/data", "all.zip", "photo.png", "full")
        for path in shut:
            (here / path).chmod(0o555 if path == "full" else 0)
        yield here
        for path in shut:
            (here / path).chmod(0o700)


@pytest.mark.skipif(not POSIX, reason="permissions of POSIX")
def test_what_may_not_be_read_or_written_is_one_sentence(guarded, capfd, monkeypatch):
    monkeypatch.chdir(guarded)
    evaluate = ["evaluate", "--checkpoint", "dermoscopy-structure", "--data", "folder", "--split", "all", "--root"]
    train = ["train", "--data", "folder", "--root", "whole/data", "--steps", "1", "--crop", "32", "--out"]
    predict = ["predict", "--checkpoint", "dermoscopy-structure", "whole/data/images/a.png", "--out"]
    for good in ([*evaluate, "whole/data"], [*train, "run"], [*predict, "made"]):  # imports what nobody may not, too
        code, _, told = run(capfd, *good)
        assert code == 0, told
    before = listing(guarded)
    read = "cannot be read (Permission denied); check its permissions."
    write = "cannot write in '{}' (Permission denied): give another folder."
    for words, sentence in {
        (*evaluate, "a mask/data"): "cannot read 'masks/b.png' under 'a mask/data': Permission denied.",
        (*evaluate, "its masks/data"): f"'its masks/data/masks' {read}",
        (*evaluate, "nothing/data"): f"'nothing/data' {read}",
        (*evaluate, "all.zip"): f"'all.zip' {read}",
        (*evaluate, "nothing/data/more"): "'nothing/data/more': Permission denied; check its name and its permissions.",
        (*evaluate, "whole/data", "--json", "full/r.json"): write.format("full"),
        (*train, "full"): write.format("full"),
        (*train, "full/run"): write.format("full/run"),
        (*predict, "full"): write.format("full"),
        ("export", "full/page"): write.format("full/page"),
    }.items():
        with as_nobody():
            code, out, told = run(capfd, *words)
        assert (code, out, told) == (2, "", f"error: {sentence}\n"), words
    for read_one in (load_image, load_mask, load_labels):
        with as_nobody(), pytest.raises(ValueError, match="photo.png' cannot be read .Permission denied.; check its n"):
            read_one(guarded / "photo.png")
    with as_nobody(), pytest.raises(OSError, match="cannot write in 'full'"):  # before the first step, not after it
        fit(SGDCNet(SGDCNetConfig.compact()), open_dataset("folder", "whole/data"), out="full")
    assert listing(guarded) == before


def test_an_image_that_pillow_takes_for_a_bomb_is_not_called_larger_than_it_is():
    wide = bad_files.png(15000, 15000, 1, 0, b"")
    with pytest.raises(ValueError, match="has far more than 13377x13377 pixels"):
        load_image(wide, max_side=16384)


@given(
    st.integers(1, 24),
    st.integers(1, 24),
    st.sampled_from([(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)]),
    st.booleans(),
    st.integers(0, 200),
)
def test_a_png_has_all_of_its_rows_or_is_refused(width, height, kind, interlaced, lacks):
    bits, colour = kind
    bits *= {2: 3, 4: 2, 6: 4}.get(colour, 1)
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    lengths = []
    for x, y, across, down in passes if interlaced else ((0, 0, 1, 1),):
        columns = len(range(x, width, across))
        lengths += [1 + -(-columns * bits // 8)] * (len(range(y, height, down)) if columns else 0)
    rows = bytes(max(0, sum(lengths) - lacks))
    file = bad_files.png(width, height, *kind, rows, interlaced=int(interlaced))
    if lacks:
        with pytest.raises(ValueError, match="'the image' is damaged or incomplete"):
            load_image(file)
    else:
        assert load_image(file).shape == (height, width, 3)


BOMBS = """
import resource, sys
from pathlib import Path
from sgdc_viz.data import load_image, open_dataset
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 60 * 2**20,) * 2)
for path in sys.argv[1:]:
    try:
        open_dataset("folder", path)[0] if path.endswith(".zip") else load_image(path)
    except ValueError as error:
        assert "more memory than there is" not in str(error), error
        print(error)
    else:
        raise SystemExit(f"{path} was read")
"""


@pytest.mark.skipif(not LINUX, reason="limits memory as Linux does")
def test_bombs_are_refused_in_60_megabytes(tmp_path):
    """Each would fill 100 MB or more."""
    bombs = [file for file in HERE if "MB" in file.what or "60000" in file.what or "12000" in file.what]
    bombs += [file for file in HERE if "million" in file.what or "65535" in file.what or "GiB" in file.what]
    assert len(bombs) >= 9
    paths = []
    for number, file in enumerate(bombs):
        (tmp_path / str(number)).mkdir()
        paths.append(str(file.write(tmp_path / str(number))))
    (large,) = (root for root in ROOTS if "4 GB" in root.what)
    (tmp_path / "zip").mkdir()
    paths.append(str(large.make(tmp_path / "zip")))
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", BOMBS, *paths], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(paths) and time.monotonic() - started < 60


# --- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_masks_give_the_right_pixels_or_one_sentence(mask, tmp_path):
    files = {"images/a.png": encode(PHOTO), f"masks/a.{mask.suffix}": mask.make()}
    root = bad_files.folder(files)(tmp_path)
    before = listing(tmp_path)
    dataset = open_dataset("folder", root, **mask.options)
    if isinstance(mask.expect, str):
        with pytest.raises(ValueError) as caught:
            dataset[0]
        check_sentence(caught.value, mask.expect, "a")
        if not mask.options:
            with pytest.raises(ValueError) as caught:
                read_truth(mask.make(), "my mask", (40, 50))
            check_sentence(caught.value, mask.expect, "'my mask'")
    else:
        sample = dataset[0]
        np.testing.assert_array_equal(sample.image, PHOTO)
        got = sample.instances if "instances" in mask.options else sample.mask
        assert got.dtype == (np.int32 if "instances" in mask.options else np.uint8)
        np.testing.assert_array_equal(got, mask.expect)
        if not mask.options:
            np.testing.assert_array_equal(load_mask(mask.make()), mask.expect)
            truth, said = read_truth(mask.make(), "my mask", (40, 50))
            np.testing.assert_array_equal(truth > 0, mask.expect)
            assert said.endswith(".") and ("empty" in said) == (not mask.expect.any())
    assert listing(tmp_path) == before


# --- folders and zips ------------------------------------------------------------------------------------------------

ROOTS_HERE = [root for root in ROOTS if root.where]


@pytest.mark.parametrize("case", ROOTS_HERE, ids=str)
def test_data_sets_are_read_or_refused_in_one_sentence(case, tmp_path):
    root = case.make(tmp_path)
    before, around = listing(tmp_path), sorted(os.listdir())
    tracemalloc.start()
    try:
        if isinstance(case.expect, str):
            with pytest.raises(ValueError) as caught:
                for sample in open_dataset(case.data, root):
                    assert sample.image.shape[:2] == sample.mask.shape
            check_sentence(caught.value, case.expect, "")
        else:
            dataset = open_dataset(case.data, root)
            assert dataset.names == sorted(case.expect)
            for sample in dataset:
                assert sample.image.shape[:2] == sample.mask.shape
                if case.data == "folder":
                    np.testing.assert_array_equal(sample.mask, DISC)
                    if not root.joinpath("images", f"{sample.name}.jpg").exists():
                        np.testing.assert_array_equal(sample.image, PHOTO)
            assert len(dataset.describe()["names_sha256"]) == 64
        assert tracemalloc.get_traced_memory()[1] < 250 * 2**20
    finally:
        tracemalloc.stop()
    assert listing(tmp_path) == before and sorted(os.listdir()) == around


# --- commands --------------------------------------------------------------------------------------------------------

# A few of each kind: the readers themselves are tested above.
COMMANDED = [
    "text", "nothing in it", "half a PNG", "half a JPEG", "GIF", "NaN in a float TIFF", "a PNG header of 60000 x 60000",
    "a TIFF whose packed pixels are damaged", "a folder", "no file", "a link to itself", "a pipe", "a pickle",
]  # fmt: skip


def refused(capfd, out: Path, *arguments) -> str:
    """What a command says that fails as it should."""
    code, told, error = run(capfd, *arguments, "--out", out)
    assert code not in (0, 1, None) and error.startswith("error: ") and len(error.splitlines()) == 1, error
    assert "Traceback" not in error and told == "" and not out.exists()
    return error


@pytest.mark.parametrize("file", [file for file in HERE if file.what in COMMANDED], ids=str)
def test_predict_and_look_refuse_bad_images(file, tmp_path, capfd):
    (tmp_path / "bad").mkdir()
    path = file.write(tmp_path / "bad")
    before = listing(tmp_path)
    error = refused(capfd, tmp_path / "out", "predict", path, "--checkpoint", "nuclei-structure")
    words = file.expect.partition(" 4096")[0]  # this command reads larger ones
    assert words in error
    error = refused(capfd, tmp_path / "out", "look", path, "--networks", "untrained")
    assert words in error or "there is no image file" in error
    assert listing(tmp_path) == before


def three_pairs(field: int, new: bytes) -> bytes:
    """A zip of three images, where the table of contents lies about "c", which a cut of ours puts into training."""
    return in_directory(zipped(pairs("a", "b", "c")), "images/c.png", field, new)


BAD_DATA = {
    "encrypted": lambda: ("folder", three_pairs(8, b"\1\0"), "encrypted"),
    "wrong checksum": lambda: ("folder", three_pairs(16, b"oops"), "Bad CRC-32"),
    "half": lambda: ("folder", half(zipped(pairs("a", "b", "c"))), "neither a folder nor a readable zip"),
    "array encrypted": lambda: ("conic", in_directory(conic_zip(), "images.npy", 8, b"\1\0"), "encrypted"),
}


@pytest.mark.parametrize("what", BAD_DATA)
def test_train_and_evaluate_refuse_bad_data(what, tmp_path, capfd):
    kind, packed, words = BAD_DATA[what]()
    root = tmp_path / "data.zip"
    root.write_bytes(packed)
    before = listing(tmp_path)
    data = ("--data", kind, "--root", root)
    brief = ("--steps", 1, "--crop", 32, "--batch-size", 1, "--small")
    code, _, error = run(capfd, "evaluate", "--checkpoint", "nuclei-structure", *data, "--split", "all",
                         "--json", tmp_path / "report.json")  # fmt: skip
    assert code == 2 and error.startswith("error: ") and len(error.splitlines()) == 1 and words in error
    code, _, error = run(capfd, "train", *data, *brief, "--out", tmp_path / "run")
    told = error.splitlines()[-1]  # after the progress bar
    assert code == 2 and told.startswith("error: ") and words in told and "Traceback" not in error
    assert [line for line in listing(tmp_path) if "/run" not in line] == before
    assert not (tmp_path / "run" / "model.safetensors").exists()
    capfd.readouterr()


def test_predict_writes_what_it_is_asked_for_odd_names_and_all(tmp_path, capfd):
    names = ["größe 细胞 🔬", "a..b", "-x"]
    names += [os.fsdecode(b"\xff"), "two\nlines"] if LINUX else []
    paths = []
    for name in names:
        paths.append(tmp_path / f"{name}.png")
        paths[-1].write_bytes(encode(PHOTO))
    code, told, error = run(capfd, "predict", *paths, "--checkpoint", "nuclei-structure", "--out", tmp_path / "out")
    assert code == 0 and error == "", error
    made = sorted(os.listdir(tmp_path / "out"))
    assert made == sorted(f"{name}_{what}.png" for name in names for what in ("mask", "overlay"))
    assert all(Image.open(tmp_path / "out" / name).size == (50, 40) for name in made)


def test_names_that_a_console_cannot_show_are_no_reason_to_stop(tmp_path, capfd, monkeypatch):
    path = tmp_path / "细胞.png"
    path.write_bytes(encode(PHOTO))
    screen = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")  # Windows, output into a file
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sgdc", "predict", str(path), "--checkpoint", "nuclei-structure", "--out",
                                    str(tmp_path / "out")])  # fmt: skip
        from sgdc_viz import cli

        try:
            cli.main()
        except SystemExit as stop:
            assert not stop.code
    screen.flush()
    assert b"\\u7ec6\\u80de.png:" in screen.buffer.getvalue() and (tmp_path / "out" / "细胞_mask.png").exists()


@pytest.mark.skipif(not POSIX, reason="names of 255 bytes")
def test_predict_refuses_names_that_leave_no_room(tmp_path, capfd):
    path = tmp_path / ("x" * 240 + ".png")
    path.write_bytes(encode(PHOTO))
    error = refused(capfd, tmp_path / "out", "predict", path, "--checkpoint", "nuclei-structure")
    assert "is too long" in error and "shorten it" in error


def test_predict_does_not_write_over_what_lies_beside_the_images(tmp_path, capfd):
    """cell.png with its truth cell_mask.png is a layout that `--data folder` reads."""
    for name in ("cell.png", "cell_mask.png"):
        (tmp_path / name).write_bytes(encode(PHOTO))
    before = listing(tmp_path)
    for images in (["cell.png"], ["cell.png", "cell_mask.png"]):
        arguments = [tmp_path / name for name in images]
        code, _, error = run(capfd, "predict", *arguments, "--checkpoint", "nuclei-structure", "--out", tmp_path)
        said = "is one of the images" if len(images) > 1 else "is there already and not by an earlier run"
        assert code == 2 and f"cell_mask.png' {said}: give another --out." in error
        assert listing(tmp_path) == before
    for _ in range(2):  # elsewhere the same command may be given again
        assert run(capfd, "predict", tmp_path / "cell.png", "--checkpoint", "nuclei-structure", "--out",
                   tmp_path / "out")[0] == 0  # fmt: skip


def test_evaluate_refuses_a_folder_for_its_report_before_it_measures(tmp_path, capfd):
    code, told, error = run(capfd, "evaluate", "--checkpoint", "nuclei-structure", "--data", "synthetic-nuclei",
                            "--json", tmp_path)  # fmt: skip
    assert code == 2 and error.startswith("error: --json '") and "give the name of a file" in error and told == ""


# --- the demo --------------------------------------------------------------------------------------------------------

UPLOADED = [file for file in HERE if not file.works and not isinstance(file.make, str) and file.raises is ValueError]
UPLOADED = [file for file in UPLOADED if not any(w in file.what for w in ("pipe", "device", "folder", "GiB", "link"))]


def test_the_demo_refuses_bad_uploads_and_keeps_none(tmp_path, capfd):
    visit = actions.Visit(View(gallery.FIRST, "untrained", "", y=0, x=0))
    kept = len(gallery.uploads)
    for file in UPLOADED:
        path = file.write(tmp_path)
        with pytest.raises(ValueError) as caught:
            actions.upload_image(visit, str(path))
        check_sentence(caught.value, file.expect, repr(path.name))
        assert listing(tmp_path) == [], "an upload stays on the disk"
    assert len(gallery.uploads) == kept and len(UPLOADED) > 50
    capfd.readouterr()  # libtiff's remarks, in the server's log


def test_the_demo_takes_odd_uploads_and_their_masks(tmp_path, monkeypatch):
    monkeypatch.setattr(actions, "_with_image", lambda visit, key, text: visit.see(image=key))
    good = [file for file in HERE if file.works and "link" not in file.what and max(file.expect.shape) < 100]
    for file in good:
        visit = actions.upload_image(actions.Visit(View(gallery.FIRST, "untrained", "", y=0, x=0)),
                                     str(file.write(tmp_path)))  # fmt: skip
        seen = file.expect if file.expect.ndim == 3 else file.expect[:, :, None].repeat(3, 2)
        assert np.abs(gallery.kept(visit.view.image).image.astype(int) - seen).max() <= file.off
        assert listing(tmp_path) == []
    visit = visit.see(image=gallery.keep(gallery.Upload(PHOTO, None, 1)))
    for mask in (mask for mask in MASKS if not mask.options):
        path = tmp_path / "mask.png"
        path.write_bytes(mask.make())
        if isinstance(mask.expect, str):
            with pytest.raises(ValueError) as caught:
                actions.upload_truth(visit, str(path))
            check_sentence(caught.value, mask.expect, "'mask.png'")
        else:
            with_truth = actions.upload_truth(visit, str(path))
            np.testing.assert_array_equal(gallery.kept(with_truth.view.image).truth > 0, mask.expect)
        assert listing(tmp_path) == []


# --- damaged at random -----------------------------------------------------------------------------------------------

SECONDS, SEED = float(os.environ.get("SGDC_FUZZ_SECONDS", 0)), int(os.environ.get("SGDC_SEED", 0))
FIELDS = [b"\0", b"\xff", b"\0\0", b"\1\0", b"\xff\xff", bytes(4), b"\1\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\x7f",
          b"\x7f\xff\xff\xff", b"\xff" * 4, b"\0\0\1\0", b"\xff" * 8, bytes(8)]  # fmt: skip


@st.composite
def damaged(draw, files: list[bytes], mend=None) -> bytes:
    """One of these files with bytes turned, cut off, taken from another file, given twice, or with a number changed."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        size = max(1, len(data))
        place = draw(st.one_of(st.integers(0, min(200, size - 1)), st.integers(0, size - 1), st.integers(-200, -1)))
        place %= size
        how = draw(st.sampled_from(["turn", "field", "field", "cut", "other", "twice", "lose"]))
        length = draw(st.integers(1, 64))
        if how == "turn":
            data[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif how == "field":
            new = draw(st.sampled_from(FIELDS))
            data[place : place + len(new)] = new
        elif how == "cut":
            del data[place:]
        elif how == "other":
            other = draw(st.sampled_from(files))
            data[place:] = other[place:]
        elif how == "twice":
            data[place:place] = data[place : place + length]
        else:
            del data[place : place + length]
    return bytes(mend(data) if mend and draw(st.booleans()) else data)


def with_checksums(data: bytearray) -> bytearray:
    """Right the checksums of a PNG, so that damage gets past them."""
    place = 8
    while data.startswith(b"\x89PNG") and place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if place + 12 + length > len(data):
            break
        crc = zlib.crc32(bytes(data[place + 4 : place + 8 + length]))
        data[place + 8 + length : place + 12 + length] = crc.to_bytes(4, "big")
        place += 12 + length
    return data


def campaign(strategy, check, examples: int, share: float) -> None:
    """Check so many examples, or as many as fit into this share of SGDC_FUZZ_SECONDS."""
    warnings.filterwarnings("ignore", category=HypothesisWarning)  # that a file's bytes are long
    end, number, count = time.monotonic() + SECONDS * share, 0, 0
    while not number or time.monotonic() < end:

        @settings(max_examples=500 if SECONDS else examples, deadline=None, database=None,
                  suppress_health_check=list(HealthCheck),
                  phases=[Phase.generate, Phase.shrink])  # fmt: skip
        @seed(number + 10**6 * SEED)
        @given(strategy)
        def attempt(data):
            nonlocal count
            count += 1
            started = time.process_time()  # other programs may be at work
            check(data)
            assert time.process_time() - started < 5, "too slow"

        attempt()
        number += 1
    if SECONDS:
        print(f"{count} examples")


def a_value_or_a_sentence(read, name: str):
    try:
        return read()
    except ValueError as error:
        assert type(error) is ValueError, repr(error)
        assert "\n" not in str(error) and str(error).endswith(".") and name in str(error), str(error)


GOOD = [file.make() for file in IMAGES if file.works and not file.make.__code__.co_argcount and file.expect.size < 2000]
GOOD += [file.make() for file in IMAGES if file.works and "JPEG" in file.what]
GOOD += [tiff(RGB.astype(np.uint16), photometric="rgb", tile=(16, 16), compression="zlib"), palette(1)[0],
         tiff(np.stack([RGB] * 2).astype(np.float32), photometric="rgb"),
         tiff(RGB, photometric="rgb", imagej=True)]  # fmt: skip


def test_damaged_images_give_an_array_or_one_sentence(capfd):
    def check(data: bytes) -> None:
        image = a_value_or_a_sentence(lambda: load_image(data, name="x.png"), "'x.png'")
        mask = a_value_or_a_sentence(lambda: load_mask(data, name="x.png"), "'x.png'")
        labels = a_value_or_a_sentence(lambda: load_labels(data, name="x.png"), "'x.png'")
        classes = a_value_or_a_sentence(lambda: load_labels(data, name="x.png", colours=False), "'x.png'")
        truth = a_value_or_a_sentence(lambda: read_truth(data, "x.png", (6, 9))[0], "'x.png'")
        assert exif_orientation(data) in range(1, 9)
        if image is not None:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and 0 not in image.shape
            assert mask is None or (mask.dtype == np.uint8 and mask.shape == image.shape[:2] and mask.max() <= 1)
        for numbers in (labels, classes, truth):
            assert numbers is None or (numbers.dtype == np.int32 and numbers.ndim == 2)

    campaign(damaged(GOOD, with_checksums), check, 120, 0.5)
    capfd.readouterr()  # libtiff's remarks; that commands hide them is shown above


def test_damaged_zips_give_samples_or_one_sentence(tmp_path):
    small = {name: data for name, data in pairs("a", "b").items() if "b" in name or "masks" in name}
    small |= {"images/a.png": encode(RGB), "masks/a.png": encode(RGB[:, :, 0])}
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    files = [zipped(small, kind) for kind in kinds]
    path = tmp_path / "all.zip"

    def check(data: bytes) -> None:
        path.write_bytes(data)

        def read():
            for sample in open_dataset("folder", path, skip_unpaired=True):
                assert sample.image.shape[:2] == sample.mask.shape

        a_value_or_a_sentence(read, "")

    campaign(damaged(files), check, 60, 0.15)


def test_damaged_arrays_give_samples_or_one_sentence(tmp_path):
    kinds = ["images.npy", "labels.npy", "patch_info.csv"]
    with zipfile.ZipFile(io.BytesIO(conic_zip())) as archive:
        good = {kind: archive.read(kind) for kind in kinds}
    good["images.npy"] = bad_files.npy(np.zeros((3, 8, 8, 3), np.uint8))
    good["labels.npy"] = bad_files.npy(np.zeros((3, 8, 8, 2), np.float32))

    def check(what: tuple[str, bytes, bool]) -> None:
        kind, data, packed = what
        files = {**good, kind: data}
        root = tmp_path / "conic.zip"
        if packed:
            root.write_bytes(zipped(files, zipfile.ZIP_STORED))
        else:
            root = bad_files.folder(files)(tmp_path)

        def read():
            for sample in open_dataset("conic", root):
                assert sample.image.shape[:2] == sample.mask.shape == sample.instances.shape

        a_value_or_a_sentence(read, "")

    chosen = st.sampled_from(kinds).flatmap(lambda kind: st.tuples(st.just(kind), damaged([good[kind]]), st.booleans()))
    campaign(chosen, check, 60, 0.1)
