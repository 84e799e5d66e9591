"""Reviews of contents: decisions, taken back or not, and who holds which."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache

import sqlalchemy as sa

from scheduler_svc.database.statements import EACH_ACCOUNT, Statements, accounts
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.content import Review, ReviewEvent, ReviewStatus
from scheduler_svc.domain.task import DEFAULT_PRIORITY

_WAITS = f"review_status = {ReviewStatus.PENDING_REVIEW}"
"""The condition of the indexes of what waits, and spelt like it."""
_NOT_HELD = "review_holder = NULL, review_claim_expire_time = NULL"


def _noted(actor: str, status: str, text: str) -> str:
    """Returns the insert of an event of a locked content, of these expressions."""
    return f"""
        INSERT INTO content_reviews (content_id, number, actor, review_status, text)
        SELECT :content_id, 1 + coalesce(max(number), 0), {actor}, {status}, {text}
        FROM content_reviews WHERE content_id = :content_id
    """


_DECIDE = sa.text(f"""
    WITH noted AS ({_noted(":reviewer", ":outcome", ":comment")})
    UPDATE contents SET review_status = :outcome, review_comment = :comment, reviewer = :reviewer, review_time = now(),
        {_NOT_HELD}, etag = gen_random_uuid()
    WHERE content_id = :content_id
""")
"""Reviews a locked content."""

# Contents outlive their tasks: where the task was cleaned up, a submit's defaults stand in for what it said.
_OFFER_CONTENT = sa.text(f"""
    INSERT INTO publish_pool (content_id, account_id, priority, schedule_time)
    SELECT c.content_id, c.account_id, coalesce(t.priority, {DEFAULT_PRIORITY}),
        coalesce(CAST(:schedule_time AS timestamptz), t.schedule_time)
    FROM contents AS c LEFT JOIN tasks AS t USING (task_key) WHERE c.content_id = :content_id
""")
"""Adds a content to the publish pool."""

_REOPEN = sa.text(f"""
    WITH entry AS (DELETE FROM publish_pool WHERE content_id = :content_id),
        noted AS ({_noted(":actor", str(int(ReviewStatus.PENDING_REVIEW)), "''")})
    UPDATE contents SET review_status = {ReviewStatus.PENDING_REVIEW}, review_comment = '', reviewer = '',
        review_time = NULL, {_NOT_HELD}, etag = gen_random_uuid()
    WHERE content_id = :content_id
""")
"""Takes the review of a locked content back, and the content out of the publish pool."""


@cache
def _claim(*, of_accounts: bool) -> sa.TextClause:
    """Claims the oldest review that nobody holds; skips what another claim or a decision has locked.

    It changes no key, so it does not skip a content that is being indexed: that lock is of the key.
    Of several accounts the oldest of each is locked, one is taken, and the others are unlocked at the commit.
    """
    condition = f"{_WAITS} AND (review_claim_expire_time IS NULL OR review_claim_expire_time <= now())"
    order = "ORDER BY create_time, content_id LIMIT 1"
    columns = "SELECT content_id, create_time FROM contents"
    if of_accounts:
        oldest_of_account = f"{columns} WHERE account_id = a.own AND {condition} {order} FOR NO KEY UPDATE SKIP LOCKED"
        oldest = f"SELECT content_id FROM {EACH_ACCOUNT}, LATERAL ({oldest_of_account}) AS k {order}"
    else:
        oldest = f"{columns} WHERE {condition} {order} FOR NO KEY UPDATE SKIP LOCKED"
    return sa.text(f"""
        WITH oldest AS MATERIALIZED ({oldest})
        UPDATE contents SET review_holder = :reviewer,
            review_claim_expire_time = now() + make_interval(secs => :lease)
        WHERE content_id = ANY(ARRAY(SELECT content_id FROM oldest)) RETURNING content_id
    """)


_HOLD_REVIEW = sa.text("""
    UPDATE contents SET review_holder = :reviewer, review_claim_expire_time = now() + make_interval(secs => :lease)
    WHERE content_id = :content_id
""")
"""Claims the review of a locked content, or renews the claim."""

_LOCK_HELD = sa.text("""
    SELECT pg_advisory_xact_lock(hashtextextended('contentgen.reviews.' || CAST(:reviewer AS text), 0))
""")
"""Locks out other claims of a reviewer."""
_COUNT_HELD = sa.text("""
    SELECT count(*) FROM (
        SELECT FROM contents WHERE review_holder = :reviewer AND review_claim_expire_time > now()
        ORDER BY review_holder, review_claim_expire_time LIMIT :limit
    ) AS held
""")
"""Counts the reviews that a reviewer holds."""

_REGENERATED = sa.text("""
    SELECT p.regenerates_content_id FROM contents AS c JOIN task_payloads AS p USING (task_key)
    WHERE c.content_id = :content_id AND p.regenerates_content_id IS NOT NULL
