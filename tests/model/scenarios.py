"""The models that are explored: small ones by the tests, wider ones too by `make model`. Part of `tests.model`."""

from __future__ import annotations

from tests.model.scenario import Scenario

SMALL = (
    Scenario("calm", "two workers, message by message, and nothing goes wrong", workers=2),
    Scenario("late", "somebody is slow for once", {"slow": 1}, rival=True),
    Scenario("streams", "a stream breaks, and what was sent on it may still arrive", {"cut": 1}, rival=True),
    Scenario("partition", "a worker reaches no scheduler for as long as you like", {"partition": 1}),
    Scenario("kills", "a worker is killed with its CLIs, and started again or not", {"kill": 1}),
    Scenario("replica", "a replica dies with what it had claimed and not sent", {"replica": 1}, rival=True),
    Scenario(
        "outage", "the database is away for as long as you like: no run is lost", {"outage": 1}, loses_nothing=True
    ),
    Scenario("cancel", "a forced cancel against a result and a broken stream", {"cancel": 1, "cut": 1}),
    Scenario("timeout", "the scheduler times a run out that is just ending", {"timeout": 1, "slow": 1}),
    Scenario(
        "retries", "runs fail, a client retries", {"fail": 2, "timeout": 1, "retry": 1}, rival=True, max_retries=1
    ),
    Scenario("suspend", "a worker's machine sleeps for as long as you like", {"suspend": 1}, rival=True),
    Scenario("jump", "the database's clock jumps ahead", {"jump": 2}, rival=True),
    Scenario("stand", "the database's clock stands", {"stand": 1}),
    Scenario("capacity", "two tasks for one slot", {"slow": 1}, tasks=2),
)  # fmt: skip

WIDE = (
    Scenario("partition, rival", "another worker takes over", {"partition": 1}, rival=True),
    Scenario("kills, rival", "another worker takes over", {"kill": 1}, rival=True),
    Scenario("kills, capacity", "two tasks for one slot, and a kill", {"kill": 1}, tasks=2),
    Scenario("streams, capacity", "two tasks for one slot, and a broken stream", {"cut": 1}, tasks=2),
    Scenario("illness", "a CLI is gone: one task at a time", {"ill": 1}, slots=2, tasks=2, max_retries=1),
    Scenario("streams, late", "a stream breaks while somebody is slow", {"cut": 1, "slow": 1}),
    Scenario("later", "somebody is slow three times", {"slow": 3}),
    Scenario("outages", "the database is away, twice", {"outage": 2}, loses_nothing=True),
    Scenario("replica, late", "somebody is slow about the death of a replica", {"replica": 1, "slow": 1}),
    Scenario("outage, late", "somebody is slow about an outage", {"outage": 1, "slow": 1}, rival=True),
    Scenario("jump, late", "the database's clock jumps while somebody is slow", {"jump": 1, "slow": 1}, rival=True),
    Scenario("clocks", "a sleep, a jump and a clock that stands", {"suspend": 1, "jump": 1, "stand": 1}),
    Scenario("two workers", "both message by message, and somebody is slow", {"slow": 1}, workers=2),
)
