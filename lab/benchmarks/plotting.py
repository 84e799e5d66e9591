"""Plots as SVG. They need matplotlib, which nothing else here does."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def pyplot() -> Any:
    """Draws the same file from the same figures. Raises ModuleNotFoundError without matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "contentgen"
    from matplotlib import pyplot as plt

    return plt


def save(figure: Any, path: Path) -> Path:
    """Writes it, and forgets it."""
    figure.savefig(path, metadata={"Date": None})
    pyplot().close(figure)
    return path
