"""A run of a CLI under a real guard, and names that try to escape its folder."""

from __future__ import annotations

import asyncio
import os
import shlex
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contentgen.service.settings import SettingsError, settings_of
from tests.harness.creator_cli import RecordingReporter
from tests.harness.guarded import FAMILY, FAR, guarding, marked, python
from worker_svc import output
from worker_svc.config import WorkerSettings
from worker_svc.creators.base import Brief, Cli, CompletedCall, Creator, Job, Needs, RunReporter, call
from worker_svc.guard import now
from worker_svc.guard.client import Guard
from worker_svc.outcome import MAX_OUTPUT, Article, Failed, Outcome, Reason, RunOutput
from worker_svc.runner import CliRun, CliUnusableError, CreatorProgram, RunExpiredError, Runner

pytestmark = pytest.mark.integration


# A run of a CLI under a real guard: its folder, its environment, and stdout as a file.

SETTINGS = settings_of(WorkerSettings, {"creator_poll_interval": 0.1, "creator_max_result": 1_000})
NEEDS = Needs(folders=("data",), inherited=("KEY",), fixed={"KIND": "file"})
LARGE = 1024 * 1024
BEGINS = "import signal; print('it began', flush=True); signal.pause()"


class Needy(Creator):
    """A profile with variables and files of its own; tests choose the program."""

    needs = NEEDS

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        raise NotImplementedError


@pytest.fixture
async def guard() -> AsyncIterator[Guard]:
    async with guarding() as guard:
        yield guard


def runner(guard: Guard, folder: Path, **environ: str) -> Runner:
    variables = {"PATH": os.environ["PATH"], **environ}
    return Runner(
        guard, CreatorProgram.locate(sys.executable, ("NAMED",), variables, NEEDS), Needy(SETTINGS), folder, SETTINGS
    )


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@asynccontextmanager
async def opened(guard: Guard, folder: Path, **environ: str) -> AsyncIterator[CliRun]:
    async with runner(guard, folder, **environ).open("run", now() + FAR) as run:
        yield run


async def test_a_run_has_the_environment_and_files_of_its_profile(guard: Guard, tmp_path: Path) -> None:
    show = "import os; print(*os.listdir(), *(os.environ.get(n) for n in ('KEY', 'KIND', 'NAMED', 'OTHER')))"
    async with opened(guard, tmp_path, KEY="a", KIND="b", NAMED="c", OTHER="d") as run:
        done = await run.call(["-c", show], limit=30)
        assert run.folder.parent == tmp_path
    assert done.stdout == b"data a file c None\n"
    assert names_in(tmp_path) == []


async def test_a_variable_of_the_cli_may_be_in_a_file(guard: Guard, tmp_path: Path) -> None:
    secret, scratch = tmp_path / "secret", tmp_path / "scratch"
    secret.write_text("a b\n")
    scratch.mkdir()
    show = "import os; print([os.environ.get(name) for name in ('KEY', 'KEY_FILE', 'NAMED', 'OTHER')])"
    files = {"KEY_FILE": str(secret), "NAMED_FILE": str(secret), "OTHER_FILE": str(secret)}
    async with opened(guard, scratch, **files) as run:
        done = await run.call(["-c", show], limit=30)
    assert done.stdout == b"['a b', None, 'a b', None]\n"


def test_files_of_variables_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"zebra\0")
    environ = {
        "KEY": "zebra",
        "KEY_FILE": str(tmp_path / "binary"),
        "ONE_FILE": str(tmp_path / "binary"),
        "TWO_FILE": "/nowhere/zebra",
    }
    with pytest.raises(SettingsError) as raised:
        CreatorProgram.locate(sys.executable, ("ONE", "TWO"), environ, NEEDS)
    assert raised.value.problems == (
        "KEY and KEY_FILE exclude each other: unset one of them",
        "ONE_FILE: must be the path of a file that holds ONE (it must be text)",
        "TWO_FILE: must be the path of a file that holds TWO (No such file or directory)",
    )
    passed = CreatorProgram.locate(sys.executable, ("KEY_FILE",), {"KEY_FILE": "/path"}, NEEDS)
    assert passed.environment["KEY_FILE"] == "/path"
    assert "KEY" not in passed.environment


async def test_stdout_in_a_file_is_complete_and_reported_line_by_line(guard: Guard, tmp_path: Path) -> None:
    """It holds more than a pipe, and the program does not wait for a reader."""
    program = f"import os, sys; os.write(1, b'first\\n' + b'x' * {LARGE} + b'\\nlast'); print('aside', file=sys.stderr)"
    lines: list[str] = []
    async with opened(guard, tmp_path) as run:
        done = await run.call(["-c", program], limit=30, on_line=lines.append, max_output=10, to_file=True)
    assert (done.stdout, done.truncated, done.overflowed) == (b"xxxxx\nlast", True, False)
    assert done.stderr_tail == "aside"
    assert {"first", "last", "aside"} <= set(lines)


