"""What the clients of a campaign ask for: tasks, what their CLIs do, and what is done to them later. Pure."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.chaos.creator import PICTURES

_MODES: Mapping[str, float] = {
    "plain": 70,
    "deaf": 8,
    "fork": 8,
    "talk": 5,
    "fail": 4,
    "defer": 4,
    "rubbish": 2,
    "hang": 3,
}
"""How the CLI behaves, and how often."""
_MIN_RUN, _MAX_RUN, _MAX_IN_TIME = 0.3, 8.0, 1.5
"""Seconds of a run; most are short. What hangs at first has to come to its end in time later."""


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    cap: int
    weight: float
    share: float
    """How much of all that is submitted is its own; a cap must not hold up the end of a campaign."""


ACCOUNTS = (
    Account("plain", 0, 1.0, 0.45),
    Account("heavy", 0, 4.0, 0.45),
    Account("narrow", 3, 2.0, 0.08),
    Account("single", 1, 1.0, 0.02),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """One task to be submitted: the arguments of `submit_task`, and what is done to it later."""

    arguments: Mapping[str, Any]
    gives_up: bool
    """Whether its client does after the first failure."""
    then: Sequence[tuple[float, str]]
    """Seconds after the acknowledgement, and `cancel`, `force` or `retry`."""

    @property
    def topic_sha256(self) -> str:
        return hashlib.sha256(str(self.arguments["topic"]).encode()).hexdigest()


def wish(chance: random.Random, request_id: str, account_ids: Sequence[int]) -> Wish:
    mode = chance.choices(list(_MODES), list(_MODES.values()))[0]
    longest = _MAX_IN_TIME if mode == "hang" else _MAX_RUN
    options = {
        "chaos-mode": mode,
        "chaos-seconds": f"{_MIN_RUN + (longest - _MIN_RUN) * chance.random() ** 3:.2f}",
        "chaos-times": str(chance.randint(1, 2)),
        "chaos-characters": str(int(10 ** chance.uniform(1, 4.7))),
        "chaos-file": str(int(10 ** chance.uniform(1, 5))) if chance.random() < 0.4 else "0",
        "chaos-picture": chance.choice(list(PICTURES)),
    }
    arguments: dict[str, Any] = {
        "account_id": chance.choices(account_ids, [account.share for account in ACCOUNTS][: len(account_ids)])[0],
        "topic": f"topic of {request_id}",
        "priority": chance.randint(1, 10) if chance.random() < 0.2 else 5,
        "auto_approve": chance.random() < 0.8,
        "max_retries": 0 if chance.random() < 0.02 else 20,  # disks that fill up cost some
        "timeout": 4.0 if mode == "hang" else 300.0,  # seconds; what hangs at first is not waited for
        "request_id": request_id,
        "creator_options": options,
    }
    gives_up, then = chance.random() < 0.1, []
    if chance.random() < 0.06:  # it is cancelled, mostly by force
        then.append((chance.uniform(0.0, 6.0), "force" if chance.random() < 0.6 else "cancel"))
    if mode in {"fail", "rubbish", "hang"}:  # its retry would wait for half a minute
        then += [(chance.uniform(5.0, 12.0), "retry"), (chance.uniform(15.0, 25.0), "retry")]
    return Wish(arguments, gives_up, then)
