"""The interface of a profile: what a creator gets, and what it returns.

A creator decides *what* to call and what the answers mean. It never starts, signals or reaps a process: on a time-out,
cancel, deadline or drain the runner cancels the coroutine and ends the processes.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Required, TypedDict, Unpack

from contentgen.submit_fields import BRIEF
from worker_svc.creators.progress import RunProgress
from worker_svc.outcome import (
    Deferred,
    Exit,
    Failed,
    Outcome,
    Reason,
    clean,
    documents,
    failed,
    is_finite,
    of_exit,
    of_output,
    of_spawn_error,
    of_time_out,
)

if TYPE_CHECKING:
    from worker_svc.config import WorkerSettings

# What a task asks to have written, as creators read it: `contentgen/submit_fields.py` lists it; a CLI gets options.

_NONE: Mapping[str, str] = MappingProxyType({})
TEXTS = tuple(field.name for field in BRIEF)  # the topic, and the others
ARGUMENTS = {name: name.replace("_", "-") for name in TEXTS if name != "category"}
"""The option of each text that a CLI gets."""


class Brief(NamedTuple):
    """What is empty, or missing among the texts, was not given."""

    topic: str
    texts: Mapping[str, str] = _NONE  # the others of `TEXTS`, by name
    options: Mapping[str, str] = _NONE  # `creator_options`: more `--key=value` arguments

    def arguments(self, names: Iterable[str] = ARGUMENTS) -> dict[str, str]:
        """Returns the CLI's options: the topic, those of these texts that are given, and the others."""
        texts = {ARGUMENTS[name]: text for name in names if (text := self.texts.get(name))}
        return {"topic": self.topic} | texts | dict(self.options)


# Deferrals: a CLI asks to come back later by exit status 75, and may say when.

DEFAULT_PAUSE = 30.0  # seconds, if the CLI does not say
MAX_PAUSE = 86_400.0  # seconds, at most; the scheduler's limit is the same
_MAX_MESSAGE = 200
_RETRY_AFTER = re.compile(r"^\s*retry-after\s*:\s*(\d{1,20}(?:\.\d{1,20})?)\s*s?\s*$", re.IGNORECASE)


def deferred_by(done: CompletedCall) -> Deferred | None:
    """Returns the deferral that a call asked for by its exit status; None if it is another one.

    The pause is in a line `retry-after: N` on stderr, or else in a document `{"retry_after": N}` on stdout. The last
    one counts.
    """
    if done.exit.code != os.EX_TEMPFAIL:
        return None
    lines = done.stderr_tail.splitlines()
    pauses = [float(match[1]) for line in lines if (match := _RETRY_AFTER.match(line))] or list(_pauses_in(done.stdout))
    texts = [line.strip() for line in lines if line.strip() and not _RETRY_AFTER.match(line)]
    return deferred(pauses[-1] if pauses else DEFAULT_PAUSE, texts[-1] if texts else "")


def deferred(pause: float, message: str) -> Deferred:
    return Deferred(min(max(pause, 0.0), MAX_PAUSE), clean(message, _MAX_MESSAGE))


def _pauses_in(stdout: bytes) -> Iterator[float]:
    for document in documents(stdout.decode("utf-8", "replace")):
        pause = document.get("retry_after") if document else None
        if isinstance(pause, int | float) and not isinstance(pause, bool) and is_finite(pause):
            yield float(pause)


# Which creator options of a task reach the CLI; the runner asks before it starts a run. Whoever submits a task
# chooses its options, and an option may make a program read or write any file. So only harmless ones are passed on:
# those that the profile knows, or the operator names.

ALL_OPTIONS = "*"  # allows every option


def options_refusal(options: Mapping[str, str], allowed: Collection[str]) -> Failed | None:
    """Returns the failure of a task with these options; None if all of them are allowed.

    Its details name the refused ones, separated by commas, as `options`.
    """
    refused_options = [] if ALL_OPTIONS in allowed else sorted(options.keys() - set(allowed))
    if not refused_options:
        return None
    names = ", ".join(refused_options)
    return failed(
        Reason.INVALID_CREATOR_OPTIONS,
        f"this worker does not allow the creator options {names}: leave them out, or have its operator name them in"
        " CREATOR_OPTIONS_ALLOWED",
        options=names,
    )


# Jobs, calls and creators.

MAX_SMALL_OUTPUT = 64 * 1024
"""Bytes of stdout that are kept of a call with a small answer, such as `status`."""
RESERVED_OPTIONS = frozenset(ARGUMENTS.values()) | {"type", "mode", "task-id", "json", "version", "help"}
"""Options that the worker sets itself, or that would make the CLI do something else."""
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_OPTION_KEY = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Job:
    task_id: str
    attempt: int  # counts leases, from 1: above 1 an earlier attempt may have left a run behind
    brief: Brief  # see `job_problem`


@dataclass(frozen=True, slots=True)
class Needs:
    """What a profile's CLI needs to run; the runner provides it, also for `--version`."""

    folders: Sequence[str] = ()  # folders to make in its working folder
    inherited: Sequence[str] = ()
    """Names of variables to pass on from the worker's environment, as if CREATOR_ENV named them."""
    required: Sequence[str] = ()
    """Those without which the CLI does not run."""
    shapes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Of some of these variables: a pattern that matches each good value, and what a value must be."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Variables with fixed values, which override the worker's environment."""


