"""The dispatcher and the admission loop on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from scheduler_svc.dispatch import admission as rules
from scheduler_svc.dispatch.loop import MIN_SESSIONS, SCAN_INTERVAL, Admission, Dispatcher
from scheduler_svc.dispatch.streams import Assign, ReconnectOrder, Streams, WorkerStream
from scheduler_svc.dispatch.work import InlineClaim
from scheduler_svc.domain.errors import NotFound, StoreUnavailable
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.task import NewTask
from scheduler_svc.domain.worker import Heartbeat
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.signals import CommitSignals
from scheduler_svc.transactions import Database, make_engine
from tests.harness.scheduling import RESULT, SETTINGS, WAITING, Scheduling, new_task, sent, sql
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.integration


WAIT_S = 5  # less than the interval at which the dispatcher claims without a hint


class Floor:
    """A dispatcher, its streams, and the leases that it released."""

    def __init__(self, scheduling: Scheduling, url: str, calls: Calls) -> None:
        self._scheduling = scheduling
        self.engine = make_engine(url, 1, hot=True)
        self.other = make_engine(url, 1)
        self.streams = Streams()
        self.taken_back: list[LeaseRef] = []
        database = Database(self.engine, lambda _: None, lambda _: None)
        self.dispatcher = Dispatcher(database, self.streams, SETTINGS, self.taken_back.extend, Admission(calls))
        self.statements: list[str] = []

    def connect(self, worker_id: str, free_slots: int = 0) -> WorkerStream:
        """A new session's stream; with free slots its first heartbeat is committed."""
        stream = WorkerStream(worker_id, self._scheduling.hello(worker_id).session_key)
        self.streams.add(stream)
        if free_slots:
            self.state(stream, 1, free_slots)
        return stream

    def state(self, stream: WorkerStream, number: int, free_slots: int, last_assignment: int = 0) -> None:
        """Commits a heartbeat, and wakes the dispatcher for its free slots."""
        lapses_at = asyncio.get_running_loop().time() + 60
        stream.heartbeat(Heartbeat(number, free_slots, (), last_assignment), lapses_at)
        self.dispatcher.capacity_added()


async def assigned(stream: WorkerStream) -> Assign:
    async with asyncio.timeout(WAIT_S):
        message = await stream.next()
    assert isinstance(message, Assign)
    return message


async def assigned_keys(stream: WorkerStream, count: int) -> list[int]:
    """The tasks of that many grants, which may come in several messages."""
    keys: list[int] = []
    while len(keys) < count:
        keys += [grant.ref.task_key for grant in (await assigned(stream)).grants]
    return keys


@pytest.fixture
async def floor(scheduling: Scheduling, db_url: str, calls: Calls) -> AsyncIterator[Floor]:
    floor = Floor(scheduling, db_url, calls)
    with sent(floor.engine) as floor.statements:
        floor.dispatcher.start()
        yield floor
        await floor.dispatcher.stop()
    floor.engine.dispose()
    floor.other.dispose()


async def rested(floor: Floor) -> None:
    """Waits until it has claimed and found nothing more."""
    await wait_until_async(lambda: not floor.dispatcher._may_have_work, within=WAIT_S, what="the dispatcher rests")


async def test_a_hint_with_free_slots_becomes_an_assignment_that_names_the_heartbeat(
    floor: Floor, scheduling: Scheduling
) -> None:
    stream = floor.connect("w")
    floor.state(stream, 7, free_slots=2)
    keys = [scheduling.submit_one() for _ in range(3)]
    floor.dispatcher.hint()
    first = await assigned(stream)
    assert first.heartbeat_number == 7
    leases = [grant.ref.task_key for grant in first.grants]
    assert leases + await assigned_keys(stream, 2 - len(leases)) == keys[:2]


async def test_free_slots_without_a_hint_cause_no_query(floor: Floor) -> None:
    stream = floor.connect("w", free_slots=2)
    await rested(floor)
    before = len(floor.statements)
    assert before > 0
    for number in range(2, 50):
        floor.state(stream, number, free_slots=2)
        await asyncio.sleep(0)
    assert len(floor.statements) == before


