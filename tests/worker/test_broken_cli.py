"""A real worker process whose CLI breaks and is repaired, against a scripted scheduler."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.scripted_scheduler import Stream, lease, scripted_scheduler
from tests.harness.worker_process import WorkerProcess, lease_in, worker_process
from worker_svc.health import MAX_QUICK_FAILURES

pytestmark = pytest.mark.integration

ERROR = "CREATOR_ERROR: the CLI exited with status 3: no model answers"
_CREATOR = """#!/bin/sh
[ "$1" = create ] || {{ echo asked >> {folder}/asked; exit "$(cat {folder}/version 2>/dev/null || echo 0)"; }}
while [ -e {folder}/hangs ]; do sleep 0.05; done
[ -e {folder}/works ] || {{ echo 'no model answers' >&2; exit 3; }}
echo '{{"content": "an article"}}'
"""


class Creator:
    """A CLI that fails at once until it is repaired."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "creator"
        self._works, self._hangs = folder / "works", folder / "hangs"
        self._version, self._asked = folder / "version", folder / "asked"
        self._text = _CREATOR.format(folder=folder)
        self.restore()

    def restore(self) -> None:
        self.path.write_text(self._text)
        self.path.chmod(0o755)

    def mend(self) -> None:
        self._works.touch()

    def break_again(self) -> None:
        self._works.unlink()

    def refuse_to_start(self, status: int) -> None:
        """Sets the exit status of `--version`."""
        self._version.write_text(str(status))

    @property
    def asked(self) -> int:
        """The number of `--version` calls."""
        return len(self._asked.read_text().splitlines())

    def hang(self) -> None:
        self._hangs.touch()

    def go_on(self) -> None:
        self._hangs.unlink()


@contextmanager
def worker_with(creator: Creator, target: str, **settings: str) -> Iterator[WorkerProcess]:
    settings = {"CONTENTGEN_SLOTS": "1", "CREATOR_CLI_PATH": str(creator.path), **settings}
    with worker_process(creator.path.parent / "data", target, **settings) as worker:
        yield worker


async def falls_ill(stream: Stream) -> pb.Heartbeat:
    """Assigns tasks until the worker is unhealthy; returns that heartbeat."""
    for number in range(1, MAX_QUICK_FAILURES + 1):
        heartbeat = await stream.until("heartbeat", lambda s: s.free_slots > 0 and not s.held_leases)
        assert not heartbeat.unhealthy
        stream.assign(number, heartbeat.number, lease(f"ill-{number}"))
    return await unhealthy(stream)


async def unhealthy(stream: Stream, free_slots: int = 0) -> pb.Heartbeat:
    heartbeat: pb.Heartbeat = await stream.until("heartbeat", lambda s: s.unhealthy and s.free_slots == free_slots)
    return heartbeat


def named(lease_id: str) -> tuple[str, str, int]:
    """The worker's log events about its health."""
    return f"task-{lease_id}", lease_id, 1


def released_at(stream: Stream, lease_id: str) -> int:
    """Where in the stream a lease was released."""
    return next(
        i
        for i, message in enumerate(stream.received)
        for update in message.report.updates
        if update.lease_id == lease_id and update.HasField("released")
    )


def first_unhealthy_at(stream: Stream) -> int:
    return next(i for i, message in enumerate(stream.received) if message.heartbeat.unhealthy)


