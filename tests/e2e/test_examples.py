"""`make examples` as it is called: the module, on a machine without npm."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.harness.cluster import server_folder
from tests.harness.process import run_to_end
from tests.harness.processes import belonging_to
from tests.harness.waiting import wait_until_gone

CHECKOUT = Path(__file__).parents[2]
LIMIT = 120


@pytest.mark.costly("every example starts a stack")
def test_the_examples_run_and_leave_nothing() -> None:
    with server_folder() as folder:
        environment = {
            "PATH": str(folder),
            "TMPDIR": str(folder),
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        }
        ran = run_to_end([sys.executable, "-m", "examples.run_all"], environment, cwd=CHECKOUT, within=LIMIT)
        wait_until_gone(lambda: belonging_to(folder), within=1, what="nothing is left running")
    out = ran.stdout
    assert ran.returncode == 0, out + ran.stderr
    assert "A queue that loses nothing: " in out
    assert "5 tasks, submitted twice and made once" in out
    assert "processing → completed" in out
    assert "approved" in out
    assert "published" in out
    assert "examples/node is skipped: it needs node and npm" in out
    assert out.endswith("all examples ended well\n")
