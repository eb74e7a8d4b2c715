"""Images and masks from disk: the native layouts of the public data sets, read from a folder or straight from the zip.

Nothing is ever unpacked to disk. Splits follow one rule everywhere: a *group* (images that show the same slide or the
same lesion) is never cut in two, official splits are kept where there are any, and nothing depends on a random seed,
so two people who open the same files get the same split.
"""

from __future__ import annotations

import csv
import hashlib
import inspect
import io
import lzma
import math
import os
import re
import unicodedata
import warnings
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from sgdc_viz.data.images import (
    MAX_BYTES,
    TURNS,
    Sample,
    binary,
    exif_orientation,
    listed,
    load_image,
    load_labels,
    load_mask_values,
    numbers_in,
    one_line,
)
from sgdc_viz.data.synthetic import synthetic_dermoscopy, synthetic_nuclei, synthetic_shapes

SPLITS = ("train", "val", "test")
DATASETS = (
    "isic2016",
    "isic2017",
    "isic2018",
    "ph2",
    "conic",
    "bbbc038",
    "folder",
    "synthetic-dermoscopy",
    "synthetic-nuclei",
    "synthetic-shapes",
)
MAX_FILES = 500_000  # a root with more files than this is surely not a data set (a home folder, a whole disk)
MAX_PATCH = 4096  # pixels a side of the patches in an .npy file
MAX_SIDE = 16_384  # the largest ISIC photographs are 6 748 pixels wide
CONIC_CLASSES = ("background", "neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective")


@dataclass(frozen=True)
class _Record:
    """Where one sample lies: keys into _Files, or a row of an array, or the seed of a synthetic sample."""

    name: str
    group: str
    stratum: str = ""  # kind of picture; each split gets its share of every kind
    image: str = ""
    masks: tuple[str, ...] = ()
    row: int = -1
    official: str | None = None  # the official part it belongs to: train, val or test


class Dataset:
    """A fixed, ordered list of samples. Made by `open_dataset`; picklable, so that loader workers can use it.

    Attributes: name, split (None is everything), names and groups (one per sample), num_classes (1 is binary, else C
    with background), kind ("nuclei", "dermoscopy" or "unknown").
    """

    def __init__(
        self,
        name: str,
        split: str | None,
        records: list[_Record],
        read: Callable[[_Record], Sample],
        *,
        kind: str,
        rule: str,
        num_classes: int = 1,
    ):
        self.name, self.split, self.kind, self.rule, self.num_classes = name, split, kind, rule, num_classes
        self._records, self._read = records, read
        self._size: Callable[[str], int] | None = None  # bytes of a file; None where there are no files

    @property
    def names(self) -> list[str]:
        return [record.name for record in self._records]

    @property
    def parts_named(self) -> bool:
        """Whether folders (or zips) say which images are for training, validation and test."""
        return any(record.official for record in self._records)

    @property
    def groups(self) -> list[str]:
        return [record.group for record in self._records]

    @property
    def strata(self) -> list[str]:
        """Kind of picture of each sample, such as "256 x 256 fluorescence"; "" where the set has no kinds."""
        return [record.stratum for record in self._records]

    def subset(self, indices: Sequence[int], split: str, rule: str) -> Dataset:
        """Some of the samples, as a data set of their own: a fold, say."""
        some = Dataset(self.name, split, [self._records[i] for i in indices], self._read, kind=self.kind, rule=rule)
        some.num_classes, some._size = self.num_classes, self._size
        return some

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Sample:
        sample = self._read(self._records[index])
        if sample.image.shape[:2] != sample.mask.shape:
            raise ValueError(
                f"{self.name}: the mask of {sample.name!r} is {_by(sample.mask)} pixels (height x width) "
                f"but its image is {_by(sample.image)}; they must agree."
            )
        return sample

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def describe(self) -> dict:
        """What a checkpoint or a report should say about this data: plain values, ready for json, no local paths.

        `names_sha256` is the fingerprint of the sorted names: equal fingerprints mean the very same images.
        """
        return {
            "name": self.name,
            "split": self.split,
            "kind": self.kind,
            "num_classes": self.num_classes,
            "images": len(self),
            "groups": len(set(self.groups)),
            "strata": dict(sorted(Counter(r.stratum for r in self._records).items())),
            "rule": self.rule,
            "names_sha256": hashlib.sha256(_bytes("\n".join(sorted(self.names)))).hexdigest(),
        }

    def sizes_sha256(self) -> str | None:
        """Fingerprint of the sizes in bytes of all files, unpacked: it tells whether an image or a mask was changed, as
        good as always, and without reading any. None for what is drawn."""
        if self._size is None:
            return None
        def size(file: str) -> int:
            try:
                return self._size(file)
            except OSError:  # a broken link: reading it says so
                return -1

        sizes = [(r.name, [size(file) for file in (r.image, *r.masks) if file]) for r in self._records]
        return hashlib.sha256(_bytes(repr(sorted(sizes)))).hexdigest()


