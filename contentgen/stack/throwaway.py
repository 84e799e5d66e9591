"""Folder and settings of a stack that is gone afterwards, and touches nothing of a stack that the caller has.

Layer: cli, beside `services`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contentgen.stack.interrupts import Interrupted
from contentgen.stack.processes import STOP_LIMIT
from contentgen.stack.services import demo_creator

_POLL = 0.05


@contextmanager
def throwaway_folder(name: str) -> Iterator[Path]:
    """Yields a temporary folder with an empty `data` in it. After a failure all but `data` is kept, for its logs."""
    folder = Path(tempfile.mkdtemp(prefix=f"contentgen-{name}-"))
    folder.chmod(0o711)  # where root runs the stack, another user runs PostgreSQL, and has to pass through
    (folder / "data").mkdir(mode=0o711)
    failed = True
    try:
        yield folder
        failed = False
    except Interrupted:
        failed = False
        raise
    finally:
        _remove(folder / "data" if failed else folder)


def _remove(folder: Path) -> None:
    """Removes a folder. Tries again for a while: the PostgreSQL of a killed scheduler writes there until it ends."""
    deadline = time.monotonic() + STOP_LIMIT
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=time.monotonic() < deadline)
        time.sleep(_POLL)


def environment(folder: Path) -> dict[str, str]:
    """Returns settings of a stack in a throw-away folder, with the demo creator: the caller's variables without those
    that are meant for a stack of theirs.
    """
    data = folder / "data"
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CONTENTGEN_", "CREATOR_", "DATABASE_URL"))
    }
    if bindir := os.environ.get("CONTENTGEN_PG_BINDIR"):
        variables["CONTENTGEN_PG_BINDIR"] = bindir
    return {
        **variables,
        **demo_creator(data / "creator"),
        "CONTENTGEN_DATA_DIR": str(data),
        "TMPDIR": str(data),  # the socket's folder too goes with it, where a killed scheduler can't remove it
        "CONTENTGEN_LISTEN": "127.0.0.1:0",
        "CONTENTGEN_CONSOLE_LISTEN": "127.0.0.1:0",
    }
