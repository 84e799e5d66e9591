"""Statements of the import: which rows were imported before, and inserts of the old application's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import psycopg2
import sqlalchemy as sa
from psycopg2 import errors as pg_errors

from old_application.old_rows import ImportRefused, RowKind
from old_application.source import PoolCandidate, Row
from scheduler_svc.contents.sql.contents import CONTENT_COLUMNS
from scheduler_svc.database.batch import Insert, array
from scheduler_svc.database.statements import Pipeline, Statements
from scheduler_svc.domain.content import ReviewStatus
from scheduler_svc.transactions import Database, Tx

_FIND_SOURCE = sa.text("SELECT source_id FROM import_sources WHERE name = :name")
"""Finds the number of an import source."""
_ADD_SOURCE = sa.text("INSERT INTO import_sources (name) VALUES (:name) RETURNING source_id")
"""Adds an import source."""
_USE_SOURCE = sa.text("UPDATE import_sources SET import_time = now() WHERE name = :name RETURNING source_id")
"""Notes that an import source is used now."""
_SOURCES = sa.text("SELECT name FROM import_sources ORDER BY source_id")
"""Reads the names of all import sources."""

_FIND_IMPORTED = sa.text("""
    SELECT old_id, new_id FROM imported
    WHERE source_id = :source_id AND kind = :kind AND old_id = ANY(CAST(:ids AS bigint[]))
""")
"""Finds rows of a source that were imported before."""
_REMEMBER = Insert("imported", source_id="smallint", kind="smallint", old_id="bigint", new_id="bigint")
"""Remembers rows as imported."""

# No other account is made meanwhile: an id that is free now is free at the commit. Readers and submits go on.
_LOCK_ACCOUNTS = sa.text("LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE")
"""Locks out transactions that create accounts."""
_ACCOUNT_NAMES = sa.text("SELECT account_id, name FROM accounts WHERE account_id = ANY(CAST(:ids AS bigint[]))")
"""Reads the names of some accounts."""
_ACCOUNTS = Insert(
    "accounts", account_id="bigint", name="text", max_concurrent_tasks="integer", weight="float8", active="boolean",
    create_time="timestamptz",
)  # fmt: skip
"""Inserts accounts with the ids that they had."""
# The next account that is made by itself must not be given an id that was kept.
_PASS_OVER_KEPT_IDS = sa.text("""
    SELECT setval(s.name, m.largest) FROM (SELECT pg_get_serial_sequence('accounts', 'account_id')) AS s(name),
        (SELECT max(account_id) FROM accounts) AS m(largest)
    WHERE m.largest > coalesce(pg_sequence_last_value(s.name::regclass), 0)
""")
"""Advances the sequence of account ids past those."""
_NEXT_ACCOUNT_IDS = sa.text("""
    SELECT nextval(pg_get_serial_sequence('accounts', 'account_id')) FROM generate_series(1, :count)
""")
"""Draws ids of new accounts."""

_INSERT_TASKS = Insert(
    "tasks", task_key="bigint", account_id="bigint", status="smallint", priority="smallint", auto_approve="boolean",
    auto_retry="boolean", max_retries="smallint", retry_count="smallint", timeout_ms="bigint",
    create_time="timestamptz", attempt="integer", fence="integer", lease_end="smallint", submit_time="timestamptz",
    start_time="timestamptz", end_time="timestamptz", content_id="bigint", error="jsonb",
)  # fmt: skip
"""Inserts imported tasks."""
# The transaction has its id before it draws: the search index knows by the ids which contents are still to come.
_NEXT_CONTENT_IDS = sa.text("""
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('content_seq') END
    FROM generate_series(1, CAST(:count AS bigint))
""")
"""Draws ids of new contents."""
_CONTENTS = Insert("contents", **CONTENT_COLUMNS, review_comment="text", create_time="timestamptz")
"""Inserts imported contents."""
# The contents are locked, so that none is reviewed, and so put into the pool, meanwhile.
_POOL_STANDING = sa.text(f"""
    SELECT c.content_id, c.account_id, c.review_status = {ReviewStatus.APPROVED},
        EXISTS (SELECT FROM publish_pool AS p WHERE p.content_id = c.content_id)
    FROM contents AS c WHERE c.content_id = ANY(CAST(:ids AS bigint[])) ORDER BY c.content_id FOR SHARE
""")
"""Locks contents, and reads what their pool entries depend on."""
_ENTRIES = Insert(
    "publish_pool", content_id="bigint", account_id="bigint", priority="smallint", schedule_time="timestamptz",
    status="smallint", error="text",
)  # fmt: skip
"""Inserts imported pool entries."""


R = TypeVar("R")


class ImportDatabase:
    """The schedulers' database, with transactions that have the import's statements."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, work: Callable[[Imports], R]) -> R:
        """Runs `work` in one transaction, as `Database.run` does."""
        return self._database.run(lambda tx: work(tx.group(partial(Imports, tx))))


