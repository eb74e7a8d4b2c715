"""The causal panel: change one thing inside the network, and see what the prediction does, beside a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import ipywidgets

from sgdc_viz.explore import Pair
from sgdc_viz.explore.arms import CHANGES, RANDOM, REWRITTEN
from sgdc_viz.explore.at_pixel import change_at
from sgdc_viz.explore.several import CAUSES
from sgdc_viz.views import Figure

from .shell import AtPixel, Shell, check_count, pixel_fields, whole_numbers

OFFERED = (*CAUSES, "static gate shut", "dynamic gate shut")


@dataclass(frozen=True)
class CausalState(AtPixel):
    """change: one of `sgdc_viz.explore.CHANGES`; y, x: the selected image pixel (row, column)."""

    change: str
    y: int
    x: int

    def __post_init__(self):
        whole_numbers(self, "y", "x")
        if self.change not in CHANGES or self.change in (RANDOM, REWRITTEN):
            known = ", ".join(name for name in CHANGES if name not in (RANDOM, REWRITTEN))
            raise ValueError(f"change={self.change!r} is unknown: use one of {known}.")


def render(pair: Pair, state: CausalState) -> str:
    """What the change does at the selected pixel, with and without training, as HTML. Pure.

    Raises:
        ValueError: the pixel lies outside the image, or the guided network cannot be changed so.
    """
    return change_at(pair, state.change, state.pixel).to_html()


def still(pair: Pair, changes: Sequence[str] = ("guidance zeroed", "guidance mirrored", "kernels uniform")) -> Figure:
    """The static twin of the panel: 2 to 4 changes, and the first in a network of random weights.

    Raises:
        ValueError: not 2 to 4 changes, or an unknown one.
    """
    check_count(len(changes))
    return pair.causal(changes)


class CausalPanel(Shell):
    """Choose a change and see where it moves the prediction, and by how much; beside it the same in random weights.

    Mouse: the list, and a click on any picture. Keyboard: arrow keys in the list, arrow keys on a picture, or the two
    number fields. All offered changes are run when the widget is made (some seconds for the first widget of an image);
    each is drawn when first chosen, and kept.

    Args:
        pair: from `sgdc_viz.explore.Explorer.look`.
        y, x: image pixel (row, column) to begin with.
        change: the change to begin with.
        changes: those that are offered.
        zoom: show 1/zoom of the picture at first.

    Raises:
        ValueError: the pixel lies outside the image, or a change is unknown or not among those offered.
    """

    still = staticmethod(still)

    def __init__(
        self, pair: Pair, y: int, x: int, change: str = OFFERED[0], changes: Sequence[str] = OFFERED, zoom: int = 1
    ):
        state = CausalState(change, y, x)
        if change not in changes:
            raise ValueError(f"change={change!r} is none of those offered: {', '.join(changes)}.")
        self.pair, self._zoom, self._drawn, self._start = pair, zoom, {}, state.pixel
        for name in changes:
            render(pair, replace(state, change=name))  # runs them, and refuses an invalid state
        choice = ipywidgets.Dropdown(options=list(changes), value=change, description="change",
                                     layout=ipywidgets.Layout(width="270px"))  # fmt: skip
        fields = {"choice": choice, **pixel_fields(state.pixel, pair.image.shape)}
        super().__init__(state, fields, "choose a change; click a picture")

    def overview(self, state: CausalState) -> str:
        if state.change not in self._drawn:  # the pixel does not matter: the page moves its marks
            figure = self.pair.causal([state.change], self._start, self._zoom)
            self._drawn[state.change] = figure.to_html()
        return self._drawn[state.change]

    def render(self, state: CausalState) -> str:
        return render(self.pair, state)

    def choose(self, change: str) -> None:
        """Make another change.

        Raises:
            ValueError: it is not offered; the widget then stays as it is.
        """
        if change not in self.choice.options:
            raise ValueError(f"change={change!r} is none of those offered: {', '.join(self.choice.options)}.")
        self._show(replace(self.state, change=change))

    def read(self) -> CausalState:
        return CausalState(self.choice.value, self.row.value, self.column.value)

    def write(self, state: CausalState) -> None:
        self.choice.value = state.change
