"""The worker's guard: a small process that is the parent of every CLI, and outlives the worker to end them.

Layer: `guard`, used by `runner` and `main`. `client` is the worker's end, `process` the guard's own program.

After the deadline of a run only the guard ends it, since it alone knows whether the CLI had ended by then. The lock of
the worker's folder is held until no process is left, so whoever gets it next knows that all CLIs are gone. If the guard
dies, the kernel ends its CLIs, and the worker finds their descendants by a mark in their environment and exits.
Re-parenting and the parent-death signal exist on Linux only; elsewhere the process group is killed.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker_svc.guard.child import Child, Exit, GuardError, GuardLostError, SpawnError
    from worker_svc.guard.client import Guard, RunEnd
    from worker_svc.guard.process.launch import hide_memory
    from worker_svc.guard.process.wire import now

__all__ = ["Child", "Exit", "Guard", "GuardError", "GuardLostError", "RunEnd", "SpawnError", "hide_memory", "now"]

_HOME = {
    "Child": "child",
    "Exit": "child",
    "Guard": "client",
    "GuardError": "child",
    "GuardLostError": "child",
    "RunEnd": "client",
    "SpawnError": "child",
    "hide_memory": "process.launch",
    "now": "process.wire",
}


def __getattr__(name: str) -> Any:
    """Imports on demand: the guard's own process imports this package too, and does not need asyncio."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
