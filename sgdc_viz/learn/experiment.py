"""Experiments: a declared grid of trainings, arm x seed on one kind of images; each cell is trained and measured alone.

An arm is what is compared (where the kernels come from, and changes of one thing at a time). Cells of one seed are
paired: the same initial weights where the arms share them, the same images in the same order, windows, augmentation,
steps and schedule. Nothing is tuned on the test images and no step is chosen by them: the last step counts.

Every worker takes the next cell that has no result and that nobody else holds (a lock on a file says so, and goes with
its process), so any number of workers may be started and killed at any time. A cell goes on from its last saved state.
A worker ends when all cells have a result; it waits for those that others hold and takes them over if they are dropped.
Under `accelerate launch` with several processes all of them train one cell together.

What the numbers are for, and what was decided before they were there, stands in DECLARED.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from sgdc_viz import __version__
from sgdc_viz.data import Dataset, Sample, open_dataset
from sgdc_viz.data.transforms import to_scale
from sgdc_viz.nn import SGDCNet, SGDCNetConfig

from .checkpoints import read_safetensors, remove_drafts, write_whole
from .history import SMALL
from .metrics import summarise
from .predict import evaluate
from .publish import GUIDANCE_CONTROLS, average_pixels, changed_guidance, for_json, shuffle_pixels
from .train import MODEL_FILE, STATE_FILE, Kept, TrainConfig, check_data, fit, processes, stopping, trained_on

DECLARED = {
    "primary": "nsd1",  # surface Dice at 1 px, over all test images; in `shapes` over all levels of all dials
    "secondary": "iou",
    "contrasts": {
        "guided - pooled": ("structure", "pooled-8"),  # what the paper claims
        "guided - per pixel": ("structure", "semantic"),  # is it the guidance?
        "per pixel - pooled": ("semantic", "pooled-8"),  # is it that kernels differ from pixel to pixel?
    },
    "experiments": ("shapes", "nuclei", "dermoscopy"),
    "interval": "Hierarchical bootstrap of the paired differences: seeds are drawn with replacement, and groups of "
    "images with replacement (the same for all seeds drawn; within each fold where seeds have their own images); "
    "widened to Student's interval where seeds alone differ, see learn/statistics.py (added when the first nuclei "
    "networks had been trained; it makes intervals wider, never narrower).",
    "rule": "A difference is called one if the interval of the primary measure, widened for the nine comparisons "
    "(three contrasts x three experiments, Bonferroni), leaves out 0. Everything else is undecided, and everything "
    "but these nine comparisons is exploratory.",
}


@dataclass(frozen=True)
class Arm:
    """One thing to compare: changes to the network and to the training, all else equal.

    Attributes: name; what: one phrase for tables; network: of SGDCNetConfig; training: of TrainConfig; shuffled: the
    guidance that blocks read is permuted over the pixels, in training and test; steps: times the usual number of steps.
    """

    name: str
    what: str
    network: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    shuffled: bool = False
    steps: float = 1


def _pooled(p: int) -> Arm:
    return Arm(
        f"pooled-{p}", f"context pooled over {p} x {p} feature pixels", {"kernel_source": "pooled", "pool_size": p}
    )


ARMS = {
    arm.name: arm
    for arm in (
        Arm("structure", "per pixel, guided (SGDC)", {"kernel_source": "structure"}),
        Arm("semantic", "per pixel, not guided", {"kernel_source": "semantic"}),
        *(_pooled(p) for p in (2, 4, 8, 16)),
        Arm("global", "one context for the image", {"kernel_source": "global"}),
        Arm("dyconv", "DyConv (Chen 2020)", {"kernel_source": "dyconv"}),
        Arm("idconv", "IDConv (TransXNet)", {"kernel_source": "idconv"}),
        Arm("plain", "static depthwise convolution", {"kernel_source": "plain"}),
        Arm("edges-off", "guided, boundary branch not supervised", {}, {"edge_weight": 0.0}),
        Arm("shuffled", "guided, guidance at wrong pixels throughout", {}, shuffled=True),
        Arm("scaled-sobel", "guided, Sobel gate per channel and scaled", {"sobel_gate": "per_channel"}),
        Arm("layer-scale-1e-6", "guided, layer scale starts at 1e-6", {"layer_scale_init": 1e-6}),
        Arm("layer-scale-1", "guided, layer scale starts at 1", {"layer_scale_init": 1.0}),
        Arm("edge-width-1", "guided, boundary target 1 px wide", {}, {"edge_width": 1}),
        Arm("structure-long", "guided, three times the steps", {}, steps=3),
        Arm("pooled-8-long", "pooled 8, three times the steps", _pooled(8).network, steps=3),
        Arm("semantic-long", "per pixel, three times the steps", {"kernel_source": "semantic"}, steps=3),
        Arm("structure-no-skips", "guided, decoder without skips", {"skips": False}),
        Arm("semantic-no-skips", "per pixel, decoder without skips", {"kernel_source": "semantic", "skips": False}),
        Arm("pooled-8-no-skips", "pooled 8, decoder without skips", {**_pooled(8).network, "skips": False}),
        Arm(
            "edges-off-no-skips",
            "guided, no skips, boundary branch not supervised",
            {"skips": False},
            {"edge_weight": 0.0},
        ),
        Arm("shuffled-no-skips", "guided, no skips, guidance at wrong pixels", {"skips": False}, shuffled=True),
    )
}
# Measured on the trained guided networks as well: what is done to what passes which taps of its blocks.
CONTROLS = {
    **{control: (change, "guidance") for control, change in GUIDANCE_CONTROLS.items()},
    "kernels averaged": (average_pixels, "kernels"),
    "gates averaged": (average_pixels, "gate_static", "gate_dynamic"),
}
MAIN = ("structure", "semantic", "pooled-8", "global", "dyconv", "idconv", "plain")
CHANGES = ("edges-off", "shuffled", "scaled-sobel", "layer-scale-1e-6")


@dataclass(frozen=True)
class Experiment:
    """A declared grid.

    Attributes:
        name, question: of the experiment.
        data: the data set trained on, its split "train"; test_data: another one to test on (None: the same).
        arms: name of an arm -> its seeds, in the order in which they run.
        training, network: what all arms share.
        folds: cut *all* images into this many folds by a hash of their group, seed s is tested on fold s mod folds
            and trained on the others. 0: the data set's own splits.
        longest_side: images and truth are scaled to this, for training and test alike; pixels of the metrics are these.
        options: of `open_dataset`.
        middle, sweeps: test on drawn images with one dial turned at a time (dial -> levels), the others at `middle`;
            the same `images` seeds at every level.
        rehearsal: made by `tiny`.
    """

    name: str
    question: str
    data: str
    arms: dict[str, tuple[int, ...]]
    training: TrainConfig
    network: Callable[..., SGDCNetConfig] = SGDCNetConfig.compact
    test_data: str | None = None
    folds: int = 0
    longest_side: int | None = None
    options: dict = field(default_factory=dict)
    middle: dict = field(default_factory=dict)
    sweeps: dict[str, tuple[float, ...]] = field(default_factory=dict)
    images: int = 30
    rehearsal: bool = False

    def cells(self, arms: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Cell]:
        """The cells in running order (arms of one seed together), or those of some arms and seeds.

        Raises: ValueError for an arm or a seed that the experiment does not have.
        """
        unknown = [arm for arm in arms if arm not in self.arms]
        if unknown:
            raise ValueError(f"experiment {self.name} has no arm {unknown[0]!r}; it has {', '.join(self.arms)}.")
        known = sorted({seed for own in self.arms.values() for seed in own})
        unknown = [seed for seed in seeds if seed not in known]
        if unknown:
            raise ValueError(f"experiment {self.name} has no seed {unknown[0]}; it has {', '.join(map(str, known))}.")
        cells = [Cell(arm, seed) for arm, all_seeds in self.arms.items() for seed in all_seeds]
        chosen = [c for c in cells if (not arms or c.arm in arms) and (not seeds or c.seed in seeds)]
        order = list(self.arms)
        return sorted(chosen, key=lambda c: (c.arm not in MAIN[:3], c.seed, order.index(c.arm)))


@dataclass(frozen=True)
class Cell:
    """One training: an arm and a seed."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm}-seed{self.seed}"


