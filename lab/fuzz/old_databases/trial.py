"""Whole old databases, imported by the command into one that holds something already, and what must be so then."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lab.fuzz.inputs.every import memory
from lab.fuzz.old_databases.cases import TARGET, Case, Shape, laid_out
from lab.fuzz.old_databases.draft import HONEST, HONEST_TASKS, honest
from lab.fuzz.old_databases.running import WITHIN, Ended, Run, imports_apart
from lab.fuzz.tally import Finding, Tally
from scheduler_svc.schema.migrate import upgrade
from tests.harness.cluster import Databases, throwaway_server
from tests.harness.importing import APPROVED_BUT_NOT_OFFERED, SECRET
from tests.harness.scheduling import INVARIANTS

ALL_TAKEN, LEFT_OUT, REFUSED = 0, 3, 78
_LEFT_OUT = "left out: "
_PROGRESS = re.compile(r"(accounts|tasks|contents|pool entries) [0-9,]+ of [0-9,]+ \(")
MAX_MIB = 700.0
"""Of memory that an import may have."""
_KINDS = {"accounts": 1, "tasks": 2, "contents": 3, "pool entries": 4}
_TABLES = {
    "accounts": "account_id",
    "tasks": "task_key",
    "task_payloads": "task_key",
    "contents": "content_id",
    "publish_pool": "content_id",
}
_NOT_THERE = """
    SELECT kind, old_id, new_id FROM imported AS i WHERE source_id = :id AND CASE kind
        WHEN 1 THEN NOT EXISTS (SELECT FROM accounts WHERE account_id = i.new_id)
        WHEN 2 THEN NOT EXISTS (SELECT FROM tasks JOIN task_payloads USING (task_key) WHERE task_key = i.new_id)
        WHEN 3 THEN NOT EXISTS (SELECT FROM contents WHERE content_id = i.new_id)
        ELSE NOT EXISTS (SELECT FROM publish_pool WHERE content_id = i.new_id) END
"""
_SHARED = """
    SELECT kind, new_id, count(*) FROM imported WHERE source_id = :id AND kind <> 1 GROUP BY 1, 2 HAVING count(*) > 1
"""
_HONEST = f"""
    SELECT count(*), count(*) FILTER (WHERE t.status = 1), count(c.content_id), count(p.content_id)
    FROM tasks AS t JOIN task_payloads AS q USING (task_key) LEFT JOIN contents AS c USING (task_key)
    LEFT JOIN publish_pool AS p ON p.content_id = c.content_id
    WHERE topic LIKE '{HONEST} _' AND task_key NOT IN (SELECT new_id FROM imported WHERE source_id <> :id AND kind = 2)
