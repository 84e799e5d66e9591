"""A state of the model."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from lab.model.links import Link
from lab.model.scenario import FAULTS
from scheduler_svc.domain.ids import LeaseRef

A = TypeVar("A")


class Whole(NamedTuple):
    """A state: numbers of its parts. `budget` is what may still go wrong."""

    tables: int
    budget: tuple[int, ...]
    processes: tuple[int, ...]
    links: tuple[Link | None, ...]
    former: tuple[Link | None, ...]
    rival: tuple[LeaseRef, ...] = ()
    """What the other worker runs, where there is one whose messages take no time."""


def replaced_in(row: tuple[A, ...], place: int, value: A) -> tuple[A, ...]:
    """Returns the row with another value in a place."""
    return (*row[:place], value, *row[place + 1 :])


def linked(whole: Whole, who: int, link: Link | None) -> Whole:
    """Returns the state with another present stream of a worker."""
    return whole._replace(links=replaced_in(whole.links, who, link))


def formerly(whole: Whole, who: int, link: Link | None) -> Whole:
    """Returns the state with another former stream of a worker."""
    return whole._replace(former=replaced_in(whole.former, who, link))


def spend(whole: Whole, fault: str) -> Whole | None:
    """Returns the state with one of these faults less; None where none is left."""
    place = FAULTS.index(fault)
    remaining = whole.budget[place]
    return whole._replace(budget=replaced_in(whole.budget, place, remaining - 1)) if remaining else None
