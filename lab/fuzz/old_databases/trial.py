"""Whole old databases, imported by the command into a database that holds something already: a job of the pool."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from lab.fuzz.old_databases import verdict
from lab.fuzz.old_databases.cases import TARGET, Case, laid_out
from lab.fuzz.old_databases.draft import honest
from lab.fuzz.old_databases.running import Ended, Run, imports_apart
from lab.fuzz.old_databases.verdict import Snapshot
from lab.fuzz.tally import Finding, Tally
from scheduler_svc.schema.migrate import upgrade
from tests.harness.cluster import Databases, throwaway_server

_BEFORE = "before"
"""The name of the source of what is there already."""


@dataclass(frozen=True)
class DatabaseOrder:
    """Cases `first` to `first + count`."""

    seed: int
    first: int
    count: int


def import_databases(order: DatabaseOrder) -> Tally:
    """Returns what the imports came to; runs in a process of the campaign's pool."""
    tally = Tally()
    with (
        throwaway_server() as server,
        closing(Databases(server)) as databases,
        _folder() as folder,
        imports_apart(folder) as run,
    ):
        template = _template(databases, server.url, folder, run)
        for number in range(order.first, order.first + order.count):
            with (
                databases.lent(template) as url,
                _empty(folder / "case") as place,
                laid_out(order.seed, number, place, databases) as case,
            ):
                tally.add(_tried(case, url, run))
    return tally


@contextmanager
def _folder() -> Iterator[Path]:
    """In memory where there is some: a case is a file or two of a few KiB, seldom of some MiB."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as folder:
        yield Path(folder)


def _template(databases: Databases, url_of: Callable[[str], str], folder: Path, run: Run) -> str:
    """The name of a database that holds an import of honest and less honest rows, to be cloned for each case."""
    name = databases.create()
    engine = sa.create_engine(url_of(name), poolclass=sa.NullPool)
    upgrade(engine)
    engine.dispose()
    honest().write(folder / "before.db")
    result = run(url_of(name), f"sqlite:///{folder}/before.db", ("--source", _BEFORE))
    assert result.status in {verdict.ALL_TAKEN, verdict.LEFT_OUT}, result.err
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
    tally.count(TARGET, "FOUND" if problems else _ENDINGS[trial.status])
    return tally


_ENDINGS = {verdict.ALL_TAKEN: "all taken", verdict.LEFT_OUT: "rows left out", verdict.REFUSED: "refused"}


@contextmanager
def _empty(place: Path) -> Iterator[Path]:
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place)


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
        """Yields what must not be so."""
        snapshot = Snapshot.of(self._connection)
        if self._case.dry_run_first:
            result = self._run("--dry-run")
            yield from verdict.wrong_with_ending(result, self._case.demands)
            if Snapshot.of(self._connection) != snapshot:
                yield "a dry run has written something"
        first = self._run()
        self.status = first.status
        later_snapshot = Snapshot.of(self._connection)
        yield from snapshot.hurt(later_snapshot)
        yield from self._wrong(first)
        second = self._run()
        yield from self._wrong(second)
        yield from verdict.wrong_with_repetition(first, second, later_snapshot, Snapshot.of(self._connection))

    def _run(self, *extra_arguments: str) -> Ended:
        return self._import(self._database_url, self._case.url, (*self._case.arguments, *extra_arguments))

    def _wrong(self, result: Ended) -> Iterator[str]:
        yield from verdict.wrong_with_ending(result, self._case.demands)
        newest = sa.text("SELECT source_id FROM import_sources WHERE name <> :before")
        source_id = self._connection.execute(newest, {"before": _BEFORE}).scalar() or 0
        yield from verdict.wrong_with_sums(result, self._connection, source_id)
        yield from verdict.wrong_with_database(self._connection, source_id, self._case.demands)
