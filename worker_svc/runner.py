"""One run of a task from start to outcome: the CLI in its own folder and environment, under the guard.

Layer: above guard, creators and output, below slots. It implements `creators.base.Cli`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from worker_svc.creators.base import SMALL_OUTPUT, Completed, Creator, Job, Needs, Reporter, fault_of
from worker_svc.creators.options import refusal
from worker_svc.guard import Child, Exit, Guard, GuardError, GuardLostError, SpawnError, now
from worker_svc.outcome import MAX_STDERR, Outcome, Reason, clean, clean_tail, failed
from worker_svc.output import Following, Lines, Tail, drain

VERSION_LIMIT = 15.0
"""Seconds that `--version` may take at start."""

_LINGER = 0.1
"""Seconds without output after a CLI's exit, where a descendant keeps its pipes open."""
_OUR_FAULT = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC})
_SHELL_CANNOT_RUN = frozenset({126, 127})


class CannotRunError(Exception):
    """This machine can't run anything now (no memory, no processes, no disk): not the task's fault."""


class RunExpiredError(Exception):
    """The guard ended the run because its deadline had passed."""


class CliUnusableError(Exception):
    """The CLI cannot be run at all; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """The creator CLI, and the variables that it gets beside HOME and TMPDIR."""

    path: str
    environment: Mapping[str, str]

    @classmethod
    def found(cls, path: str, names: Sequence[str], environ: Mapping[str, str], needs: Needs) -> Program:
        """The CLI at `path`, or of that name on the PATH.

        Its environment is a clean one, plus the variables in `names`, plus what its profile needs.
        """
        passed = ("PATH", "LANG", "LC_ALL", *needs.passed, *names)
        given = {name: environ[name] for name in passed if name in environ}
        environment = {"LANG": "C.UTF-8", **given, **needs.fixed}
        whole = str(Path(path).absolute()) if "/" in path else shutil.which(path, path=environ.get("PATH"))
        return cls(whole or path, environment)


class Run:
    """An open run: what a creator may call. Everything that it starts ends with the run."""

    def __init__(self, name: str, guard: Guard, program: Program, folder: Path) -> None:
        self.folder = folder
        self.started = False
        """Whether a CLI was ever started for it."""
        self._name = name
        self._guard = guard
        self._program = program
        self._children: list[Child] = []
        self._files: list[BinaryIO] = []
        self._readers: list[asyncio.Task[None]] = []

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
        """`Cli.call`. Beside OSError it raises CannotRunError, RunExpiredError and GuardLostError, past any creator."""
        path = self.folder / f"stdout.{len(self._children)}" if to_file else None
        child, file = await self._spawn(args, path)
        if on_start is not None:
            on_start()
        stdout, stderr = Tail(max_output), Tail(4 * MAX_STDERR)
        following = Following(file, stdout, _lines(on_line)) if file else None
        reading = _follow(child, following) if following else drain(child.stdout, stdout, _lines(on_line))
        readers = [asyncio.create_task(reading), asyncio.create_task(drain(child.stderr, stderr, _lines(on_line)))]
        self._readers += readers
        ended, timed_out = await _end_of(child, limit)
        if ended.ended_by == "deadline":
            raise RunExpiredError
        if following:
            following.ended()
            await asyncio.wait(readers[:1])  # a file has an end, whoever else holds it open
        await _rest_of_output(readers, (stdout, stderr))
        text = clean_tail(stderr.bytes().decode("utf-8", "replace"), MAX_STDERR)
        overflowed = following is not None and following.overflowed
        return Completed(ended, stdout.bytes(), text, stdout.truncated, timed_out, overflowed)

    async def release(self) -> None:
        """Nothing of the run lives any more: lets go of its pipes."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for child in self._children:
            child.close()
        for file in self._files:
            file.close()

    async def _spawn(self, args: Sequence[str], stdout: Path | None) -> tuple[Child, BinaryIO | None]:
        """The CLI, and the file that takes its stdout, open for reading."""
        environment = {"HOME": str(self.folder), "TMPDIR": str(self.folder), **self._program.environment}
        argv = [self._program.path, *args]
        try:
            with _created(stdout) as (written, file):
                child = await self._guard.spawn(self._name, argv, cwd=self.folder, env=environment, stdout=written)
        except (SpawnError, OSError) as error:
            if error.errno in _OUR_FAULT and not self.started:
                raise CannotRunError(str(error)) from error
            raise OSError(error.errno, str(error)) from error
        except GuardLostError:
            raise
        except GuardError:  # the guard is ending this run already
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
        program: Program,
        creator: Creator,
        scratch: Path,
        allowed_options: Collection[str] | None = None,
    ) -> None:
        """`allowed_options` are the creator options that reach the CLI; None: those that the profile knows."""
        self._guard = guard
        self.program = program
        self._creator = creator
        self._scratch = scratch
        self._allowed_options = creator.options if allowed_options is None else allowed_options

    @asynccontextmanager
    async def open(self, name: str, deadline: float) -> AsyncIterator[Run]:
        """A run called `name`, guarded until `deadline` (CLOCK_BOOTTIME); on leaving, nothing of it lives.

        Raises OSError where there is no room for its folder.
        """
        run = Run(name, self._guard, self.program, self._scratch / quote(name, safe=""))
        run.folder.mkdir(mode=0o700)
        try:
            for needed in self._creator.needs.folders:
                (run.folder / needed).mkdir(mode=0o700)
            self._guard.open_run(name, deadline)
            try:
                yield run
            finally:
                await self._guard.close_run(name)
                await run.release()
        finally:
            await _remove(run.folder)

    async def execute(self, run: Run, job: Job, report: Reporter) -> Outcome:
        """One attempt at `job`. Raises CannotRunError, RunExpiredError, GuardLostError."""
        if fault := fault_of(job):
            return failed(Reason.CREATOR_ERROR, f"the task is not given to the CLI: {fault}")
        if refused := refusal(job.brief.options, self._allowed_options):
            return refused
        return await self._creator.run(job, run, report)

    def move_deadlines(self, deadlines: Mapping[str, float]) -> None:
        """Runs whose leases were renewed. Those that are not open are skipped by the guard."""
        self._guard.move_deadlines(deadlines)

    def set_grace(self, seconds: float) -> None:
        """A run that is stopped has so long between TERM and KILL."""
        self._guard.set_grace(seconds)

    async def version(self) -> str:
        """What the CLI's `--version` says, in one line; empty where it does not know it. Raises CliUnusableError."""
        async with self.open("version", now() + 2 * VERSION_LIMIT) as run:
            try:
                done = await run.call(["--version"], limit=VERSION_LIMIT)
            except OSError as error:
                raise CliUnusableError(self._unusable(error.strerror or str(error))) from None
        if fault := _fault(done):
            raise CliUnusableError(self._unusable(fault))
        if fault := self._creator.fault(done):
            raise CliUnusableError(f"the CLI {self.program.path} cannot be used: {fault}")
        lines = clean(done.stdout.decode("utf-8", "replace"), SMALL_OUTPUT).splitlines()
        return lines[-1].strip()[:200] if done.exit.code == 0 and lines else ""

    def _unusable(self, fault: str) -> str:
        path = self.program.path
        return f"the CLI {path} cannot be run: {fault}; set CREATOR_CLI_PATH (--creator-cli-path) to the creator CLI"


