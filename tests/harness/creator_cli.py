"""CLIs without processes, and a reporter, for tests of creators."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Unpack

from contentgen.service.settings import settings_of
from worker_svc.config import WorkerSettings
from worker_svc.creators import PROFILES
from worker_svc.creators.base import MAX_SMALL_OUTPUT, Brief, CallOptions, CompletedCall, Job
from worker_svc.outcome import Exit, Outcome
from worker_svc.output import LineSplitter, Tail


@dataclass
class AnsweringCli(ABC):
    """A CLI without a process: a subclass says what each call prints and how it ends. Remembers the calls."""

    folder: Path
    calls: list[Sequence[str]] = field(default_factory=list, init=False)

    @property
    def commands(self) -> list[str]:
        return [args[0] for args in self.calls]

    @abstractmethod
    def answer(self, args: Sequence[str]) -> CompletedCall:
        """Returns the call with all of its stdout. Raises OSError if the CLI cannot be started."""

    async def call(self, args: Sequence[str], **options: Unpack[CallOptions]) -> CompletedCall:
        self.calls.append(args)
        answer, stdout = self.answer(args), Tail(options.get("max_output", MAX_SMALL_OUTPUT))
        if on_start := options.get("on_start"):
            on_start()
        stdout.add(answer.stdout)
        if on_line := options.get("on_line"):
            for output in (answer.stdout, answer.stderr_tail.encode()):
                lines = LineSplitter(on_line)
                lines.add(output)
                lines.end()
        return replace(answer, stdout=stdout.bytes(), truncated=stdout.truncated)


@dataclass
class RecordingReporter:
    """Remembers what was reported, in order; a pause is no longer than 20 ms."""

    events: list[object] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def processing(self) -> None:
        self.events.append("processing")

    def progress(self, percent: int | None, step: str, message: str) -> None:
        self.events.append((percent, step, message))

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(min(seconds, 0.02))


# A CLI whose answers are written down, and a profile that runs it.

JOB = Job(task_id="task-0123456789ab", attempt=1, brief=Brief("a topic"))
SECOND = replace(JOB, attempt=2)
SETTINGS = settings_of(WorkerSettings, {"creator_poll_interval": 30.0, "creator_max_result": 1024})


def prints(stdout: str = "", stderr: str = "", *, status: int = 0, signal: int | None = None) -> CompletedCall:
    """Returns a call that prints this, and exits with a status or is ended by a signal."""
    ended = Exit(status, None) if signal is None else Exit(None, signal)
    return CompletedCall(ended, stdout.encode(), stderr, truncated=False, timed_out=False)


def says(status: str, **more: object) -> CompletedCall:
    return prints(json.dumps({"status": status, **more}))


DONE = prints('{"content": "an article", "qualityScore": 7.5}\n')


def id_of(value: object) -> str | None:
    """Returns, for the ids of a parametrised test, what a call prints, and how it ends."""
    if not isinstance(value, CompletedCall):
        return str(value) if isinstance(value, OSError) else None
    if value.timed_out:
        end = "timed out"
    elif value.exit.code is None:
        end = f"signal {value.exit.signal}"
    else:
        end = str(value.exit.code)
    return " ".join(filter(None, (value.stdout[:40].decode(), value.stderr_tail, end)))


@dataclass
class ScriptedCli(AnsweringCli):
    """Answers the n-th call of a command with the n-th answer for it, or with the last one there is."""

    answers: Mapping[str, Sequence[CompletedCall | OSError]]

    def answer(self, args: Sequence[str]) -> CompletedCall:
        answers = self.answers[args[0]]
        answer = answers[min(self.commands.count(args[0]), len(answers)) - 1]
        if isinstance(answer, OSError):
            raise answer
        return answer


def scripted(**answers: Sequence[CompletedCall | OSError]) -> ScriptedCli:
    return ScriptedCli(Path("/nowhere"), answers)


async def run(
    cli: ScriptedCli, *, profile: str = "reference", job: Job = JOB, settings: WorkerSettings = SETTINGS
) -> tuple[Outcome, RecordingReporter]:
    report = RecordingReporter()
    return await PROFILES[profile](settings).run(job, cli, report), report
