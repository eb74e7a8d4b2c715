"""Weights on disk: safetensors only (nothing is ever unpickled), written whole or not at all.

A checkpoint is one file. Its header carries, as JSON, everything needed to use the weights: the network's settings, a
description of the data and of how images must be scaled, the metrics, and how it was trained.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

import torch
from torch import Tensor

from sgdc_viz import __version__, assets_dir
from sgdc_viz.nn import SGDCNet, SGDCNetConfig

FORMAT = "sgdc_viz"
FORMAT_VERSION = 1
MOST_SIDE = 16_384  # pixels to which an image may be scaled
FLOATS, INTEGERS = (torch.float32, torch.float16, torch.bfloat16, torch.float64), (torch.int64,)
HISTORY_FORMAT, HISTORY_PREFIX = "sgdc_viz history", "history-"  # of files with several steps, see history.py


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself; found on a loaded model as `model.info`.

    Attributes:
        name: file name without suffix, such as "nuclei-structure".
        config: the network's settings.
        data: "kind" ("nuclei", "dermoscopy", "unknown"), "longest_side" (pixels to which an image is scaled before
            the network sees it; None: as it is), "classes", and what the training set was.
        metrics: results on held-out images, empty if none were measured.
        training: settings of the training run.
    """

    name: str
    config: SGDCNetConfig
    data: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file, whole or not at all. The same content is the same file, byte for byte."""
    from safetensors.torch import save

    data = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, dict(metadata))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()  # had any order
    header += b" " * (-len(header) % 8)  # the format wants the numbers to begin at a multiple of 8
    write_whole(path, len(header).to_bytes(8, "little") + header + data[end:])


def write_whole(path: Path, data: bytes) -> None:
    """Write the file under another name first and rename it when it is complete: a kill leaves the old one whole.

    A link stays one, and what it leads to is written; into a pipe or a device it is written at once.

    Raises:
        OSError: one sentence if the disk is full; what was there before is whole.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)
        else:
            _write_whole(Path(os.path.realpath(path)), data)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
            raise
        raise OSError(
            f"the disk is full: {str(path)!r} was not written, what was there before is whole; free some space "
            "and run it again."
        ) from error


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)  # mkstemp's file is for its owner alone; weights and results are shared
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def check_writable(folder: Path) -> None:
    """Write a file without a name where `folder` is or will be: who may not, learns it before hours of work.

    Raises:
        OSError: one sentence that names the folder.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(f"cannot write in {str(folder)!r} ({error.strerror}): give another folder.") from None


def remove_drafts(path: Path) -> None:
    """Remove what killed processes left of `path` half-written; for those who alone write to it."""
    for draft in path.parent.glob(f"{escape(path.name)}.*.part"):
        draft.unlink(missing_ok=True)


def first_line(error: Exception) -> str:
    """What an error says, without the traceback in C++ that torch puts behind it."""
    return str(error).partition("\n")[0]


def is_pickle(start: bytes) -> bool:
    """From the first 9 bytes of a file or more, without opening it: torch.save's zip, or a bare pickle."""
    # the length of a safetensors header may begin so too, but { comes after it
    return start[8:9] != b"{" and start[:1] in (b"P", b"\x80")


