"""The campaign's CLI as a program: what it tells its journal, and how it misbehaves."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.harness.processes import belonging_to, living
from tests.harness.waiting import wait_until, wait_until_gone
from verification.chaos.creator import FILE, PICTURES
from verification.chaos.evidence import CREATOR_JOURNAL, Run
from verification.chaos.fleet import write_creator
from verification.chaos.journals import read_journals

LIMIT = 60.0


class Creator:
    """The program in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._program = write_creator(folder)
        (folder / "runs").mkdir()

    def start(self, **options: object) -> subprocess.Popen[bytes]:
        arguments = {"task-id": "task-1", "chaos-seconds": 0.3} | {
            name.replace("_", "-"): v for name, v in options.items()
        }
        return subprocess.Popen(
            [self._program, "create", *(f"--{name}={value}" for name, value in arguments.items())],
            env={
                "CHAOS_WORKER": "worker-1",
                "CHAOS_JOURNAL": str(self.folder / CREATOR_JOURNAL),
                "CHAOS_RUNS": str(self.folder / "runs"),
            },
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def output(self, **options: object) -> tuple[bytes, int]:
        process = self.start(**options)
        return process.communicate(timeout=LIMIT)[0], process.returncode

    def runs(self) -> list[Run]:
        return list(read_journals(self.folder).runs)


@pytest.fixture
def creator(tmp_path: Path) -> Creator:
    return Creator(tmp_path)


@pytest.mark.parametrize("picture", PICTURES)
def test_a_file_begins_like_the_picture_that_it_was_told_to_be(creator: Creator, picture: str) -> None:
    creator.output(chaos_file=2_000, chaos_picture=picture)
    [run] = creator.runs()
    data = (creator.folder / FILE).read_bytes()
    assert data.startswith(PICTURES[picture][0])
    assert len(data) > 2_000
    assert run.file_sha256 == hashlib.sha256(data).hexdigest()


def test_a_run_tells_of_its_life_and_the_result_names_it(creator: Creator) -> None:
    output, status = creator.output(chaos_characters=50)
    [run] = creator.runs()
    body = json.loads(output)["content"]
    assert (status, run.status, run.task_id, run.worker) == (0, 0, "task-1", "worker-1")
    assert run.run in body
    assert run.body_sha256 == hashlib.sha256(body.encode()).hexdigest()
    assert run.given
    assert run.last - run.boottime >= 0.3


def test_the_creator_misbehaves_as_often_as_asked(creator: Creator) -> None:
    statuses = [creator.output(chaos_mode="fail", chaos_times=2)[1] for _ in range(3)]
    assert statuses == [3, 3, 0] == [run.status for run in creator.runs()]


def test_the_creator_defers(creator: Creator) -> None:
    process = creator.start(chaos_mode="defer")
    output, errors = process.communicate(timeout=LIMIT)
    [run] = creator.runs()
    assert (output, errors, process.returncode, run.status) == (b"", b"retry-after: 1\n", 75, 75)
    assert not run.given


def test_rubbish_is_no_result(creator: Creator) -> None:
    output, status = creator.output(chaos_mode="rubbish")
    assert output.endswith(b'{"content": ')
    [run] = creator.runs()
    assert (status, run.body_sha256, run.given) == (0, "", False)


def test_a_deaf_run_outlives_term(creator: Creator) -> None:
    process = creator.start(chaos_mode="deaf")
    wait_until(creator.runs, within=LIMIT, what="it has started")
    process.terminate()
    assert process.wait(LIMIT) == 0
    process.communicate()


def test_a_forked_process_counts_as_part_of_its_run(creator: Creator) -> None:
    _, status = creator.output(chaos_mode="fork")
    assert status == 0
    [ended] = creator.runs()
    wait_until(lambda: creator.runs()[0].last > ended.last, within=LIMIT, what="its orphan gives a sign of life")
    [orphan] = belonging_to(creator.folder)
    orphan.terminate()
    seen = creator.runs()[0].last
    wait_until(lambda: creator.runs()[0].last > seen, within=LIMIT, what="and lives on after TERM")
    orphan.kill()
    wait_until_gone(lambda: living([orphan]), within=LIMIT, what="but KILL ends it")


def test_no_space_for_scratch_is_a_failure_of_its_own(creator: Creator, tmp_path: Path) -> None:
    (tmp_path / "draft").mkdir()  # in place of the file that it would write
    assert creator.output()[1] == 4
    assert creator.runs()[0].status == 4