async def test_each_call_has_a_file_of_its_own(guard: Guard, tmp_path: Path) -> None:
    async with opened(guard, tmp_path) as run:
        outputs = [(await run.call(["-c", f"print({n})"], limit=30, to_file=True)).stdout for n in (1, 2)]
    assert outputs == [b"1\n", b"2\n"]


async def test_a_cli_that_prints_without_end_into_a_file_is_stopped(
    guard: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "MAX_FILE", LARGE)
    async with opened(guard, tmp_path) as run:
        done = await call(run, ["-c", "while True: print('again')"], limit=None, to_file=True)
    assert isinstance(done, Failed)
    assert done.reason is Reason.RESULT_TOO_LARGE


async def test_the_output_limit_applies_to_a_file(guard: Guard, tmp_path: Path) -> None:
    async with opened(guard, tmp_path) as run:
        done = await run.call(["-c", "import signal; signal.pause()"], limit=0.2, to_file=True)
    assert done.timed_out


async def test_a_missing_program_is_the_task_s_error_with_a_file_too(guard: Guard, tmp_path: Path) -> None:
    program = CreatorProgram.locate("/no/such/creator", (), {}, NEEDS)
    async with Runner(guard, program, Needy(SETTINGS), tmp_path, SETTINGS).open("run", now() + FAR) as run:
        done = await call(run, ["create"], limit=None, to_file=True)
    assert isinstance(done, Failed)
    assert done.reason is Reason.CREATOR_CLI_NOT_FOUND


async def test_the_output_of_all_calls_of_a_run_is_kept(guard: Guard, tmp_path: Path) -> None:
    async with opened(guard, tmp_path) as run:
        for n in (1, 2):
            program = f"import sys; print('out {n}'); print('\\x1b[31merr {n}', file=sys.stderr)"
            await run.call(["-c", program], limit=30, to_file=n == 2)
    assert run.output == RunOutput("out 1\nout 2", "err 1\nerr 2")


async def test_of_a_long_output_the_end_is_kept(guard: Guard, tmp_path: Path) -> None:
    async with opened(guard, tmp_path) as run:
        await run.call(["-c", f"print('x' * {LARGE} + 'end')"], limit=30)
    assert (len(run.output.stdout), run.output.stdout[-4:], run.output.stdout_truncated) == (
        MAX_OUTPUT - 1,
        "xend",
        True,
    )


@asynccontextmanager
async def begun(guard: Guard, folder: Path) -> AsyncIterator[tuple[CliRun, asyncio.Task[CompletedCall]]]:
    """A run whose CLI has begun, and does not end."""
    printed = asyncio.Event()
    async with opened(guard, folder) as run:
        calling = asyncio.create_task(run.call(["-c", BEGINS], limit=None, on_line=lambda _: printed.set()))
        await asyncio.wait_for(printed.wait(), 30)
        yield run, calling


async def test_what_a_stopped_cli_has_printed_is_kept(guard: Guard, tmp_path: Path) -> None:
    async with begun(guard, tmp_path) as (run, calling):
        calling.cancel()
    assert run.output == RunOutput("it began")


async def test_a_run_ends_with_its_deadline(guard: Guard, tmp_path: Path) -> None:
    async with begun(guard, tmp_path) as (_, calling):
        guard.move_deadlines({"run": now()})
        with pytest.raises(RunExpiredError):
            await calling


async def test_a_version_that_a_profile_refuses_is_reported_with_the_path(guard: Guard, tmp_path: Path) -> None:
    class Wary(Needy):
        def fault(self, version: object) -> str | None:
            return "it is of no use"

    program = CreatorProgram.locate(sys.executable, (), {}, NEEDS)
    with pytest.raises(CliUnusableError, match="cannot be used: it is of no use") as caught:
        await Runner(guard, program, Wary(SETTINGS), tmp_path, SETTINGS).version()
    assert sys.executable in str(caught.value)


