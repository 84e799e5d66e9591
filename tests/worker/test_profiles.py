"""The profiles, against CLIs that answer as a test says."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentgen.service.settings import settings_of
from scheduler_svc.runtime.validation import RESERVED_OPTIONS as RESERVED_BY_SCHEDULER
from tests.harness.creator_cli import (
    DONE,
    JOB,
    SECOND,
    SETTINGS,
    RecordingReporter,
    ScriptedCli,
    id_of,
    prints,
    run,
    says,
    scripted,
)
from worker_svc.config import WorkerSettings
from worker_svc.creators import PROFILES, base, progress
from worker_svc.creators import llm_content_creator as llm
from worker_svc.creators.base import (
    DEFAULT_PAUSE,
    MAX_PAUSE,
    RESERVED_OPTIONS,
    TEXTS,
    Brief,
    CompletedCall,
)
from worker_svc.creators.progress import MAX_LINE, MAX_PROGRESS_MESSAGE, MAX_STEP, RunProgress
from worker_svc.outcome import Article, Deferred, Exit, Failed, Outcome, Reason

pytestmark = pytest.mark.unit


# The profiles, and the parser of progress.

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "reference" / "creators.md"
CREATED = prints()
HANGS = CompletedCall(Exit(None, 15, "request"), b"", "", truncated=False, timed_out=True)
LIMITS = {"create": 30, "status": 10, "result": 30}
MISSING = FileNotFoundError(errno.ENOENT, "no such file")
NO_DOCUMENT = prints(stderr="no such task", status=1)
GARBAGE = prints("garbage")
COMPLETED = says("completed")
GOES_ON = ("pending", "submitted", "running", "processing")
LATER = prints(stderr="no quota left\nretry-after: 12", status=75)
LATER_IN_12_S = Deferred(12.0, "no quota left")
FAILED_FOR_NOW = replace(LATER, stdout=says("failed").stdout)


def failure(outcome: Outcome) -> tuple[Reason, str]:
    assert isinstance(outcome, Failed), outcome
    return outcome.reason, outcome.message


@pytest.mark.parametrize("poll_interval", [30.0, 0.25])
async def test_reference_creates_watches_and_collects(poll_interval: float) -> None:
    running = says("running", progress={"percent": 40, "step": "draft", "message": "two of five"})
    cli = scripted(create=[CREATED], status=[says("pending"), running, COMPLETED], result=[DONE])
    outcome, report = await run(cli, settings=SETTINGS.model_copy(update={"creator_poll_interval": poll_interval}))
    assert outcome == Article("an article", quality_score=7.5)
    assert cli.commands == ["create", "status", "status", "status", "result"]
    assert report.events == ["processing", (40, "draft", "two of five")]
    assert report.pauses == [min(poll_interval, 1.0), poll_interval, poll_interval]


async def test_arguments_are_single_words_and_empty_ones_are_left_out() -> None:
    cli = scripted(create=[CREATED], status=[COMPLETED], result=[DONE])
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


@pytest.mark.parametrize(
    ("status", "commands"),
    [
        *(([says(state), COMPLETED], "status status result") for state in GOES_ON),
        ([COMPLETED], "status result"),
        *(([says(state), COMPLETED], "status create status result") for state in ("failed", "cancelled")),
        ([FAILED_FOR_NOW, COMPLETED], "status create status result"),  # it goes on to say so of the earlier run
        ([NO_DOCUMENT] * 3 + [COMPLETED], "status status status create status result"),
        ([NO_DOCUMENT, prints("\n"), COMPLETED], "status status status result"),
    ],
)
async def test_a_later_attempt_adopts_what_goes_on_or_has_completed_and_creates_anew_what_has_not(
    status: list[CompletedCall], commands: str
) -> None:
    cli = scripted(create=[CREATED], status=status, result=[DONE])
    outcome, report = await run(cli, job=SECOND)
    assert isinstance(outcome, Article)
    assert cli.commands == commands.split()
    assert report.events == ["processing"]
    assert bool(report.pauses) == (len(status) > 1), "what has completed is collected at once"


async def test_two_status_calls_in_a_row_may_fail() -> None:
    bad = [NO_DOCUMENT, GARBAGE]
    outcome, _ = await run(scripted(create=[CREATED], status=[*bad, says("running"), *bad, COMPLETED], result=[DONE]))
    assert isinstance(outcome, Article)


@pytest.mark.parametrize(
    ("command", "answer", "expected"),
    [
        ("create", prints(status=3), Reason.CREATOR_ERROR),
        ("create", prints(signal=9), Reason.CREATOR_ERROR),
        ("create", HANGS, Reason.CREATOR_TIMEOUT),
        ("create", LATER, LATER_IN_12_S),
        ("status", NO_DOCUMENT, Reason.CREATOR_ERROR),
        ("status", GARBAGE, Reason.CREATOR_INVALID_RESPONSE),
        ("status", says("wondering"), Reason.CREATOR_INVALID_RESPONSE),
        ("status", prints('{"status": 5}'), Reason.CREATOR_INVALID_RESPONSE),
        ("status", HANGS, Reason.CREATOR_TIMEOUT),
        ("status", LATER, LATER_IN_12_S),
        ("status", MISSING, Reason.CREATOR_CLI_NOT_FOUND),
        ("result", prints(status=3), Reason.CREATOR_ERROR),
        ("result", GARBAGE, Reason.CREATOR_INVALID_RESPONSE),
        ("result", prints(), Reason.CREATOR_INVALID_RESPONSE),
        ("result", prints(json.dumps({"content": "7" * 2_000})), Reason.RESULT_TOO_LARGE),
        ("result", HANGS, Reason.CREATOR_TIMEOUT),
        ("result", LATER, LATER_IN_12_S),
    ],
    ids=id_of,
)
async def test_a_call_of_each_command_that_fails_ends_the_attempt(
    command: str, answer: CompletedCall | OSError, expected: Reason | Deferred
) -> None:
    """A create that fails is not watched; three calls of `status` in a row may not fail."""
    answers: dict[str, Sequence[CompletedCall | OSError]]
    answers = {"create": [CREATED], "status": [COMPLETED], "result": [DONE], command: [answer]}
    cli = scripted(**answers)
    outcome, report = await run(cli)
    if isinstance(outcome, Failed):
        assert outcome.reason is expected
        assert (f"did not end within {LIMITS[command]} s" in outcome.message) == (answer is HANGS)
    else:
        assert outcome == expected
    calls = {"create": "create", "status": "create status status status", "result": "create status result"}
    assert cli.commands == calls[command].split()
    assert report.events == (["processing"] if command == "result" else [])


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (says("failed", error="no credit left"), "no credit left"),
        (replace(says("failed", error={"message": "no credit left"}), exit=Exit(1, None)), "no credit left"),
        (says("failed"), "failed"),
        (says("cancelled"), "cancelled"),
    ],
    ids=id_of,
)
async def test_a_run_that_fails_says_why(answer: CompletedCall, text: str) -> None:
    outcome, _ = await run(scripted(create=[CREATED], status=[answer]))
    reason, message = failure(outcome)
    assert reason is Reason.CREATOR_ERROR
    assert text in message


def test_settings_name_the_profiles_that_there_are() -> None:
    (reader,) = WorkerSettings.model_fields["creator_profile"].metadata
    *names, last = PROFILES
    with pytest.raises(ValueError, match=f"must be {', '.join(names)} or {last}$"):
        reader.func("another")


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_cli_that_is_not_there(profile: str) -> None:
    outcome, report = await run(scripted(create=[MISSING]), profile=profile)
    assert failure(outcome)[0] is Reason.CREATOR_CLI_NOT_FOUND
    assert report.events == []


async def test_json_runs_one_create_to_its_end() -> None:
    lines = "progress: 20% outline\nloading\n"
    printed = replace(DONE, stdout=lines.encode() + DONE.stdout, stderr_tail='{"progress": 60, "step": "draft"}')
    cli = scripted(create=[printed])
    outcome, report = await run(cli, profile="json")
    assert outcome == Article("an article", quality_score=7.5)
    assert [args[:3] for args in cli.calls] == [["create", "--type=content-creator", "--mode=sync"]]
    assert report.events == ["processing", (20, "outline", ""), (60, "draft", "")]


def documented() -> CompletedCall:
    """What the CLI of the documentation prints."""
    _, shebang, rest = DOCUMENTATION.read_text().partition("#!/bin/sh\n")
    command = ["/bin/sh", "-c", shebang + rest.partition("```")[0], "creator", "create"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return prints(done.stdout, done.stderr)


async def test_the_cli_of_the_documentation_works() -> None:
    outcome, report = await run(scripted(create=[documented()]), profile="json")
    assert outcome == Article("# Hello\n\nAn article.", quality_score=7.0)
    assert report.events == ["processing", (50, "writing", "")]


@pytest.mark.parametrize(
    ("answer", "expected", "details"),
    [
        (replace(DONE, stderr_tail="no", exit=Exit(3, None)), Reason.CREATOR_ERROR, {"exit_code": "3", "stderr": "no"}),
        (replace(DONE, exit=Exit(None, 15)), Reason.CREATOR_ERROR, {"signal": "15"}),
        (prints(), Reason.CREATOR_INVALID_RESPONSE, {}),
        (prints(stderr="why"), Reason.CREATOR_INVALID_RESPONSE, {"stderr": "why"}),
        (prints("x" * (SETTINGS.result_output + 1)), Reason.RESULT_TOO_LARGE, {}),
    ],
    ids=id_of,
)
async def test_json_names_each_failure(answer: CompletedCall, expected: Reason, details: Mapping[str, str]) -> None:
    outcome, report = await run(scripted(create=[answer]), profile="json")
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


# A CLI that asks to come back later: what counts as that, how long the pause is, what each profile makes of it.

TEMPFAIL = Exit(75, None)


def deferral(stdout: bytes, stderr: str, ended: Exit = TEMPFAIL) -> Deferred | None:
    return base.deferred_by(CompletedCall(ended, stdout, stderr, truncated=False, timed_out=False))


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
    deferred = deferral(stdout.encode(), stderr)
    assert deferred is not None
    assert deferred.pause == pause


def test_other_output_of_a_deferral_is_kept() -> None:
    deferred = deferral(b"", f"first\n{'why ' * 100}\nretry-after: 5\n\n")
    assert deferred is not None
    assert deferred.message == ("why " * 50)


@pytest.mark.parametrize("ended", [Exit(0, None), Exit(1, None), Exit(74, None), Exit(None, 9)])
def test_other_exit_statuses_are_no_deferral(ended: Exit) -> None:
    assert deferral(b'{"retry_after": 3}', "retry-after: 3", ended) is None


@given(st.binary(max_size=200), st.text(max_size=200))
def test_whatever_it_prints_the_pause_is_bounded(stdout: bytes, stderr: str) -> None:
    deferred = deferral(stdout, stderr)
    assert deferred is not None
    assert 0 <= deferred.pause <= MAX_PAUSE


async def test_json_defers_whatever_was_printed_before() -> None:
    """The exit status decides: a document beside it is not said to be whole."""
    outcome, report = await run(scripted(create=[replace(LATER, stdout=DONE.stdout)]), profile="json")
    assert outcome == LATER_IN_12_S
    assert report.events == ["processing"]


@pytest.mark.parametrize(
    ("document", "kind"), [({"content": "an article", "retry_after": 12}, Article), ({"retry_after": 12}, Failed)]
)
async def test_a_pause_without_the_exit_status_is_none(document: object, kind: type[Outcome]) -> None:
    outcome, _ = await run(scripted(create=[prints(json.dumps(document))]), profile="json")
    assert isinstance(outcome, kind)


async def test_a_run_that_failed_for_now_is_deferred() -> None:
    outcome, _ = await run(scripted(create=[CREATED], status=[says("running"), FAILED_FOR_NOW]))
    assert outcome == LATER_IN_12_S


@pytest.mark.parametrize("state", ["pending", "running", "completed"])
async def test_a_status_that_is_known_counts_whatever_its_exit(state: str) -> None:
    answers = [replace(LATER, stdout=says(state).stdout), COMPLETED]
    outcome, _ = await run(scripted(create=[CREATED], status=answers, result=[DONE]))
    assert isinstance(outcome, Article)


async def test_a_later_attempt_whose_status_calls_defer_makes_nothing_twice() -> None:
    cli = scripted(create=[CREATED], status=[LATER])
    outcome, _ = await run(cli, job=SECOND)
    assert outcome == LATER_IN_12_S
    assert cli.commands == ["status"] * 3


async def test_a_result_that_is_deferred_is_collected_by_the_next_attempt() -> None:
    cli = scripted(create=[CREATED], status=[COMPLETED], result=[LATER, DONE])
    outcome, _ = await run(cli)
    assert outcome == LATER_IN_12_S
    outcome, _ = await run(cli, job=SECOND)
    assert isinstance(outcome, Article)
    assert cli.commands == ["create", "status", "result", "status", "result"]


# The profile of llm-content-creator where the program is at odds with itself: said and not stored, or neither.

ID = "0cbd9d8e-5b14-4a66-a2b6-2d8b27fd3a1f"
LLM_SETTINGS = settings_of(WorkerSettings, {"creator_poll_interval": 30.0, "creator_max_result": 10_000})
RULE = "────────────────────────────────────────"
IMAGES = json.dumps([{"url": "https://a.invalid/1.png", "prompt": "p"}, {"url": "https://a.invalid/2.png"}])
SCHEMA = """
CREATE TABLE tasks (id TEXT PRIMARY KEY, error_message TEXT, created_at TEXT);
CREATE TABLE results (task_id TEXT, result_type TEXT, content TEXT, created_at TEXT);
CREATE TABLE quality_checks (task_id TEXT, check_type TEXT, score REAL, created_at TEXT);
"""


def end(state: str, task_id: str = ID) -> str:
    """The lines that a run ends with, coloured as on a terminal."""
    coloured = f"\x1b[32m{state}\x1b[39m"
    return f"\n\x1b[32m✅ 执行成功\x1b[39m\n{RULE}\n任务ID: {task_id}\n状态: {coloured}\n耗时: 1秒\n{RULE}\n"


def review(score: str) -> str:
    return f"\n🔍 文本质检:\n{RULE}\n状态: 通过\n评分: {score}/100\n{RULE}\n"


class Program:
    """A program that has stored what the test says, and prints what it says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "data").mkdir()
        self.database = folder / "data" / "content-creator.db"

    def store(self, *, error: str | None = None, score: float | None = None, **results: str) -> None:
        with closing(sqlite3.connect(self.database)) as database, database:
            database.executescript(SCHEMA)
            database.execute("INSERT INTO tasks VALUES (?, ?, '1')", (ID, error))
            rows = [(ID, kind, content, "1") for kind, content in results.items()]
            database.executemany("INSERT INTO results VALUES (?, ?, ?, ?)", rows)
            if score is not None:
                database.execute("INSERT INTO quality_checks VALUES (?, 'text', ?, '1')", (ID, score))

    async def run(self, stdout: str, settings: WorkerSettings = LLM_SETTINGS, *, killed: bool = False) -> Outcome:
        cli = ScriptedCli(self.folder, {"create": [prints(stdout, signal=9 if killed else None)]})
        return await llm.LlmContentCreator(settings).run(JOB, cli, RecordingReporter())


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    yield Program(tmp_path)
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_an_article_that_is_printed_and_stored_is_a_result(program: Program) -> None:
    program.store(article="# An article", image=IMAGES)
    outcome = await program.run(end("已完成") + review("8.6"))
    images = ("https://a.invalid/1.png", "https://a.invalid/2.png")
    assert outcome == Article("# An article", images=images, quality_score=8.6)


