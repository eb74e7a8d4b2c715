"""Record what passes the taps of SGDC blocks, and read it one pixel at a time.

`record` puts a forward hook on the sites you ask for and takes it off again, whatever happens. Recorded maps of
`SGDCNet` cover the image extended to a multiple of the coarsest stride, as the network sees it: feature pixel (i, j)
of a block with stride s is the image box [s*i, s*i + s) x [s*j, s*j + s).

Threads: a recording hears the runs of the thread that opened it, and no other. While it is open, another thread that
wants to `record` or `intervene` in the same model waits (threads.py); plain calls of the model do not.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .rebuild import BlockRun, PixelView, differences
from .taps import blocks, check_hookable, hint, image_of, image_size, join, select, sites, stride_of, tapped
from .threads import only_here, turn


@contextmanager
def record(
    model: nn.Module,
    patterns: str | Sequence[str] = "*",
    *,
    detach: bool = True,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    max_bytes: int = 2 * 2**30,
) -> Iterator[Recording]:
    """Record what passes the taps of `model` while the `with` block runs. What the model computes does not change.

    Under an `intervene`, outside or inside, the changed values are recorded, as the model uses them.

    Args:
        model: `SGDCNet`, a single `SGDC`, or any network with SGDC blocks in it; in eval mode.
        patterns: site names or globs ("*.kernels"), one or several; "*" is every site, and `*` also matches dots.
        detach: record copies cut off from autograd. False records copies that stay in the graph on both sides, so
            that `torch.autograd.grad(loss, rec[site])` and gradients of rec[site] both work.
        device, dtype: where and how to keep the copies (default: as they are). Only with detach=True.
        max_bytes: largest size of all copies of taps together.

    Raises:
        TypeError: if `model` is not a torch module.
        ValueError: if a pattern matches no site; if the model is in training mode, compiled or scripted; while the
            model runs, if the copies would exceed `max_bytes` (before the copy that would is made).
        RuntimeError: if this thread and another would wait for each other for ever (threads.py).
    """
    check_hookable(model, "record")
    if not detach and (device is not None or dtype is not None):
        raise ValueError("detach=False keeps copies in the model's graph: leave out device= and dtype=.")
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype={dtype} cannot hold features: use a floating point type such as torch.float16.")
    chosen = select(model, [patterns] if isinstance(patterns, str) else list(patterns))
    rec = Recording(model, chosen, detach, device, dtype, max_bytes)
    with turn(model):
        handles = []
        try:
            handles.append(model.register_forward_pre_hook(only_here(rec._on_input), with_kwargs=True))
            for site in sites(model):  # all of them: a change at a site that is not recorded must be known too
                tap = model.get_submodule(site)
                before, after = (only_here(hook) for hook in rec._tap_hooks(site))
                # Before and after all changes: interventions are pre-hooks too, and come between these two.
                handles.append(tap.register_forward_pre_hook(before, prepend=True, with_kwargs=True))
                handles.append(tap.register_forward_hook(after))
            for name in rec._whole:
                hook = only_here(rec._block_hook(name))
                handles.append(model.get_submodule(name).register_forward_hook(hook, with_kwargs=True))
            handles.append(model.register_forward_hook(only_here(rec._on_output)))
            yield rec
        finally:
            rec._made.clear()
            for handle in handles:
                handle.remove()


class Recording(Mapping[str, Any]):
    """What `record` captured: rec[site] is a tensor, or a list of tensors if the site fired more than once.

    Attributes:
        input: a copy of the first tensor the model was called with (None before; of the last call if several).
        output: what the model returned, detached and copied unless detach=False.
        sites: names of the sites that fired.
        nbytes: bytes of all copies together.
        changed: names of all sites of the model, recorded or not, where something put another value in the place of
            the one the model had made: `intervene`, or a hook of somebody else's. Empty: an untouched run.
    """

    __eq__, __hash__ = object.__eq__, object.__hash__  # a recording equals itself alone

    def __init__(self, model, chosen, detach, device, dtype, max_bytes):
        self._model, self._chosen, self._detach = model, chosen, detach
        self._device, self._dtype, self._max_bytes = device, dtype, max_bytes
        self._bytes = 0
        self._image: tuple[int, int] | None = None
        self._made: dict[str, Tensor] = {}  # what goes into a tap, until it comes out
        self._changed: set[str] = set()
        self._calls: dict[str, list[BlockRun]] = {}  # by block (or SGE)
        self.input: Tensor | None = None
        self.output: Any = None
        # Blocks recorded completely: their input and output are kept too, so that verify() can rebuild everything.
        self._whole = [
            name for name in blocks(model) if all(join(name, t) in chosen for t in model.get_submodule(name).tap_names)
        ]

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(site for site in self._chosen if self._fired(site))

    @property
    def nbytes(self) -> int:
        return self._bytes

    @property
    def changed(self) -> tuple[str, ...]:
        return tuple(site for site in sites(self._model) if site in self._changed)

    def __len__(self) -> int:
        return len(self.sites)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __getitem__(self, site: str) -> Tensor | list[Tensor]:
        fired = self._fired(site)
        if not fired:
            raise KeyError(self._why_missing(site))
        return fired[0] if len(fired) == 1 else fired

    def __repr__(self) -> str:
        told = f"{len(self)} sites of {type(self._model).__name__}, {_size(self._bytes)}"
        return f"Recording({told}, {len(self._changed)} changed)" if self._changed else f"Recording({told})"

    def at(self, block: str, y: int, x: int, batch: int = 0, *, call: int = -1, stride: int | None = None) -> PixelView:
        """Everything about one pixel of one block.

        Args:
            block: name of an SGDC block (see `blocks`).
            y, x: row and column in the model's input image (for a bare SGDC: in its feature map).
            batch: which image of the batch.
            call: which run, if the block ran more than once; the last by default.
            stride: image pixels per feature pixel. Known for SGDCNet; in another model it is image size / feature
                size where that is the same whole number for both sides. A model that pads inside needs it said.

        Raises:
            ValueError: if the block is unknown or was not recorded, the pixel lies outside the image, or the stride
                cannot be told.
        """
        try:
            y, x, batch, call = (operator.index(n) for n in (y, x, batch, call))
            stride = None if stride is None else operator.index(stride)
        except TypeError:
            raise ValueError(f"{y=}, {x=}, {batch=}, {call=}, {stride=} must be whole numbers.") from None
        runs = self._runs(block)
        if not -len(runs) <= call < len(runs):
            raise ValueError(f"call={call}: block {block!r} ran {len(runs)} time(s), give 0 to {len(runs) - 1}.")
        run = runs[call]
        batch_size, *_, h, w = run.any_tap().shape
        stride = stride_of(self._model, block, run.image, (h, w)) if stride is None else stride
        if stride < 1:
            raise ValueError(f"stride={stride} must be 1 or more image pixels per feature pixel.")
        height, width = run.image or (h * stride, w * stride)
        rows, columns = min(height, h * stride), min(width, w * stride)
        if not (0 <= y < rows and 0 <= x < columns):
            raise ValueError(
                f"pixel y={y}, x={x} is outside the image: y goes from 0 to {rows - 1}, x from 0 to {columns - 1}."
            )
        if not 0 <= batch < batch_size:
            raise ValueError(f"batch={batch} is outside the recorded batch: it goes from 0 to {batch_size - 1}.")
        return PixelView(block, stride, (y // stride, x // stride), batch, run, self._model.get_submodule(block))

    @torch.no_grad()
    def verify(self, *, accept_changes: bool = False) -> dict[str, float]:
        """Rebuild each completely recorded block from its parts: largest |rebuilt - recorded| by block, over all runs.

        Every equation of the block (sgdc.py) is computed from the recorded values on its right-hand side, with the
        block's own layers and `dynamic_conv2d_reference`, and compared with the recorded left-hand side; kernels
        must also sum to one. About 1e-6 in float32; half precision (model, autocast or dtype=) shows its rounding.
        NaN where something recorded is NaN. Weights changed since the recording show as an error too.

        In a run under `intervene` (see `changed`), the distance between each new value and the one that the block had
        made in its place is an error: a changed run never passes for the model's own.

        Args:
            accept_changes: take the new values as given. Each equation then has the value that the block had made on
                the left, and the values as used on the right: about 1e-6 again means that apart from the changes,
                everything is the model's own. Say beside such a number what was changed.

        Raises:
            ValueError: if no block was recorded completely.
        """
        errors = {}
        for name in self._whole:
            block = self._model.get_submodule(name)
            runs = [run for run in self._calls.get(name, []) if run.out is not None]
            images = [differences(block, run, b, accept_changes) for run in runs for b in range(run.out.shape[0])]
            if images:
                errors[name] = torch.stack(images).max().item()  # torch's max keeps NaN, Python's does not
        if not errors:
            raise ValueError(
                "verify() needs all taps of an SGDC block and a completed run: use record(model, '*') and call the "
                "model inside the `with` block."
            )
        return errors

    # --- what the hooks call ---

    def _on_input(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        given = image_of(module, args, kwargs)
        self.input, self._image = _copy(given, self._detach), image_size(given)

    def _on_output(self, module: nn.Module, args: tuple, output: Any) -> None:
        self.output, self._image = _copy(output, True) if self._detach else output, None

    def _tap_hooks(self, site: str):
        owner, _, tap = site.rpartition(".")

        def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
            self._made[site] = tapped(site, args, kwargs)

        def after(module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
            made = self._made.pop(site)
            changed = not _same(made, output)
            if changed:
                self._changed.add(site)
            if site not in self._chosen:
                return None
            calls = self._calls.setdefault(owner, [])
            if not calls or tap in calls[-1].taps:  # the first recorded tap of a new run
                calls.append(BlockRun(self._image))
            if changed:
                calls[-1].made[tap] = self._keep(site, made, True)
            kept = calls[-1].taps[tap] = self._keep(site, output, self._detach)
            # In the graph on both sides: the model goes on with a copy of the copy, which it may overwrite in place.
            return None if self._detach else kept.clone()

        return before, after

    def _block_hook(self, name: str):
        def hook(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
            call = self._calls[name][-1]
            call.x = self._keep(name, args[0] if args else kwargs["x"], True)
            call.out = self._keep(name, output, True)

        return hook

    def _keep(self, site: str, tensor: Tensor, detach: bool) -> Tensor:
        asked = self._bytes + tensor.numel() * (self._dtype or tensor.dtype).itemsize
        if asked > self._max_bytes:
            self._calls.clear()
            self._bytes = 0
            raise ValueError(
                f"recording as far as {site!r} asks for {_size(asked)}, and max_bytes={self._max_bytes} allows "
                f"{_size(self._max_bytes)}: name fewer sites (such as '*.kernels'), give a smaller image or batch, "
                "dtype=torch.float16, or a larger max_bytes."
            )
        self._bytes = asked
        tensor = tensor.detach() if detach else tensor
        return tensor.to(self._device or tensor.device, self._dtype or tensor.dtype, copy=True)

    # --- finding things ---

    def _fired(self, site: str) -> list[Tensor]:
        owner, _, tap = site.rpartition(".")
        return [call.taps[tap] for call in self._calls.get(owner, []) if tap in call.taps]

    def _why_missing(self, site: str) -> str:
        known = sites(self._model)
        if site not in known:
            return f"unknown site {site!r}{hint(self._model, site, known)}."
        if site not in self._chosen:
            return f"site {site!r} was not recorded: ask for it, record(model, {site!r})."
        if self._calls:
            return f"site {site!r} did not fire: this model does not use it (`guidance` is for 'structure' alone)."
        return f"site {site!r} did not fire: call the model inside the `with` block, in the same thread."

    def _runs(self, block: str) -> list[BlockRun]:
        known = blocks(self._model)
        if block not in known:
            raise ValueError(f"{block!r} is no SGDC block of this model{hint(self._model, block, known)}.")
        if not self._calls.get(block):
            pattern = join(block, "*")
            raise ValueError(f"block {block!r} was not recorded: use record(model, {pattern!r}) and call the model.")
        return self._calls[block]


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.dtype == b.dtype and a.device == b.device and torch.equal(a, b))


def _copy(value: Any, detach: bool) -> Any:
    """Copies of the tensors in `value`: a tensor, or (named) tuples, lists, dicts of such; others stay themselves."""
    if isinstance(value, Tensor):
        return (value.detach() if detach else value).clone()
    if isinstance(value, tuple | list):
        items = [_copy(item, detach) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return {key: _copy(item, detach) for key, item in value.items()} if isinstance(value, dict) else value


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count >= 0.05 * 2**20 else f"{count:,} bytes"
