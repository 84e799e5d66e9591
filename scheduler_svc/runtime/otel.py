"""The scheduler's spans, made by OpenTelemetry and exported by OTLP.

`main` imports it only if spans are exported: without that nothing of OpenTelemetry is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode

from contentgen.service.tracing import Exporter, after, headers_of
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lease import Grant
from scheduler_svc.domain.task import ExistingTask, NewTask, Task, TraceContext
from scheduler_svc.runtime.tracing import SubmitSpan, Tracer


class OtelTracer(Tracer):
    def __init__(self) -> None:
        self._exporter = Exporter("scheduler")
        self._tracer = self._exporter.tracer

    def close(self, within: float) -> None:
        self._exporter.close(within)

    @contextmanager
    def submit(self, name: str, caller: TraceContext | None) -> Iterator[SubmitSpan]:
        kind = SpanKind.SERVER if "/" in name else SpanKind.PRODUCER
        span = self._tracer.start_span(name, _after(caller), kind)
        try:
            yield _Submit(self._tracer, span, caller)
        except BaseException as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            span.end()

    def dispatched(self, grants: Sequence[Grant]) -> list[Grant]:
        return [self._dispatched(grant) if grant.traceparent else grant for grant in grants]

    def _dispatched(self, grant: Grant) -> Grant:
        now = time.time_ns()
        parent = _after(TraceContext(grant.traceparent or "", grant.tracestate or ""))
        attributes: dict[str, str | int] = {
            "contentgen.task_id": format_task_id(grant.ref.task_key),
            "contentgen.account_id": grant.account_id,
            "contentgen.attempt": grant.ref.attempt,
            "contentgen.worker_id": grant.worker_id,
        }
        span = self._tracer.start_span(
            "dispatch", parent, attributes=attributes, start_time=now - int(grant.waited * 1e9)
        )
        span.end(now)
        return grant._replace(**_before(span)._asdict())


class _Submit(SubmitSpan):
    """Tasks of a batch whose caller has no trace get one each, linked with the batch."""

    def __init__(self, tracer: trace.Tracer, span: Span, caller: TraceContext | None) -> None:
        super().__init__(caller)
        self._tracer = tracer
        self._span = span
        self._created: list[Span] = []

    def traced(self, tasks: Sequence[NewTask]) -> tuple[NewTask, ...]:
        if self._caller or len(tasks) == 1:
            shared = _before(self._span)
            return tuple(task._replace(trace=shared) for task in tasks)
        link = Link(self._span.get_span_context())
        self._created = [self._tracer.start_span("create", Context(), SpanKind.PRODUCER, links=(link,)) for _ in tasks]
        return tuple(task._replace(trace=_before(span)) for task, span in zip(tasks, self._created, strict=True))

    def stored(self, tasks: Sequence[Task]) -> None:
        if len(tasks) == 1:
            _describe(self._span, tasks[0])
        else:
            self._span.set_attribute("contentgen.task_count", len(tasks))
        for span, task in zip(self._created, tasks, strict=False):
            _describe(span, task)
            span.end()


def _describe(span: Span, task: Task) -> None:
    span.set_attributes({"contentgen.task_id": task.task_id, "contentgen.account_id": task.account_id})
    if isinstance(task, ExistingTask):
        span.set_attribute("contentgen.existing", value=True)


def _after(trace: TraceContext | None) -> Context:
    """Returns what a span that follows this one is started in."""
    return Context() if trace is None else after(trace.traceparent, trace.tracestate)


def _before(span: Span) -> TraceContext:
    """Returns what is handed on for spans that follow this one."""
    return TraceContext(**headers_of(span))