def described_in(metadata: Mapping[str, str], most_side: int = MOST_SIDE) -> dict[str, dict]:
    """The tables "config", "data", "metrics" and "training" that `save_checkpoint` wrote into a header.

    Raises:
        Any error for what is no table, ValueError for a longest_side that is no whole number up to `most_side`.
    """
    described = {key: json.loads(metadata.get(key, "{}")) for key in ("config", "data", "metrics", "training")}
    if not all(isinstance(value, dict) for value in described.values()):
        raise ValueError("they are no tables")
    side = described["data"].get("longest_side")
    if side is not None and not (type(side) is int and 1 <= side <= most_side):
        raise ValueError(f"longest_side={side!r} must be a whole number from 1 to {most_side}, or None")
    return described


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a safetensors file.

    Raises:
        FileNotFoundError, ValueError: one sentence; files of another kind (pickles among them) are refused unread.
    """
    from safetensors import safe_open

    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder: give the .safetensors file in it.")
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint file {str(path)!r}: check the path.")
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{str(path)!r} is not a .safetensors file: other formats can run code when loaded and are not opened. "
            "Save the weights with sgdc_viz.learn.save_checkpoint."
        )
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read ({error.strerror}): check its permissions.") from error
    if is_pickle(start):
        raise ValueError(
            f"{str(path)!r} is a pickle, whatever its name says: pickles can run code when loaded and are not opened. "
            "Save the weights with sgdc_viz.learn.save_checkpoint."
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # the header may name kinds of numbers, sizes and places of any sort
        raise ValueError(
            f"{str(path)!r} is broken or incomplete ({first_line(error)}): download or train it again."
        ) from error


def save_checkpoint(
    path: str | Path,
    model: SGDCNet,
    *,
    data: dict | None = None,
    metrics: dict | None = None,
    training: dict | None = None,
) -> Path:
    """Write a model and what is known about it to one .safetensors file, atomically.

    Args:
        path: ends in .safetensors; its folder is made if need be.
        model: an SGDCNet. What `model.info` says (a loaded model has it) is kept where an argument is None.
        data, metrics, training: JSON-able, see `CheckpointInfo`.

    Returns:
        The path written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"checkpoint path {str(path)!r} must end in .safetensors.")
    old = getattr(model, "info", None)
    known = {
        "data": data if data is not None else getattr(old, "data", {}),
        "metrics": metrics if metrics is not None else getattr(old, "metrics", {}),
        "training": training if training is not None else getattr(old, "training", {}),
    }
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "sgdc_viz": __version__}
    metadata["config"] = json.dumps(model.config.to_dict())
    metadata |= {key: json.dumps(value) for key, value in known.items()}
    write_safetensors(path, model.state_dict(), metadata)
    return path


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> SGDCNet:
    """Read a checkpoint: the model in eval mode, with `model.info` (a `CheckpointInfo`).

    Raises:
        FileNotFoundError, ValueError: one sentence that names the file and the remedy.
    """
    path = Path(path)
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") == HISTORY_FORMAT:
        raise ValueError(f"{str(path)!r} holds several steps of a training: use sgdc_viz.learn.history.load_history.")
    if metadata.get("format") != FORMAT or "config" not in metadata:
        raise ValueError(
            f"{str(path)!r} holds weights but no sgdc_viz settings: it was not written by save_checkpoint. "
            "For the authors' weights use sgdc_viz.nn.load_authors_state_dict."
        )
    try:
        newer = int(metadata["format_version"]) > FORMAT_VERSION
    except (KeyError, ValueError):
        raise ValueError(
            f"{str(path)!r} does not say by which version of sgdc_viz it was written: save it again with "
            "save_checkpoint."
        ) from None
    if newer:
        by = metadata.get("sgdc_viz", "")[:20]
        raise ValueError(f"{str(path)!r} was written by a newer sgdc_viz ({by!r}): update yours.")
    try:
        described = described_in(metadata)
        config = SGDCNetConfig.from_dict(described.pop("config"))
        with torch.device("meta"):  # only thought of: settings may ask for more memory than there is
            _check_names(SGDCNet(config), tensors, path)
        model = SGDCNet(config)
    except ImportError:
        raise  # an encoder that needs a package, which it names
    except Exception as error:  # settings of the wrong type fail anywhere, in any way
        if str(error).startswith(repr(str(path))):
            raise
        raise ValueError(
            f"{str(path)!r} has settings that cannot be read ({first_line(error)}): save it again with save_checkpoint."
        ) from error
    _load_weights(model, tensors, path)
    model.info = CheckpointInfo(path.stem, config, **described)
    return model.to(device).eval()


def _check_names(model: SGDCNet, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    wrong = sorted(set(own) ^ set(tensors))
    wrong += sorted(name for name in set(own) & set(tensors) if own[name].shape != tensors[name].shape)
    if wrong:
        raise ValueError(
            f"{str(path)!r} does not fit its own settings: {len(wrong)} weight(s) are missing, unknown or of another "
            f"shape, such as {wrong[0][:80]!r}. The file was changed after it was saved: get it again."
        )


def _load_weights(model: SGDCNet, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Names and shapes are those of the model: whoever calls this has checked them before making it."""
    for name, value in model.state_dict().items():
        if tensors[name].dtype not in (FLOATS if value.is_floating_point() else INTEGERS):
            raise ValueError(
                f"{str(path)!r} holds {name!r} as {tensors[name].dtype}, which is no weight: save it again with "
                "save_checkpoint."
            )
    model.load_state_dict(tensors)  # as numbers of the model's kind, in which large ones may be infinite
    held = sorted(model.state_dict().items())
    broken = [name for name, value in held if not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueError(f"{str(path)!r} holds NaN or infinite weights in {broken[0]!r}: its training had diverged.")
    broken = [name for name, value in held if name.endswith("running_var") and bool((value < 0).any())]
    if broken:
        raise ValueError(f"{str(path)!r} holds a variance below 0 in {broken[0]!r}: it was changed; get it again.")


def list_pretrained() -> tuple[str, ...]:
    """Names of the models that ship with sgdc_viz (training histories are no models)."""
    names = (path.stem for path in assets_dir().glob("*.safetensors"))
    return tuple(sorted(name for name in names if not name.startswith(HISTORY_PREFIX)))


def load_pretrained(name: str | Path, device: str | torch.device = "cpu") -> SGDCNet:
    """A shipped model by name, or a checkpoint file by path; in eval mode, with `model.info`.

    Raises:
        FileNotFoundError, ValueError: unknown name (the message lists the names there are), or as `load_checkpoint`.
    """
    if Path(name).suffix:
        return load_checkpoint(name, device)
    if name not in list_pretrained():
        known = ", ".join(list_pretrained()) or "none: the assets folder is missing"
        raise ValueError(f"there is no shipped model {name!r}. Known: {known}. A file needs its .safetensors ending.")
    return load_checkpoint(assets_dir() / f"{name}.safetensors", device)
