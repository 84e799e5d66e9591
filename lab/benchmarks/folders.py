"""Folders for what is measured."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def make_folder(above: Path, prefix: str) -> Path:
    """Makes a folder, and returns its path; where root runs this, PostgreSQL's user passes through it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
    folder.chmod(0o711)
    return folder


@contextlib.contextmanager
def lent_folder(above: Path, prefix: str) -> Iterator[Path]:
    """A new one, which is removed at the end. After a failure it stays: its logs say why."""
    folder = make_folder(above, prefix)
    try:
        yield folder
    except asyncio.CancelledError:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)
