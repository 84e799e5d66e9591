"""The `llm-content-creator` profile: one synchronous `create`, whose article is in the database that it leaves.

Layer: the top of this package.

The program's output is not machine-readable, and it exits with 0 however a run ended. So the result is what it stored,
and a success needs both the line that says so, right below the id of the stored run, and the article of that run.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker_svc.creators import deferral
from worker_svc.creators.base import (
    Cli,
    CompletedCall,
    Creator,
    CreatorSettings,
    Job,
    Needs,
    RunReporter,
    arguments,
    call,
)
from worker_svc.creators.llm_content_creator import database, stdout
from worker_svc.creators.llm_content_creator.database import StoredRun, TooLargeError
from worker_svc.outcome import Failed, Outcome, Reason, failed, of_document, of_exit

NO_REQUIREMENTS = "无特别要求"
"""The requirements of a task without any: the program needs some."""

_TEXTS = ("requirements", "tone", "keywords")
"""The texts that it takes beside the topic."""
_FOLDER = "data"
_DATABASE = f"{_FOLDER}/content-creator.db"
_DONE = "completed"


class LlmContentCreator(Creator):
    """The published npm package, version 0.2.0. It has no limit of its own: the task's timeout is the only one."""

    needs = Needs(
        folders=(_FOLDER,),
        inherited=(
            "LLM_API_KEY",
            "LLM_BASE_URL",
            "LLM_MODEL_NAME",
            "LLM_MAX_TOKENS",
            "LLM_TEMPERATURE",
            "TAVILY_API_KEY",
            "ARK_API_KEY",
            "ARK_API_URL",
        ),
        fixed={
            "DATABASE_TYPE": "sqlite",  # the default depends on NODE_ENV, and we read the database
            "LOG_LEVEL": "info",  # its progress is in the log
            "DOTENV_CONFIG_QUIET": "true",
        },
    )
    options = ("audience", "min-words", "max-words")

    def __init__(self, settings: CreatorSettings) -> None:
        self._settings = settings

    def fault(self, version: CompletedCall) -> str | None:
        """The program knows `--version`, which fails if its settings are incomplete."""
        if version.exit.code == 0:
            return None
        if names := stdout.refused_settings(version.stderr_tail):
            return f"it refuses its settings; set in the worker's environment, as it requires: {', '.join(names)}"
        return f"--version exited with status {version.exit.code}: {stdout.reason(version.stderr_tail)}"

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        """Makes one call. Nothing of an earlier attempt is in its folder, so there is no run to adopt."""

        def on_line(line: str) -> None:
            if value := stdout.progress(line):
                report.progress(*value)

        completed_call = await call(
            cli,
            create_arguments(job),
            limit=None,
            on_start=report.processing,
            on_line=on_line,
            max_output=self._settings.result_output,
            to_file=True,
        )
        if isinstance(completed_call, Failed):
            return completed_call
        return await asyncio.to_thread(_outcome, completed_call, cli.folder / _DATABASE, self._settings)


def create_arguments(job: Job) -> Sequence[str]:
    """Returns `create` and its options. None is for the task's id: the program makes its own."""
    brief = job.brief
    if not brief.texts.get("requirements", "").strip():
        brief = brief._replace(texts={**brief.texts, "requirements": NO_REQUIREMENTS})
    return arguments("create", {"type": "content-creator", "mode": "sync"} | brief.arguments(_TEXTS))


def _outcome(completed_call: CompletedCall, path: Path, settings: CreatorSettings) -> Outcome:
    stderr = completed_call.stderr_tail
    if fault := of_exit(completed_call.exit, stderr, stdout.reason(stderr)):
        return fault
    try:
        run = database.read(path, settings.result_output)
    except TooLargeError as error:
        return failed(Reason.RESULT_TOO_LARGE, str(error), stderr)
    except (sqlite3.Error, OSError, ValueError, RecursionError) as error:
        return _invalid(f"what the CLI stored cannot be read: {error}", stderr)
    return _result(stdout.CreateOutput(completed_call.stdout), run, settings, stderr)


def _result(output: stdout.CreateOutput, run: StoredRun, settings: CreatorSettings, stderr: str) -> Outcome:
    state = output.state_of(run.task_id)
    if state is None:
        return _invalid("the CLI exited with status 0 and did not say how its run had ended", stderr)
    if state != _DONE:
        message = f"the CLI says that the run is {state}{_why(output, run)}"
        if run.error == stdout.OVER_QUOTA:
            return deferral.deferred(deferral.DEFAULT_PAUSE, message)
        return failed(Reason.CREATOR_ERROR, message, stderr)
    if run.article is None:
        return _invalid("the CLI says that the run is completed, and stored no article", stderr)
    score = output.score() if run.score is None else run.score
    document: dict[str, Any] = {"content": run.article, "images": run.images, "qualityScore": score}
    return of_document(document, settings.max_result, stderr)


def _why(output: stdout.CreateOutput, run: StoredRun) -> str:
    step = output.failed_step()
    return (f" in {step}" if step else "") + (f": {run.error}" if run.error else "")


def _invalid(message: str, stderr: str) -> Failed:
    return failed(Reason.CREATOR_INVALID_RESPONSE, message, stderr)
