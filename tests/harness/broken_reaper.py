"""A scheduler whose reaper throws each time, and which does not wait long for that to end."""

from __future__ import annotations

from typing import Never
from unittest.mock import patch

from scheduler_svc.main import main
from scheduler_svc.replica import replica
from scheduler_svc.replica import timed_loops as recovery


async def throw() -> Never:
    raise RuntimeError("a defect")


if __name__ == "__main__":
    with patch.object(recovery, "reaper", lambda *_: throw), patch.object(replica, "GIVE_UP_TIMEOUT", 0.5):
        main()