def open_dataset(
    name: str, root: str | Path | None = None, split: str | None = None, seed: int = 0, **options
) -> Dataset:
    """Open a data set by name.

    Args:
        name: one of DATASETS.
        root: the folder or the zip that holds the files, in their official layout (a folder that holds the official
            zips does too). Not needed for the synthetic sets.
        split: None (everything), "train", "val" or "test".
        seed: of the synthetic sets only. The splits of real data never depend on it.
        options: `skip_unpaired=True` leaves images without mask (and masks without image) out instead of raising;
            "bbbc038" takes `split_by="mosaic"|"stain"`; "folder" takes `instances=True` (pixel values number the
            objects), `num_classes=C` (pixel values are classes) and `kind="nuclei"|"dermoscopy"`; the synthetic sets
            take `count` (samples a split, default 1000), `size`, and the dials of their generator, each a number or a
            (low, high) range (the number of nuclei is called `nuclei` here).

    Splits: the ISIC sets keep their official parts. Where training and test are official but validation is not
    (isic2016: 900/379), a tenth of the training part becomes "val", so "train" and "val" together are the official
    training part. Where only the training part is on disk it is cut 70/15/15. conic: by source image, 70/10/20, so
    that train and val together are the usual 80. ph2: all of it is "test". bbbc038: see `_open_bbbc`. Cuts of ours go
    by a hash of the names (see `deal`): adding or renaming files can move others.

    Raises: ValueError or FileNotFoundError, in one sentence, for an unknown name, split or option, a root that does not
    hold what was expected, unpaired files, or a split that holds no image.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}.")
    if split is not None and split not in SPLITS:
        raise ValueError(
            f"split={split!r} is not one of 'train', 'val', 'test' or, for everything, None (--split all)."
        )
    if name.startswith("synthetic-"):
        return _open_synthetic(name, split, seed, options)
    if root is None:
        raise ValueError(
            f"data set {name!r} needs its root, the folder or zip that holds it: root=..., on the command line --root."
        )
    _check_options(name, options, dataset_options(name))
    files = _Files(root)
    dataset = _opener(name)(name, files, split, **options)
    dataset._size = files.size
    return dataset


def _opener(name: str) -> Callable[..., Dataset]:
    openers = {"ph2": _open_ph2, "conic": _open_conic, "bbbc038": _open_bbbc, "folder": _open_folder}
    return openers.get(name, _open_isic)


def dataset_options(name: str) -> list[str]:
    """Names of the options that `open_dataset` takes for this data set."""
    if name.startswith("synthetic-"):
        nuclei = name == "synthetic-nuclei"
        dials = inspect.signature(_GENERATORS[name][0]).parameters.keys()
        return sorted(dials - {"seed"} | {"count"} | ({"nuclei"} if nuclei else set()))
    return list(inspect.signature(_opener(name)).parameters)[3:]


def _check_options(name: str, options: dict, known: list[str]) -> None:
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise ValueError(f"{name} has no option {unknown[0]!r}; it knows {', '.join(sorted(known)) or 'none'}.")


# ---------------------------------------------------------------------------------------------- synthetic


_GENERATORS = {
    "synthetic-dermoscopy": (synthetic_dermoscopy, "dermoscopy"),
    "synthetic-nuclei": (synthetic_nuclei, "nuclei"),
    "synthetic-shapes": (synthetic_shapes, "unknown"),
}


def _open_synthetic(name: str, split: str | None, seed: int, options: dict) -> Dataset:
    """`count` samples; sample i of split k has its own seed, so splits share no picture and need no files."""
    make, kind = _GENERATORS[name]
    dials = dict(options)
    count = dials.pop("count", 1000)
    _check_options(name, dials, dataset_options(name))
    if not isinstance(count, int) or not 1 <= count <= _SEEDS:
        raise ValueError(f"{name}: count={count!r} must be a whole number of samples from 1 to {_SEEDS}.")
    if seed < 0:
        raise ValueError(f"{name}: seed={seed} must be 0 or larger.")
    rule = f"seeds of their own, seed={seed}, {dials or 'default dials'}"
    if "nuclei" in dials:  # the generator calls it count, a word that is taken here
        dials["count"] = dials.pop("nuclei")
    records = []
    for number, part in enumerate(SPLITS):
        if split in (None, part):
            first = (seed * len(SPLITS) + number) * _SEEDS
            records += [_Record(f"{part}-{i}", f"{part}-{i}", name, row=i) for i in range(first, first + count)]
    dataset = Dataset(
        name,
        split,
        records,
        partial(_read_synthetic, make, dials),
        rule=rule,
        kind=kind,
    )
    dataset[0]  # a dial that the generator refuses is reported now, not in the middle of a training
    return dataset


_SEEDS = 10_000_000  # seeds set aside for each split


def _read_synthetic(make: Callable[..., Sample], options: dict, record: _Record) -> Sample:
    return replace(make(record.row, **options), name=record.name, group=record.group)


# ---------------------------------------------------------------------------------------------- files and zips


class _Files:
    """Name -> bytes, for a folder, for a zip, and for the zips that lie in a folder. Names use forward slashes.

    A file inside `A.zip` is named `A/...`, as it would be if the zip were unpacked beside itself. Where it lies there
    unpacked, or unpacked into the folder of the zip, the zip's own is left out. Links to folders outside are followed.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.exists():
            raise FileNotFoundError(f"root {str(root)!r} does not exist; give the folder or zip that holds the data.")
        self.where: dict[str, tuple[Path, str | None]] = {}
        self._zips: dict[tuple[int, Path], zipfile.ZipFile] = {}
        if self.root.is_dir():
            real = os.path.realpath(self.root)
            for folder, subfolders, files in os.walk(self.root, onerror=_unreadable, followlinks=True):
                subfolders[:] = [s for s in subfolders if not s.startswith((".", "__MACOSX", "lost+found"))]
                subfolders[:] = [s for s in subfolders if _leads_elsewhere(Path(folder, s), real)]
                for file in files:
                    path = Path(folder, file)
                    self._add(path.relative_to(self.root).as_posix(), path, None)
            archives = sorted(path for path in self.root.glob("*.zip") if path.is_file())
        elif self.root.is_file() and _is_zip(self.root):
            archives = [self.root]
        else:
            raise ValueError(f"root {str(root)!r} is neither a folder nor a readable zip (is the download complete?).")
        for archive in archives:
            try:
                members = self.archive(archive).namelist()
            except Exception as error:  # a damaged table of contents can fail anywhere
                told = one_line(error)
                raise ValueError(f"{str(archive)!r} is not a readable zip ({told}); download it again.") from None
            for member in members:
                path = member.replace("\\", "/")  # as some programs on Windows write it
                inside = path if path.startswith(archive.stem + "/") else f"{archive.stem}/{path}"
                there, first = self.where.get(inside, (None, None))
                if there == archive and not path.endswith("/"):
                    raise ValueError(f"{str(archive)!r} holds {first!r} and then {member!r}; keep one of them.")
                if not path.endswith("/") and there is None:  # the unpacked file wins over its zip
                    self._add(inside, archive, member)
            self._drop_twins(archive)

    def _drop_twins(self, archive: Path) -> None:
        """What is in a zip and lies unpacked in the zip's folder as well counts once. The zip's own goes, but where the
        name of the zip alone tells the part that it belongs to."""
        packed = {inside: member for inside, (path, member) in self.where.items() if path == archive and member}
        twins = {}  # name in the zip -> (name beside it, a function that says whether they are the same)
        for inside, member in packed.items():
            name, info = inside.removeprefix(archive.stem + "/"), self.archive(archive).getinfo(member)
            path, within = self.where.get(name, (None, None))
            if path is not None and within is None and path.is_file() and path.stat().st_size == info.file_size:
                twins[inside] = name, partial(_has_checksum, path, info.CRC)
        some = list(twins.values())[:: max(1, len(twins) // 20)]  # others may have the same size: a few are read
        if all(is_same() for _, is_same in some):
            for inside, (name, _) in twins.items():
                del self.where[name if _official_part(inside) and not _official_part(name) else inside]

    def _add(self, name: str, path: Path, member: str | None) -> None:
        if any(part.startswith((".", "__MACOSX")) for part in name.split("/")):
            return
        if len(self.where) >= MAX_FILES:
            raise ValueError(f"root {str(self.root)!r} holds over {MAX_FILES} files; give the data set's own folder.")
        self.where[name] = (path, member)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.where))

    def archive(self, path: Path) -> zipfile.ZipFile:
        key = (os.getpid(), path)  # a forked loader worker must not share a file position with its parent
        if key not in self._zips:
            self._zips[key] = zipfile.ZipFile(path)
        return self._zips[key]

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            if self.size(name) > MAX_BYTES:  # a zip says it beforehand, and zipfile unpacks no more than it says
                raise ValueError(
                    f"{name!r} under {str(self.root)!r} has {self.size(name) / 2**20:.0f} MB; at most "
                    f"{MAX_BYTES // 2**20} MB are read of one file."
                )
            return file.read()

    def size(self, name: str) -> int:
        """Bytes of the file, unpacked."""
        path, member = self.where[name]
        return path.stat().st_size if member is None else self.archive(path).getinfo(member).file_size

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """The file, to be read within `with`: what fails in opening, reading or unpacking becomes one sentence."""
        path, member = self.where[name]
        cannot = f"cannot read {name!r} under {str(self.root)!r}"
        if member is None and not path.is_file():  # a pipe would be waited for without end
            raise ValueError(f"{cannot}: it is no ordinary file, or a link to one that is gone.")
        try:
            file = path.open("rb") if member is None else self.archive(path).open(member)
        except Exception as error:  # encrypted, packed in an unknown way, damaged, not permitted
            raise ValueError(f"{cannot}: {one_line(getattr(error, 'strerror', None) or error)}.") from error
        with file:
            try:
                yield file
            except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
                raise ValueError(f"{cannot}: {one_line(error) or 'it is cut short'}.") from error

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_zips": {}}

    def stamp(self, names: Iterable[str]) -> tuple:
        """Changes when the files behind these names change."""
        paths = {self.where[name][0] for name in names}
        return tuple(sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths))

    def found(self) -> str:
        """What lies here, in a few words, for error messages."""
        if not self.where:
            return "no file at all"
        kinds = Counter(Path(name).suffix.lower() or "no suffix" for name in self.where)
        kinds_text = ", ".join(f"{count} {one_line(suffix)}" for suffix, count in kinds.most_common(4))
        return f"{len(self.where)} files ({kinds_text}), such as {next(iter(self))!r}"