async def test_an_inline_claim_is_one_claim_by_its_thread(floor: Floor, scheduling: Scheduling) -> None:
    stream = floor.connect("w")
    assert floor.dispatcher.inline_claim() is None, "nobody has a free slot"
    floor.state(stream, 3, free_slots=2)
    await rested(floor)
    turn = floor.dispatcher.inline_claim()
    assert turn is not None
    assert floor.dispatcher.inline_claim() is None, "a claim is under way"
    before = len(floor.statements)
    key = scheduling.submit_one()
    floor.dispatcher.note_hint()
    turn()  # it is for another thread, but none is needed
    floor.dispatcher.wake()
    message = await assigned(stream)
    assert (message.heartbeat_number, [grant.ref.task_key for grant in message.grants]) == (3, [key])
    await rested(floor)
    assert len(floor.statements) == before + 1, "that claim has taken up the hint already"


def end_session(floor: Floor, connection: sa.Connection) -> None:
    driver: Any = connection.connection.dbapi_connection
    sql(floor.other, "SELECT pg_terminate_backend(:pid, 5000)", pid=driver.info.backend_pid)


def submit_with(turn: InlineClaim, scheduling: Scheduling, *tasks: NewTask) -> list[int]:
    """Submits as the submit lane's thread does, and lets the claim end; returns the tasks' keys."""
    try:
        return [task.task_key for task in scheduling.submit(*tasks, after_commit=turn)]
    finally:
        turn()


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_an_inline_claim_joins_a_small_submit(floor: Floor, scheduling: Scheduling, count: int) -> None:
    """Others are told of work only if there may be some that it did not take."""
    scheduling.submit_one()  # the first one draws a block of keys, and is not small
    stream = floor.connect("w", free_slots=3)
    await assigned_keys(stream, 1)
    await rested(floor)
    turn = floor.dispatcher.inline_claim()
    assert turn is not None
    before, earlier = len(floor.statements), len(scheduling.signals)
    keys = submit_with(turn, scheduling, *[new_task()] * count)
    assert await assigned_keys(stream, min(count, 2)) == keys[:2]
    assert len(floor.statements) == before, "the dispatcher has claimed nothing by itself"
    assert [signals.ready for signals in scheduling.signals[earlier:]] == [True] * (count > 1)


async def test_an_inline_claim_joins_a_submit_that_is_refused(floor: Floor, scheduling: Scheduling) -> None:
    stream = floor.connect("w", free_slots=2)
    await rested(floor)
    waiting = scheduling.submit_one()
    turn = floor.dispatcher.inline_claim()
    assert turn is not None
    with pytest.raises(NotFound):
        submit_with(turn, scheduling, new_task(account_id=7))
    assert await assigned_keys(stream, 1) == [waiting]
    assert floor.dispatcher.inline_claim() is not None, "the claim has ended"


async def test_a_worker_dials_again_if_nobody_knows_what_an_inline_claim_has_committed(
    floor: Floor, scheduling: Scheduling
) -> None:
    scheduling.submit_one()
    stream = floor.connect("w", free_slots=2)
    await assigned_keys(stream, 1)
    await rested(floor)
    turn = floor.dispatcher.inline_claim()
    assert turn is not None
    with sent(scheduling.engine, first=partial(end_session, floor)), pytest.raises(StoreUnavailable):
        submit_with(turn, scheduling, new_task())
    async with asyncio.timeout(WAIT_S):
        assert await stream.next() == ReconnectOrder()


async def test_a_hint_during_an_inline_claim_is_not_lost(floor: Floor, scheduling: Scheduling) -> None:
    stream = floor.connect("w", free_slots=2)
    await rested(floor)
    turn = floor.dispatcher.inline_claim()
    assert turn is not None
    turn()  # it finds nothing, and has not said so yet
    key = scheduling.submit_one()
    floor.dispatcher.hint()
    assert await assigned_keys(stream, 1) == [key]


async def test_tasks_that_did_not_fit_go_to_the_next_session_with_capacity(
    floor: Floor, scheduling: Scheduling
) -> None:
    scheduling.fill(1, 2)
    for worker_id in "vw":
        assert len((await assigned(floor.connect(worker_id, free_slots=1))).grants) == 1


