"""Which rows of which tables belong to an account, derived from the schema: a new table is found by its columns.

A row is an account's by its own `account_id`, or else by what it names: a webhook or channel, a content, a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from scheduler_svc.schema.privileges import relations

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


def _table(name: str, columns: Sequence[str]) -> Table | None:
    if name == "imported":
        return Table(name, tuple(columns), IMPORTED, IMPORTED + _OF_IMPORT)
    by = next((column for column in _BY if column in columns), None)
    if by is None:
        return None
    return Table(name, tuple(columns), by, by + _BY[by] + (_OF_CHANNEL if _CHANNEL in columns else ""))
