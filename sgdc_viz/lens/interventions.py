"""Change what passes the taps of a model, everywhere or in a region, and see what that does to the prediction.

    with intervene(model, {"*.guidance": zero(), "decoder.s2.block.kernels": uniform()}):
        changed = model(image)

A *change* is anything that can be called as change(value, site) and returns a tensor of the value's shape: those below,
or a function of your own. A recording, inside or outside, sees the changed values (`Recording.changed` says where).
The edge map is no site: it enters no block, so editing it would change nothing. The guidance does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral, Real

import torch
from torch import Tensor, nn

from sgdc_viz.nn import SGDC, pool_context

from .capture import Recording
from .taps import check_hookable, image_of, image_size, select, stride_of, tapped
from .threads import only_here, turn


@contextmanager
def intervene(
    model: nn.Module,
    changes: Mapping[str, Callable[[Tensor, str], Tensor]],
    mask: Tensor | None = None,
    *,
    stride: int | None = None,
    allow_unnormalised: bool = False,
) -> Iterator[Counter[str]]:
    """Replace values at taps of `model` while the `with` block runs, in runs by this thread.

    Interventions nest, and apply in the order in which they were opened; a site that several patterns of one match gets
    their changes in the order of `changes`. New values get the dtype and device of the old ones. Gradients pass through
    whatever the change leaves differentiable; where it gives constants, they start from these.

    Threads: as with `record`, one thread at a time may have a model open, others wait; runs of other threads are not
    changed.

    Args:
        model: `SGDCNet`, a single `SGDC`, or any network with taps in it; in eval mode.
        changes: what to do at which sites: {site name or glob: change}.
        mask: bool [H, W] or [B, H, W], tensor or numpy array, in pixels of the model's input image (of a bare SGDC: of
            its feature map); None is everywhere. A feature pixel is changed if any image pixel of its stride x stride
            box is in the mask: a line of one pixel is not lost, and a region grows by up to stride - 1 pixels (see
            `feature_mask`). Changes that look around (mean, shuffle, pooled) still look at the whole map.
        stride: image pixels per feature pixel, for models where it cannot be told (as in `Recording.at`); one for all
            sites. With stride=1 in a model that has a coarser one, the mask has the size of the feature map.
        allow_unnormalised: let through `kernels` of an SGDC block that do not sum to one or have negative weights; the
            block then brightens, darkens or sharpens, which no kernel of its own can do.

    Yields:
        How often each site has fired so far: a Counter by site.

    Raises:
        TypeError: if `model` is not a torch module, `changes` no mapping, or a change cannot be called.
        ValueError: on entry, if a pattern matches no site; if the model is in training mode, compiled or scripted; if
            the mask is not of bool, of another shape, or empty. While the model runs, if a change gives another shape,
            kernels that do not sum to one or are negative, or the mask does not fit the image. On exit, if a site
            never fired.
        RuntimeError: if this thread and another would wait for each other for ever.
    """
    check_hookable(model, "intervene")
    if not isinstance(changes, Mapping):
        raise TypeError(f"changes is {changes!r}: say what to do where, such as {{'*.guidance': zero()}}.")
    if not changes:
        raise ValueError("changes is empty: say what to do where, such as {'*.guidance': zero()}.")
    for pattern, change in changes.items():
        if not callable(change):
            raise TypeError(f"the change for {pattern!r} is {change!r}: give something to call, such as zero().")
    planned: dict[str, list[Callable[[Tensor, str], Tensor]]] = {}
    for pattern, change in changes.items():
        for site in select(model, [pattern]):
            planned.setdefault(site, []).append(change)
    region = _Region(model, _checked(mask), stride)
    fired: Counter[str] = Counter()

    def hook_for(site: str):
        owner, _, tap = site.rpartition(".")
        is_kernels = tap == "kernels" and isinstance(model.get_submodule(owner), SGDC)

        def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            old = tapped(site, args, kwargs)
            new = old
            for change in planned[site]:
                new = _applied(change, new, site)
            if (inside := region.at(site, old)) is not None:
                new = torch.where(inside, new, old)
            if is_kernels and not allow_unnormalised:
                _check_sums(new, planned[site], site)
            if old.requires_grad and not new.requires_grad:
                new = new.clone().requires_grad_()  # what follows stays differentiable, from this value on
            fired[site] += 1
            return (new,), {}

        return hook

    with turn(model):
        handles = []
        try:
            handles.append(model.register_forward_pre_hook(only_here(region.enter), with_kwargs=True))
            handles.append(model.register_forward_hook(only_here(region.leave), always_call=True))
            for site in planned:
                # Before the tap, so that every recorder (after the tap) sees the new value, whoever came first.
                hook = only_here(hook_for(site))
                handles.append(model.get_submodule(site).register_forward_pre_hook(hook, with_kwargs=True))
            yield fired
        finally:
            for handle in handles:
                handle.remove()
    # Only reached if nothing else was raised.
    if silent := [site for site in planned if not fired[site]]:
        more = f" (and {len(silent) - 1} more)" if len(silent) > 1 else ""
        unread = any(_unread(model, site) for site in silent)
        why = (
            f"this model does not use it{unread * GUIDED}, or only a part of the model was called: name fewer sites"
            if fired
            else f"call the model inside the `with` block, in the same thread{unread * GUIDED}"
        )
        raise ValueError(f"nothing was changed at {silent[0]!r}{more}, because it never fired: {why}.")


GUIDED = " (`guidance` is for 'structure' alone)"


def _unread(model: nn.Module, site: str) -> bool:
    """Whether a site is the guidance of a block that reads none."""
    owner, _, tap = site.rpartition(".")
    return tap == "guidance" and getattr(model.get_submodule(owner), "kernel_source", "structure") != "structure"


def feature_mask(mask: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Feature pixels that a mask of image pixels selects: those with any pixel of their stride x stride box in it.

    Feature pixels beyond the image (SGDCNet extends it) go with the last row and column, as the image does.

    Args:
        mask: bool [..., H, W], image pixels.
        stride: image pixels per feature pixel.
        size: (h, w) of the feature map.

    Returns:
        bool [..., h, w].
    """
    rows, columns = (
        torch.arange(n * stride, device=mask.device).clamp(max=limit - 1)
        for n, limit in zip(size, mask.shape[-2:], strict=True)
    )
    boxes = mask[..., rows[:, None], columns].unflatten(-1, (size[1], stride)).unflatten(-3, (size[0], stride))
    return boxes.any(-1).any(-2)  # [..., h, stride, w, stride] -> [..., h, w]


