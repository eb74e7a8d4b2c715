"""Which taps a model has, and which of them were asked for.

A *tap* is a named identity module inside a block (see sgdc.py); a *site* is its full name in a model, for example
"decoder.s2.block.kernels".
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from sgdc_viz.nn import SGDC, SGE, BaselineBlock


def sites(model: nn.Module) -> tuple[str, ...]:
    """Names of all taps in `model`, in the order of its modules: those of SGDC blocks and of the boundary branch (SGE).

    Not every tap fires: `guidance` is read by `kernel_source="structure"` alone.
    """
    owners = [(name, m) for name, m in model.named_modules() if isinstance(m, SGDC | SGE)]
    return tuple(join(name, tap) for name, m in owners for tap, t in m.named_children() if isinstance(t, nn.Identity))


def blocks(model: nn.Module) -> tuple[str, ...]:
    """Names of the SGDC blocks in the order of the model's modules: coarse to fine in `SGDCNet`; "" for a bare SGDC."""
    return tuple(name for name, module in model.named_modules() if isinstance(module, SGDC))


def select(model: nn.Module, patterns: list[str]) -> tuple[str, ...]:
    """The sites that any of `patterns` matches, in the order of the model; ValueError where one matches none."""
    if not patterns:
        raise ValueError("patterns is empty: name at least one site, or '*' for all.")
    known = sites(model)
    near = [*known, *_globs(known)]
    for pattern in patterns:
        # In a network of baseline blocks "*" would find the boundary branch alone, not what "everything" promises.
        if not any(fnmatchcase(site, pattern) for site in known) or (pattern == "*" and _baseline(model)):
            raise ValueError(f"{pattern!r} matches no site{hint(model, pattern, near)}.")
    return tuple(site for site in known if any(fnmatchcase(site, pattern) for pattern in patterns))


def hint(model: nn.Module, asked: str, known: Sequence[str]) -> str:
    """End of the sentence about an unknown name: why there are none, or the nearest of `known`."""
    if source := _baseline(model):
        return f": the blocks of this network are {source!r}, which make no kernel per pixel and so have no SGDC taps"
    if not known:
        return f": there is no SGDC block in this {type(model).__name__}"
    return f": did you mean {difflib.get_close_matches(asked, known, n=1, cutoff=0.0)[0]!r}"


def join(owner: str, tap: str) -> str:
    """Full name of a tap; the owner of a bare block's taps is ""."""
    return f"{owner}.{tap}" if owner else tap


def check_recordable(model: nn.Module) -> None:
    """Raise for models on which hooks would see nothing, or something other than what the model predicts with."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"record needs a torch module, not a {type(model).__name__}.")
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError("record cannot see into a scripted or traced module: record the module it was made from.")
        # torch.compile(model) wraps, model.compile() marks. Neither is public, so go by what they leave behind.
        if type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError("record cannot see into a torch.compile'd module: record the model without compiling it.")
        if module.training:
            raise ValueError(
                f"{type(module).__name__} is in training mode, where dropout and batch norm make other values than in "
                "prediction: call model.eval() first."
            )


def _baseline(model: nn.Module) -> str | None:
    """The kernel source of a network made of baseline blocks, or None."""
    if blocks(model):
        return None
    return next((m.kernel_source for m in model.modules() if isinstance(m, BaselineBlock)), None)


def _globs(known: Sequence[str]) -> list[str]:
    """Useful globs to suggest: "*.kernels" for each tap and "decoder.s2.*" for each part of the model."""
    dotted = [site.split(".") for site in known if "." in site]
    taps = {f"*.{parts[-1]}" for parts in dotted}
    return sorted(taps | {".".join([*parts[:n], "*"]) for parts in dotted for n in range(1, len(parts))})
