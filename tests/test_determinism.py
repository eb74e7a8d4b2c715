"""The same seed gives the same weights, bit for bit, with one thread and with two; with another number, to rounding.

How far rounding goes (measured, small network): weights differ by 3e-7 after one step with two threads instead of one,
by 3e-5 after three, by 0.01 after twenty: a training multiplies it, as it does any other small change. Several
processes for one training are in test_experiment.py, runs in other processes and resumed ones in test_interrupted.py.

`SGDC_NOTEBOOKS=1 pytest tests/test_determinism.py` executes all notebooks with two and with four threads (five minutes
on an idle machine) and compares all that they print with what is saved in them.
"""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from test_train import weights_equal

from sgdc_viz.data import open_dataset
from sgdc_viz.learn import TrainConfig, fit, load_pretrained, predict_probability
from sgdc_viz.learn.history import SMALL
from sgdc_viz.learn.losses import total_loss
from sgdc_viz.learn.train import make_batch
from sgdc_viz.nn import SGDCNet, SGDCNetConfig

# Windows so large that torch does share the sums among threads.
CONFIG = TrainConfig(steps=2, crop=64, batch_size=4, warmup=2, validate_every=0, save_every=10)
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SET_THREADS = "torch.set_num_threads(1)"


@pytest.fixture(scope="module")
def samples():
    return list(open_dataset("synthetic-nuclei", count=6, size=64, split="train"))


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def small():
    torch.manual_seed(0)
    return SGDCNet(SGDCNetConfig.compact(drop_path=0.1, **SMALL))


def trained(samples, threads):
    torch.set_num_threads(threads)
    model = small()
    torch.seed()  # the caller's random state must not matter
    losses = [record["total"] for record in fit(model, samples, config=CONFIG, progress=False, cpu=True)]
    return model, losses


def test_the_same_seed_gives_the_same_weights_with_two_threads_as_well(samples):
    """With one thread: test_train.py."""
    (one, alone), (two, losses), (again, same) = (trained(samples, threads) for threads in (1, 2, 2))
    assert weights_equal(two, again) and losses == same
    assert not weights_equal(two, small())
    assert losses == pytest.approx(alone, rel=1e-4)  # measured: 1e-7


def test_one_thread_and_two_find_the_same_gradient_to_rounding(samples):
    found = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        model = small().train()
        images, masks, instances = make_batch(samples, CONFIG, 0)
        torch.manual_seed(1)
        total_loss(model(images), masks, instances)["total"].backward()
        found[threads] = torch.cat([p.grad.flatten() for p in model.parameters()])
    apart = (found[1] - found[2]).norm() / found[1].norm()
    assert apart < 1e-4  # measured: 1e-6


def test_a_shipped_model_predicts_the_same_with_any_number_of_threads(samples):
    model, image = load_pretrained("nuclei-structure"), samples[0].image
    predicted = {}
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        predicted[threads] = predict_probability(model, image)
        assert (predict_probability(model, image) == predicted[threads]).all()
        assert abs(predicted[threads] - predicted[1]).max() < 1e-4  # measured: 5e-7


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_says_how_many_threads_before_it_computes(path):
    cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    first = "".join(cells[0]["source"])
    assert SET_THREADS in first, "its numbers would depend on the machine"
    assert not re.search(r"torch\.rand|load_pretrained\(|fit\(", first.split(SET_THREADS)[0])


# --- the campaign only ------------------------------------------------------------------------------------------------

if os.environ.get("SGDC_NOTEBOOKS"):

    def printed(cell):
        """What a reader reads in a cell: streams together, texts and tables. Pictures and widgets have no text."""
        streams = {}
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream":
                streams[output["name"]] = streams.get(output["name"], "") + output["text"]
            elif output["output_type"] == "error":
                streams["error"] = output["evalue"]
        shown = [o["data"] for o in cell.get("outputs", []) if "data" in o]
        return streams, [{kind: d[kind] for kind in d if kind.startswith("text/")} for d in shown]

    @pytest.mark.timeout(3000)
    @pytest.mark.parametrize("threads", [2, 4])
    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_notebooks_print_the_same_with_more_threads(path, threads, monkeypatch):
        import nbformat
        from nbclient import NotebookClient

        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        saved, executed = nbformat.read(path, 4), nbformat.read(path, 4)
        for cell in executed.cells:
            cell.source = cell.source.replace(SET_THREADS, SET_THREADS.replace("1", str(threads)))
        NotebookClient(executed, timeout=2000, resources={"metadata": {"path": str(path.parent)}}).execute()
        compared = 0
        for i, (before, after) in enumerate(zip(saved.cells, executed.cells, strict=True)):
            if "NBVAL_IGNORE_OUTPUT" in before.source + str(before.metadata.get("tags", "")):
                continue
            assert printed(after) == printed(before), f"cell {i}"
            compared += before.cell_type == "code"
        assert compared > 3
