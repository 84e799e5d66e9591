"""Reports on leases, and the fence of each write about a running task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from scheduler_svc.dispatch.rows import Claimed
from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import (
    AttemptAccepted,
    AttemptCompleted,
    AttemptStarted,
    Change,
    LeaseEnd,
    LeaseUpdate,
    Outcome,
)
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import AttemptProgress, RunOutput
from scheduler_svc.leases.report import ReportItem
from scheduler_svc.leases.rows import EndedAttempt, HeartbeatRow, LeaseChange, NamedLease, ReportedResult
from scheduler_svc.tasks import query
from scheduler_svc.transactions import Tx
from tests.harness.scheduling import DEFERRED, FAILURE, RESULT, TIMEOUT, TTL, Scheduling, released, report_of

pytestmark = pytest.mark.integration


COMMITTED, ALREADY, LOST = Outcome.COMMITTED, Outcome.ALREADY_COMMITTED, Outcome.LEASE_LOST


def test_an_attempt_moves_from_lease_to_result(scheduling: Scheduling) -> None:
    key = scheduling.submit_one(topic="人工智能的未来发展", category="tech", priority=8)
    (ref,) = scheduling.claim()
    assert scheduling.report(ref, AttemptAccepted()) == [COMMITTED]
    assert scheduling.task(key).timeout_time is not None
    assert scheduling.report(ref, AttemptStarted(), AttemptProgress(40, "draft", "half")) == [COMMITTED, COMMITTED]
    running = scheduling.task(key)
    assert (running.status, running.progress) == (Status.PROCESSING, AttemptProgress(40, "draft", "half"))
    assert (
        scheduling.end(ref, AttemptCompleted(TaskResult("正文" * 200, "<p>正文</p>", ("a.png", "b.png"), 0.9)))
        is COMMITTED
    )
    task = scheduling.task(key)
    assert (task.status, task.attempt, task.worker_id, task.lease_id) == (Status.COMPLETED, 1, "w", "")
    assert scheduling.path(key) == ["pending", "submitted", "processing", "completed"]
    (content,) = scheduling.sql("SELECT * FROM contents")
    assert (content.content_id, content.title, content.category) == (task.content_id, "人工智能的未来发展", "tech")
    assert (content.word_count, content.summary, content.images) == (400, "正文" * 100, ["a.png", "b.png"])
    assert scheduling.sql("SELECT content_id, priority, status FROM publish_pool") == [(task.content_id, 8, 1)]
    assert [signals.ended for signals in scheduling.signals if signals.ended] == [[key]]
    assert [signals.endings for signals in scheduling.signals if signals.endings] == [{Status.COMPLETED: [key]}]


def test_a_result_implies_that_the_cli_had_started(scheduling: Scheduling) -> None:
    ref = scheduling.claim_of_new()
    assert scheduling.end(ref, RESULT) is COMMITTED
    assert scheduling.path(ref.task_key) == ["pending", "submitted", "processing", "completed"]


def test_stages_only_advance(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    before = scheduling.task(ref.task_key)
    assert scheduling.report(ref, AttemptAccepted(), AttemptStarted()) == [COMMITTED, COMMITTED]
    assert scheduling.task(ref.task_key) == before
    assert scheduling.path(ref.task_key) == ["pending", "submitted", "processing"]


def test_a_report_is_judged_by_its_lease_whichever_stream_brings_it(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    scheduling.hello(names=[ref])  # the report may arrive on the stream before this hello, or on the one after
    assert scheduling.end(ref, RESULT) is COMMITTED


def test_updates_of_many_leases_are_one_group(scheduling: Scheduling) -> None:
    keys = [scheduling.submit_one() for _ in range(4)]
    refs = scheduling.claim(4)
    changes: list[Change] = [RESULT, FAILURE, released(), AttemptStarted()]
    answers = scheduling.report_group(
        *map(report_of, refs, changes),
        ReportItem((LeaseUpdate("lease-of-nobody", 1, None, RESULT),)),
    )
    assert answers == [(COMMITTED,)] * 4 + [(LOST,)]
    statuses = {ref.task_key: scheduling.task(ref.task_key).status.label for ref in refs}
    assert list(statuses.values()) == ["completed", "pending", "pending", "processing"]
    assert sorted(statuses) == sorted(keys)


@pytest.mark.parametrize("change", [RESULT, FAILURE, TIMEOUT, DEFERRED, released(started=True)])
def test_a_repeated_update_is_already_committed(scheduling: Scheduling, change: Change) -> None:
    ref = scheduling.start()
    assert scheduling.end(ref, change) is COMMITTED
    path = scheduling.path(ref.task_key)
    assert scheduling.report(ref, AttemptAccepted(), AttemptStarted(), change) == [ALREADY] * 3
    assert scheduling.report(ref, AttemptStarted()) == [ALREADY]
    assert scheduling.path(ref.task_key) == path


def test_a_repeated_update_is_already_committed_while_the_next_attempt_runs(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    scheduling.end(ref, released(started=True))
    (newer,) = scheduling.claim()
    assert scheduling.end(ref, released(started=True)) is ALREADY
    assert scheduling.end(newer, RESULT) is COMMITTED
    assert scheduling.end(ref, released(started=True)) is LOST  # the task keeps the newer one


class TestStale:
    """A lease that is superseded or ended moves nothing (rule: every write is fenced by lease and attempt)."""

    CHANGES: ClassVar[list[Change]] = [
        AttemptAccepted(),
        AttemptStarted(),
        AttemptProgress(5),
        RESULT,
        FAILURE,
        DEFERRED,
        released(),
    ]

    def test_updates_of_a_superseded_lease_are_lost(self, scheduling: Scheduling) -> None:
        old = scheduling.lost()
        (new,) = scheduling.claim(worker_id="v")
        before = scheduling.task(old.task_key)
        assert [scheduling.end(old, change) for change in self.CHANGES] == [LOST] * len(self.CHANGES)
        assert scheduling.task(old.task_key) == before
        assert scheduling.place(old.task_key) == "leases"
        assert scheduling.end(new, RESULT) is COMMITTED
        assert [scheduling.end(old, change) for change in self.CHANGES] == [LOST] * len(self.CHANGES)

    def test_updates_with_a_wrong_fence_or_attempt_are_lost(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        before = scheduling.task(ref.task_key)
        for wrong in (ref._replace(fence=ref.fence ^ 1), ref._replace(attempt=2), ref._replace(task_key=12345)):
            assert [scheduling.end(wrong, change) for change in self.CHANGES] == [LOST] * len(self.CHANGES)
        assert scheduling.task(ref.task_key) == before


class TestLate:
    """The result of the latest lease, after that lease expired (rule 16)."""

    @pytest.fixture
    def lost(self, scheduling: Scheduling) -> LeaseRef:
        return scheduling.lost()

    def test_a_late_result_is_accepted_while_the_task_is_unleased(self, scheduling: Scheduling, lost: LeaseRef) -> None:
        assert scheduling.end(lost, RESULT) is COMMITTED
        task = scheduling.task(lost.task_key)
        assert (task.status, task.attempt, task.error, scheduling.place(lost.task_key)) == (4, 1, None, "")
        assert scheduling.path(lost.task_key)[-2:] == ["pending", "completed"]
        assert scheduling.events(lost.task_key)[-1].lease_id == lost.lease_id
        assert scheduling.claim() == []
        assert scheduling.end(lost, RESULT) is ALREADY
        assert scheduling.sql("SELECT count(*) FROM contents") == [(1,)]

    def test_the_output_of_a_late_result_is_kept(self, scheduling: Scheduling, lost: LeaseRef) -> None:
        output = RunOutput("", "it took long")
        update = LeaseUpdate(lost.lease_id, lost.attempt, lost, RESULT, output)
        assert scheduling.report_group(ReportItem((update,))) == [(COMMITTED,)]
        (log,) = scheduling.run(query.list_attempt_logs, lost.task_key, 0, 9)
        assert (log.attempt, log.worker_id, log.output) == (1, "w", output)

    def test_only_results_are_accepted_late(self, scheduling: Scheduling, lost: LeaseRef) -> None:
        for change in (AttemptStarted(), FAILURE, TIMEOUT, DEFERRED, released()):
            assert scheduling.end(lost, change) is LOST
        assert scheduling.place(lost.task_key) == "ready"

    def test_a_late_result_is_accepted_before_the_reaper_runs(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        scheduling.expire(ref)
        assert scheduling.end(ref, RESULT) is COMMITTED

    def test_many_late_results_are_accepted_in_one_group(self, scheduling: Scheduling) -> None:
        refs = [scheduling.start() for _ in range(5)]
        scheduling.lose(*refs)
        scheduling.claim(worker_id="v")  # the first one's task
        answers = scheduling.report_group(*(report_of(ref, RESULT) for ref in refs))
        assert sorted(answer[0] for answer in answers) == [COMMITTED] * 4 + [LOST]


# Every write about a running task is fenced by its lease: with a stale one it changes no row, and reports so.


Stale = Callable[[Scheduling], LeaseRef]


def superseded(scheduling: Scheduling) -> LeaseRef:
    """It expired, and the task was leased again."""
    old = scheduling.lost()
    scheduling.claim()
    return old


def of_another_fence(scheduling: Scheduling) -> LeaseRef:
    """For example from before a restore: the attempt has the same number."""
    ref = scheduling.start()
    return ref._replace(fence=ref.fence ^ 1)


def of_a_later_attempt(scheduling: Scheduling) -> LeaseRef:
    ref = scheduling.start()
    return ref._replace(attempt=ref.attempt + 1)


def ended(scheduling: Scheduling) -> LeaseRef:
    ref = scheduling.start()
    scheduling.end(ref, RESULT)
    return ref


STALE: list[Stale] = [superseded, of_another_fence, of_a_later_attempt, Scheduling.revoked, ended]
WRITES: dict[str, Callable[[Tx, LeaseRef], Any]] = {
    "renew": lambda tx, ref: tx.leases.renew([NamedLease(*ref, "w")], TTL).renewed,
    "change": lambda tx, ref: tx.leases.change([LeaseChange(*ref, True, True, 50, "step", "message")]),
    "revoke": lambda tx, ref: tx.leases.revoke([ref]),
    "complete": lambda tx, ref: tx.leases.complete([ReportedResult(*ref)]),
    "complete late": lambda tx, ref: tx.leases.complete([ReportedResult(*ref)], late=True),
}
"""Each returns what it has written."""


@pytest.mark.parametrize("stale", STALE)
def test_a_stale_lease_writes_nothing(scheduling: Scheduling, stale: Stale) -> None:
    ref = stale(scheduling)
    before = scheduling.sql("SELECT * FROM leases"), scheduling.sql("SELECT * FROM tasks")
    assert not {name for name, write in WRITES.items() if scheduling.run(write, ref)}
    assert (scheduling.sql("SELECT * FROM leases"), scheduling.sql("SELECT * FROM tasks")) == before


@pytest.mark.parametrize("stale", [superseded, of_another_fence, of_a_later_attempt, ended])
def test_a_stale_lease_does_not_end_another(scheduling: Scheduling, stale: Stale) -> None:
    ref = stale(scheduling)
    before = scheduling.sql("SELECT * FROM leases")
    assert scheduling.run(lambda tx: tx.leases.delete([ref])) == 0
    assert scheduling.sql("SELECT * FROM leases") == before


def test_a_lease_is_renewed_for_its_own_worker_only(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    named = [NamedLease(*ref, "v"), NamedLease(*ref, "w")]
    assert scheduling.run(lambda tx: tx.leases.renew(named[:1], TTL).renewed) == set()
    assert scheduling.run(lambda tx: tx.leases.renew(named[1:], TTL).renewed) == {ref}


@pytest.mark.parametrize("left", [-10.0, 0.5, TTL - 0.5, TTL + 0.9])
def test_a_renewed_lease_lives_for_the_lease_time_at_least(scheduling: Scheduling, left: float) -> None:
    ref = scheduling.start()
    scheduling.sql("UPDATE leases SET expire_time = now() + make_interval(secs => :left)", left=left)
    with scheduling.transaction() as tx:
        assert tx.leases.renew([NamedLease(*ref, "w")], TTL).renewed == {ref}
        now = tx.now
    ((expire_time,),) = scheduling.sql("SELECT expire_time FROM leases")
    assert TTL - 1 <= (expire_time - now).total_seconds() <= TTL + 1


def attempt(ref: LeaseRef) -> EndedAttempt:
    return EndedAttempt(*ref, LeaseEnd.FAILED, Status.FAILED, "w", None, None, 0, 0, 0, 0, None)


@pytest.mark.parametrize("stale", [superseded, Scheduling.revoked, ended])
def test_the_end_of_a_stale_attempt_moves_no_task(scheduling: Scheduling, stale: Stale) -> None:
    ref = stale(scheduling)
    before = scheduling.sql("SELECT * FROM tasks")
    assert scheduling.run(lambda tx: tx.tasks.end_attempts([attempt(ref)])) == 0
    assert scheduling.sql("SELECT * FROM tasks") == before


def test_a_late_result_needs_an_expired_lease(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    scheduling.hello()  # does not name it: released, not lost
    assert scheduling.run(WRITES["complete late"], ref) == []


def test_cancel_waiting_does_not_cancel_a_task_that_is_not_pending(scheduling: Scheduling) -> None:
    ref = ended(scheduling)
    assert scheduling.run(lambda tx: tx.tasks.cancel_waiting([ref.task_key], "{}")) == 0


@pytest.mark.parametrize("status", [Status.FAILED, Status.TIMEOUT])
def test_a_task_is_retried_only_from_the_state_that_was_read(scheduling: Scheduling, status: Status) -> None:
    ref = ended(scheduling)
    assert scheduling.run(lambda tx: tx.tasks.retry(ref.task_key, status, 1)) == 0


def test_a_replaced_session_is_neither_renewed_nor_closed(scheduling: Scheduling) -> None:
    old = scheduling.hello().session_key
    scheduling.hello()
    before = scheduling.sql("SELECT * FROM workers")
    assert scheduling.run(lambda tx: tx.workers.record_heartbeats([HeartbeatRow("w", old)])) == {}
    scheduling.run(lambda tx: tx.workers.set_draining("w", old))
    scheduling.run(lambda tx: tx.workers.close("w", old))
    scheduling.submit_one()
    claimed = scheduling.run(lambda tx: tx.leases.claim([("w", old)], TTL))
    assert claimed == Claimed([], closed=frozenset({old}))
    assert scheduling.sql("SELECT * FROM workers") == before


def test_a_task_is_removed_only_while_it_waits_for_that_attempt(scheduling: Scheduling) -> None:
    waiting, lost = scheduling.submit_one(priority=1), scheduling.lost()
    wrong = [(waiting, 2), (lost.task_key, 1), (lost.task_key, 3)]
    assert scheduling.run(lambda tx: tx.waiting.remove_next(wrong)) == {}
    assert scheduling.place(lost.task_key) == scheduling.place(waiting) == "ready"
    with pytest.raises(Undo):
        scheduling.run(removes_both, [(waiting, 1), (lost.task_key, 2)])


class Undo(Exception):
    """Rolls a transaction back."""


def removes_both(tx: Tx, rows: list[tuple[int, int]]) -> None:
    assert sorted(tx.waiting.remove_next(rows)) == sorted(key for key, _ in rows)
    raise Undo


class TestGroups:
    """Updates of two workers in one group are matched by lease, not by task."""

    def test_a_stale_lease_is_not_renewed_by_its_successor_s_heartbeat(self, scheduling: Scheduling) -> None:
        old = scheduling.lost()
        (new,) = scheduling.claim(worker_id="v")
        stale, fresh = scheduling.report_group(scheduling.stated("w", [old]), scheduling.stated("v", [new]))
        assert stale.not_renewed == (old.lease_id,)
        assert fresh.not_renewed == ()

    def test_a_stale_lease_is_not_renewed_by_its_worker_s_newer_lease(self, scheduling: Scheduling) -> None:
        old = scheduling.lost()
        (new,) = scheduling.claim()
        assert scheduling.state(old, new).not_renewed == (old.lease_id,)
