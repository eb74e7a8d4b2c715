"""From a training run to a shipped model: its numbers, its controls, its card, and the README's table."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from sgdc_viz import assets_dir
from sgdc_viz.data import open_dataset
from sgdc_viz.learn import TrainConfig, evaluate, fit, list_pretrained, load_checkpoint
from sgdc_viz.learn.publish import changed_guidance, paired_difference, publish, results_table, shuffle_pixels
from sgdc_viz.nn import SGDC, SGDCNet, SGDCNetConfig

ROOT = Path(__file__).resolve().parent.parent
TINY = dict(encoder_channels=(8, 8, 16, 16), decoder_channels=(8, 8, 16, 16), mid_channels=8, kernel_size=3)
ARMS = ("structure", "pooled")
COMMAND = "python -m sgdc_viz train --data synthetic-nuclei --steps 6"


def nuclei(split, count=6):
    return open_dataset("synthetic-nuclei", split=split, count=count, size=48)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Both arms trained for a few steps and published into one folder."""
    folder = tmp_path_factory.mktemp("assets")
    for source in ARMS:
        run = tmp_path_factory.mktemp(source)
        torch.manual_seed(0)
        model = SGDCNet(SGDCNetConfig.compact(**TINY, kernel_source=source, pool_size=2))
        fit(model, nuclei("train"), config=TrainConfig(steps=6, batch_size=2, crop=32), out=run, progress=False)
        publish(run, f"tiny-{source}", COMMAND, nuclei("test"), folder, "A sentence about the data.")
    return folder


def test_numbers_are_those_of_the_shipped_file(published):
    results = json.loads((published / "results.json").read_text(encoding="utf-8"))
    assert list(results) == ["tiny-structure", "tiny-pooled"]
    for name, told in results.items():
        model = load_checkpoint(published / f"{name}.safetensors")
        again = evaluate(model, nuclei("test"))
        for record, image in zip(told["images"], again["images"], strict=True):
            assert record["name"] == image["name"]
            assert record["iou"] == pytest.approx(image["iou"], abs=1e-6)
        assert told["summary"]["iou"]["mean"] == pytest.approx(again["summary"]["iou"]["mean"], abs=1e-6)
        assert model.info.metrics["summary"] == told["summary"]
        assert told["data"]["split"] == "test" and told["command"] == COMMAND


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".x"])
def test_names_that_lead_elsewhere_are_refused_before_the_work(published, tmp_path, name):
    with pytest.raises(ValueError, match="such as nuclei-structure"):
        publish(tmp_path, name, COMMAND, nuclei("test"), published)


def test_controls_are_of_the_guided_model_only(published):
    results = json.loads((published / "results.json").read_text(encoding="utf-8"))
    assert set(results["tiny-structure"]["controls"]) == {"guidance zeroed", "guidance shuffled"}
    assert results["tiny-pooled"]["controls"] == {}


def test_card_says_what_one_must_know(published):
    text = (published / "tiny-structure.md").read_text(encoding="utf-8")
    results = json.loads((published / "results.json").read_text(encoding="utf-8"))["tiny-structure"]
    for words in (COMMAND, "Seed 0, 6 steps", "not a medical device", "A sentence about the data.", "guidance zeroed"):
        assert words in text, words
    assert f"| IoU | {results['summary']['iou']['mean']:.3f} [" in text
    assert "blocks of 2 x 2" in (published / "tiny-pooled.md").read_text(encoding="utf-8")


def test_control_changes_what_every_block_reads_and_is_gone_afterwards():
    torch.manual_seed(0)
    model = SGDCNet(SGDCNetConfig.compact(**TINY)).eval()
    image = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        before = model(image).logits
        for change in (torch.zeros_like, shuffle_pixels):
            with changed_guidance(model, change):
                assert not torch.equal(model(image).logits, before)
        assert torch.equal(model(image).logits, before)
        with pytest.raises(RuntimeError, match="stop"), changed_guidance(model, torch.zeros_like):
            raise RuntimeError("stop")
        assert torch.equal(model(image).logits, before)
    assert sum(isinstance(m, SGDC) for m in model.modules()) > 1


def test_shuffling_keeps_the_values_of_each_channel():
    guidance = torch.rand(2, 3, 5, 7)
    shuffled = shuffle_pixels(guidance)
    assert shuffled.shape == guidance.shape and not torch.equal(shuffled, guidance)
    assert torch.equal(shuffled.flatten(2).sort().values, guidance.flatten(2).sort().values)
    assert torch.equal(shuffle_pixels(guidance), shuffled)  # one fixed permutation


def test_paired_difference():
    rng = np.random.default_rng(0)
    first = [{"name": str(i), "iou": float(v)} for i, v in enumerate(rng.uniform(0, 1, 40))]
    second = [{"name": r["name"], "iou": r["iou"] - 0.1} for r in first]
    gap = paired_difference(first, second, "iou")
    assert gap["mean"] == pytest.approx(0.1) and gap["low"] == pytest.approx(0.1) and gap["high"] == pytest.approx(0.1)
    second[3]["iou"], first[5]["iou"] = None, math.nan  # undefined in one of them: left out
    assert paired_difference(first, second, "iou")["count"] == 38
    with pytest.raises(ValueError, match="different images"):
        paired_difference(first, second[::-1], "iou")


# --- what is shipped -------------------------------------------------------------------------------------------------


def shipped() -> dict:
    return json.loads((assets_dir() / "results.json").read_text(encoding="utf-8"))


def test_every_shipped_pair_has_card_and_numbers():
    pairs = [f"{kind}-{source}" for kind in ("nuclei", "dermoscopy", "synthetic") for source in ARMS]
    assert sorted(list_pretrained()) == sorted(shipped()) == sorted(pairs)
    for name in pairs:
        model, told = load_checkpoint(assets_dir() / f"{name}.safetensors"), shipped()[name]
        assert (assets_dir() / f"{name}.safetensors").stat().st_size < 3_000_000
        assert model.info.metrics["summary"] == told["summary"]
        text = (assets_dir() / f"{name}.md").read_text(encoding="utf-8")
        assert f"| IoU | {told['summary']['iou']['mean']:.3f} [" in text and told["command"] in text
        assert "python -m sgdc_viz train" in told["command"] and f"Seed {model.info.training['config']['seed']}" in text
        images = model.info.data["names_sha256"], told["data"]["names_sha256"]
        assert images[0] != images[1] and told["data"]["split"] == "test"


def test_the_arms_of_a_pair_differ_in_one_switch():
    for kind in ("nuclei", "dermoscopy", "synthetic"):
        guided, pooled = (load_checkpoint(assets_dir() / f"{kind}-{source}.safetensors") for source in ARMS)
        assert guided.config.kernel_source == "structure" and pooled.config.kernel_source == "pooled"
        assert {**guided.config.to_dict(), "kernel_source": 0} == {**pooled.config.to_dict(), "kernel_source": 0}
        assert guided.info.training["config"] == pooled.info.training["config"]
        assert guided.info.data == pooled.info.data
        commands = [shipped()[f"{kind}-{source}"]["command"].replace(source, "S") for source in ARMS]
        assert commands[0] == commands[1]


def test_readme_holds_the_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"<!-- results:.*?-->\n(.*?)\n<!-- /results -->", text, re.DOTALL)
    assert told.strip() == results_table(shipped()), "run `python -m sgdc_viz results` and paste what it prints"
