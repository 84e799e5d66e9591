"""The `llm-content-creator` profile: one synchronous `create`, whose article is in the database that it leaves.

The program's output is not machine-readable, and it exits with 0 however a run ended. So the result is what it stored,
and a success needs both the line that says so, right below the id of the stored run, and the article of that run.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker_svc.creators import base
from worker_svc.creators.base import (
    Cli,
    CompletedCall,
    Creator,
    Job,
    Needs,
    RunReporter,
    arguments,
)
from worker_svc.creators.progress import RunProgress
from worker_svc.outcome import Failed, Outcome, Reason, clean, failed, of_document, of_exit

if TYPE_CHECKING:
    from worker_svc.config import WorkerSettings

# The SQLite database that a run leaves in its working folder. Reading it blocks.

_READ_LIMIT = 20.0  # seconds that reading may take in all
_LARGEST_VALUE = 64 * 1024 * 1024  # bytes of one value, at most, that are read into memory
_STEPS = 100_000  # SQLite's steps between two checks of the clock: some milliseconds
_BUSY_LIMIT = 1.0  # seconds to wait for a process of the run that still writes


class TooLargeError(Exception):
    """More is stored than any allowed result has; the text says how much."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    task_id: str  # the program's own id
    error: str  # why it failed; empty if unknown
    article: str | None  # Markdown; None if not stored
    images: Any  # a list of objects with a `url`, not checked; None if not stored
    score: float | None  # 0 to 10; None if not stored: version 0.2.0 only prints it


def read(path: Path, limit: int) -> StoredRun:
    """Returns the run in the database at `path`.

    Raises TooLargeError if more than `limit` bytes are stored, sqlite3.Error if it is not such a database, ValueError
    or RecursionError if it is not a file of this run, has no run, or has images that are not JSON.
    """
    _check_own(path)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_LIMIT)) as database:
        _bound(database)
        try:
            return _run(database, limit)
        except sqlite3.DataError as error:
            raise TooLargeError(f"the CLI stored more than {_LARGEST_VALUE} bytes as one value: {error}") from None


def _run(database: sqlite3.Connection, limit: int) -> StoredRun:
    _check_size(database, limit)
    run = database.execute("SELECT id, error_message FROM tasks ORDER BY created_at DESC LIMIT 1").fetchone()
    if run is None:
        raise ValueError("it has no run")
    task_id, error = run
    images = _latest(database, task_id, "image")
    return StoredRun(
        task_id=str(task_id),
        error=str(error or ""),
        article=_latest(database, task_id, "article"),
        images=None if images is None else json.loads(images),
        score=_score(database, task_id),
    )


def _check_own(path: Path) -> None:
    """The CLI made the file, and might have made a pipe, or a link to another run's file."""
    if path.parent.is_symlink() or not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("it is not a file in the run's own folder")


def _bound(database: sqlite3.Connection) -> None:
    """Limits time and memory: a table might be an endless view, or have huge values."""
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
    give_up_at = time.monotonic() + _READ_LIMIT
    database.set_progress_handler(lambda: time.monotonic() > give_up_at, _STEPS)


def _check_size(database: sqlite3.Connection, limit: int) -> None:
    (size,) = database.execute("SELECT coalesce(sum(length(CAST(content AS BLOB))), 0) FROM results").fetchone()
    if size > limit:
        raise TooLargeError(f"the CLI stored {size} bytes of results; {limit} can be taken")


def _latest(database: sqlite3.Connection, task_id: str, kind: str) -> str | None:
    statement = "SELECT content FROM results WHERE task_id = ? AND result_type = ? ORDER BY created_at DESC LIMIT 1"
    row = database.execute(statement, (task_id, kind)).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def _score(database: sqlite3.Connection, task_id: str) -> float | None:
    statement = (
        "SELECT score FROM quality_checks WHERE task_id = ? AND check_type = 'text' ORDER BY created_at DESC LIMIT 1"
    )
    row = database.execute(statement, (task_id,)).fetchone()
    return None if row is None or row[0] is None else float(row[0])


# What it prints: Chinese text with colours, between lines of its log. The log has two forms: human-readable lines,
# and one JSON object a line if NODE_ENV is `production`. Topic and article are printed too, and may contain anything,
# so the parser trusts only what neither of them can forge.

STEPS = ("search", "organize", "write", "checkText", "generateImage", "checkImage")
"""The steps of a run in order. A failed check repeats the step before it."""
OVER_QUOTA = "Request failed with status code 429"
"""The error of a run whose model is over its quota. It does not say for how long."""
_STATES = {"已完成": "completed", "失败": "failed", "已取消": "cancelled"}
_STARTED = re.compile(r"\[Node:(\w+)\] Node execution started")
_NODE_FAILED = re.compile(r"\[Node:(\w+)\] Node execution failed")
_SCORE = re.compile(r"^🔍 文本质检:\n─+\n状态: .*\n评分: (\d+(?:\.\d+)?)/100$", re.MULTILINE)
_REFUSED = re.compile(r"path: \[ '(\w+)' \]")
_REASON = re.compile(r"^(?:❌ 错误|error|\w*Error(?: \[\w+\])?): .+", re.MULTILINE)
_MAX_LINE = 8_000


class CreateOutput:
    def __init__(self, stdout: bytes) -> None:
        self._text = clean(stdout.decode("utf-8", "replace"), len(stdout))

    def state_of(self, task_id: str) -> str | None:
        """Returns how the run with that id ended: `completed`, `failed`, `cancelled`, or the program's own word.

        The program makes the id at random after reading its arguments, so no topic can contain it.
        """
        match = re.search(rf"^任务ID: {re.escape(task_id)}\n状态: (.+)$", self._text, re.MULTILINE)
        return _STATES.get(match[1], match[1]) if match else None

    def score(self) -> float | None:
        """Returns the last score of the text, 0 to 10 (printed as `8.6/100`). The article comes before it."""
        scores = _SCORE.findall(self._text)
        return float(scores[-1]) if scores else None

    def failed_step(self) -> str | None:
        steps = _NODE_FAILED.findall(self._text)
        return steps[-1] if steps and steps[-1] in STEPS else None


