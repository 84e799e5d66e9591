"""Deadlines, and the deaths of worker and guard, with real processes that are killed and stopped."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from tests.harness.process import Process
from tests.harness.waiting import wait_until, wait_until_async, wait_until_gone, wait_until_gone_async
from tests.integration.guarded import ENV, FAMILY, HIDDEN_ORPHAN, STUBBORN_FAMILY, living, python, start, told
from worker_svc.guard import Exit, Guard, GuardError, GuardLostError, RunEnd, now
from worker_svc.guard.watchdog import overdue_limit

GRACE = 0.3
FAR = 600.0  # seconds

OWNER = f"test-{os.getpid()}"

WORKER = f"""
import asyncio, fcntl, json, os, sys
from pathlib import Path
from worker_svc.guard import Guard, now

async def main(guard, argv, env, lease):
    await guard.connect()
    guard.open_run("run", now() + {FAR})
    child = await guard.spawn("run", argv, cwd=Path("/"), env=env)
    pids = [int(await child.stdout.readline()) for _ in range(3)]
    guard.move_deadline("run", now() + lease)
    print(json.dumps([guard.pid, *pids]), flush=True)
    await child.wait()
    print("over", flush=True)
    await asyncio.Event().wait()

lock = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
asyncio.run(main(Guard.launch(lock, owner={OWNER!r}, grace={GRACE}), *json.loads(sys.argv[2])))
"""


class Worker(Process):
    """A process with a guard, one run and a locked file; its `pids` are the CLI's process tree, three processes."""

    def __init__(self, lock: Path, program: str, lease: float = FAR) -> None:
        lock.touch()
        self.lock = lock.open("r+")
        arguments = [str(lock), json.dumps([python(program), ENV, lease])]
        log = lock.with_name("worker.log")
        super().__init__("worker", [sys.executable, "-c", WORKER, *arguments], log, os.environ, cwd=Path.cwd())
        self.launch()
        wait_until(lambda: "\n" in self.text(), within=20, what="the worker's processes are known")
        self.guard, *self.pids = json.loads(self.text())

    def run_is_over(self) -> bool:
        return self.text().endswith("over\n")

    def lock_is_free(self) -> bool:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self.kill()
        wait_until(self.lock_is_free, within=10, what="the guard has ended")
        self.lock.close()


@pytest.fixture
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path / "lock", *getattr(request, "param", (FAMILY,)))
    yield worker
    worker.close()


@pytest.fixture
async def guard() -> AsyncIterator[Guard]:
    guard = Guard.launch(grace=GRACE)
    await guard.connect()
    yield guard
    await guard.close()


