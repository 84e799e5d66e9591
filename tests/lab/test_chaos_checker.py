"""The checker lets a good story pass, and names each way in which a story can be a little wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.chaos import story
from lab.chaos.checker import PROPERTIES, check
from lab.chaos.evidence import (
    FREEZE,
    ROW_LOCK,
    TABLE_LOCK,
    AnsweredTask,
    Cancel,
    Event,
    Evidence,
    Fault,
    HealthSeen,
    Leftover,
    Probe,
    Scheduled,
    StoredTick,
    Unsure,
)
from lab.chaos.story import ACCOUNT, EVENTS, GOOD, RECEIVED, RUNS, TASKS, TICKS
from scheduler_svc.domain.lifecycle import Status

pytestmark = pytest.mark.lab

S = Status
LET_GO = (
    "results: twice: run killed of v made a result in attempt 1, and the worker let go of it "
    "(its worker does not hold it any more), but it is not in the database"
)
MISSED = (
    "watches: twice: its watcher was told of failed → pending as move 4 of 7; it should be processing → failed of 8"
)


def foreign(task_id: str, attempt: int, worker: str, *, of: str) -> str:
    """What is said of a content whose body is not the accepted attempt's."""
    return (
        f"contents: {task_id}: attempt {attempt} of {worker} completed it, but the body of its content is from a run "
        f"of {of} that this attempt did not start"
    )


