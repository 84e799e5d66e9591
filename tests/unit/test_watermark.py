"""Up to which number moves are settled, for transactions that draw and commit in any order."""

from __future__ import annotations

import random

from scheduler_svc.domain.watermark import Snapshot, Watermark


class Database:
    """Transactions that draw numbers and commit."""

    def __init__(self) -> None:
        self._begun = 0
        self._running: dict[str, list[int]] = {}
        self.last = 0
        self.committed: set[int] = set()

    def begin(self) -> str:
        self._begun += 1
        own = f"transaction {self._begun}"
        self._running[own] = []
        return own

    def draw(self, own: str) -> None:
        self.last += 1
        self._running[own].append(self.last)

    def commit(self, own: str) -> None:
        self.committed.update(self._running.pop(own))

    @property
    def uncommitted(self) -> set[int]:
        return {number for numbers in self._running.values() for number in numbers}

    @property
    def running(self) -> list[str]:
        return list(self._running)

    @property
    def drawers(self) -> frozenset[str]:
        return frozenset(own for own, numbers in self._running.items() if numbers)


def look_at(database: Database, meanwhile: int = 0) -> Snapshot:
    """A look, between whose two steps others may begin and draw."""
    last = database.last
    for _ in range(meanwhile):
        database.draw(database.begin())
    return Snapshot(last, database.drawers)


def test_all_moves_are_settled_without_running_transactions() -> None:
    database, watermark = Database(), Watermark()
    own = database.begin()
    database.draw(own)
    assert watermark.settled(look_at(database)) is None
    database.commit(own)
    assert watermark.settled(look_at(database)) == 1


def test_transactions_that_draw_nothing_hold_nothing_up() -> None:
    database, watermark = Database(), Watermark()
    database.begin()
    own = database.begin()
    database.draw(own)
    database.commit(own)
    assert watermark.settled(look_at(database)) == 1


def test_the_watermark_advances_although_some_transaction_always_runs() -> None:
    database, watermark = Database(), Watermark()
    first = database.begin()
    database.draw(first)
    assert watermark.settled(look_at(database)) is None
    second = database.begin()
    database.draw(second)
    database.commit(first)
    assert watermark.settled(look_at(database)) == 1
    third = database.begin()
    database.draw(third)
    database.commit(second)
    assert watermark.settled(look_at(database)) == 2


def test_no_number_up_to_the_settled_one_is_still_to_come() -> None:
    for seed in range(200):
        dice = random.Random(seed)
        database, watermark = Database(), Watermark()
        count = 0
        for _ in range(100):
            running = database.running
            match dice.choice(["begin", "draw", "draw", "commit", "look"]):
                case "begin":
                    database.begin()
                case "draw" if running:
                    database.draw(dice.choice(running))
                case "commit" if running:
                    database.commit(dice.choice(running))
                case "look":
                    settled = watermark.settled(look_at(database, dice.randint(0, 2)))
                    count += settled is not None
                    assert min(database.uncommitted, default=database.last + 1) > (settled or 0)
        while database.running:
            database.commit(database.running[0])
        assert watermark.settled(look_at(database)) == database.last
