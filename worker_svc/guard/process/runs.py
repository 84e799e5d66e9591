"""Runs and their CLIs: which processes belong to each, what the guard knows of it, and how it ends a run.

    open ──(request | deadline | the worker is gone)──> ending: TERM ──(grace is over)──> KILL ──> over
                                                                 └─────(nothing lives)───────────> over

A CLI can also be stopped alone (TERM to its group, KILL after the grace). Processes that it leaves belong to the run.

The guard is a subreaper, so it is the ancestor of every process that its CLIs start. Each of its children is a CLI or
an orphan. The run of a CLI is known. The run of an orphan is found, in this order, by the CLI that it was seen below,
the mark in its environment, its session or process group. An orphan that hides all three belongs to every run that was
open when it appeared, and dies with the last of them.

If the kernel has no subreapers, the tree holds the CLIs alone, each with its process group.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress

from worker_svc.guard.process import procfs
from worker_svc.guard.process.procfs import Process

RunNames = frozenset[str]
_Key = tuple[int, int]


class ProcessTree:
    """The processes below the guard, with the runs that they belong to."""

    def __init__(self, pid: int, owner: str, subreaper: bool) -> None:
        self._pid = pid
        self._owner = owner
        self._subreaper = subreaper
        self._open: set[str] = set()
        self._children: dict[int, RunNames] = {}  # not reaped yet, so their pids are not reused
        self._unread: set[int] = set()  # those that died before their run could be found
        self._seen: dict[_Key, tuple[Process, RunNames]] = {}  # by the last survey
        self._foreign: set[_Key] = set()  # those of another user: they cannot be signalled

    def open(self, run: str) -> None:
        self._open.add(run)

    def close(self, run: str) -> None:
        """Closes a run of which no process lives: an orphan that might have been the run's belongs to another one."""
        self._open.discard(run)
        self._children = {pid: runs - {run} for pid, runs in self._children.items()}
        self._seen = {key: (process, runs - {run}) for key, (process, runs) in self._seen.items()}

    def add(self, pid: int, run: str) -> None:
        self._children[pid] = RunNames({run})

    def remove(self, pid: int) -> None:
        """Forgets a child that was reaped: its pid may be reused."""
        self._children.pop(pid, None)
        self._unread.discard(pid)

    def adopt(self) -> None:
        """Notes the orphans that have become children.

        Call it before reaping the process that left them: until then its pid still names their session and group.
        """
        if self._subreaper:
            self._adopt(procfs.children_now()(self._pid))

    def survey(self) -> None:
        """Notes every living process, so that each is still known when its parents are gone."""
        self._seen = {process.key: (process, runs) for process, runs in self._walk()}
        self._foreign &= self._seen.keys()

    def of(self, run: str) -> Iterator[Process]:
        """Yields the processes of this run alone that lived at the last survey, parents before their children."""
        return self._living(RunNames({run}))

    def has_children(self, run: str) -> bool:
        """Returns whether a child of this run is unreaped; one of several runs counts if it died before it was read.

        A dead child counts because it may have left an orphan after the survey listed the guard's children.
        """
        return self._has_children(RunNames({run})) or any(run in self._children[pid] for pid in self._unread)

    def has_ownerless(self) -> bool:
        """Returns whether a child of no open run is unreaped."""
        return self._has_children(RunNames())

    def kill_ownerless(self) -> bool:
        """Kills the orphans of no open run, just after a survey. Returns whether there were any."""
        ownerless = list(self._living(RunNames()))
        self.send_signal(ownerless, signal.SIGKILL)
        return bool(ownerless)

    def send_signal(self, processes: Iterable[Process], number: signal.Signals) -> None:
        """Signals processes of the last survey. Nothing may have been reaped since."""
        for process in processes:
            try:
                if process.pid in self._children:
                    signal_child(process.pid, number, leads=process.pid == process.group)
                else:
                    procfs.send_signal(process, number)
            except PermissionError:
                self._foreign.add(process.key)

    def _living(self, runs: RunNames) -> Iterator[Process]:
        return (
            process
            for key, (process, its) in self._seen.items()
            if its == runs and not process.dead and key not in self._foreign
        )

    def _has_children(self, runs: RunNames) -> bool:
        foreign = {pid for pid, _ in self._foreign}
        return any(its == runs and pid not in foreign for pid, its in self._children.items())

    def _walk(self) -> Iterator[tuple[Process, RunNames]]:
        if not self._subreaper:
            for pid, runs in self._children.items():
                yield Process(pid, self._pid, group=pid, session=pid, started=0, dead=False, mute=False), runs
            return
        children_of = procfs.children_now()
        self._adopt(children_of(self._pid))
        descendants = list(self._children.items())
        for pid, runs in descendants:  # grows as it goes
            process = procfs.read(pid)
            if process is not None:
                yield process, runs
                descendants += [(child, runs) for child in children_of(pid)]

    def _adopt(self, children: Iterable[int]) -> None:
        for pid in children:
            if pid not in self._children and (orphan := procfs.read(pid)) is not None:
                self._children[pid] = self._runs_of(orphan)
                if (now := procfs.read(pid)) is None or now.mute:  # it may have died before its mark was read
                    self._unread.add(pid)

    def _runs_of(self, orphan: Process) -> RunNames:
        runs = self._seen[orphan.key][1] if orphan.key in self._seen else RunNames()
        if len(runs) == 1:
            return runs
        run = procfs.run_of(orphan.pid, self._owner)
        if run is not None:
            return RunNames({run}) & self._open
        return self._by_group(orphan) or runs or RunNames(self._open)

    def _by_group(self, orphan: Process) -> RunNames | None:
        for pid in (orphan.session, orphan.group):
            if pid in self._children:
                return self._children[pid]
        for process, runs in self._seen.values():
            if orphan.session == process.session or orphan.group == process.group:
                return runs
        return None


