"""Results of experiments made up with known differences, for the tests of what is told about them."""

import numpy as np

from sgdc_viz.learn.experiment import EXPERIMENTS
from sgdc_viz.learn.metrics import METRICS


def made_results(name: str, effects: dict[str, float], images: int = 24, noise: float = 0.01, seeds=None) -> list[dict]:
    """One result for each arm in `effects` (arm -> what it adds to the metrics) and each of its declared seeds."""
    experiment, rng = EXPERIMENTS[name], np.random.default_rng(7)
    levels = [(dial, level) for dial, values in experiment.sweeps.items() for level in values] or [("", 0)]
    results = []
    for arm, effect in effects.items():
        for seed in experiment.arms[arm][:seeds]:
            n = images * len(levels)
            ease = np.random.default_rng(3 if not experiment.folds else seed).uniform(0.5, 0.7, n)
            columns = {"name": [f"{seed if experiment.folds else 0}-{i}" for i in range(n)]}
            columns["group"] = [i // 2 for i in range(n)]
            columns["kind"] = ["bright" if i % 3 else "dark" for i in range(n)]
            if experiment.sweeps:
                columns["dial"] = [dial for dial, _ in levels for _ in range(images)]
                columns["level"] = [level for _, level in levels for _ in range(images)]
            for metric in METRICS:
                columns[metric] = [float(v) for v in ease + effect + rng.normal(0, noise, n) + 0.001 * seed]
            columns["undefined"], columns["failure"] = [0.0] * n, [0.0] * n
            controls = {"guidance zeroed": -0.05, "guidance shuffled": -0.02}
            results.append({
                "experiment": name, "cell": f"{arm}-seed{seed}", "arm": arm, "seed": seed, "parameters": 1000,
                "training": {"steps": 10, "batch_size": 8, "crop": 96}, "train_data": {"images": 50},
                "commit": "0123456789abcdef", "machine": {"torch": "2.13.0"}, "images": columns,
                "controls": {
                    c: {m: [v + change for v in columns[m]] for m in METRICS} for c, change in controls.items()
                } if arm == "structure" else {},
            })  # fmt: skip
    return results
