"""Names, links and arguments that try to get out of a run's own folder, or into a shell."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from worker_svc.creators.base import Cli, Creator, Job, Needs, Reporter
from worker_svc.guard import Guard, now
from worker_svc.outcome import Outcome
from worker_svc.runner import Program, Runner

FAR = 600.0
NEEDS = Needs(folders=("data",))


class Idle(Creator):
    needs = NEEDS

    async def run(self, job: Job, cli: Cli, report: Reporter) -> Outcome:
        raise NotImplementedError


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    """Runs Python in folders below `scratch`; beside that lies `treasure`."""
    (tmp_path / "treasure").write_text("not a run's")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    guard = Guard.launch(grace=0.3)
    await guard.connect()
    yield Runner(guard, Program.found(sys.executable, (), {"PATH": os.environ["PATH"]}, NEEDS), Idle(), scratch)
    await guard.close()
    await asyncio.get_running_loop().shutdown_default_executor()


def untouched(folder: Path) -> bool:
    return (folder / "treasure").read_text() == "not a run's" and not list((folder / "scratch").iterdir())


@pytest.mark.parametrize("name", ["../treasure", "/etc", "a/../../treasure", "工人\n", "-rf", "$(touch treasure)"])
async def test_a_lease_of_any_name_runs_in_a_private_folder_of_its_own(
    runner: Runner, tmp_path: Path, name: str
) -> None:
    async with runner.open(name, now() + FAR) as run:
        assert run.folder.parent == tmp_path / "scratch"
        assert stat.S_IMODE(run.folder.stat().st_mode) == 0o700
    assert untouched(tmp_path)


@pytest.mark.parametrize("name", [".", "..", "x" * 300])
async def test_a_name_that_can_be_no_folder_is_refused(runner: Runner, tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"exists|too long"):
        async with runner.open(name, now() + FAR):
            pass
    assert untouched(tmp_path)


async def test_what_a_cli_links_to_is_not_removed_with_its_folder(runner: Runner, tmp_path: Path) -> None:
    out = repr(str(tmp_path))
    program = f"import os; os.symlink({out}, 'out'); os.rmdir('data'); os.symlink({out}, 'data'); print('linked')"
    async with runner.open("run", now() + FAR) as run:
        done = await run.call(["-c", program], limit=30)
        assert (done.stdout, done.stderr_tail) == (b"linked\n", "")
    assert untouched(tmp_path)


async def test_arguments_reach_the_program_as_they_are(runner: Runner) -> None:
    arguments = ["--topic=$(id) `id` ; id | id > out", "--x=a\nb", "--y=*", "--z=\"'\\", "--task-id=../../etc/passwd"]
    async with runner.open("run", now() + FAR) as run:
        done = await run.call(["-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *arguments], limit=30)
    assert json.loads(done.stdout) == arguments
