"""Fetch the public data sets that this project reads: `python -m sgdc_viz download NAME --root DIR`.

The official zips are kept as they are, under their official names; `open_dataset` reads them so. A file gets its name
only when it is whole and checked. Until then its parts lie in `DIR/.download`, and the same command goes on from them.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import struct
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from sgdc_viz.data.folders import DATASETS, Dataset, open_dataset

RECORD = "SHA256SUMS"  # in DIR, in the form that `sha256sum -c` reads
WORKSHOP = ".download"  # in DIR: parts of files, and the lock that keeps two processes apart
MAX_REDIRECTS = 5
PIECE = 1 << 13  # bytes taken at a time; not more than these are lost with a connection

Tell = Callable[[str], None]


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set.

    Attributes: url: official address; its last part is the name on disk. megabytes: as the publisher's page says; more
    than twice that is refused. checksum: "md5:..." or "sha256:...", or "" where none is known: then the file must be
    the whole data set, so that its content can be checked instead.
    """

    url: str
    megabytes: float
    checksum: str = ""

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, on what terms, and how many images it holds. Without `files` it needs a sign-up;
    `steps` then say what to do, with {root} for the folder."""

    title: str
    licence: str
    citation: str
    page: str
    images: int
    files: tuple[RemoteFile, ...] = ()
    steps: tuple[str, ...] = ()


_ISIC = "https://isic-archive.s3.amazonaws.com/challenges/"
_ISIC_PAGE = "https://challenge.isic-archive.com/data/"

# Addresses, sizes and licences are those of the publishers' pages. None of the publishers gives checksums. Those of the
# ISIC files were taken down by others who fetched the same official files: 2016 and 2017 (md5) alike by two projects,
# 2018 (sha256) by torch-em, five of the six by another project as well. For BBBC038 nobody's were found.
SOURCES: Mapping[str, Source] = {
    "isic2016": Source(
        "ISIC 2016 task 1, dermoscopy images with lesion masks (900 for training, 379 for the test)",
        "CC0 1.0, as the ISIC data page says",
        "Gutman et al., Skin Lesion Analysis toward Melanoma Detection: A Challenge at the International Symposium on "
        "Biomedical Imaging (ISBI) 2016, hosted by the International Skin Imaging Collaboration (ISIC), "
        "arXiv:1605.01397, 2016",
        _ISIC_PAGE + "#2016",
        1279,
        (
            RemoteFile(
                _ISIC + "2016/ISBI2016_ISIC_Part1_Training_Data.zip", 602, "md5:2029f387e62dcc062b1370b1efc1f7fb"
            ),
            RemoteFile(
                _ISIC + "2016/ISBI2016_ISIC_Part1_Training_GroundTruth.zip", 6, "md5:fbd77134298f3511479a37bac93109c7"
            ),
            RemoteFile(_ISIC + "2016/ISBI2016_ISIC_Part1_Test_Data.zip", 232, "md5:efebcaeaae751007401a40a60d391f93"),
            RemoteFile(
                _ISIC + "2016/ISBI2016_ISIC_Part1_Test_GroundTruth.zip", 2, "md5:492a7711a2e19b96114cab6c96bd1ad5"
            ),
        ),
    ),
    "isic2017": Source(
        "ISIC 2017 part 1, dermoscopy images with lesion masks (2000 for training, 150 for validation, 600 for the "
        "test)",
        "CC0 1.0, as the ISIC data page says",
        "Codella et al., Skin Lesion Analysis Toward Melanoma Detection: A Challenge at the 2017 International "
        "Symposium on Biomedical Imaging (ISBI), Hosted by the International Skin Imaging Collaboration (ISIC), "
        "arXiv:1710.05006, 2017",
        _ISIC_PAGE + "#2017",
        2750,
        (
            RemoteFile(_ISIC + "2017/ISIC-2017_Training_Data.zip", 5800, "md5:a14a7e622c67a358797ae59abb8a0b0c"),
            RemoteFile(
                _ISIC + "2017/ISIC-2017_Training_Part1_GroundTruth.zip", 9, "md5:77fdbeb6fbec4139937224416b250f4c"
            ),
            RemoteFile(_ISIC + "2017/ISIC-2017_Validation_Data.zip", 878, "md5:8d6419d942112f709894c0d82f6c9038"),
            RemoteFile(
                _ISIC + "2017/ISIC-2017_Validation_Part1_GroundTruth.zip", 0.6, "md5:64d3e68fa2deeb8a5e89aa8dec2efd44"
            ),
            RemoteFile(_ISIC + "2017/ISIC-2017_Test_v2_Data.zip", 5400, "md5:5f6a0b5e1f2972bd1f5ea02680489f09"),
            RemoteFile(
                _ISIC + "2017/ISIC-2017_Test_v2_Part1_GroundTruth.zip", 18, "md5:b1742de6bd257faca3b2b21a4aa3b781"
            ),
        ),
    ),
    "isic2018": Source(
        "ISIC 2018 task 1, dermoscopy images with lesion masks (2594 for training, 100 for validation, 1000 for the "
        "test)",
        "the ISIC data page lists CC0 1.0 for task 1 and, below, asks for the terms of CC BY-NC 4.0 for the 2018 data "
        "as a whole: keep to the stricter, no commercial use, and name the source",
        "Codella et al., Skin Lesion Analysis Toward Melanoma Detection 2018: A Challenge Hosted by the International "
        "Skin Imaging Collaboration (ISIC), arXiv:1902.03368, 2018; and Tschandl, Rosendahl, Kittler, The HAM10000 "
        "dataset, Scientific Data 5, 180161, doi:10.1038/sdata.2018.161, 2018",
        _ISIC_PAGE + "#2018",
        3694,
        (
            RemoteFile(
                _ISIC + "2018/ISIC2018_Task1-2_Training_Input.zip",
                11165,
                "sha256:80f98572347a2d7a376227fa9eb2e4f7459d317cb619865b8b9910c81446675f",
            ),
            RemoteFile(
                _ISIC + "2018/ISIC2018_Task1_Training_GroundTruth.zip",
                27,
                "sha256:99f8b2bb3c4d6af483362010715f7e7d5d122d9f6c02cac0e0d15bef77c7604c",
            ),
            RemoteFile(
                _ISIC + "2018/ISIC2018_Task1-2_Validation_Input.zip",
                239,
                "sha256:0ea920fcfe512d12a6e620b50b50233c059f67b10146e1479c82be58ff15a797",
            ),
            RemoteFile(
                _ISIC + "2018/ISIC2018_Task1_Validation_GroundTruth.zip",
                0.8,
                "sha256:f6911e9c0a64e6d687dd3ca466ca927dd5e82145cb2163b7a1e5b37d7a716285",
            ),
            RemoteFile(
                _ISIC + "2018/ISIC2018_Task1-2_Test_Input.zip",
                2370,
                "sha256:e59ae1f69f4ed16f09db2cb1d76c2a828487b63d28f6ab85997f5616869b127d",
            ),
            RemoteFile(
                _ISIC + "2018/ISIC2018_Task1_Test_GroundTruth.zip",
                10,
                "sha256:2e8f6edce454a5bdee52485e39f92bd6eddf357e81f39018d05512175238ef82",
            ),
        ),
    ),
    "bbbc038": Source(
        "BBBC038v1, the training part of the 2018 Data Science Bowl: microscopy images with a mask for each nucleus",
        "CC0 1.0",
        "Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl, Nature Methods "
        "16, 1247-1253, doi:10.1038/s41592-019-0612-7, 2019; image set BBBC038v1, available from the Broad Bioimage "
        "Benchmark Collection",
        "https://bbbc.broadinstitute.org/BBBC038",
        670,
        (RemoteFile("https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip", 82.9),),
    ),
    "ph2": Source(
        "PH2, 200 dermoscopy images with lesion masks, here a test set only",
        "for research and teaching, on the terms of its page; not to be passed on",
        "Mendonca, Ferreira, Marques, Marcal, Rozeira, PH2 - A dermoscopic image database for research and "
        "benchmarking, EMBC 2013, 5437-5440, doi:10.1109/EMBC.2013.6610779",
        "https://www.fc.up.pt/addi/ph2%20database.html",
        200,
        steps=(
            "open https://www.fc.up.pt/addi/ph2%20database.html, the page of the ADDI project, in a browser;",
            "ask for the database or download it, in the way that this page offers, and accept its terms;",
            "unpack the archive (a .rar opens with 7-Zip, with The Unarchiver, or with `unar`) into {root}, so that "
            "there are .../IMD002/IMD002_Dermoscopic_Image/IMD002.bmp and .../IMD002/IMD002_lesion/IMD002_lesion.bmp;",
            "run this command again: it checks what is there.",
        ),
    ),
    "conic": Source(
        "CoNIC 2022, 4981 patches of colon tissue with nuclei of six kinds",
        "CC BY-NC-SA 4.0: no commercial use, name the source, pass on under the same terms",
        "Graham et al., CoNIC Challenge: Pushing the frontiers of nuclear detection, segmentation, classification and "
        "counting, Medical Image Analysis 92, 103047, doi:10.1016/j.media.2023.103047, 2024; and Graham et al., "
        "Lizard: A Large-Scale Dataset for Colonic Nuclear Instance Segmentation and Classification, "
        "arXiv:2108.11195, 2021",
        "https://conic-challenge.grand-challenge.org/Data/",
        4981,
        steps=(
            "make an account at https://conic-challenge.grand-challenge.org/ and press Join there;",
            "when you are let in, open https://conic-challenge.grand-challenge.org/Data/ and download the patches of "
            "the training set as that page says;",
            "put images.npy, labels.npy and patch_info.csv into {root} (a zip that holds them is read too, but needs "
            "more memory);",
            "run this command again: it checks what is there.",
        ),
    ),
}


def download(
    name: str,
    root: str | Path,
    tell: Tell = print,
    *,
    progress: bool = False,
    sources: Mapping[str, Source] = SOURCES,
    plain_http: Collection[str] = (),
    timeout: float = 60.0,
    tries: int = 4,
    pause: float = 1.0,
) -> Dataset:
    """Bring a public data set into a folder and open it; of one that needs a sign-up, check what was put there.

    What is there already stays. A transfer that stops, for whatever reason, goes on at the next call, provided that the
    server still has the very same file. Where no checksum is known, all images and masks are opened and counted; only
    then is the file recorded in DIR/SHA256SUMS, and compared with it ever after. The files of a sign-up set
    are opened in the same way. Of a folder that somebody unpacked the images are only counted.

    Args:
        name: a name in `sources`.
        root: the folder for the official files; made if it is missing.
        tell: called with each line of what is going on.
        progress: draw a progress bar on stderr.
        sources: the data sets there are. The rest is for tests and odd networks:
        plain_http: hosts that may be reached without https. Any other address that is not https is refused.
        timeout: seconds without a sign of life after which a connection counts as lost.
        tries: how many failures in a row, none of which brought the file further, end the attempt; 1 or more.
        pause: seconds before the second try; doubled for each further one.

    Returns: the data set, every split of it.

    Raises:
        ValueError: unknown name; a file that is not what it should be; files of a sign-up set missing or damaged.
        OSError: no network, a server that does not give the file, no room, no right to write, nothing there yet.
        Each in one sentence. No wrong or short file is left under an official name.
    """
    if name not in sources:
        what = f"{name} needs no download" if name in DATASETS else f"there is no data set {name!r} to download"
        raise ValueError(f"{what}; choose one of {', '.join(sources)}.")
    source, root = sources[name], Path(root)
    if root.exists() and not root.is_dir():
        raise ValueError(f"--root {str(root)!r} is a file: give the name of a folder.")
    tell(f"{name}: {source.title}")
    tell(f"licence: {source.licence}")
    tell(f"please cite: {source.citation}")
    tell(f"page: {source.page}")
    if source.files:
        _refuse_mixture(name, root, sources)
        size = f"{len(source.files)} file{'s' * (len(source.files) > 1)}"
        tell(f"{size}, about {_size(sum(file.megabytes for file in source.files) * 1e6)}, into {root}")
        _Visit(name, source, root, tell, progress, plain_http, timeout, tries, pause).fetch_all()
        dataset = open_dataset(name, root)
    else:
        dataset = _put_there_by_hand(name, source, root, tell, progress)
    tell(f"{root} holds {name}: {len(dataset)} images")
    if len(dataset) != source.images:
        why = "some are missing here" if len(dataset) < source.images else "some here are not of it"
        tell(f"note: the official set has {source.images} images, {why}")
    tell(f"next: {_next_command(name, root)}")
    return dataset


def _next_command(name: str, root: Path) -> str:
    where = f'"{root}"' if sys.platform == "win32" else shlex.quote(str(root))
    if name == "ph2":  # there is nothing to train on
        return f"python -m sgdc_viz evaluate --checkpoint dermoscopy-structure --data ph2 --root {where}"
    return f"python -m sgdc_viz train --data {name} --root {where} --out runs/{name}"


def _refuse_mixture(name: str, root: Path, sources: Mapping[str, Source]) -> None:
    """Two sets in one folder would be read as one: the ISIC sets share image names."""
    for other, source in sources.items():
        for file in source.files:
            if other != name and (root / file.name).exists():
                raise ValueError(
                    f"{str(root)!r} holds {file.name} of {other}: give {name} a folder of its own with --root."
                )


def _open_all(dataset: Dataset, tell: Tell, progress: bool) -> None:
    """Read every image and mask: a few seconds, half a minute for the 30,000 masks of BBBC038.

    Raises: ValueError for the first that cannot be read, and for images that share a name."""
    from tqdm import tqdm

    common, count = Counter(dataset.names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{dataset.name}: {count} images have the same name {common!r}; get the official files again.")
    tell(f"{dataset.name}: opening all {len(dataset)} images and their masks")
    for _ in tqdm(dataset, total=len(dataset), unit="image", leave=False, disable=not progress):
        pass


def _put_there_by_hand(name: str, source: Source, root: Path, tell: Tell, progress: bool) -> Dataset:
    try:
        dataset = open_dataset(name, root)
        if len(dataset) >= source.images:
            _open_all(dataset, tell, progress)
            return dataset
        missing = ValueError(f"{name}: found {len(dataset)} of {source.images} images in {str(root)!r}; add the rest.")
    except (ValueError, OSError) as error:
        missing = error
    tell(f"{name} is not downloaded by this command, because its owners give it out on their own page. Please")
    for number, step in enumerate(source.steps, start=1):
        tell(f"  {number}. {step.format(root=root)}")
    packed = sorted(path.name for kind in ("rar", "7z", "tar.gz", "tgz") for path in root.glob(f"*.{kind}"))
    if packed:
        raise ValueError(f"{name}: {packed[0]} in {str(root)!r} must be unpacked first; it cannot be read as it is.")
    raise missing


class _Visit:
    """All that one call of `download` needs to know."""

    def __init__(
        self,
        name: str,
        source: Source,
        root: Path,
        tell: Tell,
        progress: bool,
        plain_http: Collection[str],
        timeout: float,
        tries: int,
        pause: float,
    ):
        from filelock import FileLock

        self.name, self.source, self.root, self.tell, self.progress = name, source, root, tell, progress
        self.plain_http, self.timeout, self.tries, self.pause = plain_http, timeout, max(1, tries), pause
        self.workshop = root.absolute() / WORKSHOP
        self.lock = FileLock(self.workshop / "lock")

    def fetch_all(self) -> None:
        """Fetch what is missing and check what is there, one file after the other."""
        try:
            for file in self.source.files:
                if not self.there(file):
                    with self.alone():
                        if not self.there(file):  # another process may have brought it while we waited
                            self.fetch(file)
                            continue
                self.confirm(file)
        except KeyboardInterrupt:
            self.tell(f"stopped; what has come so far is kept in {self.workshop}, the same command goes on from there")
            raise
        except OSError as error:
            if error.errno is None:  # a sentence of ours
                raise
            raise _cannot_write(self.root, error) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time in a folder."""
        from filelock import Timeout

        self.workshop.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            self.tell(f"another process is downloading into {self.root}: waiting for it")
            self.lock.acquire()
        try:
            yield
        finally:
            self.lock.release()

    def there(self, file: RemoteFile) -> bool:
        """Whether the zip is there, or the folder that it becomes when it is unpacked."""
        return (self.root / file.name).exists() or self.unpacked(file)

    def unpacked(self, file: RemoteFile) -> bool:
        folder = (self.root / file.name).with_suffix("")  # an empty one, made for unpacking, does not count
        return any(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*"))

    def confirm(self, file: RemoteFile) -> None:
        path = self.root / file.name
        if path.exists():
            self.remember(file, self.check(path, file, "move it away and run this command again"))
            self.tell(f"{file.name}: already there and whole, nothing to download")
        else:
            self.tell(f"{file.name}: its unpacked folder is there already, nothing to download")

    def fetch(self, file: RemoteFile) -> None:
        import pooch

        for stray in self.workshop.glob("tmp*"):  # pooch's, of a process that was killed
            stray.unlink(missing_ok=True)
        held = self.workshop / file.name
        loader = _Resuming(self, file, self.workshop / f"{file.name}.part")
        log = pooch.get_logger()
        level = log.level
        log.setLevel("WARNING")  # it would print an address, a temporary name and advice for programmers
        try:
            # Without known_hash: if pooch is interrupted while it compares, it deletes the file that came whole.
            pooch.retrieve(file.url, known_hash=None, fname=file.name, path=self.workshop, downloader=loader)
        finally:
            log.setLevel(level)
        try:
            digest = self.check(held, file, f"it was not kept; try again later, or see {self.source.page}")
        except ValueError:
            held.unlink()
            raise
        os.replace(held, self.root / file.name)
        self.remember(file, digest)
        how = "its checksum is right" if file.checksum else f"no checksum is known, the one seen is kept in {RECORD}"
        self.tell(f"{file.name}: whole; {how}")

    def check(self, path: Path, file: RemoteFile, advice: str) -> str:
        """The SHA-256 of a file that is what it should be; raises ValueError, with advice, for any other."""
        import pooch

        size, recorded = path.stat().st_size, self.recorded().get(file.name)
        if size > 100e6:
            self.tell(f"{file.name}: checking {_size(size)}")
        trouble = _zip_trouble(path, every_member=not (file.checksum or recorded))
        if trouble:
            raise ValueError(f"{file.name} ({_size(size)}) is not a whole zip ({trouble}): {advice}.")
        kind, _, wanted = file.checksum.partition(":")
        digest = pooch.file_hash(str(path), alg="sha256")
        if wanted and wanted != (digest if kind == "sha256" else pooch.file_hash(str(path), alg=kind)):
            raise ValueError(f"{file.name} is not the official file (its {kind} is not {wanted}): {advice}.")
        if recorded and recorded != digest:
            raise ValueError(
                f"{file.name} is not the file that was here before (its SHA-256 is not the one in {RECORD}): {advice}; "
                f"if you trust the new one, delete its line in {RECORD} first."
            )
        if not wanted and not recorded:
            trouble = self.trouble_inside(path)
            if trouble:
                raise ValueError(f"{file.name} is not the official file ({trouble}): {advice}.")
        return digest

    def trouble_inside(self, path: Path) -> str:
        """Why a zip is not the whole data set, "" if it is. A text, not an error: that would keep the zip open, and
        Windows does not let go of open files."""
        try:
            dataset = open_dataset(self.name, path)
            if len(dataset) != self.source.images:
                return f"it holds {len(dataset)} images, not {self.source.images}"
            _open_all(dataset, self.tell, self.progress)
        except ValueError as error:
            return str(error).rstrip(".")
        return ""

    def recorded(self) -> dict[str, str]:
        """File name -> SHA-256, as DIR/SHA256SUMS has it."""
        try:
            text = (self.root / RECORD).read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError:
            text = "?"
        lines = [re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line) for line in text.splitlines() if line.strip()]
        if not all(lines):
            raise ValueError(f"{str(self.root / RECORD)!r} cannot be read as a list of checksums: delete it.")
        return {line.group(2): line.group(1) for line in lines}

    def remember(self, file: RemoteFile, digest: str) -> None:
        if self.recorded().get(file.name) != digest:
            with self.alone():
                known = {**self.recorded(), file.name: digest}
                lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(known.items()))
                _write_whole(self.workshop / RECORD, self.root / RECORD, lines)