BROKEN: list[tuple[Evidence, *tuple[str, ...]]] = [
    (story.stored(tasks={name: task for name, task in TASKS.items() if name != "cancelled"}),
        "submits: cancelled: its submit was acknowledged, but the database does not have it",
        "counts: 1 tasks of all accounts are said to be cancelled; it is 0",
        f"counts: 1 tasks of account {ACCOUNT} are said to be cancelled; it is 0"),
    (story.with_task("once", topic_sha256="another"),
        "submits: once: the database has another account, request_id or topic than was acknowledged",
        "submits: once: it is in the database, but nobody submitted it"),
    (story.answered(tasks={name: task for name, task in GOOD.answers.tasks.items() if name != "once"}),
        "submits: once: its submit was acknowledged, but the API does not know it"),
    (story.answered(tasks={**GOOD.answers.tasks, "once": AnsweredTask(S.COMPLETED, ACCOUNT, "another")}),
        "submits: once: the API shows another account or topic than was acknowledged"),
    (story.answered(tasks={**GOOD.answers.tasks, "once": AnsweredTask(S.PENDING, ACCOUNT, "topic of once")}),
        "submits: once: the API says pending, the database completed"),
    (story.with_twin("cancelled"),
        "submits: cancelled: its request_id has 2 tasks, and should have one",
        "submits: twin: its request_id has 2 tasks, and should have one",
        "counts: 1 tasks of all accounts are said to be cancelled; it is 2",
        f"counts: 1 tasks of account {ACCOUNT} are said to be cancelled; it is 2"),
    (story.journaled(submits=[submit for submit in GOOD.journals.submits if submit.task_id != "once"]),
        "submits: once: it is in the database, but nobody submitted it"),
    (story.journaled(faults=[Fault(ROW_LOCK, "postgres", 1e6, 1e6, 6.0, tables="shares")]),
        "locks: no submit was acknowledged for 3.0 s (another session held shares for 6.0 s)"),
    (story.journaled(
        faults=[Fault(ROW_LOCK, "postgres", 1e6, 1e6, 6.0, tables="shares")],
        probes=[Probe(1e6 + 3.5, 1e6 + 4)],
        health=[HealthSeen("scheduler-1", False, 1e6 + 5)],
    ),
        "locks: scheduler-1 said NOT_SERVING (another session held shares for 6.0 s)"),
    (story.journaled(
        faults=[Fault(TABLE_LOCK, "postgres", 1e6, 1e6, 6.0, tables="leases")],
        health=[HealthSeen("scheduler-1", True, 1e6 + 5)],
    ),
        "locks: no scheduler said NOT_SERVING while its work stood still (another session held leases for 6.0 s)"),
    (story.stored(logs={("once", 1)}), "logs: twice: attempt 2 completed it and has no log"),
    (story.with_content(2, assets=()), "assets: once: its content names the files [], and its run made [file of ]"),
    (story.with_content(2, assets=("",)),
        "assets: once: its content names the files [left out], and its run made [file of ]"),
    (story.stored(assets={"file of good"}), "assets: once: its content names the file file of , which is not complete"),
    (story.answered(files={"file of good": "file of good"}),
        "assets: once: its content names the file file of , which the API does not give"),
    (story.answered(files={**GOOD.answers.files, "file of only": "another"}),
        "assets: once: its content names the file file of , and the API gives another"),
    (story.scheduled(TICKS[0]), "ticks: schedule 3 has 0 tasks of minute 2; it should have 1"),
    (story.scheduled(*TICKS, replace(TICKS[0], task_id="cancelled")),
        "ticks: schedule 3 has 2 tasks of minute 1; it should have 1"),
    (story.scheduled(*TICKS, replace(TICKS[0], task_id="cancelled", time=240)),
        "ticks: schedule 3 has 0 tasks of minute 3; it should have 1"),
    (story.scheduled(*TICKS, replace(TICKS[0], task_id="cancelled", time=90)),
        "ticks: schedule 3 has a task of 90, which is no tick of it"),
    (story.scheduled(TICKS[0], replace(TICKS[1], task_id="gone")),
        "ticks: gone: a tick of schedule 3 made it, and the database does not have it"),
    (replace(
        story.scheduled(*TICKS),
        journals=replace(GOOD.journals, schedules=[Scheduled(story.SCHEDULE, 8, begin=30, until=150, jitter=30)]),
    ),
        "ticks: once: a tick of schedule 3 made it, and it is of account 7; it should be of 8",
        "ticks: twice: a tick of schedule 3 made it, and it is of account 7; it should be of 8"),
    (story.scheduled(*TICKS, StoredTick("cancelled", 4, 60)),
        "ticks: there are ticks of schedule 4, which nobody created"),
    (story.subscribed(RECEIVED[1:]),
        "webhooks: cancelled: its webhook got 0 events task.ended (cancelled); it should be 1"),
    (story.subscribed([notice for notice in RECEIVED if notice.event_id != "event 2" or not notice.accepted]),
        "webhooks: twice: its webhook got 0 events content.approved (approved); it should be 1"),
    (story.subscribed([*RECEIVED, replace(RECEIVED[0], event_id="event 6")]),
        "webhooks: cancelled: its webhook got 2 events task.ended (cancelled); it should be 1"),
    (story.subscribed([replace(RECEIVED[0], accepted=False), replace(RECEIVED[0], status="failed"), *RECEIVED]),
        "webhooks: cancelled: event event 1 came with another content before",
        "webhooks: cancelled: its webhook got 0 events task.ended (cancelled); it should be 1",
        "webhooks: cancelled: its webhook got 1 events task.ended (failed); it should be 0"),
    (story.retried_and_told("completed", "failed"),
        "webhooks: once: its ends came as completed, failed; it should be failed, completed"),
    (story.stored(logs={*GOOD.stored.logs, ("once", 2)}),
        "logs: once: it has a log of attempt 2, which its history does not have"),
    (story.with_history("cancelled", []), "histories: cancelled: it has no history"),
    (story.with_history("cancelled", EVENTS["cancelled"][1:]),
        "histories: cancelled: its history begins with pending, not with nothing"),
    (story.with_history("cancelled", [story.move(S.NONE, S.CANCELLED, 5)]),
        "histories: cancelled: the transition table does not let it go from none to cancelled"),
    (story.with_history("once", [event for event in EVENTS["once"] if event.status is not S.PROCESSING]),
        "histories: once: its history goes on from processing, but it was submitted"),
    (story.with_task("once", status=S.FAILED),
        "submits: once: the API says completed, the database failed",
        "histories: once: it is failed, but its history ends with completed",
        "contents: once: it is failed and has 1 contents; it should have 0",
        "counts: 2 tasks of all accounts are said to be completed; it is 1",
        "counts: 0 tasks of all accounts are said to be failed; it is 1",
        f"counts: 2 tasks of account {ACCOUNT} are said to be completed; it is 1",
        f"counts: 0 tasks of account {ACCOUNT} are said to be failed; it is 1"),
    (story.with_history("once", [EVENTS["once"][0], *story.completed(30, 2, "v", 40)]),
        "histories: once: attempt 2 was granted after attempt 0",
        "logs: once: it has a log of attempt 1, which its history does not have",
        "logs: once: attempt 2 completed it and has no log"),
    (story.with_event("twice", 7, attempt=1, worker="v"),
        "histories: twice: attempt 1 of v moved it to completed, while attempt 2 of w was the latest",
        foreign("twice", 1, "v", of="w"),
        "logs: twice: attempt 1 completed it and has no log"),
    (story.with_task("twice", retry_count=4), "histories: twice: it was retried 4 times, 3 at most were allowed"),
    (story.journaled(cancels=[*GOOD.journals.cancels, Cancel("once", "cancelled", 35)]),
        "histories: once: its cancel was acknowledged, but it is completed"),
    (story.unfinished("cancelled"), "histories: cancelled: it never ended: it is still pending"),
    (story.stored(contents=[*GOOD.stored.contents, story.content(3, "once", "only")], pool=[1, 2, 3]),
        "contents: once: it is completed and has 2 contents; it should have 1"),
    (story.answered(histories={**GOOD.answers.histories, "once": [(S.PENDING, 0), (S.COMPLETED, 1)]}),
        "histories: once: the API shows another history than the database has"),
    (story.answered(bodies={"once": "body of only"}), "contents: twice: the API shows no content of it"),
    (story.answered(bodies={**GOOD.answers.bodies, "twice": "another"}),
        "contents: twice: the API shows a content of it that the database does not have"),
    (story.answered(pool=[1]), "contents: the API shows other entries of the publish pool than the database has"),
    (story.stored(contents=GOOD.stored.contents[:1], pool=[1]),
        "contents: once: it is completed and has 0 contents; it should have 1"),
    (story.stored(contents=[*GOOD.stored.contents, story.content(3, "cancelled", "good")], pool=[1, 2, 3]),
        "contents: cancelled: it is cancelled and has 1 contents; it should have 0",
        "contents: cancelled: the body of its content was made for twice"),
    (story.with_content(2, account_id=8),
        "contents: once: its content is 2 of account 8, which is not what the task says"),
    (story.with_content(2, run=None), "contents: once: the body of its content comes from no run that was journaled"),
    (story.with_content(2, body_sha256="another"),
        "contents: once: the body of its content is not the one that its run ended with"),
    (story.with_run("only", status=1),
        "contents: once: the body of its content is not the one that its run ended with"),
    (story.stale_body(), foreign("twice", 2, "w", of="v")),
    (story.stored(pool=[1, 2, 2]), "contents: once: its content has 2 entries in the publish pool; it should have 1"),
    (story.stored(pool=[1]), "contents: once: its content has 0 entries in the publish pool; it should have 1"),
    (story.stored(pool=[1, 2, 9]), "contents: the publish pool has an entry for content 9, which is not there"),
    (story.let_go(), LET_GO),
    (story.with_run("killed", last=22.5),
        "runs: twice: run killed of v was alive 0.50 s after run good of w had started"),
    (story.with_run("only", time=29, boottime=29),
        foreign("once", 1, "v", of="v"),
        "runs: once: run only of v started while that worker had no lease, or one that was superseded"),
    (story.with_run("killed", time=21.5, boottime=21.5, last=21.6),
        "runs: twice: run killed of v started while that worker had no lease, or one that was superseded"),
    (story.with_event("twice", 3, message="its lease expired", time=11.8),
        "runs: twice: run killed of v was alive 0.20 s after its lease had to be over"),
    (story.cancelled_by_force(), "runs: once: run only of v was alive 0.50 s after its lease had to be over"),
    (story.journaled(runs=[*RUNS, story.run("again", "twice", "w", 29.2, 29.5, killed=True)]),
        "runs: twice: attempt 2 had 2 runs; it should have one at most"),
    (story.answered(counts={0: {"completed": 3, "cancelled": 1}}),
        "counts: 3 tasks of all accounts are said to be completed; it is 2"),
    (story.with_task("once", places=("ready",)),
        "counts: once: it is completed and stands in ready; it should stand in 0 place"),
    (story.stored(leases=["once"]), "counts: once: a lease of it is left"),
    (story.with_history("once", [EVENTS["once"][0], *story.completed(29, 1, "v", 40)]),
        f"caps: once: its grant was lease 2 of account {ACCOUNT}, which may have 1, for 1.000 s at least"),
    (story.journaled(watched=[event for event in story.watched() if event.status != "failed"]), MISSED),
    (story.journaled(watched=[*story.watched(), story.watched()[-1]]),
        "watches: cancelled: its watcher was told of pending → cancelled as move 3 of 3; it should be none of 2"),
    (story.journaled(watched=[*story.watched(), replace(story.watched()[0], task_id="nothing")]),
        "watches: nothing: its watcher was told of a task that the database does not have"),
    (replace(GOOD, leftovers=[Leftover("process", "4711 content-creator")]),
        "leftovers: a process is left: 4711 content-creator"),
]  # fmt: skip


