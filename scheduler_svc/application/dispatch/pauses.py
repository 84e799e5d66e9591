"""Pauses of dispatch, of an account or (0) of everything: separate switches, which survive restarts.

Each claim reads the pause of everything. A pause of an account removes its tags, so claims don't see its tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.application.dispatch.admission import settle
from scheduler_svc.application.tasks.ledger import ALL_ACCOUNTS
from scheduler_svc.domain.access import Scope

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


class DispatchStatus(NamedTuple):
    """The pauses in force."""

    all_paused: bool
    accounts: tuple[int, ...]


def pause_dispatch(tx: Tx, account_id: int) -> None:
    """Pauses: nothing more is leased from the commit on. Raises NotFound."""
    if account_id != ALL_ACCOUNTS:
        tx.accounts.require(account_id)
    tx.pauses.add(account_id)
    if account_id != ALL_ACCOUNTS:
        tx.window.close(account_id)
        settle(tx, account_id)


def resume_dispatch(tx: Tx, account_id: int) -> None:
    """Ends the pause with the same `account_id`. Raises NotFound."""
    if account_id != ALL_ACCOUNTS:
        tx.accounts.require(account_id)
    tx.pauses.remove(account_id)
    if account_id != ALL_ACCOUNTS:
        settle(tx, account_id)
    tx.signals.ready = True


def dispatch_status(tx: Tx, scope: Scope) -> DispatchStatus:
    """The pause of everything, and the pauses of the accounts in scope."""
    paused = tx.pauses.list()
    return DispatchStatus(ALL_ACCOUNTS in paused, tuple(it for it in paused if it != ALL_ACCOUNTS and it in scope))
