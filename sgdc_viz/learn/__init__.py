"""Train, evaluate, predict, and keep weights."""

from .checkpoints import CheckpointInfo, list_pretrained, load_checkpoint, load_pretrained, save_checkpoint
from .predict import evaluate, predict_mask, predict_probability, prepare
from .train import TrainConfig, fit, start_from

__all__ = [
    "CheckpointInfo", "TrainConfig", "evaluate", "fit", "list_pretrained", "load_checkpoint", "load_pretrained",
    "predict_mask", "predict_probability", "prepare", "save_checkpoint", "start_from",
]  # fmt: skip
