"""A worker that does not notice where its guard ends nothing: instead of `Watchdog.overdue`.

Run in place of `contentgen-worker`.
"""

from __future__ import annotations

from unittest.mock import patch

from worker_svc.guard.watchdog import Watchdog
from worker_svc.main import main

if __name__ == "__main__":
    with patch.object(Watchdog, "overdue", lambda *_: None):
        main()
