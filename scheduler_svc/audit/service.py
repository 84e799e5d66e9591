"""AuditService: who made which call."""

from __future__ import annotations

from operator import attrgetter

from contentgen.v1 import audit_service_pb2 as pb
from contentgen.v1.audit_service_pb2_grpc import AuditServiceServicer
from scheduler_svc.domain.audit import AuditEvent, AuditFilter, first_key
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.pages import PageRequest
from scheduler_svc.runtime.validation import MAX_NAME, Violations, message_of, timestamp


class AuditService(AuditServiceServicer):
    def __init__(self, reads: Calls) -> None:
        self._reads = reads

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, context: object) -> pb.ListAuditEventsResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
            violations.text("actor", request.actor, MAX_NAME)
            violations.text("method", request.method, MAX_NAME)
            low, high = _range(request, violations)
            page = PageRequest.of(
                request, violations, "ListAuditEvents", request.account_id, request.actor, request.method, low, high
            )
        below = high if page.position is None else min(high, page.position)
        event_filter = AuditFilter(request.actor, request.method, low, below)
        scope = caller().scope
        result = await self._reads.run(lambda tx: tx.audit.list(scope, event_filter, page.limit))
        events, token = page.cut(result.rows, _audit_event_message, attrgetter("event_key"), result.rest)
        return pb.ListAuditEventsResponse(events=events, next_page_token=token)


def _range(request: pb.ListAuditEventsRequest, violations: Violations) -> tuple[int, int]:
    """Returns the keys of the time that is asked for, from the first to below the second."""
    start, end = violations.optional_time("start_time", request), violations.optional_time("end_time", request)
    return 0 if start is None else first_key(start), KEY_MAX if end is None else first_key(end)


def _audit_event_message(event: AuditEvent) -> pb.AuditEvent:
    return message_of(pb.AuditEvent, event, event_time=timestamp(event.time))
