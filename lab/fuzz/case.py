"""One case of a campaign: what is sent, by whom, and how the caller behaves. Made from a seed and a number alone.

Live ids are the exception: a case takes them from what a run has seen so far, so a finding keeps its bytes too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class Who(StrEnum):
    """Whose token a call carries."""

    TIED = "tied"
    """An operator of some accounts: may do everything to what is theirs."""
    CLIENT = "client"
    """A client of the same accounts."""
    WORKER = "worker"
    OPERATOR = "operator"
    """An operator of all accounts, for calls that nobody else may make."""
    STRANGER = "stranger"
    """A token that nobody knows."""
    NOBODY = "nobody"
    """No token."""


@dataclass(frozen=True, slots=True)
class Case:
    """One call. `requests` are serialized messages; a call that takes one is made with the first."""

    rpc: str
    """`/package.Service/Method`."""
    seed: int
    number: int
    shape: str
    """How the bytes were made: structured, random, truncated, …"""
    who: Who
    requests: tuple[bytes, ...]
    timeout: float
    """The deadline in seconds; 0 or less has passed at once."""
    hangs_up_after: float | None = None
    """Seconds after which the caller cancels."""
    metadata: tuple[tuple[str, str | bytes], ...] = ()

    @property
    def impatient(self) -> bool:
        """Whether the call may end before its answer has come."""
        return self.hangs_up_after is not None or self.timeout < PATIENT


PATIENT = 15.0
"""Seconds of a deadline that is met whatever is asked, but for calls that wait by their nature."""


def random_of(target: str, seed: int, number: int) -> random.Random:
    """Returns the source of everything random in one case; the same on any machine."""
    return random.Random(f"{target}/{seed}/{number}")