async def test_five_quick_failures_make_a_worker_unhealthy_until_a_success(tmp_path: Path) -> None:
    creator = Creator(tmp_path)
    async with scripted_scheduler() as scheduler:
        with worker_with(creator, scheduler.target, CONTENTGEN_QUEUE_SIZE="2") as worker:
            stream, _ = await scheduler.session()
            ill = await falls_ill(stream)
            fell_ill_at = time.monotonic()
            assert (ill.free_slots, ill.last_error) == (0, ERROR)

            heartbeat = await unhealthy(stream, free_slots=1)
            assert time.monotonic() - fell_ill_at > 0.5, "the first pause is a second"
            stream.assign(6, heartbeat.number, lease("tried-in-vain"))
            await stream.update("failed", "tried-in-vain")
            heartbeat = await unhealthy(stream, free_slots=0)
            failed_again_at = time.monotonic()
            heartbeat = await unhealthy(stream, free_slots=1)
            assert time.monotonic() - failed_again_at > 0.8, "the second one is up to two"

            creator.mend()
            stream.assign(7, heartbeat.number, lease("tried"))
            await stream.update("completed", "tried")
            heartbeat = await stream.until("heartbeat", lambda s: not s.unhealthy and not s.held_leases)
            assert (heartbeat.free_slots, heartbeat.last_error) == (3, "")

            (event, again) = worker.events("worker.unhealthy")
            assert (event["reason"], event["exit_code"], event["next_probe_in"]) == ("CREATOR_ERROR", "3", 1.0)
            assert again["next_probe_in"] <= 2.0
            assert [lease_in(entry) for entry in (event, again)] == [named("ill-5"), named("tried-in-vain")]
            assert [lease_in(entry) for entry in worker.events("worker.probing")] == [
                named("tried-in-vain"),
                named("tried"),
            ]
            assert [lease_in(entry) for entry in worker.events("worker.healthy")] == [named("tried")]
            assert "no model answers" not in "".join(
                line for line in worker.text().splitlines() if '"level": "debug"' not in line
            ), "an error may quote its task"


async def test_waiting_leases_are_released_after_a_heartbeat_and_do_not_count(tmp_path: Path) -> None:
    creator = Creator(tmp_path)
    async with scripted_scheduler() as scheduler:
        with worker_with(creator, scheduler.target, CONTENTGEN_QUEUE_SIZE="6") as worker:
            stream, _ = await scheduler.session()
            heartbeat = await stream.until("heartbeat")
            assert heartbeat.free_slots == 7
            names = [f"runs-{n}" for n in range(MAX_QUICK_FAILURES)] + ["waits-1", "waits-2"]
            stream.assign(1, heartbeat.number, *map(lease, names))
            for name in ("waits-1", "waits-2"):
                update = await stream.update("released", name)
                assert update.released == pb.Released(reason=pb.RELEASE_REASON_DRAINING, started=False)
                assert first_unhealthy_at(stream) < released_at(stream, name)
            first = stream.received[first_unhealthy_at(stream)].heartbeat
            assert first.free_slots == 0
            assert {held.lease_id for held in first.held_leases} >= {"waits-1", "waits-2"}
            assert {entry["lease_id"] for entry in worker.events("lease.released")} == {"waits-1", "waits-2"}


