"""What the cases of years compute of their rows, and that docs/performance.md shows the rows that are kept."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from benchmarks.scale import beside, keeping_up, rows, tables
from benchmarks.scale.case import Sizes
from benchmarks.scale.filled import FILL, years

ROOT = Path(__file__).parents[2]
KEPT = Path("benchmarks", "results", "years.jsonl")


def test_calls_are_compared_with_what_they_took_alone() -> None:
    alone, meanwhile = {"GetTask": [1.0, 2.0]}, {"GetTask": [2.0, 4.0, 6.0]}
    (row,) = beside.compared("calls", alone, meanwhile)
    assert row.values["call"] == "GetTask"
    assert (row.values["p99"], row.values["p99 ms"], row.values["p99, times"]) == (2, 6, 3)
    assert (row.values["longest alone"], row.values["longest"]) == (2, 6)


def test_the_rate_of_batches_counts_from_the_end_of_the_first() -> None:
    batches = [(10.0 + second, 500) for second in range(20)]
    assert keeping_up.rates(batches) == {
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


def test_the_document_shows_the_kept_rows() -> None:
    kept = rows.read((ROOT / KEPT).read_text().splitlines())
    assert tables.part(KEPT).read((ROOT / "docs" / "performance.md").read_text()) == tables.tables(kept), (
        "python -m benchmarks.scale --from … --page … writes it"
    )
