"""Notebook 05, "Train it": the short training that runs live, its curves, and ten seeds of it measured in advance.

    python -m sgdc_viz.teach.lessons.training OUT.json     # trains 2 x 10 networks, about three minutes on one thread

made `training_seeds.json` beside this file. On another machine the last digits of sums differ, a training magnifies
them, and the numbers come out slightly different: about as much as another seed would change them.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import ipywidgets
import numpy as np
import torch

from sgdc_viz.data import Sample
from sgdc_viz.data.synthetic import synthetic_nuclei
from sgdc_viz.evidence import TITLES, points
from sgdc_viz.learn import TrainConfig, evaluate, fit
from sgdc_viz.learn.history import SMALL
from sgdc_viz.learn.losses import edge_target
from sgdc_viz.learn.metrics import evaluate_masks, summarise
from sgdc_viz.learn.publish import NAMES
from sgdc_viz.nn import SGDCNet, SGDCNetConfig
from sgdc_viz.teach.widgets import LinkedFigures
from sgdc_viz.views import Column, Figure, Picture
from sgdc_viz.views.charts import Effect, Effects, Plot, Series, padded_range
from sgdc_viz.views.figure import true_outline
from sgdc_viz.views.panels import curves, panels
from sgdc_viz.views.style import Scale, number

SEEDS_FILE = Path(__file__).with_name("training_seeds.json")
ARMS = {"guided": "structure", "pooled": "pooled"}
SIDE = 64  # pixels, of images and training windows
TRAIN_IMAGES, TEST_IMAGES, FIRST_TEST = 160, 100, 10_000

# --- the training ----------------------------------------------------------------------------------------------------


def drawn_nuclei(first: int, count: int) -> list[Sample]:
    """Drawn fluorescent nuclei with exact truth, 64 x 64 px, generator seeds first, first + 1, ...

    The lesson trains on `drawn_nuclei(0, 160)` and tests on `drawn_nuclei(10_000, 100)`: no image is in both.
    """
    dials = {"style": "fluorescence", "count": (6, 16), "radius": (0.06, 0.11)}
    return [synthetic_nuclei(seed, SIDE, **dials) for seed in range(first, first + count)]


def recipe(seed: int) -> TrainConfig:
    """The lesson's settings: 100 steps, without augmentation, some seven seconds on one thread of a laptop."""
    return TrainConfig(steps=100, batch_size=8, crop=SIDE, learning_rate=4e-3, warmup=10, augment=False, seed=seed)


def new_network(kernel_source: str, seed: int) -> SGDCNet:
    """The narrow network (77,437 weights) with initial weights that follow from the seed alone."""
    torch.manual_seed(seed)
    return SGDCNet(SGDCNetConfig.compact(kernel_source=kernel_source, **SMALL))


def measure_seeds(seeds: Sequence[int], train: Sequence[Sample], test: Sequence[Sample]) -> dict[str, list]:
    """Train both arms once for each seed, one thread, CPU.

    Returns:
        "guided", "pooled" -> a list for each seed of the IoU of each test image, four digits after the point.
    """
    measured: dict[str, list] = {arm: [] for arm in ARMS}
    for seed in seeds:
        for arm, source in ARMS.items():
            network = new_network(source, seed)
            fit(network, train, config=recipe(seed), progress=False, cpu=True)
            measured[arm].append([round(record["iou"], 4) for record in evaluate(network, test)["images"]])
    return measured


def seeds_measured() -> dict[str, np.ndarray]:
    """The ten seeds measured in advance: "guided", "pooled" -> IoU, float [10 seeds, 100 test images]."""
    told = json.loads(SEEDS_FILE.read_text(encoding="utf-8"))
    return {arm: np.array(told["iou"][arm]) for arm in ARMS}


def idle_weights(network: SGDCNet, loss: torch.Tensor) -> int:
    """How many of a network's weights a loss gives no gradient: training never changes them."""
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    idle = (p.numel() for p, g in zip(parameters, gradients, strict=True) if g is None or not bool(g.any()))
    return sum(idle)


# --- curves while it trains ------------------------------------------------------------------------------------------