# --- changes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """change(value, site) -> new value of the same shape; shown as it was written."""

    name: str
    make: Callable[[Tensor, str], Tensor] = field(repr=False)

    def __call__(self, value: Tensor, site: str) -> Tensor:
        return self.make(value, site)

    def __repr__(self) -> str:
        return self.name


def zero() -> Change:
    """All zeros. For guidance this is not the same as a block without guidance: its projection has a bias."""
    return Change("zero()", lambda value, site: torch.zeros_like(value))


def constant(c: float) -> Change:
    """The same number everywhere: constant(1) opens a gate, constant(0) shuts it. TypeError for what is no number."""
    if not isinstance(c, Real):
        raise TypeError(f"constant needs a number, got {type(c).__name__}.")
    return Change(f"constant({c})", lambda value, site: torch.full_like(value, c))


def mean() -> Change:
    """Each channel's (or tap's) mean over the map of each image: how much there is stays, where it is goes."""
    return Change("mean()", lambda value, site: _spread(value.mean((-2, -1), keepdim=True), value))


def shuffle(seed: int = 0) -> Change:
    """The pixels of each map in random order, the same for all channels and images: values stay, places go."""

    def make(value: Tensor, site: str) -> Tensor:
        pixels = value.flatten(-2)
        order = _order(pixels.shape[-1], seed, value)
        return pixels[..., order].unflatten(-1, value.shape[-2:])

    return Change(f"shuffle(seed={seed})", make)


