"""What every creator is given, and what it gives back.

Layer: the bottom of `creators`. The runner implements `Cli` and `Reporter`; a profile implements `Creator`.

A creator decides *what* to call and what the answers mean. It never starts, signals or reaps a process: time-outs of
the task, cancels, deadlines and drains are the runner's, which cancels the coroutine and ends the processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from worker_svc.creators import deferral
from worker_svc.creators.brief import ARGUMENTS, Brief
from worker_svc.outcome import (
    Deferred,
    Exit,
    Failed,
    Outcome,
    Reason,
    failed,
    of_exit,
    of_output,
    of_spawn_error,
    of_time_out,
)

SMALL_OUTPUT = 64 * 1024
"""Bytes of stdout kept of a call whose answer is small, such as `status`."""


SET_BY_US = frozenset(ARGUMENTS.values()) | {"type", "mode", "task-id", "json", "version", "help"}
"""Options that a worker sets itself, or that would make the CLI do something else."""

_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_OPTION_KEY = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Job:
    """What a creator needs to know of a task."""

    task_id: str
    attempt: int
    """Counts leases, from 1: above 1 an earlier attempt may have left a run behind."""
    brief: Brief
    """See `fault_of`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The worker's settings that creators heed."""

    poll_interval: float
    """Seconds between two `status` calls (CREATOR_POLL_INTERVAL)."""
    max_result: int
    """Bytes of body and HTML together (CREATOR_MAX_RESULT)."""
    create_limit: float = 30.0
    """Seconds that an asynchronous `create` may take."""
    status_limit: float = 10.0
    """Seconds that one `status` may take."""
    result_limit: float = 30.0
    """Seconds that `result` may take."""

    @property
    def result_output(self) -> int:
        """Bytes of stdout that hold any allowed result: JSON needs up to three bytes for one (escaped emoji)."""
        return 3 * self.max_result + 1024 * 1024


@dataclass(frozen=True, slots=True)
class Needs:
    """What a profile's CLI has to find where it runs. The runner sees to it, for `--version` too."""

    folders: Sequence[str] = ()
    """Folders that are made in its working folder before it starts."""
    passed: Sequence[str] = ()
    """Names of variables that it gets from the worker's environment, as if CREATOR_ENV named them."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Variables with values of the profile's own, which beat those of the worker's environment."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A call of the CLI that came to its end."""

    exit: Exit
    stdout: bytes
    """The last `max_output` bytes."""
    stderr_tail: str
    """The last lines of stderr, a few thousand characters at most."""
    truncated: bool
    """Whether stdout was longer than what was kept of it."""
    timed_out: bool
    """Whether it was stopped because `limit` passed."""
    overflowed: bool = False
    """Whether it was stopped because the file that took its stdout had grown too large."""


class Cli(Protocol):
    """What a creator may do: call the CLI, with arguments only, and read what it left in its working folder.

    Program, environment and folder are the runner's.
    """

    @property
    def folder(self) -> Path:
        """The working folder of every call of this run, and of no other; it goes with the run."""
        ...

    async def call(
        self,
        args: Sequence[str],
        *,
        limit: float | None,
        on_start: Callable[[], None] | None = None,
        on_line: Callable[[str], None] | None = None,
        max_output: int = SMALL_OUTPUT,
        to_file: bool = False,
    ) -> Completed:
        """Runs the CLI to its end, or stops it after `limit` seconds (None: it may run on).

        `on_start` is called once when the process has started; `on_line` for each line of stdout and stderr as it comes
        (long ones may be cut). With `to_file` stdout is a file, for a CLI that ends without waiting until a pipe has
        taken all that it printed. Raises OSError, with its errno, when the process could not be started.
        """
        ...


