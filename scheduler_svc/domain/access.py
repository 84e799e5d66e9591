"""Who calls, and whose tasks and contents a call is about."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scheduler_svc.domain.errors import AccountForbidden, RoleForbidden


class Role(StrEnum):
    """What a token is for."""

    CLIENT = "client"
    WORKER = "worker"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose tasks and contents a call is about: those of these accounts, or (None) of all."""

    accounts: tuple[int, ...] | None = None

    @classmethod
    def of(cls, account_id: int) -> Scope:
        """One account's; 0: all."""
        return cls((account_id,)) if account_id else ALL

    def __contains__(self, account_id: int) -> bool:
        return self.accounts is None or account_id in self.accounts


ALL = Scope()


@dataclass(frozen=True, slots=True)
class CallerIdentity:
    """A caller. `name` is empty where no tokens are asked; `scope` holds the accounts that it is tied to."""

    name: str
    role: Role
    scope: Scope = ALL

    def require(self, allowed: frozenset[Role], rpc: str) -> None:
        """Raises RoleForbidden."""
        if self.role not in allowed:
            raise RoleForbidden(self.name, self.role, rpc, sorted(allowed))

    def about(self, account_id: int) -> Scope:
        """The scope of a call that names an account, or 0 for all that are the caller's. Raises AccountForbidden."""
        if account_id == 0:
            return self.scope
        if account_id not in self.scope:
            raise AccountForbidden(self.name, f"account {account_id}", account_id=str(account_id))
        return Scope.of(account_id)

    def about_everyone(self, what: str) -> None:
        """For a call that touches every account's tasks. Raises AccountForbidden where the caller is tied to some."""
        if self.scope != ALL:
            raise AccountForbidden(self.name, what)


ANYONE = CallerIdentity("", Role.OPERATOR)
"""Whoever calls where no tokens are asked: everyone who reaches the port may do everything."""