def _unreadable(error: OSError) -> None:
    raise ValueError(f"{error.filename!r} cannot be read ({error.strerror}); check its permissions.") from None


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return zipfile.is_zipfile(file)
    except OSError as error:
        _unreadable(error)


def _wrong_root(name: str, files: _Files, expected: str, missing: str = "") -> ValueError:
    missing = f" ({missing})" if missing and files.where else ""
    return ValueError(f"{name}: expected {expected} under {str(files.root)!r}, found {files.found()}{missing}.")


def _has_checksum(path: Path, crc: int) -> bool:
    try:
        return zlib.crc32(path.read_bytes()) == crc
    except OSError:
        return False


def _leads_elsewhere(folder: Path, root: str) -> bool:
    """Whether to walk into a folder: not into a link to what is walked anyway, or to where it lies itself."""
    if not folder.is_symlink():
        return True
    real, here = os.path.realpath(folder) + os.sep, os.path.realpath(folder.parent) + os.sep
    return not real.startswith(root + os.sep) and not (root + os.sep).startswith(real) and not here.startswith(real)


def _by(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"


# ---------------------------------------------------------------------------------------------- splits

_PART = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?:set|data|dataset|images|masks)?(?![a-z])")


def _official_part(name: str) -> str | None:
    """'ISIC2018_Task1-2_Validation_Input/x.jpg' -> 'val'; None where the folder names do not say.

    A folder that is called just that decides, the innermost of several; without one the innermost folder whose name
    holds that word (or both train and val: train). Folders that name train and test say nothing.
    """
    folders = [re.sub("(?<=[a-z])(?=[A-Z])", " ", folder).lower() for folder in name.split("/")[:-1]]  # TrainDataset
    for whole in (True, False):
        for folder in reversed(folders):
            found = set(_PART.findall(folder))
            if found and (not whole or _PART.fullmatch(folder)):
                if found <= {"train", "val"}:
                    return "val" if found == {"val"} else "train"
                if found == {"test"}:
                    return "test"
    return None


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")  # file names on Linux may be no UTF-8


