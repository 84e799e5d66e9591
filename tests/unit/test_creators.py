"""The profiles against small shell programs that answer as they are told to, and the parser of progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.runtime.briefs import RESERVED_OPTIONS as RESERVED_BY_SCHEDULER
from tests.harness.creator_cli import SubprocessCli
from tests.unit.scripted_cli import DONE, JOB, SECOND, SETTINGS, run, says, scripted
from worker_svc.creators import PROFILES, load, progress
from worker_svc.creators.base import RESERVED_OPTIONS
from worker_svc.creators.brief import TEXTS, Brief
from worker_svc.creators.progress import MAX_LINE, MAX_PROGRESS_MESSAGE, MAX_STEP, RunProgress
from worker_svc.outcome import Article, Completed, Failed, Outcome, Reason

IMPATIENT = {
    "create": replace(SETTINGS, create_timeout=0.5),
    "status": replace(SETTINGS, status_timeout=0.5),
    "result": replace(SETTINGS, result_timeout=0.5),
}

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "creators.md"

HANG = "exec sleep 60"
NO_DOCUMENT = "echo no such task >&2; exit 1"


def reason(outcome: Outcome) -> Reason:
    assert isinstance(outcome, Failed), outcome
    return outcome.reason


def test_an_unknown_profile_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'refrence'.*reference, json"):
        load("refrence", SETTINGS)


async def test_reference_creates_watches_and_collects(tmp_path: Path) -> None:
    running = """echo '{"status": "running", "progress": {"percent": 40, "step": "draft", "message": "two of five"}}'"""
    cli = scripted(tmp_path, create=["exit 0"], status=[says("pending"), running, says("completed")], result=[DONE])
    outcome, report = await run(cli)
    assert outcome == Completed(Article("an article", quality_score=7.5))
    assert cli.commands == ["create", "status", "status", "status", "result"]
    assert report.events == ["processing", (40, "draft", "two of five")]
    assert report.pauses == [1.0, 30.0, 30.0]


async def test_reference_polls_as_often_as_it_is_told(tmp_path: Path) -> None:
    cli = scripted(tmp_path, create=["exit 0"], status=[says("running"), says("completed")], result=[DONE])
    _, report = await run(cli, settings=replace(SETTINGS, poll_interval=0.25))
    assert report.pauses == [0.25, 0.25]


async def test_arguments_are_single_words_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    cli = scripted(tmp_path, create=["exit 0"], status=[says("completed")], result=[DONE])
    texts = {name: f"--{name} a,b" for name in TEXTS[1:]} | {"tone": ""}
    await run(cli, job=replace(JOB, brief=Brief("--help", texts, {"style": "x=y; $(id)"})))
    assert cli.calls == [
        [
            "create",
            "--type=content-creator",
            "--mode=async",
            "--task-id=task-0123456789ab",
            "--topic=--help",
            *(f"--{name.replace('_', '-')}={text}" for name, text in texts.items() if name not in {"category", "tone"}),
            "--style=x=y; $(id)",
        ],
        ["status", "--task-id=task-0123456789ab", "--json"],
        ["result", "--task-id=task-0123456789ab", "--json"],
    ]


@pytest.mark.parametrize("state", ["pending", "submitted", "running", "processing"])
async def test_a_later_attempt_adopts_what_goes_on(tmp_path: Path, state: str) -> None:
    cli = scripted(tmp_path, status=[says(state), says("completed")], result=[DONE])
    outcome, report = await run(cli, job=SECOND)
    assert isinstance(outcome, Completed)
    assert cli.commands == ["status", "status", "result"]
    assert report.events == ["processing"]


async def test_a_later_attempt_collects_at_once_what_has_completed(tmp_path: Path) -> None:
    cli = scripted(tmp_path, status=[says("completed")], result=[DONE])
    outcome, report = await run(cli, job=SECOND)
    assert isinstance(outcome, Completed)
    assert cli.commands == ["status", "result"]
    assert report.pauses == []


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_a_later_attempt_creates_anew_what_has_failed(tmp_path: Path, state: str) -> None:
    cli = scripted(tmp_path, create=["exit 0"], status=[says(state), says("completed")], result=[DONE])
    outcome, _ = await run(cli, job=SECOND)
    assert isinstance(outcome, Completed)
    assert cli.commands == ["status", "create", "status", "result"]


async def test_a_later_attempt_creates_anew_when_nothing_is_known(tmp_path: Path) -> None:
    cli = scripted(tmp_path, create=["exit 0"], status=[NO_DOCUMENT] * 3 + [says("completed")], result=[DONE])
    outcome, _ = await run(cli, job=SECOND)
    assert isinstance(outcome, Completed)
    assert cli.commands == ["status", "status", "status", "create", "status", "result"]


async def test_a_later_attempt_asks_three_times_before_it_creates(tmp_path: Path) -> None:
    cli = scripted(tmp_path, status=[NO_DOCUMENT, "echo", says("completed")], result=[DONE])
    outcome, _ = await run(cli, job=SECOND)
    assert isinstance(outcome, Completed)
    assert cli.commands == ["status", "status", "status", "result"]


async def test_two_status_calls_in_a_row_may_fail(tmp_path: Path) -> None:
    bad = [NO_DOCUMENT, "echo garbage"]
    cli = scripted(tmp_path, create=["exit 0"], status=[*bad, says("running"), *bad, says("completed")], result=[DONE])
    outcome, _ = await run(cli)
    assert isinstance(outcome, Completed)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (NO_DOCUMENT, Reason.CREATOR_ERROR),
        ("echo garbage", Reason.CREATOR_INVALID_RESPONSE),
        (says("wondering"), Reason.CREATOR_INVALID_RESPONSE),
        ("""echo '{"status": 5}'""", Reason.CREATOR_INVALID_RESPONSE),
        (HANG, Reason.CREATOR_TIMEOUT),
    ],
)
async def test_three_status_calls_in_a_row_may_not(tmp_path: Path, answer: str, expected: Reason) -> None:
    cli = scripted(tmp_path, create=["exit 0"], status=[answer])
    outcome, report = await run(cli, settings=IMPATIENT["status"] if answer == HANG else SETTINGS)
    assert reason(outcome) is expected
    assert cli.commands == ["create", "status", "status", "status"]
    assert report.events == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("exit 3", Reason.CREATOR_ERROR), ("kill -9 $$", Reason.CREATOR_ERROR), (HANG, Reason.CREATOR_TIMEOUT)],
)
async def test_a_create_that_fails_is_not_watched(tmp_path: Path, answer: str, expected: Reason) -> None:
    cli = scripted(tmp_path, create=[answer])
    outcome, report = await run(cli, settings=IMPATIENT["create"] if answer == HANG else SETTINGS)
    assert reason(outcome) is expected
    assert cli.commands == ["create"]
    assert report.events == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("exit 3", Reason.CREATOR_ERROR),
        ("echo garbage", Reason.CREATOR_INVALID_RESPONSE),
        ("exit 0", Reason.CREATOR_INVALID_RESPONSE),
        ("""printf '{"content": "%02000d"}' 7""", Reason.RESULT_TOO_LARGE),
        (HANG, Reason.CREATOR_TIMEOUT),
    ],
)
async def test_a_result_that_cannot_be_taken(tmp_path: Path, answer: str, expected: Reason) -> None:
    cli = scripted(tmp_path, create=["exit 0"], status=[says("completed")], result=[answer])
    outcome, report = await run(cli, settings=IMPATIENT["result"] if answer == HANG else SETTINGS)
    assert reason(outcome) is expected
    assert report.events == ["processing"]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("""echo '{"status": "failed", "error": "no credit left"}'""", "no credit left"),
        ("""echo '{"status": "failed", "error": {"message": "no credit left"}}'; exit 1""", "no credit left"),
        (says("failed"), "failed"),
        (says("cancelled"), "cancelled"),
    ],
)
async def test_a_run_that_fails_says_why(tmp_path: Path, answer: str, text: str) -> None:
    cli = scripted(tmp_path, create=["exit 0"], status=[answer])
    outcome, _ = await run(cli)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.CREATOR_ERROR
    assert text in outcome.message


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_cli_that_is_not_there(tmp_path: Path, profile: str) -> None:
    outcome, report = await run(SubprocessCli(str(tmp_path / "nowhere")), profile=profile)
    assert reason(outcome) is Reason.CREATOR_CLI_NOT_FOUND
    assert report.events == []


async def test_a_cli_that_goes_away_while_it_is_watched(tmp_path: Path) -> None:
    scripted(tmp_path, create=["rm shell"])
    shell = tmp_path / "shell"
    shell.symlink_to("/bin/sh")
    cli = SubprocessCli(str(shell), str(tmp_path / "program.sh"), env={"FOLDER": str(tmp_path)})
    outcome, _ = await run(cli)
    assert reason(outcome) is Reason.CREATOR_CLI_NOT_FOUND
    assert cli.commands == ["create", "status", "status", "status"]


async def test_json_runs_one_create_to_its_end(tmp_path: Path) -> None:
    lines = """echo 'progress: 20% outline'; echo '{"progress": 60, "step": "draft"}' >&2; echo loading"""
    cli = scripted(tmp_path, create=[f"{lines}; {DONE}"])
    outcome, report = await run(cli, profile="json")
    assert outcome == Completed(Article("an article", quality_score=7.5))
    assert [args[:3] for args in cli.calls] == [["create", "--type=content-creator", "--mode=sync"]]
    assert report.events[0] == "processing"
    assert {(20, "outline", ""), (60, "draft", "")} == set(report.events[1:])


async def test_the_cli_of_the_documentation_works(tmp_path: Path) -> None:
    _, shebang, rest = DOCUMENTATION.read_text().partition("#!/bin/sh\n")
    program = shebang + rest.partition("```")[0]
    (tmp_path / "creator").write_text(program)
    outcome, report = await run(SubprocessCli("/bin/sh", str(tmp_path / "creator")), profile="json")
    assert outcome == Completed(Article("# Hello\n\nAn article.", quality_score=7.0))
    assert report.events == ["processing", (50, "writing", "")]


@pytest.mark.parametrize(
    ("answer", "expected", "details"),
    [
        (f"{DONE}; echo no >&2; exit 3", Reason.CREATOR_ERROR, {"exit_code": "3", "stderr": "no"}),
        (f"{DONE}; kill -15 $$", Reason.CREATOR_ERROR, {"signal": "15"}),
        ("exit 0", Reason.CREATOR_INVALID_RESPONSE, {}),
        ("echo why >&2", Reason.CREATOR_INVALID_RESPONSE, {"stderr": "why"}),
        ("head -c 20971520 /dev/zero", Reason.RESULT_TOO_LARGE, {}),
    ],
)
async def test_json_names_each_failure(
    tmp_path: Path, answer: str, expected: Reason, details: Mapping[str, str]
) -> None:
    outcome, report = await run(scripted(tmp_path, create=[answer]), profile="json")
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.details) == (expected, details)
    assert report.events == ["processing"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("progress: 40% writing the second section", RunProgress(40, "writing the second section", "")),
        ("  Progress 7.9 %", RunProgress(7, "", "")),
        ("PROGRESS=100%", RunProgress(100, "", "")),
        ("progress: 999%", RunProgress(100, "", "")),
        ("\x1b[32mprogress: 5% \x1b[1mbold\x07\x1b[0m\r", RunProgress(5, "bold", "")),
        ('{"progress": 40, "step": "s", "message": "m"}', RunProgress(40, "s", "m")),
        ('{"progress": {"percent": 12.7, "step": "s"}}', RunProgress(12, "s", "")),
        ('{"progress": null, "step": "s"}', RunProgress(None, "s", "")),
        ('{"progress": -3}', RunProgress(0, "", "")),
        ('{"progress": NaN}', None),
        ('{"progress": true}', None),
        ('{"progress": 40, "content": "a result"}', None),
        ('{"percent": 40}', None),
        ('{"progress": 40', None),
        ("in progress: 40%", None),
        ("progress: forty%", None),
        ("40%", None),
        ("", None),
        ("progress: 1%" + " " * MAX_LINE, None),
    ],
)
def test_progress_lines(line: str, expected: RunProgress | None) -> None:
    assert progress.of_line(line) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"status": "running", "progress": 40}, RunProgress(40, "", "")),
        ({"progress": 40, "step": "s", "message": "m"}, RunProgress(40, "s", "m")),
        ({"progress": {"percent": 1e300, "message": "m"}}, RunProgress(100, "", "m")),
        ({"progress": {"percent": 10**400}}, RunProgress(100, "", "")),
        ({"progress": "40%"}, None),
        ({"progress": {}}, None),
        ({}, None),
    ],
)
def test_progress_in_a_status_document(document: Mapping[str, object], expected: RunProgress | None) -> None:
    assert progress.of_document(document) == expected


@given(
    st.text()
    | st.builds("progress: {}%{}".format, st.integers(), st.text())
    | st.builds('{{"progress": {}, "step": "{}"}}'.format, st.floats(), st.text(min_size=150))
)
def test_any_line_has_bounded_progress_or_none(line: str) -> None:
    update = progress.of_line(line)
    if update is not None:
        assert update.percent is None or 0 <= update.percent <= 100
        assert len(update.step) <= MAX_STEP
        assert len(update.message) <= MAX_PROGRESS_MESSAGE
        assert not any(ord(c) < 32 and c not in "\t\n" for c in update.step + update.message)


def test_the_scheduler_lets_nobody_set_what_a_worker_sets() -> None:
    assert RESERVED_OPTIONS == RESERVED_BY_SCHEDULER
