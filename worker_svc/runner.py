"""One run of a task, from start to outcome: the CLI in its own folder and environment, under the guard."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO
from urllib.parse import quote

from worker_svc.config import WorkerSettings, variables_for_cli
from worker_svc.creators.base import (
    MAX_SMALL_OUTPUT,
    CompletedCall,
    Creator,
    Job,
    Needs,
    RunReporter,
    job_problem,
    options_refusal,
)
from worker_svc.guard import now
from worker_svc.guard.child import Child, GuardError, GuardLostError, SpawnError
from worker_svc.guard.client import Guard
from worker_svc.outcome import MAX_OUTPUT, MAX_STDERR, Exit, Outcome, Reason, RunOutput, clean, clean_tail, failed
from worker_svc.output import FileFollower, LineSplitter, Sink, Tail, read_to_end

VERSION_TIMEOUT = 60.0  # seconds that `--version` may take

_OUTPUT_TIMEOUT = 0.1
"""Seconds without output after a CLI's exit until its pipes are given up, if a descendant keeps them open."""
_OUT_OF_RESOURCES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC})
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
_SHELL_CANNOT_RUN = frozenset({126, 127})


class CannotRunError(Exception):
    """This machine cannot run a CLI now (no memory, processes or disk space); the task is not the cause."""


class RunExpiredError(Exception):
    """The guard ended the run because its deadline had passed."""


class CliUnusableError(Exception):
    """The CLI cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class CreatorProgram:
    """The creator CLI, and its environment without HOME and TMPDIR."""

    path: str
    environment: Mapping[str, str]

    @classmethod
    def locate(cls, path: str, names: Sequence[str], environ: Mapping[str, str], needs: Needs) -> CreatorProgram:
        """Returns the CLI at `path`, or of that name on the PATH.

        Its environment has a few standard variables, those in `names`, and what its profile needs. Raises
        SettingsError.
        """
        variables = {name: environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in environ}
        variables |= variables_for_cli((*needs.inherited, *names), environ, needs.shapes)
        environment = {"LANG": "C.UTF-8", **variables, **needs.fixed}
        absolute_path = str(Path(path).absolute()) if "/" in path else shutil.which(path, path=environ.get("PATH"))
        return cls(absolute_path or path, environment)


class CliRun:
    """An open run; implements `Cli`. Every process that it starts ends with the run."""

    def __init__(self, name: str, runner: Runner, variables: Mapping[str, str]) -> None:
        """`variables` are of this run alone."""
        self.folder = runner.scratch / quote(name, safe="")
        self.started = False  # whether any CLI was started
        self._name = name
        self._runner = runner
        self._variables = variables
        self._children: list[Child] = []
        self._files: list[BinaryIO] = []
        self._readers: list[asyncio.Task[None]] = []
        self._stdout, self._stderr = Tail(MAX_OUTPUT), Tail(MAX_OUTPUT)

    @property
    def output(self) -> RunOutput:
        """The end of what its calls have printed so far."""
        return RunOutput(_text(self._stdout), _text(self._stderr), self._stdout.truncated, self._stderr.truncated)

    @property
    def streams(self) -> tuple[Tail, Tail]:
        """Its stdout and stderr, as far as they are kept."""
        return self._stdout, self._stderr

    async def call(
        self,
        args: Sequence[str],
        *,
        limit: float | None,
        on_start: Callable[[], None] | None = None,
        on_line: Callable[[str], None] | None = None,
        max_output: int = MAX_SMALL_OUTPUT,
        to_file: bool = False,
    ) -> CompletedCall:
        """Calls the CLI. Raises CannotRunError, RunExpiredError and GuardLostError too, which no creator handles."""
        path = self.folder / f"stdout.{len(self._children)}" if to_file else None
        child, file = await self._spawn(args, path)
        began = now()
        if on_start is not None:
            on_start()
        stdout, stderr = Tail(max_output), Tail(4 * MAX_STDERR)
        to_stdout = [stdout, self._stdout, *_lines(on_line)]
        follower = FileFollower(file, to_stdout) if file else None
        reading = _follow(child, follower) if follower else read_to_end(child.stdout, to_stdout)
        readers = [
            asyncio.create_task(reading),
            asyncio.create_task(read_to_end(child.stderr, [stderr, self._stderr, *_lines(on_line)])),
        ]
        self._readers += readers
        child_exit, timed_out = await _end_of(child, limit)
        self._runner.on_exit(child_exit, now() - began)
        if child_exit.ended_by == "deadline":
            raise RunExpiredError
        if follower:
            follower.ended()
            await asyncio.wait(readers[:1])  # a file has an end, even if a descendant holds it open
        await _rest_of_output(readers, (stdout, stderr))
        text = clean_tail(stderr.bytes().decode("utf-8", "replace"), MAX_STDERR)
        overflowed = follower is not None and follower.overflowed
        return CompletedCall(child_exit, stdout.bytes(), text, stdout.truncated, timed_out, overflowed)

    async def release(self) -> None:
        """Closes the pipes. Call it once no process of the run lives."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for child in self._children:
            child.close()
        for file in self._files:
            file.close()

    async def _spawn(self, args: Sequence[str], stdout: Path | None) -> tuple[Child, BinaryIO | None]:
        """Starts the CLI. Returns it, and the file that takes its stdout, open for reading."""
        folders = {"HOME": str(self.folder), "TMPDIR": str(self.folder)}
        program, guard = self._runner.program, self._runner.guard
        environment = {**folders, **program.environment, **self._variables}
        argv = [program.path, *args]
        try:
            with _created(stdout) as (descriptor, file):
                child = await guard.spawn(self._name, argv, cwd=self.folder, env=environment, stdout=descriptor)
        except (SpawnError, OSError) as error:
            if error.errno in _OUT_OF_RESOURCES and not self.started:
                raise CannotRunError(str(error)) from error
            raise OSError(error.errno, str(error)) from error
        except GuardLostError:
            raise
        except GuardError:  # the guard is ending this run
            raise RunExpiredError from None
        self.started = True
        self._children.append(child)
        if file:
            self._files.append(file)
        return child, file


