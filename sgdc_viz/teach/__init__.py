"""What the notebooks stand on: predictions, pictures with a text for those who do not see them, checks, widgets.

`sgdc_viz.teach.widgets` needs the packages of the extra "notebooks" and is imported only where it is used.
"""

from .checks import CheckFailed, compare_predictions, observe, predict
from .show import show, show_plotly, show_states, show_table

__all__ = [
    "CheckFailed",
    "compare_predictions",
    "observe",
    "predict",
    "show",
    "show_plotly",
    "show_states",
    "show_table",
]
