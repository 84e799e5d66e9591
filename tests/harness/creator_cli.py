"""CLIs and a reporter for tests of creators."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker_svc.creators import load
from worker_svc.creators.base import MAX_SMALL_OUTPUT, Brief, CompletedCall, CreatorSettings, Job
from worker_svc.outcome import Outcome

# A CLI and a reporter for tests of creators: real processes, without the guard that a worker puts above them.

_STDERR_TAIL = 4_000
_CHUNK = 64 * 1024


@dataclass(frozen=True)
class ProcessExit:
    """How a process ended."""

    code: int | None
    signal: int | None


class SubprocessCli:
    """Runs `program` with the arguments of each call, in a group of its own; remembers the calls.

    Pipes are read all the time, so that `to_file` makes no difference.
    """

    def __init__(self, *program: str, env: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
        self.folder = folder or Path.cwd()
        self._program = program
        self._env = {"PATH": os.environ.get("PATH", ""), **(env or {})}
        self.calls: list[Sequence[str]] = []

    @property
    def commands(self) -> list[str]:
        """The command of each call so far."""
        return [args[0] for args in self.calls]

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
        self.calls.append(args)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._program, *args, stdout=pipe, stderr=pipe, env=self._env, cwd=self.folder, start_new_session=True
        )
        if on_start:
            on_start()
        assert process.stdout is not None
        assert process.stderr is not None
        stdout, stderr = _Tail(max_output, on_line), _Tail(_STDERR_TAIL, on_line)
        timed_out = False
        try:
            async with asyncio.timeout(limit):
                await asyncio.gather(stdout.read(process.stdout), stderr.read(process.stderr), process.wait())
        except TimeoutError:
            timed_out = True
        finally:
            await _end(process)
        return CompletedCall(
            exit=_exit(process),
            stdout=bytes(stdout.kept),
            stderr_tail=stderr.kept.decode("utf-8", "replace"),
            truncated=stdout.truncated,
            timed_out=timed_out,
        )


@dataclass
class RecordingReporter:
    """Remembers what was reported, in order; a pause is no longer than `longest_pause` seconds."""

    longest_pause: float = 0.02
    events: list[object] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def processing(self) -> None:
        self.events.append("processing")

    def progress(self, percent: int | None, step: str, message: str) -> None:
        self.events.append((percent, step, message))

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(min(seconds, self.longest_pause))


class _Tail:
    """The last `limit` bytes of a stream, and its lines as they come."""

    def __init__(self, limit: int, on_line: Callable[[str], None] | None) -> None:
        self._limit = limit
        self._on_line = on_line
        self._line = b""
        self.kept = bytearray()
        self.truncated = False

    async def read(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(_CHUNK):
            self.kept += chunk
            if len(self.kept) > self._limit:
                del self.kept[: -self._limit]
                self.truncated = True
            self._tell(chunk)

    def _tell(self, chunk: bytes) -> None:
        if self._on_line is None:
            return
        *lines, rest = (self._line + chunk).split(b"\n")
        self._line = rest[:_CHUNK]
        for line in lines:
            self._on_line(line.decode("utf-8", "replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _exit(process: asyncio.subprocess.Process) -> ProcessExit:
    status = process.returncode
    assert status is not None
    return ProcessExit(status, None) if status >= 0 else ProcessExit(None, -status)


# A CLI whose answers are shell snippets, and a profile that runs it.

JOB = Job(task_id="task-0123456789ab", attempt=1, brief=Brief("a topic"))
SECOND = replace(JOB, attempt=2)
SETTINGS = CreatorSettings(poll_interval=30.0, max_result=1024)
PROGRAM = """
cd "$FOLDER"
call=$(($(cat "$1.calls" 2>/dev/null || echo 0) + 1))
echo "$call" >"$1.calls"
while [ ! -f "$1.$call" ]; do call=$((call - 1)); done
. "./$1.$call"
"""
DONE = """echo '{"content": "an article", "qualityScore": 7.5}'"""


def says(status: str) -> str:
    return f"""echo '{{"status": "{status}"}}'"""


def scripted(folder: Path, **answers: Sequence[str]) -> SubprocessCli:
    """A CLI whose n-th call of a command runs the n-th shell snippet given for it, or the last one there is."""
    for command, snippets in answers.items():
        for number, snippet in enumerate(snippets, start=1):
            (folder / f"{command}.{number}").write_text(snippet)
    program = folder / "program.sh"
    program.write_text(PROGRAM)
    return SubprocessCli("/bin/sh", str(program), env={"FOLDER": str(folder)})


async def run(
    cli: SubprocessCli, *, profile: str = "reference", job: Job = JOB, settings: CreatorSettings = SETTINGS
) -> tuple[Outcome, RecordingReporter]:
    report = RecordingReporter()
    return await load(profile, settings).run(job, cli, report), report
