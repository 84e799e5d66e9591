"""The benchmarks count right: what is measured is work that was done. How fast it was is nobody's test."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import scenario
from benchmarks.scale import cleanup, keeping_up, rows, steady
from benchmarks.scale.followed import followed
from benchmarks.stack import Stack
from tests.harness.process import run_to_end
from tests.harness.waiting import wait_until

TASKS = 200


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below tmp_path: its parents are closed to the user that PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="contentgen-bench-test-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


def test_the_command_measures_a_drain(folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "cold-drain", f"--drain={TASKS}", f"--dir={folder}", "--output=json"]
    said = run_to_end(command, within=120)
    assert said.returncode == 0, said.stderr
    report = json.loads(said.stdout)
    (figure,) = report["figures"]
    assert (figure["name"], figure["unit"], figure["count"]) == (f"drain, backlog {TASKS}, cold WAL", "tasks/s", TASKS)
    assert figure["value"] > 0
    assert report["machine"]["cores"] >= 1
    assert not list(folder.iterdir()), "it tidies up"


def test_growth_is_measured_beside_the_plain_way(folder: Path) -> None:
    sizes = ("--committers=3", "--ended=1500", "--pool=1200", "--moves=21000")
    measures = ("notify", "retention", "worker-pool", "account-watch")
    command = [sys.executable, "-m", "benchmarks", *measures, *sizes, f"--dir={folder}", "--output=json"]
    said = run_to_end(command, within=180)
    assert said.returncode == 0, said.stderr
    figures = json.loads(said.stdout)["figures"]
    assert [(figure["unit"], figure["count"]) for figure in figures] == [
        *[("commits/s", 3)] * 3,
        *[("ms", 1_500)] * 2,
        ("ms", 1_200),
        *[("ms", 21_000)] * 2,
    ]
    assert all(figure["value"] > 0 for figure in figures)
    transactions = [figures[index]["note"].split()[0].strip(",") for index in (3, 4, 6, 7)]
    assert transactions == ["2", "1", "42", "2"]
    assert not list(folder.iterdir()), "it tidies up"


def test_the_command_compares_sizes(folder: Path) -> None:
    sizes = (f"--leases={TASKS}", f"--passing={TASKS}", "--batch=100", "--samples=10")
    hello, open_transaction = measured(folder, "hello", "open-transaction", *sizes)
    assert (hello["unit"], open_transaction["unit"]) == ("ms", "times")
    assert open_transaction["value"] > 0


def test_calls_beside_unread_watches_are_compared(folder: Path) -> None:
    figures = measured(folder, "unread-watches", "--samples=10", "--unread-watches=3")
    assert [figure["unit"] for figure in figures] == ["times", "times"]
    assert all(figure["value"] > 0 for figure in figures)


def measured(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks", *arguments, f"--dir={folder}", "--output=json"]
    said = run_to_end(command, within=280)
    assert said.returncode == 0, said.stderr
    figures: list[dict[str, Any]] = json.loads(said.stdout)["figures"]
    return figures


async def test_each_task_is_loaded_drained_and_counted_once(folder: Path) -> None:
    async with Stack(folder, accounts=2) as stack:
        loaded = await scenario.load(stack, TASKS, batch=50, in_flight=2)
        async with scenario.noop_workers(stack, 2, 30) as workers:
            drained = await scenario.drain(stack, workers, TASKS)
        assert (loaded.tasks, drained.tasks) == (TASKS, TASKS)
        scenario.check(stack, TASKS)
        with pytest.raises(scenario.WrongCounts, match="completed tasks"):
            scenario.check(stack, TASKS + 1)


async def test_workers_outlive_their_streams(folder: Path) -> None:
    stack = Stack(folder, accounts=2)
    stack._scheduler.command = [sys.executable, "-m", "tests.e2e.short_ages"]
    loaded = 0
    async with stack:
        async with followed(stack, count=2, depth=30) as told:
            while len(stack.logged("hello")) < 6:
                await scenario.load(stack, TASKS, batch=50, in_flight=2)
                loaded += TASKS
                await told.reach(loaded)
        assert told.completed == loaded
        scenario.check(stack, loaded)
        moves = dict(stack.rows("SELECT reason, count(*) FROM task_events GROUP BY reason"))
        # The last assignment of a stream may cross with its end: it is not sent then, or not read.
        unread = sum(moves.pop(reason, 0) for reason in ("NOT_DELIVERED", "NOT_HELD"))
        expected = {"SUBMITTED": loaded, "LEASED": loaded + unread, "STARTED": loaded, "COMPLETED": loaded}
        assert moves == expected, "no lease was lost or released"


def measured_at_scale(folder: Path, case: str) -> rows.Kept:
    """What a case keeps with small sizes, its counts checked."""
    kept = folder / "scale.jsonl"
    command = [sys.executable, "-m", "benchmarks.scale", "--quick", f"--cases={case}", f"--dir={folder}"]
    said = run_to_end([*command, f"--results={kept}"], within=240)
    assert said.returncode == 0, said.stderr
    assert list(folder.iterdir()) == [kept], "it tidies up"
    found = rows.read(kept.read_text().splitlines())
    assert list(found.runs[0].sizes) == [case]
    return found


@pytest.mark.parametrize("case", ["backlog", "workers", "accounts", "schedulers", "fill", "reads", "backup"])
def test_each_case_at_scale_keeps_rows(folder: Path, case: str) -> None:
    found = measured_at_scale(folder, case)
    assert {row.table.partition(":")[0] for row in found.rows} == {case}


def test_a_steady_load_is_counted(folder: Path) -> None:
    (counts,) = measured_at_scale(folder, "steady").of(steady.COUNTS)
    assert counts.values["submitted"] == counts.values["completed"] == 400


def test_a_cleanup_beside_calls_deletes_what_it_should(folder: Path) -> None:
    deleted = measured_at_scale(folder, "cleanup").of(cleanup.DELETED)
    assert [row.values["tasks"] for row in deleted] == [900, 900]


def test_the_retention_keeps_up_on_a_seeded_database(folder: Path) -> None:
    deleted = measured_at_scale(folder, "retention").of(keeping_up.DELETED)
    assert {row.values["of"]: row.values["rows"] for row in deleted}["ended tasks"] == 1_001


@pytest.mark.parametrize(
    "command", [("benchmarks", "submit"), ("benchmarks.check",), ("benchmarks.simulation", "check")]
)
def test_a_benchmark_that_is_to_end_ends_all_that_it_started(folder: Path, command: tuple[str, ...]) -> None:
    with subprocess.Popen([sys.executable, "-m", *command, f"--dir={folder}"], stderr=subprocess.PIPE) as run:
        end(run, signal.SIGTERM, folder)


def test_an_interrupted_comparison_ends_all_that_it_started(folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.peers", "--peers=contentgen", "--tasks=500", "--output=jsonl"]
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
    assert not [one for one in started if one.is_running()]
    assert not list(folder.iterdir()), "it tidies up"