def swap(recording: Recording, call: int | None = None) -> Change:
    """The value that a recording has at the same site; a recording of one image serves a batch of any size.

    Args:
        recording: made with `record`, of an image of the same size.
        call: which run, if the site was recorded more than once.

    Raises:
        TypeError: if it is no recording.
        ValueError: while the model runs: the site was not recorded, or several times and `call` is not given, or in
            another shape.
    """
    if not isinstance(recording, Recording):
        raise TypeError(f"swap takes a recording (with record(model) as rec: ...), not a {type(recording).__name__}.")

    def make(value: Tensor, site: str) -> Tensor:
        recorded = _runs(recording, site)
        if call is None and len(recorded) > 1:
            raise ValueError(
                f"site {site!r} was recorded {len(recorded)} times: say which run, swap(recording, call=0)."
            )
        if call is not None and not -len(recorded) <= call < len(recorded):
            raise ValueError(f"call={call}: site {site!r} was recorded {len(recorded)} time(s).")
        return fitted(recorded[call or 0], value, site)

    return Change("swap(recording)" if call is None else f"swap(recording, call={call})", make)


def uniform(head: int | None = None) -> Change:
    """`kernels` that weigh all k*k taps the same: a box blur.

    Args:
        head: do so in this head only, counted from 0; None: in all.

    Raises:
        ValueError: while the model runs, if there is no such head.
    """
    name = "uniform()" if head is None else f"uniform(head={head})"

    def make(value: Tensor, site: str) -> Tensor:
        flat = torch.full_like(value, 1 / _taps(value, site, name, ("kernels",)))
        if head is None:
            return flat
        if not 0 <= head < value.shape[-4]:
            raise ValueError(f"head={head}: {site!r} has the heads 0 to {value.shape[-4] - 1}.")
        chosen = torch.arange(value.shape[-4], device=value.device) == head
        return torch.where(chosen[:, None, None, None], flat, value)

    return Change(name, make)


def delta() -> Change:
    """`kernels` with all weight on the centre tap: the dynamic convolution passes `value` on as it is."""

    def make(value: Tensor, site: str) -> Tensor:
        taps = _taps(value, site, "delta()", ("kernels",))
        centre = torch.arange(taps, device=value.device) == taps // 2
        return centre[:, None, None].to(value.dtype).expand_as(value).contiguous()

    return Change("delta()", make)


def permute(seed: int = 0) -> Change:
    """The taps of `kernels` (or `kernel_logits`) in random order, the same order at every pixel and head: each kernel
    keeps its weights and its entropy, and points elsewhere."""

    def make(value: Tensor, site: str) -> Tensor:
        taps = _taps(value, site, f"permute(seed={seed})", ("kernels", "kernel_logits"))
        return value.index_select(-3, _order(taps, seed, value))

    return Change(f"permute(seed={seed})", make)


def pooled(p: int | None) -> Change:
    """Means over p x p blocks of feature pixels, None: over the whole map. At the site `context` this is what the block
    would see with kernel_source="pooled" (or "global") on the same weights: not retrained, and so no stand-in for a
    network that was. In a block with guidance, the context that is pooled includes it.

    Raises:
        ValueError: if p is not a whole number from 1.
    """
    if p is not None and (not isinstance(p, Integral) or p < 1):
        raise ValueError(f"p={p} must be a whole number of feature pixels from 1, or None for the whole map.")

    def make(value: Tensor, site: str) -> Tensor:
        if value.ndim != 4:
            raise ValueError(f"pooled({p}) is for features [B, C, H, W] such as '*.context', not for {site!r}.")
        return _spread(value.mean((-2, -1), keepdim=True), value) if p is None else pool_context(value, p)

    return Change(f"pooled({p})", make)


# --- parts -----------------------------------------------------------------------------------------------------------


def fitted(recorded: Tensor, value: Tensor, site: str) -> Tensor:
    """A copy of `recorded` in the place of `value`: its device and dtype, one image for all of a batch."""
    if recorded.ndim != value.ndim or recorded.shape[1:] != value.shape[1:] or len(recorded) not in (1, len(value)):
        raise ValueError(
            f"at {site!r} the recording has shape {tuple(recorded.shape)} and the model {tuple(value.shape)}: record "
            "an image of the same size, and as many images or one."
        )
    # A copy: the model may write in place, which must not reach the recording.
    return recorded.to(value.device, value.dtype, copy=True).expand_as(value).contiguous()


def _runs(recording: Recording, site: str) -> list[Tensor]:
    try:
        recorded = recording[site]
    except KeyError as error:
        raise ValueError(f"the recording to swap from has nothing at {site!r}: {error.args[0]}") from None
    return recorded if isinstance(recorded, list) else [recorded]


