"""Claims and decisions of reviews in concurrent transactions."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from scheduler_svc.contents import work as reviewing
from scheduler_svc.domain.account import ALL
from scheduler_svc.domain.content import (
    MAX_HELD_REVIEWS,
    Content,
    ContentEdit,
    PublishStatus,
    Review,
    ReviewDecision,
    ReviewStatus,
)
from scheduler_svc.domain.errors import EtagMismatch, InvalidState, TooManyReviews
from scheduler_svc.publishing import work as publish_pool
from scheduler_svc.transactions import Tx
from tests.harness.scheduling import Scheduling, overtaken

pytestmark = pytest.mark.integration

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
        overtaken(scheduling, publishes, lambda: scheduling.run(reviewing.reopen_content, content_id))
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
