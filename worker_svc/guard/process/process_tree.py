"""Which run each process below the guard belongs to, and how it is signalled.

As a subreaper the guard is the ancestor of all that its CLIs ever started: what is alive hangs below one of the guard's
own children, and these are few. Each of them is a CLI or an orphan. A CLI's run is known; an orphan's is found by, in
this order: having been seen below a CLI, the mark in its environment, its session or process group. An orphan that
hid all three belongs to every run that was open when it appeared, and dies with the last of them.

Where the kernel has no subreapers the family is the CLIs alone, each with its process group.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator

from worker_svc.guard.process import marks, procfs
from worker_svc.guard.process.procfs import Process

Runs = frozenset[str]
_Key = tuple[int, int]


class ProcessTree:
    """The processes below this one, with the runs that they belong to."""

    def __init__(self, pid: int, owner: str, subreaper: bool) -> None:
        self._pid = pid
        self._owner = owner
        self._subreaper = subreaper
        self._open: set[str] = set()
        self._children: dict[int, Runs] = {}  # not yet reaped, so their numbers can't be reused
        self._unread: set[int] = set()  # those that were dead before anything could be told of them
        self._seen: dict[_Key, tuple[Process, Runs]] = {}  # by the last survey
        self._foreign: set[_Key] = set()  # runs as somebody else: not ours to signal

    def open(self, run: str) -> None:
        self._open.add(run)

    def close(self, run: str) -> None:
        """Nothing of the run lives any more: an orphan that could have been its own is another's."""
        self._open.discard(run)
        self._children = {pid: runs - {run} for pid, runs in self._children.items()}
        self._seen = {key: (process, runs - {run}) for key, (process, runs) in self._seen.items()}

    def add(self, pid: int, run: str) -> None:
        """A CLI was forked."""
        self._children[pid] = Runs({run})

    def remove(self, pid: int) -> None:
        """A child was reaped: its number means nothing any more."""
        self._children.pop(pid, None)
        self._unread.discard(pid)

    def adopt(self) -> None:
        """Take note of the orphans that have become children.

        Done before reaping who left them: until then the number of their session and group is that process's.
        """
        if self._subreaper:
            self._adopt(procfs.children_now()(self._pid))

    def survey(self) -> None:
        """Take note of all that lives, so that each process is still known when its parents are gone."""
        self._seen = {process.key: (process, runs) for process, runs in self._walk()}
        self._foreign &= self._seen.keys()

    def of(self, run: str) -> Iterator[Process]:
        """What lived of this run alone at the last survey, parents before their children."""
        return self._living(Runs({run}))

    def has_children(self, run: str) -> bool:
        """Whether a child of this run has still to be reaped, dead or alive; that of several runs if it died unread.

        The dead count since one may have left an orphan just after the survey had asked for our children.
        """
        return self._has_children(Runs({run})) or any(run in self._children[pid] for pid in self._unread)

    def has_ownerless(self) -> bool:
        """Whether a child that can be of no open run has still to be reaped, dead or alive."""
        return self._has_children(Runs())

    def kill_ownerless(self) -> bool:
        """KILL, just after a survey, the orphans that can be of no open run; whether there were any."""
        ownerless = list(self._living(Runs()))
        self.send_signal(ownerless, signal.SIGKILL)
        return bool(ownerless)

    def send_signal(self, processes: Iterable[Process], number: signal.Signals) -> None:
        """Signal processes of the last survey; nothing may have been reaped since."""
        for process in processes:
            try:
                if process.pid in self._children:
                    signal_child(process.pid, number, leads=process.pid == process.group)
                else:
                    procfs.send_signal(process, number)
            except PermissionError:
                self._foreign.add(process.key)

    def _living(self, runs: Runs) -> Iterator[Process]:
        return (
            process
            for key, (process, its) in self._seen.items()
            if its == runs and not process.dead and key not in self._foreign
        )

    def _has_children(self, runs: Runs) -> bool:
        foreign = {pid for pid, _ in self._foreign}
        return any(its == runs and pid not in foreign for pid, its in self._children.items())

    def _walk(self) -> Iterator[tuple[Process, Runs]]:
        if not self._subreaper:
            yield from ((procfs.group_leader(pid), runs) for pid, runs in self._children.items())
            return
        children_of = procfs.children_now()
        self._adopt(children_of(self._pid))
        below = list(self._children.items())
        for pid, runs in below:  # grows as it goes
            process = procfs.read(pid)
            if process is not None:
                yield process, runs
                below += [(child, runs) for child in children_of(pid)]

    def _adopt(self, children: Iterable[int]) -> None:
        for pid in children:
            if pid not in self._children and (orphan := procfs.read(pid)) is not None:
                self._children[pid] = self._runs_of(orphan)
                if (now := procfs.read(pid)) is None or now.mute:  # perhaps before its mark was read
                    self._unread.add(pid)

    def _runs_of(self, orphan: Process) -> Runs:
        seen = self._seen[orphan.key][1] if orphan.key in self._seen else Runs()
        if len(seen) == 1:
            return seen
        run = marks.run_of(orphan.pid, self._owner)
        if run is not None:
            return Runs({run}) & self._open
        return self._by_group(orphan) or seen or Runs(self._open)

    def _by_group(self, orphan: Process) -> Runs | None:
        for pid in (orphan.session, orphan.group):
            if pid in self._children:
                return self._children[pid]
        for process, runs in self._seen.values():
            if orphan.session == process.session or orphan.group == process.group:
                return runs
        return None


def signal_child(pid: int, number: signal.Signals, *, leads: bool = True) -> None:
    """Signal a child that is not reaped yet, and the group that it leads.

    Raises:
        PermissionError: it runs as somebody else.
    """
    os.kill(pid, number)
    if leads:
        try:
            os.killpg(pid, number)
        except (ProcessLookupError, PermissionError):  # just forked, or the rest of the group is somebody else's
            return
