"""The guard with real programs: their start, output and end, and guards that are stopped or killed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import uvloop

from tests.harness.guarded import (
    BOMB,
    ENV,
    FAMILY,
    FAR,
    GRACE,
    HIDDEN_ORPHAN,
    ORPHAN,
    RUNNER,
    STUBBORN,
    STUBBORN_FAMILY,
    guarding,
    living,
    marked,
    pids_of,
    python,
    start,
)
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_async, wait_until_gone, wait_until_gone_async
from worker_svc.guard import client, now
from worker_svc.guard.child import GuardError, GuardLostError, SpawnError
from worker_svc.guard.client import Guard
from worker_svc.guard.process.wire import Document
from worker_svc.guard.watchdog import overdue_limit
from worker_svc.outcome import Exit

pytestmark = pytest.mark.integration


# The guard with real programs: their start, output and end while worker and guard run.

PATIENT = 30.0
"""Seconds between TERM and KILL, if no KILL is to be needed."""


@pytest.fixture
async def guard() -> AsyncIterator[Guard]:
    async with guarding() as guard:
        guard.open_run("run", now() + FAR)
        yield guard
    assert not psutil.pid_exists(guard.pid)


async def ended_by_term(guard: Guard, run: str = "run") -> None:
    """Closes a run whose processes all end on TERM: KILL would come too late."""
    guard.set_grace(PATIENT)
    async with asyncio.timeout(PATIENT / 2):
        await guard.close_run(run)


async def output(guard: Guard, program: str) -> tuple[bytes, bytes, Exit]:
    child = await start(guard, "run", program)
    async with asyncio.timeout(20):
        stdout, stderr, end = await asyncio.gather(child.stdout.read(), child.stderr.read(), child.wait())
    return stdout, stderr, end


class TestStart:
    async def test_output_and_end_come_back_completely(self, guard: Guard) -> None:
        ends = await asyncio.gather(
            output(guard, "print('人工智能'); print('no', file=sys.stderr); sys.exit(3)"),
            output(guard, "os.kill(os.getpid(), signal.SIGSEGV)"),
            output(guard, "sys.stdout.write('x' * 5_000_000)"),
            *(output(guard, f"sys.exit({number})") for number in range(9)),
        )
        assert ends[0] == ("人工智能\n".encode(), b"no\n", Exit(3, None, "itself"))
        assert ends[1] == (b"", b"", Exit(None, signal.SIGSEGV, "itself"))
        assert len(ends[2][0]) == 5_000_000
        assert [end.code for _, _, end in ends[3:]] == list(range(9))

    async def test_a_program_starts_in_a_clean_environment(self, guard: Guard, tmp_path: Path) -> None:
        program = (
            "import json\n"
            "ignored = [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN]\n"
            "print(json.dumps([os.getcwd(), dict(os.environ), os.read(0, 9).decode(), os.getpid() == os.getsid(0),"
            " sorted(map(int, os.listdir('/proc/self/fd')))[:-1], ignored, os.getppid()]))"
        )
        env = {"PATH": ENV["PATH"], "NAME": "wörth"}
        child = await guard.spawn("run", python(program), cwd=tmp_path, env=env)
        cwd, environ, stdin, leads, fds, ignored, parent = json.loads(await child.stdout.read())
        environ.pop("LC_CTYPE", None)  # Python's own
        assert (cwd, environ, stdin) == (str(tmp_path), {**env, "CONTENTGEN_RUN": f"{guard._owner}/run"}, "")
        assert (leads, fds, parent) == (True, [0, 1, 2], guard.pid)
        assert ignored == [signal.SIGPIPE, signal.SIGXFSZ]  # Python's own

    async def test_arguments_arrive_byte_for_byte(self, guard: Guard) -> None:
        arguments = ["--help", "$(touch x)", "'\"\n\t\\", "🙂人", os.fsdecode(b"\xff\xfe"), "", "x" * 120_000]
        child = await guard.spawn(
            "run",
            [*python("sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"), *arguments],
            cwd=Path("/"),
            env=ENV,
        )
        assert (await child.stdout.read()).split(b"\0") == [os.fsencode(argument) for argument in arguments]

    async def test_stdout_may_go_to_a_file(self, guard: Guard, tmp_path: Path) -> None:
        with (tmp_path / "out").open("wb") as file:
            child = await guard.spawn("run", ["echo", "kept"], cwd=Path("/"), env=ENV, stdout=file.fileno())
        assert (await child.wait()).code == 0
        assert await child.stdout.read() == b""
        assert (tmp_path / "out").read_text() == "kept\n"


class TestNoStart:
    async def test_an_error_has_the_reason(self, guard: Guard) -> None:
        for argv, cwd, number in (
            (["/nowhere/cli"], "/", errno.ENOENT),
            (["no-such-program"], "/", errno.ENOENT),
            (["/etc/passwd"], "/", errno.EACCES),
            (["true"], "/nowhere", errno.ENOENT),
            (["true", "x" * 200_000], "/", errno.E2BIG),
            (["true", "x" * (20 << 20)], "/", errno.E2BIG),  # the request is not even sent
            (["true", "a\0b"], "/", errno.EINVAL),
            ([], "/", errno.EINVAL),
        ):
            with pytest.raises(SpawnError) as caught:
                await guard.spawn("run", argv, cwd=Path(cwd), env=ENV)
            assert caught.value.errno == number
        assert (await output(guard, "print('on')"))[0] == b"on\n"

    async def test_unknown_runs_and_second_openings_are_refused(self, guard: Guard) -> None:
        with pytest.raises(GuardError, match="open already"):
            guard.open_run("run", now() + FAR)
        with pytest.raises(GuardError, match="no run 'other'"):
            await start(guard, "other", "")
        with pytest.raises(GuardError, match="no run 'other'"):
            await guard.close_run("other")

    async def test_a_cancelled_start_leaves_no_process(self, guard: Guard) -> None:
        starting = asyncio.create_task(start(guard, "run", STUBBORN))
        await asyncio.sleep(0)  # the request is sent
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await wait_until_async(lambda: psutil.Process(guard.pid).children() == [], within=10, what="no CLI")


INVALID: list[Document] = [
    {},
    {"op": "dance"},
    {"op": "open", "run": "run"},
    {"op": "open", "run": "nan", "deadline": float("nan")},
    {"op": "open", "run": "run", "deadline": 1e12},
    {"op": "move", "deadlines": [1]},
    {"op": "spawn", "run": "run"},
    {"op": "spawn", "run": "run", "child": 1, "argv": "true", "env": 3, "cwd": "/"},
    {"op": "spawn", "run": ["run"], "child": 1, "argv": ["true"], "env": {}, "cwd": "/"},
    {"op": "stop", "child": "x"},
    {"op": "close", "run": "other"},
]


def test_invalid_requests_are_refused_and_change_nothing() -> None:
    guard = Guard.launch()
    channel = guard._channel
    for request in ({"op": "open", "run": "run", "deadline": now() + FAR}, *INVALID, {"op": "close", "run": "run"}):
        channel.send(request)
    events: list[Document] = []

    def ended() -> bool:
        events.extend(event for event, _ in channel.receive())
        return events[-1:] != [] and events[-1]["event"] == "ended"

    wait_until(ended, within=10, what="the run's end")
    assert [event["event"] for event in events] == ["ready", *["refused"] * len(INVALID), "ended"]
    assert [event.get("op") for event in events[1:-1]] == [request.get("op") for request in INVALID]
    assert "unknown operation: 'dance'" in [event.get("message") for event in events]
    channel.close()
    assert guard._process.wait(10) == 0


class TestEnd:
    async def test_one_cli_is_stopped_without_the_other(self, guard: Guard) -> None:
        one, other = await start(guard, "run", FAMILY), await start(guard, "run", FAMILY)
        pids, others = await pids_of(one, 3), await pids_of(other, 3)
        assert await one.stop() == Exit(None, signal.SIGTERM, "request")
        assert await one.stop() == Exit(None, signal.SIGTERM, "request")
        await wait_until_async(lambda: len(living(pids)) == 1, within=10, what="only its daemon is left")
        assert living(others) == set(others)
        await ended_by_term(guard)
        assert living(pids + others) == set()
        assert await other.wait() == Exit(None, signal.SIGTERM, "request")

    async def test_a_cli_that_ignores_term_is_killed_after_the_grace_period(self, guard: Guard) -> None:
        child = await start(guard, "run", STUBBORN)
        await pids_of(child, 1)
        begun = now()
        assert await child.stop() == Exit(None, signal.SIGKILL, "request")
        assert now() - begun >= GRACE

    async def test_a_guard_frozen_past_the_grace_period_kills_at_once(self, guard: Guard) -> None:
        grace = 1.0
        guard.set_grace(grace)
        guard.open_run("late", now() + FAR)
        child = await start(guard, "late", STUBBORN)
        await pids_of(child, 1)
        os.kill(guard.pid, signal.SIGSTOP)
        deadline = now()
        guard.move_deadlines({"late": deadline})
        await wait_until_async(lambda: now() > deadline + grace, within=10, what="the time for TERM and KILL is over")
        os.kill(guard.pid, signal.SIGCONT)
        thawed = now()
        assert await child.wait() == Exit(None, signal.SIGKILL, "deadline")
        assert now() - thawed < grace

    async def test_an_orphan_belongs_to_the_run_until_it_is_closed(self, guard: Guard) -> None:
        child = await start(guard, "run", ORPHAN)
        [orphan] = await pids_of(child, 1)
        assert await child.wait() == Exit(0, None, "itself")
        assert psutil.Process(orphan).ppid() == guard.pid
        await ended_by_term(guard)
        assert living([orphan]) == set()
        assert await child.stdout.read() == b""  # no process holds the pipe

    async def test_runs_do_not_touch_each_others_orphans(self, guard: Guard) -> None:
        guard.open_run("other", now() + FAR)
        one, other = await start(guard, "run", ORPHAN), await start(guard, "other", ORPHAN)
        [[orphan], [other_orphan]] = await pids_of(one, 1), await pids_of(other, 1)
        await one.wait()
        await other.wait()
        await guard.close_run("run")
        assert living([orphan, other_orphan]) == {other_orphan}
        await guard.close_run("other")
        assert living([other_orphan]) == set()

    async def test_an_orphan_of_an_unknown_run_dies_with_the_last_run_it_may_be_of(self, guard: Guard) -> None:
        guard.open_run("other", now() + FAR)
        hiding, other = await start(guard, "run", HIDDEN_ORPHAN), await start(guard, "other", ORPHAN)
        [[orphan], [other_orphan]] = await pids_of(hiding, 1), await pids_of(other, 1)
        await hiding.wait()
        await guard.close_run("run")
        assert living([other_orphan]) == {other_orphan}
        await guard.close_run("other")
        assert living([orphan, other_orphan]) == set()

    async def test_processes_in_many_sessions_are_ended(self, guard: Guard) -> None:
        child = await start(guard, "run", BOMB)
        pids = await pids_of(child, 64)
        await guard.close_run("run")
        assert living(pids) == set()

    async def test_a_process_that_keeps_forking_is_ended(self, guard: Guard) -> None:
        for round_ in range(5):
            guard.open_run(f"run {round_}", now() + FAR)
            child = await start(guard, f"run {round_}", RUNNER)
            await child.wait()
            async with asyncio.timeout(30):
                await guard.close_run(f"run {round_}")
            assert marked(guard) == set()

    async def test_a_closed_run_starts_nothing_and_may_be_opened_again(self, guard: Guard) -> None:
        await asyncio.gather(guard.close_run("run"), guard.close_run("run"))
        with pytest.raises(GuardError, match="no run"):
            await start(guard, "run", "")
        guard.open_run("run", now() + FAR)
        assert (await output(guard, "sys.exit(4)"))[2].code == 4

    async def test_a_run_that_is_being_ended_starts_nothing(self, guard: Guard) -> None:
        child = await start(guard, "run", STUBBORN)
        await pids_of(child, 1)
        closing = asyncio.create_task(guard.close_run("run"))
        await asyncio.sleep(0)  # the request is sent
        with pytest.raises(GuardError, match="was ended"):
            await start(guard, "run", "")
        await closing

    async def test_a_run_whose_deadline_has_passed_starts_nothing(self, guard: Guard) -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()
        guard.on_deadline = ended.put_nowait
        guard.open_run("late", now() - 1)  # and right after that:
        with pytest.raises(GuardError, match=r"was ended \(deadline\)"):
            await start(guard, "late", "")
        assert await asyncio.wait_for(ended.get(), 10) == "late"
        await guard.close_run("late")

    async def test_unread_output_does_not_delay_the_end(self, guard: Guard) -> None:
        child = await start(guard, "run", "while True: sys.stdout.write('x' * 100_000)")
        assert await child.stop() == Exit(None, signal.SIGTERM, "request")
        child.close()

    async def test_the_guard_itself_ignores_the_signals_of_a_terminal(self, guard: Guard) -> None:
        assert os.getsid(guard.pid) == guard.pid
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            os.kill(guard.pid, number)
        assert (await output(guard, "print('on')"))[0] == b"on\n"

    async def test_the_memory_of_the_guard_is_small(self, guard: Guard) -> None:
        await asyncio.gather(*(output(guard, "print('x' * 100_000)") for _ in range(10)))
        assert psutil.Process(guard.pid).memory_info().rss < 15 << 20


def test_no_pipe_stays_open_on_the_workers_own_loop() -> None:
    async def runs(guard: Guard) -> None:
        await guard.connect()
        guard.open_run("run", now() + FAR)
        await output(guard, "print('first')")  # resources that are opened once are open now
        process = psutil.Process()
        before = process.num_fds()
        for _ in range(5):
            assert (await output(guard, "print('on')"))[0] == b"on\n"
        await wait_until_async(lambda: process.num_fds() == before, within=10, what="the pipes are closed")
        await start(guard, "run", STUBBORN)  # no reference is kept
        await guard.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(runs(Guard.launch(grace=GRACE)))


async def test_a_guard_that_was_never_connected_is_closed_which_is_no_loss() -> None:
    guard = Guard.launch()
    await guard.close()
    assert not guard.lost.is_set()
    assert not psutil.pid_exists(guard.pid)


async def test_process_groups_are_ended_without_subreapers(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = "from worker_svc.guard.process import launch; launch.become_subreaper = lambda: False; main("
    monkeypatch.setattr(client, "_PROGRAM", client._PROGRAM.replace("main(", elsewhere))
    async with guarding() as guard:
        assert "process groups only" in guard.capabilities
        guard.open_run("run", now() + FAR)
        child = await start(guard, "run", "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); tell_and_stay()")
        pids = await pids_of(child, 2)
        await guard.close_run("run")
        await wait_until_async(lambda: living(pids) == set(), within=10, what="the group is gone")


# Deadlines, and guards that are stopped or killed. What the death of its worker does: test_streams.


class TestDeadline:
    @pytest.mark.parametrize(("program", "number", "grace"), [(FAMILY, 15, PATIENT), (STUBBORN_FAMILY, 9, GRACE)])
    async def test_the_whole_process_tree_ends_at_the_deadline(
        self, guard: Guard, program: str, number: int, grace: float
    ) -> None:
        guard.set_grace(grace)
        ended: asyncio.Queue[str] = asyncio.Queue()
        guard.on_deadline = ended.put_nowait
        child = await start(guard, "run", program)
        pids = await pids_of(child, 3)
        deadline = now() + 0.2
        guard.move_deadlines({"run": deadline})
        assert await asyncio.wait_for(ended.get(), 10) == "run"
        assert now() >= deadline
        assert living(pids) == set()
        assert await child.wait() == Exit(None, number, "deadline")
        with pytest.raises(GuardError, match="deadline"):
            await start(guard, "run", "")
        await guard.close_run("run")
        assert ended.empty()

    async def test_a_renewed_run_continues_and_another_one_ends(self, guard: Guard) -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()
        guard.on_deadline = ended.put_nowait
        guard.open_run("renewed", now() + FAR)
        renewed, other = await start(guard, "renewed", FAMILY), await start(guard, "run", FAMILY)
        pids, others = await pids_of(renewed, 3), await pids_of(other, 3)
        deadline = now() + 0.2
        guard.move_deadlines({"renewed": deadline, "run": deadline})
        guard.move_deadlines({"renewed": now() + FAR, "unknown": now() + FAR})
        assert await asyncio.wait_for(ended.get(), 10) == "run"
        assert now() >= deadline
        assert living(pids + others) == set(pids)
        await ended_by_term(guard, "renewed")


class TestGuardStandsStill:
    async def test_a_guard_stopped_past_a_deadline_is_killed_with_its_runs(self, guard: Guard) -> None:
        guard.open_run("overdue", now() + FAR)
        pids = await pids_of(await start(guard, "overdue", STUBBORN_FAMILY), 3)
        pids += await pids_of(await start(guard, "overdue", HIDDEN_ORPHAN), 1)
        child = await start(guard, "run", STUBBORN_FAMILY)
        pids += await pids_of(child, 3)
        os.kill(guard.pid, signal.SIGSTOP)
        deadline = now() + 0.1
        guard.move_deadlines({"overdue": deadline})
        await asyncio.wait_for(guard.lost.wait(), 10)
        assert now() >= deadline + overdue_limit(GRACE)
        await wait_until_gone_async(lambda: living([*pids, guard.pid]), within=PATIENCE_S, what="all of them are gone")
        assert "it had not ended run overdue 1 s after its deadline" in guard.why_lost
        with pytest.raises(GuardLostError, match="the guard was killed"):
            await child.wait()

    async def test_a_run_to_be_ended_is_overdue_even_if_its_lease_is_renewed(self, guard: Guard) -> None:
        pids = await pids_of(await start(guard, "run", FAMILY), 3)
        os.kill(guard.pid, signal.SIGSTOP)
        guard.move_deadlines({"run": now() + 0.1})
        closing = asyncio.create_task(guard.close_run("run"))
        await asyncio.sleep(0)  # the request is sent
        guard.move_deadlines({"run": now() + FAR})
        with pytest.raises(GuardLostError):
            await asyncio.wait_for(closing, 10)
        await wait_until_gone_async(lambda: living(pids), within=PATIENCE_S, what="the CLI's family is gone")

    @pytest.mark.parametrize(
        ("late", "worker_too"),
        [(0.3, False), (1.2 * overdue_limit(GRACE), True)],
        ids=["for a moment", "with its worker"],
    )
    async def test_a_guard_that_was_stopped_for_a_moment_or_with_its_worker_ends_its_runs_itself(
        self, guard: Guard, late: float, worker_too: bool
    ) -> None:
        child = await start(guard, "run", STUBBORN_FAMILY)
        pids = await pids_of(child, 3)
        os.kill(guard.pid, signal.SIGSTOP)
        deadline, what = now() + 0.1, "the deadline has passed"
        guard.move_deadlines({"run": deadline})
        if worker_too:
            wait_until(lambda: now() > deadline + late, within=10, what=what)  # the event loop stands still, too
        else:
            await wait_until_async(lambda: now() > deadline + late, within=10, what=what)
        assert living(pids) == set(pids)
        os.kill(guard.pid, signal.SIGCONT)
        assert (await child.wait()).ended_by == "deadline"
        await guard.close_run("run")
        assert living(pids) == set()
        assert not guard.lost.is_set()

    async def test_closing_a_stopped_guard_kills_it_with_its_runs(self, guard: Guard) -> None:
        pids = await pids_of(await start(guard, "run", FAMILY), 3)
        os.kill(guard.pid, signal.SIGSTOP)
        await guard.close()
        await wait_until_gone_async(lambda: living([*pids, guard.pid]), within=PATIENCE_S, what="all of them are gone")


class TestGuardDies:
    async def test_the_clis_die_with_the_guard_and_the_worker_notices(self, guard: Guard) -> None:
        children = [await start(guard, "run", STUBBORN_FAMILY) for _ in range(2)]
        pids = [pid for child in children for pid in await pids_of(child, 3)]
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

    async def test_a_guard_that_does_not_start_is_lost(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        guard = Guard.launch()
        with pytest.raises(GuardLostError, match="status 1"):
            await guard.connect()
        assert guard.lost.is_set()
        await guard.close()
