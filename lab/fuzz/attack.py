"""A stretch of hostile calls, made by one process of a campaign's pool: many at a time, over their own connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import uvloop
from google.protobuf.message import DecodeError

from lab.fuzz.calling import Caller, Ending
from lab.fuzz.case import Case, Who
from lab.fuzz.generating import case
from lab.fuzz.judging import wrong_with
from lab.fuzz.known import Known
from lab.fuzz.rpcs import RPCS
from lab.fuzz.tally import Finding, Tally

MAX_CONCURRENT_CALLS = 100


@dataclass(frozen=True)
class Order:
    """Cases `first` to `first + count`, which take turns at the paths."""

    target: str
    tokens: Mapping[Who, str]
    paths: tuple[str, ...]
    seed: int
    first: int
    count: int
    known: Known

    def cases(self) -> Iterator[Case]:
        for turn in range(self.first, self.first + self.count):
            number, path = divmod(turn, len(self.paths))
            yield case(self.paths[path], self.seed, number, self.known)


def attack(order: Order) -> Tally:
    """Makes the calls; what they came to."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_attack(order))


async def _attack(order: Order) -> Tally:
    tally = Tally(known=order.known)
    cases = order.cases()
    async with Caller(order.target, order.tokens) as caller, asyncio.TaskGroup() as group:
        for _ in range(MAX_CONCURRENT_CALLS):
            group.create_task(_take_turns(cases, caller, tally))
    return tally


async def _take_turns(cases: Iterator[Case], caller: Caller, tally: Tally) -> None:
    for item in cases:
        note(item, await caller.make(item), tally)


def note(each: Case, ending: Ending, tally: Tally) -> None:
    """Counts an ending, judges it, and learns from it."""
    rpc = RPCS.get(each.rpc)
    name = rpc.name if rpc else "no such RPC"
    tally.count(name, status_of(ending))
    if problem := wrong_with(each, ending):
        tally.find(Finding(name, problem, each.seed, each.number, _how(each), each.requests))
    if ending.answers:
        tally.answered.add(name)
    if rpc is None:
        return
    for answer in ending.answers:
        try:
            tally.known.learn(rpc.answer_class.FromString(answer))
        except DecodeError:  # has become a finding
            continue


def status_of(ending: Ending) -> str:
    """Returns the status by the name that the table uses."""
    return ending.code.name if ending.code else "no end"


def _how(item: Case) -> str:
    hangs_up = "" if item.hangs_up_after is None else f", hangs up after {item.hangs_up_after:g} s"
    return f"{item.shape}, as {item.who}, deadline {item.timeout:g} s{hangs_up}, metadata {item.metadata}"
