"""One image through two or more arms: every view of it, and the controls, one call each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sgdc_viz.learn import checkpoints
from sgdc_viz.learn.metrics import evaluate_masks
from sgdc_viz.learn.publish import RESULTS_FILE, paired_difference
from sgdc_viz.views import (
    Figure,
    PoolingStep,
    Prediction,
    Region,
    boundary_branch,
    boundary_profile,
    ellipses,
    elsewhere,
    kernel_maps,
    microscope,
    overview,
    pixel_kernels,
    pooling,
    predictions,
    region,
    ring,
    sge_stages,
)
from sgdc_viz.views.overview import check_pixel, window_around
from sgdc_viz.views.style import MINUS

from .arms import CHANGES, CONTROLS, POOL_SIZES, RANDOM, REWRITTEN, Arm, pooled_change, pooling_label
from .linked import linked
from .networks import SOURCES, Place, untrained_of
from .runs import Run
from .several import causal, statistic_by_distance

if TYPE_CHECKING:
    from .explorer import Explorer

ZEROED = "guidance zeroed"
MOST_LINES = 6  # networks in one profile
DEFAULT_POOL = 8  # p of the trained pooled networks, in feature pixels


@dataclass(frozen=True, eq=False)
class Pair:
    """One image through two or more arms, by default the guided and the pooled network. All figures come from here.

    Made by `Explorer.look` and `Explorer.compare`. A view that needs further runs (another pool size, a change, a
    control) makes them when it is first asked for, and the explorer keeps them.

    Views take `pixel`, (row, column) in image pixels, and `zoom`: show 1/zoom of the longer side around it.
    `controls=True` adds the rows that a claim must survive: random weights, shuffled guidance, permuted kernels.
    Views of two rows are drawn against a control by `pair.against("guidance shuffled").overview(...)`.

    Attributes:
        key: names the image as the networks saw it.
        image: uint8 [H, W, 3] as the networks saw it; all coordinates are its pixels.
        runs: label ("guided", "pooled") -> Run; the first is what the others are compared with.
        truth: object numbers [H, W] or None.
        trained: False if random weights are among the runs.
        notes: sentences about what was done to the image before the networks saw it.
        family: name of the networks.
        arms: label -> Arm, as `runs`.
        explorer: makes and keeps further runs.
        place: where `image` lies in the image that was given.
    """

    key: str
    image: np.ndarray
    runs: dict[str, Run]
    truth: np.ndarray | None
    trained: bool
    notes: tuple[str, ...]
    family: str = field(repr=False)
    arms: dict[str, Arm] = field(repr=False)
    explorer: Explorer = field(repr=False)
    place: Place = field(repr=False)
    _scores: dict = field(default_factory=dict, repr=False)  # metrics take longer than a picture: kept by run

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        truth = "with" if self.truth is not None else "without"
        return f"Pair({', '.join(self.runs)}; {self.family}, {height} x {width}, {truth} truth)"

    @property
    def nbytes(self) -> int:
        """About the bytes of its recordings, which are by far the most of it."""
        return sum(run.recording.nbytes for run in self.runs.values() if run.recording is not None)

    # --- one pair ---

    def overview(self, pixel: tuple[int, int], zoom: int = 1) -> Figure:
        (first, a), (second, b) = self._two()
        return overview(
            self.image, {first: a.maps, second: b.maps}, stride=a.stride, pool_size=b.pool_size or DEFAULT_POOL,
            pixel=pixel, truth=self.truth, zoom=zoom, trained=self.trained, remark=self._remark(), key=self.key,
        )  # fmt: skip

    def kernels(self, pixel: tuple[int, int]) -> Figure:
        return pixel_kernels({name: run.at(pixel) for name, run in self.runs.items()}, pixel)

    def microscope(self, pixel: tuple[int, int], channel: int | None = None) -> Figure:
        return microscope(
            self.image, {name: run.at(pixel) for name, run in self.runs.items()}, pixel,
            pool_sizes={name: run.pool_size for name, run in self.runs.items()}, channel=channel,
        )  # fmt: skip

    def predictions(self, pixel: tuple[int, int], zoom: int = 1) -> Figure:
        (first, a), (second, b) = self._two()
        told = {first: self.prediction(a), second: self.prediction(b)}
        return predictions(self.image, told, stride=a.stride, truth=self.truth, window=self._window(pixel, zoom),
                           beyond=self._beyond())  # fmt: skip

    # --- other arms ---

    def against(self, change: str) -> Pair:
        """The reference beside itself with one of `CHANGES` made to it: a control for any view of two rows."""
        (label, arm), *_ = self.arms.items()
        name = change if arm.change is None else f"{arm.change}, {change}"
        return self.explorer.compare(self.family, self.image, {label: arm, name: self._changed(change)}, self.truth)

    def random_weights(self) -> Pair:
        """The same image through the same arms without training: the control for a whole figure."""
        return self.explorer.compare(untrained_of(self.family), self.image, self.arms, self.truth)

    def run(self, arm: Arm, *, mask: np.ndarray | None = None, recorded: bool = False) -> Run:
        """This image through another arm of the family, see `Explorer.run`."""
        return self.explorer.run(self.family, arm, self.image, self.key, mask=mask, recorded=recorded)

    def prediction(self, run: Run) -> Prediction:
        """What a run predicts, with its metrics where the truth is known."""
        if self.truth is None:
            return Prediction(run.probability, run.boundary)
        return Prediction(run.probability, run.boundary, self._metrics(run.mask))

    # --- views that need more runs ---

    def pooling(
        self, pool_size: int | None = 8, pixel: tuple[int, int] | None = None, zoom: int = 1,
        sizes: Sequence[int | None] = POOL_SIZES,
    ) -> Figure:  # fmt: skip
        """The same weights with kernels and gates made from averages over p x p feature pixels, "not retrained", beside
        the network that was trained with pooling.

        Args:
            pool_size: the one to show, one of `sizes`; None is the whole image.

        Raises:
            ValueError: a size that is none of `sizes`.
        """
        steps = self.pooling_steps(sizes)
        label = pooling_label(pool_size)
        if label not in steps:
            raise ValueError(f"pool_size={pool_size!r} is none of {', '.join(map(str, sizes))} (None: whole image).")
        figure = pooling(self.image, steps, stride=self.first.stride, truth=self.truth, chosen=label,
                         window=self._window(pixel, zoom))  # fmt: skip
        return self._linked(figure, pixel, zoom)

    def pooling_steps(self, sizes: Sequence[int | None] = POOL_SIZES) -> dict[str, PoolingStep]:
        """The guided network at each pool size, last the one trained with pooling. Runs what was not run yet."""
        steps = {}
        for p in sizes if 1 in sizes else (1, *sizes):
            run = self.run(Arm(change=pooled_change(p)))
            steps[pooling_label(p)] = PoolingStep(run.maps, run.probability, p, metrics=self.prediction(run).metrics)
        if SOURCES["pooled"] in self.explorer.sources_of(self.family):
            run = self.run(Arm(SOURCES["pooled"]))
            steps[f"pooled, pool size {run.pool_size}"] = PoolingStep(
                run.maps, run.probability, run.pool_size, True, self.prediction(run).metrics
            )
        return steps

    def causal(
        self, changes: Sequence[str] | None = None, pixel: tuple[int, int] | None = None, zoom: int = 1, **options
    ) -> Figure:
        """What changes do to this image's prediction, with controls. See `sgdc_viz.explore.causal`.

        Which head does what: `causal(["head 1 uniform", "head 2 uniform", "head 3 uniform", "head 4 uniform"])`."""
        options = options if changes is None else {"changes": changes, **options}
        return self._linked(causal([self], window=self._window(pixel, zoom), **options), pixel, zoom)

    def region(
        self, change: str = "guidance zeroed", pixel: tuple[int, int] | None = None, zoom: int = 1, *,
        mask: np.ndarray | None = None, width: float = 3.0, controls: bool = True,
    ) -> Figure:  # fmt: skip
        """A change made only inside a region: by default a ring around the outlines, and as much elsewhere.

        Args:
            change: one of `CHANGES`, not "random weights" (they cannot be local).
            mask: bool [H, W], a region of your own (a brush); it takes the place of the ring.
            width: of the ring to each side of the outline, in image pixels.
            controls: add the region "elsewhere" (equally large) and the first region in a network of random weights.

        Raises:
            ValueError: a change that cannot be local, a mask of another shape, or an empty one.
        """
        if change in (RANDOM, REWRITTEN):
            raise ValueError(f"change={change!r} cannot be made in a region: choose another one of CHANGES.")
        arm, regions = self._changed(change), {}
        for label, area, pair, control in self._regions(mask, width, controls):
            after = pair.run(arm, mask=area).probability
            regions[label] = pair._region(area, pair.first.probability, after, control)
        figure = region(self.image, regions, what=change, truth=self.truth, faithfulness=self.rewriting_error(),
                        window=self._window(pixel, zoom))  # fmt: skip
        return self._linked(figure, pixel, zoom)

    def patching(
        self, site: str = "*.guidance", pixel: tuple[int, int] | None = None, zoom: int = 1, *, blur: float = 2.0,
        mask: np.ndarray | None = None, width: float = 3.0, controls: bool = True,
    ) -> Figure:  # fmt: skip
        """What one site knows of the detail, and where: the blurred image is run, with the values of the sharp image at
        `site` inside a region. Effect: share of the way back to the sharp image's prediction (`lens.patch_effect`).

        Args:
            site: name or glob of taps of the first arm's network.
            blur: standard deviation of the Gaussian that takes the detail away, in image pixels.
            mask, width, controls: as for `region`.

        Raises:
            ValueError: no such site, or a blur that does not change the prediction at all.
        """
        regions = {}
        for label, area, pair, control in self._regions(mask, width, controls):
            before, after, effect = pair.explorer.patch(
                pair.family, pair._reference, self.image, self.key, site, blur, area
            )
            regions[label] = pair._region(area, before, after, control, effect)
        what = f"{site.removeprefix('*.')} of the sharp image in the run of the blurred one"
        figure = region(self.image, regions, what=what, truth=self.truth, faithfulness=self.rewriting_error(),
                        window=self._window(pixel, zoom))  # fmt: skip
        return self._linked(figure, pixel, zoom)

    def rewriting_error(self) -> float | None:
        """Largest change of the probability when every tap is overwritten with what passed there: 0 if all is well.

        None where the first arm is changed already: its taps then do not hold what passed."""
        if self._reference.change is not None:
            return None
        again = self.run(Arm(self._reference.source, REWRITTEN))
        return float(np.abs(again.probability - self.first.probability).max())

    # --- views of what was recorded ---

    def boundary_profile(
        self, pixel: tuple[int, int], zoom: int = 4, *, reach: float = 12.0, controls: bool = False
    ) -> Figure:
        """Everything along the normal of the nearest outline: of the truth, or of the first arm's mask without one.

        Args:
            reach: how far to go to each side, in image pixels.
            controls: add the three controls, and the first arm with its guidance zeroed.

        Raises:
            ValueError: pixel outside the image, or there is no outline.
        """
        contour, told = self.contour
        rows = self._rows(controls)
        if controls and self._can(ZEROED) and len(rows) < MOST_LINES:
            rows = {**rows, ZEROED: self.run(self._changed(ZEROED), recorded=True)}
        maps = {name: run.profile for name, run in rows.items()}
        figure = boundary_profile(self.image, maps, pixel, stride=self.first.stride, contour=contour,
                                  contour_is=told, is_truth=contour is self.truth, reach=reach)  # fmt: skip
        lead = replace(figure.lead, linked=True, boxes=())  # a moving mark takes the place of the box
        return self._linked(replace(figure, lead=lead), pixel, zoom)

    def boundary_branch(
        self, tolerance: float = 1.0, pixel: tuple[int, int] | None = None, zoom: int = 1, *, controls: bool = False
    ) -> Figure:
        """The boundary branch against the true outlines. Its one control is random weights: nothing flows back to it.

        Raises:
            ValueError: nobody knows the truth of this image.
        """
        if self.truth is None:
            raise ValueError("the truth of this image is not known: boundary_branch needs it, give truth= to look().")
        boundaries = {name: run.boundary for name, run in self.runs.items()}
        if controls and self.trained:
            boundaries[RANDOM] = self.run(Arm(self._reference.source, RANDOM)).boundary
        figure = boundary_branch(self.image, boundaries, self.truth, stride=self.first.stride, tolerance=tolerance,
                                 window=self._window(pixel, zoom))  # fmt: skip
        return self._linked(figure, pixel, zoom)

    def kernel_maps(self, pixel: tuple[int, int] | None = None, zoom: int = 1, *, controls: bool = False) -> Figure:
        """Entropy, anisotropy, displacement and in-bounds mass of every head's kernels.

        What a head does is another question: `pair.causal(["head 1 uniform", "head 2 uniform", ...])`."""
        maps = {name: run.kernel_maps for name, run in self._rows(controls).items()}
        figure = kernel_maps(self.image, maps, stride=self.first.stride, truth=self.truth,
                             window=self._window(pixel, zoom), controls=CONTROLS if controls else ())  # fmt: skip
        return self._linked(figure, pixel, zoom)

    def ellipses(
        self, pixel: tuple[int, int] | None = None, zoom: int = 1, *, controls: bool = False, across: int = 12
    ) -> Figure:
        """Where the kernels of every head take their values from; `across` ellipses from side to side."""
        shapes = {name: run.ellipses for name, run in self._rows(controls).items()}
        figure = ellipses(self.image, shapes, stride=self.first.stride, window=self._window(pixel, zoom),
                          truth=self.truth, across=across, controls=CONTROLS if controls else ())  # fmt: skip
        return self._linked(figure, pixel, zoom)

    def sge_stages(self, pixel: tuple[int, int] | None = None, zoom: int = 1) -> Figure:
        """The guided network's boundary branch, step by step. Control: `pair.random_weights().sge_stages()`."""
        stages, strides = self.explorer.stages(self.family, self.image, self.key)
        figure = sge_stages(self.image, stages, strides=strides, truth=self.truth, window=self._window(pixel, zoom))
        return self._linked(figure, pixel, zoom)

    def statistic_by_distance(self, **options) -> Figure:
        """Statistics against the distance to the outlines, this image alone. See `explore.statistic_by_distance`."""
        return statistic_by_distance([self], **options)

    # --- what the views share ---

    @property
    def contour(self) -> tuple[np.ndarray, str]:
        """(object numbers or mask [H, W], what it is): the truth, or the first arm's mask where nobody knows it.

        Raises:
            ValueError: no truth, and nothing (or everything) predicted to be an object: there is no outline.
        """
        if self.truth is not None and self.truth.any():
            return self.truth, "true outline"
        label, run = next(iter(self.runs.items()))
        if not run.mask.any() or run.mask.all():
            raise ValueError(f"there is no outline in this image: no truth, and the {label} mask is empty or full.")
        return run.mask, f"outline of the {label} mask"

    def control_arms(self) -> dict[str, Arm]:
        """What a claim about the first arm must survive: its label -> the same network, changed."""
        if self.family == untrained_of(self.family):
            return {name: self._changed(name) for name in CONTROLS if name != RANDOM and self._can(name)}
        return {name: self._changed(name) for name in CONTROLS if self._can(name)}

    @property
    def first(self) -> Run:
        return next(iter(self.runs.values()))

    @property
    def _reference(self) -> Arm:
        return next(iter(self.arms.values()))

    def _remark(self) -> str:
        """What is different between the two arms, where a picture of both could mislead."""
        arms = list(self.arms.values())
        if arms == [Arm(), Arm(SOURCES["pooled"])]:
            return (
                "Two things differ here; the fine detail comes from being made per pixel, not from guidance alone: "
                "compare with “guidance zeroed”."
            )
        if arms[0] == Arm() and arms[1].change in map(pooled_change, POOL_SIZES[1:]):
            return "Same weights, guidance in both: only the sharing differs."
        return ""

    def _beyond(self) -> str:
        """Guided minus pooled over all test images of the shipped networks; empty for other arms or without results."""
        if list(self.arms.values()) != [Arm(), Arm(SOURCES["pooled"])]:
            return ""
        file = checkpoints.assets_dir() / RESULTS_FILE
        results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        told = [results.get(f"{self.family}-{source}") for source in SOURCES.values()]
        if None in told:
            return ""
        gaps = [(name, paired_difference(*(t["images"] for t in told), metric))
                for metric, name in (("iou", "IoU"), ("nsd1", "surface Dice at 1 px"))]  # fmt: skip
        first, second = self.runs
        return (
            f"One image is an anecdote: over the {told[0]['summary']['images']} test images of these networks "
            f"({told[0]['data']['name']}), {first} minus {second} is "
            + ", ".join(f"{name} {_gap(g['mean'])} ({_gap(g['low'])} to {_gap(g['high'])})" for name, g in gaps)
            + "; in brackets the 95 % interval over images."
        )

    def _can(self, change: str) -> bool:
        return self._reference.source == "structure" or CHANGES[change][0] != "*.guidance"

    def _changed(self, change: str) -> Arm:
        arm = self._reference
        if arm.change is not None:
            raise ValueError(f"{next(iter(self.arms))!r} is changed already ({arm.change}): one change at a time.")
        return Arm(arm.source, change)

    def _two(self) -> tuple[tuple[str, Run], tuple[str, Run]]:
        first, second, *_ = self.runs.items()
        return first, second

    def _regions(self, mask: np.ndarray | None, width: float, controls: bool) -> list[tuple]:
        """(name, mask, pair to run, is it a control) of each region."""
        name = "ring around the outlines" if mask is None else "your region"
        area = ring(self.contour[0], width) if mask is None else self._check_mask(mask)
        rows = [(name, area, self, False)]
        if controls:
            rows.append(("as large, elsewhere", elsewhere(area), self, True))
            if self.trained:
                rows.append((f"{name}, random weights", area, self.random_weights(), True))
        return rows

    def _region(self, area, before, after, control: bool, effect: float | None = None) -> Region:
        """With surface Dice before and after, where the truth is known."""
        dice = None
        if self.truth is not None:
            dice = tuple(self._metrics(probability > 0.5)["nsd1"] for probability in (before, after))
        return Region(area, before, after, effect, control, dice)

    def _metrics(self, mask: np.ndarray) -> dict[str, float]:
        name = np.packbits(mask).tobytes()
        if name not in self._scores:
            self._scores[name] = evaluate_masks(mask, self.truth > 0)
        return self._scores[name]

    def _rows(self, controls: bool) -> dict[str, Run]:
        if not controls:
            return self.runs
        return {**self.runs, **{name: self.run(arm, recorded=True) for name, arm in self.control_arms().items()}}

    def _window(self, pixel: tuple[int, int] | None, zoom: int) -> tuple[int, int, int, int] | None:
        if pixel is None:
            return None
        check_pixel(pixel, self.image)
        return window_around(pixel, self.image.shape[:2], zoom)

    def _linked(self, figure: Figure, pixel: tuple[int, int] | None, zoom: int) -> Figure:
        return figure if pixel is None else linked(figure, self.key, pixel, self.first.stride, zoom)

    def _check_mask(self, mask: np.ndarray) -> np.ndarray:
        mask = np.asarray(mask)
        if mask.dtype.kind not in "biu":
            raise ValueError(f"mask is {mask.dtype}: give bool [H, W], such as mask > 0.5.")
        mask = mask.astype(bool)
        if mask.shape != self.image.shape[:2]:
            raise ValueError(f"mask has shape {mask.shape} and the image {self.image.shape[:2]}: make them agree.")
        if not mask.any():
            raise ValueError("mask is empty: mark at least one pixel.")
        return mask


def _gap(value: float) -> str:
    """A difference of two scores, with its sign: "+0.005"."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", MINUS)
