"""Weights that are broken, foreign, too new or hostile: one sentence that names the file and the remedy, in all places.

What `test_checkpoints.py` and `test_own_images.py` show for one reader is not repeated: here each file goes through
every door. The last tests damage a good file at random; SGDC_FUZZ_SECONDS=600 makes a campaign of it, as in
`test_bad_files.py`.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_files import LINUX, POSIX, Canary, all_quiet, chunk, encode, npy, zipped
from conftest import run
from hypothesis import strategies as st
from safetensors.torch import load, save
from test_bad_files import a_value_or_a_sentence, campaign, damaged, listing

from sgdc_viz.demo import actions, gallery
from sgdc_viz.demo.view import View
from sgdc_viz.explore.networks import read_network
from sgdc_viz.learn import load_checkpoint, load_pretrained, save_checkpoint, start_from
from sgdc_viz.learn.history import load_history
from sgdc_viz.nn import SGDCNet, SGDCNetConfig

TINY = dict(encoder_channels=(8, 8, 16, 16), decoder_channels=(8, 8, 16, 16), mid_channels=8, kernel_size=3)


def tiny(**changes) -> SGDCNet:
    torch.manual_seed(0)
    return SGDCNet(SGDCNetConfig.compact(**{**TINY, **changes})).eval()


def make_good() -> bytes:
    """A whole checkpoint of a small guided network."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return save_checkpoint(Path(folder) / "m.safetensors", tiny(), data={"longest_side": None}).read_bytes()


GOOD = make_good()
LENGTH = int.from_bytes(GOOD[:8], "little")
HEADER = json.loads(GOOD[8 : 8 + LENGTH])
TENSORS = load(GOOD)


def rewritten(tensors: dict | None = None, config: dict | None = None, /, **metadata) -> bytes:
    """The checkpoint with other tensors (None: without), settings or metadata (None: without)."""
    known = dict(HEADER["__metadata__"])
    if config is not None:
        known["config"] = json.dumps({**json.loads(known["config"]), **config})
    known = {key: value for key, value in {**known, **metadata}.items() if value is not None}
    kept = {key: value for key, value in {**TENSORS, **(tensors or {})}.items() if value is not None}
    return save(kept, known)


