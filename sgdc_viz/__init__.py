"""sgdc_viz: see how Structure-Guided Dynamic Convolution works (Shi et al., MIDL 2026, arXiv 2602.23496)."""

from pathlib import Path

__version__ = "0.1.0"


def assets_dir() -> Path:
    """The folder of the trained models that come with sgdc_viz (`*.safetensors`) and their model cards (`*.md`).

    Returns:
        `sgdc_viz/assets` where a wheel was installed, `assets/` at the top of the project where it runs from a clone.

    Raises:
        FileNotFoundError: neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "assets", package.parent / "assets"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"the trained models are missing: no folder {package / 'assets'} and no {package.parent / 'assets'}; "
        "install sgdc_viz again, or restore assets/ in the clone"
    )
