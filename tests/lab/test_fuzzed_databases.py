"""Whole old databases and their judge: cases are made the same again, and what must not come of an import is found."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lab.fuzz.case import random_of
from lab.fuzz.old_databases import trial
from lab.fuzz.old_databases.cases import RARELY, SHAPES, TARGET, Shape, laid_out, shape_of
from lab.fuzz.old_databases.draft import honest, random_draft
from lab.fuzz.old_databases.running import WITHIN, Ended
from lab.fuzz.old_databases.trial import LEFT_OUT, MAX_MIB, REFUSED, Snapshot
from tests.harness.cluster import Databases
from tests.harness.importing import SECRET, Importing, Sqlite

pytestmark = pytest.mark.lab

IN_FILES = [number for number, name in enumerate(SHAPES) if SHAPES[name].other_types is None]


def test_a_database_is_made_the_same_again(tmp_path: Path, databases: Databases) -> None:
    for number in IN_FILES[::5]:
        runs = []
        for turn in ("once", "again"):
            folder = tmp_path / f"{number}-{turn}"
            folder.mkdir()
            with laid_out(7, number, folder, databases) as case:
                files = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
                runs.append((case.shape, case.arguments, [path.read_bytes() for path in files]))
        assert runs[0] == runs[1]


def test_each_shape_has_its_turn_and_changes_something() -> None:
    assert [shape_of(number) for number in range(len(SHAPES))] == list(SHAPES)
    rare = {name for name in SHAPES if SHAPES[name].rare}
    assert rare.isdisjoint(shape_of(number) for number in range(len(SHAPES), RARELY * len(SHAPES)))
    for name, shape in SHAPES.items():
        plain, spoilt = random_draft(random_of(TARGET, 1, 1)), random_draft(random_of(TARGET, 1, 1))
        shape.spoil(spoilt, random.Random(name))
        otherwise = shape.damage or shape.url is not Shape.url or shape.beside is not Shape.beside
        on_server = shape.other_types is not None
        same = plain == spoilt
        assert not same or otherwise or on_server or name in {"values alone", "taken ids"}, name


_SCRIPT = """
from lab.fuzz.old_databases.trial import import_databases
tally = import_databases(7, range({number}, {number} + 2))
print(tally.cases, tally.findings)
"""
_LARGE = """
from pathlib import Path
from lab.fuzz.old_databases.running import imports_apart
held = b"x" * (300 << 20)
with imports_apart(Path({folder!r})) as run:
    ended = run({db_url!r}, {source!r}, ())
print(ended.status, ended.peak_mib < 300)
"""


def said_by(script: str) -> tuple[str, str]:
    """What a process of its own prints: one that starts others leaves multiprocessing's tracker of them behind."""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=False)
    return ran.stdout, ran.stderr


@pytest.mark.costly("an import of a random database as a process")
def test_some_databases_are_imported_as_they_should() -> None:
    assert said_by(_SCRIPT.format(number=list(SHAPES).index("rows without an id"))) == ("2 []\n", "")


def test_the_memory_of_an_import_is_its_own(db_url: str, tmp_path: Path) -> None:
    honest().write(tmp_path / "old.db")
    script = _LARGE.format(db_url=db_url, source=f"sqlite:///{tmp_path}/old.db", folder=str(tmp_path))
    assert said_by(script) == ("0 True\n", "")


FINE = Ended(0, "", "", 1.0, 100.0)
HONEST = Shape(honest=True)


@pytest.mark.parametrize(
    "ended",
    [
        Ended(1, "", "Traceback (most recent call last):", 1.0, 100.0),
        Ended(-11, "", "", 1.0, 100.0),
        Ended(-9, "", "", WITHIN + 1, 100.0),
        Ended(REFUSED, "", "", 1.0, 100.0),
        Ended(REFUSED, "", f"can't read {SECRET}", 1.0, 100.0),
        Ended(REFUSED, "", "\x1b[2J", 1.0, 100.0),
        Ended(0, "", "something", 1.0, 100.0),
        Ended(0, "", "", 1.0, MAX_MIB + 1),
    ],
)
def test_wrong_results_of_an_import_are_found(ended: Ended) -> None:
    assert list(trial.wrong_with_ending(ended, Shape()))


def test_right_results_of_an_import_are_not_reported() -> None:
    assert not list(trial.wrong_with_ending(FINE, HONEST))
    progress = "accounts 1,103 of 1,103 (100%, 76/s)\n"
    assert not list(trial.wrong_with_ending(Ended(LEFT_OUT, "", progress, 1.0, 100.0), HONEST))
    refused = Ended(REFUSED, "", f"{progress}can't read it", 1.0, 100.0)
    assert not list(trial.wrong_with_ending(refused, Shape(refused=True)))
    assert list(trial.wrong_with_ending(refused, HONEST))
    assert list(trial.wrong_with_ending(FINE, Shape(refused=True)))


@pytest.fixture
def imported(sqlite: Sqlite, tmp_path: Path) -> Importing:
    """The honest rows, imported."""
    honest().write(tmp_path / "old.db")
    importing = sqlite("old.db")
    assert importing() == 0
    return importing


@pytest.fixture
def connection(db_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(db_url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connected:
        yield connected


def judged(importing: Importing, connection: sa.Connection) -> list[str]:
    ended = Ended(0, importing.out, "", 1.0, 100.0)
    return [
        *trial.wrong_with_sums(ended, connection, 1),
        *trial.wrong_with_database(connection, 1, HONEST),
    ]


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
        assert list(trial.wrong_with_sums(Ended(0, out, "", 1.0, 100.0), connection, 1))


def test_damaged_rows_and_double_imports_are_found(imported: Importing, connection: sa.Connection) -> None:
    before = Snapshot.of(connection)
    assert not list(before.hurt(before))
    assert not list(trial.wrong_with_repetition(FINE, FINE, before, before))
    connection.execute(sa.text("UPDATE accounts SET name = 'another'"))
    after = Snapshot.of(connection)
    assert list(before.hurt(after)) == ["what was in accounts before is hurt: [1]"]
    assert list(trial.wrong_with_repetition(FINE, FINE, before, after))
    again = Ended(0, imported.out, "", 1.0, 100.0)
    assert list(trial.wrong_with_repetition(again, again, before, before)), "it took something the second time"
    others = Ended(LEFT_OUT, "left out: task 1: x\n", "", 1.0, 100.0)
    assert list(trial.wrong_with_repetition(others, Ended(LEFT_OUT, "", "", 1.0, 1.0), before, before))
