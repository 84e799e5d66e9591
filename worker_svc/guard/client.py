"""The worker's end of the guard: starts it, has it start CLIs, moves deadlines, receives how runs ended."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from worker_svc.creator_user import CreatorUser
from worker_svc.guard import now
from worker_svc.guard.child import Child, GuardError, GuardLostError, SpawnError
from worker_svc.guard.process.procfs import kill_below, kill_marked
from worker_svc.guard.process.wire import Closed, Document, GuardChannel, close_all
from worker_svc.guard.watchdog import CHECK_INTERVAL, Watchdog, overdue_limit
from worker_svc.outcome import Exit

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from worker_svc.guard.process.main import main; "
    "numbers = [[int(n) for n in numbers.split()] for numbers in sys.argv[5:]]; "
    "main(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), *numbers)"
)
_INHERITED = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH")
"""Variables that the guard's interpreter needs. It gets no other: a CLI of the same user could read them."""
_START_TIMEOUT = 30.0  # seconds; ample, even on a busy machine
_CLOSE_TIMEOUT = 2.0  # seconds beyond the grace; then the guard is killed


class Guard:
    """One guard process.

    Attributes:
        capabilities: what this system guarantees, one line for the log; known once connected.
        on_deadline: called with a run that the guard has ended because its deadline had passed. The run has still to
            be closed.
        lost: set when the guard is gone without having been closed. Its CLIs and their marked descendants are killed
            by then. Nothing is guarded any more, so the worker has to exit. A guard that does not end a run in time
            (because it is stopped or stuck) is killed, and so lost.
        why_lost: one line for the log, once it is lost.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: GuardChannel, owner: str, grace: float) -> None:
        self.pid = process.pid
        self.capabilities = ""
        self.on_deadline: Callable[[str], None] = lambda _: None
        self.lost = asyncio.Event()
        self.why_lost = "the guard is gone"
        self._process = process
        self._channel = channel
        self._owner = owner
        self._grace = grace
        self._watchdog = Watchdog()
        self._next_check: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self._closing = False
        self._numbers = 0
        self._runs: dict[str, asyncio.Future[None] | None] = {}  # the open ones; a future once closing
        self._children: dict[int, Child] = {}  # by our number, until ended
        self._readable_children: set[Child] = set()
        self._spawning: dict[int, asyncio.Future[tuple[int, list[int]]]] = {}
        self._ready: asyncio.Future[None] | None = None

    @classmethod
    def launch(
        cls,
        lock_fd: int | None = None,
        *,
        owner: str | None = None,
        grace: float = 3.0,
        user: CreatorUser | None = None,
    ) -> Guard:
        """Starts the guard. Call it in the main thread, before gRPC is imported and before an event loop runs.

        Args:
            lock_fd: the locked file of the worker's folder. The guard keeps it open while it or a CLI lives.
            owner: names the worker's folder among all on this machine. The guard first kills what an earlier guard of
                this owner left. None: there was no earlier guard.
            grace: seconds between TERM and KILL; well below the worker's time to stop.
            user: whom the CLIs run as; None: as the worker.
        """
        owner = owner or secrets.token_hex(8)
        own_end, guard_end = socket.socketpair()
        inherited = [] if lock_fd is None else [lock_fd]
        numbers = (user.uid, user.gid, *user.groups) if user else ()
        arguments = [str(_ROOT), str(guard_end.fileno()), owner, str(grace), _joined(numbers), _joined(inherited)]
        with guard_end:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[guard_end.fileno(), *inherited],
                cwd="/",
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
                start_new_session=True,
            )
        return cls(process, GuardChannel(own_end), owner, grace)

    async def connect(self) -> None:
        """Attaches to the running event loop, and waits until the guard is ready.

        Raises GuardLostError if the guard did not start; the reason is on stderr.
        """
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        loop.add_reader(self._channel.fileno(), self._readable)
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await self._ready
        except TimeoutError:
            self._process.kill()
            raise GuardLostError(f"the guard was not ready within {_START_TIMEOUT:g} s") from None

    def open_run(self, run: str, deadline: float) -> None:
        """Opens a run, in which CLIs can then be spawned.

        Past `deadline`, in seconds of `now()`, the guard ends the run, even if the worker is dead.
        """
        if run in self._runs:
            raise GuardError(f"run {run!r} is open already")
        self._send({"op": "open", "run": run, "deadline": deadline})
        self._runs[run] = None
        self._watchdog.opened(run, deadline, now())
        if self._next_check is None:
            self._check()

    def move_deadlines(self, deadlines: Mapping[str, float]) -> None:
        """Moves the deadlines of runs whose leases were renewed. A run that is ending ends all the same."""
        self._send({"op": "move", "deadlines": dict(deadlines)})
        self._watchdog.moved(deadlines)

    def set_grace(self, seconds: float) -> None:
        """Changes the seconds between TERM and KILL; a short lease leaves fewer."""
        self._send({"op": "grace", "seconds": seconds})
        self._grace = seconds

    async def spawn(
        self, run: str, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: int | None = None
    ) -> Child:
        """Starts a CLI with this environment (and a mark), without stdin, in a session of its own.

        It and all its descendants belong to the run. The program is looked up in the PATH of `env` if it has no slash;
        no shell sees its arguments. `stdout` is a descriptor to write to instead of a pipe; the caller closes it.
        Raises SpawnError if it could not be started, GuardError if the run is not open or is being ended.
        """
        self._numbers += 1
        number = self._numbers
        request = {"op": "spawn", "child": number, "run": run, "argv": list(argv), "env": dict(env), "cwd": str(cwd)}
        future = self._spawning[number] = asyncio.get_running_loop().create_future()
        child = self._children[number] = Child(lambda: self._send({"op": "stop", "child": number}))
        try:
            self._send(request, [] if stdout is None else [os.dup(stdout)])
            pid, output = await future
        except GuardError:
            del self._children[number]
            raise
        except ValueError as error:
            del self._children[number]
            raise SpawnError(errno.E2BIG, str(error)) from None
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                close_all(future.result()[1])
            raise
        finally:
            del self._spawning[number]
        child.started(pid, output)
        self._readable_children = {child, *(other for other in self._readable_children if other.is_open)}
        return child

    async def close_run(self, run: str) -> None:
        """Ends a run: TERM to all its processes, KILL after the grace. Returns when none of them lives.

        Raises GuardError if no such run is open, GuardLostError if the guard is gone.
        """
        if run not in self._runs:
            raise GuardError(f"no run {run!r} is open")
        ending = self._runs[run]
        if ending is None:
            self._send({"op": "close", "run": run})
            self._watchdog.end_requested(run)
            ending = self._runs[run] = asyncio.get_running_loop().create_future()
        await asyncio.shield(ending)

    async def close(self) -> None:
        """Ends all runs and the guard. Returns when no process lives and the guard has exited or was killed."""
        if self._ready is None:
            await self.connect()  # to notice its end
        self._closing = True
        self._channel.shut_write()
        try:
            async with asyncio.timeout(self._grace + _CLOSE_TIMEOUT):
                await self._gone.wait()
        except TimeoutError:
            self._closing = False
            self._give_up("it did not exit on request")
            await self._gone.wait()
        for child in self._readable_children:
            child.close()

    # Whether the guard does its work

    def _check(self) -> None:
        self._next_check = None
        if self._gone.is_set():
            return
        if self._overdue() is not None:
            self._catch_up()  # the guard may have reported what this worker has not read yet
            if (run := self._overdue()) is not None:
                self._give_up(f"it had not ended run {run} {overdue_limit(self._grace):g} s after its deadline")
                return
        if self._watchdog:
            self._next_check = asyncio.get_running_loop().call_later(CHECK_INTERVAL, self._check)

    def _overdue(self) -> str | None:
        return self._watchdog.overdue(now(), overdue_limit(self._grace))

    def _catch_up(self) -> None:
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while not self._gone.is_set() and poll.poll(0):
            self._readable()

    def _give_up(self, reason: str) -> None:
        """Kills all that the guard should have ended, while it is still their ancestor, and then the guard."""
        self.why_lost = f"the guard was killed: {reason}"
        self._process.send_signal(signal.SIGSTOP)  # it must not report this as a CLI's own end
        kill_below(self.pid)
        self._process.kill()

    # Messages

    def _send(self, request: Document, fds: Sequence[int] = ()) -> None:
        if self._gone.is_set() or self._closing:
            raise GuardLostError("the guard is gone")
        try:
            self._channel.send(request, fds)
        except Closed:
            raise GuardLostError("the guard is gone") from None
        if self._channel.pending:
            asyncio.get_running_loop().add_writer(self._channel.fileno(), self._writable)

    def _writable(self) -> None:
        with contextlib.suppress(Closed):  # the reader notices, too
            self._channel.flush()
        if not self._channel.pending:
            asyncio.get_running_loop().remove_writer(self._channel.fileno())

    def _readable(self) -> None:
        try:
            events = self._channel.receive()
        except Closed:
            self._guard_gone()
            return
        for event, fds in events:
            getattr(self, f"_on_{event['event']}")(event, fds)

    def _guard_gone(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._channel.fileno())
        loop.remove_writer(self._channel.fileno())
        self._channel.close()
        status = self._process.wait()  # its descriptors are closed, so this takes no time
        self._fail_all(GuardLostError(f"{self.why_lost} (status {status})"))
        self._gone.set()
        if not self._closing:
            kill_marked(self._owner)
            self.lost.set()

    def _fail_all(self, error: GuardLostError) -> None:
        for future in (self._ready, *self._spawning.values(), *self._runs.values()):
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # retrieved, in case nobody waits for it
        for child in self._children.values():
            child.lost(error)

    def _on_ready(self, event: Document, _: list[int]) -> None:
        self.capabilities = event["capabilities"]
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def _on_spawned(self, event: Document, fds: list[int]) -> None:
        future = self._spawning.get(event["child"])
        if future is not None and not future.done():
            future.set_result((event["pid"], fds))
            return
        close_all(fds)  # the caller was cancelled
        with contextlib.suppress(GuardLostError):
            self._send({"op": "stop", "child": event["child"]})

    def _on_failed(self, event: Document, _: list[int]) -> None:
        self._fail_spawn(event["child"], SpawnError(event["errno"], event["message"]))

    def _on_refused(self, event: Document, _: list[int]) -> None:
        error = GuardError(event["message"])
        if "child" in event:
            self._fail_spawn(event["child"], error)
            return
        run = event.get("run", "")
        self._watchdog.ended(run)
        if (ending := self._runs.pop(run, None)) is not None:
            ending.set_exception(error)

    def _fail_spawn(self, number: int, error: GuardError) -> None:
        future = self._spawning.get(number)
        if future is not None and not future.done():
            future.set_exception(error)

    def _on_exited(self, event: Document, _: list[int]) -> None:
        if (child := self._children.pop(event["child"], None)) is not None:
            child.ended(Exit(event["code"], event["signal"], event["ended_by"]))

    def _on_ended(self, event: Document, _: list[int]) -> None:
        self._watchdog.ended(event["run"])
        if not event["asked"]:
            asyncio.get_running_loop().call_soon(self.on_deadline, event["run"])
            return
        if (ending := self._runs.pop(event["run"], None)) is not None:
            ending.set_result(None)


def _joined(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))
