"""A CLI that asks to come back later: what counts as that, how long the pause is, what each profile makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.creator_cli import ProcessExit
from tests.unit.scripted_cli import DONE, JOB, SECOND, run, says, scripted
from worker_svc.creators import deferral
from worker_svc.creators.deferral import DEFAULT_PAUSE, MAX_PAUSE
from worker_svc.outcome import Completed, Deferred, Failed

TEMPFAIL = ProcessExit(75, None)
LATER = "echo 'no quota left' >&2; echo 'retry-after: 12' >&2; exit 75"
LATER_IN_12_S = Deferred(12.0, "no quota left")
FAILED_FOR_NOW = f"{says('failed')}; {LATER}"


@pytest.mark.parametrize(
    ("stderr", "stdout", "pause"),
    [
        ("retry-after: 12", "", 12.0),
        ("Retry-After:12.5", "", 12.5),
        ("  RETRY-AFTER : 7 s ", "", 7.0),
        ("retry-after: 1\nretry-after: 2\nbye", "", 2.0),
        ("", '{"retry_after": 3}', 3.0),
        ("", 'progress: 5%\n{"progress": 5}\n{"retry_after": 2.5, "why": "quota"}\nbye', 2.5),
        ("", '{"retry_after": 3}\n{"retry_after": 4}', 4.0),
        ("retry-after: 12", '{"retry_after": 3}', 12.0),
        ("retry-after: 0", "", 0.0),
        ("retry-after: 99999999999", "", MAX_PAUSE),
        ("", '{"retry_after": 1e300}', MAX_PAUSE),
        ("", '{"retry_after": -3}', 0.0),
        ("", "", DEFAULT_PAUSE),
        ("retry-after: Wed, 21 Oct 2026 07:28:00 GMT", "", DEFAULT_PAUSE),
        ("retry-after: -3", "", DEFAULT_PAUSE),
        ("the header said retry-after: 12", "", DEFAULT_PAUSE),
        ("", '{"retry_after": "3"}', DEFAULT_PAUSE),
        ("", '{"retry_after": true}', DEFAULT_PAUSE),
        ("", '{"retry_after": NaN}', DEFAULT_PAUSE),
        ("", '{"retry_after": 3', DEFAULT_PAUSE),
    ],
)
def test_the_pause_that_is_asked_for(stderr: str, stdout: str, pause: float) -> None:
    deferred = deferral.of_exit(TEMPFAIL, stdout.encode(), stderr)
    assert deferred is not None
    assert deferred.pause == pause


def test_other_output_of_a_deferral_is_kept() -> None:
    deferred = deferral.of_exit(TEMPFAIL, b"", f"first\n{'why ' * 100}\nretry-after: 5\n\n")
    assert deferred is not None
    assert deferred.message == ("why " * 50)


@pytest.mark.parametrize(
    "ended", [ProcessExit(0, None), ProcessExit(1, None), ProcessExit(74, None), ProcessExit(None, 9)]
)
def test_other_exit_statuses_are_no_deferral(ended: ProcessExit) -> None:
    assert deferral.of_exit(ended, b'{"retry_after": 3}', "retry-after: 3") is None


@given(st.binary(max_size=200), st.text(max_size=200))
def test_whatever_it_prints_the_pause_is_bounded(stdout: bytes, stderr: str) -> None:
    deferred = deferral.of_exit(TEMPFAIL, stdout, stderr)
    assert deferred is not None
    assert 0 <= deferred.pause <= MAX_PAUSE


async def test_json_defers_whatever_was_printed_before(tmp_path: Path) -> None:
    """The exit status decides: a document beside it is not said to be whole."""
    outcome, report = await run(scripted(tmp_path, create=[f"{DONE}; {LATER}"]), profile="json")
    assert outcome == LATER_IN_12_S
    assert report.events == ["processing"]


async def test_a_result_that_names_a_pause_is_a_result(tmp_path: Path) -> None:
    document = """echo '{"content": "an article", "retry_after": 12}'"""
    outcome, _ = await run(scripted(tmp_path, create=[document]), profile="json")
    assert isinstance(outcome, Completed)


async def test_a_pause_without_the_exit_status_is_no_result(tmp_path: Path) -> None:
    outcome, _ = await run(scripted(tmp_path, create=["""echo '{"retry_after": 12}'"""]), profile="json")
    assert isinstance(outcome, Failed)


async def test_a_create_that_is_deferred_is_not_watched(tmp_path: Path) -> None:
    cli = scripted(tmp_path, create=[LATER])
    outcome, report = await run(cli)
    assert outcome == LATER_IN_12_S
    assert cli.commands == ["create"]
    assert report.events == []


async def test_a_run_that_failed_for_now_is_deferred(tmp_path: Path) -> None:
    cli = scripted(tmp_path, create=["exit 0"], status=[says("running"), FAILED_FOR_NOW])
    outcome, _ = await run(cli)
    assert outcome == LATER_IN_12_S


async def test_the_attempt_after_that_creates_it_anew(tmp_path: Path) -> None:
    """`status` goes on to say that the earlier run failed for now: that is over."""
    cli = scripted(tmp_path, create=["exit 0"], status=[FAILED_FOR_NOW, says("completed")], result=[DONE])
    outcome, _ = await run(cli, job=SECOND)
    assert isinstance(outcome, Completed)
    assert cli.commands == ["status", "create", "status", "result"]


@pytest.mark.parametrize("state", ["pending", "running", "completed"])
async def test_a_status_that_is_known_counts_whatever_its_exit(tmp_path: Path, state: str) -> None:
    answers = [f"{says(state)}; {LATER}", says("completed")]
    cli = scripted(tmp_path, create=["exit 0"], status=answers, result=[DONE])
    outcome, _ = await run(cli)
    assert isinstance(outcome, Completed)


@pytest.mark.parametrize("attempt", [1, 2])
async def test_three_status_calls_in_a_row_defer_and_nothing_is_made_twice(tmp_path: Path, attempt: int) -> None:
    cli = scripted(tmp_path, create=["exit 0"], status=[LATER])
    outcome, _ = await run(cli, job=replace(JOB, attempt=attempt))
    assert outcome == LATER_IN_12_S
    assert cli.commands == ["create"] * (attempt == 1) + ["status"] * 3


async def test_a_result_that_is_deferred_is_collected_by_the_next_attempt(tmp_path: Path) -> None:
    cli = scripted(tmp_path, create=["exit 0"], status=[says("completed")], result=[LATER, DONE])
    outcome, _ = await run(cli)
    assert outcome == LATER_IN_12_S
    outcome, _ = await run(cli, job=SECOND)
    assert isinstance(outcome, Completed)
    assert cli.commands == ["create", "status", "result", "status", "result"]
