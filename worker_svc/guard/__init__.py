"""The worker's guard: a small process that is the parent of every CLI and outlives the worker long enough to end them.

Layer: `guard`, used by `runner` and `main`. `client` is the worker's end, `process` the guard's own program.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker_svc.guard.child import Child, Exit
    from worker_svc.guard.client import Guard, RunEnd
    from worker_svc.guard.errors import GuardError, GuardLostError, SpawnError
    from worker_svc.guard.process.clock import now

__all__ = ["Child", "Exit", "Guard", "GuardError", "GuardLostError", "RunEnd", "SpawnError", "now"]

_HOME = {
    "Child": "child",
    "Exit": "child",
    "Guard": "client",
    "GuardError": "errors",
    "GuardLostError": "errors",
    "RunEnd": "client",
    "SpawnError": "errors",
    "now": "process.clock",
}


def __getattr__(name: str) -> Any:
    """Import on demand: the guard's own process comes through this package too, and has no use for asyncio."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
