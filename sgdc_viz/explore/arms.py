"""An arm is a trained network and possibly a change made to what passes through it; the weights stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from sgdc_viz.lens import constant, delta, intervene, mean, permute, pooled, record, shuffle, swap, uniform, zero
from sgdc_viz.nn import KERNEL_SOURCES, SGDCNet

POOL_SIZES = (1, 2, 4, 8, 16, 32, None)  # p of the counterfactual in feature pixels; None: the whole image
HEADS = 4  # of each block of the networks
RANDOM = "random weights"
MIRRORED, REWRITTEN = "guidance mirrored", "rewritten"


def pooled_change(pool_size: int | None) -> str | None:
    """Name of the change that averages the context of kernels and gates over blocks; None for pool size 1."""
    return None if pool_size == 1 else f"pooled {'global' if pool_size is None else pool_size}"


def pooling_label(pool_size: int | None) -> str:
    """How a pool size is written: "guided, pool size 1", "pool size 4", "whole image"."""
    if pool_size is None:
        return "whole image"
    return f"{'guided, ' * (pool_size == 1)}pool size {pool_size}"


# What people read -> the site that is changed in every block, and what is put there.
CHANGES = {
    "guidance zeroed": ("*.guidance", zero),
    "guidance averaged": ("*.guidance", mean),
    "guidance shuffled": ("*.guidance", shuffle),
    MIRRORED: ("*.guidance", swap),  # what the boundary branch says of the image mirrored left to right
    "kernels uniform": ("*.kernels", uniform),
    **{f"head {h} uniform": ("*.kernels", partial(uniform, h - 1)) for h in range(1, HEADS + 1)},  # what each head does
    "kernels centre only": ("*.kernels", delta),
    "kernels permuted": ("*.kernels", permute),
    "static gate open": ("*.gate_static", partial(constant, 1.0)),
    "static gate shut": ("*.gate_static", zero),
    "dynamic gate open": ("*.gate_dynamic", partial(constant, 1.0)),
    "dynamic gate shut": ("*.gate_dynamic", zero),
    **{pooled_change(p): ("*.context", partial(pooled, p)) for p in POOL_SIZES[1:]},
    REWRITTEN: ("*", swap),  # everything replaced by what it is: changes nothing, which is the check
    RANDOM: (None, None),  # the same network, untrained
}
CONTROLS = (RANDOM, "guidance shuffled", "kernels permuted")  # what a claim about the guided network must survive


@dataclass(frozen=True)
class Arm:
    """A network of a family, and what is changed in it while it runs.

    Attributes:
        source: `kernel_source` of the network, "structure" or "pooled".
        change: a key of `CHANGES`, or None for the network as it is.

    Raises:
        ValueError: unknown source or change, or a change of something that this network does not have.
    """

    source: str = "structure"
    change: str | None = None

    def __post_init__(self):
        if self.source not in KERNEL_SOURCES:
            raise ValueError(f"source={self.source!r} is unknown: use one of {', '.join(KERNEL_SOURCES)}.")
        if self.change is not None and self.change not in CHANGES:
            raise ValueError(f"change={self.change!r} is unknown: use one of {', '.join(CHANGES)}.")
        if self.source != "structure" and self.change and CHANGES[self.change][0] == "*.guidance":
            raise ValueError(
                f"change={self.change!r}: a {self.source!r} network reads no guidance; change its kernels."
            )


POOLED_CONTEXT = {p: f"context pooled, {pooling_label(p)}" for p in (2, 4, 8, 16, None)}
# Row name -> what the guided network is compared with. The first is another network, trained without guidance and with
# kernels per block: two differences at once. The others are the guided network itself with one thing changed.
COMPARISONS = {
    "pooled": Arm("pooled"),
    **{change: Arm(change=change) for change in ("guidance zeroed", "guidance shuffled", "kernels permuted")},
    **{name: Arm(change=pooled_change(p)) for p, name in POOLED_CONTEXT.items()},
    RANDOM: Arm(change=RANDOM),
}
LABELS = {"structure": "guided"}  # kernel_source -> what people read; the others are called by their own names


def arms_of(sources: Sequence[str]) -> dict[str, Arm]:
    """Row name -> arm of each of a family's networks, given their kernel sources; the first is looked at first."""
    return {LABELS.get(source, source): Arm(source) for source in sources}


def comparisons_of(sources: Sequence[str]) -> dict[str, Arm]:
    """Row name -> what a family's first network can be compared with: its other networks, and changes of itself."""
    first, *others = sources
    told = arms_of(others)
    for name, arm in COMPARISONS.items():
        site = CHANGES[arm.change][0] if arm.change else None
        unread = site == "*.guidance" and first != "structure"
        shared = site == "*.context" and first in ("pooled", "global")  # of blocks already
        if arm.change and not unread and not shared:
            told[name] = Arm(first, arm.change)
    return told


@contextmanager
def changed(
    network: SGDCNet, change: str | None, image: torch.Tensor, mask: np.ndarray | None = None
) -> Iterator[None]:
    """Run `network` inside the `with` block with one of `CHANGES` made to it.

    Args:
        image: [1, 3, H, W], what the network will be run on (some changes need a run of their own first).
        mask: bool [H, W], image pixels where the change is made; None: everywhere.
    """
    site, make = CHANGES[change] if change else (None, None)
    if site is None:
        yield
        return
    if make is swap:
        with record(network, site) as other, torch.no_grad():
            network(image.flip(-1) if change == MIRRORED else image)
        changes = {name: swap(other) for name in other.sites}
    else:
        changes = {site: make()}
    with intervene(network, changes, mask=None if mask is None else torch.from_numpy(mask)):
        yield