@pytest.mark.parametrize(("score", "printed"), [(7.25, review("8.6")), (None, "")])
async def test_a_stored_score_beats_a_printed_one(program: Program, score: float | None, printed: str) -> None:
    program.store(article="# An article", score=score)
    assert await program.run(end("已完成") + printed) == Article("# An article", quality_score=score)


@pytest.mark.parametrize(("state", "word"), [("失败", "failed"), ("已取消", "cancelled"), ("未知", "未知")])
async def test_any_other_state_is_an_error_with_its_reason(program: Program, state: str, word: str) -> None:
    program.store(error="no credit left", article="# half an article")
    stdout = "2026-01-01 [error]: [Node:write] Node execution failed {}\n" + end(state)
    expected = f"the CLI says that the run is {word} in write: no credit left"
    assert failure(await program.run(stdout)) == (Reason.CREATOR_ERROR, expected)


async def test_a_model_over_its_quota_defers_the_task_in_any_step(program: Program) -> None:
    program.store(error=llm.OVER_QUOTA)
    outcome = await program.run("2026-01-01 [error]: [Node:write] Node execution failed {}\n" + end("失败"))
    assert outcome == Deferred(30.0, f"the CLI says that the run is failed in write: {llm.OVER_QUOTA}")


async def test_a_program_that_was_killed_is_an_error_whatever_it_said(program: Program) -> None:
    program.store(article="# An article")
    outcome = await program.run(end("已完成"), killed=True)
    assert isinstance(outcome, Failed), outcome
    assert (outcome.reason, outcome.details["signal"]) == (Reason.CREATOR_ERROR, "9")