def loss_curves(
    losses: Mapping[str, Sequence[float]], steps: int, plots: Mapping[str, Sequence[str]], title: str = "Training loss",
    message: str = "",
) -> Figure:  # fmt: skip
    """Loss of each step, finished or not, on axes that hold the whole training.

    Args:
        losses: name of a training -> loss after each step so far.
        steps: of a whole training.
        plots: title of a plot -> names of the trainings in it; those that have not begun are left out.
            Where plots are compared, the distance between the two finished curves of each is told.
        title, message: of the figure.

    Raises:
        ValueError: no training has begun, or one has more losses than steps.
    """
    for name, values in losses.items():
        if len(values) > steps:
            raise ValueError(f"{name!r} has {len(values)} losses and a training has {steps} steps.")
    begun = {name: values for name, values in losses.items() if len(values)}
    if not begun:
        raise ValueError("no training has begun: give the losses of one step or more.")
    at = np.arange(1, steps + 1)

    def line(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        return at, np.r_[np.asarray(values, float), np.full(steps - len(values), np.nan)]

    drawn = {plot: {name: line(begun[name]) for name in names if name in begun} for plot, names in plots.items()}
    drawn = {plot: lines for plot, lines in drawn.items() if lines}
    ends = "; ".join(f"{name}: from {number(values[0])} to {number(values[-1])}" for name, values in begun.items())
    gaps = "; ".join(f"{plot}: {number(distance(*(begun[n] for n in names)), 2)}" for plot, names in plots.items()
                     if len(names) == 2 and all(len(begun.get(n, ())) == steps for n in names))  # fmt: skip
    gaps = f" Mean distance between the two curves: {gaps}." if gaps and len(plots) > 1 else ""
    return curves(
        drawn, x_label="training step", y_label="loss of the step", title=title, message=message,
        summary=f"One curve for each training, no interval. {ends}.{gaps}",
        alt=f"Loss at each training step. {message} {ends}.{gaps}", name="losses",
    )  # fmt: skip


def compared_curves(live: LiveTraining, pairs: Mapping[str, Sequence[str]]) -> Figure:
    """The losses of finished trainings, one plot for each pair: name of the pair -> names of its two trainings."""
    message = "Two arms with one seed run together; two seeds of one arm part."
    return loss_curves(live.losses, live.steps, pairs, message=message)


def distance(first: Sequence[float], second: Sequence[float]) -> float:
    """How far apart two loss curves are: mean over the steps of |first - second|."""
    return float(np.mean(np.abs(np.subtract(first, second))))


class LiveTraining(ipywidgets.VBox):
    """Loss curves that grow while networks train: `fit(..., on_step=live.follow("guided"))`.

    Args:
        steps: of each training.
        every: draw anew after so many steps.

    Raises:
        ValueError: steps or every is under 1.
    """

    def __init__(self, steps: int, every: int = 5):
        if steps < 1 or every < 1:
            raise ValueError(f"steps={steps} and every={every} must be 1 or more.")
        self.steps, self.every = steps, every
        self.losses: dict[str, list[float]] = {}
        self.bar = ipywidgets.IntProgress(max=steps, description="step", layout=ipywidgets.Layout(width="400px"))
        self.label = ipywidgets.Label("waiting for the first training")
        self.picture = LinkedFigures(pixel=[0, 0])
        super().__init__([ipywidgets.HBox([self.bar, self.label]), self.picture])

    def follow(self, name: str) -> Callable[[int, Mapping[str, float]], None]:
        """For `fit(on_step=...)`: draw the losses of one training; the same name again starts its curve anew."""
        self.losses[name] = []

        def on_step(step: int, losses: Mapping[str, float]) -> None:
            self.losses[name].append(float(losses["total"]))
            if step % self.every == 0 or step == self.steps:
                self.bar.value = step
                self.label.value = f"{name}: step {step} of {self.steps}, loss {losses['total']:.2f}"
                self.picture.detail = self.render()

        return on_step

    def render(self) -> str:
        """What the widget shows, as HTML: all trainings so far on one pair of axes."""
        return loss_curves(self.losses, self.steps, {"all so far": tuple(self.losses)}).to_html()

    def __repr__(self) -> str:
        return "LiveTraining (curves grow here while a kernel is training)"


def targets(sample: Sample) -> Figure:
    """One training image with the two truths that the losses compare with: the mask and the line along the borders."""
    line = edge_target(torch.from_numpy(sample.instances.astype(np.int64))[None])[0, 0].numpy()
    share = [float((sample.mask > 0).mean()), float(line.mean())]
    message = "Two truths: the mask, and a line along every border."
    scale = Scale("truth: 0 or 1", 0.0, 1.0, "cividis")
    maps = {"true mask T": (sample.mask > 0).astype(float), "true boundary e": line}
    return panels(
        {"image": sample.image, **maps}, title="What the losses compare with", message=message,
        scale=dict.fromkeys(maps, scale), columns=3, name="targets",
        summary=f"Share of the pixels that are 1: mask {share[0]:.0%}, boundary {share[1]:.0%}. One drawn image.",
        alt=f"A drawn image of nuclei, its mask, and a line three pixels wide along every border, also where nuclei "
        f"touch. {message}",
    )  # fmt: skip


# --- mistakes and what each measure makes of them --------------------------------------------------------------------

CENTRE, LARGE, SMALL_RADIUS = (26, 26), 16, 2


def disc(radius: float) -> np.ndarray:
    """A round object, bool [64, 64]."""
    y, x = np.ogrid[:SIDE, :SIDE]
    return (y - CENTRE[0]) ** 2 + (x - CENTRE[1]) ** 2 <= radius**2


def _shifted(truth: np.ndarray) -> np.ndarray:
    return np.roll(truth, 1, axis=1)


def _stray(truth: np.ndarray) -> np.ndarray:
    false_alarm = truth.copy()
    false_alarm[58, 58] = True
    return false_alarm


def _false_object(truth: np.ndarray) -> np.ndarray:
    false_alarm = truth.copy()
    false_alarm[56:61, 56:61] = True
    return false_alarm


MISTAKES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "shifted by one pixel": (
        _shifted, "Small objects pay more IoU for the same shift; surface Dice at 1 px forgives it on both."),
    "one stray pixel far away": (
        _stray, "HD95 sees the stray pixel only beside the small object: there it is over 5 % of the border."),
    "one false object far away": (
        _false_object, "Five by five pixels too many: IoU hardly falls for the large object, HD95 leaps for both."),
    "nothing found": (
        np.zeros_like, "A miss: overlaps are 0, and HD95 is set to the diagonal of the image, whatever the object."),
}  # fmt: skip


