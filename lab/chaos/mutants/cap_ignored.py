"""A scheduler to which no account seems to have a limit; run in place of `contentgen-scheduler`.

Instead of `Window.account_queue`, which admission asks for what an account may run.
"""

from __future__ import annotations

from unittest.mock import patch

from scheduler_svc.dispatch.rows import AccountQueue
from scheduler_svc.dispatch.sql.window import Window
from scheduler_svc.main import main

_account_queue = Window.account_queue


def _queue_without_limit(self: Window, account_id: int, count_limit: int) -> AccountQueue | None:
    present = _account_queue(self, account_id, count_limit)
    return None if present is None else present._replace(limit=0)


if __name__ == "__main__":
    with patch.object(Window, "account_queue", _queue_without_limit):
        main()
