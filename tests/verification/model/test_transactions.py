"""Transactions beside each other: what a statement sees, what it waits for, what it skips, and what its commit does."""

from __future__ import annotations

from functools import partial

import pytest

from scheduler_svc.accounts.work import update_account
from scheduler_svc.dispatch.admission import settle
from scheduler_svc.dispatch.work import SessionCapacity, claim
from scheduler_svc.domain.account import AccountChange
from scheduler_svc.domain.errors import InvalidState
from scheduler_svc.tasks.change import cancel_task
from scheduler_svc.transactions import Tx
from verification.model.explore import explore
from verification.model.interleaving import SESSION, TTL, WORKER, Interleaving, Traffic
from verification.model.interning import Parts
from verification.model.scenarios import SMALL
from verification.model.tables import ACCOUNT, ReadyRecord, SessionRecord, Tables, submitted
from verification.model.transactions import UnderWay, Work, advanced, commit

NOBODY: frozenset[tuple[str, int]] = frozenset()


class Database:
    """What is committed, and transactions on it that a test takes on by hand."""

    def __init__(self, *tagged: bool, limit: int) -> None:
        self.tables = submitted(len(tagged), 0, TTL, limit)
        self.tables.ready = {key: ReadyRecord(1, is_tagged) for key, is_tagged in enumerate(tagged, start=1)}
        self.tables.sessions = {WORKER: SessionRecord(SESSION, 1)}

    def step(self, work: Work, transaction: UnderWay, beside: UnderWay | None = None) -> UnderWay | None:
        parts: Parts[Tables] = Parts()
        return advanced(
            work, transaction, partial(parts.copy, parts.number(self.tables)), beside.held if beside else NOBODY
        )

    def until(self, work: Work, statement: str) -> UnderWay:
        """A transaction as far as such a statement, that one included."""
        transaction: UnderWay | None = UnderWay()
        while transaction is not None and statement not in transaction.asked:
            transaction = self.step(work, transaction)
        assert transaction is not None
        return transaction

    def tagged(self) -> list[int]:
        return sorted(key for key, row in self.tables.ready.items() if row.tagged)


def admit(tx: Tx) -> None:
    settle(tx, ACCOUNT)


def take_one(tx: Tx) -> None:
    claim(tx, [SessionCapacity(WORKER, SESSION, 1, 1)], 1, TTL)


def limit_to_one(tx: Tx) -> None:
    update_account(tx, ACCOUNT, AccountChange(max_concurrent_tasks=1))


def test_writes_are_invisible_before_the_commit() -> None:
    database = Database(False, limit=1)
    transaction = database.until(admit, "window.admit")
    assert transaction.ended
    assert database.tagged() == []
    commit(database.tables, transaction)
    assert database.tagged() == [1]


def test_a_statement_sees_what_is_committed_by_then() -> None:
    database = Database(True, True, limit=2)
    lowers = database.until(limit_to_one, "window.lock")
    commit(database.tables, database.until(take_one, "leases.claim"))
    counted = database.step(limit_to_one, lowers)
    assert counted is not None
    assert counted.answers[-1].leases == 1


def test_a_row_that_another_one_holds_is_waited_for() -> None:
    database = Database(False, limit=1)
    first = database.until(admit, "window.lock")
    assert database.step(admit, UnderWay(), beside=first) is None


def test_a_claim_skips_what_another_one_takes() -> None:
    database = Database(True, True, limit=2)
    first = database.until(take_one, "leases.claim")
    second = database.step(take_one, UnderWay(), beside=first)
    assert second is not None
    assert [row for row in first.writes if row[0] == "leases"] == [("leases", 1)]
    assert [row for row in second.writes if row[0] == "leases"] == [("leases", 2)]


def test_a_waiting_transaction_acts_on_its_earlier_read_and_finds_the_remaining_rows() -> None:
    database = Database(True, True, limit=2)
    claims = database.until(take_one, "leases.claim")
    chose = database.step(limit_to_one, database.until(limit_to_one, "window.account_queue"))
    assert chose is not None
    assert chose.seen == ([2],)
    commit(database.tables, claims)
    took_out = database.step(limit_to_one, chose)
    assert took_out is not None
    commit(database.tables, took_out)
    assert database.tagged() == []


def test_the_model_refuses_what_the_application_refuses() -> None:
    database = Database(True, limit=1)
    commit(database.tables, database.until(take_one, "leases.claim"))
    with pytest.raises(InvalidState):
        database.until(partial(cancel_task, task_key=1, force=False), "leases.revoke")


def test_the_models_reach_every_statement_that_limits_are_kept_by() -> None:
    """What no state reaches would hold for nothing."""
    reached: set[str] = set()
    for traffic in SMALL:
        if isinstance(traffic, Traffic):
            model = Interleaving(traffic)
            explore(model)
            reached |= model.statements()
    window = {f"window.{statement}" for statement in ("close", "lock", "account_queue", "admit", "untag", "mark")}
    others = {"leases.claim", "leases.complete", "leases.delete", "leases.revoke", "waiting.reserve", "accounts.update"}
    assert reached >= window | others
    assert reached >= {"admission waits", "limit waits", "due waits"}