async def test_leases_in_transit_are_released_and_a_cancelled_probe_decides_nothing(tmp_path: Path) -> None:
    creator = Creator(tmp_path)
    async with scripted_scheduler() as scheduler:
        with worker_with(creator, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            ill = await falls_ill(stream)
            stream.assign(6, ill.number - 1, lease("late"))
            assert (await stream.update("released", "late")).released.reason == pb.RELEASE_REASON_DRAINING
            heartbeat = await unhealthy(stream, free_slots=1)
            assert heartbeat.last_assignment == 6

            creator.hang()
            stream.assign(7, heartbeat.number, lease("cancelled"))
            heartbeat = await unhealthy(stream, free_slots=0)
            stream.send(cancel=pb.Cancel(lease_id="cancelled", reason="CANCELLED_BY_CLIENT"))
            await stream.update("released", "cancelled")
            heartbeat = await unhealthy(stream, free_slots=1)
            creator.mend()
            creator.go_on()
            stream.assign(8, heartbeat.number, lease("tried"))
            await stream.update("completed", "tried")
            assert len(worker.events("worker.unhealthy")) == 1


async def test_quick_failures_of_one_account_keep_the_worker_healthy_for_others(tmp_path: Path) -> None:
    creator = Creator(tmp_path)
    creator.mend()
    async with scripted_scheduler() as scheduler:
        with worker_with(creator, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, lease("another-s", account_id=2))
            await stream.update("completed", "another-s")
            creator.break_again()
            heartbeat = await stream.until("heartbeat", lambda s: s.last_assignment == 1 and not s.held_leases)
            for number in range(2, 2 + 2 * MAX_QUICK_FAILURES):
                stream.assign(number, heartbeat.number, lease(f"bad-{number}"))
                await stream.update("failed", f"bad-{number}")
                heartbeat = await stream.until("heartbeat", lambda s: s.free_slots > 0 and not s.held_leases)
                assert not heartbeat.unhealthy
            assert not worker.events("worker.unhealthy")


async def test_failures_of_tasks_that_failed_elsewhere_do_not_count(tmp_path: Path) -> None:
    creator = Creator(tmp_path)
    async with scripted_scheduler() as scheduler:
        with worker_with(creator, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            for number in range(1, 1 + 2 * MAX_QUICK_FAILURES):
                heartbeat = await stream.until("heartbeat", lambda s: s.free_slots > 0 and not s.held_leases)
                assert not heartbeat.unhealthy
                stream.assign(number, heartbeat.number, lease(f"bad-{number}", attempt=2, failed_elsewhere=True))
            await stream.update("failed", f"bad-{2 * MAX_QUICK_FAILURES}")
            assert not worker.events("worker.unhealthy")


async def test_no_probe_task_runs_while_the_cli_cannot_print_its_version(tmp_path: Path) -> None:
    creator = Creator(tmp_path)
    async with scripted_scheduler() as scheduler:
        with worker_with(creator, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            await falls_ill(stream)
            asked = creator.asked
            creator.refuse_to_start(127)
            unusable = "exited with status 127"
            heartbeat = await stream.until("heartbeat", lambda s: unusable in s.last_error)
            assert (heartbeat.unhealthy, heartbeat.free_slots) == (True, 0)
            assert creator.asked > asked
            creator.refuse_to_start(0)
            creator.mend()
            heartbeat = await unhealthy(stream, free_slots=1)
            stream.assign(6, heartbeat.number, lease("tried"))
            await stream.update("completed", "tried")
            assert worker.events("worker.unusable")


@pytest.mark.parametrize("profile", ["json", "reference"])
async def test_a_missing_cli_makes_the_worker_unhealthy_at_once(tmp_path: Path, profile: str) -> None:
    creator = Creator(tmp_path)
    creator.mend()
    async with scripted_scheduler() as scheduler:
        with worker_with(creator, scheduler.target, CREATOR_PROFILE=profile):
            stream, _ = await scheduler.session()
            creator.path.unlink()
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, lease("a"))
            assert (await stream.update("failed", "a")).failed.error.reason == "CREATOR_CLI_NOT_FOUND"
            heartbeat = await unhealthy(stream, free_slots=0)
            assert heartbeat.last_error.startswith("CREATOR_CLI_NOT_FOUND: ")


async def test_a_new_stream_stays_unhealthy_and_a_new_process_begins_healthy(tmp_path: Path) -> None:
    creator = Creator(tmp_path)
    async with scripted_scheduler() as scheduler:
        with worker_with(creator, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            await falls_ill(stream)
            stream.end()
            stream, _ = await scheduler.session()
            heartbeat = await stream.until("heartbeat")
            assert (heartbeat.number, heartbeat.unhealthy, heartbeat.last_error) == (1, True, ERROR)
            worker.kill()
        with worker_with(creator, scheduler.target):
            stream, _ = await scheduler.session()
            heartbeat = await stream.until("heartbeat")
            assert (heartbeat.unhealthy, heartbeat.free_slots) == (False, 1)
