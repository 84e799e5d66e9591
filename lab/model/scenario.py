"""How large a model is, and what may go wrong in it."""

from __future__ import annotations

from dataclasses import dataclass, field

FAULTS = (
    "cut", "partition", "kill", "replica", "outage", "slow", "suspend", "jump", "stand",
    "cancel", "timeout", "fail", "ill", "defer", "retry", "limit",
)  # fmt: skip
"""What a scenario may let happen, each so many times."""

OF_A_WORKER = ("cut", "partition", "kill", "replica", "suspend", "fail", "ill", "defer")
"""Those of them that befall one of the workers, or its stream."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """How large a model is, and what may go wrong in it. Times are in units of the heartbeat interval."""

    name: str
    shows: str
    faults: dict[str, int] = field(default_factory=dict)
    workers: int = 1
    rival: bool = False
    """Whether there is another worker, at its best: what it says and hears takes no time, and nothing befalls it."""
    one_replica: bool = False
    """Whether a worker's streams, present and former, are the same replica's, whose claims are for both."""
    slots: int = 1
    tasks: int = 1
    max_retries: int = 0
    max_losses: int = 2
    max_deferrals: int = 2
    lease_ttl: float = 3.0
    limits: tuple[int, ...] = (0,)
    """How many tasks of their account may run at a time: first, and as clients change it later. 0 is no limit."""
    loses_nothing: bool = False
    """Whether none of its faults may cost a run or a result."""