def headed(header: dict | bytes, length: int | None = None) -> bytes:
    """The checkpoint's numbers under another header, which may lie about its own length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + GOOD[8 + LENGTH :]


def entry(**changes) -> bytes:
    """The checkpoint with something else said of its tensor head.bias."""
    return headed({**HEADER, "head.bias": {**HEADER["head.bias"], **changes}})


def torch_saved() -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": TENSORS, "hook": Canary()}, file)
    return file.getvalue()


BIAS = TENSORS["head.bias"]
VARIANCE = "encoder.stages.0.conv1.bn.running_var"
PICKLE, BROKEN, ITSELF, SETTINGS = (
    "pickle",
    "broken",
    "does not fit its own settings",
    "settings that cannot be read|settings fr",
)
BAD = {  # what -> (bytes, words of its sentence in every reader)
    "pickle": (lambda: pickle.dumps(Canary()), PICKLE),
    "pickle, protocol 0": (lambda: pickle.dumps(Canary(), protocol=0), BROKEN),
    "torch.save": (torch_saved, PICKLE),
    "zip": (lambda: zipped({"data.pkl": pickle.dumps(Canary())}), PICKLE),
    "numpy": (lambda: npy(np.array([Canary()], object), allow_pickle=True), BROKEN),
    "picture": (lambda: encode(np.zeros((4, 4), np.uint8)), BROKEN),
    "empty": (lambda: b"", BROKEN),
    "7 bytes": (lambda: GOOD[:7], BROKEN),
    "header alone": (lambda: GOOD[: 8 + LENGTH], BROKEN),
    "half of the header": (lambda: GOOD[: 8 + LENGTH // 2], BROKEN),
    "half of the numbers": (lambda: GOOD[: len(GOOD) // 2], BROKEN),
    "one byte short": (lambda: GOOD[:-1], BROKEN),
    "one byte long": (lambda: GOOD + b"\0", BROKEN),
    "header of 2**60 bytes": (lambda: (2**60).to_bytes(8, "little") + GOOD[8:], BROKEN),
    "header of 2**64 - 1 bytes": (lambda: b"\xff" * 8 + GOOD[8:], BROKEN),
    "header of 0 bytes": (lambda: bytes(8) + GOOD[8:], BROKEN),
    "header that is no JSON": (lambda: headed(b"{" + b"x" * 99), BROKEN),
    "header that is no UTF-8": (lambda: headed(b'{"\xff\xfe": 1}'), BROKEN),
    "header that is a list": (lambda: headed(b"[1, 2, 3]"), BROKEN),
    "deep header": (lambda: headed(b'{"a":' + b"[" * 50_000), BROKEN),
    "place beyond the end": (lambda: entry(data_offsets=[0, 2**40]), BROKEN),
    "place that runs backwards": (lambda: entry(data_offsets=[8, 4]), BROKEN),
    "negative place": (lambda: entry(data_offsets=[-4, 0]), BROKEN),
    "overlapping places": (lambda: entry(data_offsets=[4, 8]), BROKEN),
    "shape that overflows": (lambda: entry(shape=[2**62, 8]), f"{BROKEN}|{ITSELF}"),
    "negative shape": (lambda: entry(shape=[-1]), f"{BROKEN}|{ITSELF}"),
    "kind of number that there is not": (lambda: entry(dtype="F7"), f"{BROKEN}|holds 'head.bias' as"),
    "kind of number that says another size": (lambda: entry(dtype="F64"), BROKEN),
    "metadata of numbers": (
        lambda: headed({**HEADER, "__metadata__": {"format": 5}}),
        f"{BROKEN}|no sgdc_viz settings",
    ),
    "no metadata": (lambda: save(TENSORS), "holds weights but no sgdc_viz settings"),
    "metadata of others": (lambda: save(TENSORS, {"format": "pt"}), "holds weights but no sgdc_viz settings"),
    "no settings": (lambda: rewritten(config=None), "no sgdc_viz settings"),
    "history": (lambda: rewritten(format="sgdc_viz history"), "holds several steps of a training"),
    "future version": (lambda: rewritten(format_version="99", sgdc_viz="9.9"), r"newer sgdc_viz \('9.9'\): update"),
    "no version": (lambda: rewritten(format_version=None), "by which version|settings that cannot be read"),
    "version that is a word": (
        lambda: rewritten(format_version="one"),
        "by which version|settings that cannot be read",
    ),
    "version of 5000 digits": (lambda: rewritten(format_version="9" * 5000), "by which version|settings that cannot"),
    "unknown setting": (lambda: rewritten(None, {"telepathy": 1}), "telepathy"),
    "settings that are a list": (lambda: rewritten(**{"config": "[]"}), SETTINGS),
    "settings that are no JSON": (lambda: rewritten(**{"config": "{"}), SETTINGS),
    "deep settings": (lambda: rewritten(**{"training": "[" * 50_000}), SETTINGS),
    "data that are a list": (lambda: rewritten(data="[]"), SETTINGS),
    "scale that is a word": (lambda: rewritten(data='{"longest_side": "big"}'), SETTINGS),
    "scale of 10**9": (lambda: rewritten(data='{"longest_side": 1000000000}'), SETTINGS),
    "scale of 0": (lambda: rewritten(data='{"longest_side": 0}'), SETTINGS),
    "setting of another type": (lambda: rewritten(None, {"heads": "four"}), SETTINGS),
    "setting of nothing": (lambda: rewritten(None, {"mlp_ratio": None}), SETTINGS),
    "heads of 0": (lambda: rewritten(None, {"heads": 0}), SETTINGS),
    "2**63 channels": (lambda: rewritten(None, {"guidance_channels": 2**63}), SETTINGS),
    "1e308 for a weight": (lambda: rewritten(None, {"layer_scale_init": 1e308}), SETTINGS),
    "negative channels": (lambda: rewritten(None, {"mid_channels": -8}), SETTINGS),
    "kernel source that there is not": (lambda: rewritten(None, {"kernel_source": "magic"}), "kernel_source='magic'"),
    "another architecture": (lambda: rewritten(None, {"mid_channels": 16}), ITSELF),
    "a network for 100 GB": (lambda: rewritten(None, {"mid_channels": 10**5}), f"{ITSELF}|million weights"),
    "a missing weight": (lambda: rewritten({"head.bias": None}), f"{ITSELF}.*'head.bias'"),
    "a weight too many": (lambda: rewritten({"head.more": BIAS + 1}), f"{ITSELF}.*'head.more'"),
    "a weight of another shape": (lambda: rewritten({"head.bias": torch.zeros(7)}), f"{ITSELF}.*'head.bias'"),
    "no weights": (lambda: rewritten(dict.fromkeys(TENSORS)), ITSELF),
    "whole numbers for weights": (
        lambda: rewritten({"head.bias": BIAS.long()}),
        "holds 'head.bias' as .*save it again",
    ),
    "true and false for weights": (lambda: rewritten({"head.bias": BIAS > 0}), "holds 'head.bias' as"),
    "weights of 8 bits": (lambda: rewritten({"head.bias": BIAS.to(torch.float8_e4m3fn)}), "holds 'head.bias' as"),
    "NaN": (
        lambda: rewritten({"head.bias": BIAS * np.nan}),
        "NaN or infinite weights in 'head.bias': its training had",
    ),
    "a number beyond float32": (lambda: rewritten({"head.bias": BIAS.double() + 1e39}), "NaN or infinite"),
    "a variance below 0": (lambda: rewritten({VARIANCE: -TENSORS[VARIANCE]}), "holds a variance below 0 in"),
    "infinity": (lambda: rewritten({"head.bias": BIAS - np.inf}), "NaN or infinite weights in 'head.bias'"),
    "NaN in half precision": (lambda: rewritten({"head.bias": (BIAS * np.nan).half()}), "NaN or infinite weights"),
}
REMEDIES = (
    "download",
    "again",
    "save_checkpoint",
    "update",
    "load_history",
    "upload",
    "train",
    "bring",
    "its training",
)


@pytest.fixture(autouse=True)
def quiet(capfd):
    """No warning, nothing written to stderr, no pickle run."""
    with all_quiet(capfd):
        yield


def check_sentence(error: Exception, words: str, name: str) -> None:
    text = str(error)
    assert name in text and "\n" not in text and text.endswith((".", "diverged.")) and len(text) < 700, text
    assert any(remedy in text for remedy in REMEDIES), text
    assert re.search(words, text), f"{text!r} does not say {words!r}"


@pytest.mark.parametrize("what", BAD)
def test_every_reader_says_what_is_wrong_with_a_file_and_what_to_do(what, tmp_path):
    make, words = BAD[what]
    path = tmp_path / "mine.safetensors"
    path.write_bytes(make())
    before = listing(tmp_path)
    model = tiny()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    for read in (load_checkpoint, load_pretrained, lambda p: load_pretrained(str(p)), lambda p: start_from(model, p)):
        with pytest.raises(ValueError) as caught:
            read(path)
        check_sentence(caught.value, words, repr(str(path)))
    for name, value in model.state_dict().items():  # a training that was to start from it has not begun to
        assert torch.equal(value, weights[name])
    with pytest.raises(ValueError) as caught:
        read_network(path.read_bytes(), "mine.safetensors")
    check_sentence(caught.value, words, "'mine.safetensors'")
    if "history" not in what:
        with pytest.raises(ValueError) as caught:
            load_history(path)
        assert "mine.safetensors" in str(caught.value) and "\n" not in str(caught.value)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("ending", [".pt", ".pth", ".pkl", ".ckpt", ".bin", ".npz"])
def test_other_kinds_of_files_are_not_even_opened(ending, tmp_path, monkeypatch):
    path = tmp_path / f"weights{ending}"
    path.write_bytes(torch_saved())
    opened = []
    monkeypatch.setattr(Path, "open", lambda self, *_, **__: opened.append(self))
    monkeypatch.setattr(torch, "load", lambda *_, **__: opened.append("torch.load"))
    for read in (load_checkpoint, load_pretrained, lambda p: start_from(tiny(), p)):
        with pytest.raises(ValueError, match="other formats can run code when loaded and are not opened") as caught:
            read(path)
        assert repr(str(path)) in str(caught.value) and "save_checkpoint" in str(caught.value)
    assert not opened


def test_what_is_no_file(tmp_path):
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    with pytest.raises(ValueError, match="folder.safetensors' is a folder: give the .safetensors file in it."):
        load_checkpoint(folder)
    odd = [tmp_path / "gone.safetensors"]
    if POSIX:
        for name, make in (("link", lambda p: p.symlink_to("gone")), ("loop", lambda p: p.symlink_to(p.name)),
                           ("pipe", os.mkfifo)):  # fmt: skip
            odd.append(tmp_path / f"{name}.safetensors")
            make(odd[-1])
    for path in odd:
        with pytest.raises(FileNotFoundError, match="there is no checkpoint file .*: check the path."):
            load_checkpoint(path)


@pytest.mark.skipif(not POSIX, reason="permissions of POSIX")
def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_bytes(GOOD)

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # the system administrator, as whom tests may run, reads everything
    with pytest.raises(ValueError, match="m.safetensors' cannot be read .Permission denied.: check its permissions."):
        load_checkpoint(path)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_weights(kind, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(rewritten({key: v.to(kind) if v.is_floating_point() else v for key, v in TENSORS.items()}))
    for model in (load_checkpoint(path), read_network(path.read_bytes(), path.name)):
        for name, value in model.state_dict().items():
            assert value.dtype == TENSORS[name].dtype
            torch.testing.assert_close(value, TENSORS[name].to(kind).to(value.dtype))


def test_odd_names_and_headers_that_begin_like_a_pickle(tmp_path):
    """0x80 and P begin pickles and torch's zips, and lengths of headers, too."""
    begun = {data[0]: data for data in (rewritten(note="x" * padding) for padding in range(0, 256, 8))}
    for first in (0x80, ord("P")):
        path = tmp_path / f"größe {first} 细胞.safetensors"
        path.write_bytes(begun[first])
        assert load_checkpoint(path).info.name == path.stem


