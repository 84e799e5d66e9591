"""Routing: which workers may run which tasks, by labels. The numbers of worker selectors, and who matches them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from scheduler_svc.domain.dispatch import queue_of
from scheduler_svc.domain.errors import TooManySelectors
from scheduler_svc.domain.worker import WorkerSelector

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


class Routes:
    """The worker selectors of open tasks, as this replica last read them. Lives on the event loop."""

    def __init__(self) -> None:
        self._labels: dict[int, frozenset[tuple[str, str]]] = {}
        self._by_pair: dict[tuple[str, str], list[int]] = {}
        """The selectors by one of their pairs: no other workers can match them."""

    def replace(self, selectors: Iterable[tuple[int, Mapping[str, str]]]) -> bool:
        """Takes the selectors that there are now; returns whether they are others than before."""
        labels = {number: frozenset(pairs.items()) for number, pairs in selectors}
        if labels == self._labels:
            return False
        self._labels, self._by_pair = labels, {}
        for number, pairs in labels.items():
            self._by_pair.setdefault(min(pairs), []).append(number)
        return True

    def matched_by(self, labels: Mapping[str, str]) -> tuple[int, ...]:
        """Returns the numbers of the selectors that a worker's labels match, in order."""
        if not self._labels:
            return ()
        pairs = labels.items()
        candidates = [number for pair in pairs for number in self._by_pair.get(pair, ())]
        return tuple(sorted(number for number in candidates if self._labels[number] <= pairs))


def number_selectors(
    tx: Tx, wanted: Sequence[tuple[int, WorkerSelector]]
) -> tuple[dict[bytes, int], dict[int, TooManySelectors]]:
    """Returns the numbers of worker selectors, by digest, and a refusal for each index of one that gets none.

    `wanted`: each with the account whose tasks get it in this transaction. In the order of the digests, so that two
    sessions that add the same ones do not wait for each other.
    """
    numbers: dict[bytes, int] = {}
    refused: dict[int, TooManySelectors] = {}
    for i in sorted(range(len(wanted)), key=lambda i: wanted[i][1].digest):
        account_id, selector = wanted[i]
        while selector.digest not in numbers and i not in refused:
            if known := tx.selectors.lock([selector]):
                numbers |= known
            elif tx.selectors.add(selector, account_id):
                tx.signals.selectors = True
            else:
                refused[i] = TooManySelectors(account_id)
    return numbers, refused


def queues_of_ended(tx: Tx, tasks: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """Returns the queues of ended tasks that are opened again, by key. Raises TooManySelectors.

    `tasks`: account and priority of each.
    """
    selectors = tx.selectors.of_tasks(sorted(tasks))
    keys = sorted(selectors)
    wanted = [(tasks[key][0], WorkerSelector(selectors[key])) for key in keys]
    numbers, refused = number_selectors(tx, wanted)
    if refused:
        raise refused.popitem()[1]
    ids = {key: numbers[selector.digest] for key, (_, selector) in zip(keys, wanted, strict=True)}
    return {key: queue_of(priority, ids.get(key, 0)) for key, (_, priority) in tasks.items()}


def forget_selectors(tx: Tx) -> int:
    """Deletes the worker selectors that no open task has; returns how many."""
    deleted = tx.selectors.delete_unused()
    tx.signals.selectors = deleted > 0
    return deleted
