"""One image through networks that differ in one switch, ready to be looked at: what app and notebooks share.

explorer = Explorer()
pair = explorer.look("nuclei", image)              # runs both networks once and keeps what they did
pair.overview((40, 52)), pair.kernels((40, 52)), pair.microscope((40, 52)), pair.predictions((40, 52))
pair.pooling(4), pair.causal(), pair.region(), pair.kernel_maps(controls=True)      # changed and control arms run once
explorer.compare("nuclei", image, {"guided": Arm(), "guidance zeroed": Arm(change="guidance zeroed")})
watch(image).training((40, 52))                    # a training, step by step
"""

from .arms import CHANGES, COMPARISONS, CONTROLS, POOL_SIZES, Arm
from .explorer import ARMS, Explorer
from .film import Film, watch
from .networks import FAMILIES, UNTRAINED, Place, families, fit, load_network, missing_weights
from .pair import Pair
from .runs import Run, run_network
from .several import causal, statistic_by_distance

__all__ = [
    "ARMS", "CHANGES", "COMPARISONS", "CONTROLS", "FAMILIES", "POOL_SIZES", "UNTRAINED", "Arm", "Explorer", "Film",
    "Pair", "Place", "Run", "causal", "families", "fit", "load_network", "missing_weights", "run_network",
    "statistic_by_distance", "watch",
]  # fmt: skip
