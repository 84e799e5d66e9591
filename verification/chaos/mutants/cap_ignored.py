"""A scheduler to which no account seems to have a limit; run in place of `contentgen-scheduler`.

Instead of `Window.waitlist`, which admission asks for what an account may run.
"""

from __future__ import annotations

from unittest.mock import patch

from scheduler_svc.application.records import Waitlist
from scheduler_svc.main import main
from scheduler_svc.store.dispatch.window import Window

_waitlist = Window.waitlist


def _waitlist_without_limit(self: Window, account_id: int, most: int) -> Waitlist | None:
    present = _waitlist(self, account_id, most)
    return None if present is None else present._replace(limit=0)


if __name__ == "__main__":
    with patch.object(Window, "waitlist", _waitlist_without_limit):
        main()
