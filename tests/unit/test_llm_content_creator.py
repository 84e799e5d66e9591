"""The profile of llm-content-creator where the program is at odds with itself: said and not stored, or neither."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.creator_cli import RecordingReporter, SubprocessCli
from worker_svc.creators import load, progress
from worker_svc.creators.base import CreatorSettings, Job
from worker_svc.creators.brief import Brief
from worker_svc.creators.llm_content_creator import database as stored
from worker_svc.creators.llm_content_creator import stdout as said
from worker_svc.outcome import Article, Completed, Deferred, Failed, Outcome, Reason

ID = "0cbd9d8e-5b14-4a66-a2b6-2d8b27fd3a1f"
JOB = Job(task_id="task-0123456789ab", attempt=1, brief=Brief("a topic"))
SETTINGS = CreatorSettings(poll_interval=30.0, max_result=10_000)
RULE = "────────────────────────────────────────"
IMAGES = json.dumps([{"url": "https://a.invalid/1.png", "prompt": "p"}, {"url": "https://a.invalid/2.png"}])

SCHEMA = """
CREATE TABLE tasks (id TEXT PRIMARY KEY, error_message TEXT, created_at TEXT);
CREATE TABLE results (task_id TEXT, result_type TEXT, content TEXT, created_at TEXT);
CREATE TABLE quality_checks (task_id TEXT, check_type TEXT, score REAL, created_at TEXT);
"""


def end(state: str, task_id: str = ID) -> str:
    """The lines that a run ends with, coloured as on a terminal."""
    shown = f"\x1b[32m{state}\x1b[39m"
    return f"\n\x1b[32m✅ 执行成功\x1b[39m\n{RULE}\n任务ID: {task_id}\n状态: {shown}\n耗时: 1秒\n{RULE}\n"


def review(score: str) -> str:
    return f"\n🔍 文本质检:\n{RULE}\n状态: 通过\n评分: {score}/100\n{RULE}\n"


class Program:
    """A program that has stored what the test says, prints what it says, and exits with 0."""

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

    async def run(self, stdout: str, settings: CreatorSettings = SETTINGS, *, killed: bool = False) -> Outcome:
        (self.folder / "stdout").write_text(stdout)
        cli = SubprocessCli("sh", "-c", "cat stdout" + ("; kill -9 $$" if killed else ""), folder=self.folder)
        return await load("llm-content-creator", settings).run(JOB, cli, RecordingReporter())


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    yield Program(tmp_path)
    await asyncio.get_running_loop().shutdown_default_executor()


def failure(outcome: Outcome) -> tuple[Reason, str]:
    assert isinstance(outcome, Failed), outcome
    return outcome.reason, outcome.message


async def test_an_article_that_is_printed_and_stored_is_a_result(program: Program) -> None:
    program.store(article="# An article", image=IMAGES)
    outcome = await program.run(end("已完成") + review("8.6"))
    images = ("https://a.invalid/1.png", "https://a.invalid/2.png")
    assert outcome == Completed(Article("# An article", images=images, quality_score=8.6))


async def test_a_stored_score_beats_a_printed_one(program: Program) -> None:
    program.store(article="# An article", score=7.25)
    assert await program.run(end("已完成") + review("8.6")) == Completed(Article("# An article", quality_score=7.25))


async def test_no_score_at_all_is_none(program: Program) -> None:
    program.store(article="# An article")
    assert await program.run(end("已完成")) == Completed(Article("# An article"))


@pytest.mark.parametrize(("state", "word"), [("失败", "failed"), ("已取消", "cancelled"), ("未知", "未知")])
async def test_any_other_state_is_an_error_with_its_reason(program: Program, state: str, word: str) -> None:
    program.store(error="no credit left", article="# half an article")
    stdout = "2026-01-01 [error]: [Node:write] Node execution failed {}\n" + end(state)
    expected = f"the CLI says that the run is {word} in write: no credit left"
    assert failure(await program.run(stdout)) == (Reason.CREATOR_ERROR, expected)


async def test_a_model_over_its_quota_defers_the_task_in_any_step(program: Program) -> None:
    program.store(error=said.OVER_QUOTA)
    outcome = await program.run("2026-01-01 [error]: [Node:write] Node execution failed {}\n" + end("失败"))
    assert outcome == Deferred(30.0, f"the CLI says that the run is failed in write: {said.OVER_QUOTA}")


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


async def test_a_blank_article_is_no_result(program: Program) -> None:
    program.store(article=" \n")
    assert failure(await program.run(end("已完成")))[0] is Reason.CREATOR_INVALID_RESPONSE


@pytest.mark.parametrize("images", ["{", "[1]", '{"url": "a"}', "[" * 100_000])
async def test_images_that_are_none(program: Program, images: str) -> None:
    program.store(article="# An article", image=images)
    settings = CreatorSettings(poll_interval=30.0, max_result=200_000)
    assert failure(await program.run(end("已完成"), settings))[0] is Reason.CREATOR_INVALID_RESPONSE


@pytest.mark.parametrize("stored", [None, b"", b"no database" * 1_000])
async def test_a_database_that_cannot_be_read(program: Program, stored: bytes | None) -> None:
    if stored is not None:
        program.database.write_bytes(stored)
    reason, message = failure(await program.run(end("已完成")))
    assert reason is Reason.CREATOR_INVALID_RESPONSE
    assert "what the CLI stored cannot be read" in message


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
    ("view", "reason", "said_of_it"),
    [(ENDLESS, Reason.CREATOR_INVALID_RESPONSE, "interrupted"), (HUGE, Reason.RESULT_TOO_LARGE, "67108864")],
    ids=["endless", "huge"],
)
async def test_a_table_that_is_a_view_without_bounds(
    program: Program, monkeypatch: pytest.MonkeyPatch, view: str, reason: Reason, said_of_it: str
) -> None:
    monkeypatch.setattr(stored, "_READ_LIMIT", 0.2)
    program.store()
    with closing(sqlite3.connect(program.database)) as database:
        database.executescript(f"DROP TABLE results; CREATE VIEW results AS {view}")
    actual_reason, message = failure(await program.run(end("已完成")))
    assert actual_reason is reason
    assert said_of_it in message


async def test_a_database_without_a_run(program: Program) -> None:
    with closing(sqlite3.connect(program.database)) as database:
        database.executescript(SCHEMA)
    assert "it has no run" in failure(await program.run(end("已完成")))[1]


@pytest.mark.parametrize("size", [SETTINGS.max_result + 1, SETTINGS.result_output + 1])
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
    assert said.progress(line) == (None if expected is None else progress.RunProgress(*expected))


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
    assert said.reason(stderr) == expected


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
    assert said.refused_settings(stderr) == names
