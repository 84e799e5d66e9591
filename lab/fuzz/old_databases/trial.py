"""Whole old databases, imported by the command into one that holds something already, and what must be so then."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import sqlalchemy as sa

from lab.fuzz.old_databases.shapes import SHAPES, TARGET, Shape, laid_out, shape_of
from lab.fuzz.old_databases.writing import HONEST, honest_rows, write_file
from lab.fuzz.tally import Finding, Tally, broken
from scheduler_svc.schema.migrate import upgrade
from tests.harness.cluster import Databases, server_folder, throwaway_server
from tests.harness.fork_server import fork_server
from tests.harness.importing import APPROVED_BUT_NOT_OFFERED, SECRET, peak_kib, sums_of
from tests.harness.process import inherited, installed
from tests.harness.scheduling import INVARIANTS

WITHIN = 120.0
"""Seconds in which an import of a case has to end, on a machine that does other work too."""
MAX_MIB = 700.0
"""Of memory that an import may have."""
LEFT_OUT, REFUSED = 3, 78
NO_END = 124
ENDINGS = {0: "all taken", LEFT_OUT: "rows left out", REFUSED: "refused"}


@dataclass(frozen=True)
class Ended:
    status: int
    """As the shell has it, but below zero if a signal ended it, and NO_END if it did not end in time."""
    out: str = ""
    err: str = ""
    peak_mib: float = 0.0


def run_import(folder: Path, database_url: str, url: str, *arguments: str) -> Ended:
    """Runs the command as a fork of a process that has imported it, since a new Python would cost more."""
    out, err = folder / "out", folder / "err"
    for path in (out, err):
        path.write_bytes(b"")
    command = [str(installed("contentgen-scheduler")), "import", url, *arguments]
    environment = inherited() | {"DATABASE_URL": database_url}
    process = fork_server().start(command, environment, folder, out, err)
    end, peak = time.monotonic() + WITHIN, 0
    while (status := process.poll()) is None and time.monotonic() < end:
        peak = max(peak, peak_kib(process.pid))
        time.sleep(0.005)
    process.send_signal(SIGKILL)
    process.wait()
    out_text, err_text = (path.read_text("utf-8", "surrogateescape") for path in (out, err))
    return Ended(NO_END if status is None else status, out_text, err_text, peak / 1024)


def wrong_with_ending(ended: Ended, shape: Shape) -> Iterator[str]:
    if ended.status == NO_END:
        yield f"no end within {WITHIN:g} s"
        return
    if ended.status not in ENDINGS:
        yield f"exit status {ended.status}: {ended.err[-2_000:]}"
    if "Traceback" in ended.err + ended.out:
        yield f"a traceback: {ended.err[-2_000:]}"
    if SECRET in ended.err + ended.out:
        yield f"the secret is told: {ended.err[-2_000:]}"
    if strange := {char for char in ended.out + ended.err if not (char.isprintable() or char == "\n")}:
        yield f"it shows {strange!r}"
    if ended.peak_mib > MAX_MIB:
        yield f"it had {ended.peak_mib:.0f} MiB of memory"
    if (ended.status == REFUSED) != bool(re.sub(_PROGRESS, "", ended.err)):
        yield f"exit status {ended.status}, and on the standard error {ended.err[:500]!r}"
    if shape.refused and ended.status != REFUSED:
        yield f"exit status {ended.status} of what can't be imported"
    if shape.honest and ended.status == REFUSED:
        yield f"refused as a whole: {ended.err[:500]}"


_PROGRESS = r"(?m)^(accounts|tasks|contents|pool entries) [0-9,]+ of [0-9,]+ \(.*\n"


def wrong_with_sums(ended: Ended, connection: sa.Connection) -> Iterator[str]:
    """What it says of the newest source is what is remembered of it."""
    if ended.status not in {0, LEFT_OUT}:
        return
    sums = sums_of(ended.out)
    named = re.findall(r"(?m)^left out: ([0-9,]*)", ended.out)  # so many, or one by its name
    named_count = sum(int(number.replace(",", "")) if number else 1 for number in named)
    left_out = sum(numbers[2] for numbers in sums.values())
    if left_out != named_count or (ended.status == LEFT_OUT) != bool(named_count):
        yield f"exit status {ended.status}, {left_out} left out by the sums, {named_count} named"
    remembered = [row[0] for row in connection.execute(sa.text(_REMEMBERED))]
    if [imported + earlier for imported, earlier, _ in sums.values()] != remembered:
        yield f"taken by what it says: {sums}, but {remembered} are remembered"


_NEWEST = "(SELECT max(source_id) FROM import_sources)"
_REMEMBERED = f"""
    SELECT count(new_id) FROM generate_series(1, 4) AS kinds(kind)
    LEFT JOIN imported AS i ON i.kind = kinds.kind AND source_id = {_NEWEST} GROUP BY kinds.kind ORDER BY kinds.kind
