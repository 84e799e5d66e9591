"""What is done to a cluster: each step of a script, and each key. Above `cluster`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import psycopg2

from verification.cluster.cluster import Cluster
from verification.cluster.load import Load
from verification.cluster.nodes import Node

Condition = Callable[[], bool]
_LIMIT = 120.0
"""Seconds that a step waits for health, or for an alert."""


@dataclass
class Fault:
    """Something that was done; times by the monotonic clock."""

    what: str
    undo: Callable[[], None]
    began: float
    due: float
    """When it is undone by itself."""
    known: frozenset[tuple[str, str]]
    """Alerts that fired already."""
    alerts: dict[tuple[str, str], float] = field(default_factory=dict)
    """What began to fire meanwhile, by name and instance: seconds since it began."""
    runbooks: dict[str, str] = field(default_factory=dict)
    undone: float | None = None
    healthy: float | None = None
    slowest: float = 0.0
    """Seconds of the slowest submit meanwhile."""

    @property
    def over(self) -> bool:
        return self.healthy is not None


class Faults:
    """The faults of a run, and the steps that cause them."""

    def __init__(self, cluster: Cluster, load: Load, down: float, say: Callable[[str], None]) -> None:
        self.all: list[Fault] = []
        self.restarts = 0
        """Of `roll`."""
        self._cluster = cluster
        self._load = load
        self._down = down
        self._say = say
        self._turns: dict[str, int] = {}
        self._steps: list[Iterator[Condition]] = []
        self._waits_for: Condition | None = None

    @property
    def active(self) -> list[Fault]:
        return [fault for fault in self.all if not fault.over]

    @property
    def busy(self) -> bool:
        """Whether steps are under way, or wait for their turn."""
        return bool(self._steps)

    def do(self, words: Sequence[str]) -> None:
        """Begins a step; it goes on with `proceed`, after those before it."""
        self._steps.append(self._step(*words))

    def proceed(self) -> None:
        """To be called again and again: goes on with steps, undoes what is due, and notes what came of it."""
        now, slowest = time.monotonic(), self._load.slowest()
        for fault in self.active:
            fault.slowest = max(fault.slowest, slowest)
            self._note(fault, now)
            if fault.undone is None and now >= fault.due:
                self._undo(fault)
        while self._steps and (self._waits_for is None or self._waits_for()):
            self._waits_for = next(self._steps[0], None)
            if self._waits_for is None:
                self._steps.pop(0)

    def undo_all(self) -> None:
        """Ends all faults."""
        for fault in self.active:
            if fault.undone is None:
                self._undo(fault)

    def _note(self, fault: Fault, now: float) -> None:
        reading = self._cluster.readings.last
        for alert in reading.firing:
            of = (alert.name, alert.instance)
            if of not in fault.known and of not in fault.alerts and reading.taken > fault.began:
                fault.alerts[of] = now - fault.began
                fault.runbooks[alert.name] = alert.runbook
                self._say(f"ALERT {alert.name} {alert.instance} after {now - fault.began:.0f} s: {alert.runbook}")
        if fault.undone is not None and self._cluster.healthy(fault.undone):
            fault.healthy = now
            self._say(f"healthy {now - fault.undone:.1f} s after the end of: {fault.what}")

    def _undo(self, fault: Fault) -> None:
        fault.undone = time.monotonic()
        self._say(f"ends: {fault.what}")
        fault.undo()

    def _begin(self, what: str, undo: Callable[[], None]) -> None:
        now = time.monotonic()
        known = frozenset((alert.name, alert.instance) for alert in self._cluster.readings.last.firing)
        self._load.slowest()
        self.all.append(Fault(what, undo, now, now + self._down, known))
        self._say(what)

    def _step(self, name: str, argument: str = "") -> Iterator[Condition]:
        match name:
            case "kill" | "freeze" | "drain" | "fill":
                node = self._victim(argument)
                if node is None:
                    self._say(f"nothing to {name}: no {argument} is up")
                else:
                    {"kill": self._kill, "freeze": self._freeze, "drain": self._drain, "fill": self._fill}[name](node)
            case "starve":
                self._starve()
            case "up":
                self.undo_all()
            case "rate":
                self._load.rate = float(argument)
                self._say(f"load: {self._load.rate:g} tasks a second")
            case "scale":
                self._cluster.scale(int(float(argument)))
                self._say(f"workers: {argument}")
            case "roll":
                yield from self._roll()
            case "wait":
                yield self._waiting(argument)

    def _victim(self, named: str) -> Node | None:
        """The node of that name, or the next one of that kind, if it is up."""
        up = [node for node in self._cluster.nodes if node.state == "up"]
        for node in up:
            if node.name == named:
                return node
        kind = [node for node in up if node.kind == named]
        if not kind:
            return None
        self._turns[named] = self._turns.get(named, -1) + 1
        return kind[self._turns[named] % len(kind)]

    def _kill(self, node: Node) -> None:
        node.held = True
        node.kill()
        self._begin(f"kill -9 {node.name}", lambda: _release(node))

    def _drain(self, node: Node) -> None:
        node.held = True
        node.end()
        self._begin(f"drain {node.name}", lambda: _release(node))

    def _freeze(self, node: Node) -> None:
        node.freeze()
        self._begin(f"freeze {node.name}", node.thaw)

    def _fill(self, node: Node) -> None:
        disk = node.disk
        if disk is None:
            self._say("disks can't be filled here: that takes root's rights")
            return
        disk.fill()
        if node is self._cluster.database:
            with contextlib.suppress(psycopg2.Error):  # that is what it is for
                self._cluster.postgres.want_space()
        self._begin(f"fill the disk of {node.name}", disk.empty)

    def _starve(self) -> None:
        try:
            held = self._cluster.postgres.hold_connections()
        except psycopg2.Error as error:
            self._say(f"nothing to starve: {error}")
            return

        def undo() -> None:
            for connection in held:
                connection.close()

        self._begin(f"starve: hold {len(held)} connections", undo)

    def _roll(self) -> Iterator[Condition]:
        self._say("roll: schedulers and workers, one after the other")
        for node in [*self._cluster.schedulers, *self._cluster.workers]:
            if node.state != "up":
                continue
            node.held = True
            node.end()
            yield partial(_has_ended, node)
            node.held = False
            node.start()
            yield partial(self._cluster.healthy, time.monotonic())
            self.restarts += 1
        self._say("roll: done")

    def _waiting(self, what: str) -> Condition:
        began = time.monotonic()
        if what == "healthy":
            return lambda: (self._cluster.healthy(began) and not self.active) or time.monotonic() > began + _LIMIT
        if what == "alert":
            last = self.all[-1:]
            return lambda: any(fault.alerts for fault in last) or time.monotonic() > began + _LIMIT
        return lambda: time.monotonic() > began + float(what)


def _has_ended(node: Node) -> bool:
    return not node.alive


def _release(node: Node) -> None:
    """It is started again as soon as it has ended."""
    node.held = False