class Imports(Statements):
    """The import's statements in a transaction, and beside them the scheduler's own, in `tx`."""

    def __init__(self, tx: Tx, session: Pipeline) -> None:
        super().__init__(session)
        self.tx = tx

    def find_source(self, name: str) -> int | None:
        row = self._row(_FIND_SOURCE, name=name)
        return None if row is None else int(row[0])

    def use_source(self, name: str) -> int | None:
        """Returns the same as `find_source`; notes that the source is used now."""
        row = self._row(_USE_SOURCE, name=name)
        return None if row is None else int(row[0])

    def add_source(self, name: str) -> int:
        return int(self._row(_ADD_SOURCE, name=name)[0])

    def sources(self) -> list[str]:
        return [row[0] for row in self._rows(_SOURCES)]

    def known(self, source_id: int, kind: RowKind, old_ids: Iterable[int]) -> dict[int, int]:
        ids = array("bigint", old_ids)
        return dict(self._rows(_FIND_IMPORTED, source_id=source_id, kind=kind, ids=ids))

    def remember(self, source_id: int, kind: RowKind, ids: Mapping[int, int]) -> None:
        """Remembers these rows as imported. The unique key refuses one that was before."""
        self._session.insert(_REMEMBER, [(source_id, kind, old_id, new_id) for old_id, new_id in ids.items()])

    def lock_accounts(self) -> None:
        """Locks out other transactions that create accounts, until this one ends."""
        self._run(_LOCK_ACCOUNTS)

    def account_names(self, ids: Iterable[int]) -> dict[int, str]:
        return dict(self._rows(_ACCOUNT_NAMES, ids=array("bigint", ids)))

    def next_account_ids(self, count: int) -> list[int]:
        """Returns ids that no account has or had."""
        return [row[0] for row in self._rows(_NEXT_ACCOUNT_IDS, count=count)]

    def insert_accounts(self, rows: Sequence[Row]) -> None:
        """Makes accounts under given ids."""
        if rows:
            self._insert(_ACCOUNTS, rows)
            self._run(_PASS_OVER_KEPT_IDS)

    def insert_tasks(self, rows: Sequence[Row]) -> None:
        self._insert(_INSERT_TASKS, rows)

    def next_content_ids(self, count: int) -> list[int]:
        return sorted(row[0] for row in self._rows(_NEXT_CONTENT_IDS, count=count)) if count else []

    def insert_contents(self, rows: Sequence[Row]) -> None:
        self._insert(_CONTENTS, rows)

    def pool_candidates(self, content_ids: Iterable[int]) -> dict[int, PoolCandidate]:
        """What entries of the pool need to know of these contents; those that are not there are missing."""
        rows = self._rows(_POOL_STANDING, ids=array("bigint", content_ids))
        return {content_id: PoolCandidate(*rest) for content_id, *rest in rows}

    def insert_entries(self, rows: Sequence[Row]) -> None:
        self._insert(_ENTRIES, rows)

    def _insert(self, insert: Insert, rows: Sequence[Row]) -> None:
        columns = set(insert.columns)
        assert all(row.keys() == columns for row in rows)
        self._session.insert(insert, [[row[name] for name in insert.columns] for row in rows])


_ALONE = sa.text("SELECT pg_advisory_lock(hashtext('contentgen.import'))")
"""Locks out other imports on this database."""
_PATIENCE = sa.text("SET lock_timeout = '5s'")
"""Bounds the wait for them."""


@contextmanager
def one_at_a_time(engine: sa.Engine) -> Iterator[None]:
    """Locks out other imports on this database. Raises ImportRefused if one runs.

    Waits a moment for one that was killed. `engine` must not pool, since the lock lasts as long as its session.
    """
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:  # no transaction that idles
        try:
            connection.execute(_PATIENCE)
            connection.execute(_ALONE)
        except sa.exc.OperationalError as error:
            if isinstance(error.orig, pg_errors.LockNotAvailable):
                raise ImportRefused("another import runs on this database: wait for it to end") from None
            raise
        yield


# What would be remembered goes into a table of the session, which hides the real one, and nothing else can be written.
_HIDE = sa.text("""
    CREATE TEMP TABLE imported AS TABLE imported;
    CREATE UNIQUE INDEX imported_once ON imported (source_id, kind, old_id);
    SET default_transaction_read_only = on
""")
"""Makes a session read-only, with a temporary table of what it would remember."""


def hide_what_is_imported(engine: sa.Engine) -> sa.Engine:
    """The engine for a dry run: its sessions can't write, but read what they would have remembered."""

    def hide(connection: psycopg2.extensions.connection, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_HIDE.text)
        connection.commit()

    sa.event.listen(engine, "connect", hide)
    return engine
