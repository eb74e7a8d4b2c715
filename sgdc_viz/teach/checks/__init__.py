"""Predictions and checks: one module for each notebook, whose functions are named after its exercises.

A check compares with a reference of its own (a hand value, the formula, torch), names the likely mistake in one line
(`CheckFailed`), and is itself tested against the empty stub and wrong answers that students give.
"""

from .errors import CheckFailed
from .predictions import compare_predictions, observe, predict

__all__ = ["CheckFailed", "compare_predictions", "observe", "predict"]
