"""Experiments: the grid is fair, a cell's result is whole and true, any kill is survived, several processes agree."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import micro_experiment
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_experiment import MICRO
from test_cli import help_of, run
from torch import nn

from sgdc_viz.learn import evaluate, experiment, load_checkpoint, train
from sgdc_viz.learn.experiment import ARMS, DECLARED, EXPERIMENTS, MAIN, Bench, Cell, build_network, training_of
from sgdc_viz.learn.metrics import METRICS
from sgdc_viz.learn.publish import shuffle_pixels
from sgdc_viz.nn import network as network_module
from sgdc_viz.teach.lessons.real import write_layout

EVERYTHING = [(name, arm) for name, e in EXPERIMENTS.items() for arm in e.arms]


@pytest.fixture(scope="module", autouse=True)
def micro():
    with pytest.MonkeyPatch.context() as patch:
        micro_experiment.install(patch)
        yield


@pytest.fixture(scope="module")
def unbroken(micro, tmp_path_factory):
    """Folder with the results (`out`) and the weights (`work`) of all cells of "micro", made one after the other."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert experiment.work_through(MICRO, MICRO.cells(), folder / "out", folder / "work") == []
    return folder


def micro_network(arm):
    return build_network(MICRO, Cell(arm, 0))


def read(folder):
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def numbers(result):
    """What must be the same in every run of a cell."""
    return {key: value for key, value in result.items() if key not in ("train_seconds", "test_seconds", "machine")}


# --- the grid ---------------------------------------------------------------------------------------------------------


