"""Whole old databases and their judge: cases are made the same again, and what must not come of an import is found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lab.fuzz.old_databases import shapes, trial
from lab.fuzz.old_databases.shapes import SHAPES, Shape, laid_out, shape_of
from lab.fuzz.old_databases.trial import LEFT_OUT, MAX_MIB, NO_END, REFUSED, Ended, import_databases, run_import
from lab.fuzz.old_databases.writing import honest_rows, random_rows, write_file
from scheduler_svc.postgres.cluster import SUPERUSER
from tests.harness.cluster import Databases, server_folder
from tests.harness.importing import SECRET, Importing, Sqlite

pytestmark = pytest.mark.lab

IN_FILES = [number for number, shape in enumerate(SHAPES.values()) if shape.reader is None]


@pytest.mark.parametrize("number", IN_FILES[::5], ids=shape_of)
def test_a_database_is_made_the_same_again(tmp_path: Path, databases: Databases, number: int) -> None:
    runs = []
    for turn in ("once", "again"):
        folder = tmp_path / turn
        folder.mkdir()
        with laid_out(7, number, folder, databases) as (_, arguments):
            files = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
            runs.append((arguments, [path.read_bytes() for path in files]))
    assert runs[0] == runs[1]


def test_each_shape_has_its_turn_and_is_another() -> None:
    assert [shape_of(number) for number in range(len(SHAPES))] == list(SHAPES)
    demands = [replace(shape, honest=False, refused=False) for shape in SHAPES.values()]
    assert all(demands.count(shape) == 1 for shape in demands)


PLAIN = Shape()
WRITTEN_OTHERWISE = [
    number
    for number, shape in enumerate(SHAPES.values())
    if (shape.spoil, shape.types, shape.before) != (PLAIN.spoil, PLAIN.types, PLAIN.before)
]
READS = {
    "sqlite": (
        """SELECT name, sql FROM sqlite_master UNION SELECT * FROM pragma_encoding, pragma_page_size
           UNION SELECT journal_mode, '' FROM pragma_journal_mode""",
        "SELECT name FROM sqlite_master WHERE type = 'table'",
        'SELECT * FROM "{}"',
    ),
    "postgresql": (
        """SELECT relname, relacl::text, attname, atttypid::regtype::text FROM pg_class
           JOIN pg_attribute ON attrelid = pg_class.oid WHERE relnamespace = 'public'::regnamespace""",
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
        'SELECT old_row::text FROM "{}" AS old_row',
    ),
}
"""What the schema of a database is and how it is stored, the names of its tables, and the rows of one."""


def content_of(url: str) -> list[Any]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    schema, names, rows = READS[engine.dialect.name]
    with engine.connect() as connection:
        queries = [schema, *map(rows.format, connection.exec_driver_sql(names).scalars())]
        if engine.dialect.name == "sqlite":
            driver: Any = connection.connection.driver_connection
            driver.text_factory = bytes  # not each text is UTF-8
        return [row for query in queries for row in connection.exec_driver_sql(query)]


@pytest.mark.parametrize("number", WRITTEN_OTHERWISE, ids=shape_of)
def test_what_a_shape_spoils_is_another_database(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whichever table is selected, and although only tasks have hostile rows."""
    tasks = random_rows(random.Random(0))["content_generation_tasks"]
    monkeypatch.setattr(shapes, "random_rows", lambda _: honest_rows() | {"content_generation_tasks": list(tasks)})
    shape = SHAPES[shape_of(number)]
    on_server = None if shape.reader is None else SUPERUSER
    for seed in range(2 if on_server is None else 1):
        contents = []
        for written in (Shape(reader=on_server), replace(shape, reader=on_server, damage=Shape.damage)):
            monkeypatch.setitem(SHAPES, shape_of(number), written)
            with server_folder() as folder, laid_out(seed, number, folder, databases) as (url, _):
                contents.append(content_of(url))
        assert contents[0] != contents[1]


@pytest.mark.costly("an import of a random database as a process", seconds=2)
def test_some_databases_are_imported_as_they_should() -> None:
    first = list(SHAPES).index("rows without an id")
    tally = import_databases(7, range(first, first + 2))
    assert (tally.cases, tally.findings) == (2, [])


