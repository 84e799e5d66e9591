"""The tables. What is hot is narrow: `ready`, `delayed` and `leases` hold keys and numbers only, and a task's payload
is written once, apart from its state.

An open task is `pending` in `tasks` and stands in exactly one of `ready` (due; with a tag it may be claimed), `delayed`
(waits for a time) and `leases` (a worker has it; `leases.status` says submitted or processing). No foreign keys on the
hot tables: each would cost a look-up a row, and rows leave only through `store`. docs/architecture.md has the picture.
"""

from __future__ import annotations

from enum import IntEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, INTERVAL, JSONB, TIMESTAMP

from scheduler_svc.application.tasks.ledger import BARRED, SCHEDULED
from scheduler_svc.domain.bounds import MAX_PRIORITY, MIN_PRIORITY
from scheduler_svc.domain.brief import TEXTS
from scheduler_svc.domain.content import ContentTexts, PublishStatus, ReviewStatus
from scheduler_svc.domain.ids import SEQUENCE_BITS
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import MOVES, Status
from scheduler_svc.domain.old_rows import RowKind
from scheduler_svc.domain.rollup import Resolution
from scheduler_svc.domain.schedule import CatchUp, Overlap
from scheduler_svc.domain.webhook import DeliveryStatus

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ck": "%(table_name)s_%(constraint_name)s",
        "uq": "%(table_name)s_%(column_0_name)s_key",
    }
)

TIME = TIMESTAMP(timezone=True)
NOW = sa.text("now()")
# A narrow table that lives by being deleted from: vacuumed by count, not by share of its size.
_CHURN = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
}

# A table that grows for years: by default a fifth of 10⁸ rows would be dead before a vacuum frees them. Those of fewer
# than 300,000 rows are vacuumed less often than by default, so that a burst pays for no more vacuums.
_GROWS = {"autovacuum_vacuum_scale_factor": "0.05", "autovacuum_vacuum_threshold": "50000"}

key_sequence = sa.Sequence("key_seq", metadata=metadata, increment=1000)
session_sequence = sa.Sequence("session_seq", metadata=metadata)
# No cache: each connection would number from its own block, and a task's history would not be in order.
event_sequence = sa.Sequence("event_seq", metadata=metadata)
# A transaction has its id before it draws a number: while no lower id runs, nobody's numbers are still to come.
_NEXT_EVENT = sa.text("CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('event_seq') END")
_OWN_TRANSACTION = sa.text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
content_sequence = sa.Sequence("content_seq", metadata=metadata)
poll_sequence = sa.Sequence("poll_seq", metadata=metadata)
audit_sequence = sa.Sequence("audit_seq", metadata=metadata)


_PRIORITY = f"priority BETWEEN {MIN_PRIORITY} AND {MAX_PRIORITY}"


def _among(column: str, *statuses: Status) -> str:
    return f"{column} IN ({', '.join(str(status) for status in statuses)})"


def _any_of(column: str, enum: type[IntEnum]) -> str:
    return f"{column} BETWEEN {min(enum)} AND {max(enum)}"


def _legal_moves() -> str:
    """The transition table as a CHECK: two digits are quicker compared than pairs."""
    pairs = sorted(int(source) * 10 + int(target) for source, target in MOVES)
    return f"status BETWEEN 0 AND 9 AND previous_status * 10 + status IN ({', '.join(map(str, pairs))})"


accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("max_concurrent_tasks", sa.Integer, nullable=False),
    sa.Column("weight", DOUBLE_PRECISION, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column("max_pending_tasks", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_priority", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("max_starts_per_minute", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_asset_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("max_concurrent_tasks >= 0", "limit"),
    sa.Index("accounts_limited", "account_id", postgresql_where=sa.text("max_concurrent_tasks > 0")),
    sa.CheckConstraint("weight > 0 AND weight <= 1000", "weight"),
)

MISDATED = f"""
    (create_time - to_timestamp((task_key >> {SEQUENCE_BITS})::double precision / 1000))
        NOT BETWEEN interval '-1 hour' AND interval '1 hour'
"""
"""The condition on tasks whose key has a time that differs by more than an hour from `create_time`, of the database."""

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("status", sa.SmallInteger, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("auto_approve", sa.Boolean, nullable=False),
    sa.Column("auto_retry", sa.Boolean, nullable=False),
    sa.Column("max_retries", sa.SmallInteger, nullable=False),
    sa.Column("retry_count", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("losses", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("refusals", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("timeout_ms", sa.BigInteger, nullable=False),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column("schedule_time", TIME),
    # the last lease that ended, and how: what may still come from it is decided by these
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("fence", sa.Integer),
    sa.Column("lease_end", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("worker_id", sa.Text),
    sa.Column("submit_time", TIME),
    sa.Column("start_time", TIME),
    sa.Column("end_time", TIME),
    sa.Column("content_id", sa.BigInteger),
    sa.Column("error", JSONB),
    sa.Column("deferrals", sa.SmallInteger, nullable=False, server_default="0"),
    # what the submit says of the waits before retries; null: the default
    sa.Column("initial_backoff_ms", sa.BigInteger),
    sa.Column("backoff_multiplier", DOUBLE_PRECISION),
    sa.Column("max_backoff_ms", sa.BigInteger),
    # of what a schedule submitted; set with its row of `schedule_tasks`
    sa.Column("schedule_id", sa.BigInteger),
    # cancelled if no attempt has begun by then
    sa.Column("expire_time", TIME),
    sa.CheckConstraint(
        _among("status", Status.PENDING, Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED), "status"
    ),
    sa.CheckConstraint(_PRIORITY, "priority"),
    sa.CheckConstraint("retry_count BETWEEN 0 AND max_retries", "retries"),
    sa.CheckConstraint("timeout_ms >= 1000", "timeout"),
    sa.CheckConstraint(f"(status = {Status.PENDING}) = (end_time IS NULL)", "end_time"),
    sa.CheckConstraint(f"(status = {Status.COMPLETED}) = (content_id IS NOT NULL)", "content"),
    sa.CheckConstraint(
        f"(attempt = 0) = (fence IS NULL) AND (attempt = 0) = (lease_end = {LeaseEnd.NONE})", "last_lease"
    ),
    sa.CheckConstraint(f"status <> {Status.COMPLETED} OR lease_end = {LeaseEnd.COMPLETED}", "completed_by_lease"),
    sa.Index("tasks_by_status", "status", "task_key"),
    sa.Index("tasks_by_account", "account_id", "status", "task_key"),
    # what the retention looks at, and nothing that waits
    sa.Index("tasks_ended", "end_time", postgresql_where=sa.text("end_time IS NOT NULL")),
    # none, unless a replica's clock was wrong: lists of a time look at these and at a range of keys
    sa.Index("tasks_misdated", "create_time", "task_key", postgresql_where=sa.text(MISDATED)),
    postgresql_with={"fillfactor": "80"} | _GROWS,
)

task_payloads = sa.Table(
    "task_payloads",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in TEXTS),
    sa.Column("labels", JSONB),
    sa.Column("creator_options", JSONB),
    sa.Column("request_id", sa.Text),
    # the content that it writes anew
    sa.Column("regenerates_content_id", sa.BigInteger),
    # no other open task of its account has it; and until when after its submit a submit returns it, open or not
    sa.Column("unique_key", sa.Text),
    sa.Column("unique_for_ms", sa.BigInteger),
    # the span that its attempts follow, as W3C Trace Context writes it
    sa.Column("traceparent", sa.Text),
    sa.Column("tracestate", sa.Text),
    postgresql_with={"toast_tuple_target": "8160"} | _GROWS,
)

task_labels = sa.Table(
    "task_labels",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    postgresql_with=_GROWS,
)

request_ids = sa.Table(
    "request_ids",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("task_key", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", BYTEA, nullable=False),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    # the row of `tasks` as it last stood, once the task was cleaned up
    sa.Column("cleaned_task", JSONB),
    sa.Index("request_ids_cleaned", "create_time", postgresql_where=sa.text("cleaned_task IS NOT NULL")),
    postgresql_with=_GROWS,
)

# Which task has a unique key: an open one, or the last one that had it. Until then it counts though it has ended.
unique_keys = sa.Table(
    "unique_keys",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("unique_key", sa.Text, primary_key=True),
    sa.Column("task_key", sa.BigInteger, nullable=False),
    sa.Column("until", TIME, nullable=False),
    sa.Index("unique_keys_by_task", "task_key", unique=True),
)

shares = sa.Table(
    "shares",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("priority", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("finish", DOUBLE_PRECISION, nullable=False),
    # of the last tasks that became ready, how many got a tag: so the statement that decides it can say so
    sa.Column("tagged", sa.Integer, nullable=False, server_default="0"),
    # some wait without a tag: no later one may overtake them
    sa.Column("backlog", sa.Boolean, nullable=False, server_default=sa.false()),
    # the account has a limit or is paused: tasks that become ready get no tag until admission gives them one
    sa.Column("closed", sa.Boolean, nullable=False, server_default=sa.false()),
    # a claim that takes this tag, or a later one, says that the window wants more (-Infinity: starts are to be counted)
    sa.Column("refill", DOUBLE_PRECISION),
    sa.Index("shares_finish", "priority", "finish"),
    postgresql_with={"fillfactor": "50"},
)

_TAGGED = sa.text("tag IS NOT NULL")
_EXPIRES = sa.text("expire_time IS NOT NULL")

ready = sa.Table(
    "ready",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("tag", DOUBLE_PRECISION),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("timeout_ms", sa.BigInteger, nullable=False),
    # how high it competes may rise with the wait since then; its priority stays
    sa.Column("ready_time", TIME, nullable=False, server_default=NOW),
    # only while no attempt of the task has begun: when it is cancelled
    sa.Column("expire_time", TIME),
    sa.CheckConstraint("attempt > 0", "attempt"),
    sa.Index("ready_expiry", "expire_time", "task_key", postgresql_where=_EXPIRES),
    sa.Index("ready_order", sa.text("priority DESC"), "tag", "task_key", postgresql_where=_TAGGED),
    sa.Index("ready_tags", "account_id", "priority", "tag", postgresql_where=_TAGGED),
    sa.Index("ready_backlog", "account_id", "priority", "task_key", postgresql_where=sa.text("tag IS NULL")),
    postgresql_with=_CHURN,
)

# Of each account with `max_starts_per_minute`: what has started within the last minute, as far as it is counted.
start_quotas = sa.Table(
    "start_quotas",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    # its tasks with a tag when its starts were last counted: what has lost it since, and was not cancelled, has started
    sa.Column("tagged", sa.Integer, nullable=False),
    # oldest first: so many starts, none of them later than that
    sa.Column("times", ARRAY(TIME), nullable=False),
    sa.Column("counts", ARRAY(sa.Integer), nullable=False),
    sa.CheckConstraint("cardinality(times) = cardinality(counts)", "starts"),
)

# Nothing of a priority that can be claimed has a lower tag; none: a priority that never had a floor.
ready_floors = sa.Table(
    "ready_floors",
    metadata,
    sa.Column("priority", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("tag", DOUBLE_PRECISION, nullable=False),
    postgresql_with={"fillfactor": "50"},
)

# Dispatch is paused for these accounts; account 0: for all.
pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
)

delayed = sa.Table(
    "delayed",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("tag", DOUBLE_PRECISION),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("timeout_ms", sa.BigInteger, nullable=False),
    sa.Column("due_time", TIME, nullable=False),
    sa.Column("cause", sa.SmallInteger, nullable=False),
    # as of `ready`
    sa.Column("expire_time", TIME),
    sa.CheckConstraint("attempt > 0", "attempt"),
    sa.Index("delayed_expiry", "expire_time", "task_key", postgresql_where=_EXPIRES),
    sa.CheckConstraint(f"cause BETWEEN {SCHEDULED} AND {BARRED}", "cause"),
    sa.Index("delayed_due", "due_time", "task_key"),
    postgresql_with=_CHURN,
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("worker_id", sa.Text, nullable=False),
    sa.Column("status", sa.SmallInteger, nullable=False),
    sa.Column("revoked", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("named", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("tag", DOUBLE_PRECISION, nullable=False),
    sa.Column("timeout_ms", sa.BigInteger, nullable=False),
    sa.Column("claim_time", TIME, nullable=False),
    sa.Column("accept_time", TIME),
    sa.Column("start_time", TIME),
    sa.Column("expire_time", TIME, nullable=False),
    sa.Column("percent", sa.SmallInteger),
    sa.Column("step", sa.Text),
    sa.Column("message", sa.Text),
    sa.CheckConstraint(_among("status", Status.SUBMITTED, Status.PROCESSING), "status"),
    sa.CheckConstraint(
        f"(status = {Status.PROCESSING}) = (start_time IS NOT NULL)"
        " AND (start_time IS NULL OR accept_time IS NOT NULL)",
        "stage",
    ),
    sa.CheckConstraint("attempt > 0", "attempt"),
    sa.Index("leases_by_account", "account_id"),
    sa.Index("leases_by_worker", "worker_id", "task_key"),
    sa.Index("leases_revoked", "worker_id", postgresql_where=sa.text("revoked")),
    postgresql_with={"fillfactor": "50"} | _CHURN,
)

task_events = sa.Table(
    "task_events",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, primary_key=True, server_default=_NEXT_EVENT),
    sa.Column("previous_status", sa.SmallInteger, nullable=False),
    sa.Column("status", sa.SmallInteger, nullable=False),
    sa.Column("event_time", TIME, nullable=False, server_default=NOW),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("fence", sa.Integer),
    sa.Column("worker_id", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("message", sa.Text),
    # of moves back to pending: the retries consumed by then
    sa.Column("retry_count", sa.SmallInteger),
    sa.CheckConstraint(_legal_moves(), "legal_move"),
    sa.Index("task_events_by_seq", "seq"),
    postgresql_with=_GROWS,
)

# What the CLI printed in an attempt, written with the attempt's end. An attempt without output has no row.
attempt_logs = sa.Table(
    "attempt_logs",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("worker_id", sa.Text, nullable=False),
    sa.Column("end_time", TIME, nullable=False, server_default=NOW),
    sa.Column("stdout", sa.Text, nullable=False),
    sa.Column("stderr", sa.Text, nullable=False),
    sa.Column("stdout_truncated", sa.Boolean, nullable=False),
    sa.Column("stderr_truncated", sa.Boolean, nullable=False),
    sa.CheckConstraint("attempt > 0", "attempt"),
    postgresql_with=_GROWS,
)

# The highest number among the moves that were deleted with their tasks.
cleaned_events = sa.Table(
    "cleaned_events",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Index("cleaned_events_by_seq", "seq"),
)

# The statements that use the indexes of what is not approved, or waits, must spell these alike.
NOT_APPROVED = f"review_status <> {ReviewStatus.APPROVED}"
WAITS_FOR_REVIEW = f"review_status = {ReviewStatus.PENDING_REVIEW}"
_REVIEW_ORDER = ("create_time", "content_id")

contents = sa.Table(
    "contents",
    metadata,
    sa.Column("content_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("task_key", sa.BigInteger, nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("html_body", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("images", JSONB, nullable=False),
    sa.Column("word_count", sa.Integer, nullable=False),
    sa.Column("quality_score", DOUBLE_PRECISION),
    sa.Column("review_status", sa.SmallInteger, nullable=False),
    sa.Column("review_comment", sa.Text, nullable=False, server_default=""),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    # null: the first of the images
    sa.Column("cover_image", sa.Text),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    # another one with each change of texts or review; '1': never changed
    sa.Column("etag", sa.Text, nullable=False, server_default="1"),
    # who decided the review, and when; empty and null: nobody, or auto_approve
    sa.Column("reviewer", sa.Text, nullable=False, server_default=""),
    sa.Column("review_time", TIME),
    # who holds the review, and until when
    sa.Column("review_holder", sa.Text),
    sa.Column("review_claim_expire_time", TIME),
    # the approved content that was written in its place
    sa.Column("superseded_by_content_id", sa.BigInteger),
    # what the creator says of the run; null: nothing
    sa.Column("usage", JSONB),
    sa.Column("model", sa.Text),
    sa.CheckConstraint(_any_of("review_status", ReviewStatus), "review_status"),
    sa.CheckConstraint("content_id > 0", "content_id"),
    sa.Index("contents_by_account", "account_id", "content_id"),
    # what a claim of a review may take, in its order: one that no other index has
    sa.Index("contents_waiting", *_REVIEW_ORDER, postgresql_where=sa.text(WAITS_FOR_REVIEW)),
    sa.Index("contents_waiting_by_account", "account_id", *_REVIEW_ORDER, postgresql_where=sa.text(WAITS_FOR_REVIEW)),
    sa.Index(
        "contents_held",
        "review_holder",
        "review_claim_expire_time",
        postgresql_where=sa.text("review_holder IS NOT NULL"),
    ),
    # of code before schema 0017: a later one may drop it
    sa.Index("contents_to_review", "account_id", "content_id", postgresql_where=sa.text(NOT_APPROVED)),
    sa.Index("contents_by_review", "review_status", "content_id", postgresql_where=sa.text(NOT_APPROVED)),
    sa.Index(
        "contents_by_review_and_account",
        "review_status",
        "account_id",
        "content_id",
        postgresql_where=sa.text(NOT_APPROVED),
    ),
    postgresql_with={"toast_tuple_target": "8160"}
    | _GROWS,  # a body of a few KB stays inline: no compression, no second read
)


def _of_content(table: str) -> sa.Column[int]:
    """The content of a row, deleted with it also by a version that does not know the table."""
    key = sa.ForeignKey("contents.content_id", name=f"{table}_content_id_fkey", ondelete="CASCADE")
    return sa.Column("content_id", sa.BigInteger, key, primary_key=True, autoincrement=False)


# The texts of each content that was edited. The creator's is revision 1, which the first edit writes.
content_revisions = sa.Table(
    "content_revisions",
    metadata,
    _of_content("content_revisions"),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    # empty: the creator
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    *(sa.Column(name, sa.Text, nullable=False) for name in ContentTexts._fields),
    sa.CheckConstraint("number > 0", "number"),
)

# What a search looks up: see `store/contents/search.py`.
content_grams = sa.Table(
    "content_grams",
    metadata,
    _of_content("content_grams"),
    sa.Column("grams", ARRAY(sa.Integer), nullable=False),
    sa.Index("content_grams_by_gram", "grams", postgresql_using="gin"),
)

# Up to which id all contents are in it.
search_index = sa.Table(
    "search_index",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("indexed_to", sa.BigInteger, nullable=False),
    sa.CheckConstraint('"only"', "only"),
)

_SHA256 = "sha256 ~ '^[0-9a-f]{64}$'"

# Files that contents name. A row is there before its object, and complete once the object is durable: only then may a
# content name it. What no content names is first made incomplete, then deleted with its object (application/assets).
assets = sa.Table(
    "assets",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("complete", sa.Boolean, nullable=False, server_default=sa.false()),
    # when it was last uploaded, or the last content that named it was deleted
    sa.Column("touch_time", TIME, nullable=False, server_default=NOW),
    sa.Column("media_type", sa.Text, nullable=False, server_default=""),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.CheckConstraint(_SHA256, "sha256"),
    sa.CheckConstraint("size > 0", "size"),
    sa.Index("assets_incomplete", "touch_time", postgresql_where=sa.text("NOT complete")),
    postgresql_with={"fillfactor": "80"},
)

# Which assets count for which account (application/assets/quotas.py). No foreign key: a version that does
# not know the table deletes assets.
account_assets = sa.Table(
    "account_assets",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    # when it was last uploaded for the account
    sa.Column("upload_time", TIME, nullable=False, server_default=NOW),
    sa.CheckConstraint("size > 0", "size"),
)

# Their bytes.
asset_usage = sa.Table(
    "asset_usage",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.CheckConstraint("bytes >= 0", "bytes"),
)

# The id of the store that the assets are in; null until the first one is stored.
asset_store = sa.Table(
    "asset_store",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("store_id", sa.Text),
    sa.CheckConstraint('"only"', "only"),
)

# What a result names, in its order: stored, or left out for a reason.
content_assets = sa.Table(
    "content_assets",
    metadata,
    _of_content("content_assets"),
    sa.Column("position", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, sa.ForeignKey("assets.sha256", name="content_assets_sha256_fkey")),
    sa.Column("reason", sa.Text),
    sa.CheckConstraint("(sha256 IS NULL) = (reason IS NOT NULL)", "stored"),
    sa.Index("content_assets_by_asset", "sha256", "account_id", postgresql_where=sa.text("sha256 IS NOT NULL")),
)

# The statements on the pool and its indexes must spell these alike.
PUBLISHABLE = f"status IN ({PublishStatus.PENDING}, {PublishStatus.PUBLISHING})"
PUBLISH_TIME = "coalesce(claim_expire_time, schedule_time, '-infinity')"
AWAITS_RETRY = "next_attempt_time IS NOT NULL"
_PLACE = (sa.text("priority DESC"), "content_id")
_CLAIM_ORDER = (*_PLACE, sa.text(PUBLISH_TIME))
# What has been claimed, but for what waits for its retry. No entry is among these when its task completes.
_MOVED_ON = sa.text(f"status <> {PublishStatus.PENDING} AND next_attempt_time IS NULL")

publish_pool = sa.Table(
    "publish_pool",
    metadata,
    sa.Column("content_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("schedule_time", TIME),
    sa.Column("status", sa.SmallInteger, nullable=False, server_default=str(PublishStatus.PENDING)),
    sa.Column("error", sa.Text, nullable=False, server_default=""),
    sa.Column("claim_id", sa.Text, nullable=False, server_default=""),
    sa.Column("claim_expire_time", TIME),
    # attempts that were reported since it came here, or since RetryPublish
    sa.Column("attempt_count", sa.SmallInteger, nullable=False, server_default="0"),
    # of a failed entry: when it is pending again. To the version before it is one that failed.
    sa.Column("next_attempt_time", TIME),
    sa.Column("published_url", sa.Text, nullable=False, server_default=""),
    # of the present claim, or of the last one if that expired
    sa.Column("publisher", sa.Text, nullable=False, server_default=""),
    sa.Column("claim_time", TIME),
    sa.CheckConstraint(_any_of("status", PublishStatus), "status"),
    sa.CheckConstraint(_PRIORITY, "priority"),
    sa.CheckConstraint(
        f"(status = {PublishStatus.PUBLISHING}) = (claim_expire_time IS NOT NULL)"
        f" AND (status <> {PublishStatus.PUBLISHING} OR claim_id <> '')",
        "claim",
    ),
    # only the lists of the version before read it
    sa.Index("publish_pool_by_account", "account_id", "content_id"),
    # what a claim may take, in its order; with the time within, what is not due costs no look at its row
    sa.Index("publish_pool_claims", *_CLAIM_ORDER, postgresql_where=sa.text(PUBLISHABLE)),
    sa.Index("publish_pool_claims_by_account", "account_id", *_CLAIM_ORDER, postgresql_where=sa.text(PUBLISHABLE)),
    sa.Index("publish_pool_retries", *_PLACE, "next_attempt_time", postgresql_where=sa.text(AWAITS_RETRY)),
    sa.Index(
        "publish_pool_retries_by_account",
        "account_id",
        *_PLACE,
        "next_attempt_time",
        postgresql_where=sa.text(AWAITS_RETRY),
    ),
    sa.Index("publish_pool_moved_on", "status", *_PLACE, postgresql_where=_MOVED_ON),
    sa.Index("publish_pool_moved_on_by_account", "account_id", "status", *_PLACE, postgresql_where=_MOVED_ON),
    postgresql_with=_GROWS,
)

# What publishers have reported of a content, in any of its entries. A claim that expired is no attempt.
publish_attempts = sa.Table(
    "publish_attempts",
    metadata,
    sa.Column("content_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("publisher", sa.Text, nullable=False),
    # null: the claim is of a scheduler of the version before
    sa.Column("start_time", TIME),
    sa.Column("end_time", TIME, nullable=False, server_default=NOW),
    sa.Column("published", sa.Boolean, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.CheckConstraint('"number" > 0', "number"),
    sa.CheckConstraint("NOT published OR error = ''", "error"),
    postgresql_with=_GROWS,
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("worker_id", sa.Text, primary_key=True),
    sa.Column("session_key", sa.BigInteger, nullable=False),
    sa.Column("folder_id", sa.Text, nullable=False),
    sa.Column("session_number", sa.Integer, nullable=False),
    sa.Column("process_id", sa.Text, nullable=False),
    sa.Column("hostname", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("labels", JSONB, nullable=False),
    sa.Column("creator_path", sa.Text, nullable=False),
    sa.Column("creator_version", sa.Text, nullable=False),
    sa.Column("scheduler_id", sa.Text, nullable=False),
    sa.Column("connected", sa.Boolean, nullable=False),
    sa.Column("draining", sa.Boolean, nullable=False),
    sa.Column("connect_time", TIME, nullable=False),
    sa.Column("heartbeat_time", TIME, nullable=False),
    sa.Column("desired_slots", sa.Integer),
    sa.Column("desired_drain", sa.Boolean, nullable=False),
    # the newest poll that it was asked for, and when; the newest that it has answered
    sa.Column("requested_poll", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("poll_time", TIME),
    sa.Column("answered_poll", sa.BigInteger, nullable=False, server_default="0"),
    # the name of the token that opened the session; empty: no tokens were asked
    sa.Column("identity", sa.Text, nullable=False, server_default=""),
    # since when it says that it is unhealthy, and why; null where it does not
    sa.Column("unhealthy_time", TIME),
    sa.Column("last_error", sa.Text),
    postgresql_with={"fillfactor": "50"},
)

reaper = sa.Table(
    "reaper",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("stamp", TIME, nullable=False, server_default=NOW),
    sa.Column("expire_not_before", TIME, nullable=False, server_default=NOW),
    sa.CheckConstraint('"only"', "only"),
)

# The schedulers, and how each of them stands.
replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("scheduler_id", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("start_time", TIME, nullable=False),
    sa.Column("heartbeat_time", TIME, nullable=False),
    sa.Column("serving", sa.Boolean, nullable=False),
    sa.Column("lanes", JSONB, nullable=False),
    # what else it says of itself: how far its clock is off, its settings
    sa.Column("traits", JSONB, nullable=False, server_default="{}"),
    postgresql_with={"fillfactor": "50"},
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("webhook_id", sa.BigInteger, sa.Identity(), primary_key=True),
    # whose events it gets; 0: those of all accounts
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("event_types", ARRAY(sa.Text), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
    # as many deliveries wait as may: no more are stored
    sa.Column("backlogged", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("secret", sa.Text, nullable=False),
    # the one before, while it is valid too
    sa.Column("previous_secret", sa.Text),
    sa.Column("previous_secret_expire_time", TIME),
    sa.Column("last_error", sa.Text, nullable=False, server_default=""),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    # deleted for callers; the row goes after its deliveries
    sa.Column("delete_time", TIME),
    sa.CheckConstraint("(previous_secret IS NULL) = (previous_secret_expire_time IS NULL)", "previous_secret"),
    sa.CheckConstraint("delete_time IS NULL OR NOT active", "deleted"),
    sa.Index("webhooks_by_account", "account_id", postgresql_where=sa.text("active")),
)

_PENDING = sa.text("next_attempt_time IS NOT NULL")

# One event for one webhook, stored in the transaction of the move. It outlives its task and its content: it holds all
# that is sent, and has a retention of its own.
webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("delivery_id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("webhook_id", sa.BigInteger, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    # the deliveries of a webhook about one task go out in order; null: a ping
    sa.Column("task_key", sa.BigInteger),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("data", JSONB, nullable=False),
    sa.Column("status", sa.SmallInteger, nullable=False, server_default=str(DeliveryStatus.PENDING)),
    sa.Column("attempt_count", sa.Integer, nullable=False, server_default="0"),
    # when it is due; while a replica tries it, when that replica's claim expires
    sa.Column("next_attempt_time", TIME),
    # no try begins after a failure that late
    sa.Column("expire_time", TIME, nullable=False),
    sa.Column("last_status_code", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("last_error", sa.Text, nullable=False, server_default=""),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column("end_time", TIME),
    sa.CheckConstraint(_any_of("status", DeliveryStatus), "status"),
    sa.CheckConstraint(f"(status = {DeliveryStatus.PENDING}) = (next_attempt_time IS NOT NULL)", "next_attempt"),
    sa.CheckConstraint(f"(status = {DeliveryStatus.PENDING}) = (end_time IS NULL)", "end_time"),
    # the statements that use these mention no column of another one's: see `store/webhooks/deliveries.py`
    sa.Index("webhook_deliveries_due", "webhook_id", "next_attempt_time", "delivery_id", postgresql_where=_PENDING),
    sa.Index("webhook_deliveries_of_task", "task_key", postgresql_where=_PENDING),
    # the same rows, in words that no statement of the hot path has: plans made on empty tables may take any index
    sa.Index("webhook_deliveries_expiring", "expire_time", postgresql_where=sa.text("end_time IS NULL")),
    sa.Index("webhook_deliveries_listed", "status", "webhook_id", "delivery_id"),
    sa.Index("webhook_deliveries_ended", "status", "end_time", postgresql_where=sa.text("end_time IS NOT NULL")),
    postgresql_with=_GROWS,
)

# By account and status (kind 1 to 7), and of what is ready (8). Account 0 has the sums over all accounts; a negative
# one is a day, counted from 1970-01-01 UTC, and has the pending tasks that are scheduled for it.
task_counts = sa.Table(
    "task_counts",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("n", sa.BigInteger, nullable=False),
    postgresql_with={"fillfactor": "50"},
)

count_deltas = sa.Table(
    "count_deltas",
    metadata,
    sa.Column("delta_id", sa.BigInteger, sa.Identity(cache=100), primary_key=True),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("n", sa.BigInteger, nullable=False),
    # the transaction that added it: deltas of those that had ended before the last fold are folded
    sa.Column("xact", sa.BigInteger, server_default=_OWN_TRANSACTION),
    sa.Index("count_deltas_by_kind", "account_id", "kind"),
    sa.Index("count_deltas_by_transaction", "account_id", "kind", "xact"),
    postgresql_with=_CHURN,
)

# Every delta of an older transaction is folded.
count_floor = sa.Table(
    "count_floor",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("xact", sa.BigInteger, nullable=False),
    sa.CheckConstraint('"only"', "only"),
    postgresql_with={"fillfactor": "50"},
)

# What happened to tasks, by account (0: all), hour or day, and kind: see `domain/rollup.py`.
task_rollups = sa.Table(
    "task_rollups",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("resolution", sa.SmallInteger, primary_key=True, autoincrement=False),
    # the beginning of the hour or day, in UTC
    sa.Column("time", TIME, primary_key=True),
    sa.Column("kind", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("n", DOUBLE_PRECISION, nullable=False),
    sa.CheckConstraint(_any_of("resolution", Resolution), "resolution"),
    sa.Index("task_rollups_by_time", "resolution", "time"),
    postgresql_with={"fillfactor": "50"},
)

# What a transaction adds: a row an account, so that there is little to fold.
rollup_deltas = sa.Table(
    "rollup_deltas",
    metadata,
    sa.Column("delta_id", sa.BigInteger, sa.Identity(cache=100), primary_key=True),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("hour", TIME, nullable=False, server_default=sa.text("date_trunc('hour', now(), 'UTC')")),
    sa.Column("kinds", ARRAY(sa.SmallInteger), nullable=False),
    sa.Column("numbers", ARRAY(DOUBLE_PRECISION), nullable=False),
    postgresql_with=_CHURN,
)

schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("schedule_id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("cron", sa.Text, nullable=False),
    sa.Column("time_zone", sa.Text, nullable=False),
    # the submit of each tick, a message of the API
    sa.Column("template", BYTEA, nullable=False),
    sa.Column("catch_up", sa.SmallInteger, nullable=False),
    sa.Column("overlap", sa.SmallInteger, nullable=False),
    sa.Column("jitter", INTERVAL, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
    # the first tick that is still to be decided, and when it is due; null while it is paused, and where none follows
    sa.Column("next_tick", TIME),
    sa.Column("due_time", TIME),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column("last_run_time", TIME),
    sa.Column("last_task_key", sa.BigInteger),
    sa.Column("last_error", sa.Text, nullable=False, server_default=""),
    sa.CheckConstraint(_any_of("catch_up", CatchUp), "catch_up"),
    sa.CheckConstraint(_any_of("overlap", Overlap), "overlap"),
    sa.CheckConstraint(
        "(next_tick IS NULL) = (due_time IS NULL) AND (next_tick IS NULL OR NOT paused AND due_time >= next_tick)",
        "due",
    ),
    sa.CheckConstraint("(last_run_time IS NULL) = (last_task_key IS NULL)", "last_run"),
    sa.Index("schedules_by_account", "account_id", "schedule_id"),
    sa.Index("schedules_by_due_time", "due_time", "schedule_id", postgresql_where=sa.text("due_time IS NOT NULL")),
    postgresql_with={"fillfactor": "80"},
)

# The tasks that schedules submitted, as long as the tasks are there. A tick has one at most; RunSchedule has no tick.
schedule_tasks = sa.Table(
    "schedule_tasks",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("schedule_id", sa.BigInteger, nullable=False),
    sa.Column("tick", TIME),
    sa.Index("schedule_tasks_by_tick", "schedule_id", "tick", unique=True),
    sa.Index("schedule_tasks_by_schedule", "schedule_id", "task_key"),
)

# The index of methods must be spelt like this by its statements. Submits are many, and seldom searched for.
SUBMITS = ("TaskService/SubmitTask", "TaskService/BatchSubmitTasks")
NO_SUBMIT = "method NOT IN ({})".format(", ".join(f"'{method}'" for method in SUBMITS))

# The calls that may have changed something. The key holds the time.
audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column("event_key", sa.BigInteger, primary_key=True, autoincrement=False),
    # the name of a token; empty: the call had no valid one
    sa.Column("actor", sa.Text, nullable=False),
    # 0: none, or not known
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.CheckConstraint("length(resource) <= 200", "resource"),
    sa.Index("audit_events_by_account", "account_id", "event_key"),
    sa.Index("audit_events_by_method", "method", "event_key", postgresql_where=sa.text(NO_SUBMIT)),
    postgresql_with=_GROWS,
)

import_sources = sa.Table(
    "import_sources",
    metadata,
    sa.Column("source_id", sa.SmallInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    # when an import from it began last
    sa.Column("import_time", TIME, nullable=False, server_default=NOW),
)

imported = sa.Table(
    "imported",
    metadata,
    sa.Column("source_id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("old_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("new_id", sa.BigInteger, nullable=False),
    sa.CheckConstraint(_any_of("kind", RowKind), "kind"),
)

# What a scheduler of an older version reads before it runs on a schema that it does not know: see `compatibility`.
compatibility = sa.Table(
    "compatibility",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("oldest_code", sa.Text, nullable=False),
    sa.Column("migrated_by", sa.Text, nullable=False),
    sa.CheckConstraint('"only"', "only"),
)
