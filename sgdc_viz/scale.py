"""What do larger images cost, and more of them? `make bench`, or `python -m sgdc_viz bench --plots DIR`.

Each point is measured in a process of its own: memory that one size needed must not stand in the figure of the next.
Time is the best of some repeats, memory the highest that the process reached above what it had before: what Python and
torch need themselves, some 0.3 GB, is not in it.
"""

from __future__ import annotations

import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgdc_viz.memory import keep_freed

SIDES = (128, 256, 512, 1024, 2048)  # pixels
COUNTS = (100, 1_000, 10_000, 100_000)  # images
IMAGE = 64  # side of the streamed images, in pixels
READ = 800  # images that are read of each data set, at most, in the order of a training
BATCH = 8


@dataclass(frozen=True)
class Point:
    """One size: seconds, and bytes of memory above what the process had before."""

    size: int
    seconds: float
    memory: int


def one_piece(side: int) -> Point:
    """Prediction of a side x side image in one piece."""
    import torch

    model, image = _network(), _image(side)

    def run() -> None:
        with torch.no_grad():
            model(image)

    return _measure(side, run)


def tiles(side: int) -> Point:
    """The same in overlapping tiles, as `predict_mask` and the page do."""
    from sgdc_viz.learn.predict import predict_tiles

    model = _network()
    pixels = (_image(side)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return _measure(side, lambda: [None for _ in predict_tiles(model, pixels)])


def stream(count: int) -> Point:
    """A data set of `count` images, drawn when they are asked for: opened, and `READ` of them read in the order of a
    training's first epoch; none is kept. Seconds: a batch."""
    from sgdc_viz.data import open_dataset
    from sgdc_viz.learn import TrainConfig
    from sgdc_viz.learn.train import make_batch

    config = TrainConfig(batch_size=BATCH, crop=IMAGE)
    make_batch(open_dataset("synthetic-shapes", split="train", count=BATCH, size=IMAGE), config, 0)
    before, start = _memory(), time.perf_counter()
    images = open_dataset("synthetic-shapes", split="train", count=count, size=IMAGE)
    steps = min(count, READ) // BATCH
    for step in range(steps):
        make_batch(images, config, step)
    return Point(count, (time.perf_counter() - start) / steps, _memory() - before)


KINDS: dict[str, Callable[[int], Point]] = {"one piece": one_piece, "tiles": tiles, "stream": stream}


def measure(kind: str, sizes: Sequence[int]) -> list[Point]:
    """Points of one of `KINDS`, each in a fresh process."""
    points = []
    for size in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            points.append(pool.apply(KINDS[kind], (size,)))
    return points


def slope(points: Sequence[Point]) -> float:
    """Exponent of the time as a power of the size, over the larger half of the sizes (small ones cost the start)."""
    half = list(points)[(len(points) - 1) // 2 :]
    return float(np.polyfit(np.log([p.size for p in half]), np.log([p.seconds for p in half]), 1)[0])


def bench_scale(folder: Path, sides: Sequence[int] = SIDES, counts: Sequence[int] = COUNTS) -> dict[str, list[Point]]:
    """Measure, print, and draw `scale.png` in a folder."""
    told = {kind: measure(kind, counts if kind == "stream" else sides) for kind in KINDS}
    for kind, points in told.items():
        what = f"pixels a side, predicted in {kind}"
        if kind == "stream":
            what = f"images of {IMAGE} x {IMAGE} in a data set, read in batches of {BATCH}"
        print(f"\n{what} (memory: what is added to the process)")
        for p in points:
            print(f"  {p.size:>8,}{1e3 * p.seconds:>12.1f} ms{p.memory / 2**20:>10.0f} MB")
        if kind != "stream":
            twice = "; what overlaps is predicted twice and more" if kind == "tiles" else ""
            print(f"  time grows with the pixels to the power of {slope(points) / 2:.2f} (1: linear{twice})")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scale.png"
    _draw(told, path)
    print(f"\nDrawn in {path}.")
    return told


def _network():
    import torch

    from sgdc_viz.nn import SGDCNet, SGDCNetConfig

    torch.manual_seed(0)
    return SGDCNet(SGDCNetConfig.compact()).eval()


def _image(side: int):
    """float [1, 3, side, side], 0..1."""
    import torch

    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def _measure(size: int, run: Callable[[], object], repeats: int = 3) -> Point:
    keep_freed()  # as the commands and the page do
    before, times = _memory(), []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return Point(size, min(times), _memory() - before)


def _memory() -> int:
    """The most bytes that this process ever held."""
    if sys.platform == "linux":  # where getrusage tells the most of the parent, too, if that held more
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _draw(told: dict[str, list[Point]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 2)
    looks = {"one piece": ("#d95f02", "o-"), "tiles": ("#2f7de1", "s--"), "stream": ("#1b9e77", "^-")}
    for kind, points in told.items():
        colour, style = looks[kind]
        column = 1 if kind == "stream" else 0
        sizes = [p.size for p in points]
        for row, values in enumerate(([p.seconds for p in points], [p.memory / 2**20 for p in points])):
            axes[row, column].plot(sizes, values, style, color=colour, label=kind if column == 0 else None)
    one = told["one piece"]
    linear = [one[-1].seconds * (p.size / one[-1].size) ** 2 for p in one]
    axes[0, 0].plot([p.size for p in one], linear, ":", color="#808080", label="linear in the pixels")
    titles = (("Predicting one image: time", "seconds"), ("Reading a data set: time per batch of 8", "seconds"),
              ("Predicting one image: memory added", "MB"), ("Reading a data set: memory added", "MB"))  # fmt: skip
    for ax, (title, unit) in zip(axes.flat, titles, strict=True):
        ax.set_title(title, loc="left", weight="bold")
        ax.set_ylabel(unit)
        ax.set_xscale("log")
        ax.grid(color="#cccccc", linewidth=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[:, 0]:
        ax.set_yscale("log")
        ax.set_xlabel("side of the image (pixels)")
        ax.set_xticks([p.size for p in one], [str(p.size) for p in one])
        ax.minorticks_off()
        ax.legend(frameon=False)
    streamed = [p.size for p in told["stream"]]
    kept = [n * 3 * IMAGE**2 / 2**20 for n in streamed]
    axes[1, 1].plot(streamed, kept, ":", color="#808080", label="if all images were kept")
    axes[1, 1].set_yscale("symlog", linthresh=1)
    axes[1, 1].legend(frameon=False)
    for ax in axes[:, 1]:
        ax.set_ylim(bottom=0, top=1.3 * ax.get_ylim()[1])
        ax.set_xlabel("images in the data set")
    figure.savefig(path, dpi=110)
