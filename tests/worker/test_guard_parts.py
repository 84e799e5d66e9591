"""What the guard reads of /proc, and its channel to the worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.harness.waiting import wait_until
from worker_svc.guard.process import procfs
from worker_svc.guard.process.wire import Closed, Document, GuardChannel

pytestmark = [pytest.mark.unit, pytest.mark.skipif(sys.platform != "linux", reason="/proc")]


# What /proc says of real processes, and that a number that means another process now is not signalled.


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
        shown = psutil.Process(process.pid)
        wait_until(lambda: shown.status() == psutil.STATUS_ZOMBIE, within=10, what="the first thread has ended")
        assert not exists(process.pid).dead
    finally:
        process.kill()
        process.communicate()


def test_children_are_found_with_and_without_the_kernels_lists(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert sleeper.pid in procfs.children_now()(os.getpid())
        assert procfs.children_now()(sleeper.pid) == []
        monkeypatch.setattr(os.path, "exists", lambda _: False)


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


# The channel between worker and guard, over real sockets.

Received = list[tuple[Document, list[int]]]


@pytest.fixture
def ends() -> Iterator[tuple[GuardChannel, GuardChannel]]:
    left, right = map(GuardChannel, socket.socketpair())
    yield left, right
    left.close()
    right.close()


def receive(channel: GuardChannel, count: int, sender: GuardChannel) -> Received:
    documents: Received = []

    def step() -> bool:
        sender.flush()
        documents.extend(channel.receive())
        return len(documents) >= count

    wait_until(step, within=10, what=f"{count} documents")
    return documents


def test_documents_arrive_in_order_and_whole(ends: tuple[GuardChannel, GuardChannel]) -> None:
    left, right = ends
    large = "x" * 1_000_000  # many times the socket's buffer
    for number in range(3):
        left.send({"number": number, "text": large})
    assert left.pending
    received = [(document["number"], document["text"]) for document, _ in receive(right, 3, left)]
    assert received == [(number, large) for number in range(3)]
    assert not left.pending


def test_descriptors_stay_with_their_document(ends: tuple[GuardChannel, GuardChannel]) -> None:
    left, right = ends
    pipes = [os.pipe() for _ in range(3)]
    left.send({"name": "large", "text": "x" * 1_000_000}, [pipes[0][0], pipes[1][0]])
    left.send({"name": "none"})
    left.send({"name": "one"}, [pipes[2][0]])
    received = receive(right, 3, left)
    for number, (_, write_end) in enumerate(pipes):
        os.write(write_end, bytes([number]))
        os.close(write_end)
    contents = [(document["name"], [os.read(fd, 9) for fd in fds]) for document, fds in received]
    assert contents == [("large", [b"\0", b"\1"]), ("none", []), ("one", [b"\2"])]
    assert not any(os.get_inheritable(fd) for _, fds in received for fd in fds)
    for fd in (fd for _, fds in received for fd in fds):
        os.close(fd)
    for read_end, _ in pipes:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(read_end)  # the sender's were closed


def test_an_end_that_is_gone_is_closed(ends: tuple[GuardChannel, GuardChannel]) -> None:
    left, right = ends
    right.close()
    with pytest.raises(Closed):
        left.receive()
    read_end, write_end = os.pipe()
    with pytest.raises(Closed):
        left.send({"op": "spawn"}, [write_end])
    assert os.read(read_end, 1) == b""  # the descriptor that could not be sent is closed, too
    os.close(read_end)


def test_documents_sent_before_the_end_still_arrive(ends: tuple[GuardChannel, GuardChannel]) -> None:
    left, right = ends
    left.send({"last": True})
    left.shut_write()
    assert right.receive() == [({"last": True, "fds": 0}, [])]
    with pytest.raises(Closed):
        right.receive()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x02{]",
        b"\0\0\0\x01\xff",
        b"\0\0\0\x02{}",
        b'\0\0\0\x0a{"fds":[]}',
        b'\0\0\0\x0a{"fds":-1}',
        b"\0\0\x9c\x40" + b"[" * 40_000,
    ],
)
def test_a_stranger_is_hung_up_on(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    channel = GuardChannel(ours)
    theirs.sendall(data)
    with pytest.raises(Closed):
        channel.receive()
    channel.close()
    theirs.close()
