"""What the benchmarks compute of their figures, how they keep them, and that lab/results/performance.md shows them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.benchmarks.callers import steady_sizes
from lab.benchmarks.check import RATIOS, worse
from lab.benchmarks.kept import Part, line_of, made_by
from lab.benchmarks.peers import __main__ as peers
from lab.benchmarks.peers import figures, rounds
from lab.benchmarks.peers.apps.peer import OURS, PLAIN, Scene, Tallies, Tally
from lab.benchmarks.peers.figures import ALL, PEERS, Figure, Store
from lab.benchmarks.peers.rounds import WorkerFailed, Workers
from lab.benchmarks.scale import __main__ as scale
from lab.benchmarks.scale import steady, tables
from lab.benchmarks.scale.case import Kept, Row, Run, Sizes, read_rows
from lab.benchmarks.scale.filled import FILL, years
from lab.benchmarks.scale.steady import drift, percentile
from lab.benchmarks.scale.tables import CASES
from lab.benchmarks.scale.years import compared, rates
from lab.benchmarks.scenario import WrongCounts

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
CONDITIONS: dict[str, Any] = {
    "at": "2026-11-28T10:00:00+00:00",
    "commit": "0123abcd",
    "machine": "2 cores",
    "sync_ms": 0.1,
    "busy": 0.02,
    "durability": {"fsync": "on"},
    "versions": {"pgqueuer": "1.6.0", "grpcio": "1.85.3"},
}
PEERS_RUN = figures.Run(**CONDITIONS, settings={"pgqueuer": "as it was then"}, tasks=20_000, rounds=3)
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
PEERS_SAMPLE = figures.Kept((PEERS_RUN,), FIGURES)
RUN = Run(**CONDITIONS, sizes={"workers": {"counts": [2, 100]}})
ROWS = (
    Row("drains", {"workers": 2, "tasks/s": 9_000, "ms a claim": 4.236}),
    Row("submits", {"waiting before": 1_000_000, "by": "batches"}),
    Row("drains", {"workers": 100, "tasks/s": 8_000, "more": 1}),
)
SAMPLE = Kept((RUN,), ROWS)


# How they are kept, and shown again.


def test_lines_are_read_as_they_were_written() -> None:
    assert figures.read_figures(map(line_of, (PEERS_RUN, *FIGURES))) == PEERS_SAMPLE
    assert read_rows(map(line_of, (RUN, *ROWS))) == SAMPLE


@pytest.mark.parametrize("read", [figures.read_figures, read_rows])
@pytest.mark.parametrize(
    "line", ["", "{}", '{"figure": {"peer": "p"}}', '{"row": {"table": "t"}}', '{"run": {}}', "[1]"]
)
def test_another_line_is_named(read: Callable[[list[str]], object], line: str) -> None:
    first = line_of(PEERS_RUN if read is figures.read_figures else RUN)
    with pytest.raises(ValueError, match="line 2 is not of a run"):
        read([first, line])


def test_a_document_is_changed_between_its_comments_only_however_often() -> None:
    part, other = made_by("a command"), made_by("another")
    document = f"{other.begin} before {other.end} {part.begin} old {part.end} after"
    for text in (" new ", " newer "):
        document = part.replaced(document, text)
        assert document == f"{other.begin} before {other.end} {part.begin}{text}{part.end} after"
    assert part.read(document) == "newer"
    with pytest.raises(ValueError, match="there is no 'begin' followed by 'end'"):
        Part("begin", "end").replaced("a begin", "new")


def kept_lines(name: str) -> list[str]:
    return (ROOT / f"lab/benchmarks/results/{name}.jsonl").read_text().splitlines()


def test_the_document_shows_what_is_kept() -> None:
    page = (ROOT / "lab/results/performance.md").read_text()
    measured = figures.read_figures(kept_lines("peers"))
    assert figures.PAGE.read(page) == figures.tables(measured), "lab.benchmarks.peers --from … --page … writes it"
    assert {figure.peer for figure in measured.figures} == {contender.key for contender in ALL}
    for name in ("scale", "years"):
        part = tables.part(Path(f"lab/benchmarks/results/{name}.jsonl"))
        shown = tables.tables(read_rows(kept_lines(name)))
        assert part.read(page) == shown, "python -m lab.benchmarks.scale --from … --page … writes it"


@pytest.mark.parametrize(
    ("main", "arguments", "text"),
    [
        (peers.main, ["--peers=pgqueuer,kafka"], "no such peer: kafka (there are contentgen, pgqueuer,"),
        (peers.main, ["--peers=pgqueuer", "--python=nowhere"], "there is no nowhere: `make bench-peers` installs"),
        (peers.main, ["--plots=."], "--plots and --page go with --from"),
        (peers.main, ["--tasks=0"], "argument --tasks: 0 must be 1 or more"),
        (scale.main, ["--cases=nothing"], "no such case: nothing"),
        (scale.main, ["--workers-tasks=0"], "must be 1 or more"),
        (scale.main, ["--page=page.md"], "--plots and --page go with --from"),
    ],
)
def test_a_wrong_argument_is_explained(
    main: Callable[[list[str]], int], arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert text in capsys.readouterr().err


def test_a_file_of_something_else_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures"
    path.write_text("{}\n")
    assert peers.main([f"--from={path}"]) == 1
    assert f"{path}: line 1 is not of a run" in capsys.readouterr().err


# The comparison with other queues.


def test_a_median_is_of_all_rounds() -> None:
    assert PEERS_SAMPLE.median("contentgen", "our-job") == figures.Median(11_000, 9_000, 12_000, rounds=3)
    assert PEERS_SAMPLE.median("pgqueuer", "our-job") == figures.Median(3_500, 3_000, 4_000, rounds=2)
    assert PEERS_SAMPLE.median("pgqueuer", "idle-p50") is None


def test_the_tables_show_medians_and_what_they_are_worth() -> None:
    measured, settings, conditions = figures.tables(PEERS_SAMPLE).split("\n\n")
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
    bars = figures.bars(PEERS_SAMPLE, "our-job")
    assert [(contender.name, *numbers) for contender, *numbers in bars] == [
        ("contentgen", 11_000, 9_000, 12_000),
        ("pgqueuer", 3_500, 3_000, 4_000),
    ]


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
    (contender,) = (contender for contender in ALL if contender.key == key)
    rounds.check(contender, scene, counts, 10)
    for what, count in counts.items():
        with pytest.raises(WrongCounts, match=f"'{what}': {count + 1}"):
            rounds.check(contender, scene, counts | {what: count + 1}, 10)


async def test_a_worker_that_ends_early_is_named_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such broker')"]
    with pytest.raises(WorkerFailed, match=r"ended early, see .*worker-0\.log"):
        async with Workers(command, 1, tmp_path, {}):
            pass
    assert (tmp_path / "worker-0.log").read_text().strip() == "no such broker"


async def test_what_a_worker_has_started_ends_with_it(tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, sys; from pathlib import Path; from lab.benchmarks.peers.apps.peer import Tally;"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit());"
        "child = subprocess.Popen(['sleep', '60']); Path(sys.argv[1], 'child').write_text(str(child.pid));"
        "Tally(Path(sys.argv[1])); child.wait()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    async with Workers(command, 1, tmp_path, {"PYTHONPATH": str(ROOT)}):
        child = psutil.Process(int((tmp_path / "child").read_text()))
        assert child.is_running()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


# When a hot path costs more than it did.


def test_a_cost_above_its_bound_is_named_with_its_times() -> None:
    before = {"drain, scheduler": 0.2, "drain, PostgreSQL": 2.0, "SubmitTask, scheduler": 1.6}
    now = {"drain, scheduler": 0.27, "drain, PostgreSQL": 2.59, "SubmitTask, scheduler": 1.0, "new": 9.0}
    assert worse(before, now) == {"drain, scheduler": pytest.approx(1.35)}


def test_all_costs_are_kept() -> None:
    paths = ("SubmitTask", "BatchSubmitTasks", "drain")
    kept = json.loads(RATIOS.read_text())
    assert set(kept) == {f"{path}, {part}" for path in paths for part in ("scheduler", "PostgreSQL")}
    assert min(kept.values()) > 0


# The cases at scale, and those of years.


def test_a_table_has_all_columns_of_its_rows() -> None:
    drains, its_rows, submits, _, _, runs, conditions = tables.tables(SAMPLE).split("\n\n")
    assert (drains, submits) == ("**drains**", "**submits**")
    assert its_rows.splitlines() == [
        "| workers | tasks/s | ms a claim | more |",
        "|---|---|---|---|",
        "| 2 | 9,000 | 4.24 | – |",
        "| 100 | 8,000 | – | 1 |",
    ]
    assert runs.splitlines()[2:] == ["| `0123abcd` | `--cases workers --workers-counts 2,100` |"]
    assert conditions.startswith("Commit `0123abcd`, 2026-11-28. 2 cores;")
    assert conditions.endswith("grpcio 1.85.3.")


def test_of_many_samples_some_are_shown() -> None:
    samples = [Row(steady.SAMPLES, {"minute": minute}) for minute in range(1, 31)]
    hidden = Row(steady.TABLES, {"minute": 1, "tasks": 2.5})
    shown = tables.tables(Kept((), (*samples, hidden)))
    assert [line for line in shown.splitlines() if line[2:3].isdigit()] == ["| 1 |", "| 11 |", "| 21 |"]
    assert steady.TABLES not in shown
    assert not tables.line(hidden)


def test_a_slope_is_an_hour_s() -> None:
    (grown,) = drift([0, 60, 120], {"grows": [10, 11, 12], "tiny": [0.1, 0.2, 0.3]})
    assert grown.values == {"what": "grows", "first": 10, "last": 12, "least": 10, "most": 12, "slope an hour": 60}
    assert not list(drift([0], {"grows": [10]}))


def test_a_percentile_of_nothing_is_zero() -> None:
    assert (percentile([1, 2, 3, 4], 50), percentile(range(200), 99), percentile([], 50)) == (3, 198, 0)


def test_a_steady_load_is_mostly_batches_and_never_too_much() -> None:
    calls = list(steady_sizes(205))
    assert [size for size, _ in calls[:3]] == [1, 10, 1]
    assert sum(size for size, _ in takewhile(lambda call: call[1] < 100, calls)) == 100
    assert 195 < sum(size for size, _ in calls) <= 205


def test_cases_have_plots_of_their_own() -> None:
    plots = [name for case in CASES.values() for name in case.plots]
    assert len(set(plots)) == len(plots)


def test_calls_are_compared_with_what_they_took_alone() -> None:
    (row,) = compared("calls", {"GetTask": [1.0, 2.0]}, {"GetTask": [2.0, 4.0, 6.0]})
    assert row.values["call"] == "GetTask"
    assert (row.values["p99"], row.values["p99 ms"], row.values["p99, times"]) == (2, 6, 3)
    assert (row.values["longest alone"], row.values["longest"]) == (2, 6)


def test_the_rate_of_batches_counts_from_the_end_of_the_first() -> None:
    values = rates([(10.0 + second, 500) for second in range(20)])
    assert (values["rows"], values["seconds"]) == (10_000, 19)
    assert [values[part] for part in ("rows/s", "in the first tenth", "in the last tenth")] == [500] * 3


def test_no_more_tasks_have_contents_than_there_are() -> None:
    sizes = Sizes({name: size.usual for name, size in FILL.items()})
    assert years(sizes, 1_000).contents == 1_000
    assert years(sizes).span == timedelta(days=1_000)