@pytest.mark.parametrize(
    "stdout", ["", "状态: 已完成\n", end("已完成", "another-id"), end("已完成").replace("\n状态", "\n \n状态")]
)
async def test_a_success_that_is_not_said_of_this_run_is_none(program: Program, stdout: str) -> None:
    program.store(article="# An article")
    expected = "the CLI exited with status 0 and did not say how its run had ended"
    assert failure(await program.run(stdout)) == (Reason.CREATOR_INVALID_RESPONSE, expected)


async def test_a_success_without_an_article_is_none(program: Program) -> None:
    program.store(image=IMAGES)
    expected = "the CLI says that the run is completed, and stored no article"
    assert failure(await program.run(end("已完成"))) == (Reason.CREATOR_INVALID_RESPONSE, expected)


BAD_IMAGES = ("{", "[1]", '{"url": "a"}', "[" * 100_000)


@pytest.mark.parametrize(
    "results", [{"article": " \n"}, *({"article": "# An article", "image": images} for images in BAD_IMAGES)]
)
async def test_a_blank_article_and_images_that_are_none_are_no_result(
    program: Program, results: dict[str, Any]
) -> None:
    program.store(**results)
    settings = settings_of(WorkerSettings, {"creator_poll_interval": 30.0, "creator_max_result": 200_000})
    assert failure(await program.run(end("已完成"), settings))[0] is Reason.CREATOR_INVALID_RESPONSE


