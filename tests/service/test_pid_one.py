"""The services as process 1 of a PID namespace, as in a container without an init."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import psycopg2
import pytest

from tests.harness.process import STOP_LIMIT, Process, inherited, installed, program, run_to_end
from tests.harness.processes import children, free_port
from tests.harness.stack import DEMO_CREATOR
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a PID namespace")]

WITHIN = 30.0
LOCK = "SELECT pg_advisory_lock(x'636f6e74656e7467'::bigint)"
"""What a migration holds."""


class Contained(Process):
    """A service whose process id is 1 where it runs; the process of this object is outside, and waits for it."""

    def __init__(self, command: str, folder: Path, **settings: str) -> None:
        space = [program("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc"]
        settings = {**inherited(), "CONTENTGEN_DATA_DIR": str(folder), **settings}
        super().__init__(command, [*space, installed(command)], folder / "log", settings)

    @property
    def first(self) -> psutil.Process:
        """The service."""
        wait_until(lambda: children(self.pid), within=WITHIN, what="its first process is there")
        return children(self.pid)[0]

    def stopped(self) -> int | None:
        """Its exit status after TERM."""
        self.first.send_signal(signal.SIGTERM)
        wait_until(lambda: not self.alive, within=STOP_LIMIT, what=f"{self.name} has ended")
        return self.exit_status

    def says(self, text: str) -> None:
        wait_until(lambda: text in self.log.read_text(), within=WITHIN, what=f"the log has {text}")


def worker(folder: Path) -> Contained:
    settings = {"CREATOR_CLI_PATH": str(DEMO_CREATOR), "CONTENTGEN_SCHEDULER": f"127.0.0.1:{free_port()}"}
    return Contained("contentgen-worker", folder, **settings)


@pytest.mark.costly("services in a namespace of their own, by their commands")
def test_a_worker_reaps_orphans_that_are_not_its_clis(tmp_path: Path) -> None:
    with worker(tmp_path) as contained:
        contained.says("guard.ready")
        inside = [program("nsenter"), "--target", contained.first.pid, "--pid"]
        run_to_end([*inside, "sh", "-c", "sleep 0.1 & sleep 0.2 & exec true"], within=WITHIN)
        wait_until(lambda: len(children(contained.first.pid)) == 1, within=WITHIN, what="only the guard is left")
        assert "guard" in children(contained.first.pid)[0].name()
        assert contained.stopped() == 0


def test_a_stop_ends_a_scheduler_that_does_not_serve_yet(tmp_path: Path, empty_db_url: str) -> None:
    """The kernel gives process 1 no default for TERM."""
    address = empty_db_url.replace("postgresql+psycopg2", "postgresql")
    scheduler = Contained("contentgen-scheduler", tmp_path, DATABASE_URL=address, CONTENTGEN_LISTEN=":0")
    other = psycopg2.connect(address)
    try:
        other.cursor().execute(LOCK)
        with scheduler:
            scheduler.says("another process migrates")
            assert scheduler.stopped() == 0
            scheduler.says("ended by SIGTERM before it was ready")
    finally:
        other.close()
