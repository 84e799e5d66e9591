"""The guard's loop: requests from the worker, children that end, deadlines.

One thread, one `poll`. Nothing in it waits for a CLI, a disk or the worker, so nothing delays a deadline. The loop ends
when the worker has closed the socket and no process lives; until then the guard holds the lock of the worker's folder.
"""

from __future__ import annotations

import errno
import math
import os
import select
import signal
import socket
from contextlib import suppress
from typing import Any

from worker_svc.guard import now
from worker_svc.guard.process import launch, procfs
from worker_svc.guard.process.runs import BY_DEADLINE, BY_REQUEST, CliProcess, GuardedRun, ProcessTree, signal_child
from worker_svc.guard.process.wire import Closed, Document, GuardChannel, close_all

_SURVEY_INTERVAL = 1.0
"""Seconds between two looks at all descendants, and how late the deadlines of a suspended machine may be kept."""
_ENDING_INTERVAL = 0.02
"""Seconds between two steps of a run's end: nothing signals the death of a process that is not a child."""
_IDLE_TIMEOUT = 3600.0
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class RefusedError(Exception):
    """The request is invalid and changed nothing."""


class GuardProcess:
    def __init__(self, channel: GuardChannel, owner: str, grace: float, identity: launch.Identity | None) -> None:
        subreaper = launch.become_subreaper()
        self._channel = channel
        self._wakeup = _wakeup()
        self._owner = owner
        self._grace = grace
        self._identity = identity
        self._worker_lives = True
        self._tree = ProcessTree(os.getpid(), owner, subreaper)
        self._runs: dict[str, GuardedRun] = {}
        self._clis: dict[int, CliProcess] = {}  # by the worker's number, until its end is sent
        self._exec_pipes: dict[int, CliProcess] = {}
        self._next_survey_at = 0.0
        self._poll = select.poll()
        self._poll.register(self._wakeup, select.POLLIN)
        self._poll.register(channel, select.POLLIN)
        self._send({"event": "ready", "capabilities": launch.capabilities(subreaper)})

    def run(self) -> None:
        """Serves until the worker is gone and no process lives."""
        busy = False
        while self._worker_lives or busy:
            for fd, _ in self._poll.poll(self._poll_timeout(busy) * 1000):
                self._ready(fd)
            self._reap()
            busy = self._do_due_work(now())
            if self._worker_lives:
                self._poll.modify(self._channel, select.POLLIN | (select.POLLOUT if self._channel.pending else 0))

    def _poll_timeout(self, busy: bool) -> float:
        """Returns the seconds until something is due, at most 1 s if anything is: `poll` does not count suspension."""
        if busy:
            return _ENDING_INTERVAL
        due = [run.deadline for run in self._runs.values() if not run.over]
        due += [cli.kill_at for cli in self._clis.values() if cli.kill_at is not None]
        return max(0.0, min(_SURVEY_INTERVAL, *(due_at - now() for due_at in due))) if due else _IDLE_TIMEOUT

    def _ready(self, fd: int) -> None:
        if fd == self._wakeup:
            os.read(fd, 4096)
        elif fd in self._exec_pipes:
            self._exec_done(self._exec_pipes[fd])
        elif self._worker_lives:
            self._read_requests()

    # Requests of the worker

    def _read_requests(self) -> None:
        try:
            self._channel.flush()
            requests = self._channel.receive()
        except Closed:  # the worker is gone
            self._worker_lives = False
            self._poll.unregister(self._channel)
            for run in self._runs.values():
                run.end(BY_REQUEST)
            return
        for request, fds in requests:
            self._serve(request, fds)

    def _serve(self, request: Document, fds: list[int]) -> None:
        try:
            serve = getattr(self, f"_on_{request['op']}", None)
            if serve is None:
                raise RefusedError(f"unknown operation: {request['op']!r}")
            serve(request, fds)
        except RefusedError as error:
            self._refuse(request, str(error))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._refuse(request, f"malformed request: {error!r}")
        finally:
            close_all(fds)

    def _refuse(self, request: Document, message: str) -> None:
        refusal: Document = {"event": "refused", "message": message}
        self._send(refusal | {key: request[key] for key in ("op", "child", "run") if key in request})

    def _on_open(self, request: Document, _: list[int]) -> None:
        name, deadline = str(request["run"]), _seconds(request["deadline"])
        if name in self._runs:
            raise RefusedError(f"run {name!r} is open already")
        self._runs[name] = GuardedRun(name, deadline)
        self._tree.open(name)

    def _on_move(self, request: Document, _: list[int]) -> None:
        for name, deadline in request["deadlines"].items():
            if name in self._runs:
                self._runs[name].deadline = _seconds(deadline)

    def _on_grace(self, request: Document, _: list[int]) -> None:
        self._grace = _seconds(request["seconds"])

    def _on_spawn(self, request: Document, fds: list[int]) -> None:
        run, number = self._open_run(request["run"]), int(request["child"])
        if now() >= run.deadline:  # it may have passed while worker or guard was stopped
            run.end(BY_DEADLINE)
        if run.ended_by is not None:
            raise RefusedError(f"run {run.name!r} was ended ({run.ended_by})")
        if number in self._clis:
            raise RefusedError(f"child {number} exists already")
        env = request["env"] | {procfs.VARIABLE: procfs.mark(self._owner, run.name)}
        program = launch.Command(request["argv"], env, request["cwd"])
        try:
            pid, exec_pipe, output = launch.launch(program, fds[0] if fds else None, self._identity)
        except ValueError as error:
            self._send_failed(number, errno.EINVAL, str(error))
            return
        except OSError as error:
            self._send_failed(number, error.errno or errno.EAGAIN, f"cannot start a process: {error.strerror}")
            return
        cli = CliProcess(number, run, pid, exec_pipe, output)
        self._clis[number] = self._exec_pipes[exec_pipe] = cli
        self._tree.add(pid, run.name)
        self._poll.register(exec_pipe, select.POLLIN)

    def _on_stop(self, request: Document, _: list[int]) -> None:
        cli = self._clis.get(int(request["child"]))
        if cli is not None and cli.kill_at is None:  # else its end is being sent
            cli.kill_at = now() + self._grace
            _signal_cli(cli, signal.SIGTERM)

    def _on_close(self, request: Document, _: list[int]) -> None:
        run = self._open_run(request["run"])
        run.close_asked = True
        run.end(BY_REQUEST)
        if run.over:
            self._forget(run)

    def _open_run(self, name: Any) -> GuardedRun:
        run = self._runs.get(name)
        if run is None:
            raise RefusedError(f"no run {name!r} is open")
        return run

    # Children

    def _exec_done(self, cli: CliProcess) -> None:
        """Tells the worker that its exec has succeeded or failed, with the pipes if it runs."""
        if cli.exec_pipe is None:
            return
        cli.failure = launch.read_exec_error(cli.exec_pipe)
        self._poll.unregister(cli.exec_pipe)
        del self._exec_pipes[cli.exec_pipe]
        os.close(cli.exec_pipe)
        cli.exec_pipe = None
        if cli.failure is None:
            self._send({"event": "spawned", "child": cli.number, "pid": cli.pid}, cli.output)
        else:
            close_all(cli.output)
            self._send_failed(cli.number, *cli.failure)

    def _reap(self) -> None:
        with suppress(ChildProcessError):  # there are no children
            while (child := self._next_ended())[0]:
                pid, status = child
                self._tree.remove(pid)
                cli = next((cli for cli in self._clis.values() if cli.pid == pid), None)
                if cli is not None:
                    self._exited(cli, os.waitstatus_to_exitcode(status))

    def _next_ended(self) -> tuple[int, int]:
        """Reaps a child, after noting the orphans that it left. Returns pid and status; (0, 0) if none has ended."""
        pid = -1
        if hasattr(os, "waitid"):  # macOS has it from Python 3.13 on, and no orphans for us
            child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if child is None:
                return 0, 0
            pid = child.si_pid
            self._tree.adopt()
        return os.waitpid(pid, os.WNOHANG)

    def _exited(self, cli: CliProcess, code: int) -> None:
        self._exec_done(cli)
        del self._clis[cli.number]
        if cli.failure is None:
            end = {"code": code, "signal": None} if code >= 0 else {"code": None, "signal": -code}
            self._send({"event": "exited", "child": cli.number, **end, "ended_by": cli.ended_by()})

    # What is due

    def _do_due_work(self, at: float) -> bool:
        """Does what is due at `at`. Returns whether a run is being ended, so that the next step is due soon."""
        for cli in self._clis.values():
            if cli.kill_at is not None and at >= cli.kill_at:
                cli.kill_at = at + self._grace
                _signal_cli(cli, signal.SIGKILL)
        for run in self._runs.values():
            if at >= run.deadline:
                run.end(BY_DEADLINE)
        ending = [run for run in self._runs.values() if run.ending]
        if self._worker_lives and not ending and at < self._next_survey_at and not self._tree.has_ownerless():
            return False
        self._next_survey_at = at + _SURVEY_INTERVAL
        self._tree.survey()
        for run in ending:
            run.step(at, self._grace, self._tree)
        ownerless = self._tree.kill_ownerless()
        for run in ending:
            if run.over:
                self._over(run)
        return ownerless or any(run.ending for run in ending) or self._tree.has_ownerless()

    def _over(self, run: GuardedRun) -> None:
        self._tree.close(run.name)
        if run.close_asked:
            self._forget(run)
        elif self._worker_lives:
            self._send_ended(run)

    def _forget(self, run: GuardedRun) -> None:
        del self._runs[run.name]
        self._send_ended(run)

    # Events for the worker

    def _send_ended(self, run: GuardedRun) -> None:
        self._send({"event": "ended", "run": run.name, "asked": run.close_asked})

    def _send_failed(self, number: int, error: int, message: str) -> None:
        self._send({"event": "failed", "child": number, "errno": error, "message": message})

    def _send(self, event: Document, fds: list[int] | None = None) -> None:
        with suppress(Closed):  # the loop reads end of file, and acts on that
            self._channel.send(event, fds or ())


def _seconds(value: Any) -> float:
    seconds = float(value)
    if math.isnan(seconds):
        raise ValueError("NaN is no deadline: it would never pass")
    return seconds


def _signal_cli(cli: CliProcess, number: signal.Signals) -> None:
    with suppress(PermissionError):  # it runs as another user (set-user-id)
        signal_child(cli.pid, number)


def _wakeup() -> int:
    """Returns a descriptor that becomes readable when a child ends."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return read_end


def main(sock_fd: int, owner: str, grace: float, user: list[int], inherited: list[int]) -> None:
    """Serves the worker at the other end of `sock_fd`. Keeps `inherited` descriptors open; no CLI gets them.

    `user` has the numbers of the user whom CLIs run as, of its group and of its further groups; none: of this one.
    """
    launch.hide_memory()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the worker may have blocked some
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for fd in (sock_fd, *inherited):
        os.set_inheritable(fd, False)
    launch.name_process(b"cg-guard")
    procfs.kill_marked(owner)  # an earlier guard of this folder may have been killed
    identity = launch.Identity(user[0], user[1], tuple(user[2:])) if user else None
    GuardProcess(GuardChannel(socket.socket(fileno=sock_fd)), owner, grace, identity).run()
