"""Runs images through networks, changed or not, and keeps what was seen, so that a click needs no forward pass."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from sgdc_viz.learn.metrics import evaluate_masks
from sgdc_viz.nn import KERNEL_SOURCES, SGDCNet
from sgdc_viz.views import SGEStages

from .arms import RANDOM, Arm, arms_of, comparisons_of
from .networks import (
    MOST_BYTES,
    MOST_PARAMETERS,
    OWN,
    SOURCES,
    UNTRAINED,
    digest,
    fit,
    load_network,
    place,
    read_network,
    untrained_like,
    untrained_of,
)
from .pair import Pair
from .runs import Run, run_network, run_patched, run_stages
from .whole import Progress, Whole, segment

ARMS = {name: Arm(source) for name, source in SOURCES.items()}
TINY = 32  # pixels of the shorter side below which a trained network sees too little to say anything
KEEP_LIGHT = 64  # maps and predictions without a recording; 2 MB each for a 512 x 512 image
KEEP_OWN = 4  # networks that people brought
KEEP_WHOLE = 256 * 2**20  # bytes of whole segmented images; one of 4096 x 4096 pixels takes 48 MB
KEEP_SCORES = 64


class Explorer:
    """Runs images through pairs of networks and keeps the last recordings, so that a click needs no forward pass.

    Args:
        keep: how many recordings to keep. One takes about 20 MB for a 256 x 256 image, 80 MB for 512 x 512.
        keep_own: how many networks that people brought to keep (`add_network`).
        keep_whole: bytes of whole segmented images to keep (`whole`).

    Safe to call from several threads: one lock guards networks and recordings (hooks are state of a network).

    Attributes:
        forward_passes: how often a network ran to be looked at.
    """

    def __init__(self, keep: int = 6, keep_own: int = KEEP_OWN, keep_whole: int = KEEP_WHOLE):
        if keep < 2:
            raise ValueError(f"keep={keep} must be at least 2: a pair has two recordings.")
        if keep_own < 1:
            raise ValueError(f"keep_own={keep_own} must be at least 1 network.")
        self._keep, self._keep_own, self._keep_whole = keep, keep_own, keep_whole
        self._lock = threading.Lock()
        self._networks: dict[tuple[str, str], SGDCNet] = {}
        self._runs: OrderedDict[Hashable, Run] = OrderedDict()  # with recordings
        self._light: OrderedDict[Hashable, Run | tuple] = OrderedDict()  # without
        self._own: OrderedDict[str, SGDCNet] = OrderedDict()  # what people brought, by digest of the file
        self._whole: OrderedDict[Hashable, Whole] = OrderedDict()
        self._scores: OrderedDict[Hashable, dict] = OrderedDict()  # of whole images against their truth
        self.forward_passes = 0

    def look(
        self, family: str, image: np.ndarray, truth: np.ndarray | None = None, *,
        centre: tuple[int, int] | None = None,
    ) -> Pair:  # fmt: skip
        """The image through the guided and the pooled network of a family.

        Of networks that somebody brought: through all of them; a single one beside itself, changed.

        Args:
            family: "nuclei", "dermoscopy", "synthetic", "untrained", or what `add_network` returned.
            image: uint8 RGB [H, W, 3].
            truth: object numbers (or a binary mask) [H, W], if known.
            centre: (row, column) of the image; of an image too large to be looked at in one piece, the part around it
                is seen (None: its middle). `Pair.place` says where that part lies.

        Raises:
            ValueError: unknown family, missing weights, an image that is not uint8 [H, W, 3], a truth that does not
                fit it, or a centre outside it.
        """
        arms = self.arms_of(family)
        if len(arms) < 2:
            arms |= dict([next(iter(self.comparisons_of(family).items()))])
        return self.compare(family, image, arms, truth, centre=centre)

    def compare(
        self, family: str, image: np.ndarray, arms: Mapping[str, Arm], truth: np.ndarray | None = None, *,
        centre: tuple[int, int] | None = None,
    ) -> Pair:  # fmt: skip
        """The image through any two or more arms of a family: {"guided": Arm(), "shuffled": Arm(change=...)}.

        Args:
            family, image, truth, centre: as for `look`.
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
        image, truth, notes = fit(image, truth, longest_side, centre)
        if min(*given, *image.shape[:2]) < TINY and info is not None:
            crop = info.training.get("config", {}).get("crop")
            windows = f"windows of {crop} × {crop} pixels" if crop else "larger ones"
            notes += (f"The image is too small: the networks were trained on {windows}; what they show here means "
                      "nothing.",)  # fmt: skip
        if classes := networks[0].config.num_classes - 1:
            notes += (f"This network tells {classes} kinds of objects apart; probability here is that of any of them.",)
        key = digest(image)
        runs = {name: self.run(family, arm, image, key, recorded=True) for name, arm in arms.items()}
        trained = untrained_of(family) != family and all(arm.change != RANDOM for arm in arms.values())
        return Pair(key, image, runs, truth, trained, notes, family, dict(arms), self,
                    place(given, image.shape[:2], longest_side, centre))  # fmt: skip

    def whole(
        self, family: str, image: np.ndarray, arm: Arm | None = None, truth: np.ndarray | None = None, *,
        tile: int | None = None, overlap: int | None = None,
    ) -> Iterator[Progress]:  # fmt: skip
        """The whole image through one network, tile by tile at the network's scale: steps, the last with the result.

            for step in explorer.whole("nuclei", image):
                print(step.done, "of", step.all)
            step.result.mask

        Other threads get their turn between two tiles; closing the iterator there stops the work. The same image is
        not segmented again as long as its result is kept; then the result is the only step.

        Args:
            family, image, truth: as for `look`; an image of any size.
            arm: one of the family's networks as it is, by default the first (`arms_of`).
            tile, overlap: see `sgdc_viz.learn.predict.predict_tiles`.

        Raises:
            ValueError: as `look`, or an arm with a change: changes are looked at in a part of the image.
        """
        image, truth = _checked(image, truth)
        arm = arm or next(iter(self.arms_of(family).values()))
        if arm.change is not None:
            raise ValueError(
                f"change={arm.change!r}: whole images are segmented by networks as they are; look at a change in a "
                "part of the image."
            )
        with self._lock:
            network = self._network(family, arm)
        return self._segment((family, arm.source, digest(image), tile, overlap), network, image, truth)

    def has_whole(self, family: str, image: np.ndarray) -> bool:
        """Whether `whole` has the result of the family's first network for this image already."""
        arm = next(iter(self.arms_of(family).values()))
        with self._lock:
            return (family, arm.source, digest(image), None, None) in self._whole

    def _segment(
        self, name: tuple, network: SGDCNet, image: np.ndarray, truth: np.ndarray | None
    ) -> Iterator[Progress]:
        with self._lock:
            found = self._whole.get(name)
            if found is not None:
                self._whole.move_to_end(name)
        if found is None:
            for step in segment(network, image, self._lock, *name[-2:]):
                if step.result is None:
                    yield step
            found = step.result
            with self._lock:
                self.forward_passes += found.tiles
                _put(self._whole, name, found, self._keep_whole, lambda whole: whole.nbytes)
        if truth is not None:
            score = (name, digest(truth))
            metrics = self._scores.get(score) or evaluate_masks(found.mask, truth > 0)  # not locked: takes seconds
            with self._lock:
                _put(self._scores, score, metrics, KEEP_SCORES)
            found = replace(found, metrics=metrics)
        yield Progress(found.tiles, found.tiles, found)

    # --- families ---

    def add_network(
        self, data: bytes, name: str, partner: str | None = None, *, most_bytes: int = MOST_BYTES,
        most_parameters: int = MOST_PARAMETERS,
    ) -> str:  # fmt: skip
        """Take a network that somebody brings; the last few are kept, in memory only.

        Args:
            data: the bytes of a .safetensors file that `sgdc_viz.learn.save_checkpoint` wrote.
            name: of the file, for messages.
            partner: a family that was returned before; the two networks then make one family, to be compared.
            most_bytes, most_parameters: larger ones are refused.

        Returns:
            The family, "own-...", for `look`, `compare`, `whole`, `arms_of` and `comparisons_of`.

        Raises:
            ValueError: as `sgdc_viz.explore.networks.read_network`, or a partner that is no longer kept or does not
                fit: same kernel source, another scale or another stride.
        """
        network = read_network(data, name, most_bytes, most_parameters)
        key = hashlib.sha256(data).hexdigest()[:16]
        with self._lock:
            members = {network.config.kernel_source: key}
            if partner is not None:
                for source, other in self._members(partner).items():
                    if other == key:
                        continue
                    _check_partner(network, self._own[other], name)
                    members[source] = other
            _put(self._own, key, network, self._keep_own)
        ordered = sorted(members, key=KERNEL_SOURCES.index)
        return f"{OWN}-{'+'.join(members[source] for source in ordered)}"

    def sources_of(self, family: str) -> tuple[str, ...]:
        """Kernel sources of a family's networks; the first is looked at first.

        Raises:
            ValueError: networks that somebody brought and that are no longer kept.
        """
        if not _is_own(family):
            return tuple(SOURCES.values())
        with self._lock:
            return tuple(self._members(family))

    def arms_of(self, family: str) -> dict[str, Arm]:
        """Row name -> arm of each network of a family: {"guided": Arm(), "pooled": Arm("pooled")}. Raises as above."""
        return arms_of(self.sources_of(family))

    def comparisons_of(self, family: str) -> dict[str, Arm]:
        """Row name -> what a family's first network can be compared with (of random weights: not with themselves)."""
        told = comparisons_of(self.sources_of(family))
        return {name: arm for name, arm in told.items() if arm.change != RANDOM or untrained_of(family) != family}

    def names_of(self, family: str) -> dict[str, str]:
        """Row name -> name of each network, for tables: "nuclei-structure", "own-1f3c... (structure)"."""
        sources = self.sources_of(family)
        if not _is_own(family):
            names = [f"{family}-{source}" for source in sources]
        else:
            start, keys = family.split("-", 1)
            names = [f"{start}-{key} ({source})" for key, source in zip(keys.split("+"), sources, strict=True)]
        return dict(zip(arms_of(sources), names, strict=True))

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
        family, change = (untrained_of(family), None) if arm.change == RANDOM else (family, arm.change)
        name = (family, arm.source, change, key, region)
        with self._lock:
            if name in self._runs:
                self._runs.move_to_end(name)
                return self._runs[name]
            if not recorded and name in self._light:
                self._light.move_to_end(name)
                return self._light[name]
            network = self._network(family, arm)
            run = run_network(network, image, change, mask)
            if network.config.kernel_source == "global":  # all pixels share one kernel
                run = replace(run, pool_size=max(run.maps.entropy.shape))
            self.forward_passes += 1
            if recorded:
                _put(self._runs, name, run, self._keep)
            _put(self._light, name, run.light(), KEEP_LIGHT)
            return run if recorded else self._light[name]

    def stages(self, family: str, image: np.ndarray, key: str) -> tuple[SGEStages, tuple[int, int]]:
        """The steps of the first network's boundary branch on one fitted image, and its (deep, shallow) strides."""
        name, arm = (family, "stages", key), next(iter(self.arms_of(family).values()))
        with self._lock:
            if name not in self._light:
                _put(self._light, name, run_stages(self._network(family, arm), image), KEEP_LIGHT)
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
        family = untrained_of(family) if arm.change == RANDOM else family
        if _is_own(family):
            members = self._members(family)
            if arm.source not in members:
                raise ValueError(
                    f"there is no {arm.source!r} network beside the one that was uploaded: upload one as its partner."
                )
            network = self._own[members[arm.source]]
            # made anew each time it is asked for: what it showed is kept
            return untrained_like(network.config) if family.startswith(UNTRAINED) else network
        name = (family, arm.source)
        if name not in self._networks:
            self._networks[name] = load_network(*name)
        return self._networks[name]

    def _members(self, family: str) -> dict[str, str]:
        """kernel source -> key in `_own` of each network of a family that somebody brought."""
        keys = family.split("-", 1)[1].split("+")
        if not _is_own(family) or any(key not in self._own for key in keys):
            raise ValueError("these networks are no longer kept (only the last few are): upload them again.")
        for key in keys:
            self._own.move_to_end(key)
        return {self._own[key].config.kernel_source: key for key in keys}


def _is_own(family: str) -> bool:
    return family.startswith((f"{OWN}-", f"{UNTRAINED}-"))


def _check_partner(network: SGDCNet, other: SGDCNet, name: str) -> None:
    """Can what the two networks do be laid side by side, pixel by pixel?"""
    a, b = network.config, other.config
    if a.kernel_source == b.kernel_source:
        raise ValueError(
            f"{name!r} makes its kernels from {a.kernel_source!r}, as the first network does: a partner needs another "
            "kernel_source, such as 'pooled'."
        )
    scales = [n.info.data.get("longest_side") for n in (network, other)]
    if scales[0] != scales[1] or a.strides != b.strides:
        raise ValueError(
            f"{name!r} sees images at another scale than the first network (longest side {scales[0]} and {scales[1]} "
            f"pixels, strides {a.strides} and {b.strides}): train both alike."
        )


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


def _put(
    kept: OrderedDict, name: Hashable, value: object, size: int, weigh: Callable[[object], int] = lambda _: 1
) -> None:
    """Keep `value` as the newest; the oldest go until all together weigh at most `size` (by default their number)."""
    kept[name] = value
    kept.move_to_end(name)
    while sum(map(weigh, kept.values())) > size:
        kept.popitem(last=False)
