"""What processes write into a campaign's journals while they are killed is read as it was meant."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from verification.chaos.evidence import (
    CLIENTS_JOURNAL,
    CREATOR_JOURNAL,
    FAULTS_JOURNAL,
    HEALTH_JOURNAL,
    KILL,
    WEBHOOK_JOURNAL,
    Cancel,
    Fault,
    HealthSeen,
    Journals,
    Received,
    Run,
    Scheduled,
    Submit,
    Subscribed,
    Unsure,
)
from verification.chaos.journals import Appender, read_journals

START = {"event": "start", "run": "a", "task_id": "t", "worker": "w", "pid": 7, "pid_start": 70, "time": 1000.0}
STARTED = Run("t", "a", "w", 7, 70, 1000.0, 10.0, 10.0)


NONE = Journals(*([] for _ in fields(Journals)))


def write(folder: Path, *lines: tuple[dict[str, Any], float], after: str = "") -> None:
    """Each line with its boottime."""
    text = "".join(f"{json.dumps({**line, 'boottime': boottime})}\n" for line, boottime in lines)
    (folder / CREATOR_JOURNAL).write_text(text + after)


def test_journals_that_were_never_begun_are_empty(tmp_path: Path) -> None:
    assert read_journals(tmp_path) == NONE


def test_appended_entries_are_read(tmp_path: Path) -> None:
    submit = Submit("t", "r", 1, "0123", 1000.0, 9)
    unsure, cancel = Unsure("s", 1, "4567", 1001.0), Cancel("t", "cancelled", 1002.0)
    fault = Fault(KILL, "worker-1", 1003.0, 13.0, 2.0)
    schedule, subscribed = Scheduled(3, 1, 1000.0, 1120.0, 20.0), Subscribed(2)
    received = Received("event", "task.ended", "t", "failed", accepted=True)
    seen = HealthSeen("scheduler-1", False, 1004.0)
    clients, faults = Appender(tmp_path / CLIENTS_JOURNAL), Appender(tmp_path / FAULTS_JOURNAL)
    health, webhook = Appender(tmp_path / HEALTH_JOURNAL), Appender(tmp_path / WEBHOOK_JOURNAL)
    for record in (submit, unsure, cancel, schedule, subscribed):
        clients.append(record, of_interest_to="people")
    faults.append(fault)
    health.append(seen)
    webhook.append(received)
    for journal in (clients, faults, health, webhook):
        journal.close()
    assert read_journals(tmp_path) == replace(
        NONE,
        submits=[submit],
        unsure=[unsure],
        cancels=[cancel],
        schedules=[schedule],
        subscribed=[subscribed],
        received=[received],
        faults=[fault],
        health=[seen],
    )


def test_a_run_lives_until_its_end_or_its_last_beat(tmp_path: Path) -> None:
    other = START | {"run": "b", "pid": 8}
    beat, end = (
        {"event": "beat", "run": "a"},
        {"event": "end", "run": "b", "status": 0, "body_sha256": "ab", "file_sha256": "cd"},
    )
    write(tmp_path, (START, 10.0), (other, 11.0), (beat, 11.5), (end, 12.0), (beat, 12.5))
    assert read_journals(tmp_path).runs == [
        Run("t", "a", "w", 7, 70, 1000.0, 10.0, 12.5),
        Run("t", "b", "w", 8, 70, 1000.0, 11.0, 12.0, 0, "ab", "cd"),
    ]


def test_processes_that_a_run_leaves_behind_are_part_of_its_life(tmp_path: Path) -> None:
    end = {"event": "end", "run": "a", "status": 0, "body_sha256": "ab", "file_sha256": ""}
    write(tmp_path, (START, 10.0), (end, 11.0), ({"event": "beat", "run": "a"}, 14.0))
    (run,) = read_journals(tmp_path).runs
    assert (run.status, run.last) == (0, 14.0)


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, (START, 10.0), after='{"event": "be')
    assert read_journals(tmp_path).runs == [STARTED]


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    write(tmp_path, (START, 10.0), after="{}}\n")
    with pytest.raises(ValueError, match=r"creator\.jsonl, line 2: .*\{\}\}"):
        read_journals(tmp_path)
