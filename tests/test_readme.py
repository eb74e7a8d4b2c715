"""What the README tells people to type works."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from sgdc_viz.cli import app

TEXT = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = sorted(set(re.findall(r"python -m sgdc_viz [^`\n]+", TEXT)))


def test_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 96, 3), dtype=np.uint8)).save("cells.png")
    names = {}
    assert len(CODE) == 5
    for block in CODE:
        exec(block, names)
    assert names["pixel"].kernels.shape == (4, 7, 7) and names["pixel"].gate_dynamic.shape == (24,)
    assert names["pixel"].error < 1e-5
    assert not torch.equal(names["changed"].logits, names["output"].logits)
    assert names["rec"].at("mix", 40, 52).error < 1e-5 and names["blocks"](names["unet"]) == ("mix",)
    assert names["fired"] == {"1.kernels": 1}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_exist(command):
    """Command and options are known: typer stops at `--help` before it runs anything."""
    words = command.split()[3:]
    told = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "300"})
    assert told.exit_code == 0, told.output
    for option in (word for word in words if word.startswith("--")):
        assert option in told.output, f"{command}: no option {option}"


def test_pictures_are_there():
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT):
        assert (Path(__file__).resolve().parent.parent / path).is_file(), path
