"""How a check says no: one line in place of a page of traceback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class CheckFailed(AssertionError):
    """An answer is not right yet. In a notebook only its one line is shown."""

    def _render_traceback_(self) -> list[str]:  # IPython's hook
        return [f"Not yet. {self}"]


def call(function: Callable, *arguments: Any, told: str = "") -> Any:
    """Call the learner's function; whatever goes wrong inside becomes one line.

    Args:
        function: what the learner wrote.
        arguments: given to it.
        told: describes the arguments, for the message.

    Raises:
        CheckFailed: the function is still the stub, raises, or returns nothing.
    """
    name = getattr(function, "__name__", repr(function))
    if not callable(function):
        raise CheckFailed(f"{name} is not a function: give the function itself, without calling it.")
    try:
        answer = function(*arguments)
    except NotImplementedError:
        raise CheckFailed(
            f"{name} is still empty: put your own lines in the place of `raise NotImplementedError()`."
        ) from None
    except Exception as error:
        said = (str(error).splitlines() or ["no message"])[0]  # torch's messages can be long; a check says one line
        raise CheckFailed(f"{name} stops with {type(error).__name__}: {said}{told and f' ({told})'}") from error
    if answer is None or answer is ...:
        raise CheckFailed(f"{name} returns nothing: end it with `return ...`.")
    return answer


def choose(
    answer: Any, right: Mapping[str, str], wrong: Mapping[str, str], told: tuple[str, str], name: str = ""
) -> None:
    """Of the letters offered, all that are right and none that is wrong.

    Args:
        answer: what the learner chose: letters in a set, a list, a tuple or a text.
        right, wrong: letter -> why.
        told: what to say of a wrong letter, such as "{letter} is not supported", and of one that is missing, such as
            "{count} more are right"; both may name {letter}, the first such, and {count}, how many there are.
        name: of the part of the answer that holds the letters, where there are several.

    Raises:
        CheckFailed: naming the first letter too many, or why something is missing.
    """
    letters = sorted({*right, *wrong})
    if not isinstance(answer, set | frozenset | list | tuple | str) or not {*map(str, answer)} <= {*letters}:
        begin = f'"{name}" must be' if name else "return"
        raise CheckFailed(f'{begin} a set of the capital letters {letters[0]} to {letters[-1]}, such as {{"A", "B"}}.')
    for words, why, letters in zip(told, (wrong, right), ({*answer} & {*wrong}, {*right} - {*answer}), strict=True):
        if letters:
            first = min(letters)
            raise CheckFailed(f"{words.format(letter=first, count=len(letters))}: {why[first]}.")


def own_lines(function: Callable, *names: str) -> None:
    """The exercise is to write it: an answer that calls the library's own version is told so.

    Args:
        function: what the learner wrote.
        names: of the library's functions that would do the work.

    Raises:
        CheckFailed: the function's code, or that of a function in it, names one of them.
    """
    used, todo = set(), [getattr(function, "__code__", None)]
    while todo:
        code = todo.pop()
        if code is not None:
            used |= set(code.co_names)
            todo += [part for part in code.co_consts if hasattr(part, "co_names")]
    for name in names:  # not in the order of the code, of which Python 3.12 made fewer pieces
        if name in used:
            raise CheckFailed(f"{name} is the library's own version of this exercise: write the steps yourself.")


def passed(what: str) -> None:
    print(f"Right. {what}")
