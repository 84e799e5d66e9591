"""CLIs and a reporter for tests of creators."""

from __future__ import annotations

import asyncio
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Unpack

from worker_svc.creators import PROFILES
from worker_svc.creators.base import MAX_SMALL_OUTPUT, Brief, CallOptions, CompletedCall, CreatorSettings, Job
from worker_svc.outcome import MAX_STDERR, Exit, Outcome
from worker_svc.output import LineSplitter, Tail, read_to_end

# A CLI and a reporter for tests of creators: real processes, without the guard that a worker puts above them.


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
        return [args[0] for args in self.calls]

    async def call(self, args: Sequence[str], **options: Unpack[CallOptions]) -> CompletedCall:
        self.calls.append(args)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._program, *args, stdout=pipe, stderr=pipe, env=self._env, cwd=self.folder, start_new_session=True
        )
        if on_start := options.get("on_start"):
            on_start()
        assert process.stdout is not None
        assert process.stderr is not None
        stdout, stderr = Tail(options.get("max_output", MAX_SMALL_OUTPUT)), Tail(MAX_STDERR)
        on_line = options.get("on_line")
        timed_out = False
        try:
            async with asyncio.timeout(options["limit"]):
                await asyncio.gather(
                    read_to_end(process.stdout, [stdout, *_lines(on_line)]),
                    read_to_end(process.stderr, [stderr, *_lines(on_line)]),
                    process.wait(),
                )
        except TimeoutError:
            timed_out = True
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            status = await process.wait()
        return CompletedCall(
            exit=Exit(status, None) if status >= 0 else Exit(None, -status),
            stdout=stdout.bytes(),
            stderr_tail=stderr.bytes().decode("utf-8", "replace"),
            truncated=stdout.truncated,
            timed_out=timed_out,
        )


@dataclass
class AnsweringCli(ABC):
    """A CLI without a process: a subclass says what each call prints and how it ends. Remembers the calls' commands."""

    folder: Path
    commands: list[str] = field(default_factory=list, init=False)

    @abstractmethod
    def answer(self, args: Sequence[str]) -> CompletedCall:
        """Returns the call with all of its stdout."""

    async def call(self, args: Sequence[str], **options: Unpack[CallOptions]) -> CompletedCall:
        self.commands.append(args[0])
        if on_start := options.get("on_start"):
            on_start()
        answer, stdout = self.answer(args), Tail(options.get("max_output", MAX_SMALL_OUTPUT))
        stdout.add(answer.stdout)
        for lines in _lines(options.get("on_line")):
            lines.add(answer.stdout)
            lines.end()
        return replace(answer, stdout=stdout.bytes(), truncated=stdout.truncated)


def _lines(on_line: Callable[[str], None] | None) -> list[LineSplitter]:
    return [LineSplitter(on_line)] if on_line else []


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
    return await PROFILES[profile](settings).run(job, cli, report), report
