"""The tables of kept rows, in Markdown: on a screen and in docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.benchmarks import conditions
from lab.benchmarks.markdown import table
from lab.benchmarks.page import Part
from lab.benchmarks.report import number
from lab.benchmarks.scale.cases import CASES
from lab.benchmarks.scale.rows import Kept, Row, Run, Value


def part(kept: Path) -> Part:
    """Returns the part of the page that shows this file."""
    return Part(f"python -m lab.benchmarks.scale --from {kept} --page docs/performance.md")


PAGE = part(Path("lab/benchmarks/results/scale.jsonl"))
_EVERY = {title: every for case in CASES.values() for title, every in case.every.items()}
_NONE = "–"


def tables(kept: Kept) -> str:
    """Returns all tables, and a paragraph on the machine."""
    titles = dict.fromkeys(row.table for row in kept.rows)
    rows_by_title = {title: kept.of(title)[:: _EVERY.get(title, 1)] for title in titles if _EVERY.get(title, 1)}
    return "\n\n".join(
        [*(_titled(title, rows) for title, rows in rows_by_title.items()), _runs(kept), *_conditions(kept)]
    )


def line(row: Row) -> str:
    """One for a screen; empty where its table is not shown."""
    columns = ", ".join(f"{column} {cell(value)}" for column, value in row.values.items())
    return f"{row.table}: {columns}" if _EVERY.get(row.table, 1) else ""


def _titled(title: str, rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row.values))
    cells = ([cell(row.values[column]) if column in row.values else _NONE for column in columns] for row in rows)
    return f"**{title}**\n\n{table(columns, cells)}"


def cell(value: Value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else number(value)


def _runs(kept: Kept) -> str:
    """How to do them again, in the order of their rows."""
    runs = dict.fromkeys((f"`{run.commit}`", f"`{_options(run)}`") for run in kept.runs)
    return f"**the runs**\n\n{table(['commit', 'options'], runs)}"


def _options(run: Run) -> str:
    """Those of `python -m lab.benchmarks.scale` that are not the usual ones."""
    arguments = (
        f"--{case}-{name} {','.join(map(str, values))}"
        for case, sizes in run.sizes.items()
        for name, values in sizes.items()
        if tuple(values) != CASES[case].sizes[name].usual
    )
    return " ".join([f"--cases {','.join(run.sizes)}", *arguments])


def _conditions(kept: Kept) -> list[str]:
    versions = {name: version for run in kept.runs for name, version in run.versions.items()}
    versions_text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [f"{paragraph} {versions_text}." for paragraph in conditions.paragraphs(kept.runs)]