def _small(**changes) -> SGDCNetConfig:
    return SGDCNetConfig.compact(**{**SMALL, **changes})


def _grid(*groups: tuple[Sequence[str], Sequence[int]]) -> dict[str, tuple[int, ...]]:
    return {arm: tuple(seeds) for arms, seeds in groups for arm in arms}


_PAPER = dict(
    arms=_grid((MAIN, range(5))),
    network=SGDCNetConfig.paper,
    longest_side=320,
    training=TrainConfig(
        steps=20_000, batch_size=16, crop=256, learning_rate=3e-4, warmup=500, mixed_precision="bf16",
        validate_every=0, save_every=500,
    ),
)  # fmt: skip

EXPERIMENTS = {
    e.name: e
    for e in (
        Experiment(
            "shapes",
            "On drawn shapes: at which boundary frequency, width, contrast and noise does guidance matter?",
            "synthetic-shapes",
            _grid(
                (("structure", "semantic", "pooled-2", "pooled-4", "pooled-8", "pooled-16", "global"), range(5)),
                (("structure-no-skips", "semantic-no-skips", "pooled-8-no-skips"), range(3)),
                (("edges-off-no-skips", "shuffled-no-skips"), range(3)),
                (("structure-long", "semantic-long", "pooled-8-long"), range(5)),
                (CHANGES, range(3)),
                (("dyconv", "idconv", "plain"), range(3)),
            ),
            TrainConfig(steps=400, crop=96, learning_rate=4e-3, warmup=20, augment=False, validate_every=0),
            network=_small,
            options={"size": 96, "count": 1200},
            middle={"lobes": 8, "width": 3.0, "contrast": 0.6, "noise": 0.08},
            sweeps={
                "lobes": (0, 4, 8, 12, 16, 24, 32),
                "width": (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0),
                "contrast": (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0),
                "noise": (0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.3),
            },
        ),
        Experiment(
            "nuclei",
            "On real nuclei (BBBC038): does guidance win, and is it the guidance?",
            "bbbc038",
            _grid(
                (MAIN, range(5)),
                (CHANGES, range(3)),
                (("layer-scale-1", "edge-width-1"), range(3)),
                (("structure-no-skips", "semantic-no-skips", "pooled-8-no-skips"), range(3)),
                (("structure-long", "semantic-long", "pooled-8-long"), range(3)),
            ),
            TrainConfig(steps=400, crop=96, validate_every=0),
        ),
        Experiment(
            "dermoscopy",
            "On real skin lesions (sample of ISIC 2017, 5 folds): does guidance win, and is it the guidance?",
            "isic2017",
            _grid((MAIN, range(5)), (CHANGES, range(3))),
            TrainConfig(steps=300, crop=96, validate_every=0),
            folds=5,
            longest_side=128,
        ),
        Experiment(
            "folder",
            "On your own images (masks/ beside images/, 5 folds): does guidance win, and is it the guidance?",
            "folder",
            _grid((MAIN, range(5))),
            TrainConfig(steps=1000, validate_every=0),
            folds=5,
        ),
        Experiment("paper-isic2016", "The paper's scale on ISIC 2016, official split.", "isic2016", **_PAPER),
        Experiment("paper-isic2018", "The paper's scale on ISIC 2018, official split.", "isic2018", **_PAPER),
        Experiment("paper-ph2", "Trained on ISIC 2016, tested on PH2 as it is.", "isic2016", test_data="ph2", **_PAPER),
        Experiment(
            "paper-conic",
            "The paper's scale on CoNIC, split by source image.",
            "conic",
            **_PAPER | {"longest_side": None},
        ),
    )
}


