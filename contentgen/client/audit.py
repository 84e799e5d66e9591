"""Reads the audit: who made which call. For operators and viewers. Layer: client."""

from __future__ import annotations

from datetime import datetime

from contentgen.client.fields import timestamp
from contentgen.client.methods import Methods, lists
from contentgen.client.results import AuditEvent
from contentgen.client.tasks import PAGE_SIZE
from contentgen.client.transport import Pages
from contentgen.v1 import audit_service_pb2 as pb


class AuditMethods(Methods):
    @lists(AuditEvent)
    def iter_audit_events(
        self,
        account_id: int | None = None,
        *,
        actor: str = "",
        method: str = "",
        start_time: datetime | str | None = None,
        end_time: datetime | str | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Pages[pb.AuditEvent]:
        """Iterates over the calls that may have changed something, newest first, which it reads page by page.

        Args:
            account_id: None: of any account.
            actor: the name of a token, or `anonymous`; empty: anybody.
            method: such as `TaskService/CancelTask`; empty: any.
            start_time: then or later; a time without a zone is UTC.
            end_time: before then.
            page_size: how many are read at a time.

        Example:
            >>> for event in client.iter_audit_events(method="ContentService/DeleteContent"):
            ...     print(event["event_time"], event["actor"], event["resource"], event["outcome"])
        """
        request = pb.ListAuditEventsRequest(
            account_id=account_id or 0,
            actor=actor,
            method=method,
            start_time=timestamp(start_time),
            end_time=timestamp(end_time),
            page_size=page_size,
        )
        return Pages(self._transport, self._stubs.audit.ListAuditEvents, request, lambda page: page.events)
