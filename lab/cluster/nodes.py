"""The processes of a cluster: each can be killed, frozen, told to end, and started again. Below `cluster`."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod

from lab.chaos.database import Database, signal_all
from lab.chaos.disks import Disk
from tests.harness.process import Process


class Node(ABC):
    """One process, or PostgreSQL's."""

    def __init__(self, name: str, kind: str, probes: int | None = None, disk: Disk | None = None) -> None:
        """`probes`: the port of its metrics, if it has any; `disk`: what its data is on, if that can be filled."""
        self.name = name
        self.kind = kind
        self.probes = probes
        self.disk = disk
        self.frozen = False
        self.held = False
        """Whether it stays down when it has ended; else it is started again."""
        self.leaves = False
        """Whether it is told to end and not to come back."""

    @property
    @abstractmethod
    def alive(self) -> bool: ...

    @property
    @abstractmethod
    def pid(self) -> int | None: ...

    @property
    def status(self) -> int | None:
        """What it ended with, if that is known."""
        return None

    @property
    def starting(self) -> bool:
        """Whether it does not live yet, and will."""
        return False

    @property
    def state(self) -> str:
        if not self.alive:
            return "starts" if self.starting else "down"
        if self.frozen:
            return "frozen"
        return "ends" if self.held or self.leaves else "up"

    @abstractmethod
    def start(self) -> None:
        """Where it does not run. Does not wait until it serves."""

    @abstractmethod
    def kill(self) -> None:
        """Kill -9."""

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self.frozen = False

    def end(self) -> None:
        """TERM."""
        self._signal(signal.SIGTERM)

    @abstractmethod
    def _signal(self, number: signal.Signals) -> None: ...


class ServiceNode(Node):
    """A process that was started as a command."""

    def __init__(self, process: Process, kind: str, probes: int | None = None, disk: Disk | None = None) -> None:
        super().__init__(process.name, kind, probes, disk)
        self._process = process

    @property
    def alive(self) -> bool:
        return self._process.alive

    @property
    def pid(self) -> int | None:
        return self._process.pid if self.alive else None

    @property
    def status(self) -> int | None:
        return self._process.exit_status

    def start(self) -> None:
        self.frozen = False
        self._process.launch()

    def kill(self) -> None:
        self._process.kill()

    def _signal(self, number: signal.Signals) -> None:
        self._process.signal(number)


class DatabaseNode(Node):
    """PostgreSQL. It starts in a thread of its own, as long as its recovery takes."""

    def __init__(self, database: Database, disk: Disk | None) -> None:
        super().__init__("database", "database", disk=disk)
        self._database = database
        self._starting: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Not while it is being started."""
        return not self.starting and self._database.alive

    @property
    def pid(self) -> int | None:
        return self._database.pid if self.alive else None

    def start(self) -> None:
        self.frozen = False
        if not self.starting:
            self._starting = threading.Thread(target=self._database.restart_if_gone, name="database")
            self._starting.start()

    def kill(self) -> None:
        signal_all(self._database.processes(), signal.SIGKILL)

    @property
    def starting(self) -> bool:
        return self._starting is not None and self._starting.is_alive()

    def join(self) -> None:
        """Until no start is under way."""
        if self._starting is not None:
            self._starting.join()

    def _signal(self, number: signal.Signals) -> None:
        signal_all(self._database.processes(), number)
