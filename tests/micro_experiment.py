"""An experiment of seconds, for tests: in this process by `install`, in child processes by `environment`."""

import os
from pathlib import Path

import pytest
from torch import nn

from sgdc_viz.learn import TrainConfig, experiment
from sgdc_viz.nn import SGDCNetConfig

TINY = dict(encoder_channels=(4, 4, 6, 8), decoder_channels=(4, 4, 4, 8), mid_channels=8, guidance_channels=3, heads=2,
            kernel_size=3)  # fmt: skip


def network(**changes) -> SGDCNetConfig:
    return SGDCNetConfig.compact(**{**TINY, **changes})


MICRO = experiment.Experiment(
    "micro",
    "Does the machinery work?",
    "synthetic-shapes",
    {"structure": (0, 1), "pooled-8": (0, 1), "semantic": (0,), "edges-off": (0,)},
    TrainConfig(steps=10, batch_size=4, crop=32, learning_rate=4e-3, warmup=2, validate_every=0, save_every=2,
                augment=False),
    network=network,
    options={"size": 32, "count": 6},
    middle={"lobes": 5, "width": 3.0, "contrast": 1.0, "noise": 0.05},
    sweeps={"lobes": (0, 8), "noise": (0.0, 0.2)},
    images=3,
)  # fmt: skip


def build_network(experiment_, cell, num_classes=1, build=experiment.build_network):
    """As the real one. In the arm "edges-off" BatchNorm stays as it is: nothing then depends on how a batch is cut."""
    net = build(experiment_, cell, num_classes)
    for layer in net.modules():
        if cell.arm == "edges-off" and isinstance(layer, nn.BatchNorm2d):
            layer.eval().train = lambda mode=True, layer=layer: layer
    return net


def install(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(experiment.EXPERIMENTS, "micro", MICRO)
    patch.setattr(experiment, "build_network", build_network)


def environment(folder: Path, pause: float = 0.0) -> dict[str, str]:
    """Environment in which `python -m sgdc_viz experiment micro` works: Python runs sitecustomize.py at its start.

    Args: folder: for sitecustomize.py. pause: seconds to rest in each step of a training.
    """
    (folder / "sitecustomize.py").write_text(_AT_START)
    path = os.pathsep.join([str(folder), str(Path(__file__).parent)])
    return {**os.environ, "PYTHONPATH": path, "MICRO_PAUSE": str(pause)}


_AT_START = """
import os, time, micro_experiment, pytest
from sgdc_viz.learn import train
micro_experiment.install(pytest.MonkeyPatch())
make_batch, pause = train.make_batch, float(os.environ["MICRO_PAUSE"])
train.make_batch = lambda *args: (time.sleep(pause), make_batch(*args))[1]
"""
