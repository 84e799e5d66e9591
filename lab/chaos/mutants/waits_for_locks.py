"""A scheduler that waits for a lock for as long as somebody holds it; run in place of `contentgen-scheduler`.

Instead of `Timeouts.sql` and of the transactions that wait less.
"""

from __future__ import annotations

from unittest.mock import patch

from scheduler_svc.database import statements as rows
from scheduler_svc.database.connections import Timeouts
from scheduler_svc.main import main

_NONE = "SET lock_timeout = 0; SET statement_timeout = 0;"

if __name__ == "__main__":
    with (
        patch.object(Timeouts, "sql", lambda _: _NONE),
        patch.object(rows, "set_local_lock_timeout", lambda _: "SET LOCAL lock_timeout = 0"),
    ):
        main()