def deal(groups: dict[str, tuple[str, int]], shares: tuple[float, float, float]) -> dict[str, str]:
    """Deal whole groups to train, val and test so that every stratum is shared out alike.

    Args: groups: group -> (stratum, number of images). shares: of train, val and test; they sum to 1.
    Returns: group -> split. Deterministic: within a stratum the groups come large ones first (a big one dealt last
    would overshoot), then in the order of the SHA-256 of their name, and each goes to the split that lacks most images
    of its share (on a tie test before val before train). A split that this leaves empty, as in sets of few images, gets
    the smallest group of train.
    """

    def order(group: str) -> tuple[int, str]:
        return -groups[group][1], hashlib.sha256(_bytes(group)).hexdigest()

    strata = defaultdict(list)
    for group, (stratum, _) in groups.items():
        strata[stratum].append(group)
    dealt = {}
    for members in strata.values():
        total = sum(groups[group][1] for group in members)
        lack = {split: share * total for split, share in zip(SPLITS, shares, strict=True)}
        for group in sorted(members, key=order):
            dealt[group] = max(("test", "val", "train"), key=lambda split: round(lack[split], 6))
            lack[dealt[group]] -= groups[group][1]
    for split, share in (("test", shares[2]), ("val", shares[1])):
        train = sorted((group for group in dealt if dealt[group] == "train"), key=order)
        if share > 0 and split not in dealt.values() and len(train) > 1:
            dealt[train[-1]] = split
    return dealt


def _choose(name: str, records: list[_Record], split: str | None, shares: tuple[float, float, float]) -> list[_Record]:
    """The records of one split. Official parts are kept. Without any, or with training alone, `shares` says how to cut;
    with official training and test but no validation, a tenth of training is cut off for it."""
    if split is None:
        return records
    parts = {record.official for record in records}
    if parts <= {None, "train"} or parts == {None, "train", "test"} or parts == {"train", "test"}:
        ours = [r for r in records if r.official != "test"]
        sizes = Counter(r.group for r in ours)
        dealt = deal(
            {r.group: (r.stratum, sizes[r.group]) for r in ours}, (0.9, 0.1, 0.0) if "test" in parts else shares
        )
        kept = [r for r in records if ("test" if r.official == "test" else dealt[r.group]) == split]
        if not kept and parts <= {None, "train"} and len(sizes) < len(SPLITS):
            what = "images" if len(sizes) == len(ours) else "groups of images (of one slide, say)"
            raise ValueError(
                f"{name}: split={split!r} holds no image: at least 3 {what} are needed to make train, val and test, "
                f"found {len(sizes)}."
            )
    else:
        kept = [r for r in records if r.official == split]
    if not kept:
        there = Counter(r.official or "unnamed" for r in records)
        raise ValueError(
            f"{name}: split={split!r} holds no image (parts found: "
            f"{', '.join(f'{part} {count}' for part, count in sorted(there.items()))}); "
            "add that part or choose another split."
        )
    return kept


# ---------------------------------------------------------------------------------------------- pairs of files

_IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "tif", "tiff", "bmp")


def _claim(name: str, side: dict[str, str], what: str, key: str) -> None:
    if what in side:
        raise ValueError(f"{name}: both {side[what]!r} and {key!r} claim the name {what!r}; keep one of them.")
    side[what] = key


def _pair(name: str, images: dict[str, str], masks: dict[str, str], skip_unpaired: bool) -> list[str]:
    """Keys that have both; raises where one side is missing (unless told to skip)."""
    without_mask, without_image = images.keys() - masks.keys(), masks.keys() - images.keys()
    lonely = [f"image {images[k]!r} has no mask" for k in sorted(without_mask)]
    lonely += [f"mask {masks[k]!r} has no image" for k in sorted(without_image)]
    if lonely and not skip_unpaired:
        more = f", and {len(lonely) - 5} more" if len(lonely) > 5 else ""
        if {k.casefold() for k in without_mask} & {k.casefold() for k in without_image}:
            more += " (capital letters count)"
        raise ValueError(
            f"{name}: {'; '.join(lonely[:5])}{more}; complete the files, or leave these out with skip_unpaired=True, "
            "on the command line --skip-unpaired."
        )
    return sorted(images.keys() & masks.keys())


