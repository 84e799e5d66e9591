"""What the scheduler tells a tracer. Without one, tasks keep the trace that their caller sent, and no span is made."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from scheduler_svc.domain.lease import Grant
from scheduler_svc.domain.task import NewTask, Task, TraceContext


class SubmitSpan:
    """The span of a call, or of a tick, that submits tasks. This one is none: tasks follow the caller's span itself."""

    def __init__(self, caller: TraceContext | None) -> None:
        self._caller = caller

    def __enter__(self) -> SubmitSpan:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def traced(self, tasks: Sequence[NewTask]) -> tuple[NewTask, ...]:
        """Returns these tasks, each with the span that its attempts will follow."""
        if self._caller is None:
            return tuple(tasks)
        return tuple(task._replace(trace=self._caller) for task in tasks)

    def stored(self, tasks: Sequence[Task]) -> None:
        """Tells the spans what was stored for the tasks of `traced`, in their order."""


class Tracer:
    """This one makes no spans: see `otel.OtelTracer`."""

    def submit(self, name: str, caller: TraceContext | None) -> AbstractContextManager[SubmitSpan]:
        """Returns the span of a submit. `name`: of the RPC, or of what else it is; `caller`: the span it follows."""
        return SubmitSpan(caller) if caller else NO_SPAN

    def dispatched(self, grants: Sequence[Grant]) -> Sequence[Grant]:
        """Returns these grants, each with the span that its attempt follows. Records how long each task was ready."""
        return grants

    def close(self, within: float) -> None:
        """Exports what is left, for so many seconds at most."""


NO_SPAN = SubmitSpan(None)
NO_TRACER = Tracer()
