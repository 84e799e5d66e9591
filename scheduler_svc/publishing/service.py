"""The publish pool's part of ContentService."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from operator import attrgetter

from google.protobuf.duration_pb2 import Duration

from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1.content_service_pb2_grpc import ContentServiceServicer
from scheduler_svc.config import Settings
from scheduler_svc.domain.account import ALL, ANONYMOUS
from scheduler_svc.domain.content import PoolEntry, PublishStatus
from scheduler_svc.domain.publishing import EntryChange, PoolFilter, PoolPosition, PublishPolicy, publish_report
from scheduler_svc.domain.task import MAX_PRIORITY, MIN_PRIORITY
from scheduler_svc.publishing import work
from scheduler_svc.runtime.access import caller, may_call
from scheduler_svc.runtime.auditing import replaces
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.pages import PageRequest, selection
from scheduler_svc.runtime.validation import MAX_DURATION, MAX_ITEMS, MAX_NAME, Violations, checked_id, message_of

MAX_REMARK = 2_000
"""Characters of a reviewer's comment, or of a publisher's error or URL."""
DEFAULT_LEASE = timedelta(minutes=10)
MIN_LEASE = timedelta(seconds=1)


class PublishPoolCalls(ContentServiceServicer):
    def __init__(self, reads: Calls, writes: Calls, settings: Settings) -> None:
        self.reads = reads
        self.writes = writes
        self._policy = PublishPolicy(settings.max_publish_attempts, timedelta(seconds=settings.publish_backoff))

    async def ListPublishPool(self, request: pb.ListPublishPoolRequest, context: object) -> pb.ListPublishPoolResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
            pool_filter = PoolFilter(
                _statuses(request, violations),
                violations.optional_time("scheduled_after", request),
                violations.optional_time("scheduled_before", request),
            )
            fields = selection(request, account_id=request.account_id, statuses=sorted(pool_filter.statuses))
            page = PageRequest.of_places(request, violations, "ListPublishPool", *fields)
        after = None if page.position is None else PoolPosition(*page.position)
        scope = caller().scope
        result = await self.reads.run(lambda tx: tx.publish_pool.list(scope, pool_filter, after, page.limit))
        rest = None if result.rest is None else [*result.rest]
        entries, token = page.cut(result.rows, self._entry, lambda entry: [entry.priority, entry.content_id], rest)
        return pb.ListPublishPoolResponse(entries=entries, next_page_token=token)

    async def ClaimPublishPool(
        self, request: pb.ClaimPublishPoolRequest, context: object
    ) -> pb.ClaimPublishPoolResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
            violations.number("limit", request.limit, 0, MAX_ITEMS)
            lease = lease_of(request, violations)
            violations.text("publisher", request.publisher, MAX_NAME)
        publisher = caller().name or request.publisher or ANONYMOUS
        claimed = await self.writes.run(work.claim, caller().scope, request.limit or 1, lease, publisher)
        return pb.ClaimPublishPoolResponse(entries=map(self._entry, claimed))

    async def RenewPublishClaim(
        self, request: pb.RenewPublishClaimRequest, context: object
    ) -> pb.RenewPublishClaimResponse:
        with Violations() as violations:
            violations.id("content_id", request.content_id)
            violations.text("claim_id", request.claim_id, MAX_NAME, required=True)
            lease = lease_of(request, violations)
        await self.check_ownership(request.content_id)
        entry = await self.writes.run(work.renew, request.content_id, request.claim_id, lease)
        return pb.RenewPublishClaimResponse(entry=self._entry(entry))

    async def ReportPublished(self, request: pb.ReportPublishedRequest, context: object) -> pb.ReportPublishedResponse:
        with Violations() as violations:
            violations.id("content_id", request.content_id)
            violations.text("claim_id", request.claim_id, MAX_NAME, required=True)
            violations.text("error", request.error, MAX_REMARK)
            violations.text("published_url", request.published_url, MAX_REMARK)
        await self.check_ownership(request.content_id)
        outcome = publish_report(request.published, request.error, request.published_url)
        entry = await self.writes.run(work.report, request.content_id, request.claim_id, outcome, self._policy)
        return pb.ReportPublishedResponse(entry=self._entry(entry))

    async def UpdatePublishPoolEntry(
        self, request: pb.UpdatePublishPoolEntryRequest, context: object
    ) -> pb.UpdatePublishPoolEntryResponse:
        content_id = request.entry.content_id
        with Violations() as violations:
            violations.id("entry.content_id", content_id)
            change = _change(request, violations)
        await self.check_ownership(content_id)
        before, entry = await self.writes.run(work.update, content_id, change)
        replaces(self._entry(before))
        return pb.UpdatePublishPoolEntryResponse(entry=self._entry(entry))

    async def RemoveFromPublishPool(
        self, request: pb.RemoveFromPublishPoolRequest, context: object
    ) -> pb.RemoveFromPublishPoolResponse:
        await self.writes.run(work.remove, await self.own_content(request.content_id))
        return pb.RemoveFromPublishPoolResponse()

    async def RetryPublish(self, request: pb.RetryPublishRequest, context: object) -> pb.RetryPublishResponse:
        entry = await self.writes.run(work.retry, await self.own_content(request.content_id))
        return pb.RetryPublishResponse(entry=self._entry(entry))

    async def ListPublishAttempts(
        self, request: pb.ListPublishAttemptsRequest, context: object
    ) -> pb.ListPublishAttemptsResponse:
        with Violations() as violations:
            violations.id("content_id", request.content_id)
            page = PageRequest.of(request, violations, "ListPublishAttempts", request.content_id)
        await self.check_ownership(request.content_id)
        attempts = await self.reads.run(work.list_publish_attempts, request.content_id, page.position or 0, page.limit)
        listed, token = page.cut(attempts, partial(message_of, pb.PublishAttempt), attrgetter("number"))
        return pb.ListPublishAttemptsResponse(attempts=listed, next_page_token=token)

    async def own_content(self, content_id: int) -> int:
        """Returns the id. Raises InvalidArgument, and NotFound if the caller may not access the content."""
        await self.check_ownership(checked_id("content_id", content_id))
        return content_id

    async def check_ownership(self, *content_ids: int) -> None:
        """Raises NotFound if the caller may not access one of the contents."""
        scope = caller().scope
        if scope != ALL:
            await self.reads.run(work.require_own_contents, scope, content_ids)

    def _entry(self, entry: PoolEntry) -> pb.PublishPoolEntry:
        claim_id = entry.claim_id if may_call("ContentService/ReportPublished") else ""
        return message_of(pb.PublishPoolEntry, entry, claim_id=claim_id, max_attempts=self._policy.max_attempts)


def lease_of(
    request: pb.ClaimPublishPoolRequest | pb.RenewPublishClaimRequest | pb.ClaimReviewRequest, bad: Violations
) -> timedelta:
    """Reads how long a claim holds."""
    if not request.HasField("lease"):
        return DEFAULT_LEASE
    lease: Duration = request.lease
    return bad.duration("lease", lease, MIN_LEASE, MAX_DURATION)


def _statuses(request: pb.ListPublishPoolRequest, violations: Violations) -> frozenset[PublishStatus]:
    """Returns the statuses to list; an empty set stands for all."""
    statuses: set[PublishStatus] = set()
    if not violations.count("statuses", len(request.statuses), 0, MAX_ITEMS):
        return frozenset()
    for i, value in enumerate(request.statuses):
        try:
            statuses.add(PublishStatus(value))
        except ValueError:
            violations.add(f"statuses[{i}]", f"must be a known PublishStatus other than unspecified, is {value}")
    return frozenset(statuses)


def _change(request: pb.UpdatePublishPoolEntryRequest, violations: Violations) -> EntryChange:
    """Returns the values of the fields that the mask names."""
    paths = violations.mask("update_mask", request.update_mask, ("priority", "schedule_time"))
    priority = None
    if "priority" in paths:
        priority = request.entry.priority
        violations.number("entry.priority", priority, MIN_PRIORITY, MAX_PRIORITY)
    timed = "schedule_time" in paths
    schedule_time = violations.optional_time("entry.schedule_time", request.entry) if timed else None
    return EntryChange(priority, schedule_time, unschedule=timed and schedule_time is None)