def _applied(change: Callable[[Tensor, str], Tensor], old: Tensor, site: str) -> Tensor:
    new = change(old, site)
    if not isinstance(new, Tensor) or new.shape != old.shape:
        got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise ValueError(f"the change {change!r} at {site!r} gave {got}: it must give a tensor {tuple(old.shape)}.")
    return new.to(old.device, old.dtype)


def _check_sums(kernels: Tensor, changes: list[Callable[[Tensor, str], Tensor]], site: str) -> None:
    sums = kernels.sum(-3, dtype=torch.promote_types(kernels.dtype, torch.float32))
    if not ((sums - 1).abs() <= 0.02).all():  # as in kernels.py: the rounding of half precision stays below
        raise ValueError(
            f"{', '.join(map(repr, changes))} at {site!r} gave kernels that sum to {sums.min():.3g} up to "
            f"{sums.max():.3g}, and kernels of this block sum to 1: divide them by their sum over the taps, or give "
            "allow_unnormalised=True."
        )
    if (kernels < 0).any():
        raise ValueError(
            f"{', '.join(map(repr, changes))} at {site!r} gave kernels with weights down to {kernels.min():.3g}, and "
            "those of this block are 0 or more (a softmax): give such, or allow_unnormalised=True."
        )


def _taps(value: Tensor, site: str, change: str, names: tuple[str, ...]) -> int:
    """k*k of a value at a site of kernels."""
    if site.rpartition(".")[2] not in names:
        wanted = " or ".join(f"'*.{name}'" for name in names)
        raise ValueError(f"{change} is for {wanted}, not for {site!r}.")
    taps = value.shape[-3]
    if math.isqrt(taps) ** 2 != taps or taps % 2 == 0:
        raise ValueError(f"{change} needs {site!r} to be [..., k*k, H, W] with odd k, got {tuple(value.shape)}.")
    return taps


def _spread(means: Tensor, value: Tensor) -> Tensor:
    return means.expand_as(value).contiguous()


def _order(count: int, seed: int, value: Tensor) -> Tensor:
    """A random order of 0 .. count - 1, the same on every device and independent of torch's global seed."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).to(value.device)


def _checked(mask: Tensor | None) -> Tensor | None:
    if mask is None:
        return None
    mask = mask if isinstance(mask, Tensor) else torch.tensor(mask)  # numpy: a copy, it may be read-only
    if mask.dtype != torch.bool or mask.ndim not in (2, 3):
        raise ValueError(
            f"mask is {mask.dtype} {tuple(mask.shape)}: give bool [H, W] or [B, H, W] in image pixels (mask > 0)."
        )
    if not mask.any():
        raise ValueError("mask is empty: no pixel of it is True, so nothing would be changed.")
    return mask


class _Region:
    """The mask of an intervention at each site. It knows the image's size while the model runs."""

    def __init__(self, model: nn.Module, mask: Tensor | None, stride: int | None):
        if stride is not None and (not isinstance(stride, Integral) or stride < 1):
            raise ValueError(f"stride={stride} must be a whole number, 1 or more image pixels per feature pixel.")
        self.model, self.mask, self.stride = model, mask, stride
        self.image: tuple[int, int] | None = None

    def enter(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self.image = image_size(image_of(module, args, kwargs))

    def leave(self, *_) -> None:
        self.image = None

    def at(self, site: str, value: Tensor) -> Tensor | None:
        """Where to change `value`: bool, to be broadcast over it."""
        if self.mask is None:
            return None
        size = tuple(value.shape[-2:])
        if self.image is None:
            raise ValueError(
                f"only a part of the model was called, so the mask cannot be placed at {site!r}: call the whole model, "
                "or intervene in that part."
            )
        stride = stride_of(self.model, site, self.image, size) if self.stride is None else self.stride
        wanted = size if self.stride == 1 else self.image
        batch, *mask_size = (len(value), *self.mask.shape) if self.mask.ndim == 2 else self.mask.shape
        if tuple(mask_size) != wanted or batch != len(value):
            raise ValueError(
                f"mask {tuple(self.mask.shape)} does not fit {len(value)} image(s) of {wanted[0]} x {wanted[1]} "
                "pixels: give [H, W], or [B, H, W] with one mask an image."
            )
        inside = feature_mask(self.mask, stride, size).to(value.device)
        return inside if inside.ndim == 2 else inside.view(len(value), *[1] * (value.ndim - 3), *size)
