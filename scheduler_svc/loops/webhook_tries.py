"""The tries of webhooks that a replica has under way, and how many each webhook may begin.

A webhook may begin more as it succeeds, and one while it fails. An account begins no more while it has more than its
share of the free places under way: so however many accounts have slow receivers, places are left for the next one.
"""

from __future__ import annotations

import math
from collections import Counter

from scheduler_svc.domain.webhook import FIRST_CONCURRENT_TRIES, MAX_CONCURRENT_TRIES, DeliveryAttempt

MAX_TRIES = 1_024
"""Tries of one replica under way."""
_SHARE = 1 / 8
"""Of the free places: what an account may have under way, and what may begin in a round."""


class WebhookTries:
    """Counts them. Lives on the event loop."""

    def __init__(self) -> None:
        self._of_webhook: Counter[int] = Counter()
        self._of_account: Counter[int] = Counter()
        self._account: dict[int, int] = {}
        self._most: dict[int, int] = {}

    def begin(self, attempt: DeliveryAttempt) -> None:
        self._account[attempt.webhook_id] = attempt.account_id
        self._of_webhook[attempt.webhook_id] += 1
        self._of_account[attempt.account_id] += 1

    def end(self, attempt: DeliveryAttempt) -> None:
        for counts, key in ((self._of_webhook, attempt.webhook_id), (self._of_account, attempt.account_id)):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

    def record(self, attempt: DeliveryAttempt, *, delivered: bool) -> None:
        """Lets the webhook have more tries at a time after a success, and one after a failure."""
        most = self._most.get(attempt.webhook_id, FIRST_CONCURRENT_TRIES)
        self._most[attempt.webhook_id] = min(2 * most, MAX_CONCURRENT_TRIES) if delivered else 1

    @property
    def limit(self) -> int:
        """How many tries of all webhooks may begin in one round."""
        return math.ceil(self._free_places * _SHARE)

    def free(self) -> dict[int, int]:
        """How many tries each webhook may begin, if that is not `FIRST_CONCURRENT_TRIES`."""
        return {webhook_id: self._free(webhook_id, account_id) for webhook_id, account_id in self._account.items()}

    def _free(self, webhook_id: int, account_id: int) -> int:
        of_webhook = self._most.get(webhook_id, FIRST_CONCURRENT_TRIES) - self._of_webhook[webhook_id]
        return max(0, min(of_webhook, self.limit - self._of_account[account_id]))

    @property
    def _free_places(self) -> int:
        return MAX_TRIES - self._of_account.total()
