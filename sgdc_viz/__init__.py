"""sgdc_viz: see how Structure-Guided Dynamic Convolution works (Shi et al., MIDL 2026, arXiv 2602.23496)."""

__version__ = "0.1.0"


def assets_dir():
    """placeholder: helper 6 owns it"""
    from pathlib import Path

    return Path(__file__).parent.parent / "assets"
