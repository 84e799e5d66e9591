"""What is done to a cluster: each step of a script, and each key. Above `cluster`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import psycopg2

from lab.cluster.cluster import Cluster
from lab.cluster.load import Load
from lab.cluster.patroni import Machine, Machines
from lab.cluster.readings import Alert
from lab.deployment.database import Database
from lab.deployment.deployment import Node

Condition = Callable[[], bool]
_LIMIT = 120.0
"""Seconds that a step waits for health, or for an alert."""
_OVER = object()


@dataclass
class Fault:
    """Something that was done; times by the monotonic clock."""

    what: str
    victim: str
    """The process that it was done to."""
    undo: Callable[[], None]
    began: float
    due: float
    go_on: Callable[[], None]
    """Does it again and again meanwhile."""
    alerts: dict[tuple[str, str], float] = field(default_factory=dict)
    """What began to fire meanwhile, by name and instance: seconds since it began."""
    runbooks: dict[str, str] = field(default_factory=dict)
    reached: float | None = None
    """Seconds until the first of them has reached somebody."""
    undone: float | None = None
    healthy: float | None = None
    slowest: float = 0.0
    """Seconds of the slowest submit meanwhile."""
    gap: float = 0.0
    """The longest time without an acknowledgement meanwhile, in seconds."""

    @property
    def over(self) -> bool:
        return self.healthy is not None


def _course(conditions: Iterator[Condition]) -> Iterator[None]:
    """Steps that follow one another, each as soon as what the one before waits for is so."""
    for condition in conditions:
        while not condition():
            yield


class Faults:
    def __init__(self, cluster: Cluster, load: Load, down: float, say: Callable[[str], None]) -> None:
        self.all: list[Fault] = []
        self.restarts = 0
        self.missed: list[str] = []
        """Why steps could not be done, or did not come to what they waited for."""
        self._cluster = cluster
        self._load = load
        self._down = down
        self._say = say
        self._turns: dict[str, int] = {}
        self._courses: list[Iterator[None]] = []
        self._rolling = False
        self._firing: set[Alert] = set()

    @property
    def active(self) -> list[Fault]:
        return [fault for fault in self.all if not fault.over]

    @property
    def busy(self) -> bool:
        return bool(self._courses)

    def do(self, steps: Sequence[Sequence[str]]) -> None:
        """Begins with steps, which follow one another; they go on with `proceed`."""
        self._courses.append(_course(condition for step in steps for condition in self._step(*step)))

    def proceed(self) -> None:
        """To be called again and again: goes on with steps, undoes what is due, and notes what came of it."""
        now, slowest, gap = time.monotonic(), self._load.slowest(), self._load.gap()
        self._note_alerts(now)
        for fault in self.active:
            fault.slowest, fault.gap = max(fault.slowest, slowest), max(fault.gap, gap)
            if fault.undone is not None:
                if self._cluster.healthy(fault.undone):
                    fault.healthy = now
                    self._say(f"healthy {now - fault.undone:.1f} s after the end of: {fault.what}")
            elif now >= fault.due:
                self._undo(fault)
            else:
                fault.go_on()
        self._courses = [course for course in self._courses if next(course, _OVER) is not _OVER]

    def undo_all(self) -> None:
        for fault in self.active:
            if fault.undone is None:
                self._undo(fault)

    def _note_alerts(self, now: float) -> None:
        """Notes alerts that have begun to fire: of a process that another fault has hurt, they are that one's."""
        reading = self._cluster.readings.last
        if reading.alerts is None:
            return
        firing = reading.firing
        for fault in self.active:
            fault.reached = fault.reached or self._cluster.pager.first(fault.alerts, fault.began)
        for alert in sorted(firing - self._firing):
            victims = {fault.victim for fault in self.active}
            causes = [fault for fault in self.active if alert.instance not in victims - {fault.victim}]
            for fault in causes:
                fault.alerts[alert.name, alert.instance] = now - fault.began
                fault.runbooks[alert.name] = alert.runbook
                alert_name = _named(alert.name, alert.instance)
                self._say(f"{alert_name} after {now - fault.began:.0f} s: {alert.runbook}")
            if not causes:
                self._say(f"{_named(alert.name, alert.instance)}: {alert.runbook}")
        for name, instance in sorted({other[:2] for other in self._firing} - {other[:2] for other in firing}):
            self._say(f"over: {_named(name, instance)}")
        self._firing = firing

    def _undo(self, fault: Fault) -> None:
        fault.undone = time.monotonic()
        self._say(f"ends: {fault.what}")
        fault.undo()

    def _begin(
        self, text: str, victim: str, undo: Callable[[], None], go_on: Callable[[], None] = lambda: None
    ) -> None:
        now = time.monotonic()
        self._load.slowest()
        self._load.gap()
        self.all.append(Fault(text, victim, undo, now, now + self._down, go_on))
        self._say(text)

    def _step(self, name: str, argument: str = "") -> Iterator[Condition]:
        match name:
            case "kill" | "freeze" | "vanish" | "drain" | "fill" | "cut":
                node = self._victim(argument)
                if node is None:
                    self._miss(f"nothing to {name}: no {argument} is up")
                else:
                    getattr(self, f"_{name}")(node)
            case "demote":
                self._demote()
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

    def _victim(self, name: str) -> Node | None:
        """Returns the node of that name, or the next one of that kind, if it is up."""
        node = self._cluster.leader() if name == "leader" else self._cluster.nodes.get(name)
        if node is not None and node.state == "up":
            return node
        kind = [node for node in self._cluster.of(name) if node.state == "up"]
        if not kind:
            return None
        self._turns[name] = self._turns.get(name, -1) + 1
        return kind[self._turns[name] % len(kind)]

    def _kill(self, node: Node) -> None:
        node.held = True
        node.kill()
        self._begin(f"kill -9 {node.name}", node.name, partial(_release, node))

    def _vanish(self, node: Node) -> None:
        self._cluster.discover(but=node)
        node.held = True
        node.kill()

        def undo() -> None:
            _release(node)
            self._cluster.discover()

        self._begin(f"vanish {node.name}", node.name, undo)

    def _drain(self, node: Node) -> None:
        node.held = True
        node.end()
        self._begin(f"drain {node.name}", node.name, partial(_release, node))

    def _freeze(self, node: Node) -> None:
        node.freeze()
        self._begin(f"freeze {node.name}", node.name, node.thaw)

    def _cut(self, node: Node) -> None:
        machine = node.service
        if not isinstance(machine, Machine):
            self._miss(f"{node.name} can't be cut off: that takes --patroni")
            return
        node.held = True

        def undo() -> None:
            machine.join()
            _release(node)

        machine.cut()
        self._begin(f"cut off {node.name}", node.name, undo)

    def _demote(self) -> None:
        database, leader = self._cluster.database, self._cluster.leader()
        if leader is None or not isinstance(database, Machines):
            self._miss("nothing to demote: nobody leads, or there is no --patroni")
            return
        self._begin(f"demote {leader.name}", leader.name, lambda: None)
        database.demote()

    def _fill(self, node: Node) -> None:
        disk = node.disk
        if disk is None:
            self._miss("disks can't be filled here: that takes root's rights")
            return
        disk.fill()
        if isinstance(node.service, Database):
            with contextlib.suppress(psycopg2.Error):  # that is what it is for
                node.service.want_space()

        def go_on() -> None:
            with contextlib.suppress(OSError):
                disk.fill()  # what is deleted meanwhile leaves no space either

        self._begin(f"fill the disk of {node.name}", node.name, disk.empty, go_on)

    def _starve(self) -> None:
        database = self._cluster.database
        if isinstance(database, Machines) or self._cluster.nodes["database"].state != "up":
            self._miss("nothing to starve: the database is not up, or is several machines")
            return
        try:
            connections = database.hold_connections(20)  # schedulers have none left then, or nearly so
        except psycopg2.Error as error:
            self._miss(f"nothing to starve: {error}")
            return

        def undo() -> None:
            for connection in connections:
                connection.close()

        self._begin(f"starve: hold {len(connections)} connections", "database", undo)

    def _roll(self) -> Iterator[Condition]:
        if self._rolling:
            return
        self._rolling = True
        self._say("roll: schedulers and workers, one after the other")
        for node in [*self._cluster.schedulers, *self._cluster.workers]:
            if node.state != "up":
                continue
            node.held = True
            node.end()
            yield lambda: not node.alive  # noqa: B023 - it is called before the next one's turn
            _release(node)
            yield partial(self._cluster.healthy, time.monotonic())
            self.restarts += 1
        self._rolling = False
        self._say("roll: done")

    def _waiting(self, condition: str) -> Condition:
        began = time.monotonic()
        if condition == "healthy":
            return self._within(_LIMIT, lambda: self._cluster.healthy(began) and not self.active, "it is not healthy")
        if condition == "alert":
            last = self.all[-1:]
            return self._within(_LIMIT, lambda: any(fault.alerts for fault in last), "no alert fires")
        return lambda: time.monotonic() > began + float(condition)

    def _within(self, limit: float, condition: Condition, otherwise: str) -> Condition:
        deadline = time.monotonic() + limit

        def reached() -> bool:
            if condition():
                return True
            if time.monotonic() <= deadline:
                return False
            self._miss(f"{otherwise} within {limit:g} s")
            return True

        return reached

    def _miss(self, reason: str) -> None:
        self.missed.append(reason)
        self._say(reason)


def _named(alert: str, instance: str) -> str:
    return f"{alert} {instance}".rstrip()


def _release(node: Node) -> None:
    """The cluster starts it again, once it has ended; one that was scaled away meanwhile, never."""
    node.held = False
