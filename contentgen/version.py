"""The version of contentgen, as all its programs, calls and metrics tell it. Layer: the bottom of contentgen."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

_DESCRIBE = ("describe", "--tags", "--match=v[0-9]*", "--always", "--abbrev=12")
_TIMEOUT = 5.0
"""Seconds for git to answer: it takes milliseconds."""


@cache
def own_version() -> str:
    """Returns the version that is installed: between releases, `0.1.0.dev7+` and the commit, as 12 digits.

    A checkout goes on after its set-up: there the commit is that of HEAD, or its tag is the version, whatever else was
    changed.
    """
    version = metadata.version("contentgen-grpc")
    git = Path(__file__).parents[1] / ".git"
    if git.exists():
        with suppress(OSError, subprocess.SubprocessError):  # there is no git, or it does not trust the checkout
            command = ["git", f"--git-dir={git}", *_DESCRIBE]
            ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT)
            tag, _, commit = ended.stdout.strip().rpartition("-g")
            is_release = not tag and commit.startswith("v")
            version = commit[1:] if is_release else f"{version.partition('+')[0]}+{commit}"
    return version
