"""Names, links and arguments that try to escape a run's folder, or reach a shell."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import indent

import pytest

from tests.harness.creator_cli import RecordingReporter
from worker_svc.creators import load
from worker_svc.creators.base import Cli, Creator, CreatorSettings, Job, Needs, RunReporter
from worker_svc.creators.brief import Brief
from worker_svc.guard import Guard, now
from worker_svc.outcome import Article, Completed, Failed, Outcome, Reason
from worker_svc.runner import CreatorProgram, Runner

FAR = 600.0
NEEDS = Needs(folders=("data",))


class Idle(Creator):
    needs = NEEDS

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        raise NotImplementedError


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    """Runs Python in folders below `scratch`; beside that lies `treasure`."""
    (tmp_path / "treasure").write_text("not a run's")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    guard = Guard.launch(grace=0.3)
    await guard.connect()
    yield Runner(guard, CreatorProgram.locate(sys.executable, (), {"PATH": os.environ["PATH"]}, NEEDS), Idle(), scratch)
    await guard.close()
    await asyncio.get_running_loop().shutdown_default_executor()


def untouched(folder: Path) -> bool:
    return (folder / "treasure").read_text() == "not a run's" and not list((folder / "scratch").iterdir())


@pytest.mark.parametrize("name", ["../treasure", "/etc", "a/../../treasure", "工人\n", "-rf", "$(touch treasure)"])
async def test_a_lease_of_any_name_runs_in_its_own_private_folder(runner: Runner, tmp_path: Path, name: str) -> None:
    async with runner.open(name, now() + FAR) as run:
        assert run.folder.parent == tmp_path / "scratch"
        assert stat.S_IMODE(run.folder.stat().st_mode) == 0o700
    assert untouched(tmp_path)


@pytest.mark.parametrize("name", [".", "..", "x" * 300])
async def test_a_name_that_cannot_be_a_folder_is_refused(runner: Runner, tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"exists|too long"):
        async with runner.open(name, now() + FAR):
            pass
    assert untouched(tmp_path)


async def test_stdout_is_read_from_the_file_that_was_made_for_it(runner: Runner) -> None:
    """A pipe in its place would block the reader, and a link would expose its target."""
    for put in ("os.mkfifo(name)", "os.symlink('../../treasure', name)"):
        program = f"import glob, os; name, = glob.glob('stdout.*'); os.unlink(name); {put}; print('printed')"
        async with runner.open("run", now() + FAR) as run:
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


@pytest.mark.parametrize("job", HOSTILE_JOBS.values(), ids=HOSTILE_JOBS)
async def test_a_hostile_schedulers_task_reaches_no_cli(runner: Runner, job: Job) -> None:
    async with runner.open("run", now() + FAR) as run:
        outcome = await runner.execute(run, job, RecordingReporter())
        assert not run.started
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.CREATOR_ERROR
    assert outcome.message.startswith("the task is not given to the CLI: ")


IMAGES = ("../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "out/treasure", "zero", "pipe", "sparse")
ARTICLE = {"content": "# An article", "images": IMAGES}
TRAPS = """
os.symlink(os.path.abspath('../..'), 'out')
os.symlink('/dev/zero', 'zero')
os.mkfifo('pipe')
with open('sparse', 'wb') as sparse:
    sparse.truncate(1 << 40)
"""
STORES = f"""
database = sqlite3.connect('data/content-creator.db')
database.executescript('''
CREATE TABLE tasks (id, error_message, created_at);
CREATE TABLE results (task_id, result_type, content, created_at);
CREATE TABLE quality_checks (task_id, check_type, score, created_at);
INSERT INTO tasks VALUES ('id', NULL, 1)''')
images = json.dumps([{{'url': url}} for url in {IMAGES!r}])
rows = [('id', 'article', '# An article', 1), ('id', 'image', images, 1)]
database.executemany('INSERT INTO results VALUES (?, ?, ?, ?)', rows)
database.commit()
print('任务ID: id\\n状态: 已完成')
"""
CREATES = {
    "json": f"print(json.dumps({ARTICLE!r}))",
    "reference": "",
    "llm-content-creator": STORES,
}
"""What `create` of each profile's CLI prints, besides making the traps."""


def hostile_cli(path: Path, profile: str) -> Path:
    """A CLI whose image names are files that must not be opened."""
    create = indent(TRAPS + CREATES[profile], "    ")
    otherwise = f"print(json.dumps({{**{ARTICLE!r}, 'status': 'completed'}}))"
    imports = "import json, os, sqlite3, sys"
    path.write_text(f"#!{sys.executable}\n{imports}\nif 'create' in sys.argv:\n{create}\nelse:\n    {otherwise}\n")
    path.chmod(0o700)
    return path


@pytest.mark.parametrize("profile", CREATES)
async def test_image_names_are_never_opened_as_files(tmp_path: Path, profile: str) -> None:
    (tmp_path / "treasure").write_text("not a run's")
    (tmp_path / "scratch").mkdir()
    creator = load(profile, CreatorSettings(poll_interval=0.1, max_result=1_000))
    cli = hostile_cli(tmp_path / "cli", profile)
    guard = Guard.launch(grace=0.3)
    await guard.connect()
    program = CreatorProgram.locate(str(cli), (), {"PATH": os.environ["PATH"]}, creator.needs)
    runner = Runner(guard, program, creator, tmp_path / "scratch")
    async with runner.open("run", now() + FAR) as run:
        outcome = await runner.execute(run, Job("task-1", 1, Brief("a topic")), RecordingReporter())
    await guard.close()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert outcome == Completed(Article("# An article", images=IMAGES))
    assert untouched(tmp_path)


async def test_targets_of_links_are_not_removed_with_a_run_s_folder(runner: Runner, tmp_path: Path) -> None:
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
