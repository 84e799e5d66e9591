"""A stream of the model: what is on its way, what the scheduler's end of it knows; and the state of a whole model."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from lab.model.process import Assignment, State, StateAcknowledged, ToScheduler, ToWorker, named
from lab.model.properties import FAULTS
from lab.model.scheduler import Stock, frozen
from scheduler_svc.dispatch.rows import Claimed
from scheduler_svc.dispatch.streams import Streams, WorkerStream
from scheduler_svc.dispatch.work import SessionCapacity
from scheduler_svc.domain.ids import LeaseRef


class End(NamedTuple):
    """The scheduler's end of a stream. `claimed`: leases that are committed and not sent, and the state they answer."""

    session_key: int
    stock: Stock = Stock()
    claimed: tuple[int, tuple[LeaseRef, ...]] | None = None


class Link(NamedTuple):
    """A stream: what is on its way up and down. Without an end its hello has not been taken yet."""

    up: tuple[ToScheduler, ...] = ()
    down: tuple[ToWorker, ...] = ()
    end: End | None = None


def stated(link: Link, end: End, state: State, not_renewed: tuple[str, ...]) -> Link:
    """A state is committed: it is acknowledged, and its capacity counts."""
    capacity = end.stock.thawed()
    capacity.heartbeat(state.number, state.free_slots, state.last_assignment, 1.5)  # intervals it counts for (rule 6)
    acknowledged = StateAcknowledged(state.number, not_renewed)
    return link._replace(down=(*link.down, acknowledged), end=end._replace(stock=frozen(capacity)))


def capacities(worker_id: str, *streams: Link | None) -> list[SessionCapacity]:
    """Returns what a replica with these streams of a worker, the older first, would claim; nothing while it claims."""
    ends = [link.end for link in streams if link is not None and link.end is not None]
    if any(end.claimed is not None for end in ends):
        return []
    registry = Streams()
    for end in ends:
        stream = WorkerStream(worker_id, end.session_key)
        stream.capacity = end.stock.thawed()
        registry.add(stream)
    return registry.capacities(0.0, 100)


def claimed(link: Link, claim: Claimed | None, session_key: int) -> Link:
    """A claim is committed: what it granted to its session is to be handed over. A replaced one offers nothing."""
    end = link.end
    if end is None:
        return link
    if claim is None or end.session_key in claim.closed:
        return link._replace(end=end._replace(stock=end.stock._replace(free_slots=0)))
    if not claim.grants or end.session_key != session_key:
        return link
    refs = tuple(grant.ref for grant in claim.grants)
    return link._replace(end=end._replace(claimed=(end.stock.heartbeat_number, refs)))


def handed_over(link: Link) -> Link:
    """What was claimed is sent, as one assignment."""
    end = link.end
    assert end is not None, "only an open stream is written to"
    assert end.claimed is not None, "only what is claimed is handed over"
    heartbeat_number, refs = end.claimed
    capacity = end.stock.thawed()
    assignment = Assignment(capacity.assigned(len(refs)), heartbeat_number, tuple(map(named, refs)))
    return link._replace(down=(*link.down, assignment), end=End(end.session_key, frozen(capacity)))


def aged(link: Link | None) -> Link | None:
    if link is None or link.end is None:
        return link
    stock = link.end.stock
    return link._replace(end=link.end._replace(stock=stock._replace(expires_at=max(stock.expires_at - 1.0, 0.0))))


def renumbered(link: Link, states: int, assignments: int) -> Link:
    """Returns all numbers of a stream lowered: only their differences matter."""
    assert link.end is not None, "only an open stream is renumbered"
    stock = link.end.stock
    fewer = stock._replace(
        heartbeat_number=stock.heartbeat_number - states,
        assignments=stock.assignments - assignments,
        unread=tuple((number - assignments, leases) for number, leases in stock.unread),
    )
    return link._replace(end=link.end._replace(stock=fewer))


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
    return (*row[:place], value, *row[place + 1 :])


def linked(state: Whole, who: int, link: Link | None) -> Whole:
    return state._replace(links=replaced_in(state.links, who, link))


def formerly(state: Whole, who: int, link: Link | None) -> Whole:
    return state._replace(former=replaced_in(state.former, who, link))


def spend(state: Whole, fault: str) -> Whole | None:
    """Returns the state with one of these faults less; None where none is left."""
    place = FAULTS.index(fault)
    remaining = state.budget[place]
    return state._replace(budget=replaced_in(state.budget, place, remaining - 1)) if remaining else None
