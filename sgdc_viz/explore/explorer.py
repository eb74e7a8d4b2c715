"""Runs images through networks, changed or not, and keeps what was seen, so that a click needs no forward pass."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping

import numpy as np

from sgdc_viz.nn import SGDCNet
from sgdc_viz.views import SGEStages

from .arms import RANDOM, Arm
from .networks import SOURCES, UNTRAINED, digest, fit, load_network, place
from .pair import Pair
from .runs import Run, run_network, run_patched, run_stages

ARMS = {name: Arm(source) for name, source in SOURCES.items()}
TINY = 32  # pixels of the shorter side below which a trained network sees too little to say anything
KEEP_LIGHT = 64  # maps and predictions without a recording; 2 MB each for a 512 x 512 image


class Explorer:
    """Runs images through pairs of networks and keeps the last recordings, so that a click needs no forward pass.

    Args:
        keep: how many recordings to keep. One takes about 20 MB for a 256 x 256 image, 80 MB for 512 x 512.

    Safe to call from several threads: one lock guards networks and recordings (hooks are state of a network).

    Attributes:
        forward_passes: how often a network ran to be looked at.
    """

    def __init__(self, keep: int = 6):
        if keep < 2:
            raise ValueError(f"keep={keep} must be at least 2: a pair has two recordings.")
        self._keep = keep
        self._lock = threading.Lock()
        self._networks: dict[tuple[str, str], SGDCNet] = {}
        self._runs: OrderedDict[Hashable, Run] = OrderedDict()  # with recordings
        self._light: OrderedDict[Hashable, Run | tuple] = OrderedDict()  # without
        self.forward_passes = 0

    def look(self, family: str, image: np.ndarray, truth: np.ndarray | None = None) -> Pair:
        """The image through the guided and the pooled network of a family.

        Args:
            family: "nuclei", "dermoscopy", "synthetic" or "untrained".
            image: uint8 RGB [H, W, 3].
            truth: object numbers (or a binary mask) [H, W], if known.

        Raises:
            ValueError: unknown family, missing weights, an image that is not uint8 [H, W, 3] or a truth that does not
                fit it.
        """
        return self.compare(family, image, ARMS, truth)

    def compare(self, family: str, image: np.ndarray, arms: Mapping[str, Arm], truth: np.ndarray | None = None) -> Pair:
        """The image through any two or more arms of a family: {"guided": Arm(), "shuffled": Arm(change=...)}.

        Args:
            family, image, truth: as for `look`.
            arms: label -> arm; the first is what the others are compared with.

        Raises:
            ValueError: as `look`, or fewer than two arms.
        """
        if len(arms) < 2:
            raise ValueError(f"a comparison needs at least two arms, got {list(arms)}.")
        image, truth = _checked(image, truth)
        with self._lock:
            networks = [self._network(family, arm) for arm in arms.values()]
        info = getattr(networks[0], "info", None)
        longest_side, given = info.data.get("longest_side") if info else None, image.shape[:2]
        image, truth, notes = fit(image, truth, longest_side)
        if min(*given, *image.shape[:2]) < TINY and info is not None:
            crop = info.training.get("config", {}).get("crop")
            windows = f"windows of {crop} × {crop} pixels" if crop else "larger ones"
            notes += (f"The image is too small: the networks were trained on {windows}; what they show here means "
                      "nothing.",)  # fmt: skip
        key = digest(image)
        runs = {name: self.run(family, arm, image, key, recorded=True) for name, arm in arms.items()}
        trained = family != UNTRAINED and all(arm.change != RANDOM for arm in arms.values())
        return Pair(key, image, runs, truth, trained, notes, family, dict(arms), self,
                    place(given, image.shape[:2], longest_side))  # fmt: skip

    def run(
        self, family: str, arm: Arm, image: np.ndarray, key: str, *, mask: np.ndarray | None = None,
        recorded: bool = False,
    ) -> Run:  # fmt: skip
        """One fitted image through one arm; from memory if it was there before.

        Args:
            key: names the image, as in `Pair.key`.
            mask: bool [H, W], where the arm's change is made; None: everywhere.
            recorded: with the recording, for views of kernels and single pixels.
        """
        region = None if mask is None else digest(mask)
        # Arm(structure, random weights) is the structure arm of the family "untrained": one run serves both.
        family, change = (UNTRAINED, None) if arm.change == RANDOM else (family, arm.change)
        name = (family, arm.source, change, key, region)
        with self._lock:
            if name in self._runs:
                self._runs.move_to_end(name)
                return self._runs[name]
            if not recorded and name in self._light:
                self._light.move_to_end(name)
                return self._light[name]
            run = run_network(self._network(family, arm), image, change, mask)
            self.forward_passes += 1
            if recorded:
                _put(self._runs, name, run, self._keep)
            _put(self._light, name, run.light(), KEEP_LIGHT)
            return run if recorded else self._light[name]

    def stages(self, family: str, image: np.ndarray, key: str) -> tuple[SGEStages, tuple[int, int]]:
        """The steps of the guided network's boundary branch on one fitted image, and its (deep, shallow) strides."""
        name = (family, "stages", key)
        with self._lock:
            if name not in self._light:
                _put(self._light, name, run_stages(self._network(family, Arm()), image), KEEP_LIGHT)
                self.forward_passes += 1
            self._light.move_to_end(name)
            return self._light[name]

    def patch(
        self, family: str, arm: Arm, image: np.ndarray, key: str, site: str, blur: float, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Put values of the sharp image into the run of the blurred one, see `run_patched`."""
        name = (family, arm.source, "patched", site, blur, key, digest(mask))
        with self._lock:
            if name not in self._light:
                patched = run_patched(self._network(family, arm), image, site, blur, mask)
                _put(self._light, name, patched, KEEP_LIGHT)
                self.forward_passes += 3
            self._light.move_to_end(name)
            return self._light[name]

    def _network(self, family: str, arm: Arm) -> SGDCNet:
        name = (UNTRAINED if arm.change == RANDOM else family, arm.source)
        if name not in self._networks:
            self._networks[name] = load_network(*name)
        return self._networks[name]


def _checked(image: np.ndarray, truth: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Image and truth as arrays, if they are what the networks take."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"image is {image.dtype} {list(image.shape)}: give uint8 [H, W, 3], RGB from 0 to 255; where values go "
            "from 0 to 1, (image * 255).astype(np.uint8)."
        )
    if truth is None:
        return image, None
    truth = np.asarray(truth)
    if truth.dtype.kind not in "iub" or truth.shape != image.shape[:2]:
        raise ValueError(
            f"truth is {truth.dtype} {list(truth.shape)}: give object numbers or a bool mask {list(image.shape[:2])}, "
            "the image's height and width; from probabilities, truth > 0.5."
        )
    return image, truth


def _put(kept: OrderedDict, name: Hashable, value: object, size: int) -> None:
    """Keep `value` as the newest of at most `size`."""
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > size:
        kept.popitem(last=False)
