"""What `make bench-peers` and `make bench-check` compute, and what the docs show of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from lab.benchmarks.check import lost, ratio
from lab.benchmarks.goals import Figure as CheckedFigure
from lab.benchmarks.goals import Floor, Goal
from lab.benchmarks.kept import END, Part
from lab.benchmarks.peers import figures, rounds
from lab.benchmarks.peers.__main__ import main
from lab.benchmarks.peers.apps.peer import OURS, PLAIN, Scene, Tallies, Tally
from lab.benchmarks.peers.contenders import ALL, PEERS, Contender, Store
from lab.benchmarks.peers.figures import Figure, Kept, Run
from lab.benchmarks.peers.servers import WorkerFailed, Workers
from lab.benchmarks.scenario import WrongCounts

pytestmark = pytest.mark.unit


# What `make bench-peers` computes of its figures, and that docs/performance.md shows the figures that are kept.


ROOT = Path(__file__).parents[2]
KEPT = ROOT / "lab" / "benchmarks" / "results" / "peers.jsonl"
DOCUMENT = ROOT / "docs" / "performance.md"
RUN = Run(
    at="2026-11-28T10:00:00+00:00",
    commit="0123abcd",
    machine="2 cores",
    sync_ms=0.1,
    busy=0.02,
    durability={"fsync": "on"},
    versions={"pgqueuer": "1.6.0", "grpcio": "1.85.3"},
    settings={"pgqueuer": "as it was then"},
    tasks=20_000,
    rounds=3,
)
FIGURES = (
    *(
        Figure("contentgen", "our-job", number, value, 20_000)
        for number, value in enumerate((9_000, 12_000, 11_000), 1)
    ),
    Figure("contentgen", "drain-1", 1, 8_000, 20_000),
    Figure("contentgen", "enqueue", 1, 4_000, 5_000),
    Figure("contentgen", "idle-p50", 1, 2.04, 200),
    Figure("contentgen", "idle-p99", 1, 6, 200),
    Figure("pgqueuer", "our-job", 1, 3_000, 20_000),
    Figure("pgqueuer", "our-job", 2, 4_000, 20_000),
    Figure("pgqueuer", "bulk", 1, 59_000, 20_000),
    Figure("pgqueuer", "drain-2", 1, 28_000, 20_000),
)
SAMPLE = Kept((RUN,), FIGURES)


def by_key(key: str) -> Contender:
    return next(contender for contender in ALL if contender.key == key)


def test_a_median_is_of_all_rounds() -> None:
    assert SAMPLE.median("contentgen", "our-job") == figures.Median(11_000, 9_000, 12_000, rounds=3, count=20_000)
    assert SAMPLE.median("pgqueuer", "our-job") == figures.Median(3_500, 3_000, 4_000, rounds=2, count=20_000)
    assert SAMPLE.median("pgqueuer", "idle-p50") is None


def test_lines_are_read_as_they_were_written() -> None:
    lines = [figures.run_line(RUN), *map(figures.figure_line, FIGURES)]
    assert figures.read_figures(lines) == SAMPLE


@pytest.mark.parametrize("line", ["", "{}", '{"figure": {"peer": "pgqueuer"}}', '{"run": {}}', "[1]"])
def test_another_line_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 is not of a run"):
        figures.read_figures([figures.run_line(RUN), line])


def test_the_tables_show_medians_and_what_they_are_worth() -> None:
    measured, settings, conditions = figures.tables(SAMPLE).split("\n\n")
    ours, pgqueuer = measured.splitlines()[2:]
    assert ours == (
        "| contentgen | PostgreSQL | 4,000 | – | 8,000 / 11,000 | the result and its pool row, one commit; every write"
        " fenced | **11,000** | 2.0 / 6.0 |"
    )
    assert (
        "| – | 59,000 | – / 28,000 | nothing: the row is deleted; no result, no fence | **3,500** | – / – |" in pgqueuer
    )
    assert "| pgqueuer | PostgreSQL | pgqueuer 1.6.0 | as it was then |" in settings
    assert "`0123abcd`, 2026-11-28. 2 cores;" in conditions
    assert "Medians of 2 to 3 rounds" in conditions


def test_a_plot_has_the_quickest_first_and_its_spread() -> None:
    bars = figures.bars(SAMPLE, "our-job")
    assert [(contender.name, *numbers) for contender, *numbers in bars] == [
        ("contentgen", 11_000, 9_000, 12_000),
        ("pgqueuer", 3_500, 3_000, 4_000),
    ]


def test_a_page_is_changed_between_its_comments_only(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    before = f"{Part('another').begin}\n\nbefore\n\n{END}"
    part = Part("a command")
    path.write_text(f"{before}\n\n{part.begin}\n\nold\n\n{END}\n\nafter\n")
    part.write(path, "new")
    assert path.read_text() == f"{before}\n\n{part.begin}\n\nnew\n\n{END}\n\nafter\n"
    assert part.read(path.read_text()) == "new"


def test_the_document_shows_the_kept_figures() -> None:
    kept = figures.read_figures(KEPT.read_text().splitlines())
    assert figures.PAGE.read(DOCUMENT.read_text()) == figures.tables(kept), (
        "python -m lab.benchmarks.peers --from … --page … writes it"
    )
    assert {figure.peer for figure in kept.figures} == {contender.key for contender in ALL}


def test_names_of_contenders_are_unique() -> None:
    assert len({contender.key for contender in ALL}) == len(ALL)
    assert {peer.store for peer in PEERS} == set(Store)


def test_workers_counts_are_read_by_others(tmp_path: Path) -> None:
    tally, tallies = Tally(tmp_path), Tallies(tmp_path)
    assert tallies.ready() == 1
    tally.add()
    before = time.monotonic()
    tally.add()
    assert tallies.handled == 2
    assert before <= tallies.last <= time.monotonic()
    tallies.go()
    tally.wait_for_go()


RIGHT = {"handled": 10, "kept": 0, "results": 0, "pool": 0}


@pytest.mark.parametrize(
    ("key", "job", "counts"),
    [
        ("pgqueuer", PLAIN, RIGHT),
        ("pgqueuer", OURS, RIGHT | {"results": 10, "pool": 10}),
        ("saq-redis", PLAIN, RIGHT | {"kept": 10}),
        ("saq-redis", OURS, RIGHT | {"results": 10, "pool": 10}),
    ],
)
def test_each_wrong_count_ends_a_run(key: str, job: str, counts: dict[str, int]) -> None:
    scene = Scene(Path("folder"), "", "", job)
    rounds.check(by_key(key), scene, counts, 10)
    for what, count in counts.items():
        with pytest.raises(WrongCounts, match=f"'{what}': {count + 1}"):
            rounds.check(by_key(key), scene, counts | {what: count + 1}, 10)


async def test_a_worker_that_ends_early_is_named_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such broker')"]
    with pytest.raises(WorkerFailed, match=r"ended early, see .*worker-0\.log"):
        async with Workers(command, 1, tmp_path, {}):
            pass
    assert (tmp_path / "worker-0.log").read_text().strip() == "no such broker"


async def test_what_a_worker_has_started_ends_with_it(tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, sys; from pathlib import Path; from lab.benchmarks.peers.apps.tally import Tally;"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit());"
        "child = subprocess.Popen(['sleep', '60']); Path(sys.argv[1], 'child').write_text(str(child.pid));"
        "Tally(Path(sys.argv[1])); child.wait()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    async with Workers(command, 1, tmp_path, {"PYTHONPATH": str(ROOT)}):
        child = psutil.Process(int((tmp_path / "child").read_text()))
        assert child.is_running()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--peers=pgqueuer,kafka"], "no such peer: kafka (there are contentgen, pgqueuer,"),
        (["--peers=pgqueuer", "--python=nowhere"], "there is no nowhere: `make bench-peers` installs"),
        (["--plots=."], "--plots and --page go with --from"),
        (["--tasks=0"], "argument --tasks: 0 must be 1 or more"),
    ],
)
def test_a_wrong_argument_is_explained(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert said in capsys.readouterr().err


def test_a_file_of_something_else_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures"
    path.write_text("{}\n")
    assert main([f"--from={path}"]) == 1
    assert f"{path}: line 1 is not of a run" in capsys.readouterr().err


# When a hot path counts as slower: by its floor of the same run, not by what the machine does.


def figure(value: float, floor: float, *, less_is_better: bool = False) -> CheckedFigure:
    goal = Goal(1, 1, less_is_better=less_is_better)
    return CheckedFigure("a figure", value, "unit", 1, goal, floor=Floor(floor, floor))


@pytest.mark.parametrize("speed", [1.0, 0.4])
def test_a_slow_machine_changes_no_ratio(speed: float) -> None:
    assert ratio(figure(8_000 * speed, 20_000 * speed)) == pytest.approx(0.4)
    assert ratio(figure(3 / speed, 0.6 / speed, less_is_better=True)) == pytest.approx(0.2)


def test_a_loss_of_more_than_a_quarter_is_named() -> None:
    before = {"drain": 0.4, "submit": 0.5, "latency": 0.2}
    assert lost(before, {"drain": 0.29, "submit": 0.38, "latency": 0.3, "new": 0.1}) == ["drain"]