"""
"""Tasks, pending ones, contents and pool entries of the honest rows."""


@dataclass(frozen=True)
class Snapshot:
    """Rows by their keys, of all tables that an import writes."""

    tables: Mapping[str, Mapping[int, Any]]
    imported: Any

    @classmethod
    def of(cls, connection: sa.Connection) -> Snapshot:
        tables = {
            table: {row._mapping[key]: tuple(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}"))}
            for table, key in _TABLES.items()
        }
        return cls(tables, connection.execute(sa.text("SELECT * FROM imported ORDER BY 1, 2, 3")).fetchall())

    def hurt(self, after: Snapshot) -> Iterator[str]:
        """Rows that were there, and are others or gone."""
        for table, rows in self.tables.items():
            changed = [key for key, row in rows.items() if after.tables[table].get(key) != row]
            if changed:
                yield f"what was in {table} before is hurt: {changed[:5]}"


def wrong_with_ending(ended: Ended, shape: Shape) -> Iterator[str]:
    if ended.hung:
        yield f"no end within {WITHIN:g} s"
        return
    if ended.status not in {ALL_TAKEN, LEFT_OUT, REFUSED}:
        yield f"exit status {ended.status}: {ended.err[-2_000:]}"
    if "Traceback" in ended.err + ended.out:
        yield f"a traceback: {ended.err[-2_000:]}"
    if SECRET in ended.err + ended.out:
        yield f"the secret is told: {ended.err[-2_000:]}"
    if strange := {char for char in ended.out + ended.err if not (char.isprintable() or char == "\n")}:
        yield f"it shows {strange!r}"
    if ended.peak_mib > MAX_MIB:
        yield f"it had {ended.peak_mib:.0f} MiB of memory"
    lines = [line for line in ended.err.splitlines() if not _PROGRESS.match(line)]
    if (ended.status == REFUSED) != bool(lines):
        yield f"exit status {ended.status}, and on the standard error {ended.err[:500]!r}"
    if shape.refused and ended.status != REFUSED:
        yield f"exit status {ended.status} of what can't be imported"
    if shape.honest and ended.status == REFUSED:
        yield f"refused as a whole: {ended.err[:500]}"


def wrong_with_sums(ended: Ended, connection: sa.Connection, source_id: int) -> Iterator[str]:
    if ended.status not in {ALL_TAKEN, LEFT_OUT}:
        return
    totals = sums(ended.out)
    named_count = sum(_rows_of(line) for line in ended.out.splitlines() if line.startswith(_LEFT_OUT))
    left_out = sum(numbers[2] for numbers in totals.values())
    if left_out != named_count or (ended.status == LEFT_OUT) != bool(named_count):
        yield f"exit status {ended.status}, {left_out} left out by the sums, {named_count} named"
    remembered = "SELECT kind, count(*) FROM imported WHERE source_id = :id GROUP BY kind"
    counts = {row[0]: row[1] for row in connection.execute(sa.text(remembered), {"id": source_id})}
    for name, kind in _KINDS.items():
        imported, earlier, _ = totals[name]
        if imported + earlier != counts.get(kind, 0):
            yield f"{imported} + {earlier} {name} taken by what it says, {counts.get(kind, 0)} are remembered"


def _rows_of(line: str) -> int:
    """Returns a row of its own, by its id; or so many without one."""
    first = line.removeprefix(_LEFT_OUT).partition(" ")[0].replace(",", "")
    return int(first) if first.isdecimal() else 1


def wrong_with_database(connection: sa.Connection, source_id: int, shape: Shape) -> Iterator[str]:
    """Nothing half done, nothing twice, the invariants, the honest rows."""
    for description, query in {"remembered, but not there": _NOT_THERE, "two old rows are one": _SHARED}.items():
        if rows := connection.execute(sa.text(query), {"id": source_id}).fetchmany(5):
            yield f"{description}: {rows}"
    for description, query in INVARIANTS.items():
        if description != APPROVED_BUT_NOT_OFFERED and (rows := connection.execute(sa.text(query)).fetchmany(5)):
            yield f"not true any more: {description}: {rows}"
    tasks = connection.execute(sa.text("SELECT count(*) FROM tasks")).scalar_one()
    remembered = connection.execute(sa.text("SELECT count(*) FROM imported WHERE kind = 2")).scalar_one()
    if tasks != remembered:
        yield f"{tasks} tasks, of which {remembered} are remembered as imported"
    if shape.honest:
        row = tuple(connection.execute(sa.text(_HONEST), {"id": source_id}).one())
        if row[0] != HONEST_TASKS or not row[1]:
            yield f"honest rows did not arrive: {row}"


def wrong_with_repetition(first: Ended, second: Ended, before: Snapshot, after: Snapshot) -> Iterator[str]:
    """The second time takes nothing, says the same of what is left out, and changes nothing."""
    if second.status != first.status:
        yield f"exit status {first.status}, and {second.status} the second time: {second.err[:500]}"
    if before != after:
        tables = [name for name in _TABLES if before.tables[name] != after.tables[name]]
        yield f"the second time changed {tables or 'what is remembered'}"
    if second.status in {ALL_TAKEN, LEFT_OUT} and any(numbers[0] for numbers in sums(second.out).values()):
        yield f"the second time took something: {sums(second.out)}"
    lines = [[line for line in ended.out.splitlines() if line.startswith("left out")] for ended in (first, second)]
    if first.status == LEFT_OUT and lines[0] != lines[1]:
        yield f"the second time left out others: {sorted(set(lines[0]) ^ set(lines[1]))[:5]}"


def sums(out: str) -> dict[str, tuple[int, int, int]]:
    """Taken, before and left out by kind, of the table at the end; zeros where it is not there."""
    totals = dict.fromkeys(_KINDS, (0, 0, 0))
    for line in out.splitlines():
        for name in _KINDS:
            if line.startswith(name) and not line.startswith("left out"):
                imported, earlier, left_out = (int(text.replace(",", "")) for text in line.split()[-3:])
                totals[name] = (imported, earlier, left_out)
    return totals


_BEFORE = "before"
"""The name of the source of what is there already."""


def import_databases(seed: int, numbers: range) -> Tally:
    """Returns what the imports of these cases came to; runs in a process of the campaign's pool."""
    tally = Tally()
    with (
        throwaway_server() as server,
        closing(Databases(server)) as databases,
        _folder(memory()) as folder,
        imports_apart(folder) as run,
    ):
        template = _template(databases, server.url, folder, run)
        for number in numbers:
            with (
                databases.lent(template) as url,
                _folder(folder) as place,
                laid_out(seed, number, place, databases) as case,
            ):
                tally.add(_tried(case, url, run))
    return tally


