"""A small disk is full at once, and empty at once; nobody outside sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import errno, sys
from pathlib import Path
from verification.chaos.disks import Disk, DisksUnavailableError, enter_namespace

try:
    enter_namespace()
except DisksUnavailableError as error:
    sys.exit(f"unavailable: {error}")
folder = Path(sys.argv[1])
disk = Disk(folder, 1 << 20)
(folder / "before").write_bytes(b"x" * 200_000)
disk.fill()
try:
    (folder / "meanwhile").write_bytes(b"x" * 200_000)
except OSError as error:
    print(errno.errorcode[error.errno])
disk.empty()
(folder / "after").write_bytes(b"x" * 200_000)
print(*sorted(path.name for path in folder.iterdir()))
"""


def test_a_disk_is_filled_and_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    done = subprocess.run([sys.executable, "-c", _PROGRAM, folder], capture_output=True, text=True, check=False)
    if done.stderr.startswith("unavailable"):
        pytest.skip(done.stderr.strip())
    assert (done.stderr, done.stdout.split()) == ("", ["ENOSPC", "after", "before", "meanwhile"])
    assert list(folder.iterdir()) == [], "it was in a namespace of that process"


def test_missing_rights_to_mount_disks_are_explained() -> None:
    drop = "import os; from verification.chaos.disks import enter_namespace; os.getuid() or os.setuid(65534)"
    program = f"{drop}; enter_namespace()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "DisksUnavailableError: no mount namespace of its own: Operation not permitted"
    )
