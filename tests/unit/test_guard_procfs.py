"""What /proc says of real processes, and that a number that means another process now is not signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.harness.waiting import wait_until
from worker_svc.guard.process import procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["/bin/sleep", "600"], env={"MARK": "run 7", "MARKED": "no"}, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def exists(pid: int) -> procfs.Process:
    process = procfs.read(pid)
    assert process is not None
    return process


def test_a_process_is_described(sleeper: subprocess.Popen[bytes]) -> None:
    process = exists(sleeper.pid)
    assert (process.parent, process.group, process.session) == (os.getpid(), sleeper.pid, sleeper.pid)
    assert not process.dead
    assert process.started >= exists(os.getpid()).started


def test_a_zombie_is_dead_and_a_reaped_process_is_none(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    wait_until(lambda: exists(sleeper.pid).dead, within=10, what="a zombie")
    sleeper.wait()
    assert procfs.read(sleeper.pid) is None


def test_a_process_whose_first_thread_has_ended_lives() -> None:
    program = "import ctypes, threading\nthreading.Thread(target=input).start()\nctypes.CDLL(None).pthread_exit(None)\n"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    try:
        wait_until(lambda: first_thread_ended(process.pid), within=10, what="the first thread has ended")
        assert not exists(process.pid).dead
    finally:
        process.kill()
        process.communicate()


def first_thread_ended(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_children_are_listed(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.pid in procfs.children_now()(os.getpid())
    assert procfs.children_now()(sleeper.pid) == []


def test_children_are_found_without_the_kernels_lists(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "exists", lambda _: False)
    assert sleeper.pid in procfs.children_now()(os.getpid())


def test_a_variable_is_read(sleeper: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: procfs.variable(sleeper.pid, "MARK") == "run 7", within=10, what="the program's environment")
    assert procfs.variable(sleeper.pid, "MAR") is None
    sleeper.kill()
    sleeper.wait()
    assert procfs.variable(sleeper.pid, "MARK") is None


def test_a_reused_number_is_not_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    process = exists(sleeper.pid)
    former = process._replace(started=process.started - 1)  # what had the number before
    procfs.send_signal(former, signal.SIGKILL)
    procfs.send_signal(process, signal.SIGUSR1)
    assert sleeper.wait(60) == -signal.SIGUSR1  # the only signal that arrived
    procfs.send_signal(process, signal.SIGKILL)  # gone: nothing happens
