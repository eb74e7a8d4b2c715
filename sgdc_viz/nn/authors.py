"""Load weights saved with the authors' released SGE and SGDC modules (arXiv 2602.23496)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from .sgdc import SGDC
from .sge import SGE

# Constants that the release keeps as weights: the dense Sobel filters. SGE computes the same without them.
_DROPPED = ("sobel_x.weight", "sobel_y.weight")


def load_authors_state_dict(module: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Copy a state dict of the authors' SGE or SGDC into ours, in place. Our outputs then equal theirs.

    Args:
        module: an `SGE` or `SGDC` of the same widths, with default options (each option departs from the release).
        state_dict: names as in the release, with or without one common prefix such as "module." or "sgdc1.".

    Raises:
        TypeError: if `module` is something else, or `state_dict` no mapping of names to tensors.
        ValueError: if names or shapes do not fit; the message says which. `module` is then unchanged.
    """
    if not isinstance(module, SGE | SGDC):
        raise TypeError(f"load_authors_state_dict fills an SGE or an SGDC, not a {type(module).__name__}.")
    if not isinstance(state_dict, Mapping) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise TypeError("state_dict must map names to tensors, as torch's module.state_dict() does.")
    own = module.state_dict()
    prefix = _common_prefix(state_dict, own)
    given = {name[len(prefix) :]: value for name, value in state_dict.items()}
    given = {name: value for name, value in given.items() if name not in _DROPPED}
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    extra = [name for name in given if name not in own]
    wrong = [
        f"{name} {tuple(given[name].shape)}, here {tuple(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    problems = [("missing", missing), ("unknown", extra), ("of another shape", wrong)]
    told = "; ".join(
        f"{what}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}" for what, names in problems if names
    )
    if told:
        raise ValueError(
            f"these weights do not fit this {type(module).__name__} ({told}). Check its widths, heads and kernel size."
        )
    module.load_state_dict(given, strict=False)


def _common_prefix(state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """What stands before our own names in all of theirs: "" or, say, "module.sge."."""
    anchor = next(iter(own))  # a parameter that every release checkpoint of this module has
    for name in state_dict:
        if name.endswith(anchor) and all(other.startswith(name[: -len(anchor)]) for other in state_dict):
            return name[: -len(anchor)]
    return ""
