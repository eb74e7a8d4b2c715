"""One slider over named values, and the figure of each: for anything that can be told by a single number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ipywidgets

from sgdc_viz.views import Figure

from .shell import LinkedFigures, check_count, slider


@dataclass(frozen=True)
class DialState:
    """label: the name of the chosen value."""

    label: str


def render(figures: Mapping[str, Callable[[], Figure]], state: DialState) -> str:
    """The figure of the chosen value, as HTML. Pure: same figures and state, same text.

    Raises:
        ValueError: no value of this name.
    """
    if state.label not in figures:
        raise ValueError(f"{state.label!r} is none of {', '.join(figures)}.")
    return figures[state.label]().to_html()


class Dial(ipywidgets.VBox):
    """Slide through a few named values; each shows its figure, drawn when first chosen, and kept.

    Mouse or arrow keys move the slider; `turn(label)` does the same from code.

    Args:
        name: of the slider.
        figures: name of a value, such as "pool size 8" -> function that returns its figure.
        label: the value to begin with; the first one by default.

    Raises:
        ValueError: no values, or no value of this name.
    """

    def __init__(self, name: str, figures: Mapping[str, Callable[[], Figure]], label: str | None = None):
        if not figures:
            raise ValueError("a dial needs at least one value.")
        self._figures, self._drawn = dict(figures), {}
        self.state = DialState(next(iter(figures)) if label is None else label)
        self.picture = LinkedFigures(detail=self.render(self.state), pixel=[0, 0])
        self.slider = slider(name, [(each, each) for each in figures], self.state.label, width="420px")
        self.slider.observe(lambda change: self.turn(change["new"]), "value")
        super().__init__([self.slider, self.picture])

    def render(self, state: DialState) -> str:
        """What the widget shows in `state`, as HTML."""
        if state.label not in self._drawn:
            self._drawn[state.label] = render(self._figures, state)
        return self._drawn[state.label]

    def turn(self, label: str) -> None:
        """Choose another value.

        Raises:
            ValueError: no value of this name; the widget then stays as it is.
        """
        detail = self.render(DialState(label))  # first: an invalid state never becomes a widget
        self.state = DialState(label)
        self.picture.detail, self.slider.value = detail, label

    def still(self, *labels: str) -> dict[str, Figure]:
        """2 to 4 of the values for `show_states`, the static twin.

        Raises:
            ValueError: not 2 to 4 labels, or no value of this name.
        """
        check_count(len(labels))
        for label in labels:
            self.render(DialState(label))
        return {label: self._figures[label]() for label in labels}

    def __repr__(self) -> str:
        return f"Dial at {self.state.label} (works while a kernel is running)"