MEMORY = """
import resource, sys
from pathlib import Path
import torch
from sgdc_viz.learn import load_checkpoint
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
for path in sys.argv[1:]:
    try:
        load_checkpoint(path)
    except ValueError as error:
        assert "memory" not in str(error), error
        print(error)
"""


@pytest.mark.skipif(not LINUX, reason="limits memory as Linux does")
def test_a_file_that_asks_for_memory_does_not_get_it(tmp_path):
    asks = [rewritten(None, {"mid_channels": 10**5}), rewritten(None, {"encoder_channels": [10**5] * 4}),
            rewritten(None, {"kernel_size": 10**5 + 1}), (2**60).to_bytes(8, "little") + GOOD[8:],
            entry(shape=[2**40], data_offsets=[0, 2**42])]  # fmt: skip
    paths = [tmp_path / f"{number}.safetensors" for number in range(len(asks))]
    for path, data in zip(paths, asks, strict=True):
        path.write_bytes(data)
    done = subprocess.run([sys.executable, "-c", MEMORY, *map(str, paths)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(asks)


@pytest.mark.parametrize("what", ["pickle", "torch.save", "half of the numbers", "NaN", "future version", "no metadata",
                                  "another architecture", "scale of 10**9", "setting of another type"])  # fmt: skip
def test_commands_end_with_that_sentence_and_write_nothing(what, tmp_path, capfd):
    make, words = BAD[what]
    path, image = tmp_path / "mine.safetensors", tmp_path / "cell.png"
    path.write_bytes(make())
    image.write_bytes(encode(np.zeros((32, 32, 3), np.uint8)))
    before = listing(tmp_path)
    data = ("--data", "synthetic-nuclei")
    for arguments in (
        ("predict", image, "--checkpoint", path, "--out", tmp_path / "out"),
        ("evaluate", "--checkpoint", path, *data, "--json", tmp_path / "report.json"),
        ("train", *data, "--init", path, "--steps", 1, "--out", tmp_path / "run"),
    ):
        code, told, error = run(capfd, *arguments)
        assert code == 2 and told == "" and error.startswith("error: ") and len(error.splitlines()) == 1, error
        check_sentence(ValueError(error.removeprefix("error: ").strip()), words, repr(str(path)))
        assert listing(tmp_path) == before


def test_the_demo_refuses_them_and_deletes_them(tmp_path):
    visit = actions.Visit(View(gallery.FIRST, "untrained", "", y=0, x=0))
    for make, words in BAD.values():
        path = tmp_path / "mine.safetensors"
        path.write_bytes(make())
        with pytest.raises(ValueError) as caught:
            actions.upload_network(visit, str(path))
        check_sentence(caught.value, words, "'mine.safetensors'")
        assert listing(tmp_path) == []


# --- damaged at random -----------------------------------------------------------------------------------------------

VALUES = [None, True, -1, 0, 1, 2, 3, 7, 10**5, 2**31, 2**63, 1e308, -0.5, 0.3, "", "x", "structure", "pooled", "é\n",
          [], {}, [1], [0, 4], [1, 2, 3, 4], {"a": 1}]  # fmt: skip


KINDS = ["F16", "F32", "I64", "BOOL", "C64", "F8_E8M0", "F4", "U64", "x"]
DESCRIBED = {key: json.loads(HEADER["__metadata__"][key]) for key in ("config", "data", "training", "metrics")}
# (where, the key there, its new value), some of them
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("config"), st.sampled_from(sorted(DESCRIBED["config"])), st.sampled_from(VALUES)),
        st.tuples(st.just("data"), st.just("longest_side"), st.sampled_from(VALUES)),
        st.tuples(
            st.just("metadata"), st.sampled_from(sorted(HEADER["__metadata__"])), st.sampled_from(["3", *VALUES])
        ),
        st.tuples(st.just("dtype"), st.sampled_from(sorted(TENSORS)), st.sampled_from(KINDS)),
        st.tuples(
            st.sampled_from(["shape", "data_offsets"]), st.sampled_from(sorted(TENSORS)), st.sampled_from(VALUES)
        ),
        st.tuples(st.just("top"), st.sampled_from([*sorted(HEADER)[:3], "more"]), st.sampled_from(VALUES)),
    ),
    min_size=1,
    max_size=3,
)