def test_the_memory_of_an_import_is_its_own(db_url: str, tmp_path: Path) -> None:
    held = b"x" * (300 << 20)
    write_file(tmp_path / "old.db", honest_rows())
    ended = run_import(tmp_path, db_url, f"sqlite:///{tmp_path}/old.db")
    assert ended.status == 0, ended.err
    assert 0 < ended.peak_mib < len(held) >> 20


HONEST = Shape(honest=True)


@pytest.mark.parametrize(
    "ended",
    [
        Ended(1, err="Traceback (most recent call last):"),
        Ended(-11),
        Ended(NO_END),
        Ended(REFUSED),
        Ended(REFUSED, err=f"can't read {SECRET}"),
        Ended(REFUSED, err="\x1b[2J"),
        Ended(0, err="something"),
        Ended(0, peak_mib=MAX_MIB + 1),
    ],
)
def test_wrong_results_of_an_import_are_found(ended: Ended) -> None:
    assert list(trial.wrong_with_ending(ended, Shape()))


def test_right_results_of_an_import_are_not_reported() -> None:
    assert not list(trial.wrong_with_ending(Ended(0), HONEST))
    progress = "accounts 1,103 of 1,103 (100%, 76/s)\n"
    assert not list(trial.wrong_with_ending(Ended(LEFT_OUT, err=progress), HONEST))
    refused = Ended(REFUSED, err=f"{progress}can't read it")
    assert not list(trial.wrong_with_ending(refused, Shape(refused=True)))
    assert list(trial.wrong_with_ending(refused, HONEST))
    assert list(trial.wrong_with_ending(Ended(0), Shape(refused=True)))


@pytest.fixture
def imported(sqlite: Sqlite, tmp_path: Path) -> Importing:
    """The honest rows, imported."""
    write_file(tmp_path / "old.db", honest_rows())
    importing = sqlite("old.db")
    assert importing() == 0
    return importing


@pytest.fixture
def connection(db_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(db_url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connected:
        yield connected


def judged(importing: Importing, connection: sa.Connection) -> list[str]:
    sums = trial.wrong_with_sums(Ended(0, importing.out), connection)
    return [*sums, *trial.wrong_with_database(connection, HONEST)]


@pytest.mark.parametrize(
    "defect",
    [
        "DELETE FROM contents",
        "DELETE FROM publish_pool",
        "DELETE FROM imported WHERE kind = 2 AND old_id = 1",
        "DELETE FROM imported WHERE kind = 1",
        "UPDATE imported SET new_id = (SELECT max(new_id) FROM imported WHERE kind = 2) WHERE kind = 2",
        "DELETE FROM ready",
        "UPDATE task_payloads SET topic = 'another'",
    ],
)
def test_a_defect_in_the_database_is_found(imported: Importing, connection: sa.Connection, defect: str) -> None:
    assert judged(imported, connection) == []
    connection.execute(sa.text(defect))
    assert judged(imported, connection)


def test_sums_that_are_not_true_are_found(imported: Importing, connection: sa.Connection) -> None:
    for out in (imported.out.replace(" 3 ", " 4 "), f"left out: task 1: x\n{imported.out}"):
        assert out != imported.out
        assert list(trial.wrong_with_sums(Ended(0, out), connection))


def test_damaged_rows_and_double_imports_are_found(imported: Importing, connection: sa.Connection) -> None:
    fine, before = Ended(0), trial.snapshot_of(connection)
    assert not list(trial.hurt(before, before))
    assert not list(trial.wrong_with_repetition(fine, fine, before, before))
    connection.execute(sa.text("UPDATE accounts SET name = 'another'"))
    after = trial.snapshot_of(connection)
    assert list(trial.hurt(before, after)) == ["what was in accounts before is hurt: [1]"]
    assert list(trial.wrong_with_repetition(fine, fine, before, after))
    again = Ended(0, imported.out)
    assert list(trial.wrong_with_repetition(again, again, before, before)), "it took something the second time"
    others = Ended(LEFT_OUT, "left out: task 1: x\n")
    assert list(trial.wrong_with_repetition(others, Ended(LEFT_OUT), before, before))
