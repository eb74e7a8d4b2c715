"""The training scrubber: watch kernels being born, step by step, at a pixel of your choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import ipywidgets

from sgdc_viz.explore import Film
from sgdc_viz.views import Figure

from .shell import AtPixel, Shell, check_count, pixel_fields, slider, whole_numbers


@dataclass(frozen=True)
class ScrubberState(AtPixel):
    """step: of the training; y, x: image pixel (row, column); network: "guided" or "pooled"."""

    step: int
    y: int
    x: int
    network: str = "guided"

    def __post_init__(self):
        whole_numbers(self, "step", "y", "x")


def render(film: Film, state: ScrubberState) -> str:
    """Kernels and maps after one step, between the first and the last, as HTML. Pure: same film and state, same text.

    Raises:
        ValueError: the pixel lies outside the image, the step was not kept, or there is no such network.
    """
    return film.training(state.pixel, state.step, state.network, film.steps).to_html()


def still(film: Film, pixel: tuple[int, int], steps: Sequence[int] | None = None, network: str = "guided") -> Figure:
    """The static twin: 2 to 4 steps below one another, all on one scale.

    Args:
        steps: default: three, from the first to the last.

    Raises:
        ValueError: not 2 to 4 steps, or an invalid state.
    """
    steps = film.spread(3) if steps is None else tuple(steps)
    check_count(len(steps))
    return film.training(pixel, None, network, steps)


class TrainingScrubber(Shell):
    """Scrub through a training: kernels at one pixel and maps of the finest block, from random weights to the last.

    Mouse: the slider, the play button, a click on the image. Keyboard: arrow keys on the slider, space on the play
    button, arrow keys on the image, or the fields. All steps ran when `film` was made.

    Args:
        film: from `sgdc_viz.explore.watch`.
        y, x: image pixel (row, column) to begin with.
        step: of the training, to begin with; None: one in the middle.
        network: "guided" or "pooled".

    Raises:
        ValueError: the pixel lies outside the image, the step was not kept, or there is no such network.
    """

    still = staticmethod(still)

    def __init__(self, film: Film, y: int, x: int, step: int | None = None, network: str = "guided"):
        self.film = film
        state = ScrubberState(film.spread(3)[1] if step is None else step, y, x, network)
        self.render(state)
        fields = {
            "time": slider("training step", [(str(s), s) for s in film.steps], state.step),
            "which": ipywidgets.Dropdown(options=list(film.reels), value=network, description="network",
                                         layout=ipywidgets.Layout(width="190px")),
            **pixel_fields(state.pixel, film.image.shape),
        }  # fmt: skip
        play = ipywidgets.Play(min=0, max=len(film.steps) - 1, interval=700, description="play the training",
                               value=film.steps.index(state.step))  # fmt: skip
        super().__init__(state, fields, "slide, play, or click the image")
        self.play = play
        self.children[0].children = (play, *self.children[0].children)
        play.observe(lambda change: self.scrub(film.steps[change["new"]]), "value")

    def render(self, state: ScrubberState) -> str:
        return render(self.film, state)

    def scrub(self, step: int) -> None:
        """Go to another step.

        Raises:
            ValueError: a step that was not kept; the widget then stays as it is.
        """
        self._show(replace(self.state, step=step))

    def choose(self, network: str) -> None:
        """Show the other network.

        Raises:
            ValueError: there is no such network; the widget then stays as it is.
        """
        self._show(replace(self.state, network=network))

    def read(self) -> ScrubberState:
        return ScrubberState(self.time.value, self.row.value, self.column.value, self.which.value)

    def write(self, state: ScrubberState) -> None:
        self.time.value, self.which.value = state.step, state.network
        if self.play.value != self.film.steps.index(state.step):
            self.play.value = self.film.steps.index(state.step)