# --- one cell --------------------------------------------------------------------------------------------------------

Tell = Callable[[str], None]  # takes a line on how far it is


class Images(Sequence):
    """A data set at the experiment's scale, each image read once and kept while there is room (in `kept`, by name)."""

    def __init__(self, dataset: Dataset, longest_side: int | None = None, kept: Kept | None = None):
        self.dataset, self.longest_side = dataset, longest_side
        self._names, self._kept = dataset.names, kept or Kept()

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        return self._kept.get(self._names[index], lambda: to_scale(self.dataset[index], self.longest_side))

    def describe(self) -> dict:
        return self.dataset.describe()


def build_network(experiment: Experiment, cell: Cell, num_classes: int = 1) -> SGDCNet:
    """The network of a cell, its initial weights drawn from the cell's seed: arms with the same weights start alike."""
    config = experiment.network(num_classes=num_classes, **ARMS[cell.arm].network)
    torch.manual_seed(cell.seed)
    return SGDCNet(config)


def training_of(experiment: Experiment, cell: Cell) -> TrainConfig:
    """The training of a cell."""
    arm = ARMS[cell.arm]
    steps = round(experiment.training.steps * arm.steps)
    return replace(experiment.training, steps=steps, seed=cell.seed, **arm.training)


class Bench:
    """The images of an experiment, opened once for all its cells.

    Args:
        experiment: what is run.
        root: folder or zip of the data; test_root: of `test_data`, where that is another set.

    Raises: as `open_dataset`, and ValueError for fewer groups of images than folds.
    """

    def __init__(self, experiment: Experiment, root: Path | None = None, test_root: Path | None = None):
        self.experiment = experiment
        self._scale = experiment.longest_side
        commit()  # now, not after hours of training, when the clone may have moved on
        self.all = self.train = None
        if experiment.folds:
            self.all = open_dataset(experiment.data, root, None, **experiment.options)
            self._kept = Kept()
            groups = len(set(self.all.groups))
            if groups < experiment.folds:
                raise ValueError(
                    f"{experiment.data} holds {groups} group(s) of images and experiment {experiment.name} needs "
                    f"{experiment.folds}, one for each fold: give the whole data set."
                )
        else:
            self.train = Images(open_dataset(experiment.data, root, "train", **experiment.options), self._scale)
            if not experiment.sweeps:
                name, where = experiment.data, root
                if experiment.test_data:
                    name, where = experiment.test_data, test_root
                self._test = Images(open_dataset(name, where, "test"), self._scale)
        self._sweeps: list[tuple[dict, Images]] = []
        for dial, levels in experiment.sweeps.items():
            for level in levels:
                dials = {**experiment.middle, dial: level}
                size = experiment.options["size"]
                drawn = open_dataset(experiment.data, None, "test", size=size, count=experiment.images, **dials)
                self._sweeps.append(({"dial": dial, "level": level}, Images(drawn)))

    def fold(self, seed: int) -> tuple[Images, list[tuple[dict, Images]]]:
        """(training images, tests) of a seed; a test is what to note beside its images, and the images."""
        if self._sweeps:
            return self.train, self._sweeps
        if self.all is None:
            return self.train, [({}, self._test)]
        folds, own = self.experiment.folds, seed % self.experiment.folds
        part = deal_folds(self.all.groups, folds)
        rule = f"fold {own} of {folds}, dealt by a hash of the group"
        parts = []
        for split, wanted in (("train", lambda f: f != own), ("test", lambda f: f == own)):
            indices = [i for i, f in enumerate(part) if wanted(f)]
            parts.append(Images(self.all.subset(indices, split, rule), self._scale, self._kept))
        return parts[0], [({}, parts[1])]


