"""A sandbox: what an input may cost, and what becomes of the next one. Its work here is to evaluate an expression."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import psutil
import pytest

from contentgen.sandbox import Sandbox, SandboxError
from contentgen.sandbox.sandbox import MAX_FRAME
from tests.harness.processes import child_processes, living
from tests.harness.waiting import wait_until_async, wait_until_gone

pytestmark = pytest.mark.unit

WORK = "builtins:eval"
MEMORY = 256 * 2**20
ENDLESS = b"any(iter(int, 1))"
PATIENT = 60.0
PID = b"b'%d' % __import__('os').getpid()"


@pytest.fixture
def before() -> set[psutil.Process]:
    """What others started, such as the session's PostgreSQL."""
    return child_processes()


@pytest.fixture
async def sandbox(before: set[psutil.Process]) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(WORK, timeout=PATIENT, memory=MEMORY)
    yield sandbox
    sandbox.close()


async def test_one_process_does_the_work_and_knows_nothing_of_its_service(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTENTGEN_TOKEN", "secret")
    assert await sandbox.call(b"b'1'") == b"1"
    pid = await sandbox.call(PID)
    assert await sandbox.call(b"b'%d' % len(set(__import__('os').environ) - {'LC_CTYPE'})") == b"0"
    large = b"b'%s'" % (b"a" * 2**20)
    assert await sandbox.call(large) == b"a" * 2**20
    assert [await sandbox.call(PID), await sandbox.call(PID)] == [pid, pid]


@pytest.mark.parametrize(
    "hostile",
    [
        b"b'' if bytearray(10**9) else b''",
        b"1 / 0",
        b"'no bytes'",
        b"__import__('os')._exit(0)",
        b"__import__('os').abort()",
        b"bytes(%d)" % (MAX_FRAME + 1),
        b"__import__('tempfile').TemporaryFile(buffering=0).write(b'a')",
    ],
)
async def test_what_breaks_its_process_is_tried_twice(
    sandbox: Sandbox, before: set[psutil.Process], hostile: bytes
) -> None:
    pid = await sandbox.call(PID)
    with pytest.raises(SandboxError, match="failed 2 times"):
        await sandbox.call(hostile)
    assert await sandbox.call(PID) != pid
    assert len(child_processes() - before) == 1


async def test_what_takes_too_long_is_tried_once_and_its_process_ended(sandbox: Sandbox) -> None:
    child = await _child(sandbox)
    sandbox.timeout = 0.1
    with pytest.raises(SandboxError, match=r"longer than 0\.1 s"):
        await sandbox.call(ENDLESS)
    assert not child.is_running()
    sandbox.timeout = PATIENT
    assert await sandbox.call(b"b'1'") == b"1"


async def test_signals_for_the_service_do_not_end_it_and_one_that_is_killed_is_replaced(sandbox: Sandbox) -> None:
    child = await _child(sandbox)
    for number in (signal.SIGINT, signal.SIGTERM):
        child.send_signal(number)
    assert await sandbox.call(PID) == b"%d" % child.pid
    child.kill()
    assert await sandbox.call(PID) != b"%d" % child.pid


async def test_closing_it_ends_what_is_under_way(sandbox: Sandbox, before: set[psutil.Process]) -> None:
    call, waiting = (asyncio.create_task(sandbox.call(ENDLESS)) for _ in range(2))
    (child,) = await wait_until_async(
        lambda: child_processes() - before, within=PATIENT, what="its process has started"
    )
    sandbox.close()
    with pytest.raises(SandboxError):
        await call
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not child.is_running()


SERVICE = f"""
import asyncio
from contentgen.sandbox import Sandbox

async def main():
    sandbox = Sandbox({WORK!r}, timeout=1.0, memory={MEMORY}, processes=2)
    sandbox.timeout = 60.0
    busy = asyncio.create_task(sandbox.call({ENDLESS!r}))
    await sandbox.call(b"b'1'")
    print("ready", flush=True)
    await busy

asyncio.run(main())
"""


def test_its_processes_end_when_its_service_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE) as service:
        assert service.stdout
        assert service.stdout.readline() == b"ready\n"
        children = psutil.Process(service.pid).children()
        assert len(children) == 2
        service.kill()
    wait_until_gone(lambda: living(children), within=60, what="the idle and the busy one have ended")


async def _child(sandbox: Sandbox) -> psutil.Process:
    return psutil.Process(int(await sandbox.call(PID)))
