"""What a forward pass leaves in memory for the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def saved_for_backward(forward: Callable[[], Any]) -> tuple[Tensor, ...]:
    """What autograd keeps between `forward()` and its backward pass: one tensor for each storage.

    Views share the storage of what they look at, so a shifted view of an image costs nothing more. Works on the meta
    device too, where tensors have a shape but no numbers: sizes can be counted that this machine could not hold.
    """
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # kept alive, or another storage could get the same identity
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return tuple(kept.values())