def _read_pair(files: _Files, record: _Record, labels: str = "official", num_classes: int = 1) -> Sample:
    """One image file and one mask file.

    labels: what the mask's values mean: "binary", "instances" or "classes"; "official" is binary, of a public data set.
    """
    photo, data, instances = files.read(record.image), files.read(record.masks[0]), None
    image = load_image(photo, max_side=MAX_SIDE, name=record.image)
    if labels == "official":
        mask = _official_mask(data, record.masks[0])
    elif labels == "binary":
        values = load_mask_values(data, max_side=MAX_SIDE, name=record.masks[0])
        _refuse_numbers(values, record.masks[0])
        mask = binary(values, record.masks[0])
    elif labels == "instances":
        instances = load_labels(data, max_side=MAX_SIDE, name=record.masks[0])
        _refuse_negative(instances, record.masks[0])
        instances = _as_instances(instances)
        mask = (instances > 0).astype(np.uint8)
    else:
        values = load_labels(data, max_side=MAX_SIDE, name=record.masks[0], colours=False)
        _refuse_negative(values, record.masks[0])
        if values.max() >= num_classes:
            raise ValueError(
                f"{record.masks[0]!r} holds the class {values.max()}, but num_classes={num_classes} (on the command "
                f"line --num-classes {num_classes}) allows 0..{num_classes - 1}."
            )
        mask = values.astype(np.uint8)
    _refuse_turned(photo, data, image.shape[:2], mask.shape, record.image, record.masks[0])
    return Sample(image, mask, instances, record.name, record.group)


def _official_mask(data: bytes, name: str) -> np.ndarray:
    """Of a public data set, whose masks hold two values: uint8 [H, W] of 0 and 1."""
    values = load_mask_values(data, max_side=MAX_SIDE, name=name)
    numbers = numbers_in(values)
    if numbers is not None:
        raise ValueError(
            f"{name!r} holds the values {listed(numbers)}, and the masks of this data set hold two: get the official "
            "file again, or open files of your own as the data set folder."
        )
    return binary(values, name)


def _refuse_turned(photo: bytes, data: bytes, size: tuple, mask_size: tuple, name: str, mask_name: str) -> None:
    """The readers turn what EXIF says is to be turned. If one of image and mask is turned and the other is not, only
    their sizes, (rows, columns), can tell whether they fit: when one was on its side, and the image is not square."""
    first, second = exif_orientation(photo), exif_orientation(data)
    told = size == mask_size and size[0] != size[1] and min(first, second) == 1 and max(first, second) >= 5
    if first != second and not told:
        raise ValueError(
            f"{name!r} is stored {TURNS[first]} (EXIF orientation {first}) and its mask {mask_name!r} {TURNS[second]} "
            f"(EXIF orientation {second}), so they may not fit each other: save both upright, without that tag."
        )


def _refuse_negative(values: np.ndarray, name: str) -> None:
    if values.min() < 0:
        raise ValueError(f"{name!r} holds the number {values.min()}: objects and classes count from 0, the background.")


def _refuse_numbers(values: np.ndarray, name: str) -> None:
    """Half of the largest value is no border between objects and background where the values are numbers."""
    numbers = numbers_in(values)
    if numbers is not None:
        raise ValueError(
            f"{name!r} is to be read as a mask of object and background, but holds the values {listed(numbers)}: if "
            "they number the objects give instances=True (on the command line --instances), if they are N classes with "
            "the background num_classes=N (--num-classes N), otherwise save it with the values 0 and 255 alone, a "
            "border to be ignored as one of them."
        )


def _as_instances(values: np.ndarray) -> np.ndarray:
    """Label image -> int32 instance map. One single non-zero value tells no objects apart: connected parts do then."""
    ids = np.unique(values[values > 0])
    if len(ids) != 1:
        return values.astype(np.int32)
    from scipy.ndimage import label

    return label(values > 0)[0].astype(np.int32)


def _open_isic(name: str, files: _Files, split: str | None, skip_unpaired: bool = False) -> Dataset:
    """ISIC_*.jpg with ISIC_*_segmentation.png (2016: _Segmentation). The image is the group: patients are not known."""
    images, masks = {}, {}
    for key in files:
        found = re.fullmatch(r"(ISIC_\d+)(_segmentation)?\.(jpe?g|png)", key.rpartition("/")[2], re.IGNORECASE)
        if found:
            _claim(name, masks if found.group(2) else images, found.group(1).upper(), key)
    if not images or not masks:
        raise _wrong_root(
            name,
            files,
            "ISIC_<number>.jpg with ISIC_<number>_segmentation.png (the unpacked folders, "
            "or a folder that holds both the data zip and the ground-truth zip)",
            f"but no such {'mask' if images else 'image'}",
        )
    records = [
        _Record(k, k, name, images[k], (masks[k],), official=_official_part(images[k]))
        for k in _pair(name, images, masks, skip_unpaired)
    ]
    rule = "official parts where on disk; a missing part is carved by a hash of the name"
    return Dataset(
        name,
        split,
        _choose(name, records, split, (0.7, 0.15, 0.15)),
        partial(_read_pair, files),
        kind="dermoscopy",
        rule=rule,
    )


def _open_ph2(name: str, files: _Files, split: str | None, skip_unpaired: bool = False) -> Dataset:
    """IMD*/IMD*_Dermoscopic_Image/*.bmp with IMD*/IMD*_lesion/*.bmp. External test only: there is no train or val."""
    if split in ("train", "val"):
        raise ValueError(
            f"ph2 is an external test set: split={split!r} does not exist, use 'test', or None (--split all)."
        )
    images, masks = {}, {}
    for key in files:
        found = re.search(r"(IMD\d+)_(Dermoscopic_Image|lesion)/[^/]+\.(bmp|png|jpe?g)$", key, re.IGNORECASE)
        if found:  # IMD*_roi, the colour regions, is left alone
            _claim(name, masks if found.group(2).lower() == "lesion" else images, found.group(1).upper(), key)
    if not images and not masks:
        raise _wrong_root(name, files, "IMD*/IMD*_Dermoscopic_Image/*.bmp and IMD*/IMD*_lesion/*.bmp")
    records = [_Record(k, k, name, images[k], (masks[k],)) for k in _pair(name, images, masks, skip_unpaired)]
    return Dataset(name, split, records, partial(_read_pair, files), kind="dermoscopy", rule="external test only")