def deal_folds(groups: Sequence[str], folds: int) -> list[int]:
    """Fold of each image. Whole groups, in the order of a hash of their names, are dealt out one after the other."""
    order = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    fold = {group: i % folds for i, group in enumerate(order)}
    return [fold[group] for group in groups]


def run_cell(
    bench: Bench, cell: Cell, work: Path, *, cpu: bool = False, progress: bool = False, tell: Tell | None = None
) -> dict:
    """Train and measure one cell.

    Args:
        bench: the images.
        cell: arm and seed.
        work: folder of this cell: state while it trains, `model.safetensors` at the end.
        cpu, progress: as in `fit`.
        tell: called now and then with a line on how far it is.

    Returns:
        The result, ready for `write_result`, {} in processes other than the main one.
    """
    experiment, arm = bench.experiment, ARMS[cell.arm]
    train, tests = bench.fold(cell.seed)
    model = build_network(experiment, cell, train.dataset.num_classes)
    settings, begun = training_of(experiment, cell), time.perf_counter()
    on_step = _step_teller(cell, settings.steps, tell) if tell else None
    if not (work / STATE_FILE).exists():  # of a cell whose result was removed
        (work / MODEL_FILE).unlink(missing_ok=True)
    with changed_guidance(model, shuffle_pixels) if arm.shuffled else nullcontext():
        history = fit(model, train, None, settings, out=work, resume=True, progress=progress, on_step=on_step, cpu=cpu)
        trained = time.perf_counter()
        images = _measure(model, tests)
    controls = {}
    if cell.arm in ("structure", "structure-no-skips"):
        for control, (change, *taps) in CONTROLS.items():
            with changed_guidance(model, change, taps):
                controls[control] = _measure(model, tests, described=False)
    if not processes(cpu).is_main_process:
        return {}
    options = "" if experiment.data.startswith("synthetic-") else " --root ROOT"
    options += " --test-root TEST_ROOT" if experiment.test_data else ""
    options += " --rehearse" if experiment.rehearsal else ""
    return {
        "experiment": experiment.name,
        "cell": cell.name,
        "arm": cell.arm,
        "seed": cell.seed,
        "command": f"python -m sgdc_viz experiment {experiment.name} --cell {cell.name}{options}",
        "training": asdict(settings),
        "network": model.config.to_dict(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss": float(np.mean([record["total"] for record in history[-50:]])),
        "train_seconds": round(trained - begun, 1),
        "test_seconds": round(time.perf_counter() - trained, 1),
        "machine": machine(next(model.parameters()).device),
        "commit": commit(),
        "train_data": train.describe(),
        "test_data": _describe(tests),
        "longest_side": experiment.longest_side,
        "summary": summarise(_records(images)),
        "images": images,
        "controls": controls,
    }


ABOUT = ("name", "group", "kind", "height", "width", "dial", "level")  # columns that are no metrics


def _measure(model: SGDCNet, tests: list[tuple[dict, Images]], described: bool = True) -> dict[str, list]:
    """Metrics of all test images, as columns; processes that work together share the images."""
    from accelerate.utils import gather_object

    together, rows = processes(), []
    for note, images in tests:
        mine = range(together.process_index, len(images), together.num_processes)
        if not len(mine):
            continue
        records = evaluate(model, [images[i] for i in mine])["images"]
        groups, strata = images.dataset.groups, images.dataset.strata
        for i, record in zip(mine, records, strict=True):
            height, width = images[i].mask.shape
            about = {"group": groups[i], "kind": strata[i], "height": height, "width": width, **note}
            rows.append((note.get("dial", ""), note.get("level", 0), i, about | record))
    rows = [row for _, _, _, row in sorted(gather_object(rows), key=lambda row: row[:3])]
    numbers = {group: n for n, group in enumerate(dict.fromkeys(row["group"] for row in rows))}
    rows = [{**row, "name": short_name(row["name"]), "group": numbers[row["group"]]} for row in rows]
    keys = list(rows[0])
    if not described:
        keys = [key for key in keys if key not in ABOUT]
    return {key: [row[key] for row in rows] for key in keys}


def short_name(name: str) -> str:
    """BBBC038 names its images by 64 hexadecimal digits; twelve tell them apart."""
    return name if len(name) < 40 else name[:12]


def _records(images: dict[str, list]) -> list[dict]:
    keys = [key for key in images if key not in ABOUT]
    return [dict(zip(keys, row, strict=True)) for row in zip(*(images[key] for key in keys), strict=True)]


def _describe(tests: list[tuple[dict, Images]]) -> dict:
    if len(tests) == 1:
        return tests[0][1].describe()
    first = tests[0][1].describe()
    return {**first, "images": sum(len(images) for _, images in tests), "rule": "one dial turned at a time"}


def machine(device: torch.device) -> dict:
    """Versions, device, processes and threads behind a result."""
    import accelerate
    import kornia

    named = {"cuda": torch.cuda.get_device_name, "cpu": lambda _: platform.machine()}
    return {
        "sgdc_viz": __version__,
        "torch": torch.__version__,
        "accelerate": accelerate.__version__,
        "numpy": np.__version__,
        "kornia": kornia.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "device": named.get(device.type, str)(device),
        "processes": processes().num_processes,
        "threads": torch.get_num_threads(),
    }


@cache
def commit() -> str | None:
    """The git commit of this clone when first asked, with "+" if files differ from it; None outside a clone."""
    folder = Path(__file__).parent
    try:
        told = [
            subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True)
            for words in (
                ("ls-files", "--error-unmatch", "--", Path(__file__).name),  # fails if installed inside another clone
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no", "--", str(folder.parent)),
            )
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return told[1].stdout.strip() + ("+" if told[2].stdout.strip() else "")


# --- results on disk -------------------------------------------------------------------------------------------------


def write_result(path: Path, result: dict) -> None:
    """One JSON file, whole or not at all. Each column of `images` is a line of its own; JSON knows no NaN.

    Numbers are rounded to five decimals, settings are not.
    """
    plain = {key: for_json(value, None if key in ("training", "network") else 5) for key, value in result.items()}
    write_whole(path, (_as_lines(plain, 3) + "\n").encode())


def read_results(folder: Path) -> list[dict]:
    """All results in a folder, in the order of their names. Raises ValueError naming a file that is no result."""
    return [read_result(path) for path in sorted(folder.glob("*.json"))]


def read_result(path: Path) -> dict:
    """The result of a cell. Raises ValueError for a file that is none."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        result["experiment"], result["arm"], result["seed"], result["training"], result["images"]["nsd1"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is no result of an experiment ({error!r}): remove it.") from None
    return result


def _as_lines(value, depth: int) -> str:
    if depth and isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f"{json.dumps(k)}: {_as_lines(v, depth - 1)}" for k, v in value.items()) + "\n}"
    return json.dumps(value, allow_nan=False)


def largest_difference(a: dict, b: dict) -> dict[str, float]:
    """Largest difference of any image's metric between two results of one cell.

    Raises: ValueError if they are of different images.
    """
    if a["images"]["name"] != b["images"]["name"]:
        raise ValueError("the two results are of different images: other data, or another version of it.")
    worst = {}
    for metric in ("iou", "dice", "nsd1", "nsd2", "boundary_iou", "hd95"):
        pairs = zip(a["images"][metric], b["images"][metric], strict=True)
        worst[metric] = max((abs(x - y) if None not in (x, y) else float(x is not y)) for x, y in pairs)
    return worst


# --- workers ---------------------------------------------------------------------------------------------------------

TELL_EVERY = 10  # seconds
LOOK_EVERY = 0.5  # seconds between looks at what others do


def check_ready(
    experiment: Experiment, cells: Sequence[Cell], out: Path, root: Path | None = None, test_root: Path | None = None
) -> None:
    """Find mistakes in a second that would otherwise show after minutes of reading images, or never.

    Raises:
        ValueError, FileNotFoundError: data that is needed is not given or not there, or is given and of no use; a
            result in `out` is of another experiment, other settings or other images.
        ImportError: the network needs a package that is missing.
    """
    for option, data, given in (("--root", experiment.data, root), ("--test-root", experiment.test_data, test_root)):
        needed = data is not None and not data.startswith("synthetic-")
        what = "your images and masks" if data == "folder" else data
        if needed and given is None:
            raise ValueError(f"experiment {experiment.name} needs {option}, the folder or zip that holds {what}.")
        if given is not None and not needed:
            raise ValueError(f"{option} is of no use to experiment {experiment.name}: leave it out.")
        if needed and not Path(given).exists():
            raise FileNotFoundError(f"{option} {str(given)!r} does not exist: give the folder or zip with {what}.")
    for cell in cells:
        path = out / f"{cell.name}.json"
        if not path.exists():
            continue
        result = read_result(path)
        training = {**for_json(asdict(training_of(experiment, cell)), 5), "save_every": 0}
        before = {**for_json(result["training"], 5), "save_every": 0}
        other = [key for key in training if before.get(key, training[key]) != training[key]]
        if result["experiment"] != experiment.name or other:
            kind = f"{other[0]} {before[other[0]]} -> {training[other[0]]}" if other else result["experiment"]
            raise ValueError(
                f"{str(path)!r} is a result of another experiment or of other settings ({kind}): take another folder "
                "for --out, or remove it."
            )
    with torch.device("meta"):  # no numbers are made, but the encoder's package is imported
        build_network(experiment, cells[0])
    # of all cells: results of different images, side by side in one folder, cannot be compared
    done = [path for path in (out / f"{cell.name}.json" for cell in experiment.cells()) if path.exists()]
    bench = Bench(experiment, root, test_root) if done else None
    for path in done:
        result = read_result(path)
        train, tests = bench.fold(result["seed"])
        for before, now in ((result["train_data"], train.describe()), (result["test_data"], _describe(tests))):
            if before["names_sha256"] != now["names_sha256"]:
                raise ValueError(
                    f"{str(path)!r} is a result on other images than those given now ({before['name']}, "
                    f"{before['images']} images, -> {now['name']}, {now['images']}): give another --out."
                )


def _open(
    experiment: Experiment, cells: Sequence[Cell], work: Path, root: Path | None, test_root: Path | None
) -> Bench:
    """The images. Raises ValueError for a state of other ones in `work` before anything is trained."""
    bench = Bench(experiment, root, test_root)
    for cell in cells:
        path = work / cell.name / STATE_FILE
        with suppress(FileNotFoundError):  # there is none, or another worker has just finished with it
            train = bench.fold(cell.seed)[0]
            check_data(path, read_safetensors(path)[1], trained_on(train, train[0]))
    return bench


def work_through(
    experiment: Experiment,
    cells: Sequence[Cell],
    out: Path,
    work: Path,
    root: Path | None = None,
    test_root: Path | None = None,
    cpu: bool = False,
    progress: bool = False,
    tell: Tell | None = None,
) -> list[tuple[Cell, str]]:
    """Run the cells that have no result, one after the other, until each has one or has failed here.

    Cells that another worker holds are left to it and waited for.

    Args:
        experiment, cells: what is run.
        out: folder for the results.
        work: folder for states and weights.
        root, test_root: as in `Bench`.
        cpu, progress: as in `fit`.
        tell: called with lines on how far it is.

    Returns:
        The cells that failed, each with its sentence.

    Raises:
        OSError: the disk is full; what was saved before is whole.
        KeyboardInterrupt: Ctrl-C or a plain `kill`; the cell in hand goes on from its last step, see `fit`.
    """
    from filelock import FileLock

    together = processes(cpu)
    tell = tell if tell and together.is_main_process else None
    bench, failed, todo, waiting = None, [], list(cells), ""
    while todo:
        held = []
        for cell in todo:
            path, folder = out / f"{cell.name}.json", work / cell.name
            lock = FileLock(folder / "lock")
            turn = _turn(path, lock, together.is_main_process)
            if turn == "held":
                held.append(cell)
            if turn == "done":  # a worker killed after it wrote the result left its state
                (folder / STATE_FILE).unlink(missing_ok=True)
            if turn != "free":
                continue
            try:
                remove_drafts(path)
                bench = bench or _open(experiment, cells, work, root, test_root)
                result = run_cell(bench, cell, folder, cpu=cpu, progress=progress, tell=None if progress else tell)
                if result:
                    write_result(path, result)
                    (folder / STATE_FILE).unlink(missing_ok=True)
                if result and tell:
                    scores = ", ".join(_mean(result, metric) for metric in (DECLARED["primary"], DECLARED["secondary"]))
                    done = sum((out / f"{c.name}.json").exists() for c in cells)
                    seconds = result["train_seconds"] + result["test_seconds"]
                    tell(f"{cell.name}: {scores}, {seconds:.0f} s; {done} of {len(cells)} cells done")
            except ValueError as error:
                if bench is None or together.num_processes > 1:
                    raise
                failed.append((cell, str(error)))
                if tell:
                    tell(f"{cell.name}: failed: {error}")
            finally:
                lock.release()
        if held == todo:  # nothing to do but wait
            names = ", ".join(cell.name for cell in held)
            if tell and names != waiting:
                tell(f"waiting for {names}: another process trains there")
            waiting = names
            time.sleep(LOOK_EVERY)
        todo = held
    return failed


def _turn(path: Path, lock, main: bool) -> str:
    """ "done", "held" by another worker, or "free": ours now. The main process decides for all that work together."""
    from accelerate.utils import broadcast_object_list
    from filelock import Timeout

    told = ["done"]
    if main and not path.exists():
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
            told = ["free"]
        except Timeout:
            told = ["held"]
        if told == ["free"] and path.exists():  # written a moment ago
            lock.release()
            told = ["done"]
    return broadcast_object_list(told)[0]


def _mean(result: dict, metric: str) -> str:
    return f"{metric} {result['summary'][metric]['mean']:.3f}"


def _step_teller(cell: Cell, steps: int, tell: Tell):
    """For `fit(on_step=...)`: a line every TELL_EVERY seconds. `run_workers` reads these lines."""
    last = time.monotonic()

    def told(step: int, record: dict) -> None:
        nonlocal last
        if time.monotonic() - last > TELL_EVERY or step == steps:
            last = time.monotonic()
            tell(f"{cell.name}: step {step} of {steps}, loss {record['total']:.3f}")

    return told


def tiny(experiment: Experiment) -> Experiment:
    """The same experiment as a rehearsal: two steps of a small network, one seed: a mistake shows in a minute."""
    return replace(
        experiment,
        arms={arm: seeds[:1] for arm, seeds in experiment.arms.items()},
        network=_small,
        training=replace(
            experiment.training, steps=2, batch_size=2, crop=64, warmup=1, mixed_precision="no", save_every=1
        ),
        options={**experiment.options, "count": 4} if experiment.sweeps else experiment.options,
        sweeps={dial: levels[:2] for dial, levels in experiment.sweeps.items()},
        longest_side=64 if experiment.longest_side else None,
        images=2,
        rehearsal=True,
    )


def usual_jobs() -> int:
    """How many cells to train at once on this machine: one a GPU, without one at most four (memory), one a core."""
    if torch.backends.mps.is_available():
        return 1
    return torch.cuda.device_count() or min(4, os.cpu_count() or 1)


def run_workers(
    command: Sequence[str],
    jobs: int,
    experiment: Experiment,
    cells: Sequence[Cell],
    out: Path,
    work: Path,
    progress: bool = True,
) -> None:
    """Run `command` in several processes at once and show how far they are, until all have ended.

    Where there are GPUs each process gets one of them in turn.

    Args:
        command: the words of a command that works through the cells.
        jobs: how many processes.
        experiment, cells: what is run.
        out: folder in which the results appear.
        work: folder for the processes' logs.
        progress: show a bar; otherwise a line for each finished cell.

    Raises:
        ValueError: some results are missing at the end, with what a process said last.
        KeyboardInterrupt: Ctrl-C or a plain `kill`; the processes save what they have and end first, or are killed at
            the second Ctrl-C. Cells go on from their last state.
    """
    from tqdm.auto import tqdm

    work.mkdir(parents=True, exist_ok=True)
    todo = {c.name: training_of(experiment, c).steps for c in cells if not (out / f"{c.name}.json").exists()}
    logs = [work / f"worker-{i}.log" for i in range(jobs)]
    before = [log.stat().st_size if log.exists() else 0 for log in logs]  # logs of earlier runs are kept
    workers: list[subprocess.Popen] = []
    layout = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"
    with stopping() as asked:
        try:
            for log, gpu in zip(logs, _gpus(jobs), strict=True):
                env = {**os.environ, "PYTHONUNBUFFERED": "1", **gpu}
                with log.open("a", encoding="utf-8") as file:
                    workers.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=env))
            with tqdm(total=sum(todo.values()), bar_format=layout, disable=not progress) as bar:
                missing = set(todo)
                while True:
                    running = any(worker.poll() is None for worker in workers)
                    last = [_last_line(*log) for log in zip(logs, before, strict=True)]
                    new = {name for name in missing if (out / f"{name}.json").exists()}
                    missing -= new
                    done = f"{len(todo) - len(missing)} of {len(todo)} cells done"
                    if new and not progress:
                        print(f"{done}: {', '.join(sorted(new))}", flush=True)
                    steps = {m[1]: int(m[2]) for m in map(_STEP.match, last) if m and m[1] in missing}
                    bar.n = sum(todo[name] for name in todo if name not in missing) + sum(steps.values())
                    bar.set_description_str(f"{len(todo) - len(missing)}/{len(todo)} cells", refresh=False)
                    bar.set_postfix_str("; ".join(line[:45] for line in last if line))
                    if asked:
                        raise KeyboardInterrupt(done)
                    if not running:
                        break
                    time.sleep(LOOK_EVERY)
        finally:
            _end_all(workers)
    if missing:
        first = next(c.name for c in cells if c.name in missing)
        told = [_end(worker.returncode, line) for worker, line in zip(workers, last, strict=True) if worker.returncode]
        reason = told[0] if told else f"see {logs[0]}"
        raise ValueError(f"{len(missing)} of {len(todo)} cells have no result, {first} among them: {reason}")


def _end_all(workers: list[subprocess.Popen]) -> None:
    """Ask those that still run to end, and wait for their last step; an interrupted wait kills them."""
    try:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in workers:
            worker.wait()
    except BaseException:
        for worker in workers:
            worker.kill()
            worker.wait()
        raise


_STEP = re.compile(r"(\S+): step (\d+) of ")


def _gpus(jobs: int) -> list[dict[str, str]]:
    """Environment of each worker: the GPU it may see, of those that this process may see."""
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return [{"CUDA_VISIBLE_DEVICES": visible.split(",")[i % count]} if count else {} for i in range(jobs)]


def _last_line(log: Path, start: int) -> str:
    """Last line that is not blank, of what was written since the log had `start` bytes."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - 4000))
        lines = [line.strip() for line in file.read().decode("utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _end(code: int, line: str) -> str:
    """Why a worker ended, in words."""
    if code < 0:
        return f"a worker was killed by signal {-code} (too little memory?); the same command goes on."
    return line.removeprefix("error: ")
