"""Answers to the exercises, as test data: one module for each notebook, whose EXERCISES[name] is an `Exercise`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Exercise(NamedTuple):
    """Answers to one exercise.

    Attributes:
        right: answers to accept, written differently from the reference in the notebook.
        wrong: (misconception in a few words, answer, part of the message that it must get).
    """

    right: list[Callable[..., Any]]
    wrong: list[tuple[str, Callable[..., Any], str]]
