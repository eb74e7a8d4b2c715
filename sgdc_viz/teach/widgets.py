"""Widgets for notebooks: thin shells over pure functions, so what a click shows can be tested without a browser.

KernelMicroscope (here), PoolingSlider, CausalPanel, BoundaryProfile, TrainingScrubber, Dial. Each is used with the
mouse, the keyboard or, from code, with `click(y, x)` and its other setters; `render(state)` is the pure function that
it shows, and `still(...)` its static twin. No network runs on a click: what is needed was run when the widget was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from sgdc_viz.explore import Pair
from sgdc_viz.views import Box, Column, Figure, Picture
from sgdc_viz.views.overview import check_pixel, footprint

from .causal_panel import CausalPanel, CausalState
from .dial import Dial, DialState
from .pooling_slider import PoolingSlider, PoolingState
from .profile import BoundaryProfile, ProfileState
from .scrubber import ScrubberState, TrainingScrubber
from .shell import ESM, AtPixel, LinkedFigures, Shell, check_count, number, pixel_fields, whole_numbers

__all__ = [
    "ESM", "BoundaryProfile", "CausalPanel", "CausalState", "Dial", "DialState", "KernelMicroscope", "LinkedFigures",
    "MicroscopeState", "PoolingSlider", "PoolingState", "ProfileState", "ScrubberState", "TrainingScrubber", "render",
    "still",
]  # fmt: skip


@dataclass(frozen=True)
class MicroscopeState(AtPixel):
    """What the microscope shows: image pixel y (row), x (column); the channel to follow (None: see `follow`)."""

    y: int
    x: int
    channel: int | None = None

    def __post_init__(self):
        whole_numbers(self, "y", "x", *(() if self.channel is None else ("channel",)))


def render(pair: Pair, state: MicroscopeState) -> str:
    """Kernels and sum at one pixel, guided above pooled, as HTML. Pure: same pair and state, same text.

    Raises:
        ValueError: the pixel lies outside the image, or there is no such channel.
    """
    check_pixel(state.pixel, pair.image)
    return pair.kernels(state.pixel).to_html() + pair.microscope(state.pixel, state.channel).to_html()


def still(pair: Pair, states: Mapping[str, MicroscopeState]) -> Figure:
    """The static twin of the microscope: a few clicks side by side, all kernels on one scale.

    Args:
        states: label, such as "A, on a border" -> state; 2 to 4 of them.

    Raises:
        ValueError: not 2 to 4 states, or a pixel outside the image.
    """
    check_count(len(states))
    for state in states.values():
        check_pixel(state.pixel, pair.image)
    figures = [pair.kernels(state.pixel) for state in states.values()]
    scale = replace(figures[0].columns[0].scale, high=max(f.columns[0].scale.high for f in figures))
    rows = [tuple(_place(pair, label, state) for label, state in states.items())]
    for r in range(len(pair.runs)):
        rows.append(tuple(tuple(replace(heat, scale=scale) for heat in f.cells[r][0]) for f in figures))
    told = " ".join(_alike(name, pair, states) for name in pair.runs)
    places = "; ".join(f"{label}: row {state.y}, column {state.x}" for label, state in states.items())
    return Figure(
        name="states",
        title=f"The same microscope after {len(states)} clicks",
        message="Top: where (solid, the kernel's reach; dashed, the pixels that share one pooled kernel). Below: the "
        "kernels of the heads.",
        summary=f"{told} {places}.",
        alt=f"Kernels of both networks at {len(states)} pixels. {told} {places}.",
        rows=("image", *pair.runs),
        columns=tuple(Column(label, scale if i == 0 else None) for i, label in enumerate(states)),
        cells=tuple(rows),
    )


def _place(pair: Pair, label: str, state: MicroscopeState) -> Picture:
    """The image around a pixel, with the kernel's footprint and the block of pixels that share one pooled kernel."""
    run = pair.first
    boxes = [footprint(state.pixel, run.stride, run.at(state.pixel).kernels.shape[-1])]
    for other in pair.runs.values():
        if other.pool_size is not None:
            side = other.pool_size * other.stride
            y, x = (n // side * side for n in state.pixel)
            boxes.append(Box("pixels that share one kernel", y, x, y + side, x + side, "block"))
    window = (state.y - 24, state.x - 24, state.y + 24, state.x + 24)
    return Picture(pair.image, f"{label}: the image around row {state.y}, column {state.x}.", boxes=tuple(boxes),
                   window=window)  # fmt: skip


def _alike(name: str, pair: Pair, states: Mapping[str, MicroscopeState]) -> str:
    """Which of the states have one and the same kernels, in words."""
    kernels = {label.split(",")[0]: pair.runs[name].at(state.pixel).kernels for label, state in states.items()}
    labels = list(kernels)
    same = [
        f"{a} and {b}"
        for i, a in enumerate(labels)
        for b in labels[i + 1 :]
        if torch.allclose(kernels[a], kernels[b], atol=1e-6)
    ]
    return f"{name.capitalize()}: " + (f"{', '.join(same)} have one and the same kernels." if same else "all differ.")


class KernelMicroscope(Shell):
    """Click a pixel, or type its row and column, and see what both networks did there: the app's click, here.

    Mouse: click any picture of the upper part. Keyboard: the arrow keys on the large picture (shift: ten pixels), or
    the three number fields. No network runs on a click; everything was recorded when `pair` was made.

    Args:
        pair: from `sgdc_viz.explore.Explorer.look`.
        y, x: image pixel (row, column) to begin with.
        channel: which channel to follow; None: one for all networks, with the largest mean |value| over them.
        zoom: show 1/zoom of the picture at first.

    Raises:
        ValueError: the pixel lies outside the image, or there is no such channel.
    """

    still = staticmethod(still)

    def __init__(self, pair: Pair, y: int, x: int, channel: int | None = None, zoom: int = 1):
        self.pair = pair
        state = MicroscopeState(y, x, channel)
        check_pixel(state.pixel, pair.image)
        self._overview = pair.overview(state.pixel, zoom).to_html()  # stays: the page moves its marks
        channels = len(pair.first.at(state.pixel).gate_static)
        fields = pixel_fields(state.pixel, pair.image.shape)
        fields["channel"] = number("channel", -1, -1, channels - 1)
        fields["channel"].value = -1 if channel is None else channel
        super().__init__(state, fields, "click a picture, or type here (channel −1: the one with the largest value)")

    def overview(self, state: MicroscopeState) -> str:
        return self._overview

    def render(self, state: MicroscopeState) -> str:
        """What the widget shows in `state`, as HTML; changes nothing."""
        return render(self.pair, state)

    def follow(self, channel: int | None) -> None:
        """Follow another channel; None: one for all networks, with the largest mean |value| over them.

        Raises:
            ValueError: no such channel; the widget then stays as it is.
        """
        self._show(replace(self.state, channel=channel))

    def read(self) -> MicroscopeState:
        return MicroscopeState(
            self.row.value, self.column.value, None if self.channel.value < 0 else self.channel.value
        )

    def write(self, state: MicroscopeState) -> None:
        self.channel.value = -1 if state.channel is None else state.channel