def objects() -> dict[str, np.ndarray]:
    """The true masks that the mistakes are made on, bool [64, 64]."""
    return {"large object": disc(LARGE), "small object": disc(SMALL_RADIUS)}


def mistaken(mistake: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name of the object -> (predicted mask, true mask).

    Raises:
        ValueError: no such mistake.
    """
    if mistake not in MISTAKES:
        raise ValueError(f"{mistake!r} is none of {', '.join(MISTAKES)}.")
    make = MISTAKES[mistake][0]
    return {name: (make(truth), truth) for name, truth in objects().items()}


def mistake_figure(mistake: str) -> Figure:
    """The same mistake made on a large and on a small object, and every measure of both.

    Raises:
        ValueError: no such mistake.
    """
    table = [("", *(NAMES[m] for m in SHOWN)), *((name, *values) for name, values in _scores(mistake).items())]
    message = MISTAKES[mistake][1]
    figure = panels(
        _pictures(mistake), title=f"Mistake: {mistake}", message=message, columns=2, name="mistake", legend=KEY,
        alt=f"The same mistake ({mistake}) on a large and a small round object. {message}",
    )  # fmt: skip
    return replace(figure, table=tuple(table))


def mistakes_still() -> Figure:
    """The static twin of a dial over `mistake_figure`: all mistakes side by side, and all measures in one table."""
    table = [("mistake", "object", *(NAMES[m] for m in SHOWN))]
    for mistake in MISTAKES:
        table += [(mistake, name.removesuffix(" object"), *values) for name, values in _scores(mistake).items()]
    message = "Each measure is blind to at least one of these mistakes."
    pictures = [_pictures(mistake) for mistake in MISTAKES]
    told = "; ".join(f"{row[0]}, {row[1]}: IoU {row[2]}, HD95 {row[4]}, surface Dice {row[5]}" for row in table[1:])
    return Figure(
        name="mistakes", title="Four mistakes on two objects", message=message, summary="",
        alt=f"Four mistakes, each on a large and a small round object. {message} {told}.",
        rows=tuple(objects()), columns=tuple(Column(mistake) for mistake in MISTAKES),
        cells=tuple(tuple(each[name] for each in pictures) for name in objects()), legend=KEY, table=tuple(table),
    )  # fmt: skip


SHOWN = ("iou", "dice", "hd95", "nsd1", "boundary_iou")
KEY = (("truth", "true outline; grey: predicted and right; black: predicted and wrong"),)


def _scores(mistake: str) -> dict[str, list[str]]:
    """Object -> what each of SHOWN says, two digits after the point."""
    scores = {name: evaluate_masks(pred, true) for name, (pred, true) in mistaken(mistake).items()}
    return {name: [f"{values[m]:.2f}" for m in SHOWN] for name, values in scores.items()}


def _pictures(mistake: str) -> dict[str, Picture]:
    return {
        name: Picture(_painted(pred, true), f"{name}, {mistake}; true outline dashed.",
                      outlines=true_outline(true.astype(int)))
        for name, (pred, true) in mistaken(mistake).items()
    }  # fmt: skip


def _painted(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: white background, grey where rightly found, black where wrongly."""
    grey = np.full(pred.shape, 255, np.uint8)
    grey[pred & true], grey[pred & ~true] = 170, 0
    return np.repeat(grey[..., None], 3, axis=2)


# --- intervals -------------------------------------------------------------------------------------------------------


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """(mean, low, high): 95 % percentile bootstrap over images, as `sgdc_viz.learn.metrics.summarise` makes it."""
    told = summarise([{"difference": float(value)} for value in differences])["difference"]
    return told["mean"], told["low"], told["high"]


def unpaired_interval(first: np.ndarray, second: np.ndarray, resamples: int = 2000) -> tuple[float, float, float]:
    """(mean, low, high) of mean(first) - mean(second) if the two lists were of *different* images: each resampled by
    itself. Wrong for two networks tested on the same images; here to show what pairing is worth."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(len(values), size=(resamples, len(values)))].mean(1) for values in (first, second)]
    low, high = np.percentile(means[0] - means[1], [2.5, 97.5])
    return float(np.mean(first) - np.mean(second)), float(low), float(high)


def seed_interval(differences: np.ndarray) -> tuple[float, float, float]:
    """(mean, low, high): 95 % Student interval of the mean over seeds; few values, so no bootstrap.

    Raises:
        ValueError: fewer than two seeds have no spread to learn from.
    """
    if len(differences) < 2:
        raise ValueError("one seed says nothing about other seeds: give the differences of two or more.")
    from scipy import stats

    half = stats.t.ppf(0.975, len(differences) - 1) * np.std(differences, ddof=1) / math.sqrt(len(differences))
    mean = float(np.mean(differences))
    return mean, mean - float(half), mean + float(half)


def decided(interval: tuple[float, float, float]) -> bool:
    """Does the interval (mean, low, high) leave 0 out?"""
    _, low, high = interval
    return not low <= 0 <= high


def decided_pairs(iou: np.ndarray) -> tuple[int, int]:
    """(pairs of runs whose interval over images leaves 0 out, all pairs), from IoU [seeds, images] of one arm."""
    pairs = list(combinations(range(len(iou)), 2))
    return sum(decided(interval(iou[a] - iou[b])) for a, b in pairs), len(pairs)


def paired_figure(guided: np.ndarray, pooled: np.ndarray, metric: str, images: str) -> Figure:
    """Differences image by image, sorted, beside the interval of their mean, paired and unpaired.

    Args:
        guided, pooled: one measure of the same images, float [n], both defined everywhere.
        metric: such as "nsd1"; images: what they show, such as "nuclei".
    """
    differences = np.sort(guided - pooled)
    paired, loose = interval(guided - pooled), unpaired_interval(guided, pooled)
    better = float((differences > 0).mean())
    message = (
        "Most images hardly differ; a few differ much. Pairing takes the spread between images out of the interval."
    )
    summary = (
        f"{images}, {len(differences)} test images, {NAMES[metric]}, guided − pooled: mean {number(paired[0])}; guided "
        f"better on {better:.0%} of them. 95 % interval: paired {_span(paired)}, unpaired {_span(loose)}. "
        "One training run for each network."
    )
    title = f"{NAMES[metric]}, guided − pooled"
    sorted_ = Plot("Each image, sorted", (Series("difference", np.arange(1, len(differences) + 1), differences, 0),),
                   "test image, from worst to best for guided", title, padded_range(differences, [0.0]),
                   f"Sorted differences of {len(differences)} images.")  # fmt: skip
    means = Effects("Mean over the images", (
        Effect("paired", *paired), Effect("unpaired", *loose, control=True),
    ), f"{title}, 95 % interval", summary, zero="no difference")  # fmt: skip
    return _charts("paired", "One difference for each image", message, summary, (sorted_, means))


def _span(values: tuple[float, float, float]) -> str:
    return f"{number(values[1], 2)} to {number(values[2], 2)}"


def _charts(name: str, title: str, message: str, summary: str, charts: tuple[Plot | Effects, ...], **more) -> Figure:
    return Figure(name=name, title=title, message=message, summary=summary, alt=f"{message} {summary}", rows=(),
                  columns=(), cells=(), strip=charts, **more)  # fmt: skip


def seeds_figure(
    iou: Mapping[str, np.ndarray], alone: Sequence[int] = (0, 7), more: Mapping[str, np.ndarray] | None = None
) -> Figure:
    """Mean IoU of both arms for each seed, and what different intervals say about guided - pooled.

    Args:
        iou: "guided", "pooled" -> float [seeds, images].
        alone: seeds whose interval over images is shown by itself.
        more: name -> guided - pooled, float [images], of another training whose interval over images is shown.
    """
    means = {arm: 100 * iou[arm].mean(1) for arm in ARMS}
    gaps, count = means["guided"] - means["pooled"], len(means["guided"])
    runs = {f"seed {s}": iou["guided"][s] - iou["pooled"][s] for s in alone} | dict(more or {})
    entries = [Effect(name, *interval(100 * differences)) for name, differences in runs.items()]
    for n in dict.fromkeys((min(6, count), count)):
        entries.append(Effect(f"{'all' if n == count else 'first'} {n} seeds", *seed_interval(gaps[:n]), control=True))
    told = "; ".join(f"{e.label}: {number(e.value, 2)} ({number(e.low, 2)} to {number(e.high, 2)})" for e in entries)
    spread = {**means, "their difference": gaps}
    spread = ", ".join(f"{name} {number(float(np.std(v, ddof=1)), 2)}" for name, v in spread.items())
    summary = (
        f"IoU points, guided − pooled, 95 % intervals over images for one seed, over seeds for several: {told}. "
        f"Standard deviation from seed to seed: {spread}. Drawn nuclei, "
        f"{iou['guided'].shape[1]} test images."
    )
    lines = tuple(Series(arm, np.arange(count), values, i) for i, (arm, values) in enumerate(means.items()))
    plot = Plot("Both arms, seed by seed", lines, "seed", "mean test IoU, points", padded_range(*means.values()),
                summary, ticks=tuple((float(s), str(s)) for s in range(count)))  # fmt: skip
    unit = "IoU points; 95 % intervals: dots over images, squares over seeds"
    chart = Effects("guided − pooled", tuple(entries), unit, summary, zero="no difference")
    message = (
        "Seeds move both arms, mostly together. Single seeds speak for either arm, all seeds together for neither."
    )
    legend = tuple((f"series-{i}", arm) for i, arm in enumerate(means))
    return _charts("seeds", "Ten seeds of the short training", message, summary, (plot, chart), legend=legend)


# --- several seeds on real images ------------------------------------------------------------------------------------


def seed_rows(summary: Mapping, contrast: str = "guided - pooled") -> tuple[list[str], list[list[str]]]:
    """What each seed alone would have told, beside the mean of all: head and rows of a table.

    Args:
        summary: from `sgdc_viz.evidence.load_summary()`.
        contrast: one of its declared comparisons. Told in points of the declared measure.
    """
    metric, rows = summary["declared"]["primary"], []
    for name, told in summary["experiments"].items():
        values = told["contrasts"][contrast][metric]
        if values is None:
            continue
        images = f"{TITLES[name]} (other test images for each seed)" if told["folds"] else TITLES[name]
        ahead = sum(value > 0 for value in values["by_seed"])
        each = ", ".join(points(value) for value in values["by_seed"])
        rows.append([images, each, f"{ahead} of {values['seeds']}", points(values["mean"])])
    return ["test images", f"{contrast}, {NAMES[metric]}: each seed", "seeds above 0", "mean"], rows


def main(arguments: Sequence[str]) -> None:
    """Measure the ten seeds and write them to a file."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m sgdc_viz.teach.lessons.training OUT.json")
    torch.set_num_threads(1)
    measured = measure_seeds(range(10), drawn_nuclei(0, TRAIN_IMAGES), drawn_nuclei(FIRST_TEST, TEST_IMAGES))
    write_seeds(Path(arguments[0]), measured)


def write_seeds(path: Path, measured: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """One line of JSON for each network, so that a change can be seen in a diff."""
    told = ",\n".join(f'"{arm}": [\n' + ",\n".join(map(json.dumps, runs)) + "\n]" for arm, runs in measured.items())
    settings = json.dumps({**asdict(recipe(0)), "seed": "0 to 9"})
    path.write_text(f'{{"recipe": {settings},\n"iou": {{\n{told}\n}}}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
