"""Folders for what is measured."""

from __future__ import annotations

import tempfile
from pathlib import Path


def make_folder(above: Path, prefix: str) -> Path:
    """A new one; where root runs this, PostgreSQL's user passes through it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
    folder.chmod(0o711)
    return folder
