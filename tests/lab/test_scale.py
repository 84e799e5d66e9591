"""What `make bench-scale` and the cases of years compute, and what the docs show of it."""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile
from pathlib import Path

import pytest
from lab.benchmarks.scale.steady_loader import sizes

from lab.benchmarks.scale import tables
from lab.benchmarks.scale.__main__ import main
from lab.benchmarks.scale.case import Kept, Row, Run, Sizes, read_rows, row_line, run_line
from lab.benchmarks.scale.filled import FILL, years
from lab.benchmarks.scale.steady import SAMPLES, TABLES, drift, percentile
from lab.benchmarks.scale.tables import CASES
from lab.benchmarks.scale.years import compared, rates

pytestmark = pytest.mark.unit


# What `make bench-scale` computes of its rows, and that docs/performance.md shows the rows that are kept.


ROOT = Path(__file__).parents[2]
KEPT = ROOT / "lab" / "benchmarks" / "results" / "scale.jsonl"
DOCUMENT = ROOT / "docs" / "performance.md"
RUN = Run(
    at="2026-11-28T10:00:00+00:00",
    commit="0123abcd",
    machine="2 cores",
    sync_ms=0.1,
    busy=0.02,
    durability={"fsync": "on"},
    versions={"grpcio": "1.85.3"},
    sizes={"workers": {"counts": [2, 100]}},
)
ROWS = (
    Row("drains", {"workers": 2, "tasks/s": 9_000, "ms a claim": 4.236}),
    Row("submits", {"waiting before": 1_000_000, "by": "batches"}),
    Row("drains", {"workers": 100, "tasks/s": 8_000, "more": 1}),
)
SAMPLE = Kept((RUN,), ROWS)


def test_lines_are_read_as_they_were_written() -> None:
    assert read_rows([run_line(RUN), *map(row_line, ROWS)]) == SAMPLE


@pytest.mark.parametrize("line", ["", "{}", '{"row": {"table": "drains"}}', '{"run": {}}', "[1]"])
def test_another_line_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 is not of a run"):
        read_rows([run_line(RUN), line])


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
    samples = [Row(SAMPLES, {"minute": minute}) for minute in range(1, 31)]
    hidden = [Row(TABLES, {"minute": 1, "tasks": 2.5})]
    shown = tables.tables(Kept((), (*samples, *hidden)))
    assert [line for line in shown.splitlines() if line[2:3].isdigit()] == ["| 1 |", "| 11 |", "| 21 |"]
    assert TABLES not in shown
    assert not tables.line(hidden[0])


def test_a_slope_is_an_hour_s() -> None:
    (grown,) = drift("drift", [0, 60, 120], {"grows": [10, 11, 12], "tiny": [0.1, 0.2, 0.3]})
    assert grown.values == {"what": "grows", "first": 10, "last": 12, "least": 10, "most": 12, "slope an hour": 60}
    assert not list(drift("drift", [0], {"grows": [10]}))


def test_a_percentile_of_nothing_is_zero() -> None:
    assert (percentile([1, 2, 3, 4], 50), percentile(range(200), 99), percentile([], 50)) == (3, 198, 0)


def test_a_steady_load_is_mostly_batches_and_never_too_much() -> None:
    calls = list(sizes(205))
    assert [size for size, _ in calls[:3]] == [1, 10, 1]
    assert sum(size for size, _ in takewhile(lambda call: call[1] < 100, calls)) == 100
    assert 195 < sum(size for size, _ in calls) <= 205


def test_a_size_is_one_number_or_several() -> None:
    chosen = Sizes({"counts": (2, 100), "tasks": (5,)})
    assert (chosen.all("counts"), chosen.one("tasks")) == ((2, 100), 5)


def test_cases_have_tables_of_their_own() -> None:
    plots = [name for case in CASES.values() for name in case.plots]
    assert len(set(plots)) == len(plots)
    assert all(case.sizes.keys() and case.takes for case in CASES.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cases=nothing"], "no such case: nothing"),
        (["--workers-tasks=0"], "must be 1 or more"),
        (["--page=page.md"], "--plots and --page go with --from"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


def test_the_document_shows_the_kept_rows() -> None:
    kept = read_rows(KEPT.read_text().splitlines())
    assert tables.PAGE.read(DOCUMENT.read_text()) == tables.tables(kept), (
        "python -m lab.benchmarks.scale --from … --page … writes it"
    )


# What the cases of years compute of their rows, and that docs/performance.md shows the rows that are kept.


KEPT_YEARS = Path("lab", "benchmarks", "results", "years.jsonl")


def test_calls_are_compared_with_what_they_took_alone() -> None:
    alone, meanwhile = {"GetTask": [1.0, 2.0]}, {"GetTask": [2.0, 4.0, 6.0]}
    (row,) = compared("calls", alone, meanwhile)
    assert row.values["call"] == "GetTask"
    assert (row.values["p99"], row.values["p99 ms"], row.values["p99, times"]) == (2, 6, 3)
    assert (row.values["longest alone"], row.values["longest"]) == (2, 6)


def test_the_rate_of_batches_counts_from_the_end_of_the_first() -> None:
    batches = [(10.0 + second, 500) for second in range(20)]
    assert rates(batches) == {
        "rows": 10_000,
        "seconds": 19,
        "rows/s": 500,
        "in the first tenth": 500,
        "in the last tenth": 500,
    }


def test_no_more_tasks_have_contents_than_there_are() -> None:
    sizes = Sizes({name: size.usual for name, size in FILL.items()})
    assert years(sizes, 1_000).contents == 1_000
    assert years(sizes).span == timedelta(days=1_000)


def test_the_document_shows_the_kept_years() -> None:
    kept = read_rows((ROOT / KEPT_YEARS).read_text().splitlines())
    assert tables.part(KEPT_YEARS).read((ROOT / "docs" / "performance.md").read_text()) == tables.tables(kept), (
        "python -m lab.benchmarks.scale --from … --page … writes it"
    )
