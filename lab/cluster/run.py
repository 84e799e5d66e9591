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


@dataclass(frozen=True, slots=True)
class Scene:
    """What a run is made of, once it is up."""

    cluster: Cluster
    load: Load
    live: LiveAudit
    faults: Faults
    view: Picture

    def go_on(self) -> None:
        """Goes on with the faults, and shows it all; to be called again and again."""
        self.cluster.tell()
        self.faults.proceed()
        self.view.show(self.cluster, self.load, self.live)


class Run:
    def __init__(self, folder: Path, options: Options, interrupts: Interrupts, *, disks: bool) -> None:
        self._folder = folder
        self._options = options
        self._interrupts = interrupts
        self._disks = disks
        self._began = time.monotonic()

    def run(self) -> int:
        """Runs the cluster, and returns the exit status. Raises ClusterError, Interrupted."""
        with keys() as key, picture() as view:
            view.say(f"starting in {self._folder}")
            with Cluster(self._folder, self._options, view.say, disks=self._disks) as cluster:
                self._await_health(cluster, view)
                load = Load(cluster.target, self._options.rate, self._options.run_seconds)
                faults = Faults(cluster, load, self._options.down, view.say)
                try:
                    load.start()
                    live = LiveAudit(cluster.database, load)
                    with live.counting():
                        scene = Scene(cluster, load, live, faults, view)
                        self._go_on(scene, key)
                        results = self._settle(scene)
                finally:
                    load.close()
                view.say("stopping")
        lines, succeeded = summary(results, load, faults, self._options, time.monotonic() - self._began)
        print("\n".join(lines), flush=True)
        if self._options.folder:
            print(f"logs: {self._folder}")
        return 0 if succeeded else 1

    def _await_health(self, cluster: Cluster, view: Picture) -> None:
        deadline = time.monotonic() + _START_LIMIT
        while not cluster.healthy():
            if time.monotonic() > deadline:
                raise ClusterError(f"not within {_START_LIMIT:g} s: {'; '.join(cluster.unwell(cluster.readings.last))}")
            cluster.tell()
            self._interrupts.pause(_TICK)
        view.say(f"up after {time.monotonic() - self._began:.1f} s; callers and workers use {cluster.target}")
        if cluster.prometheus_port:
            view.say(f"Prometheus: http://127.0.0.1:{cluster.prometheus_port}")
        view.say(f"in another shell: . {cluster.surroundings}")

    def _go_on(self, scene: Scene, key: Key) -> None:
        began = time.monotonic()
        scene.faults.do(self._options.script)
        while not self._interrupts.count and not self._is_over(scene.faults, time.monotonic() - began):
            scene.go_on()
            pressed_key = key(_TICK)
            if pressed_key in {"q", "Q"}:
                return
            if command := self._step(pressed_key, scene.cluster, scene.load):
                scene.faults.do([parse(command)])

    def _is_over(self, faults: Faults, elapsed: float) -> bool:
        if faults.busy:
            return False
        if self._options.duration is not None:
            return elapsed >= self._options.duration
        return bool(self._options.script)

    def _settle(self, scene: Scene) -> Audit:
        """Ends load and faults, lets what is open come to its end, and reads the database."""
        count = self._interrupts.count
        quick = count > 0 or not self._options.unattended
        calls, settle = (_LAST_CALLS, _SETTLE) if quick else (_UNATTENDED, _UNATTENDED)
        deadline = time.monotonic() + calls + settle
        scene.view.say("no more load; all comes back, and what is open may end")
        scene.faults.undo_all()
        scene.load.rate = 0.0

        def until(condition: Callable[[], bool]) -> None:
            while not condition() and time.monotonic() < deadline and self._interrupts.count == count:
                scene.go_on()
                time.sleep(_TICK)

        until(lambda: scene.cluster.healthy() and not scene.faults.active)
        scene.load.stop(calls if self._interrupts.count == count else 0.0)
        until(lambda: scene.load.open == 0)
        try:
            stored = read_stored(scene.cluster.database.dsn)
        except psycopg2.Error as error:
            raise ClusterError(f"the database did not come back, so nothing was checked: {error}") from error
        return audit(scene.load.task_ids, scene.load.completed, stored)

    def _step(self, pressed_key: str, cluster: Cluster, load: Load) -> str | None:
        workers = len(cluster.staying)
        commands = {
            "+": f"scale {workers + 1}",
            "-": f"scale {max(workers - 1, 0)}",
            "0": f"scale {0 if workers else self._options.workers}",
            ">": f"rate {min(load.rate * 2, _MAX_RATE):g}",
            "<": f"rate {max(load.rate / 2, _MIN_RATE):g}",
        }
        return KEYS.get(pressed_key) or commands.get(pressed_key)
