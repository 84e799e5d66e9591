"""Which rows of which tables belong to an account, derived from the schema: a new table is found by its columns.

A row is an account's by its own `account_id`, or else by what it names: a webhook or channel, a content, a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from scheduler_svc.schema.relations import relations

OWN = "account_id"
IMPORTED = "new_id"
_CHANNEL = "account_ids"
_OF_CHANNEL = " OR account_ids = CAST(ARRAY[:account_id] AS bigint[])"
"""A channel that is for other accounts, too, is not this one's."""
_OF_WEBHOOK = """ IN (
    SELECT w.webhook_id FROM webhooks AS w
    WHERE w.account_id = :account_id OR w.account_ids = CAST(ARRAY[:account_id] AS bigint[])
) OR data @> jsonb_build_object('account_id', CAST(:account_id AS bigint))"""
"""Also what one of all accounts is told of this one."""
_OF_CONTENTS = " IN (SELECT c.content_id FROM contents AS c WHERE c.account_id = :account_id)"
_OF_TASKS = " IN (SELECT t.task_key FROM tasks AS t WHERE t.account_id = :account_id)"
_BY: Mapping[str, str] = {
    OWN: " = :account_id",
    "webhook_id": _OF_WEBHOOK,
    "channel_id": _OF_WEBHOOK,
    "content_id": _OF_CONTENTS,
    "task_key": _OF_TASKS,
}
"""The column by which a row is an account's, and the condition on it; the first that a table has counts."""
# The kinds are those of `RowKind` in old_application/old_rows.py.
_OF_IMPORT = (
    " = :account_id AND kind = 1 OR kind = 2 AND new_id" + _OF_TASKS + " OR kind IN (3, 4) AND new_id" + _OF_CONTENTS
)


ASSETS = "assets"
_OF_ASSETS = """complete AND sha256 IN (
    SELECT c.sha256 FROM account_assets AS c WHERE c.account_id = :account_id
    UNION ALL SELECT n.sha256 FROM content_assets AS n WHERE n.account_id = :account_id)"""
_STAYS = frozenset(
    {
        "asset_usage",
        "audit_events",
        "channel_events",
        "cleaned_events",
        "count_deltas",
        "imported",
        "leases",
        "shares",
        "start_quotas",
        "task_counts",
        "webhook_deliveries",
        "webhooks",
        "worker_selectors",
    }
)
"""Tables that a move leaves: the audit, what has secrets, and what a deployment works out or decides for itself."""
_ANEW = {"task_events": {"seq"}, "rollup_deltas": {"delta_id"}}
"""Columns whose numbers are those of a database."""
_FIRST = ("accounts", ASSETS, "tasks", "contents")


class Table(NamedTuple):
    """A table with rows of accounts: the column that says whose they are, and the condition on `:account_id`."""

    name: str
    columns: tuple[str, ...]
    by: str
    condition: str


@cache
def tables() -> tuple[Table, ...]:
    """Returns the tables that have rows of accounts."""
    return tuple(table for name, columns in relations().columns.items() if (table := _table(name, columns)))


def countable() -> tuple[Table, ...]:
    """Returns the tables whose rows do not go with a task or a content of the account."""
    return tuple(table for table in tables() if table.by not in (IMPORTED, "content_id", "task_key"))


@cache
def movable() -> tuple[Table, ...]:
    """Returns the tables of an archive, in the order in which they are stored, with the columns that keep their values.

    The rows of `assets` belong to all accounts that have the file.
    """
    moved = [table for table in tables() if table.name not in _STAYS]
    moved.append(Table(ASSETS, tuple(relations().columns[ASSETS]), "sha256", _OF_ASSETS))
    kept = [table._replace(columns=_kept(table)) for table in moved]
    return tuple(sorted(kept, key=lambda table: _FIRST.index(table.name) if table.name in _FIRST else len(_FIRST)))


def _kept(table: Table) -> tuple[str, ...]:
    return tuple(column for column in table.columns if column not in _ANEW.get(table.name, ()))


def _table(name: str, columns: Sequence[str]) -> Table | None:
    if name == "imported":
        return Table(name, tuple(columns), IMPORTED, IMPORTED + _OF_IMPORT)
    by = next((column for column in _BY if column in columns), None)
    if by is None:
        return None
    return Table(name, tuple(columns), by, by + _BY[by] + (_OF_CHANNEL if _CHANNEL in columns else ""))
