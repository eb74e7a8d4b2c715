"""Each check accepts the reference and answers written differently, and rejects the stub and every wrong answer."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import nbformat
import pytest
from answers import Exercise

from sgdc_viz.teach import CheckFailed

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = {path.stem[:2]: path for path in sorted(FOLDER.glob("*.ipynb"))}
ANSWERS: dict[str, dict[str, Exercise]] = {
    path.stem[-2:]: importlib.import_module(f"answers.{path.stem}").EXERCISES
    for path in sorted((Path(__file__).parent / "answers").glob("notebook_*.py"))
}
ALL = [(number, name) for number, exercises in ANSWERS.items() for name in exercises]
every_exercise = pytest.mark.parametrize(("number", "name"), ALL, ids=[f"{n} {e}" for n, e in ALL])


def check_of(number: str, name: str):
    return getattr(importlib.import_module(f"sgdc_viz.teach.checks.notebook_{number}"), name)


def cells(number: str) -> dict[str, str]:
    """grade_id -> source."""
    notebook = nbformat.read(NOTEBOOKS[number], as_version=4)
    return {c.metadata.nbgrader.grade_id: c.source for c in notebook.cells if "nbgrader" in c.metadata}


def scope_of(number: str) -> dict:
    """The names that the notebook imports: all that an answer may need."""
    scope = {}
    for cell in nbformat.read(NOTEBOOKS[number], as_version=4).cells:
        if cell.cell_type == "code":
            imports = [n for n in ast.parse(cell.source).body if isinstance(n, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(imports, []), "imports", "exec"), scope)
    return scope


def stub_of(solution: str) -> str:
    """The cell as nbgrader hands it out."""
    return re.sub(r"( *)### BEGIN SOLUTION.*### END SOLUTION", r"\1raise NotImplementedError()", solution, flags=re.S)


def test_every_exercise_has_answers():
    for number in NOTEBOOKS:
        told = {name for name in cells(number) if re.fullmatch(r"exercise_\d+", name)}
        assert told == set(ANSWERS[number]), f"notebook {number}"
    for number, name in ALL:
        exercise = ANSWERS[number][name]
        assert len(exercise.wrong) >= 3 and len(exercise.right) >= 1, f"notebook {number}, {name}"
        mistakes = [mistake for mistake, _, _ in exercise.wrong]
        assert len(set(mistakes)) == len(mistakes), f"notebook {number}, {name}"


@every_exercise
def test_checks_accept_the_reference(number, name, capsys):
    source, scope = cells(number), scope_of(number)
    exec(source[name], scope)
    exec(source[f"{name}_check"], scope)
    assert capsys.readouterr().out.startswith("Right. ")


@every_exercise
def test_checks_reject_the_stub(number, name):
    source, scope = cells(number), scope_of(number)
    exec(stub_of(source[name]), scope)
    with pytest.raises(CheckFailed, match="still empty"):
        exec(source[f"{name}_check"], scope)
    check = check_of(number, name)
    with pytest.raises(CheckFailed, match="returns nothing"):
        check(lambda *arguments, **named: None)
    with pytest.raises(CheckFailed, match="not a function"):
        check(3)


@every_exercise
def test_checks_tell_in_one_line_what_an_answer_raised(number, name):
    def broken(*arguments, **named):
        return {}["missing"]

    with pytest.raises(CheckFailed, match="broken stops with KeyError: 'missing'") as caught:
        check_of(number, name)(broken)
    (line,) = caught.value._render_traceback_()
    assert line.startswith("Not yet. ") and "\n" not in line


@pytest.mark.parametrize(
    ("number", "name", "wrong", "message"),
    [(n, e, wrong, message) for n, e in ALL for _, wrong, message in ANSWERS[n][e].wrong],
    ids=[f"{n} {e}: {mistake}" for n, e in ALL for mistake, _, _ in ANSWERS[n][e].wrong],
)
def test_checks_reject_wrong_answers_and_name_the_mistake(number, name, wrong, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        check_of(number, name)(wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "name", "answer"),
    [(n, e, answer) for n, e in ALL for answer in ANSWERS[n][e].right],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_checks_accept_answers_written_differently(number, name, answer, capsys):
    check_of(number, name)(answer)
    assert capsys.readouterr().out.startswith("Right. ")
