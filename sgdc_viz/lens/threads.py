"""Hooks are state of a model, and a model may serve several threads: whose hooks act when, and who waits for whom.

Two rules keep one thread's pictures clean of another's doings:

- `only_here`: a hook acts on runs of the model by the thread that opened `record` or `intervene`, and on no other.
- `turn`: one thread at a time may have `record` or `intervene` open on a model; the next one waits for it to leave.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

_state = threading.Condition()  # guards the two tables, and wakes those who wait when a model becomes free
_open: WeakKeyDictionary[nn.Module, tuple[threading.Thread, int]] = WeakKeyDictionary()  # who has it, how deep nested
_waiting: dict[threading.Thread, nn.Module] = {}


@contextmanager
def turn(model: nn.Module) -> Iterator[None]:
    """Have `model` to ourselves: wait until no other thread has it. May be nested within one thread.

    Raises:
        RuntimeError: if waiting would never end, because the thread we wait for waits for a model that we have.
    """
    me = threading.current_thread()
    with _state:
        try:
            while _open.get(model, (me, 0))[0] is not me:
                if _waits_for_ever(me, model):
                    raise RuntimeError(
                        f"two threads wait for each other: this one has a model open that the other wants, and wants "
                        f"this {type(model).__name__}, which the other has open. Record or intervene in one model at "
                        "a time, or open several in the same order in every thread."
                    )
                _waiting[me] = model
                _state.wait()
        finally:
            _waiting.pop(me, None)
        _open[model] = (me, _open.get(model, (me, 0))[1] + 1)
    try:
        yield
    finally:
        with _state:
            thread, depth = _open.pop(model)
            if depth > 1:
                _open[model] = (thread, depth - 1)
            _state.notify_all()


def _waits_for_ever(me: threading.Thread, model: nn.Module | None) -> bool:
    """Whether the thread that has `model` waits, perhaps by way of others, for a model that `me` has."""
    while model is not None and model in _open:
        thread, _ = _open[model]
        if thread is me:
            return True
        model = _waiting.get(thread)
    return False


def only_here(hook: Callable[..., Any]) -> Callable[..., Any]:
    """`hook`, deaf to calls from other threads than this one."""
    here = threading.current_thread()
    return lambda *args: hook(*args) if threading.current_thread() is here else None
