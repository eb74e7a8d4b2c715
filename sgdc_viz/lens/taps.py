"""Which taps a model has, and which of them were asked for.

A *tap* is a named identity module inside a block (see sgdc.py); a *site* is its full name in a model, for example
"decoder.s2.block.kernels".

A layer of somebody else's gets taps in the same way: pass the value through an `nn.Identity` of the layer, and name
it in the layer's `tap_names`:

    self.kernels, self.tap_names = nn.Identity(), ("kernels",)     # in __init__
    kernels = self.kernels(self.make_kernels(x))                   # in forward
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from sgdc_viz.nn import SGDC, SGE, BaselineBlock, SGDCNet


def sites(model: nn.Module) -> tuple[str, ...]:
    """Names of all taps in `model`, in the order of its modules: those of SGDC blocks and of the boundary branch (SGE),
    and of any layer that has `tap_names`.

    Not every tap fires: `guidance` is read by `kernel_source="structure"` alone.

    Raises:
        ValueError: if a layer's `tap_names` names something that is no nn.Identity of that layer.
    """
    return tuple(join(name, tap) for name, module in model.named_modules() for tap in _taps(module))


def _taps(module: nn.Module) -> list[str]:
    identities = [name for name, child in module.named_children() if isinstance(child, nn.Identity)]
    if isinstance(module, SGE):
        return identities
    named = getattr(module, "tap_names", ())
    for tap in named:
        if tap not in identities:
            raise ValueError(
                f"tap_names of this {type(module).__name__} names {tap!r}, which is no nn.Identity of it: set "
                f"self.{tap} = nn.Identity() and pass the value through it."
            )
    return list(named)


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
    if "edge" in asked.lower() and any(isinstance(module, SGE) for module in model.modules()):
        return (
            ": the edge map enters no block, so changing it would change nothing (it is output.edge_logits); what the "
            "blocks read is the guidance, '*.guidance'"
        )
    if source := _baseline(model):
        return f": the blocks of this network are {source!r}, which make no kernel per pixel and so have no SGDC taps"
    if not known:
        return f": there is no SGDC block in this {type(model).__name__}"
    return f": did you mean {difflib.get_close_matches(asked, known, n=1, cutoff=0.0)[0]!r}"


def join(owner: str, tap: str) -> str:
    """Full name of a tap; the owner of a bare block's taps is ""."""
    return f"{owner}.{tap}" if owner else tap


def check_hookable(model: nn.Module, who: str) -> None:
    """Raise for models on which hooks would see nothing, or something other than what the model predicts with."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{who} needs a torch module, not a {type(model).__name__}.")
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"{who} cannot see into a scripted or traced module: {who} needs the module it was made from."
            )
        # torch.compile(model) wraps, model.compile() marks. Neither is public, so go by what they leave behind.
        if type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError(
                f"{who} cannot see into a torch.compile'd module: {who} needs the model without compiling it."
            )
        if module.training:
            raise ValueError(
                f"{type(module).__name__} is in training mode, where dropout and batch norm make other values than in "
                "prediction: call model.eval() first."
            )


def image_of(model: nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> Tensor | None:
    """What `model` was called with: the first tensor among its arguments (of an SGDC: x, in whatever order)."""
    return kwargs["x"] if isinstance(model, SGDC) and "x" in kwargs else first_tensor(args, kwargs)


def first_tensor(args: tuple, kwargs: Mapping[str, Any]) -> Tensor | None:
    return next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)


def tapped(site: str, args: tuple, kwargs: Mapping[str, Any]) -> Tensor:
    """The value on its way into a tap."""
    value = first_tensor(args, kwargs)
    if value is None:
        raise ValueError(f"site {site!r} was given no tensor: one tensor at a time passes through a tap.")
    return value


def image_size(given: Tensor | None) -> tuple[int, int] | None:
    return None if given is None or given.ndim < 3 else tuple(given.shape[-2:])


def stride_of(model: nn.Module, name: str, image: tuple[int, int] | None, feature: tuple[int, int]) -> int:
    """Image pixels per feature pixel of a block or site of `model`; ValueError where it cannot be told.

    `image` is the size of the model's input (of a bare SGDC: its feature map), `feature` that of the map in question.
    """
    if isinstance(model, SGDCNet):  # it pads the image, so the ratio of sizes would not do
        finest, *_, coarsest = model.config.strides
        deep = coarsest if name == "sge.gate_deep" else finest
        return next((s for s in model.config.strides if name.startswith(f"decoder.s{s}.")), deep)
    ratios = {divmod(n, m) for n, m in zip(image, feature, strict=True)} if image else set()
    if len(ratios) != 1 or not (ratio := ratios.pop())[0] or ratio[1]:
        raise ValueError(
            f"the stride of {name!r} cannot be told (image {image}, features {feature}): give stride= image pixels per "
            "feature pixel; with stride=1, pixels are feature pixels."
        )
    return ratio[0]


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