@dataclass(frozen=True, slots=True)
class CompletedCall:
    exit: Exit
    stdout: bytes  # the last `max_output` bytes
    stderr_tail: str  # the end of stderr, a few thousand characters at most
    truncated: bool  # whether the beginning of stdout is missing
    timed_out: bool  # whether it was stopped because `limit` passed
    overflowed: bool = False  # whether it was stopped because the file of its stdout grew too large


class CallOptions(TypedDict, total=False):
    limit: Required[float | None]  # seconds after which the CLI is stopped; None: no limit
    on_start: Callable[[], None] | None  # called when the process has started
    on_line: Callable[[str], None] | None  # called for each line of stdout and stderr; long ones may be cut
    max_output: int  # bytes of stdout that are kept: MAX_SMALL_OUTPUT, if that is not said
    to_file: bool  # stdout is a file, for a CLI that exits before a pipe has taken all its output


class Cli(Protocol):
    """Lets a creator call the CLI, and read its working folder. The runner sets program, environment and folder."""

    @property
    def folder(self) -> Path:
        """The working folder of this run's calls; it is removed with the run."""
        ...

    async def call(self, args: Sequence[str], **options: Unpack[CallOptions]) -> CompletedCall:
        """Runs the CLI to its end. Raises OSError, with its errno, if the process could not be started."""
        ...


class RunReporter(Protocol):
    """Takes a creator's reports. Only `pause` waits."""

    def processing(self) -> None:
        """Notes that the CLI has started. Call it once a run, before any progress."""
        ...

    def progress(self, percent: int | None, step: str, message: str) -> None:
        """Reports progress: 0 to 100, or None if unknown. The texts have to be bounded and clean."""
        ...

    async def pause(self, seconds: float) -> None:
        """Waits `seconds`, or less if a poll arrives."""
        ...


class Creator(ABC):
    """One profile. It keeps no state between runs: any number of them may be in progress."""

    needs: Needs = Needs()
    options: Collection[str] = ()
    """Creator options that its CLI is known to take: allowed unless CREATOR_OPTIONS_ALLOWED is set."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings

    @abstractmethod
    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        """Makes one attempt. Raises no exception of its own; cancelling it abandons the attempt."""

    async def call_once(
        self,
        cli: Cli,
        args: Sequence[str],
        report: RunReporter,
        progress_of: Callable[[str], RunProgress | None],
        *,
        to_file: bool = False,
    ) -> CompletedCall | Failed:
        """Makes the only call of a synchronous profile, and reports its start and progress.

        Nothing but the task's timeout limits it.
        """

        def on_line(line: str) -> None:
            if value := progress_of(line):
                report.progress(*value)

        size, start = self._settings.result_output, report.processing
        return await call(cli, args, limit=None, on_start=start, on_line=on_line, max_output=size, to_file=to_file)

    def fault(self, version: CompletedCall) -> str | None:  # noqa: ARG002 - most profiles ignore it
        """Returns why a CLI whose `--version` ended like this cannot be used, and what to do; None if it can.

        The runner handles time-outs, signals, and what a shell could not run.
        """
        return None


def job_problem(job: Job) -> str | None:
    """Returns what is wrong with a job; None if nothing is.

    The scheduler checks all of it, but whoever answers at its address might not, and the texts become arguments.
    """
    if not _TASK_ID.fullmatch(job.task_id):
        return f"its id {job.task_id!r:.100} should be 1 to 100 letters, digits, - and _"
    options = job.brief.options
    for key in options:
        if not _OPTION_KEY.fullmatch(key):
            return f"the creator option {key!r:.100} should match [a-z][a-z0-9-]*"
        if key in RESERVED_OPTIONS:
            return f"the creator option {key!r} is set by the worker itself"
    texts = (job.brief.topic, *job.brief.texts.values(), *options.values())
    return "a text of it holds a NUL, which no argument can" if any("\0" in text for text in texts) else None


def arguments(command: str, options: Mapping[str, str]) -> list[str]:
    """Returns an argument vector. Always `--key=value`, because a value may begin with dashes; no shell sees it."""
    return [command, *(f"--{key}={value}" for key, value in options.items())]


def create_arguments(job: Job, mode: str) -> list[str]:
    """Returns `create` and its options, without those that the task leaves empty."""
    options = {"type": "content-creator", "mode": mode, "task-id": job.task_id}
    return arguments("create", options | job.brief.arguments())


async def call(cli: Cli, args: Sequence[str], **options: Unpack[CallOptions]) -> CompletedCall | Failed:
    """Does as `Cli.call`, but returns a failure if the CLI did not start or exceeded a limit. Check the exit status."""
    try:
        completed_call = await cli.call(args, **options)
    except OSError as error:
        return of_spawn_error(error)
    if completed_call.timed_out:
        return of_time_out(args[0], options["limit"] or 0.0, completed_call.stderr_tail)
    if completed_call.overflowed:
        return failed(
            Reason.RESULT_TOO_LARGE, f"`{args[0]}` printed without end and was stopped", completed_call.stderr_tail
        )
    return completed_call


def failure(done: CompletedCall | Failed) -> Failed | Deferred | None:
    """Returns why the call failed; None if it exited with 0."""
    if isinstance(done, Failed):
        return done
    return deferred_by(done) or of_exit(done.exit, done.stderr_tail)


def result_of(done: CompletedCall | Failed, settings: WorkerSettings) -> Outcome:
    if isinstance(done, Failed):
        return done
    return failure(done) or of_output(
        done.stdout, truncated=done.truncated, max_result=settings.creator_max_result, stderr=done.stderr_tail
    )
