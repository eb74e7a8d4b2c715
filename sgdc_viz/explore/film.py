"""One image through a training: the same network after a few steps, from random weights to the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from sgdc_viz.learn.history import TrainingHistory, load_history
from sgdc_viz.views import BlockMaps, Figure, Picture, TrainingStep, training
from sgdc_viz.views.overview import check_pixel, footprint

from .linked import linked
from .networks import SOURCES, digest, fit
from .runs import run_network

SMOOTH = 15  # steps of the running mean of the loss


@dataclass(frozen=True, eq=False)
class Reel:
    """One network of a film.

    Attributes:
        history: its training.
        stride: image pixels per feature pixel of the finest block.
        maps: step -> gates and entropy of that block.
        kernels: step -> float16 [heads, k*k, h', w']; half precision, because twelve steps take 150 MB in full.
    """

    history: TrainingHistory
    stride: int
    maps: dict[int, BlockMaps]
    kernels: dict[int, Tensor] = field(repr=False)

    def step(self, step: int, pixel: tuple[int, int]) -> TrainingStep:
        """Kernels at one image pixel and the maps, after one of `history.steps`."""
        i, j = (n // self.stride for n in pixel)
        kernels = self.kernels[step][:, :, i, j].float()
        side = round(kernels.shape[1] ** 0.5)
        return TrainingStep(kernels.unflatten(1, (side, side)).numpy(), self.maps[step])


@dataclass(frozen=True, eq=False)
class Film:
    """One image through the kept steps of the guided and the pooled training. Made by `watch`.

    Attributes:
        key: names the image.
        image: uint8 [H, W, 3] as the networks saw it.
        reels: "guided", "pooled" -> Reel; both have the same steps.
        notes: sentences about what was done to the image first.
    """

    key: str
    image: np.ndarray
    reels: dict[str, Reel]
    notes: tuple[str, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        return next(iter(self.reels.values())).history.steps

    def training(
        self, pixel: tuple[int, int], step: int | None = None, network: str = "guided", shown: Sequence[int] = ()
    ) -> Figure:
        """How the kernels at one pixel, and the maps, came to be.

        Args:
            pixel: (row, column) in image pixels.
            step: the one to mark (the scrubber); None: none.
            network: "guided" or "pooled".
            shown: the steps to draw; default: the first, some between and the last.

        Raises:
            ValueError: pixel outside the image, unknown step or network.
        """
        check_pixel(pixel, self.image)
        if network not in self.reels:
            raise ValueError(f"network={network!r} is unknown: use one of {', '.join(self.reels)}.")
        shown = tuple(shown) or self.spread(4)
        if step is not None and step not in shown:
            shown = tuple(sorted({*shown, step}))
        for wanted in shown:
            if wanted not in self.steps:
                raise ValueError(f"step={wanted!r} was not kept: choose one of {', '.join(map(str, self.steps))}.")
        reel = self.reels[network]
        history = reel.history
        curves = {
            f"training loss, mean of {SMOOTH} steps": _smooth(history.losses),
            "test IoU": (np.array(history.steps), history.scores["iou"]),
            "test surface Dice at 1 px": (np.array(history.steps), history.scores["nsd1"]),
        }
        figure = training({s: reel.step(s, pixel) for s in shown}, curves, pixel, stride=reel.stride, chosen=step,
                          network=network)  # fmt: skip
        height, width = self.image.shape[:2]
        alt = f"The image, {height} rows by {width} columns. Click a pixel, or move it with the arrow keys."
        mark = footprint(pixel, reel.stride, round(reel.kernels[self.steps[0]].shape[1] ** 0.5))
        figure = replace(figure, lead=Picture(self.image, alt, linked=True, mark=mark))
        return linked(figure, self.key, pixel, reel.stride, zoom=1)

    def spread(self, count: int) -> tuple[int, ...]:
        """`count` of the steps, the first and the last among them."""
        chosen = np.linspace(0, len(self.steps) - 1, min(count, len(self.steps))).round().astype(int)
        return tuple(self.steps[i] for i in dict.fromkeys(chosen.tolist()))


def _smooth(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(steps, running mean over SMOOTH steps): the loss of single batches jumps too much to read."""
    window = min(SMOOTH, len(values))
    return np.arange(window, len(values) + 1), np.convolve(values, np.ones(window) / window, "valid")


def watch(image: np.ndarray, family: str = "synthetic") -> Film:
    """Run an image through every kept step of a family's two trainings: some seconds, and then no network runs again.

    Args:
        image: uint8 RGB [H, W, 3].
        family: of the shipped histories, "synthetic".

    Raises:
        ValueError: there is no such history, or the two do not have the same steps.
    """
    histories = {name: load_history(f"{family}-{source}") for name, source in SOURCES.items()}
    if len({history.steps for history in histories.values()}) > 1:
        raise ValueError(f"the two histories of {family!r} kept different steps: pack them again from equal --keep.")
    longest_side = next(iter(histories.values())).data.get("longest_side")
    image, _, notes = fit(image, None, longest_side)
    reels = {}
    for name, history in histories.items():
        maps, kernels = {}, {}
        for step in history.steps:
            run = run_network(history.model(step), image)
            maps[step] = run.maps
            kernels[step] = run.recording[f"{run.block}.kernels"][0].to(torch.float16)
        reels[name] = Reel(history, run.stride, maps, kernels)
    return Film(digest(image), image, reels, notes)
