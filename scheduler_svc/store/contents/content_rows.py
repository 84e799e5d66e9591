"""What readers see of a content: its columns, and the content that a row of them is."""

from __future__ import annotations

from typing import Any

from scheduler_svc.domain.asset import Asset, LeftOut
from scheduler_svc.domain.content import Content, PublishStatus, ReviewStatus
from scheduler_svc.store.contents.list_queries import ENTRY_STATUS
from scheduler_svc.store.contents.publish_pool import shown_time

# Nothing sweeps the expired claim of a review either: readers do not see it.
_HELD = "CASE WHEN review_claim_expire_time > now() THEN {} END"
_CLAIM_END = _HELD.format(shown_time("review_claim_expire_time"))

_META = f"""content_id, account_id, task_key, title, {{bodies}}, summary, category, images, word_count, quality_score,
    review_status, review_comment, create_time, coalesce(cover_image, images ->> 0, ''), revision, etag,
    reviewer, review_time, {_HELD.format("review_holder")}, {_CLAIM_END},
    {ENTRY_STATUS}, superseded_by_content_id, usage, model, {{named}}"""
# What its result names, in order.
_NAMED = """(
        SELECT jsonb_agg(jsonb_build_array(n.reason, n.name, n.sha256, a.media_type, a.size, a.width, a.height)
            ORDER BY n.position)
        FROM content_assets AS n
        LEFT JOIN LATERAL (SELECT * FROM assets AS x WHERE x.sha256 = n.sha256 OFFSET 0) AS a ON true
        WHERE n.content_id = contents.content_id) AS named"""
WHOLE = _META.format(bodies="body, html_body", named=_NAMED)
LISTED = _META.format(bodies="'', ''", named=_NAMED)


def content(row: Any) -> Content:
    (content_id, account_id, task_key, title, body, html_body, summary, category, images, *rest) = row
    word_count, quality_score, review_status, comment, create_time, cover_image, revision, etag, *review = rest
    reviewer, review_time, review_holder, review_claim_expire_time, publish_status, superseded_by, *run = review
    usage, model, named = run
    return Content(
        content_id=content_id,
        account_id=account_id,
        task_key=task_key,
        title=title,
        body=body,
        html_body=html_body,
        summary=summary,
        category=category,
        images=tuple(images),
        word_count=word_count,
        quality_score=quality_score,
        review_status=ReviewStatus(review_status),
        review_comment=comment,
        create_time=create_time,
        cover_image=cover_image,
        revision=revision,
        etag=etag,
        reviewer=reviewer,
        review_time=review_time,
        review_holder=review_holder or "",
        review_claim_expire_time=review_claim_expire_time,
        publish_status=None if publish_status is None else PublishStatus(publish_status),
        superseded_by_content_id=superseded_by or 0,
        usage=usage or {},
        model=model or "",
        assets=tuple(Asset(*asset) for reason, *asset in named or () if reason is None),
        left_out=tuple(LeftOut(name, reason) for reason, name, *_ in named or () if reason is not None),
    )
