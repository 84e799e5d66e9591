"""Reports on leases: outcomes, late and repeated results, and updates of revoked leases."""

from __future__ import annotations

import pytest

from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptAccepted, AttemptCompleted, AttemptStarted, Change, LeaseUpdate, Outcome
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import AttemptProgress, RunOutput
from scheduler_svc.leases.report import ReportItem
from scheduler_svc.tasks import query
from tests.harness.scheduling import DEFERRED, FAILURE, RESULT, TIMEOUT, Scheduling, released

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
    assert [signals.ended for signals in scheduling.told if signals.ended] == [[key]]


def test_without_auto_approve_a_content_waits_for_review(scheduling: Scheduling) -> None:
    ref = scheduling.start(auto_approve=False)
    assert scheduling.end(ref, RESULT) is COMMITTED
    assert scheduling.sql("SELECT review_status FROM contents") == [(1,)]
    assert scheduling.sql("SELECT * FROM publish_pool") == []


def test_a_result_implies_that_the_cli_had_started(scheduling: Scheduling) -> None:
    key = scheduling.submit_one()
    (ref,) = scheduling.claim()
    assert scheduling.end(ref, RESULT) is COMMITTED
    assert scheduling.path(key) == ["pending", "submitted", "processing", "completed"]


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
        *(ReportItem((LeaseUpdate(r.lease_id, r.attempt, r, c),)) for r, c in zip(refs, changes, strict=True)),
        ReportItem((LeaseUpdate("lease-of-nobody", 1, None, RESULT),)),
    )
    assert answers == [(COMMITTED,)] * 4 + [(LOST,)]
    statuses = {ref.task_key: scheduling.task(ref.task_key).status.label for ref in refs}
    assert list(statuses.values()) == ["completed", "pending", "pending", "processing"]
    assert sorted(statuses) == sorted(keys)


def test_updates_after_an_end_are_ignored(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    assert scheduling.report(ref, RESULT, FAILURE, AttemptStarted()) == [COMMITTED] * 3
    assert scheduling.path(ref.task_key)[-1] == "completed"


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


def test_a_result_is_lost_if_its_lease_was_only_released(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    scheduling.hello()  # names nothing
    assert scheduling.end(ref, RESULT) is LOST
    assert scheduling.place(ref.task_key) == "ready"


class TestStale:
    """A lease that is superseded or ended moves nothing (rule: every write is fenced by lease and attempt)."""

    @pytest.mark.parametrize(
        "change", [AttemptAccepted(), AttemptStarted(), AttemptProgress(5), RESULT, FAILURE, DEFERRED, released()]
    )
    def test_an_update_of_a_superseded_lease_is_lost(self, scheduling: Scheduling, change: Change) -> None:
        old = scheduling.start()
        scheduling.lose(old)
        (new,) = scheduling.claim(worker_id="v")
        before = scheduling.task(old.task_key)
        assert scheduling.end(old, change) is LOST
        assert scheduling.task(old.task_key) == before
        assert scheduling.place(old.task_key) == "leases"
        assert scheduling.end(new, RESULT) is COMMITTED
        assert scheduling.end(old, change) is LOST

    @pytest.mark.parametrize(
        "change", [AttemptAccepted(), AttemptStarted(), AttemptProgress(5), RESULT, FAILURE, DEFERRED, released()]
    )
    def test_an_update_with_a_wrong_fence_or_attempt_is_lost(self, scheduling: Scheduling, change: Change) -> None:
        ref = scheduling.start()
        before = scheduling.task(ref.task_key)
        for wrong in (ref._replace(fence=ref.fence ^ 1), ref._replace(attempt=2), ref._replace(task_key=12345)):
            assert scheduling.end(wrong, change) is LOST
        assert scheduling.task(ref.task_key) == before

    def test_an_update_of_an_ended_task_is_lost(self, scheduling: Scheduling) -> None:
        ref = scheduling.start(max_retries=0)
        scheduling.end(ref, FAILURE)
        assert scheduling.end(ref, RESULT) is LOST
        assert scheduling.task(ref.task_key).status is Status.FAILED


class TestLate:
    """The result of the latest lease, after that lease expired (rule 16)."""

    @pytest.fixture
    def lost(self, scheduling: Scheduling) -> LeaseRef:
        """A lease that expired while its CLI ran; its task is ready again."""
        ref = scheduling.start()
        assert scheduling.lose(ref).expired == 1
        assert scheduling.place(ref.task_key) == "ready"
        return ref

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

    def test_a_late_result_is_accepted_before_the_reaper_runs(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        scheduling.expire(ref)
        assert scheduling.end(ref, RESULT) is COMMITTED

    @pytest.mark.parametrize("change", [AttemptStarted(), FAILURE, TIMEOUT, DEFERRED, released()])
    def test_only_results_are_accepted_late(self, scheduling: Scheduling, lost: LeaseRef, change: Change) -> None:
        assert scheduling.end(lost, change) is LOST
        assert scheduling.place(lost.task_key) == "ready"

    def test_a_late_result_is_lost_after_another_lease_was_granted(
        self, scheduling: Scheduling, lost: LeaseRef
    ) -> None:
        (newer,) = scheduling.claim(worker_id="v")
        assert scheduling.end(lost, RESULT) is LOST
        scheduling.end(newer, released())
        assert scheduling.end(lost, RESULT) is LOST  # superseded stays so, whatever became of the newer one

    def test_a_late_result_is_lost_after_a_cancel(self, scheduling: Scheduling, lost: LeaseRef) -> None:
        scheduling.cancel(lost.task_key)
        assert scheduling.end(lost, RESULT) is LOST

    def test_a_late_result_is_lost_after_the_last_loss(self, scheduling: Scheduling) -> None:
        key = scheduling.submit_one()
        for _ in range(5):
            (ref,) = scheduling.claim()
            scheduling.lose(ref)
        assert scheduling.task(key).status is Status.FAILED
        assert scheduling.end(ref, RESULT) is LOST

    def test_many_late_results_are_accepted_in_one_group(self, scheduling: Scheduling) -> None:
        refs = [scheduling.start() for _ in range(5)]
        scheduling.lose(*refs)
        scheduling.claim(worker_id="v")  # the first one's task
        answers = scheduling.report_group(*(ReportItem((LeaseUpdate(r.lease_id, 1, r, RESULT),)) for r in refs))
        assert sorted(answer[0] for answer in answers) == [COMMITTED] * 4 + [LOST]


def test_an_unknown_task_is_not_found(scheduling: Scheduling) -> None:
    with pytest.raises(NotFound):
        scheduling.task(12345)
