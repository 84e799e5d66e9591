"""What must be so after an import, whatever its source: the exit status, what is said, what is in the database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lab.fuzz.old_databases.cases import Shape
from lab.fuzz.old_databases.draft import HONEST, HONEST_TASKS
from lab.fuzz.old_databases.running import WITHIN, Ended
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
_REMEMBERED = "SELECT kind, count(*) FROM imported WHERE source_id = :id GROUP BY kind"
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
    """Of the process itself and what it said."""
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
    """Yields what was said against what is there."""
    if ended.status not in {ALL_TAKEN, LEFT_OUT}:
        return
    totals = sums(ended.out)
    named_count = sum(_rows_of(line) for line in ended.out.splitlines() if line.startswith(_LEFT_OUT))
    left_out = sum(numbers[2] for numbers in totals.values())
    if left_out != named_count or (ended.status == LEFT_OUT) != bool(named_count):
        yield f"exit status {ended.status}, {left_out} left out by the sums, {named_count} named"
    counts = {row[0]: row[1] for row in connection.execute(sa.text(_REMEMBERED), {"id": source_id})}
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
