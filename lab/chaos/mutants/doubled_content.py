"""A scheduler that stores each content twice; run in place of `contentgen-scheduler`.

Instead of `Contents.insert`. The database refuses this: where the mutant runs, its unique constraint is dropped first.
"""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

from scheduler_svc.contents.sql.contents import Contents
from scheduler_svc.domain.content import ContentRow, PoolRow
from scheduler_svc.main import main

DROP_CONSTRAINT = "ALTER TABLE contents DROP CONSTRAINT contents_task_key_key"
_FAR = 1_000_000

_insert = Contents.insert


def _insert_twice(self: Contents, contents: Sequence[ContentRow], pool: Sequence[PoolRow]) -> None:
    _insert(self, contents, pool)
    _insert(self, [row._replace(content_id=row.content_id + _FAR) for row in contents], [])


if __name__ == "__main__":
    with patch.object(Contents, "insert", _insert_twice):
        main()
