"""A PostgreSQL, schedulers, workers and other programs in one folder, kept up until they are ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from lab.deployment.database import Database
from lab.deployment.undertaker import undertaken
from tests.harness.process import Process, Service
from tests.harness.processes import bury, children
from tests.harness.stack import Stack

# Small disks that can be filled up: each a tmpfs, in a mount namespace of this process and its children. Nothing of it
# is seen outside, and the kernel takes it away with the last process of the campaign, however that ends.


_MS_NOSUID_NODEV = 0x2 | 0x4


def enter_namespace() -> str | None:
    """Gives this process mounts of its own. To be called before there is a second thread.

    Returns why it may not, since that takes root's rights: then no small disks can be had here.
    """
    try:
        unshare(0x20000)  # CLONE_NEWNS
        _call("mount", b"none", b"/", None, 0x4000 | 0x40000, None)  # MS_REC | MS_PRIVATE
    except OSError as error:
        return f"no mount namespace of its own: {error.strerror}"
    return None


def unshare(what: int) -> None:
    """Gives this process namespaces of its own, by the flags of clone(2). Raises OSError: that takes root's rights."""
    _call("unshare", what)


class Disk:
    """A tmpfs on a folder. Full is one that may be no larger than what is on it: that takes no time and no memory."""

    def __init__(self, folder: Path, size: int) -> None:
        """`size` in bytes; the folder is made. Raises OSError."""
        folder.mkdir(mode=0o711, exist_ok=True)
        self._folder = folder
        self._size = size
        self._mount(_MS_NOSUID_NODEV, f"size={size},mode=0711")

    def fill(self) -> None:
        """Leaves no space. Raises OSError."""
        for _ in range(50):
            with contextlib.suppress(OSError):  # more than that is on it meanwhile
                self._resize(self._used())
                return
        self._resize(self._used())

    def empty(self) -> None:
        """Gives the space back. Raises OSError."""
        self._resize(self._size)

    def unmount(self) -> None:
        with contextlib.suppress(OSError):
            _call("umount2", os.fsencode(self._folder), 2)  # MNT_DETACH

    def _used(self) -> int:
        usage = os.statvfs(self._folder)
        return max(1, usage.f_blocks - usage.f_bfree) * usage.f_frsize  # a size of 0 would be no limit

    def _resize(self, size: int) -> None:
        self._mount(_MS_NOSUID_NODEV | 0x20, f"size={size}")  # MS_REMOUNT

    def _mount(self, flags: int, options: str) -> None:
        _call("mount", b"chaos", os.fsencode(self._folder), b"tmpfs", flags, options.encode())


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


WORKER_LOSSES = "1000"
"""So that no task fails only because somebody kills its workers all the time."""
_LOOK_EVERY = 0.25
_PAUSE, _MAX_PAUSE = 0.5, 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    name: str
    status: int | None
    """None: nobody knows it."""
    lived: float
    """Seconds since its start."""
    served: bool
    """Whether it had come up; else it may have missed its database."""