""")
"""Reads which content a content was written in place of."""

_SUPERSEDE = sa.text("""
    UPDATE contents SET superseded_by_content_id = :by, etag = gen_random_uuid() WHERE content_id = :content_id
""")
"""Marks a locked content as superseded, or no longer so."""

_WITHDRAW = sa.text("DELETE FROM publish_pool WHERE content_id = :content_id")
"""Takes a locked content out of the publish pool."""

_NOTE_ASSIGNMENT = sa.text(_noted(":assigner", "NULL", ":assignee"))
"""Notes who is to review a locked content."""
_ASSIGN = sa.text("""
    INSERT INTO content_assignments (content_id, assignee, assigner) VALUES (:content_id, :assignee, :assigner)
    ON CONFLICT (content_id) DO UPDATE
    SET assignee = excluded.assignee, assigner = excluded.assigner, assign_time = excluded.assign_time
""")
"""Says who is to review a content."""
_UNASSIGN = sa.text("DELETE FROM content_assignments WHERE content_id = :content_id")
"""Says that nobody is."""

_LIST_EVENTS = sa.text("""
    SELECT number, event_time, actor, review_status, text FROM content_reviews
    WHERE content_id = :content_id AND number > :after ORDER BY number LIMIT :limit
""")
"""Reads what became of a content's review, oldest first."""

_RELEASE_REVIEW = sa.text(f"UPDATE contents SET {_NOT_HELD} WHERE content_id = :content_id")
"""Ends the claim of the review of a locked content."""


class Reviews(Statements):
    """Decisions and releases are about contents that are locked (`Contents.lock_listed`)."""

    def decide(self, review: Review) -> None:
        self._run(
            _DECIDE,
            content_id=review.content_id,
            outcome=review.decision.outcome.value,
            comment=review.comment,
            reviewer=review.reviewer,
        )

    def offer(self, content_id: int, schedule_time: datetime | None) -> None:
        """Puts a content into the publish pool, with its task's priority, and its time unless another is given."""
        self._run(_OFFER_CONTENT, content_id=content_id, schedule_time=schedule_time)

    def reopen(self, content_id: int, actor: str) -> None:
        self._run(_REOPEN, content_id=content_id, actor=actor)

    def regenerated(self, content_id: int) -> int | None:
        """Returns the content in whose place this one was written; None if it is not known."""
        return self._one(int, _REGENERATED, content_id=content_id)

    def supersede(self, content_id: int, by: int | None) -> None:
        """Marks a content as superseded by another one; with None it is superseded by none."""
        self._run(_SUPERSEDE, content_id=content_id, by=by)

    def withdraw(self, content_id: int) -> None:
        self._run(_WITHDRAW, content_id=content_id)

    def lock_held(self, reviewer: str, limit: int) -> int:
        """Returns how many reviews a reviewer holds, `limit` at most; no other claim of it begins before the commit."""
        self._run(_LOCK_HELD, reviewer=reviewer)
        return int(self._row(_COUNT_HELD, reviewer=reviewer, limit=limit)[0])

    def claim(self, scope: Scope, reviewer: str, lease: timedelta) -> int | None:
        """Claims the review of the oldest content that nobody holds; returns its id, None if there is none."""
        parameters = accounts(scope)
        statement = _claim(of_accounts=bool(parameters))
        return self._one(int, statement, **parameters, reviewer=reviewer, lease=lease.total_seconds())

    def hold(self, content_id: int, reviewer: str, lease: timedelta) -> None:
        self._run(_HOLD_REVIEW, content_id=content_id, reviewer=reviewer, lease=lease.total_seconds())

    def assign(self, content_id: int, assignee: str, assigner: str) -> None:
        """Says who is to review a content; empty: nobody."""
        self._run(_NOTE_ASSIGNMENT, content_id=content_id, assignee=assignee, assigner=assigner)
        if assignee:
            self._run(_ASSIGN, content_id=content_id, assignee=assignee, assigner=assigner)
        else:
            self._run(_UNASSIGN, content_id=content_id)

    def events(self, content_id: int, after: int, limit: int) -> list[ReviewEvent]:
        return self._all(_event, _LIST_EVENTS, content_id=content_id, after=after, limit=limit)

    def release(self, content_id: int) -> None:
        self._run(_RELEASE_REVIEW, content_id=content_id)


def _event(number: int, event_time: datetime, actor: str, status: int | None, text: str) -> ReviewEvent:
    if status is None:
        return ReviewEvent(number, event_time, actor, None, assignee=text)
    return ReviewEvent(number, event_time, actor, ReviewStatus(status), text)
