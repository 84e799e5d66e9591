"""Whole old databases and their judge: cases are made the same again, and what must not come of an import is found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from lab.fuzz.old_databases import trial
from lab.fuzz.old_databases.shapes import SHAPES, Shape, laid_out, shape_of
from lab.fuzz.old_databases.trial import LEFT_OUT, MAX_MIB, NO_END, REFUSED, Ended, import_databases, run_import
from lab.fuzz.old_databases.writing import honest_rows, write_file
from tests.harness.cluster import Databases
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


def test_each_shape_has_its_turn_and_changes_something() -> None:
    assert [shape_of(number) for number in range(len(SHAPES))] == list(SHAPES)
    plain = Shape()
    for name, shape in SHAPES.items():
        otherwise = replace(shape, spoil=plain.spoil, honest=False, refused=False) != plain
        assert shape.spoil(random.Random(name)) or otherwise or name == "values alone", name


@pytest.mark.costly("an import of a random database as a process")
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
