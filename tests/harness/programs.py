"""Programs of the system that some tests run: proxies, Prometheus."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

_FOLDERS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", str(Path(sys.executable).parent)])


def found_program(name: str) -> str | None:
    """The path of a program; None if it is not installed."""
    return shutil.which(name, path=_FOLDERS)


def program(name: str) -> str:
    """The path of a program; a test whose program is not installed is skipped."""
    path = found_program(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path