"""
_CLAIMS = INVARIANTS | {
    "what is remembered is there": """
        SELECT kind, old_id, new_id FROM imported AS i WHERE CASE kind
            WHEN 1 THEN NOT EXISTS (SELECT FROM accounts WHERE account_id = i.new_id)
            WHEN 2 THEN NOT EXISTS (SELECT FROM tasks JOIN task_payloads USING (task_key) WHERE task_key = i.new_id)
            WHEN 3 THEN NOT EXISTS (SELECT FROM contents WHERE content_id = i.new_id)
            ELSE NOT EXISTS (SELECT FROM publish_pool WHERE content_id = i.new_id) END
    """,
    "no two old rows are one": """
        SELECT source_id, kind, new_id FROM imported WHERE kind <> 1 GROUP BY 1, 2, 3 HAVING count(*) > 1
    """,
    "each task is remembered": """
        SELECT task_key FROM tasks WHERE task_key NOT IN (SELECT new_id FROM imported WHERE kind = 2)
    """,
}
del _CLAIMS[APPROVED_BUT_NOT_OFFERED]
_HONEST_ARRIVED = {
    "the honest rows have arrived": f"""
        SELECT count(*), count(*) FILTER (WHERE status = 1) FROM tasks JOIN task_payloads USING (task_key)
        JOIN imported ON kind = 2 AND new_id = task_key AND source_id = {_NEWEST} WHERE topic LIKE '{HONEST} _'
        HAVING count(*) <> 3 OR count(*) FILTER (WHERE status = 1) = 0
    """
}


def wrong_with_database(connection: sa.Connection, shape: Shape) -> list[str]:
    """Lists what is half done or there twice, which invariants are broken, and which honest rows are wrong."""
    return broken(connection, _CLAIMS | (_HONEST_ARRIVED if shape.honest else {}))


Snapshot = Mapping[str, Mapping[object, tuple[Any, ...]]]
"""Rows by their keys, of all tables that an import writes."""
_TABLES = {
    "accounts": "account_id",
    "tasks": "task_key",
    "task_payloads": "task_key",
    "contents": "content_id",
    "publish_pool": "content_id",
    "imported": "CAST((source_id, kind, old_id) AS text)",
}


def snapshot_of(connection: sa.Connection) -> Snapshot:
    return {
        table: {row[0]: tuple(row) for row in connection.execute(sa.text(f"SELECT {key}, t.* FROM {table} AS t"))}
        for table, key in _TABLES.items()
    }


def hurt(before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Yields the rows that were there, and are others or gone."""
    for table, rows in before.items():
        if changed := [key for key, row in rows.items() if after[table].get(key) != row]:
            yield f"what was in {table} before is hurt: {changed[:5]}"


def wrong_with_repetition(first: Ended, second: Ended, before: Snapshot, after: Snapshot) -> Iterator[str]:
    """The second time takes nothing, says the same of what is left out, and changes nothing."""
    if second.status != first.status:
        yield f"exit status {first.status}, and {second.status} the second time: {second.err[:500]}"
    if changed := [table for table in before if before[table] != after[table]]:
        yield f"the second time changed {changed}"
    if any(taken for taken, _, _ in sums_of(second.out).values()):
        yield f"the second time took something: {sums_of(second.out)}"
    lines = [{line for line in ended.out.splitlines() if line.startswith("left out")} for ended in (first, second)]
    if first.status == LEFT_OUT and lines[0] != lines[1]:
        yield f"the second time left out others: {sorted(lines[0] ^ lines[1])[:5]}"


def import_databases(seed: int, numbers: range) -> Tally:
    """Returns what the imports of these cases came to; runs in a process of the campaign's pool."""
    tally = Tally()
    with throwaway_server() as server, closing(Databases(server)) as databases:
        template = _template(databases)
        for number in numbers:
            name = shape_of(number)
            with (
                databases.lent(template) as database_url,
                server_folder() as folder,
                laid_out(seed, number, folder, databases) as (url, arguments),
            ):
                run = partial(run_import, folder, database_url, url, *arguments)
                engine = sa.create_engine(database_url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
                with engine.connect() as connection:
                    ending, problems = _tried(run, SHAPES[name], connection, dry_run_first=number % 3 == 0)
            for problem in problems:
                command = f"{url} {' '.join(arguments)}"
                tally.find(Finding(TARGET, f"{name}: {problem}", seed, number, command))
            tally.count(TARGET, "FOUND" if problems else ending)
    return tally


def _template(databases: Databases) -> str:
    """Returns the name of a database that holds an import of the honest rows, to be cloned for each case."""
    name = databases.create()
    upgrade(sa.create_engine(databases.url(name), poolclass=sa.NullPool))
    with server_folder() as folder:
        write_file(folder / "before.db", honest_rows())
        before = run_import(folder, databases.url(name), f"sqlite:///{folder}/before.db")
    assert before.status == 0, before.err
    return name


def _tried(
    run: Callable[..., Ended], shape: Shape, connection: sa.Connection, *, dry_run_first: bool
) -> tuple[str, list[str]]:
    """Imports a database twice, or after a dry run; returns how the first time ended, and what is wrong."""
    problems: list[str] = []

    def imported(*more: str) -> tuple[Ended, Snapshot]:
        result = run(*more)
        problems.extend(wrong_with_ending(result, shape))
        return result, snapshot_of(connection)

    before = snapshot_of(connection)
    if dry_run_first and imported("--dry-run")[1] != before:
        problems.append("a dry run has written something")
    first, after_first = imported()
    problems += [*hurt(before, after_first), *wrong_with_sums(first, connection)]
    problems += wrong_with_database(connection, shape)
    second, after_second = imported()
    problems += [*wrong_with_repetition(first, second, after_first, after_second), *wrong_with_sums(second, connection)]
    problems += wrong_with_database(connection, shape)
    return ENDINGS.get(first.status, ""), problems