_MASK_SUFFIX = re.compile(r"[_-](mask|masks|segmentation|seg|gt|label|labels|groundtruth)$", re.IGNORECASE)
_IMAGE_FOLDERS, _MASK_FOLDERS = {"images", "image", "imgs"}, {"masks", "mask", "labels", "groundtruth"}


def _open_folder(
    name: str,
    files: _Files,
    split: str | None,
    skip_unpaired: bool = False,
    instances: bool = False,
    num_classes: int = 1,
    kind: str = "unknown",
) -> Dataset:
    """Your own images: `images/a.png` with `masks/a.png`, or with `a_mask.png` / `a_segmentation.png` anywhere.

    Folders named train, val and test (or TrainDataset, my_test ...: the innermost that names just one of them) are kept
    as the split; without them the names are hashed, 70/15/15. Every image is its own group: if several of yours show
    the same patient or slide, make the train/val/test folders yourself.

    A mask is one object, or all objects alike, and background. If its values number objects or classes say so with
    `instances` or `num_classes`: reading it stops otherwise, because half of the largest number means nothing.
    """
    if not 1 <= num_classes <= 256:
        raise ValueError(f"folder: num_classes={num_classes} must be 1 (binary) to 256, background included.")
    if instances and num_classes != 1:
        raise ValueError(
            f"folder: instances=True and num_classes={num_classes} (--instances and --num-classes {num_classes}) "
            "exclude each other: one mask file holds either object numbers or classes; choose one."
        )
    images, masks = {}, {}
    for key in files:
        *folders, file = key.split("/")
        stem, _, suffix = file.rpartition(".")
        if suffix.lower() not in _IMAGE_SUFFIXES:
            continue
        lower = {f.lower() for f in folders}
        is_mask = bool(lower & _MASK_FOLDERS) or (not lower & _IMAGE_FOLDERS and bool(_MASK_SUFFIX.search(stem)))
        stem = _MASK_SUFFIX.sub("", stem) if is_mask else stem
        place = "/".join([f for f in folders if f.lower() not in _IMAGE_FOLDERS | _MASK_FOLDERS] + [stem])
        place = unicodedata.normalize("NFC", place)  # Macs may take letters and their accents apart
        _claim(name, masks if is_mask else images, place, key)
    if not images or not masks:
        raise _wrong_root(name, files, "images/<name>.png and masks/<name>.png (or <name>_mask.png)")
    places = _pair(name, images, masks, skip_unpaired)
    stems = Counter(place.rpartition("/")[2] for place in places)
    outer = len(os.path.commonprefix([place.split("/")[:-1] for place in places]))  # a zip has one more than its folder
    packed, records = "" if files.root.is_dir() else files.root.stem, []
    for place in places:
        stem = place.rpartition("/")[2]
        unique = stem if stems[stem] == 1 else "__".join(place.split("/")[outer:])
        official = _official_part(images[place].removeprefix(f"{packed}/"))  # a zip may have any name
        records.append(_Record(unique, unique, "folder", images[place], (masks[place],), official=official))
    labels = "instances" if instances else "classes" if num_classes > 1 else "binary"
    read = partial(_read_pair, files, labels=labels, num_classes=num_classes)
    return Dataset(
        name,
        split,
        _choose(name, records, split, (0.7, 0.15, 0.15)),
        read,
        kind=kind,
        num_classes=num_classes,
        rule="folders named train, val, test, else a hash of the name",
    )


# ---------------------------------------------------------------------------------------------- CoNIC


def _open_conic(name: str, files: _Files, split: str | None) -> Dataset:
    """images.npy, labels.npy [..., (instance, class)], patch_info.csv; the group is the source image of a patch.

    patch_info names a patch `consep_3-0007`: patch 7 of source image consep_3; the stratum is its origin, `consep`.
    """
    wanted = {}
    for key in files:
        wanted.setdefault(key.rpartition("/")[2], key)
    missing = [f for f in ("images.npy", "labels.npy", "patch_info.csv") if f not in wanted]
    if missing:
        raise _wrong_root(name, files, f"images.npy, labels.npy and patch_info.csv ({', '.join(missing)} missing)")
    patches = _patch_names(files, wanted["patch_info.csv"])
    records = []
    for row, patch in enumerate(patches):
        source = patch.rpartition("-")[0] or patch
        records.append(_Record(patch, source, source.partition("_")[0], row=row))
    kept = _choose(name, records, split, (0.7, 0.1, 0.2))
    needed = [r.row for r in kept]
    arrays = [
        _PatchArray(files, wanted[f], needed, len(patches), tail)
        for f, tail in (("images.npy", (3,)), ("labels.npy", (2,)))
    ]
    return Dataset(
        name,
        split,
        kept,
        partial(_read_conic, *arrays),
        kind="nuclei",
        num_classes=len(CONIC_CLASSES),
        rule="by source image, stratified by origin, 70/10/20 by hash",
    )