@dataclass
class Node:
    """One process, or PostgreSQL's. Whoever hurts it has its lock or says so: then nobody starts it again meanwhile."""

    service: Process | Database
    kind: str
    probes: int | None = None
    """The port of its metrics, if it has any."""
    disk: Disk | None = None
    """What its data is on, if that can be filled."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    frozen: bool = False
    held: bool = False
    """Whether it stays down when it has ended; else it is started again."""
    leaves: bool = False
    """Whether it is told to end and not to come back."""
    starting: bool = False
    _expected: bool = True
    """Whether it is no surprise that it does not run: it was never started, or told to end."""
    _started_at: float = 0.0
    _pause: float = _PAUSE
    """Seconds from the last start, if it ends by itself before that."""

    @property
    def name(self) -> str:
        return self.service.name

    @property
    def alive(self) -> bool:
        """Not while it is being started."""
        return not self.starting and self.service.alive

    @property
    def pid(self) -> int | None:
        return self.service.pid if self.alive else None

    @property
    def served(self) -> bool:
        """Whether it has become ready since it was started last."""
        return isinstance(self.service, Service) and self.service.served

    @property
    def state(self) -> str:
        if not self.alive:
            return "starts" if self.starting else "down"
        if self.frozen:
            return "frozen"
        return "ends" if self.held or self.leaves else "up"

    def launch(self) -> None:
        """Starts it where it does not run, and does not wait until it serves."""
        is_database = isinstance(self.service, Database)
        gone = not self.service.alive
        if gone:
            self.frozen, self._expected = False, is_database  # which may find no space to come back with, for long
            self._started_at = time.monotonic()
        if gone or is_database:  # which may stand still
            self.service.launch()

    def kill(self) -> None:
        self._expected = True
        self.service.kill()

    def freeze(self) -> None:
        self.service.freeze()
        self.frozen = True

    def thaw(self) -> None:
        self.service.thaw()
        self.frozen = False

    def end(self) -> None:
        self._expected = True
        self.service.signal(signal.SIGTERM)

    def guard(self) -> psutil.Process | None:
        return next(iter(children(self.service.pid or 0)), None)

    def revive(self) -> Ended | None:
        """Starts it again where it has ended, with longer pauses each time that it does not come up by itself."""
        gone, ended = not self.service.alive, None
        if self.held or self.leaves or not (gone or (isinstance(self.service, Database) and not self.frozen)):
            return None
        if not gone:
            self._expected = False
        elif not self._expected:
            lived = time.monotonic() - self._started_at
            if lived < self._pause:
                return None
            self._pause = _PAUSE if lived > 10.0 else min(2 * self._pause, _MAX_PAUSE)
            ended = Ended(self.name, self.service.exit_status, lived, self.served)
        self.starting = gone
        try:
            self.launch()
        finally:
            self.starting = False
        return ended


class Deployment(Stack):
    """A context manager: all are started on entering, and on leaving nothing of it lives."""

    def __init__(self, folder: Path, *, disks: bool) -> None:
        super().__init__(folder, "")
        self.nodes: dict[str, Node] = {}
        """By name, in the order of their starts."""
        self.ended: list[Ended] = []
        self._has_disks = disks
        self._disks: list[Disk] = []
        self._exits = ExitStack()
        self._resting = False

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            exits.enter_context(undertaken(self.folder))
            exits.callback(self._unmount)
            exits.callback(bury, self.folder)
            self._launch(exits)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def of(self, kind: str) -> list[Node]:
        return [node for node in [*self.nodes.values()] if node.kind == kind]

    @property
    def services(self) -> list[Node]:
        return [node for node in [*self.nodes.values()] if node.kind != "database"]

    def rest(self) -> None:
        """Nobody is started again from now on."""
        self._resting = True

    def _launch(self, exits: ExitStack) -> None:
        """Starts all of it. What `exits` gets is done in the end, before what is left is killed."""
        raise NotImplementedError

    def _add(self, service: Process | Database, kind: str, probes: int | None = None, disk: Disk | None = None) -> None:
        self.nodes[service.name] = Node(service, kind, probes, disk)

    def _add_database(self, exits: ExitStack, name: str, max_connections: int) -> Database:
        root = self.folder / "postgres"
        disk = self._disk(root, 1 << 30)
        database = Database(root, name, max_connections)
        self._add(database, "database", disk=disk)
        database.start()
        exits.callback(database.stop)
        return database

    def _disk(self, folder: Path, size: int) -> Disk | None:
        if not self._has_disks:
            return None
        self._disks.append(Disk(folder, size))
        return self._disks[-1]

    def _unmount(self) -> None:
        for disk in self._disks:
            disk.unmount()

    def _keep_up(self, exits: ExitStack) -> None:
        """From now on what does not run is started: the database by a thread of its own, since that may take long."""
        exits.enter_context(every(_LOOK_EVERY, lambda: self._revive(self.of("database")), "revive-database"))
        exits.enter_context(every(_LOOK_EVERY, lambda: self._revive(self.services), "revive-services"))
        exits.callback(self.rest)

    def _revive(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if not self._resting and node.lock.acquire(blocking=False):
                try:
                    if ended := node.revive():
                        self.ended.append(ended)
                finally:
                    node.lock.release()


@contextmanager
def every(seconds: float, look: Callable[[], object], name: str, *, patience: float | None = None) -> Iterator[None]:
    """Calls `look` again and again within the block, in a thread of that name.

    `patience`: seconds in the end for a look that may be held up; None: it has to come to its end.
    """
    over = threading.Event()

    def looking() -> None:
        while not over.wait(seconds):
            look()

    thread = threading.Thread(target=looking, name=name, daemon=patience is not None)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(patience)
