"""Across the outline: click near an object and read every quantity along the line that crosses its outline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import ipywidgets

from sgdc_viz.explore import Pair
from sgdc_viz.views import Column, Figure, Plot
from sgdc_viz.views.overview import check_pixel

from .shell import AtPixel, Shell, check_count, pixel_fields, whole_numbers

SHOWN = ("Probability of object", "Static gate", "Kernel entropy")  # in the still picture


@dataclass(frozen=True)
class ProfileState(AtPixel):
    """y, x: image pixel (row, column) whose nearest outline is crossed; controls: draw the control networks too."""

    y: int
    x: int
    controls: bool = False

    def __post_init__(self):
        whole_numbers(self, "y", "x")
        if not isinstance(self.controls, bool):
            raise ValueError(f"controls={self.controls!r} must be True or False.")


def render(pair: Pair, state: ProfileState) -> str:
    """The picture and the profile across the outline nearest to the selected pixel, as HTML. Pure.

    Raises:
        ValueError: the pixel lies outside the image, or there is no outline in it.
    """
    return pair.boundary_profile(state.pixel, controls=state.controls).to_html()


def still(pair: Pair, states: Mapping[str, ProfileState]) -> Figure:
    """The static twin: the line and three of its quantities at 2 to 4 places.

    Args:
        states: label, such as "A, sharp border" -> state.

    Raises:
        ValueError: not 2 to 4 states, a pixel outside the image, or no outline.
    """
    check_count(len(states))
    figures = [pair.boundary_profile(state.pixel, controls=state.controls) for state in states.values()]
    rows = [tuple(replace(figure.lead, linked=False, mark=None) for figure in figures)]
    for title in SHOWN:
        plots = [next(c for row in f.cells for c in row if isinstance(c, Plot) and c.title == title) for f in figures]
        low, high = min(p.y_range[0] for p in plots), max(p.y_range[1] for p in plots)  # one scale for all places
        rows.append(tuple(replace(plot, y_range=(low, high)) for plot in plots))
    told = " ".join(f"{label}: {figure.message}" for label, figure in zip(states, figures, strict=True))
    return Figure(
        name="profiles",
        title=f"Across the outline at {len(states)} places",
        message="Top: the line that is read. Below: what each network says along it; 0 is the outline.",
        summary=f"{told} One image, no interval.",
        alt=f"Profiles across the outline at {len(states)} places. {told}",
        rows=("place", *("",) * len(SHOWN)),
        columns=tuple(Column(label) for label in states),
        cells=tuple(rows),
        legend=tuple(key for key in figures[0].legend if key[1] != "image"),  # its curve is not among those shown
        faithfulness=max(figure.faithfulness for figure in figures),
    )


class BoundaryProfile(Shell):
    """Click near an outline and see image, boundary, guidance, gates, kernels and probability along its normal.

    Mouse: click the picture. Keyboard: the arrow keys on it (shift: ten pixels), or the number fields; the tick box
    adds the controls. No network runs on a click or a tick: the controls have run when the widget is made.

    Args:
        pair: from `sgdc_viz.explore.Explorer.look`.
        y, x: image pixel (row, column) to begin with.
        controls: draw random weights, shuffled guidance and permuted kernels too.

    Raises:
        ValueError: the pixel lies outside the image, or there is no outline in it.
    """

    still = staticmethod(still)

    def __init__(self, pair: Pair, y: int, x: int, controls: bool = False):
        self.pair = pair
        state = ProfileState(y, x, controls)
        check_pixel(state.pixel, pair.image)
        pair.boundary_profile(state.pixel, controls=True)  # runs the control networks now, so that a tick is quick
        fields = pixel_fields(state.pixel, pair.image.shape)
        fields["beside"] = ipywidgets.Checkbox(controls, description="controls", indent=False,
                                               layout=ipywidgets.Layout(width="110px"))  # fmt: skip
        super().__init__(state, fields, "click near an outline")

    def render(self, state: ProfileState) -> str:
        return render(self.pair, state)

    def control(self, controls: bool) -> None:
        """Draw the control networks too, or not."""
        self._show(replace(self.state, controls=controls))

    def read(self) -> ProfileState:
        return ProfileState(self.row.value, self.column.value, self.beside.value)

    def write(self, state: ProfileState) -> None:
        self.beside.value = state.controls
