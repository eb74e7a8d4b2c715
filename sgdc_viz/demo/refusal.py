"""How the page says no: one sentence in place of a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from html import escape

import gradio as gr


def sentence(reason: object) -> str:
    """What was wrong, beginning with a capital letter; escaped, because it is shown as HTML."""
    text = str(reason)
    return escape(text[:1].upper() + text[1:], quote=False)


def refuse(reason: object) -> gr.Error:
    """To be raised: Gradio shows it in the corner, and the page stays as it is."""
    return gr.Error(sentence(reason), title="That did not work", duration=6, print_exception=False)


@contextmanager
def refusing() -> Iterator[None]:
    """What goes wrong inside the `with` block in a way that its sentence explains becomes a refusal."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise refuse(error) from None


def quietly(check: Callable) -> Callable:
    """A kind of component's own check of what arrives, whose refusal then leaves no traceback in the terminal."""
    if hasattr(check, "quiet"):
        return check

    @wraps(check)
    def checked(self, given):
        try:
            return check(self, given)
        except gr.Error as error:
            raise refuse(error.message) from None
        except Exception:  # a word where a number belongs, and the like: a program's, no visitor's
            raise refuse(f"{str(given)[:80]!r} is nothing that fits there.") from None

    checked.quiet = True
    return checked
