"""Fork and exec of one CLI, and what the guard asks of the kernel beyond POSIX.

That is re-parenting of orphans, the parent-death signal, its own name.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from typing import NamedTuple, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def become_subreaper() -> bool:
    """Has the kernel re-parent every orphaned descendant to this process. Returns False if it cannot find them then."""
    if _prctl is None or not os.access("/proc/self/stat", os.R_OK):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # Python was built without it, or the container forbids it
        return False
    return bool(_prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def hide_memory() -> None:
    """Keeps other processes of this user out of this one's memory and environment. It leaves no core dumps, either."""
    if _prctl is not None:
        _prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def name_process(name: bytes) -> None:
    if _prctl is not None:
        _prctl(_PR_SET_NAME, name, 0, 0, 0)


def die_with(parent: int) -> None:
    """Has the kernel kill this process when `parent` dies, or at once if it is dead. Call it between fork and exec."""
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(127)


class Identity(NamedTuple):
    """Whom a process runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    def assume(self) -> None:
        """Makes this process another user's, for good, without a right of the present one. Raises OSError.

        Call it between fork and exec, and `die_with` after it: a change of user lifts the parent-death signal.
        """
        if _prctl is not None:  # what is ambient would outlive the exec
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
            _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


def capabilities(subreaper: bool) -> str:
    """Returns one line for the log: what this system guarantees."""
    if subreaper:
        return "subreaper, parent-death signal: every descendant of a CLI dies with its run"
    return "process groups only: a descendant that leaves its CLI's group is not found on this system"


_STEPS = ("start", "enter its working folder", "execute the program")
_EXEC_ERROR = struct.Struct("BI")
_CATCHABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class Command(NamedTuple):
    argv: list[str]
    env: dict[str, str]
    cwd: str


def launch(program: Command, stdout: int | None, identity: Identity | None) -> tuple[int, int, list[int]]:
    """Starts a program in a session of its own, without stdin; as another user if an identity is given.

    Returns its pid, a descriptor for `read_exec_error`, and the read ends of stdout (unless one was given) and stderr,
    which the caller has to close. Raises ValueError if no program can have these arguments or this environment, OSError
    if descriptors or processes are used up.
    """
    _check(program)
    pipes: list[tuple[int, int]] = []
    try:
        for _ in range(3 if stdout is None else 2):
            pipes.append(os.pipe())  # noqa: PERF401 - if one fails, those before have to be closed
        exec_error, *outputs = (write_end for _, write_end in pipes)
        stdout = outputs[0] if stdout is None else stdout
        guard = os.getpid()
        pid = os.fork()  # this process has one thread, so the caller notes the child before anything else happens
        if pid == 0:
            _become(program, identity, guard, stdout=stdout, stderr=outputs[-1], exec_error=exec_error)
    except OSError:
        for read_end, _ in pipes:
            os.close(read_end)
        raise
    finally:
        for _, write_end in pipes:
            os.close(write_end)
    exec_pipe, *readers = (read_end for read_end, _ in pipes)
    os.set_blocking(exec_pipe, False)
    return pid, exec_pipe, readers


def read_exec_error(fd: int) -> tuple[int, str] | None:
    """Call it once `fd` is readable. Returns None if the program runs, else errno and what failed."""
    data = os.read(fd, _EXEC_ERROR.size)
    if not data:
        return None
    step, number = _EXEC_ERROR.unpack(data)
    return number, f"cannot {_STEPS[step]}: {os.strerror(number)}"


def _check(program: Command) -> None:
    argv, env, cwd = program
    if not argv or not argv[0]:
        raise ValueError("no program named")
    if any(not name or "=" in name for name in env):
        raise ValueError("a variable's name is empty or holds '='")
    if any(b"\0" in os.fsencode(text) for text in (*argv, *env, *env.values(), cwd)):
        raise ValueError("an argument, a variable or the folder holds a NUL")


def _become(
    program: Command, identity: Identity | None, guard: int, *, stdout: int, stderr: int, exec_error: int
) -> NoReturn:
    step = 0
    try:
        os.setsid()
        for number in _CATCHABLE:
            signal.signal(number, signal.SIG_DFL)  # else the program would inherit what the guard ignores
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if identity is not None:
            identity.assume()
        die_with(guard)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        step = 1
        os.chdir(program.cwd)
        step = 2
        os.execvpe(program.argv[0], program.argv, program.env)
    except OSError as error:
        os.write(exec_error, _EXEC_ERROR.pack(step, error.errno or 0))
    finally:
        os._exit(127)
