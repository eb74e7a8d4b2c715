"""The counterfactual slider: what would the same weights do if kernels were made from averages?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sgdc_viz.explore import POOL_SIZES, Pair
from sgdc_viz.explore.at_pixel import pooling_at
from sgdc_viz.views import Figure, pooling

from .shell import AtPixel, Shell, check_count, pixel_fields, slider, whole_numbers


@dataclass(frozen=True)
class PoolingState(AtPixel):
    """pool_size: p in feature pixels, None for the whole image; y, x: the selected image pixel (row, column)."""

    pool_size: int | None
    y: int
    x: int

    def __post_init__(self):
        whole_numbers(self, "y", "x", *(() if self.pool_size is None else ("pool_size",)))


def render(pair: Pair, state: PoolingState) -> str:
    """What every pool size predicts at the selected pixel, the chosen one first, as HTML.

    Pure: same pair and state, same text.

    Raises:
        ValueError: the pixel lies outside the image, or the pool size is not one of those that were run.
    """
    return pooling_at(pair, state.pool_size, state.pixel).to_html()


def still(pair: Pair, sizes: Sequence[int | None] = (1, 8, None)) -> Figure:
    """The static twin of the slider: 2 to 4 pool sizes with the same weights, above the network trained with pooling.

    Raises:
        ValueError: not 2 to 4 sizes, or 1 is not the first of them.
    """
    check_count(len(sizes))
    if sizes[0] != 1:
        raise ValueError(f"sizes={tuple(sizes)} must begin with 1, the network as it is.")
    run = pair.first
    return pooling(pair.image, pair.pooling_steps(sizes), stride=run.stride, truth=pair.truth)


class PoolingSlider(Shell):
    """Slide the pool size from 1 (SGDC) to the whole image, beside the network that was trained with pooling.

    The slider keeps the weights, nothing is retrained. Mouse: the slider; a click on any picture tells the probability
    there for every size. Keyboard: arrow keys on the slider, arrow keys on the large picture, or the two number fields.
    The networks run when the widget is made (eight runs for the first widget of an image); each is drawn when first
    chosen, and kept.

    Args:
        pair: from `sgdc_viz.explore.Explorer.look`.
        y, x: image pixel (row, column) to begin with.
        pool_size: p to begin with, one of 1, 2, 4, 8, 16, 32, None (the whole image).
        zoom: show 1/zoom of the picture at first.

    Raises:
        ValueError: the pixel lies outside the image, or the pool size is none of these.
    """

    still = staticmethod(still)

    def __init__(self, pair: Pair, y: int, x: int, pool_size: int | None = 8, zoom: int = 1):
        self.pair, self._zoom, self._drawn = pair, zoom, {}
        state = PoolingState(pool_size, y, x)
        self._start = state.pixel
        self.render(state)  # an invalid state never becomes a field
        options = [("whole image" if p is None else str(p), p or 0) for p in POOL_SIZES]
        fields = {"size": slider("pool size (feature pixels)", options, pool_size or 0)}
        fields |= pixel_fields(state.pixel, pair.image.shape)
        super().__init__(state, fields, "slide; click a picture")

    def overview(self, state: PoolingState) -> str:
        if state.pool_size not in self._drawn:  # the pixel does not matter: the page moves its marks
            figure = self.pair.pooling(state.pool_size, self._start, self._zoom)
            self._drawn[state.pool_size] = figure.to_html()
        return self._drawn[state.pool_size]

    def render(self, state: PoolingState) -> str:
        return render(self.pair, state)

    def pool(self, pool_size: int | None) -> None:
        """Slide to another pool size; None is the whole image.

        Raises:
            ValueError: no such size; the widget then stays as it is.
        """
        self._show(replace(self.state, pool_size=pool_size))

    def read(self) -> PoolingState:
        return PoolingState(self.size.value or None, self.row.value, self.column.value)

    def write(self, state: PoolingState) -> None:
        self.size.value = state.pool_size or 0
