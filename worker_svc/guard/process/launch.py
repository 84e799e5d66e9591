"""Fork and exec of one CLI."""

from __future__ import annotations

import os
import signal
import struct
from typing import NamedTuple, NoReturn

from worker_svc.guard.process import kernel

_STEPS = ("start", "enter its working folder", "execute the program")
_EXEC_ERROR = struct.Struct("BI")
_CATCHABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class Command(NamedTuple):
    argv: list[str]
    env: dict[str, str]
    cwd: str


class Launched(NamedTuple):
    """A forked process. The caller has to close the descriptors."""

    pid: int
    exec_pipe: int
    """End of file: the program runs. Otherwise the exec failed, see `read_exec_error`."""
    output: list[int]
    """Read ends of stdout (unless one was given) and stderr."""


class _Ends(NamedTuple):
    stdout: int
    stderr: int
    exec_pipe: int


def launch(program: Command, stdout: int | None, identity: kernel.Identity | None) -> Launched:
    """Starts a program in a session of its own, without stdin; as another user if an identity is given.

    Raises:
        ValueError: no program can have these arguments or this environment.
        OSError: descriptors or processes are used up.
    """
    _check(program)
    pipes: list[tuple[int, int]] = []
    try:
        for _ in range(3 if stdout is None else 2):
            pipes.append(os.pipe())  # noqa: PERF401 - if one fails, those before have to be closed
        (_, exec_pipe), *output = pipes
        ends = _Ends(output[0][1] if stdout is None else stdout, output[-1][1], exec_pipe)
        pid = _fork(program, ends, identity)
    except OSError:
        for read_end, _ in pipes:
            os.close(read_end)
        raise
    finally:
        for _, write_end in pipes:
            os.close(write_end)
    exec_pipe, *readers = (read_end for read_end, _ in pipes)
    os.set_blocking(exec_pipe, False)
    return Launched(pid, exec_pipe, readers)


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


def _fork(program: Command, ends: _Ends, identity: kernel.Identity | None) -> int:
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(program, ends, identity, guard)
    return pid  # this process has one thread, so the caller notes the child before anything else happens


def _become(program: Command, ends: _Ends, identity: kernel.Identity | None, guard: int) -> NoReturn:
    step = 0
    try:
        os.setsid()
        _reset_signals()
        if identity is not None:
            identity.assume()
        kernel.die_with(guard)
        os.dup2(ends.stdout, 1)
        os.dup2(ends.stderr, 2)
        step = 1
        os.chdir(program.cwd)
        step = 2
        os.execvpe(program.argv[0], program.argv, program.env)
    except OSError as error:
        os.write(ends.exec_pipe, _EXEC_ERROR.pack(step, error.errno or 0))
    finally:
        os._exit(127)


def _reset_signals() -> None:
    for number in _CATCHABLE:
        signal.signal(number, signal.SIG_DFL)  # else the children would inherit what the guard ignores
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