def signal_child(pid: int, number: signal.Signals, *, leads: bool = True) -> None:
    """Signals a child that is not reaped yet, and the group that it leads.

    Raises PermissionError if the child runs as another user.
    """
    os.kill(pid, number)
    if leads:
        with suppress(ProcessLookupError, PermissionError):  # just forked, or the rest runs as another user
            os.killpg(pid, number)


BY_REQUEST = "request"
BY_DEADLINE = "deadline"
BY_ITSELF = "itself"


class CliProcess:
    def __init__(self, number: int, run: GuardedRun, pid: int, exec_pipe: int, output: list[int]) -> None:
        self.number = number
        self.run = run
        self.pid = pid
        self.output = output
        self.exec_pipe: int | None = exec_pipe
        """Descriptor on which a failed exec reports; None once exec has succeeded or failed."""
        self.failure: tuple[int, str] | None = None
        self.kill_at: float | None = None  # when KILL follows, if this CLI alone was asked to stop

    def ended_by(self) -> str:
        return BY_REQUEST if self.kill_at is not None else self.run.ended_by or BY_ITSELF


class GuardedRun:
    """One attempt at a task: its deadline, and how far its end is."""

    def __init__(self, name: str, deadline: float) -> None:
        self.name = name
        self.deadline = deadline
        self.ended_by: str | None = None
        self.over = False
        self.close_asked = False
        self._kill_at: float | None = None

    @property
    def ending(self) -> bool:
        return self.ended_by is not None and not self.over

    def end(self, cause: str) -> None:
        """Ends the run from the next step on; the first cause counts."""
        self.ended_by = self.ended_by or cause

    def step(self, now: float, grace: float, tree: ProcessTree) -> None:
        """Takes one step towards the end, just after a survey of `tree`: TERM, then KILL once `grace` is over.

        KILL is repeated: a process that was forked meanwhile becomes a child of the guard when its parent dies, and the
        next step finds it.
        """
        members = list(tree.of(self.name))
        if not members and not tree.has_children(self.name):
            self.over = True
        elif self._kill_at is None:
            # A guard that was stopped may be late. Another worker may hold the lease by then, so it does not wait.
            self._kill_at = min(now, self.deadline) + grace
            tree.send_signal(members, signal.SIGTERM)
        elif now >= self._kill_at:
            tree.send_signal(members, signal.SIGKILL)
