"""The figures of a chaos campaign, and its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.chaos import __main__ as chaos
from lab.chaos.evidence import (
    KILL,
    Answers,
    Event,
    Evidence,
    Fault,
    Journals,
    Probe,
    Run,
    Stored,
    StoredContent,
    StoredTask,
    Submit,
)
from lab.chaos.faults import KINDS
from lab.chaos.figures import PART, Spread, figures, kinds, table
from scheduler_svc.domain.lifecycle import Status

pytestmark = pytest.mark.lab


# The figures of a hand-made campaign, where each can be counted on one's fingers.


S = Status
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