class Resnet50(nn.Module):
    """The shapes of timm's ResNet-50 and none of its weights."""

    def forward(self, x):
        sizes = zip((256, 512, 1024, 2048), (4, 8, 16, 32), strict=True)
        return [x.new_zeros(x.shape[0], c, x.shape[-2] // s, x.shape[-1] // s) for c, s in sizes]


@pytest.fixture
def without_timm(monkeypatch):
    monkeypatch.setattr(network_module, "resnet50_encoder", Resnet50)


def on_meta(name, arm, num_classes=1):
    with torch.device("meta"):
        return build_network(EXPERIMENTS[name], Cell(arm, 0), num_classes)


@pytest.mark.parametrize("name, arm", EVERYTHING)
def test_every_arm_of_every_experiment_builds(name, arm, without_timm):
    assert ARMS[arm].name == arm and ARMS[arm].what
    net = on_meta(name, arm, num_classes=7 if name == "paper-conic" else 1)
    if name in ("shapes", "paper-conic"):  # all kinds of networks are among them
        out = net(torch.empty(1, 3, 64, 64, device="meta"))
        assert out.logits.shape == (1, net.config.num_classes, 64, 64)
    assert training_of(EXPERIMENTS[name], Cell(arm, 3)).seed == 3


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_equal_parameters_to_within_two_percent(name, without_timm):
    """Of the paper's experiments without the encoder, which is the same for all: so a stricter test."""
    count = {arm: sum(p.numel() for p in on_meta(name, arm).parameters()) for arm in EXPERIMENTS[name].arms}
    for arm in MAIN:
        assert abs(count[arm] / count["structure"] - 1) < 0.02, arm


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_equal_steps_schedule_and_data_order(name):
    """Of what decides them (see `test_train`, every arm sees the same data) arms differ in what they are named for."""
    of = {arm: asdict(training_of(EXPERIMENTS[name], Cell(arm, 1))) for arm in EXPERIMENTS[name].arms}
    for arm, own in of.items():
        changed = {key for key, value in own.items() if value != of["structure"][key]}
        assert changed == {*ARMS[arm].training} | ({"steps"} if ARMS[arm].steps != 1 else set()), arm
        assert changed <= {"steps", "edge_weight", "edge_width"}
    assert of["structure"] != asdict(training_of(EXPERIMENTS[name], Cell("structure", 2)))


def test_arms_of_one_seed_see_the_same_images_in_the_same_order(tmp_path, monkeypatch):
    """What really enters the networks, augmented, step by step."""
    seen = {}

    def spied(experiment_, cell, num_classes=1):
        net = micro_experiment.build_network(experiment_, cell, num_classes)
        net.register_forward_pre_hook(
            lambda module, args: seen.setdefault(cell, []).append(args[0].clone()) if module.training else None
        )
        return net

    monkeypatch.setattr(experiment, "build_network", spied)
    brief = replace(MICRO, training=replace(MICRO.training, steps=3, augment=True), sweeps={"noise": (0,)}, images=1)
    bench = Bench(brief)
    cells = [Cell("structure", 0), Cell("pooled-8", 0), Cell("dyconv", 0), Cell("structure", 1)]
    for cell in cells:
        experiment.run_cell(bench, cell, tmp_path / cell.name)
    first, *others = (torch.stack(seen[cell]) for cell in cells)
    assert first.shape == (3, 4, 3, 32, 32)
    assert first.equal(others[0]) and first.equal(others[1]) and not first.equal(others[2])


def test_arms_of_one_seed_start_from_the_same_weights():
    nuclei = EXPERIMENTS["nuclei"]
    weights = {arm: build_network(nuclei, Cell(arm, 0)).state_dict() for arm in nuclei.arms}
    start = weights["structure"]
    for arm, own in weights.items():
        # Published blocks have other weights than SGDC, and draw others; what comes before them is the same.
        sgdc = "kernel_source" not in ARMS[arm].network or ARMS[arm].network["kernel_source"] in (
            "structure", "semantic", "pooled", "global",
        )  # fmt: skip
        for key in own if sgdc else [key for key in own if key.startswith(("encoder.", "sge."))]:
            assert own[key].equal(start[key]) or (".ls" in key and arm.startswith("layer-scale")), (arm, key)
    assert not build_network(nuclei, Cell("structure", 1)).state_dict()["head.weight"].equal(start["head.weight"])
    shapes = EXPERIMENTS["shapes"]
    for source in ("structure", "semantic", "pooled-8"):
        with_skips, without = (build_network(shapes, Cell(arm, 2)) for arm in (source, f"{source}-no-skips"))
        assert with_skips.config.skips and not without.config.skips
        assert all(a.equal(b) for a, b in zip(with_skips.parameters(), without.parameters(), strict=True))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_cell_twice_and_what_is_compared_comes_first(name):
    e = EXPERIMENTS[name]
    cells = e.cells()
    assert len(set(cells)) == len(cells) == len({c.name for c in cells}) == sum(map(len, e.arms.values()))
    declared = {arm for pair in DECLARED["contrasts"].values() for arm in pair}
    first = cells[: sum(len(e.arms[arm]) for arm in declared)]
    assert {c.arm for c in first} == declared
    assert [c.seed for c in first] == sorted(c.seed for c in first)  # whole comparisons, seed by seed
    assert e.cells(["pooled-8"], [1, 0]) == [Cell("pooled-8", 0), Cell("pooled-8", 1)]


def test_what_is_declared_can_be_compared():
    assert DECLARED["primary"] in METRICS and DECLARED["secondary"] in METRICS
    assert len(DECLARED["contrasts"]) * len(DECLARED["experiments"]) == 9  # the number that the rule names
    for name in DECLARED["experiments"]:
        for first, second in DECLARED["contrasts"].values():
            seeds = EXPERIMENTS[name].arms[first]
            assert seeds == EXPERIMENTS[name].arms[second] and len(set(seeds)) >= 5
    folds = EXPERIMENTS["dermoscopy"].folds
    assert sorted({seed % folds for seed in EXPERIMENTS["dermoscopy"].arms["structure"]}) == list(range(folds))


def test_the_help_names_every_experiment():
    told = help_of("experiment")
    assert all(name in told for name in EXPERIMENTS if name != "micro")


# --- the images -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 12).map(str), min_size=1, max_size=40), st.integers(2, 6))
def test_folds_are_dealt_in_whole_groups(groups, folds):
    dealt = experiment.deal_folds(groups, folds)
    of_group = {group: {f for g, f in zip(groups, dealt, strict=True) if g == group} for group in groups}
    assert all(len(f) == 1 for f in of_group.values())
    sizes = [sum(f == {i} for f in of_group.values()) for i in range(folds)]
    assert max(sizes) - min(sizes) <= 1  # in groups
    backwards = experiment.deal_folds(groups[::-1], folds)
    assert backwards[::-1] == dealt  # a fold hangs on the names alone


def test_over_the_folds_every_image_is_tested_once(tmp_path):
    """On tiles of three microscope fields: whole fields are tested."""
    nuclei = replace(EXPERIMENTS["nuclei"], folds=3, longest_side=48)
    bench = Bench(nuclei, write_layout("bbbc038", tmp_path))
    everything = dict(zip(bench.all.names, bench.all.groups, strict=True))
    tested = []
    for seed in range(5):
        images, [(note, test)] = bench.fold(seed)
        names = [part.dataset.names for part in (images, test)]
        assert set(names[0]) | set(names[1]) == set(everything) and not set(names[0]) & set(names[1])
        assert not {everything[n] for n in names[0]} & {everything[n] for n in names[1]}
        assert note == {} and test.describe()["split"] == "test" and f"fold {seed % 3} of 3" in test.describe()["rule"]
        assert max(test[0].image.shape[:2]) == 48 and test[0] is bench.fold(seed)[1][0][1][0]  # read once
        tested += names[1] if seed < 3 else []
    assert sorted(tested) == sorted(everything) and len(set(everything.values())) == 3
    with pytest.raises(ValueError, match=r"bbbc038 holds 3 group\(s\) of images and experiment nuclei needs 5"):
        Bench(replace(nuclei, folds=5), tmp_path / "bbbc038")


def test_sweeps_turn_one_dial_and_keep_the_seeds():
    train_images, tests = Bench(MICRO).fold(0)
    assert [note for note, _ in tests] == [
        {"dial": dial, "level": level} for dial, levels in MICRO.sweeps.items() for level in levels
    ]
    smooth, lobed, clean, noisy = (images for _, images in tests)
    assert len(smooth) == 3 and smooth.dataset.names == noisy.dataset.names
    assert (clean[0].mask == noisy[0].mask).all() and (clean[0].image != noisy[0].image).any()
    assert (smooth[0].mask != lobed[0].mask).any()
    trained_on, tested_on = ({s.image.tobytes() for s in images} for images in (train_images, smooth))
    assert len(train_images) == 6 and not trained_on & tested_on


def test_images_are_kept_up_to_a_bound_and_read_again_beyond_it(monkeypatch):
    dataset, read = Bench(MICRO).train.dataset, []
    size = sum(part.nbytes for part in (dataset[0].image, dataset[0].mask))
    item = type(dataset).__getitem__
    monkeypatch.setattr(type(dataset), "__getitem__", lambda self, i: read.append(i) or item(self, i))
    images = experiment.Images(dataset, None, train.Kept(limit=2 * size))
    for _ in range(2):
        assert [sample.name for sample in images] == dataset.names
    assert read == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5]


# --- one cell ---------------------------------------------------------------------------------------------------------


def refuse(constant):
    raise AssertionError(f"{constant} in a result")


def test_a_result_holds_what_is_promised(unbroken):
    text = (unbroken / "out" / "structure-seed0.json").read_text()
    result = json.loads(text, parse_constant=refuse)
    assert result["experiment"] == "micro" and result["cell"] == "structure-seed0"
    assert (result["arm"], result["seed"]) == ("structure", 0)
    assert result["command"] == "python -m sgdc_viz experiment micro --cell structure-seed0"
    model = load_checkpoint(unbroken / "work" / "structure-seed0" / "model.safetensors")
    assert result["parameters"] == sum(p.numel() for p in model.parameters())
    assert result["network"] == json.loads(json.dumps(model.config.to_dict()))
    assert result["training"] == asdict(training_of(MICRO, Cell("structure", 0)))
    versions = {"sgdc_viz", "torch", "accelerate", "numpy", "kornia", "python"}
    assert versions | {"system", "device", "processes", "threads"} == set(result["machine"])
    assert result["machine"]["torch"] == torch.__version__ and result["machine"]["processes"] == 1
    assert result["commit"] is None or len(result["commit"].removesuffix("+")) == 40
    assert result["train_data"]["images"] == 6 and result["test_data"]["images"] == 12
    assert result["train_seconds"] > 0 and 0 < result["loss"] < 10
    columns = result["images"]
    about = {"name", "group", "kind", "height", "width", "dial", "level"}
    assert set(columns) == about | {*METRICS, "undefined", "failure"}
    assert {len(column) for column in columns.values()} == {12}
    assert (
        columns["dial"] == ["lobes"] * 6 + ["noise"] * 6 and columns["level"] == [0] * 3 + [8] * 3 + [0] * 3 + [0.2] * 3
    )
    assert columns["group"] == [0, 1, 2] * 4 and set(columns["height"]) == {32}
    assert set(result["controls"]) == {"guidance zeroed", "guidance shuffled", "kernels averaged", "gates averaged"}
    for control in result["controls"].values():
        assert {len(control[metric]) for metric in METRICS} == {12} and control["nsd1"] != columns["nsd1"]
    assert read(unbroken / "out")["semantic-seed0"]["controls"] == {}
    assert max(map(len, text.splitlines())) < 2000  # a column a line: a change of one is a change of one line


def test_a_result_is_what_evaluate_says_of_the_weights(unbroken):
    result = read(unbroken / "out")["structure-seed0"]
    model = load_checkpoint(unbroken / "work" / "structure-seed0" / "model.safetensors")
    images = [sample for _, images in Bench(MICRO).fold(0)[1] for sample in images]
    measured = evaluate(model, images)
    for metric in METRICS:
        told = [record[metric] for record in measured["images"]]
        assert result["images"][metric] == [round(v, 5) for v in told]
        assert result["summary"][metric]["mean"] == round(measured["summary"][metric]["mean"], 5)
    assert result["images"]["name"] == [sample.name for sample in images]


def test_the_shuffled_arm_is_shuffled_in_training_and_test(tmp_path, monkeypatch):
    batches = []

    def spy(guidance):
        batches.append(len(guidance))
        return shuffle_pixels(guidance)

    monkeypatch.setattr(experiment, "shuffle_pixels", spy)
    monkeypatch.setitem(experiment.CONTROLS, "guidance shuffled", (spy, "guidance"))
    bench = Bench(replace(MICRO, training=replace(MICRO.training, steps=2), sweeps={"noise": (0.0,)}))
    for arm, expected in (("shuffled", [4] * 8 + [1] * 12), ("structure", [1] * 12)):  # four blocks, three test images
        batches.clear()
        experiment.run_cell(bench, Cell(arm, 0), tmp_path / arm)
        assert batches == expected, arm  # of "structure" the control alone


def test_undefined_numbers_become_null_and_settings_are_not_rounded(tmp_path):
    path = tmp_path / "deep" / "cell.json"
    result = {"network": {"layer_scale_init": 1e-6}, "training": {"learning_rate": 1e-7}, "loss": 0.123456789}
    experiment.write_result(path, {**result, "images": {"iou": [float("nan"), float("inf"), 1 / 3]}})
    assert json.loads(path.read_text(), parse_constant=refuse) == {
        **result, "loss": 0.12346, "images": {"iou": [None, None, 0.33333]}
    }  # fmt: skip


@pytest.mark.parametrize("fails", ["replace", "fsync"])
def test_a_result_is_written_whole_or_not_at_all(tmp_path, monkeypatch, fails):
    path = tmp_path / "cell.json"
    experiment.write_result(path, {"loss": 1.0})

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="No space"):
        experiment.write_result(path, {"loss": 2.0})
    with pytest.raises(TypeError):
        experiment.write_result(path, {"loss": object()})
    assert [p.name for p in tmp_path.iterdir()] == ["cell.json"] and json.loads(path.read_text()) == {"loss": 1.0}