class Reporter(Protocol):
    """Where a creator says how far it is. Reports return at once."""

    def processing(self) -> None:
        """The CLI has started on the task; said once a run, before any progress."""
        ...

    def progress(self, percent: int | None, step: str, message: str) -> None:
        """How far the CLI is: 0 to 100, or None where it does not say; texts are bounded and clean."""
        ...

    async def pause(self, seconds: float) -> None:
        """Waits `seconds`, or less when someone wants to know now."""
        ...


class Creator(Protocol):
    """One profile. Stateless between runs: any number of `run` may be going on at once."""

    needs: Needs = Needs()
    options: Collection[str] = ()
    """Creator options that its CLI is known to take; they are allowed where CREATOR_OPTIONS_ALLOWED is unset."""

    async def run(self, job: Job, cli: Cli, report: Reporter) -> Outcome:
        """One attempt, from start to outcome. Raises nothing of its own; cancelling it abandons the attempt."""
        ...

    def fault(self, version: Completed) -> str | None:  # noqa: ARG002 - what most profiles do with it
        """Why a CLI whose `--version` ended like this can't be used, and what to do; None where it can.

        Only what the profile knows: not ending, signals and what a shell could not run are the runner's to judge.
        """
        return None


def fault_of(job: Job) -> str | None:
    """What is wrong with a job that no scheduler of ours would send; None where nothing is.

    Whoever answers at the scheduler's address writes it, and its texts become arguments of a program.
    """
    if not _TASK_ID.fullmatch(job.task_id):
        return f"its id {job.task_id!r:.100} should be 1 to 100 letters, digits, - and _"
    options = job.brief.options
    for key in options:
        if not _OPTION_KEY.fullmatch(key):
            return f"the creator option {key!r:.100} should match [a-z][a-z0-9-]*"
        if key in SET_BY_US:
            return f"the creator option {key!r} is the worker's own to set"
    texts = (*job.brief.texts, *options.values())
    return "a text of it holds a NUL, which no argument can" if any("\0" in text for text in texts) else None


def arguments(command: str, options: Mapping[str, str]) -> list[str]:
    """An argument vector. Always `--key=value`: a value may begin with dashes, and no shell ever sees it."""
    return [command, *(f"--{key}={value}" for key, value in options.items())]


def create_arguments(job: Job, mode: str) -> list[str]:
    """`create` and its options; those that the task leaves empty are left out."""
    own = {"type": "content-creator", "mode": mode, "task-id": job.task_id}
    return arguments("create", own | job.brief.arguments())


async def call(
    cli: Cli,
    args: Sequence[str],
    *,
    limit: float | None,
    on_start: Callable[[], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    max_output: int = SMALL_OUTPUT,
    to_file: bool = False,
) -> Completed | Failed:
    """`Cli.call`, with what went wrong as a value: not started, past a limit. The exit status is the caller's."""
    try:
        done = await cli.call(
            args, limit=limit, on_start=on_start, on_line=on_line, max_output=max_output, to_file=to_file
        )
    except OSError as error:
        return of_spawn_error(error)
    if done.timed_out:
        return of_time_out(args[0], limit or 0.0, done.stderr_tail)
    if done.overflowed:
        return failed(Reason.RESULT_TOO_LARGE, f"`{args[0]}` printed without end and was stopped", done.stderr_tail)
    return done


def failure(done: Completed | Failed) -> Failed | Deferred | None:
    """Why the call gave nothing; None where it exited with 0."""
    if isinstance(done, Failed):
        return done
    return deferred_by(done) or of_exit(done.exit, done.stderr_tail)


def deferred_by(done: Completed) -> Deferred | None:
    """What a call asked for that ended with the exit status of a deferral."""
    return deferral.of_exit(done.exit, done.stdout, done.stderr_tail)


def result_of(done: Completed | Failed, settings: Settings) -> Outcome:
    """What a call came to whose output is the result document."""
    if isinstance(done, Failed):
        return done
    return failure(done) or of_output(
        done.stdout, truncated=done.truncated, max_result=settings.max_result, stderr=done.stderr_tail
    )
