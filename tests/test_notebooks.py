"""The contract that every notebook keeps. (They also run under nbval, cell by cell.)"""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def read(path: Path):
    return nbformat.read(path, as_version=4)


def code_cells(path: Path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def outputs(path: Path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def graded(path: Path, key: str):
    return [c for c in read(path).cells if c.metadata.get("nbgrader", {}).get(key)]


def test_there_are_notebooks():
    assert FOLDER / "00_start_here.ipynb" in NOTEBOOKS


# --- every notebook --------------------------------------------------------------------------------------------------


@every_notebook
def test_first_cell_says_what_to_expect(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(rf"# {path.stem[:2]} ", first.source)
    goals = first.source.split("you will be able to")[1].split("**You should know:**")[0]
    assert 3 <= len(re.findall(r"^- ", goals, re.M)) <= 5
    assert re.search(r"\*\*Time:\*\*.*\d+ minutes", first.source)
    assert "**Hardware:**" in first.source and "**Works offline:**" in first.source


@every_notebook
def test_valid_small_and_executed_in_order(path):
    nbformat.validate(read(path))
    assert path.stat().st_size < 1_000_000
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    lengths = [len(cell.source.splitlines()) for cell in cells]
    assert statistics.median(lengths) <= 10 and max(lengths) <= 25


@every_notebook
def test_nothing_of_this_machine_is_in_it(path):
    notebook = read(path)
    assert "widgets" not in notebook.metadata  # saved widget state: megabytes, and stale on opening
    texts = [cell.source for cell in notebook.cells]
    for output in outputs(path):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        texts.append(output.get("text", ""))
        texts += [v for k, v in output.get("data", {}).items() if k.startswith("text/")]
    for text in texts:
        assert not re.search(r"(?<![\w.:/])/(home|root|work|tmp|usr|opt|mnt|var|Users|Volumes)/|\b[A-Z]:\\", text), text
        assert not re.search(r"\b0x[0-9a-f]{6,}", text), text
    for cell in code_cells(path):
        assert "raises-exception" not in cell.metadata.get("tags", [])  # nbval passes those also when nothing raises
        assert not {"execution", "ExecuteTime"} & set(cell.metadata), "timings of cells differ at each run"


@every_notebook
def test_every_picture_has_an_alt_text(path):
    pictures = 0
    for output in outputs(path):
        for kind in {"image/png", "image/jpeg", "image/svg+xml"} & set(output.get("data", {})):
            alt = output.metadata.get(kind, {}).get("alt", "")
            assert len(alt) > 60, f"alt text {alt!r} says too little"
            pictures += 1
    assert pictures >= 2
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            assert all(alt.strip() for alt in re.findall(r"!\[(.*?)\]\(", cell.source))


@every_notebook
def test_every_widget_has_a_still_picture_beside_it(path):
    cells = code_cells(path)
    for cell, after in zip(cells, cells[1:], strict=False):
        if any("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in cell.outputs):
            assert any("image/png" in o.get("data", {}) for o in after.outputs)


@every_notebook
def test_every_prediction_is_answered(path):
    source = "\n".join(cell.source for cell in code_cells(path))
    asked = re.findall(r'^predict\("(q\d+)"', source, re.M)
    assert asked and asked == re.findall(r'^observe\("(q\d+)"', source, re.M)
    explained = sum(c.source.count("<summary><b>Explain") for c in read(path).cells if c.cell_type == "markdown")
    assert explained >= len(asked)
    assert "compare_predictions()" in code_cells(path)[-1].source


@every_notebook
def test_exercises_have_prompt_hints_stub_and_check(path):
    notebook = read(path)
    about = [cell.metadata.get("nbgrader", {}) for cell in notebook.cells]
    ids = [a["grade_id"] for a in about if a]
    assert len(ids) == len(set(ids))
    solutions = [i for i, a in enumerate(about) if a.get("solution")]
    assert len(solutions) >= 3
    for i in solutions:
        cell, prompt, check = notebook.cells[i], notebook.cells[i - 1], notebook.cells[i + 1]
        assert cell.source.count("### BEGIN SOLUTION") == cell.source.count("### END SOLUTION") == 1
        assert re.search(
            rf"^### Exercise {about[i]['grade_id'][9:]} \((easy|medium|hard), \d points?\) · ", prompt.source, re.M
        )
        assert prompt.source.count("<summary>Hint") >= 2
        a = about[i + 1]
        assert a["grade"] and a["locked"] and a["points"] > 0 and not a["solution"] and check.cell_type == "code"
    with_markup = [i for i, cell in enumerate(notebook.cells) if "BEGIN SOLUTION" in cell.source]
    assert with_markup == solutions  # nbgrader stops at markup elsewhere, in prose too