def _fault(version: Completed) -> str | None:
    """Why a CLI that was asked for its version can't be used. Other exit statuses pass: not every CLI knows it."""
    said = f" ({version.stderr_tail.splitlines()[-1]})" if version.stderr_tail else ""
    if version.timed_out:
        return f"--version did not end within {VERSION_LIMIT:g} s{said}"
    if version.exit.signal is not None:
        return f"--version was ended by signal {version.exit.signal}{said}"
    if version.exit.code in _SHELL_CANNOT_RUN:
        return f"--version exited with status {version.exit.code}{said}"
    return None


@contextmanager
def _created(path: Path | None) -> Iterator[tuple[int | None, BinaryIO | None]]:
    """A new file: a descriptor to append to, which is closed at the end, and one to read from, which then stays open.

    Both are there before the CLI is, which might put another file in its place. None, twice, where no file is wanted.
    """
    if path is None:
        yield None, None
        return
    written = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with ExitStack() as opened:
            file = opened.enter_context(path.open("rb"))
            yield written, file
            opened.pop_all()
    finally:
        os.close(written)


def _lines(on_line: Callable[[str], None] | None) -> Lines | None:
    return Lines(on_line) if on_line else None


async def _follow(child: Child, following: Following) -> None:
    """Reads what the CLI prints into its file, and stops it where that grows too large."""
    await following.run()
    if following.overflowed:
        await child.stop()


async def _end_of(child: Child, limit: float | None) -> tuple[Exit, bool]:
    """How the CLI ended, and whether it was stopped because `limit` had passed."""
    try:
        async with asyncio.timeout(limit):
            return await child.wait(), False
    except TimeoutError:
        return await child.stop(), True


async def _rest_of_output(readers: Sequence[asyncio.Task[None]], tails: Sequence[Tail]) -> None:
    """Returns at the end of the output, or where it only stays open because a descendant holds it."""
    seen = -1
    while seen != (seen := sum(tail.seen for tail in tails)):
        _, open_ones = await asyncio.wait(readers, timeout=_LINGER)
        if not open_ones:
            return


async def _remove(scratch: Path) -> None:
    with suppress(OSError):  # most are empty, and not worth a thread
        scratch.rmdir()  # noqa: ASYNC240
        return
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