async def test_a_cli_that_never_prints_its_version_is_unusable_and_leaves_nothing(
    guard: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_svc.runner.VERSION_TIMEOUT", 0.5)
    cli, scratch = tmp_path / "creator", tmp_path / "scratch"
    cli.write_text(f"#!/bin/sh\nexec {shlex.join(python(FAMILY))}\n")
    cli.chmod(0o755)
    scratch.mkdir()
    program = CreatorProgram.locate(str(cli), (), os.environ, NEEDS)
    async with asyncio.timeout(20):
        with pytest.raises(CliUnusableError) as caught:
            await Runner(guard, program, Needy(SETTINGS), scratch, SETTINGS).version()
    assert str(caught.value) == (
        f"the CLI {cli} cannot be run: --version did not end within 0.5 s;"
        " set CREATOR_CLI_PATH (--creator-cli-path) to the creator CLI"
    )
    assert marked(guard) == set()
    assert names_in(scratch) == []


# Names, links and arguments that try to escape a run's folder, or reach a shell.


@pytest.fixture
def scratch_runner(guard: Guard, tmp_path: Path) -> Runner:
    """Runs Python in folders below `scratch`; beside that lies `treasure`."""
    (tmp_path / "treasure").write_text("not a run's")
    (tmp_path / "scratch").mkdir()
    return runner(guard, tmp_path / "scratch")


def untouched(folder: Path) -> bool:
    return (folder / "treasure").read_text() == "not a run's" and not list((folder / "scratch").iterdir())


async def test_a_lease_of_any_name_runs_in_its_own_private_folder(scratch_runner: Runner, tmp_path: Path) -> None:
    names = ("../treasure", "/etc", "a/../../treasure", "工人\n", "-rf", "$(touch treasure)")
    folders = {}
    for name in names:
        async with scratch_runner.open(name, now() + FAR) as run:
            place, mode = run.folder.parent, stat.S_IMODE(run.folder.stat().st_mode)
        folders[name] = (place, mode, untouched(tmp_path))
    assert folders == dict.fromkeys(names, (tmp_path / "scratch", 0o700, True))


@pytest.mark.parametrize("name", [".", "..", "x" * 300])
async def test_a_name_that_cannot_be_a_folder_is_refused(scratch_runner: Runner, tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"exists|too long"):
        async with scratch_runner.open(name, now() + FAR):
            pass
    assert untouched(tmp_path)


async def test_stdout_is_read_from_the_file_that_was_made_for_it(scratch_runner: Runner) -> None:
    """A pipe in its place would block the reader, and a link would expose its target."""
    for put in ("os.mkfifo(name)", "os.symlink('../../treasure', name)"):
        program = f"import glob, os; name, = glob.glob('stdout.*'); os.unlink(name); {put}; print('printed')"
        async with scratch_runner.open("run", now() + FAR) as run:
            done = await run.call(["-c", program], limit=30, to_file=True)
        assert (done.stdout, done.stderr_tail) == (b"printed\n", "")


HOSTILE_JOBS = {
    "a path as an id": Job("../../etc/passwd", 1, Brief("a topic")),
    "an option as an id": Job("--help", 1, Brief("a topic")),
    "no id": Job("", 1, Brief("a topic")),
    "a NUL": Job("task-1", 1, Brief("a\0topic")),
    "a NUL in an option": Job("task-1", 1, Brief("a topic", options={"audience": "a\0b"})),
    "another id by an option": Job("task-1", 1, Brief("a topic", options={"task-id": "task-2"})),
    "another command by an option": Job("task-1", 1, Brief("a topic", options={"version": ""})),
    "a key that is two": Job("task-1", 1, Brief("a topic", options={"a=b --c": ""})),
    "a key of dashes": Job("task-1", 1, Brief("a topic", options={"-": ""})),
    "a key of two lines": Job("task-1", 1, Brief("a topic", options={"a\n": ""})),
}
"""Tasks that our scheduler never sends."""


async def test_a_hostile_schedulers_task_reaches_no_cli(scratch_runner: Runner) -> None:
    def is_refusal(outcome: Outcome) -> bool:
        refusal = "the task is not given to the CLI: "
        return (
            isinstance(outcome, Failed)
            and outcome.reason is Reason.CREATOR_ERROR
            and outcome.message.startswith(refusal)
        )

    not_refused = {}
    for kind, job in HOSTILE_JOBS.items():
        async with scratch_runner.open("run", now() + FAR) as run:
            outcome = await scratch_runner.execute(run, job, RecordingReporter())
        if run.started or not is_refusal(outcome):
            not_refused[kind] = (run.started, outcome)
    assert not_refused == {}


class Choosy(Needy):
    """A profile that knows an option, and needs no CLI."""

    options = ("known",)

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        return Article("an article")


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [(None, "output, task"), (["output"], "known, task"), ([], "known, output, task"), (["*"], "")],
)
async def test_only_options_of_the_profile_or_that_the_operator_names_reach_the_cli(
    guard: Guard, tmp_path: Path, allowed: Sequence[str] | None, refused: str
) -> None:
    program = CreatorProgram.locate(sys.executable, (), {}, NEEDS)
    settings = SETTINGS.model_copy(update={"creator_options_allowed": allowed})
    runner = Runner(guard, program, Choosy(settings), tmp_path, settings)
    job = Job("task-1", 1, Brief("a topic", options={"task": "1", "output": "/etc/passwd", "known": "2"}))
    async with runner.open("run", now() + FAR) as run:
        outcome = await runner.execute(run, job, RecordingReporter())
    if not refused:
        assert outcome == Article("an article")
        return
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.details) == (Reason.INVALID_CREATOR_OPTIONS, {"options": refused})
    assert "CREATOR_OPTIONS_ALLOWED" in outcome.message


async def test_targets_of_links_are_not_removed_with_a_run_s_folder(scratch_runner: Runner, tmp_path: Path) -> None:
    out = repr(str(tmp_path))
    program = f"import os; os.symlink({out}, 'out'); os.rmdir('data'); os.symlink({out}, 'data'); print('linked')"
    async with scratch_runner.open("run", now() + FAR) as run:
        done = await run.call(["-c", program], limit=30)
        assert (done.stdout, done.stderr_tail) == (b"linked\n", "")
    assert untouched(tmp_path)
