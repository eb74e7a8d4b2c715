"""Predict first, then look: what the learner expected, beside what the network did.

predict("q1", "B")            # before running the next cell
observe("q1", "C")            # computed by the notebook from what it measured
compare_predictions()         # at the end
"""

from __future__ import annotations

import string

_predicted: dict[str, str] = {}
_observed: dict[str, str] = {}


def predict(question: str, letter: str) -> None:
    """Record what you expect. A later call for the same question replaces the earlier one.

    Args:
        question: such as "q1".
        letter: one of the letters offered, "A" to "H". `...` (nothing chosen yet) records nothing and says so: a
            question left out never stops the notebook.

    Raises:
        ValueError: the letter is no letter A to H.
    """
    if letter is ...:
        _predicted.pop(question, None)
        print(f"{question}: nothing recorded yet. Put a letter in the place of the dots and run the cell again.")
        return
    _predicted[question] = _letter(question, letter)
    print(f"{question}: your prediction {_predicted[question]} is recorded.")


def observe(question: str, letter: str) -> None:
    """Record what was measured (the notebook calls this), and set it beside the prediction."""
    _observed[question] = _letter(question, letter)
    predicted = _predicted.get(question)
    told = "you made no prediction" if predicted is None else f"you predicted {predicted}"
    print(f"{question}: measured {_observed[question]}, {told}.")


def recorded() -> dict[str, tuple[str | None, str | None]]:
    """Question -> (predicted, observed), in the order in which questions were first met; None where there is none."""
    questions = dict.fromkeys([*_predicted, *_observed])
    return {q: (_predicted.get(q), _observed.get(q)) for q in sorted(questions, key=_order)}


def compare_predictions() -> None:
    """Print predicted beside observed for all questions. Being wrong is the point: those are the ones to reread."""
    rows = recorded()
    if not rows:
        print("No prediction was recorded in this session.")
        return
    print(f"{'question':<10}{'predicted':<11}{'measured':<10}")
    for question, (predicted, observed) in rows.items():
        both = predicted is not None and observed is not None
        note = ("as predicted" if predicted == observed else "reread this") if both else ""
        print(f"{question:<10}{predicted or '-':<11}{observed or '-':<10}{note}".rstrip())


def forget() -> None:
    """Start again with no predictions."""
    _predicted.clear()
    _observed.clear()


def _letter(question: str, letter: str) -> str:
    if not isinstance(letter, str) or len(letter) != 1 or letter.upper() not in string.ascii_uppercase[:8]:
        raise ValueError(f'{question}: {letter!r} is no choice: give one letter, such as predict("{question}", "B").')
    return letter.upper()


def _order(question: str) -> tuple[str, int]:
    """q2 before q10."""
    text = question.rstrip(string.digits)
    return text, int(question[len(text) :] or 0)
