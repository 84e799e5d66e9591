"""The version of contentgen, as all its programs, calls and metrics tell it. Layer: the bottom of contentgen."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def own_version() -> str:
    """Returns the version that is installed: between releases, `0.1.0.dev7+` and the commit, as 12 digits.

    A checkout goes on after its set-up: there the commit is that of HEAD, whatever else was changed.
    """
    version = metadata.version("contentgen-grpc")
    git = Path(__file__).parents[1] / ".git"
    with suppress(OSError, IndexError):  # it is no checkout, or git keeps its files in another way
        if git.is_file():  # of a worktree: it names the folder
            git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir: ").strip()
        commit = (git / "logs/HEAD").read_text(encoding="utf-8").splitlines()[-1].split()[1]
        version = f"{version.partition('+')[0]}+{commit[:12]}"
    return version