def _stopped(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


class TestDeadline:
    @pytest.mark.parametrize(("program", "number", "killed"), [(FAMILY, 15, 0), (STUBBORN_FAMILY, 9, 3)])
    async def test_the_whole_process_tree_ends_at_the_deadline(
        self, guard: Guard, program: str, number: int, killed: int
    ) -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()
        guard.on_deadline = ended.put_nowait
        guard.open_run("run", now() + FAR)
        child = await start(guard, "run", program)
        pids = await told(child, 3)
        deadline = now() + 0.2
        guard.move_deadline("run", deadline)
        assert await asyncio.wait_for(ended.get(), 10) == "run"
        assert now() >= deadline
        assert living(pids) == set()
        assert await child.wait() == Exit(None, number, "deadline")
        with pytest.raises(GuardError, match="deadline"):
            await start(guard, "run", "")
        assert await guard.close_run("run") == RunEnd("deadline", leftovers=2, killed=killed)
        assert ended.empty()

    async def test_a_renewed_run_continues_and_another_one_ends(self, guard: Guard) -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()
        guard.on_deadline = ended.put_nowait
        guard.open_run("renewed", now() + FAR)
        guard.open_run("not renewed", now() + FAR)
        renewed, other = await start(guard, "renewed", FAMILY), await start(guard, "not renewed", FAMILY)
        pids, others = await told(renewed, 3), await told(other, 3)
        deadline = now() + 0.2
        guard.move_deadlines({"renewed": deadline, "not renewed": deadline})
        guard.move_deadlines({"renewed": now() + FAR, "unknown": now() + FAR})
        assert await asyncio.wait_for(ended.get(), 10) == "not renewed"
        assert now() >= deadline
        assert living(pids + others) == set(pids)
        assert await guard.close_run("renewed") == RunEnd("request", leftovers=2, killed=0)

    async def test_a_suspended_guard_applies_deadlines_when_it_resumes(self, guard: Guard) -> None:
        guard.open_run("run", now() + FAR)
        child = await start(guard, "run", FAMILY)
        pids = await told(child, 3)
        os.kill(guard.pid, signal.SIGSTOP)
        await wait_until_async(lambda: _stopped(guard.pid), within=10, what="the guard is stopped")
        deadline = now() + 0.1
        guard.move_deadline("run", deadline)
        await wait_until_async(lambda: now() > deadline, within=10, what="the deadline has passed")
        assert living(pids) == set(pids)
        os.kill(guard.pid, signal.SIGCONT)
        assert (await child.wait()).ended_by == "deadline"
        await guard.close_run("run")
        assert living(pids) == set()

    async def test_a_run_with_a_deadline_in_the_past_ends_at_once(self, guard: Guard) -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()
        guard.on_deadline = ended.put_nowait
        guard.open_run("run", now() - 1)
        assert await asyncio.wait_for(ended.get(), 10) == "run"
        assert (await guard.close_run("run")).ended_by == "deadline"


class TestWorkerDies:
    @pytest.mark.parametrize("worker", [(FAMILY,), (STUBBORN_FAMILY,)], indirect=True)
    def test_a_killed_worker_leaves_no_process_once_the_lock_is_free(self, worker: Worker) -> None:
        assert not worker.lock_is_free()
        assert living(worker.pids) == set(worker.pids)
        worker.kill()
        wait_until(worker.lock_is_free, within=10, what="the lock is free")
        assert living(worker.pids) == set()
        wait_until_gone(lambda: living([worker.guard]), within=10, what="the guard is gone")

    @pytest.mark.parametrize("worker", [(FAMILY, 1.0)], indirect=True)
    def test_a_worker_stopped_past_the_deadline_leaves_no_process(self, worker: Worker) -> None:
        worker.freeze()
        wait_until_gone(lambda: living(worker.pids), within=10, what="the CLI's family is gone")
        assert not worker.lock_is_free()
        worker.thaw()
        wait_until(worker.run_is_over, within=10, what="the run is over")

    def test_a_signal_to_the_worker_s_group_does_not_end_the_guard(self, worker: Worker) -> None:
        assert os.getsid(worker.guard) == worker.guard
        os.kill(worker.guard, signal.SIGTERM)
        worker.signal(signal.SIGTERM)
        wait_until(worker.lock_is_free, within=10, what="the lock is free")
        assert living(worker.pids) == set()


class TestGuardStandsStill:
    async def test_a_guard_stopped_past_a_deadline_is_killed_with_its_runs(self) -> None:
        guard = Guard.launch(grace=GRACE)
        await guard.connect()
        guard.open_run("overdue", now() + FAR)
        guard.open_run("another", now() + FAR)
        pids = await told(await start(guard, "overdue", STUBBORN_FAMILY), 3)
        pids += await told(await start(guard, "overdue", HIDDEN_ORPHAN), 1)
        child = await start(guard, "another", STUBBORN_FAMILY)
        pids += await told(child, 3)
        os.kill(guard.pid, signal.SIGSTOP)
        deadline = now() + 0.1
        guard.move_deadline("overdue", deadline)
        await asyncio.wait_for(guard.lost.wait(), 10)
        assert now() >= deadline + overdue_limit(GRACE)
        await wait_until_gone_async(lambda: living([*pids, guard.pid]), within=1, what="all of them are gone")
        assert "it had not ended run overdue 1 s after its deadline" in guard.why_lost
        with pytest.raises(GuardLostError, match="the guard was killed"):
            await child.wait()
        await guard.close()

    async def test_a_run_to_be_ended_is_overdue_even_if_its_lease_is_renewed(self) -> None:
        guard = Guard.launch(grace=GRACE)
        await guard.connect()
        guard.open_run("run", now() + FAR)
        pids = await told(await start(guard, "run", FAMILY), 3)
        os.kill(guard.pid, signal.SIGSTOP)
        guard.move_deadline("run", now() + 0.1)
        closing = asyncio.create_task(guard.close_run("run"))
        await asyncio.sleep(0)  # the request is sent
        guard.move_deadline("run", now() + FAR)
        with pytest.raises(GuardLostError):
            await asyncio.wait_for(closing, 10)
        await wait_until_gone_async(lambda: living(pids), within=1, what="the CLI's family is gone")
        await guard.close()

    async def test_a_guard_stopped_for_a_moment_is_not_killed(self, guard: Guard) -> None:
        guard.open_run("run", now() + FAR)
        child = await start(guard, "run", FAMILY)
        await told(child, 3)
        os.kill(guard.pid, signal.SIGSTOP)
        deadline = now() + 0.1
        guard.move_deadline("run", deadline)
        await wait_until_async(lambda: now() > deadline + 0.3, within=10, what="the deadline has passed")
        os.kill(guard.pid, signal.SIGCONT)
        assert (await child.wait()).ended_by == "deadline"
        await guard.close_run("run")
        assert not guard.lost.is_set()

    @pytest.mark.parametrize("worker", [(STUBBORN_FAMILY, 1.0)], indirect=True)
    def test_a_guard_stopped_with_its_worker_ends_overdue_runs_by_itself(self, worker: Worker) -> None:
        both = (worker.pid, worker.guard)
        deadline = now() + 1.0
        for pid in both:
            os.kill(pid, signal.SIGSTOP)
        wait_until(
            lambda: now() > deadline + 1.2 * overdue_limit(GRACE), within=10, what="the deadline has long passed"
        )
        assert living(worker.pids) == set(worker.pids)
        for pid in both:
            os.kill(pid, signal.SIGCONT)
        wait_until(worker.run_is_over, within=10, what="the run is over")
        wait_until_gone(lambda: living(worker.pids), within=10, what="the CLI's family is gone")
        assert living([worker.guard]) == {worker.guard}

    async def test_closing_a_stopped_guard_kills_it_with_its_runs(self) -> None:
        guard = Guard.launch(grace=GRACE)
        await guard.connect()
        guard.open_run("run", now() + FAR)
        pids = await told(await start(guard, "run", FAMILY), 3)
        os.kill(guard.pid, signal.SIGSTOP)
        await guard.close()
        await wait_until_gone_async(lambda: living([*pids, guard.pid]), within=1, what="all of them are gone")


class TestGuardDies:
    async def test_the_clis_die_with_the_guard_and_the_worker_notices(self) -> None:
        guard = Guard.launch()
        await guard.connect()
        guard.open_run("run", now() + FAR)
        children = [await start(guard, "run", STUBBORN_FAMILY) for _ in range(2)]
        pids = [pid for child in children for pid in await told(child, 3)]
        closing = asyncio.create_task(guard.close_run("run"))
        await asyncio.sleep(0)  # the request is sent
        os.kill(guard.pid, signal.SIGKILL)
        await asyncio.wait_for(guard.lost.wait(), 10)
        wait_until_gone(lambda: living(pids), within=10, what="the CLIs' families are gone")
        with pytest.raises(GuardLostError):
            await closing
        for child in children:
            with pytest.raises(GuardLostError):
                await child.wait()
            assert await child.stdout.read() == b""
        with pytest.raises(GuardLostError):
            guard.open_run("another", now() + FAR)
        await guard.close()

    async def test_the_next_guard_of_a_folder_kills_processes_of_a_dead_worker_and_guard(self, tmp_path: Path) -> None:
        worker = Worker(tmp_path / "lock", STUBBORN_FAMILY)
        worker.freeze()
        os.kill(worker.guard, signal.SIGKILL)
        worker.close()
        assert living(worker.pids) != set()  # the kernel took the CLI alone
        stranger, heir = Guard.launch(), Guard.launch(owner=OWNER)
        await stranger.connect()
        await heir.connect()
        wait_until_gone(lambda: living(worker.pids), within=10, what="its descendants are gone")
        await stranger.close()
        await heir.close()

    async def test_a_guard_that_does_not_start_is_lost(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        guard = Guard.launch()
        with pytest.raises(GuardLostError, match="status 1"):
            await guard.connect()
        assert guard.lost.is_set()
        await guard.close()

    async def test_closing_a_guard_is_no_loss(self) -> None:
        guard = Guard.launch()
        await guard.connect()
        await guard.close()
        assert not guard.lost.is_set()
        assert living([guard.pid]) == set()
