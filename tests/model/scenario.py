"""How large a model is, and what may go wrong in it. Part of `tests.model`."""

from __future__ import annotations

from dataclasses import dataclass, field

FAULTS = (
    "cut", "partition", "kill", "replica", "outage", "slow", "suspend", "jump", "stand",
    "cancel", "timeout", "fail", "ill", "retry",
)  # fmt: skip
"""What a scenario may let happen, each so many times."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """How large a model is, and what may go wrong in it. Times are in units of the heartbeat interval."""

    name: str
    shows: str
    faults: dict[str, int] = field(default_factory=dict)
    workers: int = 1
    rival: bool = False
    """Whether there is another worker, at its best: what it says and hears takes no time, and nothing befalls it."""
    slots: int = 1
    tasks: int = 1
    max_retries: int = 0
    max_losses: int = 2
    lease_ttl: float = 3.0
    loses_nothing: bool = False
    """Whether none of its faults may cost a run or a result."""