def test_a_good_story_passes() -> None:
    assert check(GOOD) == []


def test_a_watcher_that_was_told_of_everything_passes() -> None:
    assert check(story.journaled(watched=story.watched())) == []


def test_a_schedule_whose_ticks_all_ran_passes() -> None:
    later = StoredTick("cancelled", story.SCHEDULE, 180)
    assert check(story.scheduled(*TICKS)) == check(story.scheduled(*TICKS, later)) == []


def test_a_webhook_that_got_everything_passes() -> None:
    assert check(story.subscribed(RECEIVED)) == []
    assert check(story.retried_and_told("failed", "completed")) == []


def test_a_file_is_left_out_where_the_disk_was_full() -> None:
    full = Fault("disk_full", "v", 38, 38, 2)
    evidence = story.with_content(2, assets=("",))
    assert check(replace(evidence, journals=replace(GOOD.journals, faults=[full]))) == []


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case[1])
def test_each_broken_property_is_named(case: tuple[Evidence, *tuple[str, ...]]) -> None:
    evidence, *expected = case
    assert [str(violation) for violation in check(evidence)] == expected


def test_each_property_is_broken_by_some_story() -> None:
    named = {text.partition(":")[0] for _, *texts in BROKEN for text in texts}
    assert named == set(PROPERTIES)


