"""A service that is forked is the one that its command starts."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.harness.fork_server import can_fork, fork_server, forked_by
from tests.harness.leaks import new_children
from tests.harness.process import Process, inherited, installed

PATIENCE_S = 60.0
WRONG = {"CONTENTGEN_LEASE_TTL": "soon"}


def service(folder: Path, command: str, *arguments: str, **settings: str) -> Process:
    return Process(command, [installed(command), *arguments], folder / "log", inherited() | settings)


@pytest.mark.parametrize("command", ["contentgen-scheduler", "contentgen-worker"])
def test_both_end_alike_and_say_the_same(tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = []
    for by_fork in (True, False):
        monkeypatch.setattr(Process, "by_fork", by_fork)
        with service(tmp_path, command, CONTENTGEN_SLOTS="none", **WRONG) as started:
            started.ended(PATIENCE_S, status=78)
        outputs.append(started.text())
    assert outputs[0] == outputs[1] != ""


def test_it_is_a_process_of_its_own_in_its_folder_and_is_missed_if_it_stays(tmp_path: Path) -> None:
    fork_server()
    left = new_children()
    with service(tmp_path, "contentgen-scheduler", CONTENTGEN_DATA_DIR=str(tmp_path / "data")) as started:
        process = psutil.Process(started.pid)
        assert process.ppid() == forked_by()
        assert process.cwd() == str(tmp_path)
        assert os.getsid(started.pid) == started.pid
        assert left() == {started.pid}
        with pytest.raises(subprocess.TimeoutExpired):
            started.popen.wait(0)
        started.signal(signal.SIGKILL)
        assert started.popen.wait(PATIENCE_S) == -signal.SIGKILL
    assert left() == set()


def test_what_counts_before_a_service_runs_needs_its_command() -> None:
    scheduler = [str(installed("contentgen-scheduler"))]
    assert can_fork(scheduler, {"PATH": "/bin"})
    assert not can_fork(scheduler, {"PYTHONPROFILEIMPORTTIME": "1"})
    assert not can_fork(["/usr/bin/contentgen-scheduler"], {})
    assert not can_fork(["sh", "-c", "exec contentgen-scheduler"], {})