async def test_a_nearly_empty_window_is_refilled_before_the_next_claim(floor: Floor, scheduling: Scheduling) -> None:
    """Else the next claim would serve other accounts, or a lower priority, in this account's turn."""
    scheduling.fill(1, 10, priority=9)
    scheduling.fill(1, 5, priority=1)
    scheduling.sql("UPDATE ready SET tag = NULL WHERE priority = 9 AND tag >= 5")
    scheduling.sql("UPDATE shares SET finish = 5, backlog = true, refill = 0 WHERE priority = 9")
    stream = floor.connect("w")
    with scheduling.transaction() as other:
        other.window.lock(1)  # the window can't be filled yet
        floor.state(stream, 1, free_slots=5)
        taken = await assigned(stream)
        await wait_until_async(lambda: scheduling.sql(WAITING), within=WAIT_S, what="it is about to be filled")
        claims = len(floor.statements)
        floor.state(stream, 2, free_slots=5, last_assignment=taken.number)
        floor.dispatcher.hint()
        await asyncio.sleep(0)
        assert len(floor.statements) == claims
    grants = [*taken.grants, *(await assigned(stream)).grants]
    assert [grant.priority for grant in grants] == [9] * 10


async def test_a_replaced_session_does_not_hide_waiting_tasks(floor: Floor, scheduling: Scheduling) -> None:
    """Its stream is still here; the dispatcher must not take "no session may get a lease" for "nothing waits"."""
    floor.connect("w", free_slots=1)
    await rested(floor)
    scheduling.hello("w")  # at another replica
    key = scheduling.submit_one()
    floor.dispatcher.hint()
    await wait_until_async(
        lambda: not floor.streams.capacities(0.0, 1), within=WAIT_S, what="the old session is closed"
    )
    assert await assigned_keys(floor.connect("v", free_slots=1), 1) == [key]


async def test_leases_claimed_for_a_closed_stream_are_released(floor: Floor, scheduling: Scheduling) -> None:
    stream = floor.connect("w")
    key = scheduling.submit_one()
    with floor.other.connect() as other:
        other.exec_driver_sql("BEGIN; LOCK TABLE leases IN SHARE MODE")  # the claim waits
        floor.state(stream, 1, free_slots=1)
        await wait_until_async(lambda: scheduling.sql(WAITING), within=WAIT_S, what="the claim is under way")
        floor.streams.remove(stream)
        other.exec_driver_sql("COMMIT")
    await wait_until_async(lambda: floor.taken_back, within=WAIT_S, what="the lease is taken back")
    assert [ref.task_key for ref in floor.taken_back] == [key]
    scheduling.take_back(*floor.taken_back)
    assert scheduling.path(key) == ["pending", "submitted", "pending"]


async def test_a_locked_worker_row_delays_no_other_worker(floor: Floor, scheduling: Scheduling) -> None:
    """The lock of a hello or of another session: the emptiest worker gets nothing meanwhile, and others its share."""
    held, other = floor.connect("v"), floor.connect("w")
    with scheduling.transaction() as hello:
        hello.workers.lock("v")
        floor.state(held, 1, free_slots=9)
        floor.state(other, 1, free_slots=1)
        keys = [scheduling.submit_one() for _ in range(2)]
        floor.dispatcher.hint()
        assert await assigned_keys(other, 1) == keys[:1]
    assert await assigned_keys(held, 1) == keys[1:]  # and no hint is sent


async def test_each_of_many_workers_gets_a_task(floor: Floor, scheduling: Scheduling) -> None:
    """More workers than one claim is for."""
    streams = [floor.connect(f"w{number}") for number in range(3 * MIN_SESSIONS)]
    keys = scheduling.fill(1, len(streams))
    for stream in streams:
        stream.heartbeat(Heartbeat(1, 1, (), 0), asyncio.get_running_loop().time() + 60)
    floor.dispatcher.hint()
    got = [await assigned(stream) for stream in streams]
    assert sorted(grant.ref.task_key for message in got for grant in message.grants) == keys
    claims = [statement for statement in floor.statements if "INSERT INTO leases" in statement]
    assert len(claims) <= 3, "who finds more waiting asks for more"


