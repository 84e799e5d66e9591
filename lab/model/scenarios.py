"""The models that are explored: small ones by the tests, wider ones too by `make model`."""

from __future__ import annotations

from typing import Any

from lab.model.explore import System
from lab.model.interleaving import Interleaving, Traffic
from lab.model.properties import Scenario
from lab.model.system import Model

_EACH_ONCE = {"limit": 1, "cancel": 1, "release": 1, "expire": 1, "late": 1}

SMALL: tuple[Scenario | Traffic, ...] = (
    Scenario("calm", "two workers, message by message, and nothing goes wrong", workers=2),
    Scenario("late", "somebody is slow for once", {"slow": 1}, rival=True),
    Scenario("streams", "a stream breaks, and what was sent on it may still arrive", {"cut": 1}, rival=True),
    Scenario(
        "replaced", "a stream breaks, and its replica does not notice: the next one is there too",
        {"cut": 1}, tasks=2, one_replica=True,
    ),
    Scenario("partition", "a worker reaches no scheduler for as long as you like", {"partition": 1}),
    Scenario("kills", "a worker is killed with its CLIs, and started again or not", {"kill": 1}),
    Scenario("replica", "a replica dies with what it had claimed and not sent", {"replica": 1}, rival=True),
    Scenario(
        "outage", "the database is away for as long as you like: no run is lost", {"outage": 1}, loses_nothing=True
    ),
    Scenario("cancel", "a forced cancel against a result and a broken stream", {"cancel": 1, "cut": 1}),
    Scenario("timeout", "the scheduler ends a run by its timeout while it is just ending", {"timeout": 1, "slow": 1}),
    Scenario(
        "retries", "runs fail, a client retries", {"fail": 2, "timeout": 1, "retry": 1}, rival=True, max_retries=1
    ),
    Scenario("deferrals", "a CLI asks to come back later, once too often", {"defer": 2}),
    Scenario("suspend", "a worker's machine sleeps for as long as you like", {"suspend": 1}, rival=True),
    Scenario("jump", "the database's clock jumps ahead", {"jump": 2}, rival=True),
    Scenario("stand", "the database's clock stands", {"stand": 1}),
    Scenario("capacity", "two tasks for one slot", {"slow": 1}, tasks=2),
    Scenario("limit", "one task at a time, and a cancelled run", {"cancel": 1}, rival=True, tasks=2, limits=(1,)),
    Traffic("admission", "two replicas admit, claim and end, statement by statement"),
    Traffic("admission, ends", "a lease is released, lost, reported late", {"release": 1, "expire": 1, "late": 1}),
    Traffic("admission, cancel", "a run is cancelled, and its revoked lease still counts", {"cancel": 1}),
    Traffic("admission, lower", "the limit is lowered beside claims", {"limit": 1}, limits=(2, 1)),
    Traffic("admission, none before", "a first limit comes beside claims", {"limit": 1}, limits=(0, 1)),
    Traffic("admission, due", "a first limit, and first tasks", {"limit": 1}, limits=(0, 1), scheduled=True),
    Traffic("admission, lifted", "the limit is taken away and comes again", {"limit": 2}, limits=(1, 0)),
)  # fmt: skip

WIDE: tuple[Scenario | Traffic, ...] = (
    Scenario("partition, rival", "another worker takes over", {"partition": 1}, rival=True),
    Scenario("kills, rival", "another worker takes over", {"kill": 1}, rival=True),
    Scenario("kills, capacity", "two tasks for one slot, and a kill", {"kill": 1}, tasks=2),
    Scenario("streams, capacity", "two tasks for one slot, and a broken stream", {"cut": 1}, tasks=2),
    Scenario("deferrals, streams", "a CLI asks to come back later, and a stream breaks", {"defer": 1, "cut": 1}),
    Scenario("illness", "a CLI is gone: one task at a time", {"ill": 1}, slots=2, tasks=2, max_retries=1),
    Scenario("streams, late", "a stream breaks while somebody is slow", {"cut": 1, "slow": 1}),
    Scenario("later", "somebody is slow three times", {"slow": 3}),
    Scenario("outages", "the database is away, twice", {"outage": 2}, loses_nothing=True),
    Scenario("replica, late", "somebody is slow about the death of a replica", {"replica": 1, "slow": 1}),
    Scenario("outage, late", "somebody is slow about an outage", {"outage": 1, "slow": 1}, rival=True),
    Scenario("jump, late", "the database's clock jumps while somebody is slow", {"jump": 1, "slow": 1}, rival=True),
    Scenario("jumps", "the database's clock jumps, three times", {"jump": 3}, rival=True),
    Scenario("clocks", "a sleep, a jump and a clock that stands", {"suspend": 1, "jump": 1, "stand": 1}),
    Scenario("two workers, streams", "a stream of one of two breaks", {"cut": 1}, workers=2),
    Scenario("two workers, replica", "a replica of one of two dies", {"replica": 1}, workers=2),
    Scenario("two workers, cancel", "a forced cancel, and the other is free", {"cancel": 1}, workers=2),
    Scenario("two workers, late", "both message by message, and somebody is slow", {"slow": 1}, workers=2),
    Scenario("limits", "a limit comes, and is raised", {"limit": 2}, rival=True, tasks=2, limits=(0, 1, 2)),
    Scenario("limit, late", "one task at a time, and somebody is slow", {"slow": 1}, rival=True, tasks=2, limits=(1,)),
    Traffic("admission, all", "all that may happen to one of two tasks", _EACH_ONCE, limits=(2, 1)),
    Traffic("admission, three", "three tasks, three transactions at once", {"limit": 1}, 3, (2, 1), at_once=3),
)  # fmt: skip


def system(scenario: Scenario | Traffic, *, fenced: bool = True) -> System[Any]:
    return Model(scenario, fenced=fenced) if isinstance(scenario, Scenario) else Interleaving(scenario)
