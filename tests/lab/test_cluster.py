"""The parts of `make cluster`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.chaos.evidence import Event, Stored, StoredContent, StoredTask
from lab.cluster import options
from lab.cluster.audit import Audit, audit
from lab.cluster.options import COMMANDS, KEYS, CommandError, parse
from lab.cluster.readings import parsed
from scheduler_svc.domain.lifecycle import Status

pytestmark = pytest.mark.lab


# What the end of `make cluster` finds in a database.


DONE = (Status.PENDING, Status.SUBMITTED, Status.PROCESSING, Status.COMPLETED)


def audited(statuses: Sequence[Status] = DONE, contents: int = 1, notices: int = 1, **changed: Any) -> Audit:
    """Of one task that was acknowledged, with this history."""
    task = StoredTask("task-1", 1, statuses[-1], "r-1", "", True, 0, 3, 1)
    previous = (Status.NONE, *statuses)
    moves = zip(previous, statuses, range(len(statuses)), strict=False)
    events = [Event(before, status, float(at), changed.get("attempt", 1), "worker", "") for before, status, at in moves]
    rows = [StoredContent(number, "task-1", 1, "", None) for number in range(contents)]
    return audit(
        {"r-1": "task-1"},
        {"task-1": notices},
        Stored({"task-1": task}, {"task-1": events}, rows),
        changed.get("runs", ()),
    )


def test_a_task_is_done_once_or_waits_or_is_lost() -> None:
    assert audited() == Audit(acknowledged=1, completed=1, open=0, again=0, ran_again=0, lost=0, twice=0, wrong=())
    assert audited(attempt=2).again == 1
    assert audited(runs=("task-1", "task-1")).ran_again == 1
    assert audited(DONE[:1], contents=0, notices=0) == Audit(1, 0, 1, 0, 0, 0, 0, ())
    assert audited(contents=0).lost == 1, "it has no content"
    lost = audit({"r-1": "task-1"}, {}, Stored({}, {}), ())
    assert (lost.lost, lost.wrong) == (1, ("task-1 was acknowledged, and is not there",))


def test_two_contents_two_ends_or_two_notices_are_twice() -> None:
    assert [result.twice for result in (audited(contents=2), audited((*DONE, *DONE)), audited(notices=2))] == [1, 1, 1]


def test_a_task_that_failed_is_wrong() -> None:
    assert audited((*DONE[:-1], Status.FAILED), contents=0).wrong == ("task-1 is failed",)


# What a script and the keys of `make cluster` may say.


@pytest.mark.parametrize(
    "step",
    [
        "kill scheduler", "kill worker-12", "freeze database", "kill leader", "cut leader", "demote", "vanish worker",
        "drain worker-1", "fill database", "starve", "up", "roll", "scale 0", "rate 2.5", "wait 10", "wait healthy",
        "wait alert", *KEYS.values(),
    ],
)  # fmt: skip
def test_a_step_is_taken_word_by_word(step: str) -> None:
    assert parse(step) == step.split()


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("", "is no step"),
        ("burn scheduler", "is no step"),
        ("kill", "is no step"),
        ("kill scheduler now", "is no step"),
        ("kill prometheus", "kill KIND|NAME"),
        ("drain database", "drain KIND|NAME"),
        ("vanish database", "vanish KIND|NAME"),
        ("fill scheduler", "fill KIND|NAME"),
        ("scale many", "scale N"),
        ("rate -1", "rate N"),
        ("wait for it", "is no step"),
        ("wait long", "wait N|healthy|alert"),
    ],
)
def test_what_is_no_step_says_what_it_should_be(step: str, why: str) -> None:
    with pytest.raises(CommandError) as raised:
        parse(step)
    assert why in str(raised.value)


def test_options_have_a_script_of_steps() -> None:
    chosen = options.read(["--script", "kill scheduler; wait 1;", "--workers", "2"])
    assert chosen.script == [["kill", "scheduler"], ["wait", "1"]]
    assert chosen.unattended
    assert not options.read([]).unattended


def test_the_docs_have_every_key_and_every_step() -> None:
    guide = Path(__file__).parents[2] / "lab" / "cluster" / "README.md"
    document = guide.read_text(encoding="utf-8").replace("\\|", "|")
    assert [command.usage for command in COMMANDS if f"`{command.usage}`" not in document] == []
    assert [key for key in KEYS if f"`{key}`" not in document] == []


def test_the_help_names_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.read(["--help"])
    text = capsys.readouterr().out
    assert [command.name for command in COMMANDS if command.does not in text] == []


# What the picture of `make cluster` takes from Prometheus' text.


TEXT = """\
# TYPE contentgen_lease_streams gauge
contentgen_lease_streams 2.0
contentgen_queue_tasks{priority="5"} 3.0
contentgen_queue_tasks{priority="9"} 4.0
contentgen_queue_oldest_seconds{priority="5"} 7.5
contentgen_queue_oldest_seconds{priority="9"} 1.5
contentgen_task_moves_total{source="processing",target="completed"} 12.0
contentgen_task_moves_total{source="processing",target="failed"} 1.0
contentgen_transaction_seconds_bucket{le="0.1",pool="reads"} 9.0
python_info{version="3"} 1.0
"""


def test_samples_are_added_up_but_for_ages() -> None:
    assert parsed(TEXT) == {
        "contentgen_lease_streams": 2.0,
        "contentgen_queue_tasks": 7.0,
        "contentgen_queue_oldest_seconds": 7.5,
        "contentgen_task_moves_total": 13.0,
        "completed": 12.0,
    }