def test_files_that_are_no_results_are_named(tmp_path):
    assert experiment.read_results(tmp_path) == []
    for text in ("", "[]", '{"arm": "structure"}', "\xff"):
        (tmp_path / "x.json").write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match=r"x\.json' is no result of an experiment .*: remove it"):
            experiment.read_results(tmp_path)


def test_the_commit_is_of_this_clone_alone(tmp_path, monkeypatch):
    """A package installed inside somebody's clone has not that clone's commit."""
    for command in (["init"], ["-c", "user.name=n", "-c", "user.email=e", "commit", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)
    experiment.commit.cache_clear()
    monkeypatch.setattr(experiment, "__file__", str(tmp_path / "experiment.py"))
    (tmp_path / "experiment.py").write_text("")
    assert experiment.commit() is None
    experiment.commit.cache_clear()


# --- kills and several workers ----------------------------------------------------------------------------------------


def command(folder, *more):
    words = ["-m", "sgdc_viz", "experiment", "micro", "--out", folder / "out", "--work", folder / "work"]
    return [sys.executable, *map(str, (*words, *more))]


def start(folder, pause=0.0):
    """The real command in a process group of its own, with two workers; they pause in each step, to be caught there."""
    with (folder / "told").open("a") as told:
        return subprocess.Popen(
            command(folder, "--jobs", 2), env=micro_experiment.environment(folder, pause), start_new_session=True,
            stdout=told, stderr=told,
        )  # fmt: skip


def wait_for_a_state(folder, known=()):
    """Wait until a cell that is not yet known has saved a state; returns the folders of all that have."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = {state.parent for state in (folder / "work").glob("*/state.safetensors")} - set(known)
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError((folder / "told").read_text())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_any_kill_is_survived_and_leaves_the_same_numbers(unbroken, tmp_path):
    # All at once, in the middle of a cell.
    group = start(tmp_path, pause=0.3)
    cut = wait_for_a_state(tmp_path)
    os.killpg(group.pid, signal.SIGKILL)
    group.wait()
    assert all((cell / "state.safetensors").exists() for cell in cut)
    read(tmp_path / "out")  # whole files, if any

    # The same command again; now one worker, and then the parent alone.
    parent = start(tmp_path, pause=0.1)
    wait_for_a_state(tmp_path, cut)
    victim, orphan = psutil.Process(parent.pid).children()
    victim.kill()
    parent.kill()
    parent.wait()
    assert orphan.is_running()

    # A new worker beside the orphan that still works: together they finish, each cell trained by one of them.
    assert experiment.work_through(MICRO, MICRO.cells(), tmp_path / "out", tmp_path / "work") == []
    gone, alive = psutil.wait_procs([orphan], timeout=60)
    assert not alive
    results, expected = read(tmp_path / "out"), read(unbroken / "out")
    assert {name: numbers(r) for name, r in results.items()} == {name: numbers(r) for name, r in expected.items()}
    assert not list((tmp_path / "work").glob("*/state.safetensors"))
    logs = [log.read_text() for log in (tmp_path / "work").glob("worker-*.log")]
    assert any("all 6 cells are done" in log for log in logs) and not any("Traceback" in log for log in logs)


def test_a_cell_that_another_worker_holds_is_left_to_it_and_taken_over_when_dropped(unbroken, tmp_path):
    """A process that holds the lock and dies without a result."""
    out, work = tmp_path / "out", tmp_path / "work"
    (work / "semantic-seed0").mkdir(parents=True)
    hold = "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1]); lock.acquire()"
    words = [
        sys.executable,
        "-c",
        f"{hold}; print('held', flush=True); time.sleep(60)",
        str(work / "semantic-seed0" / "lock"),
    ]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    told = []

    def tell(line):
        told.append(line)
        if line.startswith("waiting"):
            holder.kill()

    cells = [Cell("semantic", 0), Cell("pooled-8", 0)]
    assert experiment.work_through(MICRO, cells, out, work, tell=tell) == []
    holder.wait()
    waiting = told.index("waiting for semantic-seed0: another process trains there")
    finished = [i for i, line in enumerate(told) if "cells done" in line]
    assert told[finished[0]].startswith("pooled-8-seed0: nsd1 ") and told[finished[0]].endswith("1 of 2 cells done")
    assert finished[0] < waiting < finished[1]
    expected = read(unbroken / "out")
    assert all(numbers(r) == numbers(expected[name]) for name, r in read(out).items())


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    def spoiled(experiment_, cell, num_classes=1):
        net = micro_experiment.build_network(experiment_, cell, num_classes)
        if cell.arm == "structure":
            nn.init.constant_(net.head.weight, float("nan"))
        return net

    monkeypatch.setattr(experiment, "build_network", spoiled)
    told, cells = [], [Cell("structure", 0), Cell("semantic", 0)]
    failed = experiment.work_through(MICRO, cells, tmp_path / "out", tmp_path / "work", tell=told.append)
    assert [cell.name for cell, _ in failed] == ["structure-seed0"] and "loss is nan" in failed[0][1]
    assert told[0].startswith("structure-seed0: failed: the loss is nan")
    assert list(read(tmp_path / "out")) == ["semantic-seed0"]


def workers(tmp_path, code, jobs=2, cells=("structure",), **more):
    """`run_workers` with small programs in place of the trainings."""
    cells = [Cell(arm, 0) for arm in cells]
    experiment.run_workers(
        [sys.executable, "-c", code, str(tmp_path)], jobs, MICRO, cells, tmp_path, tmp_path / "work", **more
    )


def test_a_worker_that_dies_is_an_error_with_its_reason(tmp_path):
    with pytest.raises(ValueError, match=r"1 of 1 cells have no result, structure-seed0 .*: 'a.jpg' is damaged"):
        workers(tmp_path, "import sys; print('ok'); sys.exit(\"error: 'a.jpg' is damaged\")")
    with pytest.raises(ValueError, match="RuntimeError: CUDA out of memory"):  # not the words of the run before
        workers(tmp_path, "print('fine'); raise RuntimeError('CUDA out of memory')")
    if sys.platform != "win32":
        with pytest.raises(ValueError, match="killed by signal 9"):
            workers(tmp_path, "import os; print('step 1'); os.kill(os.getpid(), 9)", progress=False)
    with pytest.raises(ValueError, match=r"see .*worker-0\.log"):
        workers(tmp_path, "")
    # One dies, the other does it all: no error.
    take = "import os, sys; os.open(sys.argv[1] + '/taken', os.O_CREAT | os.O_EXCL)"
    workers(tmp_path, f"{take}; open(sys.argv[1] + '/structure-seed0.json', 'w')")


def test_progress_of_workers_for_the_human(tmp_path, capsys):
    code = """
import sys, time
open(sys.argv[1] + '/structure-seed0.json', 'w')
print('pooled-8-seed0: step 5 of 10, loss 1.5', flush=True)
time.sleep(0.8)
open(sys.argv[1] + '/pooled-8-seed0.json', 'w')
"""
    workers(tmp_path, code, 1, ("structure", "pooled-8"))
    shown = capsys.readouterr().err
    assert "1/2 cells  75%" in shown and "pooled-8-seed0: step 5 of 10, loss 1.5" in shown and "2/2 cells 100%" in shown
    for path in tmp_path.glob("*.json"):
        path.unlink()
    workers(tmp_path, code, 1, ("structure", "pooled-8"), progress=False)
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == "1 of 2 cells done: structure-seed0" and not told.err
    assert told.out.splitlines()[-1] == "2 of 2 cells done: pooled-8-seed0"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_plain_kill_takes_the_workers_along(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        workers(tmp_path, "import os, sys, time; open(sys.argv[1] + f'/{os.getpid()}.pid', 'w'); time.sleep(60)")
    assert time.monotonic() - began < 20 and signal.getsignal(signal.SIGTERM) is before
    assert not any(psutil.pid_exists(int(path.stem)) for path in tmp_path.glob("*.pid"))


def test_each_worker_gets_one_of_the_gpus_that_may_be_seen(monkeypatch):
    assert experiment._gpus(2) == [{}, {}] or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for visible, expected in ((None, ["0", "1", "0"]), ("3,5", ["3", "5", "3"])):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert [env["CUDA_VISIBLE_DEVICES"] for env in experiment._gpus(3)] == expected
    assert experiment.usual_jobs() == 2
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert experiment.usual_jobs() == (1 if torch.backends.mps.is_available() else 4)


# --- several processes for one cell -----------------------------------------------------------------------------------


def launch(folder, *more):
    """The real command under accelerate's launcher with two CPU processes."""
    options = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no".split()
    words = [sys.executable, "-m", "accelerate.commands.launch", *options, "--main_process_port", "0"]
    return subprocess.run(
        [*words, *command(folder, *more)[1:]], env=micro_experiment.environment(folder), capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip


@pytest.fixture(scope="module")
def two_processes(unbroken, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two processes")
    (folder / "out").mkdir()
    for name in ("pooled-8-seed0", "structure-seed1"):  # done before: they stay as they are
        (folder / "out" / f"{name}.json").write_bytes((unbroken / "out" / f"{name}.json").read_bytes())
    done = launch(folder, "--seeds", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("all 4 cells are done") == 1 and done.stdout.count("cells done") == 3
    return folder


def test_two_processes_write_each_result_once(two_processes, unbroken):
    results, expected = read(two_processes / "out"), read(unbroken / "out")
    names = {"structure-seed0", "semantic-seed0", "edges-off-seed0"}
    assert set(results) == names | {"pooled-8-seed0", "structure-seed1"}
    assert not list((two_processes / "out").glob("*.part"))
    assert {name for name, r in results.items() if r["machine"]["processes"] == 2} == names
    for name in names:
        about = ("name", "group", "kind", "height", "width", "dial", "level")
        assert [results[name]["images"][key] for key in about] == [expected[name]["images"][key] for key in about]
        assert results[name]["training"] == expected[name]["training"]
    again = launch(two_processes, "--arms", "structure")  # nothing is left to do: the processes part, none hangs
    assert again.returncode == 0 and again.stdout.splitlines() == [
        f"all 2 cells are done, their results are in {two_processes / 'out'}"
    ]


def test_two_processes_learn_what_one_learns(two_processes, unbroken):
    """To rounding where nothing depends on how a batch is cut in two (see micro_experiment.build_network)."""
    file = "work/edges-off-seed0/model.safetensors"
    one, two = (load_checkpoint(folder / file) for folder in (unbroken, two_processes))
    start = micro_experiment.build_network(MICRO, Cell("edges-off", 0))
    learnt = 0
    for (name, a), b, before in zip(one.named_parameters(), two.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5, msg=name)  # measured: 2e-7
        learnt = max(learnt, (a - before).detach().abs().max().item())
    assert learnt > 0.01
    ours, theirs = (read(folder / "out")["edges-off-seed0"] for folder in (two_processes, unbroken))
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=2e-5)
    assert max(experiment.largest_difference(ours, theirs).values()) < 0.02


def test_two_processes_with_batch_norm_of_their_own_come_near(two_processes, unbroken):
    """The first losses are of the same images and nearly the same weights. Later the two trainings part, see `fit`."""
    for cell in ("structure-seed0", "semantic-seed0"):
        ours, theirs = (
            [record["total"] for record in json.loads((folder / "work" / cell / "history.json").read_text())]
            for folder in (two_processes, unbroken)
        )
        assert ours[:2] == pytest.approx(theirs[:2], rel=0.01)  # measured: 0.002
        assert ours == pytest.approx(theirs, rel=0.1)  # measured: 0.04
        assert sum(ours[-4:]) < 0.97 * sum(ours[:4])


def test_what_two_processes_measure_is_of_one_model(two_processes):
    """Each measured half of the images, with the same running statistics as the saved weights have."""
    result = read(two_processes / "out")["structure-seed0"]
    model = load_checkpoint(two_processes / "work" / "structure-seed0" / "model.safetensors")
    images = [sample for _, images in Bench(MICRO).fold(0)[1] for sample in images]
    told = [record["iou"] for record in evaluate(model, images)["images"]]
    assert result["images"]["iou"] == [round(v, 5) for v in told]


def test_batch_norm_over_processes_is_put_back():
    """SyncBatchNorm in a process alone is BatchNorm: one step with it equals one without."""

    def step(net, shared):
        layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.BatchNorm2d)}
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        replaced = train._share_batch_norm(net) if shared else {}
        kinds = {type(layer) for layer in net.modules()}
        assert (nn.SyncBatchNorm in kinds, nn.BatchNorm2d in kinds) == (shared, not shared)
        image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        net.train()(image).logits.square().mean().backward()
        optimizer.step()
        train._put_back(net, replaced)
        assert {name: net.get_submodule(name) for name in layers} == layers  # the very same, with their hooks
        return net.eval()

    plain, shared = (step(micro_network("structure"), shared) for shared in (False, True))
    assert list(plain.state_dict()) == list(shared.state_dict())
    for (name, a), b in zip(plain.state_dict().items(), shared.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    assert shared.encoder.stages[0].bn2.num_batches_tracked == 1


def test_a_batch_that_cannot_be_shared_evenly_is_refused(monkeypatch):
    monkeypatch.setattr(train, "_accelerator", lambda *_, **__: SimpleNamespace(num_processes=3))
    with pytest.raises(ValueError, match="batch_size=4 cannot be shared evenly by 3 processes: take a multiple"):
        train.fit(micro_network("structure"), Bench(MICRO).train, config=MICRO.training, progress=False)


def test_a_launcher_is_recognised(monkeypatch):
    for name in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"):
        assert not train.several_processes()
        monkeypatch.setenv(name, "1")
        assert not train.several_processes()
        monkeypatch.setenv(name, "2")
        assert train.several_processes()
        monkeypatch.delenv(name)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    return {name: write_layout(name, folder) for name in ("isic2016", "isic2018", "ph2", "conic")}


@pytest.mark.parametrize(
    "name, arms, options",
    [
        ("paper-isic2016", "structure,pooled-8", {"--root": "isic2016"}),
        ("paper-isic2018", "semantic", {"--root": "isic2018"}),
        ("paper-ph2", "structure", {"--root": "isic2016", "--test-root": "ph2"}),
        ("paper-conic", "structure,idconv,plain", {"--root": "conic"}),
    ],
)
def test_experiments_of_the_paper_on_tiny_files_in_the_official_layouts(capsys, layouts, tmp_path, name, arms, options):
    words = [word for option, data in options.items() for word in (option, layouts[data])]
    words += ["--out", tmp_path / "out", "--work", tmp_path / "work", "--arms", arms, "--jobs", 1, "--rehearse"]
    code, told, error = run(capsys, "experiment", name, *words)
    assert code == 0, error
    results = read(tmp_path / "out")
    assert set(results) == {f"{arm}-seed0" for arm in arms.split(",")}
    images = {"paper-isic2016": 2, "paper-isic2018": 2, "paper-ph2": 3}.get(name)
    for result in results.values():
        words = " --root ROOT" + (" --test-root TEST_ROOT" if name == "paper-ph2" else "") + " --rehearse"
        assert result["command"] == f"python -m sgdc_viz experiment {name} --cell {result['cell']}{words}"
        assert result["training"]["steps"] == 2 and result["network"]["encoder"] == "compact"
        if name == "paper-conic":
            assert result["network"]["num_classes"] == 7 and result["longest_side"] is None
            assert {"class_1_iou", "class_6_nsd1"} <= set(result["images"]) and set(result["images"]["height"]) == {64}
            assert set(result["images"]["kind"]) <= {"consep", "crag", "dpath", "glas"}
        else:
            assert result["longest_side"] == 64 == max(result["images"]["width"])
            assert len(result["images"]["name"]) == result["test_data"]["images"] == images
    if name == "paper-ph2":
        assert (result["train_data"]["name"], result["test_data"]["name"]) == ("isic2016", "ph2")
        assert result["images"]["name"] == ["IMD002", "IMD003", "IMD004"]


def test_without_timm_the_paper_says_so_before_it_reads_data(capsys, layouts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # makes `import timm` fail, installed or not
    monkeypatch.setattr(experiment, "open_dataset", refuse)
    for jobs in (1, 2):
        own = ("--root", layouts["isic2016"], "--out", tmp_path / "out", "--work", tmp_path / "work", "--jobs", jobs)
        code, told, error = run(capsys, "experiment", "paper-isic2016", *own)
        assert (
            code == 2
            and error.startswith("error: SGDCNetConfig.paper() needs timm")
            and 'pip install -e ".[paper]"' in error
        )
        assert len(error.splitlines()) == 1 and not told and not (tmp_path / "out").exists()


MISTAKES = [
    ("cats", [], "there is no experiment 'cats': choose one of shapes, nuclei, dermoscopy, folder, paper-isic2016, "),
    ("micro", ["--arms", "structure,magic"], "experiment micro has no arm 'magic'; it has structure, pooled-8, "),
    ("micro", ["--seeds", "x"], "--seeds 'x' is no whole number"),
    ("micro", ["--seeds", "0,7"], "experiment micro has no seed 7; it has 0, 1."),
    ("micro", ["--cell", "structure-seed9"], "no such cell: `experiment micro --list` prints its grid"),
    ("micro", ["--arms", "semantic", "--seeds", "1"], "no such cell"),
    ("micro", ["--jobs", "0"], "--jobs 0 must be 1 or more"),
    ("micro", ["--jobs", "-2"], "--jobs -2 must be 1 or more"),
    ("micro", ["--threads", "0"], "--threads 0 must be 1 or more"),
    ("micro", ["--root", "ROOT"], "--root is of no use to experiment micro: leave it out"),
    ("micro", ["--again"], "--again needs --cell with the name of a finished cell"),
    ("micro", ["--again", "--cell", "structure-seed0"], "--again needs --cell with the name of a finished cell"),
    ("micro", ["--out", "FILE"], "is a file: give the name of a folder"),
    ("micro", ["--work", "FILE"], "error: --work "),
    ("nuclei", [], "experiment nuclei needs --root, the folder or zip that holds bbbc038"),
    (
        "nuclei",
        ["--root", "/nowhere/at/all"],
        "--root '/nowhere/at/all' does not exist: give the folder or zip with bbbc",
    ),
    ("nuclei", ["--root", "ROOT", "--test-root", "ROOT"], "--test-root is of no use to experiment nuclei"),
    ("nuclei", ["--root", "ROOT", "--jobs", "1"], "bbbc038: expected <id>/images/<id>.png"),
    ("paper-ph2", ["--root", "ROOT"], "experiment paper-ph2 needs --test-root, the folder or zip that holds ph2"),
]


@pytest.mark.parametrize("name, options, says", MISTAKES)
def test_mistakes_get_one_sentence(capsys, tmp_path, monkeypatch, name, options, says):
    monkeypatch.chdir(tmp_path)  # for the folder runs/
    (tmp_path / "file").write_text("mine")
    (tmp_path / "root").mkdir()
    words = [{"FILE": tmp_path / "file", "ROOT": tmp_path / "root"}.get(word, word) for word in options]
    code, told, error = run(capsys, "experiment", name, *words)
    assert code == 2 and says in error and error.startswith("error: ")
    assert len(error.strip().splitlines()) == 1 and not told
    assert not list(tmp_path.rglob("*.json"))


def test_the_reason_of_a_broken_file_comes_through_real_workers(capsys, layouts, tmp_path):
    broken = write_layout("isic2016", tmp_path)
    picture = next(broken.glob("*Training_Data/*.jpg"))
    picture.write_bytes(picture.read_bytes()[:500])
    own = ("--root", broken, "--out", tmp_path / "out", "--work", tmp_path / "work", "--arms", "structure,semantic")
    code, _, error = run(capsys, "experiment", "paper-isic2016", *own, "--rehearse", "--jobs", 2)
    assert code == 2 and error.startswith(
        "error: 2 of 2 cells have no result, structure-seed0 among them: 2 of 2 cells failed"
    )
    assert picture.name in error and "damaged" in error and len(error.strip().splitlines()) == 1
    assert not list(tmp_path.glob("out/*.json"))


def test_list_again_and_nothing_left_to_do(capsys, unbroken):
    own = ("--out", unbroken / "out", "--work", unbroken / "work")
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*.json")}
    code, told, _ = run(capsys, "experiment", "micro", *own, "--list")
    assert code == 0
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert lines[0] == "structure per pixel, guided (SGDC) seeds 0, 1; 2 of 2 done" and len(lines) == 5
    assert lines[4].startswith(f"(results in {unbroken / 'out'};")
    code, told, _ = run(capsys, "experiment", "micro", *own)
    first, comparison = told.splitlines()  # two seeds of structure and pooled-8, one of semantic
    assert code == 0 and first == f"all 6 cells are done, their results are in {unbroken / 'out'}"
    assert comparison.startswith("guided - pooled: surface Dice at 1 px") and "over 2 seeds and 12 images" in comparison
    code, told, error = run(capsys, "experiment", "micro", *own, "--cell", "pooled-8-seed1", "--again")
    assert code == 0, error
    assert len(told.splitlines()) == len(METRICS)
    for line in told.splitlines():
        assert "largest difference of an image 0.00000" in line
        first, _, second = line.rpartition("means ")[2].partition(" and ")
        assert first == second
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*.json")} == before


def test_again_tells_differences(unbroken, tmp_path, capsys):
    for path in (unbroken / "out").glob("structure*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    other = json.loads((tmp_path / "structure-seed0.json").read_text())
    other["images"]["iou"][3] -= 0.25
    other["images"]["hd95"][2] = None
    (tmp_path / "structure-seed0.json").write_text(json.dumps(other))
    code, told, _ = run(capsys, "experiment", "micro", "--cell", "structure-seed0", "--again", "--out", tmp_path)
    words = [line.replace(",", "").split() for line in told.splitlines()]
    differences = {metric: float(worst) for metric, _, _, _, _, _, worst, *_ in words}
    assert code == 0 and differences == {**dict.fromkeys(METRICS, 0.0), "iou": 0.25, "hd95": 1.0}
    other["images"]["name"][0] = "another"
    (tmp_path / "structure-seed0.json").write_text(json.dumps(other))
    code, _, error = run(capsys, "experiment", "micro", "--cell", "structure-seed0", "--again", "--out", tmp_path)
    assert code == 2 and "different images" in error.splitlines()[-1]


@pytest.mark.parametrize("change, says", [({"experiment": "nuclei"}, "nuclei"), ({"steps": 2}, "steps 2 -> 10")])
def test_results_of_something_else_are_not_taken_for_done(unbroken, tmp_path, capsys, change, says):
    """A rehearsal's, say, or of an experiment with cells of the same names."""
    result = read(unbroken / "out")["structure-seed0"]
    steps = {"training": {**result["training"], **change}} if "steps" in change else change
    (tmp_path / "structure-seed0.json").write_text(json.dumps({**result, **steps}))
    code, told, error = run(capsys, "experiment", "micro", "--out", tmp_path, "--work", tmp_path / "work")
    assert code == 2 and f"of another experiment or of other settings ({says})" in error and not told
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "change, says",
    [
        ({"options": {**MICRO.options, "count": 5}}, "synthetic-shapes, 6 images, -> synthetic-shapes, 5"),
        ({"images": 2}, "synthetic-shapes, 12 images, -> synthetic-shapes, 8"),
    ],
    ids=["train", "test"],
)
def test_results_of_other_images_are_neither_taken_for_done_nor_added_to(
    unbroken, tmp_path, capsys, monkeypatch, change, says
):
    monkeypatch.setitem(EXPERIMENTS, "micro", replace(MICRO, **change))
    done = "structure-seed0.json"
    (tmp_path / done).write_bytes((unbroken / "out" / done).read_bytes())
    for more in (["--cell", "structure-seed0"], ["--arms", "pooled-8", "--jobs", 2]):
        code, told, error = run(capsys, "experiment", "micro", "--out", tmp_path, "--work", tmp_path / "work", *more)
        assert code == 2 and f"{done}' is a result on other images than those given now ({says})" in error and not told
        assert len(error.splitlines()) == 1
    assert os.listdir(tmp_path) == [done]


def test_states_of_other_images_are_refused_before_anything_is_trained(tmp_path):
    cells, seen = MICRO.cells(), []
    train.fit(
        micro_network("structure"), Bench(MICRO).train, config=training_of(MICRO, cells[-1]), progress=False,
        out=tmp_path / "work" / cells[-1].name, on_step=lambda *_: True,
    )  # fmt: skip
    other = replace(MICRO, options={**MICRO.options, "count": 5})
    with pytest.raises(ValueError, match=rf"{cells[-1].name}.*was trained on other data \(images 6 -> 5\)"):
        experiment.work_through(other, cells, tmp_path / "out", tmp_path / "work", tell=seen.append)
    assert not seen and not (tmp_path / "out").exists()


def test_a_rehearsal_shares_no_folder_with_the_real_thing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, told, _ = run(capsys, "experiment", "micro", "--rehearse", "--cell", "structure-seed0", "--jobs", 1)
    assert code == 0
    result = read(tmp_path / "runs" / "micro-rehearsal" / "results")["structure-seed0"]
    assert result["training"]["steps"] == 2 and result["command"].endswith("structure-seed0 --rehearse")
    assert not (tmp_path / "runs" / "micro").exists()
