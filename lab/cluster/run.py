"""One run: starts the cluster and the load, obeys keys or a script, and judges in the end. Above `faults`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from contentgen.cli.keys import Key, keys
from contentgen.stack.processes import Interrupts
from lab.chaos.collected import read_stored
from lab.cluster.audit import Audit, LiveAudit, audit, summary
from lab.cluster.cluster import Cluster, ClusterError
from lab.cluster.faults import Faults
from lab.cluster.load import Load
from lab.cluster.options import KEYS, Options, parse
from lab.cluster.picture import Picture, picture

_START_LIMIT = 60.0
_TICK = 0.2
_MIN_RATE, _MAX_RATE = 0.5, 200.0
_LAST_CALLS, _SETTLE = 5.0, 4.0
"""Seconds at the end, of calls that are repeated, and for what is open; unattended there is more time."""
_UNATTENDED = 90.0


def run(folder: Path, options: Options, interrupts: Interrupts, *, disks: bool) -> int:
    """Runs the cluster, and returns the exit status. Raises ClusterError, Interrupted."""
    began = time.monotonic()
    with keys() as key, picture() as view:
        view.say(f"starting in {folder}")
        with Cluster(folder, options, view.say, disks=disks) as cluster:
            _await_health(cluster, interrupts)
            view.say(f"up after {time.monotonic() - began:.1f} s; callers and workers use {cluster.target}")
            if cluster.prometheus_port:
                view.say(f"Prometheus: http://127.0.0.1:{cluster.prometheus_port}")
            view.say(f"in another shell: . {cluster.surroundings}")
            load = Load(cluster.target, options.rate, options.run_seconds)
            faults = Faults(cluster, load, options.down, view.say)
            try:
                load.start()
                live = LiveAudit(cluster.database, load)
                with live.counting():
                    scene = Scene(options, interrupts, cluster, load, live, faults, view)
                    scene.go_on(key)
                    results = scene.settle()
            finally:
                load.close()
            view.say("stopping")
    lines, succeeded = summary(results, load, faults, options, time.monotonic() - began)
    print("\n".join(lines), flush=True)
    if options.folder:
        print(f"logs: {folder}")
    return 0 if succeeded else 1


def _await_health(cluster: Cluster, interrupts: Interrupts) -> None:
    deadline = time.monotonic() + _START_LIMIT
    while not cluster.healthy():
        if time.monotonic() > deadline:
            raise ClusterError(f"not within {_START_LIMIT:g} s: {'; '.join(cluster.unwell(cluster.readings.last))}")
        cluster.tell()
        interrupts.pause(_TICK)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a run is made of, once it is up."""

    options: Options
    interrupts: Interrupts
    cluster: Cluster
    load: Load
    live: LiveAudit
    faults: Faults
    view: Picture

    def go_on(self, key: Key) -> None:
        """Obeys script and keys until the end."""
        began = time.monotonic()
        self.faults.do(self.options.script)
        while not self.interrupts.count and not self._is_over(time.monotonic() - began):
            self._tick()
            pressed_key = key(_TICK)
            if pressed_key in {"q", "Q"}:
                return
            if command := self._step(pressed_key):
                self.faults.do([parse(command)])

    def settle(self) -> Audit:
        """Ends load and faults, lets what is open come to its end, and reads the database."""
        count = self.interrupts.count
        quick = count > 0 or not self.options.unattended
        calls, settle = (_LAST_CALLS, _SETTLE) if quick else (_UNATTENDED, _UNATTENDED)
        deadline = time.monotonic() + calls + settle
        self.view.say("no more load; all comes back, and what is open may end")
        self.faults.undo_all()
        self.load.rate = 0.0

        def until(condition: Callable[[], bool]) -> None:
            while not condition() and time.monotonic() < deadline and self.interrupts.count == count:
                self._tick()
                time.sleep(_TICK)

        until(lambda: self.cluster.healthy() and not self.faults.active)
        self.load.stop(calls if self.interrupts.count == count else 0.0)
        until(lambda: self.load.open == 0)
        try:
            stored = read_stored(self.cluster.database.dsn)
        except psycopg2.Error as error:
            raise ClusterError(f"the database did not come back, so nothing was checked: {error}") from error
        runs = [create.task_id for create in self.cluster.journal.creates()]
        return audit(self.load.task_ids, self.load.completed, stored, runs)

    def _tick(self) -> None:
        """Goes on with the faults, and shows it all."""
        self.cluster.tell()
        self.faults.proceed()
        self.view.show(self.cluster, self.load, self.live)

    def _is_over(self, elapsed: float) -> bool:
        if self.faults.busy:
            return False
        if self.options.duration is not None:
            return elapsed >= self.options.duration
        return bool(self.options.script)

    def _step(self, pressed_key: str) -> str | None:
        workers, rate = len(self.cluster.staying), self.load.rate
        commands = {
            "+": f"scale {workers + 1}",
            "-": f"scale {max(workers - 1, 0)}",
            "0": f"scale {0 if workers else self.options.workers}",
            ">": f"rate {min(rate * 2, _MAX_RATE):g}",
            "<": f"rate {max(rate / 2, _MIN_RATE):g}",
        }
        return KEYS.get(pressed_key) or commands.get(pressed_key)
