"""`make examples` as it is called: the module, on a machine without npm."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import psutil

from tests.waiting import wait_until_gone

CHECKOUT = Path(__file__).parents[2]
LIMIT = 120


def test_the_examples_run_and_leave_nothing(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    environment = {"PATH": str(tmp_path), "EXAMPLES_MARK": mark, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    ran = subprocess.run(
        [sys.executable, "-m", "examples.run_all"],
        cwd=CHECKOUT,
        env=environment,
        timeout=LIMIT,
        capture_output=True,
        check=False,
    )
    out = ran.stdout.decode()
    assert ran.returncode == 0, out + ran.stderr.decode()
    wait_until_gone(lambda: marked(mark), within=1, what="nothing is left running")
    assert "A queue that loses nothing: " in out
    assert "5 tasks, submitted twice and made once" in out
    assert "processing → completed" in out
    assert "approved" in out
    assert "published" in out
    assert "examples/node is skipped: it needs node and npm" in out
    assert out.endswith("all examples ended well\n")


def marked(mark: str) -> list[psutil.Process]:
    """All that descend from the command."""
    return [process for process in psutil.process_iter() if _marked(process, mark)]


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("EXAMPLES_MARK") == mark
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
