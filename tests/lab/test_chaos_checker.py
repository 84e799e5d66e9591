"""The checker lets a good story pass, and names each way in which a story can be a little wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lab.chaos import __main__ as chaos
from lab.chaos import story
from lab.chaos.checker import PROPERTIES, check
from lab.chaos.evidence import (
    FREEZE,
    KILL,
    ROW_LOCK,
    TABLE_LOCK,
    AnsweredTask,
    Answers,
    Cancel,
    Event,
    Evidence,
    Fault,
    HealthSeen,
    Journals,
    Leftover,
    Probe,
    Run,
    Scheduled,
    Stored,
    StoredContent,
    StoredTask,
    StoredTick,
    Submit,
    Unsure,
)
from lab.chaos.faults import KINDS
from lab.chaos.figures import PART, Spread, figures, kinds, table
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


# The figures of a hand-made campaign, where each can be counted on one's fingers.


EPOCH = 1_000.0
"""What the time shows when CLOCK_BOOTTIME is 0."""


def run(name: str, task_id: str, worker: str, begin: float, last: float, *, body: str | None = None) -> Run:
    status = None if body is None else 0
    return Run(task_id, name, worker, EPOCH + begin, begin, last, status, body, printed=body is not None)


def kill(planned: str, victim: str, at: float, duration: float = 0.5) -> Fault:
    return Fault(KILL, victim, EPOCH + at, at, duration, planned, at)


def completed(task_id: str, submitted: float, ended: float) -> list[Event]:
    return [
        Event(S.NONE, S.PENDING, EPOCH + submitted, 0, "", "SUBMITTED"),
        Event(S.PROCESSING, S.COMPLETED, EPOCH + ended, 1, "w", "COMPLETED"),
    ]


def task(task_id: str, status: Status = S.COMPLETED) -> StoredTask:
    return StoredTask(task_id, 1, status, task_id, "topic", True, 0, 3, None)


EVIDENCE = Evidence(
    Journals(
        runs=[
            run("a", "one", "w1", 10.0, 11.9),
            run("b", "one", "w2", 18.0, 19.0, body="made"),
            run("c", "two", "w1", 11.0, 11.5, body="made and lost"),
            run("d", "two", "w1", 14.0, 15.0, body="made again"),
            run("e", "three", "w3", 11.0, 20.0, body="made elsewhere"),
        ],
        submits=[Submit(name, name, 1, "topic", 0.0) for name in ("one", "two", "three", "gone")],
        probes=[Probe(EPOCH + sent, EPOCH + sent + 0.25) for sent in (15.5, 16.75, 17.0, 30.0)],
        faults=[
            kill("worker-loss", "w1", 12.0, 8.0),
            kill("machine-kill", "w9", 30.0),
            kill("machine-kill", "w9/guard", 30.0),
            kill("postgres-kill", "postgres", 16.0),
            kill("scheduler-kill", "scheduler-1", 16.5),
        ],
    ),
    Stored(
        tasks={name: task(name) for name in ("one", "two", "three")},
        events={"one": completed("one", 9, 19), "two": completed("two", 10, 15.5), "three": completed("three", 17, 20)},
        contents=[StoredContent(1, "one", 1, "made", "b"), StoredContent(2, "one", 1, "made", "b")],
    ),
    Answers({}, {}),
)
FIGURES = figures(EVIDENCE)


def test_a_fault_with_two_victims_is_one_kill() -> None:
    assert FIGURES.faults == {"worker-loss": 1, "machine-kill": 1, "postgres-kill": 1, "scheduler-kill": 1}
    assert FIGURES.kills == 4


def test_runs_paid_for_twice_differ_from_runs_that_had_to_be_repeated() -> None:
    assert FIGURES.runs == 5
    assert FIGURES.duplicates == 1, "of task two; that of task one was killed before it came to anything"
    assert FIGURES.duplicates_per_10_000_kills == 2_500.0


def test_a_killed_workers_task_is_followed_to_its_next_run() -> None:
    assert FIGURES.again == FIGURES.elsewhere == Spread(1, 6.0, 6.0, 6.0)
    assert FIGURES.elsewhere_undisturbed is None, "PostgreSQL was killed meanwhile"


def test_recovery_is_the_time_to_the_next_success() -> None:
    assert FIGURES.database_submit == Spread(1, 1.0, 1.0, 1.0)
    assert FIGURES.database_completion == Spread(1, 3.0, 3.0, 3.0)
    assert FIGURES.scheduler_submit == Spread(1, 0.5, 0.5, 0.5)


def test_losses_and_doubles_are_counted() -> None:
    assert (FIGURES.lost, FIGURES.twice) == (1, 1)
    assert FIGURES.tasks == {"completed": 3}


def test_spreads_are_by_nearest_rank() -> None:
    assert Spread.of(range(1, 101)) == Spread(100, 50, 99, 100)
    assert Spread.of([]) is None


def test_the_table_is_markdown_of_two_columns() -> None:
    lines = table(FIGURES).splitlines()
    assert lines[0] == "| figure | value |"
    assert all(line.count("|") == 3 for line in lines)
    assert "| lost | **1** |" in lines


def test_the_document_is_json() -> None:
    document = json.loads(json.dumps(FIGURES.document()))
    assert (document["kills"], document["faults"]["machine-kill"], document["again"]["p50"]) == (4, 1, 6.0)


# What is told to people of a campaign, and what the docs say of it.


DOCS = Path(__file__).parents[2] / "lab" / "results" / "reliability.md"


def test_the_docs_have_every_kind_of_fault_as_it_is() -> None:
    assert kinds() in DOCS.read_text()


def test_the_docs_have_figures_of_a_campaign() -> None:
    assert "| kills survived |" in PART.read(DOCS.read_text())


def test_the_help_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        chaos.read(["--help"])
    text = capsys.readouterr().out
    assert [kind.name for kind in KINDS if kind.does not in text] == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--faults", "worker-kil"], "no such kind: worker-kil"),
        (["--seconds", "0"], "has to be above 0"),
        (["--workers", "65"], "has to be 1 to 64"),
        (["--minutes", "1", "--seconds", "1"], "not allowed with"),
        (["--keep", "/"], "is there already"),
        (["--json", "/nowhere/figures.json"], "/nowhere is no folder"),
        (["--publish", __file__], "can't have the figures"),
    ],
)
def test_wrong_options_are_told(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        chaos.read(arguments)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_a_campaign_names_the_command_that_repeats_it() -> None:
    chosen = chaos.read(["--seed", "7", "--minutes", "2", "--faults", "guard-kill,worker-kill"])
    assert chaos.read(chosen.command.split()[3:]) == chosen
    assert chaos.read(chaos.read(["--seed", "7"]).command.split()[3:]) == chaos.read(["--seed", "7"])


def test_minutes_are_seconds() -> None:
    assert chaos.read(["--minutes", "120"]).seconds == 7_200
    assert chaos.read([]).seconds == 300
