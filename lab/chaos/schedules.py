"""The schedules of a campaign: one an account, which ticks every minute and catches up what it missed.

Beside `load`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from contentgen import ContentGenerationClient, RequestError
from lab.chaos.evidence import Scheduled
from lab.chaos.journals import Appender

_EVERY_MINUTE = "* * * * *"
_JITTER = 20.0
_TASK = {
    "topic": "a topic that a schedule submits",
    "max_retries": 20,
    "creator_options": {"chaos-seconds": "0.5", "chaos-file": "1000"},
}
_PAUSE = 0.3


class Schedules:
    """Created before anything is hurt."""

    def __init__(self, target: str, journal: Appender) -> None:
        self._target = target
        self._journal = journal
        self._begins: dict[int, tuple[int, float]] = {}

    def create(self, account_ids: Sequence[int]) -> None:
        """One for each account."""
        with ContentGenerationClient(self._target) as client:
            for account_id in account_ids:
                schedule = client.create_schedule(account_id, _EVERY_MINUTE, _TASK, catch_up="all", jitter=_JITTER)
                self._begins[schedule["schedule_id"]] = (
                    account_id,
                    datetime.fromisoformat(schedule["created_at"]).timestamp(),
                )

    def pause(self, until: float) -> None:
        """Ends the ticks, and journals that none before `until` waits any more. Schedulers are well."""
        with ContentGenerationClient(self._target) as client:
            for schedule_id, (account_id, begin) in self._begins.items():
                while not _paused(client, schedule_id):
                    time.sleep(_PAUSE)
                self._journal.append(Scheduled(schedule_id, account_id, begin, until, _JITTER))


def _paused(client: ContentGenerationClient, schedule_id: int) -> bool:
    try:
        return client.pause_schedule(schedule_id)["paused"]
    except RequestError:
        return False
