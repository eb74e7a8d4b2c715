"""One image through networks that differ in one switch, ready to be looked at: what app and notebooks share.

explorer = Explorer()
pair = explorer.look("nuclei", image)              # runs both networks once and keeps what they did
pair.overview((40, 52)), pair.kernels((40, 52)), pair.microscope((40, 52)), pair.predictions((40, 52))
pair.pooling(4), pair.causal(), pair.region(), pair.kernel_maps(controls=True)      # changed and control arms run once
explorer.compare("nuclei", image, {"guided": Arm(), "guidance zeroed": Arm(change="guidance zeroed")})
for step in explorer.whole("nuclei", image): ...   # all of a large image, tile by tile; step.result at the end
family = explorer.add_network(data, "mine.safetensors")    # a network of one's own, for all of the above
watch(image).training((40, 52))                    # a training, step by step
"""

from .arms import CHANGES, COMPARISONS, CONTROLS, POOL_SIZES, Arm
from .explorer import ARMS, Explorer
from .film import Film, watch
from .networks import FAMILIES, UNTRAINED, Place, families, fit, load_network, missing_weights
from .pair import Pair
from .results import Result, result_of_whole, results_csv, results_of_pair, results_zip
from .runs import Run, run_network
from .several import causal, statistic_by_distance
from .whole import Progress, Whole

__all__ = [
    "ARMS", "CHANGES", "COMPARISONS", "CONTROLS", "FAMILIES", "POOL_SIZES", "UNTRAINED", "Arm", "Explorer", "Film",
    "Pair", "Place", "Progress", "Result", "Run", "Whole", "causal", "families", "fit", "load_network",
    "missing_weights", "result_of_whole", "results_csv", "results_of_pair", "results_zip", "run_network",
    "statistic_by_distance", "watch",
]  # fmt: skip
