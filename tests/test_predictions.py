"""Predicted beside measured."""

from __future__ import annotations

import pytest

from sgdc_viz.teach import compare_predictions, observe, predict
from sgdc_viz.teach.checks import predictions


@pytest.fixture
def forgotten():
    predictions.forget()
    yield
    predictions.forget()


def test_predictions_are_kept_and_compared(forgotten, capsys):
    predict("q2", "b")
    predict("q1", "C")
    predict("q1", "A")  # changed one's mind
    observe("q1", "A")
    observe("q2", "C")
    observe("q10", "B")
    assert predictions.recorded() == {"q1": ("A", "A"), "q2": ("B", "C"), "q10": (None, "B")}
    capsys.readouterr()
    compare_predictions()
    lines = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [["q1", "A", "A", "as predicted"], ["q2", "B", "C", "reread this"], ["q10", "-", "B"]]


def test_a_question_left_open_stops_nothing(forgotten, capsys):
    predict("q1", ...)
    assert predictions.recorded() == {} and "nothing recorded" in capsys.readouterr().out
    compare_predictions()
    assert "No prediction" in capsys.readouterr().out


@pytest.mark.parametrize("letter", ["", "AB", "Z", "1", 2, None])
def test_a_prediction_is_one_letter(letter, forgotten):
    with pytest.raises(ValueError, match="one letter"):
        predict("q1", letter)
    assert predictions.recorded() == {}