@pytest.mark.parametrize("stored", [None, b"", b"no database" * 1_000, SCHEMA])
async def test_a_database_that_cannot_be_read_or_has_no_run(program: Program, stored: bytes | str | None) -> None:
    if isinstance(stored, str):
        with closing(sqlite3.connect(program.database)) as database:
            database.executescript(stored)
    elif stored is not None:
        program.database.write_bytes(stored)
    reason, message = failure(await program.run(end("已完成")))
    assert reason is Reason.CREATOR_INVALID_RESPONSE
    assert "what the CLI stored cannot be read" in message
    assert ("it has no run" in message) == isinstance(stored, str)


def _as_pipe(database: Path, _elsewhere: Path) -> None:
    os.mkfifo(database)


def _as_link(database: Path, elsewhere: Path) -> None:
    database.symlink_to(elsewhere / "content-creator.db")


def _in_a_linked_folder(database: Path, elsewhere: Path) -> None:
    database.parent.rmdir()
    database.parent.symlink_to(elsewhere)


@pytest.mark.parametrize("put", [_as_pipe, _as_link, _in_a_linked_folder])
async def test_a_database_that_is_not_the_runs_own(
    program: Program, tmp_path_factory: pytest.TempPathFactory, put: Callable[[Path, Path], None]
) -> None:
    elsewhere = tmp_path_factory.mktemp("another")
    other = Program(elsewhere)
    other.store(article="another run's")
    other.database.rename(elsewhere / "content-creator.db")
    put(program.database, elsewhere)
    reason, message = failure(await program.run(end("已完成")))
    assert reason is Reason.CREATOR_INVALID_RESPONSE
    assert "not a file in the run's own folder" in message


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS content FROM n"
HUGE = "SELECT 'id' AS task_id, 'article' AS result_type, zeroblob(900000000) AS content, '1' AS created_at"