async def test_a_claim_touches_only_workers_that_get_a_lease(floor: Floor, scheduling: Scheduling) -> None:
    """The emptiest of them first, however many are idle."""
    streams = {f"w{number}": floor.connect(f"w{number}") for number in range(MIN_SESSIONS)}
    for number, stream in enumerate(streams.values()):
        stream.heartbeat(Heartbeat(1, 1 + number, (), 0), asyncio.get_running_loop().time() + 60)
    scheduling.fill(1, 2)
    floor.dispatcher.hint()
    emptiest = sorted(streams, key=lambda name: streams[name].capacity.free_slots)[-2:]
    for name in emptiest:
        await assigned(streams[name])
    locked = scheduling.sql("SELECT worker_id FROM workers WHERE xmax::text <> '0'")
    assert sorted(name for (name,) in locked) == sorted(emptiest)


# The admission loop on a real database: its signals and its scans.


@pytest.fixture
def limited(scheduling: Scheduling) -> int:
    return scheduling.make_account(limit=1)


def waiting(scheduling: Scheduling) -> int:
    """How many tasks can be claimed."""
    return len(scheduling.sql("SELECT FROM ready WHERE tag IS NOT NULL"))


async def test_a_scan_finds_accounts_without_a_signal(calls: Calls, scheduling: Scheduling, limited: int) -> None:
    scheduling.fill(limited, 3)
    assert waiting(scheduling) == 0
    seconds = await Admission(calls).run_once()
    assert seconds is not None
    assert 0 < seconds <= SCAN_INTERVAL
    assert waiting(scheduling) == 1


async def test_admission_serves_requests_between_its_intervals(
    calls: Calls, scheduling: Scheduling, limited: int
) -> None:
    admission = Admission(calls)
    await admission.run_once()
    scheduling.fill(limited, 3)
    await admission.run_once()
    assert waiting(scheduling) == 0
    for signals in scheduling.signals:
        admission.on_commit(signals)
    await admission.run_once()
    assert waiting(scheduling) == 1


async def test_the_end_of_a_lease_admits_a_task_of_an_account_with_a_limit(
    calls: Calls, scheduling: Scheduling, limited: int
) -> None:
    admission = Admission(calls)
    await admission.run_once()
    scheduling.fill(limited, 3)
    scheduling.admit()
    (ref,) = scheduling.claim(3)
    scheduling.end(ref, RESULT)
    assert scheduling.signals[-1].released == {limited}
    admission.on_commit(CommitSignals(released={1}))
    await admission.run_once()
    assert waiting(scheduling) == 0
    admission.on_commit(scheduling.signals[-1])
    await admission.run_once()
    assert waiting(scheduling) == 1


async def test_admission_repeats_until_a_large_backlog_is_admitted(
    calls: Calls, scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_BATCH", 2)
    scheduling.fill(1, 5)
    scheduling.pause(1)
    scheduling.resume(1)
    assert waiting(scheduling) == 2
    admission = Admission(calls)
    for so_far in (4, 5):
        admission.on_commit(scheduling.signals[-1])
        await admission.run_once()
        assert waiting(scheduling) == so_far


async def test_a_failing_account_does_not_stop_the_others(
    calls: Calls, scheduling: Scheduling, limited: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = scheduling.make_account(limit=1)
    last = scheduling.make_account(limit=1)
    for account_id in (limited, broken, last):
        scheduling.fill(account_id, 1)
    scheduling.sql(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no' USING ERRCODE = 'check_violation'; END $$"""
    )
    scheduling.sql(
        f"""CREATE TRIGGER refuse BEFORE UPDATE ON ready FOR EACH ROW WHEN (old.account_id = {broken})
            EXECUTE FUNCTION refuse()"""
    )
    await Admission(calls).run_once()
    tagged = scheduling.sql("SELECT account_id FROM ready WHERE tag IS NOT NULL ORDER BY account_id")
    assert tagged == [(limited,), (last,)]