@contextmanager
def _folder(above: Path | str | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=above) as folder:
        yield Path(folder)


def _template(databases: Databases, url_of: Callable[[str], str], folder: Path, run: Run) -> str:
    """The name of a database that holds an import of honest and less honest rows, to be cloned for each case."""
    name = databases.create()
    engine = sa.create_engine(url_of(name), poolclass=sa.NullPool)
    upgrade(engine)
    engine.dispose()
    honest().write(folder / "before.db")
    result = run(url_of(name), f"sqlite:///{folder}/before.db", ("--source", _BEFORE))
    assert result.status in {ALL_TAKEN, LEFT_OUT}, result.err
    return name


def _tried(case: Case, database_url: str, run: Run) -> Tally:
    tally = Tally()
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        trial = Trial(case, database_url, connection, run)
        problems = list(trial.problems())
    for problem in problems:
        command = f"{case.url} {' '.join(case.arguments)}"
        tally.find(Finding(TARGET, f"{case.shape}: {problem}", case.seed, case.number, command))
    endings = {ALL_TAKEN: "all taken", LEFT_OUT: "rows left out", REFUSED: "refused"}
    tally.count(TARGET, "FOUND" if problems else endings[trial.status])
    return tally


class Trial:
    """One case, imported twice, seldom after a dry run."""

    def __init__(self, case: Case, database_url: str, connection: sa.Connection, run: Run) -> None:
        self._case = case
        self._database_url = database_url
        self._connection = connection
        self._import = run
        self.status = -1
        """How the first import ended."""

    def problems(self) -> Iterator[str]:
        snapshot = Snapshot.of(self._connection)
        if self._case.dry_run_first:
            result = self._run("--dry-run")
            yield from wrong_with_ending(result, self._case.demands)
            if Snapshot.of(self._connection) != snapshot:
                yield "a dry run has written something"
        first = self._run()
        self.status = first.status
        later_snapshot = Snapshot.of(self._connection)
        yield from snapshot.hurt(later_snapshot)
        yield from self._wrong(first)
        second = self._run()
        yield from self._wrong(second)
        yield from wrong_with_repetition(first, second, later_snapshot, Snapshot.of(self._connection))

    def _run(self, *extra_arguments: str) -> Ended:
        return self._import(self._database_url, self._case.url, (*self._case.arguments, *extra_arguments))

    def _wrong(self, result: Ended) -> Iterator[str]:
        yield from wrong_with_ending(result, self._case.demands)
        newest = sa.text("SELECT source_id FROM import_sources WHERE name <> :before")
        source_id = self._connection.execute(newest, {"before": _BEFORE}).scalar() or 0
        yield from wrong_with_sums(result, self._connection, source_id)
        yield from wrong_with_database(self._connection, source_id, self._case.demands)
