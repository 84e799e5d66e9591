"""The benchmarks count right: what is measured is work that was done. How fast it was is nobody's test."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.benchmarks import __main__ as benchmarks
from lab.benchmarks import scenario
from lab.benchmarks.scale import __main__ as scale
from lab.benchmarks.scale.case import Kept, read_rows
from lab.benchmarks.scale.steady import COUNTS
from lab.benchmarks.scale.years import CLEANED_UP, RETENTION_DELETED
from lab.benchmarks.stack import Stack
from tests.harness.cluster import server_folder
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

TASKS = 200


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as path:
        yield path


@pytest.mark.costly("a scheduler, a loader and workers are measured as processes", seconds=2)
def test_the_command_measures_a_drain(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = (f"--drain={TASKS}", "--lives=500")
    assert benchmarks.main(["cold-drain", *sizes, f"--dir={folder}", "--output=json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (figure,) = report["figures"]
    assert (figure["name"], figure["unit"], figure["count"]) == (f"drain, backlog {TASKS}, cold WAL", "tasks/s", TASKS)
    assert figure["value"] > 0
    assert report["machine"]["cores"] >= 1
    assert not list(folder.iterdir()), "it tidies up"


@pytest.mark.costly("loaders and workers beside a scheduler", seconds=6)
async def test_workers_outlive_their_streams(folder: Path) -> None:
    stack = Stack(folder, accounts=2)
    stack._scheduler.command = [sys.executable, "-m", "tests.harness.short_ages"]
    loaded = 0
    async with stack:
        async with scenario.noop_workers(stack, 2, 30) as fleet:
            fleet.go()
            while len(stack.logged("hello")) < 6:
                await scenario.load(stack, TASKS, batch=50, in_flight=2)
                loaded += TASKS
                await fleet.reach(loaded)
        assert fleet.completed == loaded
        scenario.check(stack, loaded)
        with pytest.raises(scenario.WrongCounts, match="completed tasks"):
            scenario.check(stack, loaded + 1)
        moves = dict(stack.rows("SELECT reason, count(*) FROM task_events GROUP BY reason"))
        # The last assignment of a stream may cross with its end: it is not sent then, or not read.
        unread = sum(moves.pop(reason, 0) for reason in ("NOT_DELIVERED", "NOT_HELD"))
        expected = {"SUBMITTED": loaded, "LEASED": loaded + unread, "STARTED": loaded, "COMPLETED": loaded}
        assert moves == expected, "no lease was lost or released"


def measured_at_scale(folder: Path, case: str, *options: str) -> Kept:
    """What a case keeps with small sizes, its counts checked."""
    kept = folder / "scale.jsonl"
    kept.unlink(missing_ok=True)
    arguments = ["--quick", f"--cases={case}", f"--dir={folder}", f"--results={kept}", *options]
    assert scale.main(arguments) == 0
    results = read_rows(kept.read_text().splitlines())
    assert list(results.runs[0].sizes) == [case]
    assert {row.table.replace(":", " ").split()[0] for row in results.rows} == {case}
    return results


@pytest.mark.release("a scheduler, a loader and workers are measured as processes")
@pytest.mark.parametrize("case", ["backlog", "workers", "accounts", "schedulers"])
def test_each_case_at_scale_keeps_rows(folder: Path, case: str) -> None:
    measured_at_scale(folder, case)
    assert [left.name for left in folder.iterdir()] == ["scale.jsonl"], "it tidies up"


@pytest.mark.release("a scheduler, a loader and workers are measured as processes")
def test_a_steady_load_is_counted(folder: Path) -> None:
    (counts,) = measured_at_scale(folder, "steady").of(COUNTS)
    assert counts.values["submitted"] == counts.values["completed"] == 400


@pytest.fixture(scope="module")
def years() -> Iterator[Path]:
    """A folder whose database the first case fills; the next ones find it there."""
    with server_folder() as path:
        yield path


@pytest.mark.release("a scheduler is measured on a database that is filled first")
@pytest.mark.parametrize("case", ["fill", "reads", "backup"])
def test_each_case_on_a_filled_database_keeps_rows(years: Path, case: str) -> None:
    measured_at_scale(years, case, f"--keep={years}")


@pytest.mark.release("a scheduler is measured on a database that is filled first")
def test_a_cleanup_beside_calls_deletes_what_it_should(years: Path) -> None:
    deleted = measured_at_scale(years, "cleanup", f"--keep={years}").of(CLEANED_UP)
    assert [row.values["tasks"] for row in deleted] == [900, 900]


@pytest.mark.release("a scheduler is measured on a database that is filled first")
def test_the_retention_keeps_up_on_a_seeded_database(folder: Path) -> None:
    deleted = measured_at_scale(folder, "retention").of(RETENTION_DELETED)
    assert {row.values["of"]: row.values["rows"] for row in deleted}["ended tasks"] == 1_001


@pytest.mark.release("each program starts a stack")
@pytest.mark.parametrize("command", [("lab.benchmarks", "submit"), ("lab.benchmarks.check",)])
def test_a_benchmark_that_is_to_end_ends_all_that_it_started(folder: Path, command: tuple[str, ...]) -> None:
    with subprocess.Popen([sys.executable, "-m", *command, f"--dir={folder}"], stderr=subprocess.PIPE) as run:
        end(run, signal.SIGTERM, folder)


@pytest.mark.release("a peer is measured by its program")
def test_an_interrupted_comparison_ends_all_that_it_started(folder: Path) -> None:
    command = [sys.executable, "-m", "lab.benchmarks.peers", "--peers=contentgen", "--tasks=500", "--output=jsonl"]
    with subprocess.Popen([*command, f"--dir={folder}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout
        measured = json.loads(run.stdout.readline())["run"]
        assert (measured["tasks"], measured["durability"]["fsync"]) == (500, "on")
        figure = json.loads(run.stdout.readline())["figure"]
        assert (figure["peer"], figure["measure"], figure["count"]) == ("contentgen", "enqueue", 125)
        assert figure["value"] > 0
        end(run, signal.SIGINT, folder)


def end(run: subprocess.Popen[bytes], how: signal.Signals, folder: Path) -> None:
    """Tells a benchmark to end once its processes run: it says so, and leaves neither a process nor a file."""
    assert run.stderr
    wait_until(lambda: len(psutil.Process(run.pid).children(recursive=True)) > 3, within=60, what="processes")
    started = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(how)
    assert "interrupted" in run.stderr.read().decode()
    assert run.wait(30) == 130
    assert not [process for process in started if process.is_running()]
    assert not list(folder.iterdir()), "it tidies up"