class Runner:
    """Runs the CLI for any number of leases at once."""

    def __init__(
        self,
        guard: Guard,
        program: CreatorProgram,
        creator: Creator,
        scratch: Path,
        settings: WorkerSettings,
        *,
        on_exit: Callable[[Exit, float], None] = lambda *_: None,
    ) -> None:
        """`on_exit` is called when a CLI has ended, unless its run was stopped, with the seconds that it ran."""
        self.guard = guard
        self.program = program
        self.scratch = scratch
        self.on_exit = on_exit
        self._creator = creator
        self._user = settings.cli_user()
        """Whom the guard runs CLIs as, and who gets the folders of runs; None: the worker's own."""
        allowed = settings.creator_options_allowed
        self._allowed_options = creator.options if allowed is None else allowed

    @asynccontextmanager
    async def open(
        self, name: str, deadline: float, variables: Mapping[str, str] = _NO_VARIABLES
    ) -> AsyncIterator[CliRun]:
        """Opens a run that is guarded until `deadline` (CLOCK_BOOTTIME). On leaving the context no process of it lives.

        `variables` are added to its CLI's environment. Raises OSError if its folder cannot be made.
        """
        run = CliRun(name, self, variables)
        self._make(run.folder)
        try:
            for needed in self._creator.needs.folders:
                self._make(run.folder / needed)
            self.guard.open_run(name, deadline)
            try:
                yield run
            finally:
                await self.guard.close_run(name)
                await run.release()
        finally:
            await _remove(run.folder)

    def _make(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(folder, self._user.uid, self._user.gid, follow_symlinks=False)

    async def execute(self, run: CliRun, job: Job, report: RunReporter) -> Outcome:
        """Makes one attempt at `job`. Raises CannotRunError, RunExpiredError, GuardLostError."""
        if fault := job_problem(job):
            return failed(Reason.CREATOR_ERROR, f"the task is not given to the CLI: {fault}")
        if outcome := options_refusal(job.brief.options, self._allowed_options):
            return outcome
        return await self._creator.run(job, run, report)

    async def version(self) -> str:
        """Returns the CLI's version in one line; empty if it does not know `--version`. Raises CliUnusableError."""
        async with self.open("version", now() + 2 * VERSION_TIMEOUT) as run:
            try:
                completed_call = await run.call(["--version"], limit=VERSION_TIMEOUT)
            except OSError as error:
                raise CliUnusableError(self._unusable(error.strerror or str(error))) from None
        if fault := _fault(completed_call):
            raise CliUnusableError(self._unusable(fault))
        if fault := self._creator.fault(completed_call):
            raise CliUnusableError(f"the CLI {self.program.path} cannot be used: {fault}")
        lines = clean(completed_call.stdout.decode("utf-8", "replace"), MAX_SMALL_OUTPUT).splitlines()
        return lines[-1].strip()[:200] if completed_call.exit.code == 0 and lines else ""

    def _unusable(self, fault: str) -> str:
        path = self.program.path
        remedy = "set CREATOR_CLI_PATH (--creator-cli-path) to the creator CLI"
        if self._user is not None:
            remedy += f", and let {self._user.name} (CREATOR_USER) pass each folder above it and above {self.scratch}"
        return f"the CLI {path} cannot be run: {fault}; {remedy}"


def _fault(version: CompletedCall) -> str | None:
    """Returns why the CLI cannot be used, or None. Most exit statuses pass, because not every CLI knows `--version`."""
    reason = f" ({version.stderr_tail.splitlines()[-1]})" if version.stderr_tail else ""
    if version.timed_out:
        return f"--version did not end within {VERSION_TIMEOUT:g} s{reason}"
    if version.exit.signal is not None:
        return f"--version was ended by signal {version.exit.signal}{reason}"
    if version.exit.code in _SHELL_CANNOT_RUN:
        return f"--version exited with status {version.exit.code}{reason}"
    return None


@contextmanager
def _created(path: Path | None) -> Iterator[tuple[int | None, BinaryIO | None]]:
    """Creates a file. Yields a descriptor to append to, which is closed at the end, and a reader, which stays open.

    Both are opened before the CLI starts, because the CLI might replace the file: one that an earlier call of the run
    has left behind might do so even between the two. Without a path yields None twice. Raises OSError.
    """
    if path is None:
        yield None, None
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with ExitStack() as stack:
            file = stack.enter_context(path.open("rb"))
            if not os.path.sameopenfile(descriptor, file.fileno()):
                raise OSError(errno.ESTALE, "the CLI replaced the file that takes its output")
            yield descriptor, file
            stack.pop_all()
    finally:
        os.close(descriptor)


def _lines(on_line: Callable[[str], None] | None) -> list[Sink]:
    return [LineSplitter(on_line)] if on_line else []


def _text(tail: Tail) -> str:
    return clean_tail(tail.bytes().decode("utf-8", "replace"), MAX_OUTPUT)


async def _follow(child: Child, follower: FileFollower) -> None:
    """Reads what the CLI prints into its file, and stops the CLI if the file grows too large."""
    await follower.run()
    if follower.overflowed:
        await child.stop()


async def _end_of(child: Child, limit: float | None) -> tuple[Exit, bool]:
    """Returns how the CLI ended, and whether it was stopped because `limit` had passed."""
    try:
        async with asyncio.timeout(limit):
            return await child.wait(), False
    except TimeoutError:
        return await child.stop(), True


async def _rest_of_output(readers: Sequence[asyncio.Task[None]], tails: Sequence[Tail]) -> None:
    """Returns at the end of the output, or when only a silent descendant holds it open."""
    size = -1
    while size != (size := sum(tail.seen for tail in tails)):
        _, open_ones = await asyncio.wait(readers, timeout=_OUTPUT_TIMEOUT)
        if not open_ones:
            return


async def _remove(scratch: Path) -> None:
    with suppress(OSError):  # most are empty, and need no thread
        scratch.rmdir()  # noqa: ASYNC240
        return
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