@pytest.mark.parametrize(
    ("view", "reason", "words"),
    [(ENDLESS, Reason.CREATOR_INVALID_RESPONSE, "interrupted"), (HUGE, Reason.RESULT_TOO_LARGE, "67108864")],
    ids=["endless", "huge"],
)
async def test_a_table_that_is_a_view_without_bounds(
    program: Program, monkeypatch: pytest.MonkeyPatch, view: str, reason: Reason, words: str
) -> None:
    monkeypatch.setattr(llm, "_READ_LIMIT", 0.2)
    program.store()
    with closing(sqlite3.connect(program.database)) as database:
        database.executescript(f"DROP TABLE results; CREATE VIEW results AS {view}")
    actual_reason, message = failure(await program.run(end("已完成")))
    assert actual_reason is reason
    assert words in message


@pytest.mark.parametrize("size", [LLM_SETTINGS.creator_max_result + 1, LLM_SETTINGS.result_output + 1])
async def test_a_result_above_the_limit_is_too_large(program: Program, size: int) -> None:
    program.store(article="a" * size)
    reason, message = failure(await program.run(end("已完成")))
    assert reason is Reason.RESULT_TOO_LARGE
    assert str(size) in message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('2026-01-01 [\x1b[32minfo\x1b[39m]: [Node:write] Node execution started {"taskId":"x"}', (33, "write", "")),
        ('{"level":"info","message":"[Node:checkImage] Node execution started"}', (83, "checkImage", "")),
        ("[Node:write] Node execution completed", None),
        ("[Node:elsewhere] Node execution started", None),
        ("a" * 10_000 + "[Node:write] Node execution started", None),
    ],
)
def test_the_steps_are_progress(line: str, expected: tuple[int, str, str] | None) -> None:
    assert llm.progress(line) == (None if expected is None else progress.RunProgress(*expected))


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("- 初始化中...\n❌ 错误: SQLITE_FULL\n\n堆栈信息:\nError: SQLITE_FULL\n    at a.js:1:2", "Error: SQLITE_FULL"),
        ("error: unknown option '--colour=red'", "error: unknown option '--colour=red'"),
        ("throw x\n\nTypeError [ERR_X]: no\n    at b.js\n\nNode.js v20.1.0", "TypeError [ERR_X]: no"),
        ("warning: all is well", ""),
        ("", ""),
    ],
)
def test_the_reason_is_the_line_that_names_the_error(stderr: str, expected: str) -> None:
    assert llm.reason(stderr) == expected


@pytest.mark.parametrize(
    ("stderr", "names"),
    [
        (
            "    path: [ 'LLM_API_KEY' ],\n    path: [ 'ARK_API_KEY' ],\n path: [ 'LLM_API_KEY' ]",
            ["LLM_API_KEY", "ARK_API_KEY"],
        ),
        ("Error: Cannot find module", []),
    ],
)
def test_settings_that_it_refuses_are_named_once(stderr: str, names: Sequence[str]) -> None:
    assert llm.refused_settings(stderr) == names