def progress(line: str) -> RunProgress | None:
    """Returns the step that a line says has begun, and the percentage of the steps before it."""
    match = _STARTED.search(line[:_MAX_LINE])
    if not match or match[1] not in STEPS:
        return None
    return RunProgress(100 * STEPS.index(match[1]) // len(STEPS), match[1], "")


def refused_settings(stderr: str) -> list[str]:
    """Returns the variables that the program names as the reason why it does not start."""
    return list(dict.fromkeys(_REFUSED.findall(stderr)))


def reason(stderr: str) -> str:
    """Returns the line of stderr that names the error, above Node's stack; empty if there is none."""
    reasons = _REASON.findall(stderr)
    return reasons[-1] if reasons else ""


# The profile.

NO_REQUIREMENTS = "无特别要求"  # the requirements of a task without any: the program needs some
_KEYS = ("LLM_API_KEY", "TAVILY_API_KEY", "ARK_API_KEY")
_TEXTS = ("requirements", "tone", "keywords")  # the texts that it takes beside the topic
_FOLDER = "data"
_DATABASE = f"{_FOLDER}/content-creator.db"
_DONE = "completed"


class LlmContentCreator(Creator):
    """The published npm package, version 0.2.0. It has no limit of its own: the task's timeout is the only one."""

    needs = Needs(
        folders=(_FOLDER,),
        inherited=(
            *_KEYS,
            "LLM_BASE_URL",
            "LLM_MODEL_NAME",
            "LLM_MAX_TOKENS",
            "LLM_TEMPERATURE",
            "ARK_API_URL",
        ),
        required=(*_KEYS, "LLM_BASE_URL"),
        shapes={  # the program takes blank keys and any scheme, and then fails in a run that is paid
            **dict.fromkeys(_KEYS, (r"\S(.*\S)?", "must be a key, without spaces around it")),
            **dict.fromkeys(("LLM_BASE_URL", "ARK_API_URL"), (r"https?://[^\s/]\S*", "must be http://… or https://…")),
            "LLM_MODEL_NAME": (r"\S+", "must be the name of a model, without spaces; unset: the CLI's default"),
        },
        fixed={
            "DATABASE_TYPE": "sqlite",  # the default depends on NODE_ENV, and we read the database
            "LOG_LEVEL": "info",  # its progress is in the log
            "DOTENV_CONFIG_QUIET": "true",
        },
    )
    options = ("audience", "min-words", "max-words")

    def fault(self, version: CompletedCall) -> str | None:
        """The program knows `--version`, which fails if its settings are incomplete."""
        if version.exit.code == 0:
            return None
        if names := refused_settings(version.stderr_tail):
            return f"it refuses its settings; set in the worker's environment, as it requires: {', '.join(names)}"
        return f"--version exited with status {version.exit.code}: {reason(version.stderr_tail)}"

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        """Makes one call. Nothing of an earlier attempt is in its folder, so there is no run to adopt."""
        done = await self.call_once(cli, create_arguments(job), report, progress, to_file=True)
        if isinstance(done, Failed):
            return done
        return await asyncio.to_thread(_outcome, done, cli.folder / _DATABASE, self._settings)


def create_arguments(job: Job) -> Sequence[str]:
    """Returns `create` and its options. None is for the task's id: the program makes its own."""
    brief = job.brief
    if not brief.texts.get("requirements", "").strip():
        brief = brief._replace(texts={**brief.texts, "requirements": NO_REQUIREMENTS})
    return arguments("create", {"type": "content-creator", "mode": "sync"} | brief.arguments(_TEXTS))


def _outcome(completed_call: CompletedCall, path: Path, settings: WorkerSettings) -> Outcome:
    stderr = completed_call.stderr_tail
    if fault := of_exit(completed_call.exit, stderr, reason(stderr)):
        return fault
    try:
        run = read(path, settings.result_output)
    except TooLargeError as error:
        return failed(Reason.RESULT_TOO_LARGE, str(error), stderr)
    except (sqlite3.Error, OSError, ValueError, RecursionError) as error:
        return _invalid(f"what the CLI stored cannot be read: {error}", stderr)
    return _result(CreateOutput(completed_call.stdout), run, settings, stderr)


def _result(output: CreateOutput, run: StoredRun, settings: WorkerSettings, stderr: str) -> Outcome:
    state = output.state_of(run.task_id)
    if state is None:
        return _invalid("the CLI exited with status 0 and did not say how its run had ended", stderr)
    if state != _DONE:
        message = f"the CLI says that the run is {state}{_why(output, run)}"
        if run.error == OVER_QUOTA:
            return base.deferred(base.DEFAULT_PAUSE, message)
        return failed(Reason.CREATOR_ERROR, message, stderr)
    if run.article is None:
        return _invalid("the CLI says that the run is completed, and stored no article", stderr)
    score = output.score() if run.score is None else run.score
    document: dict[str, Any] = {"content": run.article, "images": run.images, "qualityScore": score}
    return of_document(document, settings.creator_max_result, stderr)


def _why(output: CreateOutput, run: StoredRun) -> str:
    step = output.failed_step()
    return (f" in {step}" if step else "") + (f": {run.error}" if run.error else "")


def _invalid(message: str, stderr: str) -> Failed:
    return failed(Reason.CREATOR_INVALID_RESPONSE, message, stderr)
