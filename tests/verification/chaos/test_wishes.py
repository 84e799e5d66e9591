"""What the clients of a campaign wish for, which their seed alone decides."""

from __future__ import annotations

import random

from verification.chaos.wishes import ACCOUNTS, Wish, wish

ACCOUNT_IDS = range(1, 1 + len(ACCOUNTS))


def wishes(seed: str, count: int = 2_000) -> list[Wish]:
    chance = random.Random(seed)
    return [wish(chance, f"request {n}", ACCOUNT_IDS) for n in range(count)]


MANY = wishes("one")


def test_a_seed_makes_the_same_wishes() -> None:
    assert wishes("one", 10) == MANY[:10] != wishes("two", 10)


def test_all_accounts_and_all_ways_to_behave_come_up() -> None:
    assert {request.arguments["account_id"] for request in MANY} == set(ACCOUNT_IDS)
    modes = {request.arguments["creator_options"]["chaos-mode"] for request in MANY}
    assert modes == {"plain", "deaf", "fork", "talk", "fail", "defer", "rubbish", "hang"}


def test_a_task_that_hangs_at_first_can_complete_in_time_later() -> None:
    hanging = [request.arguments for request in MANY if request.arguments["creator_options"]["chaos-mode"] == "hang"]
    assert all(float(arguments["creator_options"]["chaos-seconds"]) < arguments["timeout"] / 2 for arguments in hanging)
    assert all(
        request.then[-1][1] == "retry"
        for request in MANY
        if request.arguments["creator_options"]["chaos-mode"] == "hang"
    )


def test_some_tasks_are_cancelled_and_some_clients_give_up() -> None:
    cancelled = [what for request in MANY for _, what in request.then if what in {"cancel", "force"}]
    assert 80 < len(cancelled) < 160
    assert 0 < cancelled.count("cancel") < cancelled.count("force")
    assert 150 < sum(request.gives_up for request in MANY) < 250