def _patch_names(files: _Files, name: str) -> list[str]:
    """The column patch_info of patch_info.csv."""
    try:
        rows = [row for row in csv.reader(io.StringIO(files.read(name).decode("utf-8-sig"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"conic: {name!r} is no table in CSV ({one_line(error)}); download it again.") from None
    if not rows or "patch_info" not in rows[0]:
        raise ValueError(f"conic: {name!r} has no column named patch_info; download it again.")
    column = rows[0].index("patch_info")
    for number, row in enumerate(rows):
        if len(row) <= column:
            raise ValueError(f"conic: row {number} of {name!r} names no patch; download it again.")
    return [row[column] for row in rows[1:]]


def _read_conic(images: _PatchArray, labels: _PatchArray, record: _Record) -> Sample:
    image, (instances, classes) = images[record.row], np.moveaxis(labels[record.row], -1, 0)
    for what, values, most in (
        ("brightness", image, 255),
        ("class", classes, len(CONIC_CLASSES) - 1),
        ("object number", instances, np.iinfo(np.int32).max),
    ):
        if not ((values >= 0) & (values <= most) & (values == np.floor(values))).all():  # NaN is neither
            raise ValueError(
                f"conic: {record.name!r} holds the {what} {values.min()} to {values.max()}, not whole numbers in "
                f"0..{most}: convert the array to those."
            )
    return Sample(
        np.array(image, np.uint8),
        classes.astype(np.uint8),
        instances.astype(np.int32),
        record.name,
        record.group,
    )


class _PatchArray:
    """Rows of an .npy file. In a folder it is memory-mapped. In a zip the needed rows are read once, at first use,
    and kept: CoNIC whole needs 2.3 GB of memory that way, its test split a fifth of that; unpack it to avoid this."""

    def __init__(self, files: _Files, name: str, needed: list[int], count: int, tail: tuple[int, ...]):
        self.files, self.name, self.needed, self.rows = files, name, set(needed), None
        with files.open(name) as stream:
            self.shape, self.dtype, self.start = _npy_header(stream.read(_HEADER_BYTES), name)
        if len(self.shape) != 4 or self.shape[0] != count or self.shape[3:] != tail:
            raise ValueError(
                f"conic: {name!r} has shape {self.shape}, expected ({count}, height, width, {tail[0]}), "
                "one row for each line of patch_info.csv."
            )
        if not all(1 <= side <= MAX_PATCH for side in self.shape[1:3]):
            raise ValueError(f"conic: {name!r} has shape {self.shape}; patches of 1 to {MAX_PATCH} a side are read.")
        size = files.size(name)
        if size < self.start + math.prod(self.shape) * self.dtype.itemsize:
            raise ValueError(f"conic: {name!r} is cut short ({size} bytes); download it again.")

    def __getitem__(self, row: int) -> np.ndarray:
        if self.rows is None:
            path, member = self.files.where[self.name]
            if member is None:
                self.rows = np.load(path, mmap_mode="r", allow_pickle=False)
            else:
                rows = {}
                with self.files.open(self.name) as stream:
                    stream.read(self.start)
                    size = math.prod(self.shape[1:]) * self.dtype.itemsize
                    for i in range(self.shape[0]):
                        data = stream.read(size)
                        if i in self.needed:
                            rows[i] = np.frombuffer(data, self.dtype).reshape(self.shape[1:])
                self.rows = rows  # only when complete: the next question gets the same error, not a part
        return self.rows[row]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "rows": None}


_HEADER_BYTES = 2**16  # of an .npy file; numpy writes 128


def _npy_header(head: bytes, name: str) -> tuple[tuple[int, ...], np.dtype, int]:
    """(shape, dtype, where the numbers begin) from the first bytes of an .npy file."""
    stream = io.BytesIO(head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers of Python 2 are read, too
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = read(stream)
    except Exception as error:  # the header is Python source: it can be wrong in any way
        raise ValueError(f"conic: {name!r} is not an .npy file ({one_line(error)}); download it again.") from None
    if fortran_order or dtype.kind not in "buif":  # objects would be pickles
        raise ValueError(f"conic: {name!r} is not a plain C-ordered array of numbers; download it again.")
    return shape, dtype, stream.tell()


# ---------------------------------------------------------------------------------------------- BBBC038


def _open_bbbc(
    name: str, files: _Files, split: str | None, skip_unpaired: bool = False, split_by: str = "mosaic"
) -> Dataset:
    """<id>/images/<id>.png with <id>/masks/*.png, no standard split. Ours deals out whole groups, 70/10/20.

    Many of these images are neighbouring tiles of one microscope field, so a random split would put both halves of one
    nucleus into train and test. `split_by="mosaic"`, the default: a group is a field put together again from its tiles
    (see `_same_field`), and every stratum, that is image size and stain, is shared out in the same proportions, so that
    each split spans the stains. What this guarantees: tiles whose touching borders show structure, and copies, never
    straddle. What it does not: tiles that meet in empty background, or whose link is a tile missing from the set,
    cannot be recognised, and train and test do share slides, laboratories and stains; so scores say how well a network
    does on new fields of known kinds. `split_by="stain"` deals out whole strata instead and asks for kinds never seen.
    """
    if split_by not in ("mosaic", "stain"):
        raise ValueError(f"bbbc038: split_by={split_by!r} is not 'mosaic' or 'stain'.")
    records = _bbbc_records(files, skip_unpaired)
    if split_by == "stain":
        records = [replace(r, group=r.stratum, stratum="all") for r in records]
    rule = {
        "mosaic": "whole mosaics of touching tiles, stratified by image size and stain, 70/10/20 by hash",
        "stain": "whole strata (image size and stain), 70/10/20",
    }[split_by]
    return Dataset(
        name,
        split,
        _choose(name, records, split, (0.7, 0.1, 0.2)),
        partial(_read_bbbc, files),
        kind="nuclei",
        rule=rule,
    )


def _read_bbbc(files: _Files, record: _Record) -> Sample:
    """One mask PNG per nucleus -> instance map. Where two masks overlap the later one (by file name) wins."""
    photo = files.read(record.image)
    image = load_image(photo, max_side=MAX_SIDE, name=record.image)
    instances = np.zeros(image.shape[:2], np.int32)
    for number, key in enumerate(record.masks, start=1):
        data = files.read(key)
        mask = _official_mask(data, key)
        _refuse_turned(photo, data, image.shape[:2], mask.shape, record.image, key)
        if mask.shape != instances.shape:
            raise ValueError(f"bbbc038: mask {key!r} is {_by(mask)} pixels but its image is {_by(image)}.")
        instances[mask > 0] = number
    return Sample(image, (instances > 0).astype(np.uint8), instances, record.name, record.group)


def _bbbc_records(files: _Files, skip_unpaired: bool) -> list[_Record]:
    images, masks = {}, defaultdict(list)
    for key in files:
        *_, owner, folder, file = ("", "", *key.split("/"))
        if file.lower().endswith(".png") and folder == "images":
            _claim("bbbc038", images, owner, key)
        elif file.lower().endswith(".png") and folder == "masks":
            masks[owner].append(key)
    if not images or not masks:
        raise _wrong_root("bbbc038", files, "<id>/images/<id>.png and <id>/masks/*.png")
    names = _pair("bbbc038", images, {owner: keys[0] for owner, keys in masks.items()}, skip_unpaired)
    key = (files.stamp(images[n] for n in names), tuple(names))
    if key not in _FIELDS:
        _FIELDS.clear()  # one set is kept: opening train, val and test one after the other decodes it once
        _FIELDS[key] = _fields(load_image(files.read(images[n]), max_side=MAX_SIDE, name=images[n]) for n in names)
    return [
        _Record(n, names[leader], stratum, images[n], tuple(sorted(masks[n])))
        for n, (leader, stratum) in zip(names, _FIELDS[key], strict=True)
    ]


_FIELDS: dict[tuple, list[tuple[int, str]]] = {}


def _stain(image: np.ndarray) -> str:
    """The kind of picture, from the spread between colour channels and the brightness of the typical (median) pixel."""
    image = image[::4, ::4]  # every fourth pixel is plenty
    red, green, blue = image.transpose(2, 0, 1)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    if spread.mean() < 4:
        return "fluorescence" if np.median(image) < 128 else "grey brightfield"
    return "purple on white" if np.median(spread) < 30 else "purple on violet"


def _fields(images: Iterable[np.ndarray]) -> list[tuple[int, str]]:
    """(index of the first tile of the same field, stratum of that tile), one for each image."""
    strata, tiles = [], defaultdict(list)
    for i, image in enumerate(images):
        strata.append(f"{_by(image)} {_stain(image)}")
        grey = Image.fromarray(image).convert("L")
        thumbnail = np.asarray(grey.resize((32, 32), Image.Resampling.BOX), np.float32)
        pixels = np.asarray(grey)
        # Each border with the line next to it: left, right, top, bottom. Copies, so that the whole image can go.
        borders = [
            np.array(lines, np.float32) for lines in (pixels[:, :2].T, pixels[:, :-3:-1].T, pixels[:2], pixels[:-3:-1])
        ]
        if min(image.shape[:2]) > 1:
            tiles[image.shape].append((i, thumbnail, borders))
    first = list(range(len(strata)))

    def root(i: int) -> int:
        while first[i] != i:
            i = first[i]
        return i

    for same_size in tiles.values():
        for a, b in _same_field(same_size):
            a, b = sorted((root(a), root(b)))
            first[b] = a
    return [(root(i), strata[root(i)]) for i in range(len(strata))]


def _same_field(tiles: list) -> Iterator[tuple[int, int]]:
    """Pairs of tiles of one size that are copies of each other, or that touch.

    Touching: the last line of one and the first line of the other correlate over 0.5, each is the other's best match,
    and the step between them is hardly larger than the step between neighbouring lines inside the two tiles (under 1.6
    times). Measured on 530 images of stage1_train: of 465 mutual best matches 338 have a ratio under 1.6, nearly all of
    them 0.8 to 1.2, and the other 127 nearly all over 4; what comes out is mostly mosaics of 2 x 2.
    """
    numbers = [number for number, _, _ in tiles]
    copies = _unit(np.stack([thumbnail.ravel() for _, thumbnail, _ in tiles]))
    for a, b in np.argwhere(np.triu(copies @ copies.T > 0.98, k=1)):
        yield numbers[a], numbers[b]
    for end_side, start_side in ((1, 0), (3, 2)):  # right meets left, bottom meets top
        ends = np.stack([borders[end_side] for _, _, borders in tiles])  # [tiles, 2 lines, pixels]
        starts = np.stack([borders[start_side] for _, _, borders in tiles])
        match = _unit(ends[:, 0]) @ _unit(starts[:, 0]).T
        np.fill_diagonal(match, -1)
        for a, b in enumerate(match.argmax(1)):
            inside = np.sqrt(np.mean((ends[a, 0] - ends[a, 1]) ** 2) * np.mean((starts[b, 0] - starts[b, 1]) ** 2))
            step = np.mean((ends[a, 0] - starts[b, 0]) ** 2)
            if match[a, b] > 0.5 and match[:, b].argmax() == a and step < 1.6**2 * max(inside, 0.1):
                yield numbers[a], numbers[b]


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows without their mean and of length 1, so that a product of two is their correlation (constant rows: 0)."""
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3)
