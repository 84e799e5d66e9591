"""The publish pool: claim what is due, report how it went, and change what waits. Layer: client."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.client.documents import PUBLISH_STATUS, duration, timestamp, value
from contentgen.client.methods import Methods, lists, returns, returns_all, returns_whether_found
from contentgen.client.results import PublishAttempt, PublishPoolEntry, PublishStatus
from contentgen.client.tasks import PAGE_SIZE
from contentgen.client.transport import Pages
from contentgen.v1 import content_service_pb2 as pb


class PublishPoolMethods(Methods):
    @lists(PublishPoolEntry)
    def iter_publish_pool(
        self,
        account_id: int | None = None,
        statuses: PublishStatus | Iterable[PublishStatus] | None = None,
        *,
        scheduled_after: datetime | str | None = None,
        scheduled_before: datetime | str | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Pages[pb.PublishPoolEntry]:
        """Iterates over the entries of the publish pool in the order of claims, which it reads page by page.

        Args:
            account_id: only of this account; None: of any.
            statuses: only in one of these states; None: in any.
            scheduled_after: only with a time, which is then or later; a time without a zone is UTC.
            scheduled_before: only with a time, which is earlier than that.
            page_size: how many to read at once.

        Raises:
            ValueError: a status that does not exist.

        Example:
            >>> for entry in client.iter_publish_pool(account_id=1, statuses="failed"):
            ...     print(entry["content_id"], entry["error"])
        """
        names = [statuses] if isinstance(statuses, str) else statuses or ()
        request = pb.ListPublishPoolRequest(
            account_id=account_id or 0,
            page_size=page_size,
            statuses=[value(PUBLISH_STATUS, name) for name in names],
            scheduled_after=timestamp(scheduled_after),
            scheduled_before=timestamp(scheduled_before),
        )
        return Pages(self._transport, self._stubs.contents.ListPublishPool, request, lambda page: page.entries)

    @returns_all(PublishPoolEntry)
    async def claim_publish_pool(
        self, account_id: int | None = None, limit: int = 1, *, lease: float | None = None, publisher: str | None = None
    ) -> Iterable[pb.PublishPoolEntry]:
        """Claims due entries for this publisher only, the highest priority first, and returns them.

        Args:
            account_id: only of this account; None: of any.
            limit: how many at most, 1 to 1,000.
            lease: seconds until others may claim what is not reported; default 10 minutes.
            publisher: who publishes, if no tokens are required; otherwise the token's name counts.

        Example:
            >>> for entry in client.claim_publish_pool(limit=10, lease=120):
            ...     print("to be published:", entry["content_id"], entry["title"])
        """
        request = pb.ClaimPublishPoolRequest(
            account_id=account_id or 0, limit=limit, lease=duration(lease), publisher=publisher or ""
        )
        return (await self._call(self._stubs.contents.ClaimPublishPool, request)).entries

    @returns(PublishPoolEntry)
    async def renew_publish_claim(
        self, content_id: int, claim_id: str | None, *, lease: float | None = None
    ) -> pb.PublishPoolEntry:
        """Extends a claim, and returns its entry.

        Args:
            content_id: the claimed content.
            claim_id: the entry's, as claimed.
            lease: seconds from now until others may claim it; default 10 minutes.

        Raises:
            ResourceNotFoundException: not in the pool.
            InvalidStateException: the claim expired, is not the latest, or was reported.

        Example:
            >>> entry = client.renew_publish_claim(content_id, claim_id, lease=120)
        """
        request = pb.RenewPublishClaimRequest(content_id=content_id, claim_id=claim_id or "", lease=duration(lease))
        return (await self._call(self._stubs.contents.RenewPublishClaim, request)).entry

    @returns(PublishPoolEntry)
    async def report_published(
        self, content_id: int, claim_id: str | None, *, error: str | None = None, url: str | None = None
    ) -> pb.PublishPoolEntry:
        """Reports a claimed entry as published or, with an `error`, as an attempt that failed, and returns it.

        After a failure it is pending, with a `next_attempt_at`, or, once its attempts are used up, failed.

        Args:
            content_id: the claimed content.
            claim_id: the entry's, as claimed.
            error: why it failed; None: it is published.
            url: where it is published.

        Raises:
            ResourceNotFoundException: not in the pool.
            InvalidStateException: the claim expired, is not the latest, or was reported before.

        Example:
            >>> entry = client.report_published(content_id, claim_id, error="the site refused it")
        """
        request = pb.ReportPublishedRequest(
            content_id=content_id,
            claim_id=claim_id or "",
            published=error is None,
            error=error or "",
            published_url=url or "",
        )
        return (await self._call(self._stubs.contents.ReportPublished, request)).entry

    @returns(PublishPoolEntry)
    async def retry_publish(self, content_id: int) -> pb.PublishPoolEntry:
        """Makes a failed entry pending, with all its attempts before it, and returns it.

        Of one that waits for its next attempt it ends the wait.

        Raises:
            ResourceNotFoundException: not in the pool.
            InvalidStateException: it has not failed.

        Example:
            >>> for entry in client.iter_publish_pool(statuses="failed"):
            ...     client.retry_publish(entry["content_id"])
        """
        request = pb.RetryPublishRequest(content_id=content_id)
        return (await self._call(self._stubs.contents.RetryPublish, request)).entry

    @returns(PublishPoolEntry)
    async def update_publish_pool_entry(
        self,
        content_id: int,
        *,
        priority: int | None = None,
        schedule_time: datetime | str | None = None,
        unschedule: bool = False,
    ) -> pb.PublishPoolEntry:
        """Changes an entry that is pending or failed, and returns it. What is None stays as it is.

        Args:
            content_id: the content.
            priority: 1 to 10, 10 first.
            schedule_time: not before this time; ISO 8601 as text.
            unschedule: whether it may be published at once; not with a `schedule_time`.

        Raises:
            ResourceNotFoundException: not in the pool.
            InvalidStateException: it is claimed or published.
            InvalidArgument: nothing to change, or a bad value.

        Example:
            >>> entry = client.update_publish_pool_entry(content_id, priority=9, schedule_time="2030-01-31T08:00Z")
        """
        if unschedule and schedule_time is not None:
            raise ValueError("unschedule takes the time away: give no schedule_time with it")
        timed = unschedule or schedule_time is not None
        paths = ["priority"] * (priority is not None) + ["schedule_time"] * timed
        entry = pb.PublishPoolEntry(
            content_id=content_id, priority=priority or 0, schedule_time=timestamp(schedule_time)
        )
        request = pb.UpdatePublishPoolEntryRequest(entry=entry, update_mask=FieldMask(paths=paths))
        return (await self._call(self._stubs.contents.UpdatePublishPoolEntry, request)).entry

    @returns_whether_found
    async def remove_from_publish_pool(self, content_id: int) -> None:
        """Removes a content from the publish pool; it stays, approved. Returns False if it is not in the pool.

        Raises:
            InvalidStateException: it is claimed.

        Example:
            >>> if client.remove_from_publish_pool(content_id):
            ...     print("removed")
        """
        request = pb.RemoveFromPublishPoolRequest(content_id=content_id)
        await self._call(self._stubs.contents.RemoveFromPublishPool, request)

    @lists(PublishAttempt)
    def iter_publish_attempts(self, content_id: int, *, page_size: int = PAGE_SIZE) -> Pages[pb.PublishAttempt]:
        """Iterates over the reported attempts to publish a content, oldest first, which it reads page by page.

        Raises:
            ResourceNotFoundException: the content does not exist.

        Example:
            >>> for attempt in client.iter_publish_attempts(content_id):
            ...     print(attempt["number"], attempt["publisher"], attempt["error"] or "published")
        """
        request = pb.ListPublishAttemptsRequest(content_id=content_id, page_size=page_size)
        return Pages(self._transport, self._stubs.contents.ListPublishAttempts, request, lambda page: page.attempts)