def _zip_trouble(path: Path, every_member: bool) -> str:
    """What is wrong with a zip, "" if nothing is. Its table of contents stands at its end, so a short file has none.
    every_member: unpack all to compare them with the checksums (CRC-32) that a zip holds of its members; slow."""
    try:
        with zipfile.ZipFile(path) as archive:
            if not archive.namelist():
                return "it is empty"
            broken = archive.testzip() if every_member else None
            return f"its member {broken!r} is damaged" if broken else ""
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ArithmeticError, RuntimeError, ValueError) as error:
        return str(error).rstrip(".") or "damaged"


class _Passing(Exception):
    """Trouble that may pass: worth another try."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


class _Resuming:
    """A downloader for `pooch.retrieve` that goes on where an earlier one stopped; pooch's own starts over.

    NAME.part grows; NAME.part.json says of which file it is a part: its address, ETag, date and size. They must all
    be the same for the server's answer to be put behind the part, otherwise the part is dropped.
    """

    def __init__(self, visit: _Visit, file: RemoteFile, part: Path):
        self.visit, self.part, self.tell = visit, part, visit.tell
        self.label, self.page, self.host = part.stem, visit.source.page, urlsplit(file.url).hostname
        self.whose = part.with_name(part.name + ".json")
        self.most = 2 * file.megabytes * 1e6  # bytes; what the publisher's page says is not exact

    def have(self) -> int:
        """Bytes that are here."""
        return self.part.stat().st_size if self.part.exists() else 0

    def drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self.whose.unlink(missing_ok=True)

    def seen(self) -> dict:
        """What is known of the file that the part is of; {} if nothing that would allow to go on."""
        try:
            seen = json.loads(self.whose.read_text(encoding="utf-8"))
            usable = isinstance(seen["size"], int | None) and (seen["etag"] or seen["date"])
            return seen if usable else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def __call__(self, url: str, output_file: str, pooch) -> None:
        failures, furthest = 0, self.have()
        while True:
            try:
                self.attempt(url)
                break
            except _Passing as trouble:
                failures = 1 if self.have() > furthest else failures + 1
                furthest = max(furthest, self.have())
                kept = f"{_size(self.have())} are kept, the same command goes on from there" if self.have() else ""
                if failures >= self.visit.tries:
                    raise ConnectionError(
                        f"{self.label} could not be downloaded: {trouble}; look at the network and try again later"
                        + (f" ({kept})." if kept else ".")
                    ) from None
                wait = max(self.visit.pause * 2 ** (failures - 1), trouble.wait)
                self.tell(f"{self.label}: {trouble}; next try in {wait:.0f} s")
                time.sleep(wait)
        os.replace(self.part, output_file)
        self.whose.unlink(missing_ok=True)

    def attempt(self, url: str) -> None:
        """One request, its answer put behind the part; returns when the file is here whole, as far as sizes tell."""
        import requests

        seen, have = self.seen(), self.have()
        if have and (seen.get("url") != url or (seen["size"] and have > seen["size"])):
            self.drop()
            have = 0
        if have and have == seen["size"]:
            return  # an earlier run was stopped just before its end
        headers = {"Accept-Encoding": "identity"}  # sizes and ranges must be those of the file itself
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": seen["etag"] or seen["date"]}
            self.tell(f"{self.label}: going on after {_size(have)}")
        with requests.Session() as session:
            session.get_redirect_target = lambda answer: None  # it would read on before we have looked at the address
            try:
                answer = self.ask(session, url, headers)
            except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
                reason = str(error).splitlines()[0][:200].rstrip(".")
                raise ConnectionError(f"{self.label}: no secure connection to {self.host}: {reason}.") from None
            except requests.RequestException as error:
                late = isinstance(error, requests.Timeout)
                raise _Passing(f"{self.host} does not answer" if late else f"no connection to {self.host}") from None
            try:
                with answer:
                    self.take(answer, url, have)
            except requests.RequestException as error:
                stalled = "timed out" in str(error)  # here requests has no class of its own for it
                raise _Passing(f"{self.host} fell silent" if stalled else "the connection was lost") from None

    def ask(self, session, url: str, headers: dict):
        """The server's answer. Redirections are followed by hand, to look at each address before it is asked."""
        for _ in range(MAX_REDIRECTS + 1):
            if not self.safe(url):
                raise ConnectionError(
                    f"{self.label}: {url!r}, to which {self.host} sends us, is no secure address (https), so it was "
                    f"not asked; see {self.page}."
                )
            answer = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=self.visit.timeout)
            if not answer.is_redirect:
                return answer
            answer.close()
            try:
                url = urljoin(url, answer.headers["Location"])
            except ValueError:  # no address at all, as the next round will see
                url = answer.headers["Location"]
            self.tell(f"{self.label}: {self.host} sends us on to {url}")
        raise ConnectionError(
            f"{self.label}: {self.host} sends us from one address to the next without end; see {self.page}."
        )

    def safe(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in self.visit.plain_http)

    def take(self, answer, url: str, have: int) -> None:
        code = answer.status_code
        if code in (408, 425, 429) or code >= 500:
            wait = answer.headers.get("Retry-After", "")
            raise _Passing(f"{self.host} answers {code}", min(float(wait), 60.0) if wait.isdecimal() else 0.0)
        if code == 416 and have:  # nothing after our part: it is no part of the file that is there now
            self.drop()
            raise _Passing("the file on the server is not the one that was begun, so it is begun anew")
        if code not in (200, 206):
            raise ConnectionError(
                f"{self.label}: {self.host} does not give it ({code} {answer.reason}); its address may have changed, "
                f"see {self.page}."
            )
        if "html" in answer.headers.get("Content-Type", "").lower():
            raise self.no_file("a web page (a login, perhaps of the network you are in)")
        encoded = answer.headers.get("Content-Encoding", "identity").lower() != "identity"
        size, etag = answer.headers.get("Content-Length", ""), answer.headers.get("ETag", "")
        now = {
            "url": url,
            "etag": "" if etag.startswith("W/") else etag,  # a weak one does not promise equal bytes
            "date": answer.headers.get("Last-Modified", ""),
            "size": int(size) if size.isdecimal() else None,
        }
        pieces = answer.iter_content(PIECE)
        if code == 206:
            now["size"] = self.whole_size(answer, now, have)
            first = b""
        else:
            if encoded:  # packed for the way, though we asked for it plain: its size is not the file's
                now |= {"size": None, "etag": "", "date": ""}
            have, first = 0, next(pieces, b"")
            if not first:
                raise _Passing("the connection was lost")
            if not b"PK".startswith(first[:2]):
                raise self.no_file("something else than a zip")
        self.write(pieces, first, now, have)

    def whole_size(self, answer, now: dict, have: int) -> int | None:
        """The size of the whole file, from an answer that goes on exactly where our part of the same file ends."""
        seen = self.seen()
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        size = int(span.group(2)) if span and span.group(2) != "*" else None
        here = have > 0 and span is not None and int(span.group(1)) == have
        same = here and now["etag"] == seen["etag"] and now["date"] in (seen["date"], "")
        if not same or None not in (size, seen["size"]) and size != seen["size"]:
            self.drop()
            raise _Passing("the file on the server is not the one that was begun, so it is begun anew")
        return size or seen["size"]

    def no_file(self, what: str) -> ValueError:
        return ValueError(f"{self.label}: {self.host} sent {what} instead of the file; see {self.page}.")

    def write(self, pieces: Iterator[bytes], first: bytes, now: dict, have: int) -> None:
        from tqdm import tqdm

        size = now["size"]
        too_much = ValueError(
            f"{self.label}: {self.host} sends more than {_size(self.most)}, twice what is expected, so it was not "
            f"kept; see {self.page}."
        )
        if size and size > self.most:
            raise too_much
        room = shutil.disk_usage(self.part.parent).free + (0 if have else self.have())
        if size and size - have > room:
            raise OSError(
                f"{self.label} needs {_size(size - have)} in {str(self.visit.root)!r}, where {_size(room)} are free: "
                "make room, or give another folder with --root."
            )
        if not have:  # first whose it will be, then the bytes: a kill in between leaves nothing misleading
            self.drop()
            _write_whole(self.whose.with_name(self.whose.name + ".new"), self.whose, json.dumps(now))
        shown = self.visit.progress
        bar = tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=self.label, disable=not shown)
        with bar, open(self.part, "ab") as part:
            for piece in chain([first], pieces):
                part.write(piece)
                part.flush()  # some systems would hold back a megabyte, which a kill would lose
                bar.update(len(piece))
                have += len(piece)
                if have > (size or self.most):  # it may never end
                    break
            os.fsync(part.fileno())
        if size is not None and have < size:
            raise _Passing("the connection was lost")
        if have > (size or self.most):
            self.drop()
            raise _Passing(f"{self.host} sent more than it said") if size else too_much


def _cannot_write(root: Path, error: OSError) -> OSError:
    import errno

    full = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)
    if error.errno in full:
        return OSError(f"the disk of {str(root)!r} is full: make room and run the same command, it goes on from there.")
    return OSError(f"cannot write in {str(root)!r} ({error.strerror or error}): give another folder with --root.")


def _write_whole(draft: Path, path: Path, text: str) -> None:
    """Write under another name first, so that nobody ever sees half of it."""
    with open(draft, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _size(count: float) -> str:
    """ 82900000 -> '82.9 MB'."""
    for unit, worth in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= worth:
            return f"{count / worth:.1f} {unit}"
    return f"{count:.0f} bytes"