def with_changes(changes: list[tuple]) -> bytes:
    """The checkpoint with something else in its header: of a tensor, in the metadata, in the settings."""
    header, described = json.loads(json.dumps(HEADER)), json.loads(json.dumps(DESCRIBED))
    metadata = header["__metadata__"]
    for where, key, value in sorted(changes, key=lambda change: change[0] == "top"):  # last: it may replace the rest
        if where == "top":
            header[key] = value
        elif where == "metadata":
            metadata[key] = value
        elif where in described:
            described[where][key] = value
            metadata[where] = json.dumps(described[where])
        else:
            header[key][where] = value
    return headed(header)


DAMAGED = {"header": CHANGES, "bytes": damaged([GOOD, GOOD[: 8 + LENGTH], chunk(b"IHDR", GOOD[:99])])}


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_checkpoints_give_a_network_or_one_sentence(how, tmp_path):
    path = tmp_path / "m.safetensors"
    picture = torch.rand(1, 3, 32, 32)

    def check(damage: bytes | list[tuple]) -> None:
        data = with_changes(damage) if how == "header" else damage
        path.write_bytes(data)
        for read, name in ((lambda: load_checkpoint(path), repr(str(path))),
                           (lambda: read_network(data, "m.safetensors"), "'m.safetensors'")):  # fmt: skip
            model = a_value_or_a_sentence(read, name)
            if model is not None:  # not only read: it can be used
                with torch.no_grad():
                    logits = model(picture).logits
                assert logits.shape == (1, model.config.num_classes, 32, 32) and not model.training

    campaign(DAMAGED[how], check, 40, 0.12)