@pytest.mark.parametrize("task_id", TASKS)
def test_an_unsure_submit_may_have_come_through(task_id: str) -> None:
    submits = [submit for submit in GOOD.journals.submits if submit.task_id != task_id]
    unsure = Unsure(f"request of {task_id}", ACCOUNT, f"topic of {task_id}", 0)
    assert check(story.journaled(submits=submits, unsure=[unsure])) == []


def test_a_content_that_waits_for_its_review_need_not_be_in_the_pool() -> None:
    reviewed = {**TASKS, "once": replace(TASKS["once"], auto_approve=False)}
    for pool in ([1], [1, 2]):
        assert check(story.stored(tasks=reviewed, pool=pool)) == []


def test_a_late_result_belongs_to_the_attempt_that_ran_out() -> None:
    ran_out = [EVENTS["once"][0], *story.lost(30, 1, "v", 36)]
    late = story.move(S.PENDING, S.COMPLETED, 40, by=(1, "v"), reason="COMPLETED_LATE")
    assert check(story.with_history("once", [*ran_out, late])) == []


def test_a_result_is_lost_with_a_worker_whose_disk_was_full() -> None:
    full = Fault("disk_full", "v", 5, 5, 6)
    assert check(story.let_go(full)) == []
    assert [violation.property for violation in check(story.let_go(replace(full, victim="w")))] == ["results"]
    assert [violation.property for violation in check(story.let_go(replace(full, duration=1)))] == ["results"]


def frozen(*victims: str, **changed: float | str) -> list[str]:
    """What is said where a run outlives its lease while these are frozen, or something like that."""
    freezes = [replace(Fault(FREEZE, victim, 13, 13, 9), **changed) for victim in victims]  # type: ignore[arg-type]
    evidence = story.journaled(runs=story.runs("killed", last=22.5), faults=freezes)
    return [violation.property for violation in check(evidence)]


def test_only_a_guard_and_a_worker_that_are_both_frozen_excuse_two_runs_at_a_time() -> None:
    assert frozen("v", "v/guard") == []
    assert frozen("v/guard") == ["runs"], "its worker was there to end it"
    assert frozen("v") == ["runs"], "its guard was there to end it"
    assert frozen("w", "v/guard") == ["runs"]
    assert frozen("v", "w/guard") == ["runs"]
    assert frozen("v", "v/guard", kind="kill") == ["runs"]
    assert frozen("v", "v/guard", boottime=22.2) == ["runs"], "they were frozen too late to be the reason"
    assert frozen("v", "v/guard", duration=6.0) == ["runs"], "they had been thawed long before"


def test_a_lease_may_be_granted_in_the_moment_in_which_another_ends() -> None:
    events: list[Event] = [EVENTS["once"][0], *story.completed(20, 1, "v", 21)]
    evidence = story.with_history("once", events)
    journals = replace(GOOD.journals, runs=story.runs("only", time=20.5, boottime=20.5, last=20.9))
    assert check(replace(evidence, journals=journals)) == []
