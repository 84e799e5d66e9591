"""Two transactions on one task at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scheduler_svc.dispatch.work import SessionCapacity, claim
from scheduler_svc.tasks import change as cancel
from scheduler_svc.transactions import Tx
from tests.harness.scheduling import TTL, Scheduling
from tests.harness.waiting import wait_until

_WAITING = "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def overtaken(scheduling: Scheduling, first: Callable[[Tx], Any], second: Callable[[], Any]) -> Any:
    """What `second` returns or raises if `first` commits only after `second` waits for it."""
    with ThreadPoolExecutor(1) as pool:
        with scheduling.transaction() as tx:
            first(tx)
            answer = pool.submit(second)
            wait_until(lambda: scheduling.sql(_WAITING), within=5, what="the second waits for the first")
        return answer.result(timeout=5)


def claims(scheduling: Scheduling, worker_id: str = "w", count: int = 1) -> Callable[[Tx], Any]:
    if worker_id not in scheduling.sessions:
        scheduling.hello(worker_id)
    capacity = SessionCapacity(worker_id, scheduling.sessions[worker_id], 1, count)
    return lambda tx: claim(tx, [capacity], 100, TTL)


def cancels(key: int, *, force: bool = False) -> Callable[[Tx], Any]:
    return lambda tx: cancel.cancel_task(tx, key, force)
