"""Review and publish pool in concurrent transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from scheduler_svc.contents import work as reviewing
from scheduler_svc.domain.account import ALL
from scheduler_svc.domain.content import (
    MAX_HELD_REVIEWS,
    Content,
    ContentEdit,
    PoolEntry,
    PublishStatus,
    Review,
    ReviewDecision,
    ReviewStatus,
)
from scheduler_svc.domain.errors import EtagMismatch, InvalidState, TooManyReviews
from scheduler_svc.domain.publishing import EntryChange, PublishPolicy, PublishReport
from scheduler_svc.publishing import work as publish_pool
from scheduler_svc.transactions import Tx
from tests.harness.scheduling import Scheduling, overtaken

pytestmark = pytest.mark.integration

MINUTE = timedelta(minutes=1)
PUBLISHED = PublishReport(True)
R = TypeVar("R")


def claims(scheduling: Scheduling, limit: int = 1) -> list[PoolEntry]:
    return scheduling.run(claim_in, limit)


def claim_in(tx: Tx, limit: int = 1) -> list[PoolEntry]:
    return publish_pool.claim(tx, ALL, limit, MINUTE, "p")


def reports(scheduling: Scheduling, entry: PoolEntry) -> PoolEntry:
    return scheduling.run(report_in, entry)


def report_in(tx: Tx, entry: PoolEntry) -> PoolEntry:
    return publish_pool.report(tx, entry.content_id, entry.claim_id, PUBLISHED, PublishPolicy())


def fails_in(tx: Tx, entry: PoolEntry) -> PoolEntry:
    return publish_pool.report(tx, entry.content_id, entry.claim_id, PublishReport(False, "why"), PublishPolicy())


def reviews(content_id: int, decision: ReviewDecision) -> Callable[[Tx], Any]:
    return lambda tx: reviewing.review_content(tx, Review(content_id, decision, "anna"))


def at_a_time(scheduling: Scheduling, first: Callable[[Tx], R], second: Callable[[], R]) -> tuple[R, R]:
    """What both return if `second` begins and ends before `first` commits, and so does not wait for it."""
    with ThreadPoolExecutor(1) as pool, scheduling.transaction() as tx:
        return first(tx), pool.submit(second).result(timeout=5)


def expire_claims(scheduling: Scheduling) -> None:
    scheduling.sql("UPDATE publish_pool SET claim_expire_time = now() WHERE status = 2")


@pytest.mark.parametrize("first", ReviewDecision)
@pytest.mark.parametrize("second", ReviewDecision)
def test_the_first_of_two_concurrent_decisions_holds(
    scheduling: Scheduling, first: ReviewDecision, second: ReviewDecision
) -> None:
    content_id = scheduling.content(auto_approve=False)
    with pytest.raises(InvalidState) as refused:
        overtaken(scheduling, reviews(content_id, first), lambda: scheduling.run(reviews(content_id, second)))
    assert refused.value.metadata["current_state"] == first.outcome.label
    approved = [(content_id,)] if first is ReviewDecision.APPROVE else []
    assert scheduling.sql("SELECT content_id FROM publish_pool") == approved


def test_the_content_of_a_task_that_was_cleaned_up_has_a_submit_s_defaults(db_url: str) -> None:
    with closing(Scheduling(db_url)) as scheduling:
        content_id = scheduling.content(auto_approve=False, priority=9, schedule_time=datetime(2020, 1, 1, tzinfo=UTC))
        scheduling.sql("DELETE FROM tasks")
        scheduling.run(reviews(content_id, ReviewDecision.APPROVE))
        (entry,) = claims(scheduling)
        assert (entry.content_id, entry.priority, entry.schedule_time) == (content_id, 5, None)


def let_claims_expire(scheduling: Scheduling) -> None:
    claims(scheduling, 3)  # before two that are new
    expire_claims(scheduling)


def let_attempts_fail(scheduling: Scheduling) -> None:
    for entry in claims(scheduling, 5):
        scheduling.run(fails_in, entry)
    scheduling.sql("UPDATE publish_pool SET next_attempt_time = now()")


@pytest.mark.parametrize(
    "before", [None, let_claims_expire, let_attempts_fail], ids=["new", "with expired claims", "that failed once"]
)
def test_two_concurrent_claims_take_different_entries_in_their_order(
    scheduling: Scheduling, before: Callable[[Scheduling], None] | None
) -> None:
    content_ids = [scheduling.content() for _ in range(5)]
    if before is not None:
        before(scheduling)
    first, second = at_a_time(scheduling, lambda tx: claim_in(tx, 2), lambda: claims(scheduling, 2))
    assert [entry.content_id for entry in first] == content_ids[:2]
    assert [entry.content_id for entry in second] == content_ids[2:4]
    assert [entry.content_id for entry in claims(scheduling, 2)] == content_ids[4:]


def test_many_publishers_take_each_entry_once(scheduling: Scheduling) -> None:
    content_ids = [scheduling.content(priority=1 + n % 10) for n in range(60)]

    def publishes(_: int) -> list[int]:
        taken = []
        while entries := claims(scheduling, 3):
            taken += [reports(scheduling, entry).content_id for entry in entries]
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [content_id for own in pool.map(publishes, range(6)) for content_id in own]
    assert Counter(taken) == Counter(content_ids)
    assert scheduling.sql("SELECT DISTINCT status FROM publish_pool") == [(PublishStatus.PUBLISHED,)]


def test_a_report_that_a_claim_overtook_is_refused(scheduling: Scheduling) -> None:
    scheduling.content()
    (old,) = claims(scheduling)
    with scheduling.transaction() as tx:
        assert tx.now  # by its own clock, the claim holds until its end
        expire_claims(scheduling)
        (latest,) = claims(scheduling)
        with pytest.raises(InvalidState):
            report_in(tx, old)
    assert reports(scheduling, latest).status is PublishStatus.PUBLISHED


def test_a_report_on_an_entry_that_is_being_claimed_is_refused(scheduling: Scheduling) -> None:
    scheduling.content()
    (old,) = claims(scheduling)
    expire_claims(scheduling)
    with scheduling.transaction() as tx:
        (latest,) = claim_in(tx)
        with pytest.raises(InvalidState):
            reports(scheduling, old)
    assert reports(scheduling, latest).status is PublishStatus.PUBLISHED


def test_a_claim_skips_an_entry_that_is_being_reported(scheduling: Scheduling) -> None:
    scheduling.content()
    (entry,) = claims(scheduling)
    _, claimed = at_a_time(scheduling, lambda tx: [report_in(tx, entry)], lambda: claims(scheduling))
    assert claimed == claims(scheduling) == []


def test_the_first_of_two_concurrent_reports_counts_as_the_attempt(scheduling: Scheduling) -> None:
    scheduling.content()
    (entry,) = claims(scheduling)
    with pytest.raises(InvalidState):
        overtaken(scheduling, lambda tx: fails_in(tx, entry), lambda: reports(scheduling, entry))
    assert scheduling.sql("SELECT number, published, error FROM publish_attempts") == [(1, False, "why")]
    assert scheduling.sql("SELECT status, attempt_count FROM publish_pool") == [(PublishStatus.FAILED, 1)]


def test_a_renewal_that_a_report_overtook_is_refused(scheduling: Scheduling) -> None:
    scheduling.content()
    (entry,) = claims(scheduling)

    def renews() -> PoolEntry:
        return scheduling.run(publish_pool.renew, entry.content_id, entry.claim_id, MINUTE)

    with pytest.raises(InvalidState):
        overtaken(scheduling, lambda tx: fails_in(tx, entry), renews)


def test_an_edit_and_a_claim_at_a_time_leave_one_of_both(scheduling: Scheduling) -> None:
    content_id = scheduling.content()
    change = EntryChange(priority=1)
    with pytest.raises(InvalidState):
        overtaken(scheduling, claim_in, lambda: scheduling.run(publish_pool.update, content_id, change))
    assert scheduling.sql("SELECT priority, status FROM publish_pool") == [(5, PublishStatus.PUBLISHING)]


# Claims and decisions of reviews in concurrent transactions.


LEASE = timedelta(minutes=10)


def claimed(scheduling: Scheduling) -> int | None:
    review: Content | None = scheduling.run(reviewing.claim_review, ALL, "anna", LEASE)
    return None if review is None else review.content_id


def approve(content_id: int) -> Review:
    return Review(content_id, ReviewDecision.APPROVE, "anna")


def test_a_content_that_is_being_indexed_is_claimed(scheduling: Scheduling) -> None:
    content_id = scheduling.content(auto_approve=False)
    with scheduling.transaction() as tx:
        reviewing.index_contents(tx, content_id, 10)
        assert claimed(scheduling) == content_id


def test_many_reviewers_get_each_content_once(scheduling: Scheduling) -> None:
    content_ids = [scheduling.content(auto_approve=False) for _ in range(30)]

    def reviews(_: int) -> list[int]:
        taken = []
        while (content_id := claimed(scheduling)) is not None:
            taken.append(content_id)
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [content_id for own in pool.map(reviews, range(6)) for content_id in own]
    assert Counter(taken) <= Counter(content_ids), "none is given to two"
    scheduling.sql("UPDATE contents SET review_claim_expire_time = now()")
    assert claimed(scheduling) == content_ids[0], "and the oldest comes again when its claim has expired"


def test_a_reviewer_holds_a_bounded_number_of_reviews(scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 4
    assert MAX_HELD_REVIEWS == 100, "as content_service.proto tells"
    monkeypatch.setattr(reviewing, "MAX_HELD_REVIEWS", most)
    content_ids = [scheduling.content(auto_approve=False) for _ in range(most + 3)]
    for _ in range(most - 1):
        claimed(scheduling)
    with pytest.raises(TooManyReviews):
        overtaken(scheduling, lambda tx: reviewing.claim_review(tx, ALL, "anna", LEASE), lambda: claimed(scheduling))
    scheduling.run(reviewing.review_content, approve(content_ids[0]))
    assert claimed(scheduling) == content_ids[most]
    with pytest.raises(TooManyReviews):
        claimed(scheduling)
    of_boris = scheduling.run(reviewing.claim_review, ALL, "boris", LEASE)
    assert of_boris is not None
    assert of_boris.content_id == content_ids[most + 1]
    scheduling.sql("UPDATE contents SET review_claim_expire_time = now() WHERE review_holder IS NOT NULL")
    assert claimed(scheduling) == content_ids[1]


def test_a_claim_skips_what_is_being_decided(scheduling: Scheduling) -> None:
    first, second = scheduling.content(auto_approve=False), scheduling.content(auto_approve=False)
    with scheduling.transaction() as tx:
        reviewing.review_content(tx, approve(first))
        assert claimed(scheduling) == second
    assert claimed(scheduling) is None


def test_a_publisher_s_claim_overtakes_what_takes_the_decision_back(scheduling: Scheduling) -> None:
    content_id = scheduling.content(auto_approve=True)

    def publishes(tx: Tx) -> None:
        assert publish_pool.claim(tx, ALL, 1, LEASE, "paula")

    with pytest.raises(InvalidState) as refused:
        overtaken(scheduling, publishes, lambda: scheduling.run(reviewing.reopen_content, content_id, "anna"))
    assert refused.value.metadata["current_state"] == PublishStatus.PUBLISHING.label


def test_an_edit_overtakes_a_decision_on_the_text_before(scheduling: Scheduling) -> None:
    content_id = scheduling.content(auto_approve=False)
    review = approve(content_id)._replace(etag="1")

    def edits(tx: Tx) -> None:
        reviewing.update_content(tx, content_id, ContentEdit(title="another"), "1", "boris")

    with pytest.raises(EtagMismatch):
        overtaken(scheduling, edits, lambda: scheduling.run(reviewing.review_content, review))
    assert scheduling.sql("SELECT review_status FROM contents") == [(ReviewStatus.PENDING_REVIEW,)]


def test_two_batches_in_opposite_orders_do_not_block_each_other(scheduling: Scheduling) -> None:
    content_ids = [scheduling.content(auto_approve=False) for _ in range(20)]
    batches = [[approve(content_id) for content_id in order] for order in (content_ids, content_ids[::-1])]

    def reviews(batch: list[Review]) -> int:
        try:
            return len(scheduling.run(reviewing.review_contents, batch))
        except InvalidState:
            return 0

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(reviews, batches)) == [0, 20]
