"""The tables. What is hot is narrow: `ready`, `delayed` and `leases` hold keys and numbers only, and a task's payload
is written once, apart from its state.

An open task is `pending` in `tasks` and stands in exactly one of `ready` (due; with a tag it may be claimed), `delayed`
(waits for a time) and `leases` (a worker has it; `leases.status` says submitted or processing). If each move updated a
column instead, every claim would rewrite the wide row, and its indexes would fill with dead entries. The price is a
join in each read (`tasks/sql/reads.py`). No foreign keys on the hot tables: each would cost a look-up a row, and rows
leave only through the subjects' statements. docs/reference/state-machine.md shows the moves between these tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, CheckConstraint, Integer, SmallInteger, Text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, INTERVAL, JSONB, TIMESTAMP

from scheduler_svc.domain.content import ContentTexts, PublishStatus, ReviewStatus
from scheduler_svc.domain.ids import SEQUENCE_BITS
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import PAIRS, RUNNING, Status
from scheduler_svc.domain.rollup import Resolution
from scheduler_svc.domain.schedule import CatchUp, Overlap
from scheduler_svc.domain.task import BACKOFF, BARRED, MAX_PRIORITY, MIN_PRIORITY, SCHEDULED, TEXTS
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


@sa.event.listens_for(sa.Index, "after_parent_attach")
def _number_index(index: sa.Index, table: sa.Table) -> None:
    """Keeps the order of a table's indexes, which a migration creates them in: of two that cost a plan the same,
    PostgreSQL takes the older one.
    """
    index.info["position"] = len(table.indexes)


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


_COMMENTS = {
    "account_id": "The account.",
    "attempt": "The number of the attempt, from 1.",
    "content_id": "The content.",
    "create_time": "When it was created.",
    "expire_time": "When the task is cancelled if none of its attempts has begun; null: never.",
    "fence": "A random number of the attempt's lease: a report that names another one changes nothing.",
    "only": "Always true: the table has one row.",
    "priority": f"{MAX_PRIORITY} is first, {MIN_PRIORITY} last.",
    "sha256": "The asset: the SHA-256 of its bytes, in hexadecimal.",
    "tag": "Its place in the fair order: of a priority, the lowest is claimed first.",
    "task_key": "The task: in hexadecimal its id without 'task-'. The upper bits are the time of the submit.",
    "timeout_ms": "Milliseconds that an attempt may run.",
    "worker_id": "The worker.",
}
"""Of columns that have none of their own."""

_Type: TypeAlias = "type[sa.types.TypeEngine[Any]] | sa.types.TypeEngine[Any]"


def _table(name: str, comment: str, *items: sa.schema.SchemaItem, storage: dict[str, str] | None = None) -> sa.Table:
    return sa.Table(name, metadata, *items, comment=comment, postgresql_with=storage or {})


def _column(name: str, type_: _Type, comment: str = "", *, default: Any = None, **options: Any) -> sa.Column[Any]:
    """Returns a column that is never null, unless `options` say otherwise."""
    options = {"nullable": False} | options
    return sa.Column(name, type_, server_default=default, comment=comment or _COMMENTS[name], **options)


def _optional(name: str, type_: _Type, comment: str = "", **options: Any) -> sa.Column[Any]:
    return _column(name, type_, comment, nullable=True, **options)


def _key(name: str, type_: _Type, comment: str = "", **options: Any) -> sa.Column[Any]:
    """Returns a column of the primary key."""
    return _column(name, type_, comment, primary_key=True, autoincrement=False, **options)


def _numbered(name: str, comment: str = "", *, type_: _Type = BigInteger, cache: int | None = None) -> sa.Column[Any]:
    """Returns a primary key that the database numbers."""
    return sa.Column(name, type_, sa.Identity(cache=cache), primary_key=True, comment=comment or _COMMENTS[name])


def _one_row() -> tuple[sa.Column[Any], sa.CheckConstraint]:
    """Returns what keeps a table at one row."""
    return _key("only", Boolean, default=sa.true()), CheckConstraint('"only"', "only")


def _index(name: str, *columns: str | sa.TextClause, where: str | None = None, unique: bool = False) -> sa.Index:
    condition = None if where is None else sa.text(where)
    return sa.Index(name, *columns, unique=unique, postgresql_where=condition)


_PRIORITY = f"priority BETWEEN {MIN_PRIORITY} AND {MAX_PRIORITY}"


def _among(column: str, *statuses: Status) -> str:
    return f"{column} IN ({', '.join(str(status) for status in statuses)})"


def _any_of(column: str, enum: type[IntEnum]) -> str:
    return f"{column} BETWEEN {min(enum)} AND {max(enum)}"


def _numbers(enum: Iterable[IntEnum]) -> str:
    """Returns what the numbers of a column mean, such as `1 hour, 2 day`."""
    return ", ".join(f"{member} {member.name.lower()}" for member in sorted(enum))


def _legal_moves() -> str:
    """Returns the transition table as a CHECK."""
    return f"status BETWEEN 0 AND 9 AND previous_status * 10 + status IN ({', '.join(map(str, sorted(PAIRS)))})"


accounts = _table(
    "accounts",
    "Who tasks are for: limits and weight of each tenant.",
    _numbered("account_id"),
    _column("name", Text, "For people."),
    _column("max_concurrent_tasks", Integer, "How many of its tasks may be leased at a time; 0: any number."),
    _column("weight", DOUBLE_PRECISION, "Its share of the workers, relative to that of others."),
    _column("active", Boolean, "Whether it may submit.", default=sa.true()),
    _column("create_time", TIME, default=NOW),
    _column("max_pending_tasks", Integer, "How many of its tasks may wait; 0: any number.", default="0"),
    _column("max_priority", SmallInteger, "The highest priority that its submits may have; 0: any.", default="0"),
    _column(
        "max_starts_per_minute", Integer, "How many of its tasks may start within a minute; 0: any number.", default="0"
    ),
    _column("max_asset_bytes", BigInteger, "How many bytes of assets it may store; 0: any number.", default="0"),
    CheckConstraint("max_concurrent_tasks >= 0", "limit"),
    _index("accounts_limited", "account_id", where="max_concurrent_tasks > 0"),
    CheckConstraint("weight > 0 AND weight <= 1000", "weight"),
)

MISDATED = f"""
    (create_time - to_timestamp((task_key >> {SEQUENCE_BITS})::double precision / 1000))
        NOT BETWEEN interval '-1 hour' AND interval '1 hour'
"""
"""The condition on tasks whose key has a time that differs by more than an hour from `create_time`, of the database."""

tasks = _table(
    "tasks",
    "A row a task: its status, counters and last ended lease. What runs or waits is in ready, delayed and leases.",
    _key("task_key", BigInteger),
    _column("account_id", BigInteger),
    _column("status", SmallInteger, f"{_numbers(Status)}. Of an open task always pending."),
    _column("priority", SmallInteger),
    _column("auto_approve", Boolean, "Whether its content is approved without a review."),
    _column("auto_retry", Boolean, "Whether it runs again by itself after a failure."),
    _column("max_retries", SmallInteger, "Retries after failures, at most."),
    _column("retry_count", SmallInteger, "Retries after failures, so far.", default="0"),
    _column("losses", SmallInteger, "Attempts that were lost with their worker.", default="0"),
    _column("refusals", SmallInteger, "Leases that workers refused.", default="0"),
    _column("timeout_ms", BigInteger),
    _column("create_time", TIME, default=NOW),
    _optional("schedule_time", TIME, "No attempt begins earlier; null: at once."),
    _column(
        "attempt",
        Integer,
        "The last lease that ended; 0: none. What may still come of it is decided by this, the fence and lease_end.",
        default="0",
    ),
    _optional("fence", Integer, "Of the last lease that ended."),
    _column("lease_end", SmallInteger, f"{_numbers(LeaseEnd)}: how the last lease ended.", default="0"),
    _optional("worker_id", Text, "Who had the last lease that ended."),
    _optional("submit_time", TIME, "When the last lease that ended was claimed."),
    _optional("start_time", TIME, "When the CLI of the last lease that ended started."),
    _optional("end_time", TIME, "When the task ended; null while it is open."),
    _optional("content_id", BigInteger, "What it wrote."),
    _optional("error", JSONB, "Why the last attempt failed: reason, message, details."),
    _column("deferrals", SmallInteger, "Deferrals in a row.", default="0"),
    _optional(
        "initial_backoff_ms",
        BigInteger,
        "What the submit says of the wait before the first retry, in milliseconds; null: the default.",
    ),
    _optional(
        "backoff_multiplier",
        DOUBLE_PRECISION,
        "What the submit says of later waits, each so many times the one before; null: the default.",
    ),
    _optional(
        "max_backoff_ms",
        BigInteger,
        "What the submit says of the longest of these waits, in milliseconds; null: the default.",
    ),
    _optional("schedule_id", BigInteger, "The schedule that submitted it; set with its row of schedule_tasks."),
    _optional("expire_time", TIME),
    CheckConstraint(
        _among("status", Status.PENDING, Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED), "status"
    ),
    CheckConstraint(_PRIORITY, "priority"),
    CheckConstraint("retry_count BETWEEN 0 AND max_retries", "retries"),
    CheckConstraint("timeout_ms >= 1000", "timeout"),
    CheckConstraint(f"(status = {Status.PENDING}) = (end_time IS NULL)", "end_time"),
    CheckConstraint(f"(status = {Status.COMPLETED}) = (content_id IS NOT NULL)", "content"),
    CheckConstraint(f"(attempt = 0) = (fence IS NULL) AND (attempt = 0) = (lease_end = {LeaseEnd.NONE})", "last_lease"),
    CheckConstraint(f"status <> {Status.COMPLETED} OR lease_end = {LeaseEnd.COMPLETED}", "completed_by_lease"),
    _index("tasks_by_account", "account_id", "status", "task_key"),
    _index("tasks_by_status", "status", "task_key"),
    # what the retention looks at, and nothing that waits
    _index("tasks_ended", "end_time", where="end_time IS NOT NULL"),
    # none, unless a replica's clock was wrong: lists of a time look at these and at a range of keys
    _index("tasks_misdated", "create_time", "task_key", where=MISDATED),
    storage={"fillfactor": "80"} | _GROWS,
)

task_payloads = _table(
    "task_payloads",
    "What a task's submit says: written once, apart from its state.",
    _key("task_key", BigInteger),
    *(_column(name, Text, f"The {name} of the brief.") for name in TEXTS),
    _optional("labels", JSONB, "Names and values, for lists."),
    _optional("creator_options", JSONB, "Passed to the CLI, as far as workers allow it."),
    _optional("request_id", Text, "What the submit was called; one that is sent again gets this task."),
    _optional("regenerates_content_id", BigInteger, "The content that it writes anew."),
    _optional("unique_key", Text, "No other open task of its account has it."),
    _optional(
        "unique_for_ms",
        BigInteger,
        "How long after its submit a submit with its unique key returns it, open or not, in milliseconds.",
    ),
    _optional("traceparent", Text, "The span that its attempts follow, as W3C Trace Context writes it."),
    _optional("tracestate", Text, "Of that span, as W3C Trace Context writes it."),
    storage={"toast_tuple_target": "8160"} | _GROWS,
)

task_labels = _table(
    "task_labels",
    "The labels of tasks, for lists by label.",
    _key("name", Text, "The label's name."),
    _key("value", Text, "The label's value."),
    _key("task_key", BigInteger),
    storage=_GROWS,
)

request_ids = _table(
    "request_ids",
    "The submits that named a request id: one that is sent again gets the same task.",
    _key("account_id", BigInteger),
    _key("request_id", Text, "What the submit was called."),
    _column("task_key", BigInteger),
    _column("fingerprint", BYTEA, "Of the submit: another one by this id is refused."),
    _column("create_time", TIME, default=NOW),
    _optional("cleaned_task", JSONB, "The row of tasks as it last stood, once the task was cleaned up."),
    _index("request_ids_cleaned", "create_time", where="cleaned_task IS NOT NULL"),
    storage=_GROWS,
)

unique_keys = _table(
    "unique_keys",
    "Which task has a unique key: an open one, or the last one that had it. Until then it counts though it has ended.",
    _key("account_id", BigInteger),
    _key("unique_key", Text, "The key."),
    _column("task_key", BigInteger),
    _column("until", TIME, "Until when a submit with the key returns the task though it has ended."),
    _index("unique_keys_by_task", "task_key", unique=True),
)

shares = _table(
    "shares",
    "The fair order: what each account was last given of each priority.",
    _key("account_id", BigInteger),
    _key("priority", SmallInteger),
    _column("finish", DOUBLE_PRECISION, "The tag that its last task got."),
    _column(
        "tagged",
        Integer,
        "Of the last tasks that became ready, how many got a tag: so the statement that decides it can say so.",
        default="0",
    ),
    _column("backlog", Boolean, "Whether some wait without a tag: no later one may overtake them.", default=sa.false()),
    _column(
        "closed",
        Boolean,
        "Whether the account has a limit or is paused: tasks that become ready get no tag until admission "
        "gives them one.",
        default=sa.false(),
    ),
    _optional(
        "refill",
        DOUBLE_PRECISION,
        "A claim that takes this tag, or a later one, says that the window wants more; -Infinity: starts are "
        "to be counted.",
    ),
    _index("shares_finish", "priority", "finish"),
    storage={"fillfactor": "50"},
)

_TAGGED = "tag IS NOT NULL"
_EXPIRES = "expire_time IS NOT NULL"

ready = _table(
    "ready",
    "The pending tasks that are due. With a tag one may be claimed; without, it waits for its account's turn.",
    _key("task_key", BigInteger),
    _column("priority", SmallInteger),
    _optional(
        "tag",
        DOUBLE_PRECISION,
        "Its place in the fair order: of a priority, the lowest is claimed first; null: it may not be claimed yet.",
    ),
    _column("account_id", BigInteger),
    _column("attempt", Integer, "The number of the attempt that a claim begins."),
    _column("timeout_ms", BigInteger),
    _column(
        "ready_time",
        TIME,
        "Since when it is ready. How high it competes may rise with the wait; its priority stays.",
        default=NOW,
    ),
    _optional("expire_time", TIME),
    CheckConstraint("attempt > 0", "attempt"),
    _index("ready_backlog", "account_id", "priority", "task_key", where="tag IS NULL"),
    _index("ready_order", sa.text("priority DESC"), "tag", "task_key", where=_TAGGED),
    _index("ready_tags", "account_id", "priority", "tag", where=_TAGGED),
    _index("ready_expiry", "expire_time", "task_key", where=_EXPIRES),
    storage=_CHURN,
)

start_quotas = _table(
    "start_quotas",
    "Of each account with max_starts_per_minute: what has started within the last minute, as far as it is counted.",
    _key("account_id", BigInteger),
    _column(
        "tagged",
        Integer,
        "Its tasks with a tag when its starts were last counted: what has lost it since, and was not "
        "cancelled, has started.",
    ),
    _column("times", ARRAY(TIME), "Oldest first: as many starts as counts says, none of them later than that."),
    _column("counts", ARRAY(Integer), "How many starts, for each of the times."),
    CheckConstraint("cardinality(times) = cardinality(counts)", "starts"),
)

ready_floors = _table(
    "ready_floors",
    "Nothing of a priority that can be claimed has a lower tag; no row: a priority that never had a floor.",
    _key("priority", SmallInteger),
    _column("tag", DOUBLE_PRECISION, "Nothing that can be claimed has a lower one."),
    storage={"fillfactor": "50"},
)

pauses = _table(
    "pauses",
    "The accounts for which dispatch is paused.",
    _key("account_id", BigInteger, "The account; 0: all."),
    _column("create_time", TIME, default=NOW),
)

delayed = _table(
    "delayed",
    "The pending tasks that wait for a time.",
    _key("task_key", BigInteger),
    _column("priority", SmallInteger),
    _optional("tag", DOUBLE_PRECISION, "The place that it had in the fair order, if it was ready before."),
    _column("account_id", BigInteger),
    _column("attempt", Integer, "The number of the attempt that comes next."),
    _column("timeout_ms", BigInteger),
    _column("due_time", TIME, "When it becomes ready."),
    _column(
        "cause",
        SmallInteger,
        f"{SCHEDULED} its schedule time, {BACKOFF} the wait before a retry, {BARRED} a revoked lease"
        " that its worker has not let go of.",
    ),
    _optional("expire_time", TIME),
    CheckConstraint("attempt > 0", "attempt"),
    CheckConstraint(f"cause BETWEEN {SCHEDULED} AND {BARRED}", "cause"),
    _index("delayed_due", "due_time", "task_key"),
    _index("delayed_expiry", "expire_time", "task_key", where=_EXPIRES),
    storage=_CHURN,
)

leases = _table(
    "leases",
    "The tasks that a worker has: one row is one grant of one task.",
    _key("task_key", BigInteger),
    _column("attempt", Integer),
    _column("fence", Integer),
    _column("worker_id", Text),
    _column("status", SmallInteger, f"{_numbers(RUNNING)}."),
    _column(
        "revoked",
        Boolean,
        "Whether it has ended for the task; the row stays until its worker has let go of it.",
        default=sa.false(),
    ),
    _column(
        "named",
        Boolean,
        "Of a revoked lease: whether a later heartbeat has named it. It ends with the next one that does not.",
        default=sa.false(),
    ),
    _column("account_id", BigInteger),
    _column("priority", SmallInteger),
    _column("tag", DOUBLE_PRECISION, "The place that the task had in the fair order."),
    _column("timeout_ms", BigInteger),
    _column("claim_time", TIME, "When it was granted."),
    _optional("accept_time", TIME, "When a slot of the worker took it: the timeout runs from here."),
    _optional("start_time", TIME, "When the CLI started."),
    _column("expire_time", TIME, "When it expires unless a heartbeat renews it."),
    _optional("percent", SmallInteger, "Progress, 0 to 100."),
    _optional("step", Text, "Progress: which step runs."),
    _optional("message", Text, "Progress: what the CLI says."),
    CheckConstraint(_among("status", Status.SUBMITTED, Status.PROCESSING), "status"),
    CheckConstraint(
        f"(status = {Status.PROCESSING}) = (start_time IS NOT NULL)"
        " AND (start_time IS NULL OR accept_time IS NOT NULL)",
        "stage",
    ),
    CheckConstraint("attempt > 0", "attempt"),
    _index("leases_by_account", "account_id"),
    _index("leases_by_worker", "worker_id", "task_key"),
    _index("leases_revoked", "worker_id", where="revoked"),
    storage={"fillfactor": "50"} | _CHURN,
)

task_events = _table(
    "task_events",
    "The history of each task: its moves from status to status.",
    _key("task_key", BigInteger),
    _key("seq", BigInteger, "Its number among all moves.", default=_NEXT_EVENT),
    _column("previous_status", SmallInteger, f"{_numbers(Status)}: before the move; none: there was no task."),
    _column("status", SmallInteger, f"{_numbers(Status)}: after the move."),
    _column("event_time", TIME, "When it moved.", default=NOW),
    _column("attempt", Integer, "The attempt; 0: none had begun."),
    _optional("fence", Integer),
    _optional("worker_id", Text, "The worker of the attempt."),
    _column("reason", Text, "Why, in capitals."),
    _optional("message", Text, "Why, for people."),
    _optional("retry_count", SmallInteger, "Of moves back to pending: the retries consumed by then."),
    CheckConstraint(_legal_moves(), "legal_move"),
    _index("task_events_by_seq", "seq"),
    storage=_GROWS,
)

attempt_logs = _table(
    "attempt_logs",
    "What the CLI printed in an attempt, written with the attempt's end. An attempt without output has no row.",
    _key("task_key", BigInteger),
    _key("attempt", Integer),
    _column("worker_id", Text),
    _column("end_time", TIME, "When the attempt ended.", default=NOW),
    _column("stdout", Text, "The end of what the CLI wrote to its standard output."),
    _column("stderr", Text, "The end of what the CLI wrote to its standard error."),
    _column("stdout_truncated", Boolean, "Whether the beginning is missing."),
    _column("stderr_truncated", Boolean, "Whether the beginning is missing."),
    CheckConstraint("attempt > 0", "attempt"),
    storage=_GROWS,
)

cleaned_events = _table(
    "cleaned_events",
    "The highest number among the moves that were deleted with their tasks.",
    _key("account_id", BigInteger),
    _column("seq", BigInteger, "The highest number."),
    _index("cleaned_events_by_seq", "seq"),
)

# The statements that use the indexes of what is not approved, or waits, must spell these alike.
NOT_APPROVED = f"review_status <> {ReviewStatus.APPROVED}"
WAITS_FOR_REVIEW = f"review_status = {ReviewStatus.PENDING_REVIEW}"
_REVIEW_ORDER = ("create_time", "content_id")

contents = _table(
    "contents",
    "What completed tasks have written, and its review.",
    _key("content_id", BigInteger, "Its number."),
    _column("account_id", BigInteger),
    _column("task_key", BigInteger, "The task that wrote it.", unique=True),
    _column("title", Text, "The present title."),
    _column("body", Text, "The present text, in Markdown."),
    _column("html_body", Text, "The present text, in HTML."),
    _column("summary", Text, "The present summary."),
    _column("category", Text, "The present category."),
    _column("images", JSONB, "What the creator says of images, as it says it."),
    _column("word_count", Integer, "Of the body."),
    _optional("quality_score", DOUBLE_PRECISION, "The creator's."),
    _column("review_status", SmallInteger, f"{_numbers(ReviewStatus)}."),
    _column("review_comment", Text, "The reviewer's.", default=""),
    _column("create_time", TIME, default=NOW),
    _optional("cover_image", Text, "Null: the first of the images."),
    _column("revision", Integer, "The number of the present texts.", default="1"),
    _column("etag", Text, 'Another one with each change of texts or review; "1": never changed.', default="1"),
    _column("reviewer", Text, "Who decided the review; empty: nobody, or auto_approve.", default=""),
    _optional("review_time", TIME, "When the review was decided; null: it was not, or by auto_approve."),
    _optional("review_holder", Text, "Who has claimed the review."),
    _optional("review_claim_expire_time", TIME, "Until when the review is claimed."),
    _optional("superseded_by_content_id", BigInteger, "The approved content that was written in its place."),
    _optional("usage", JSONB, "Tokens and costs, as the creator says; null: it says nothing."),
    _optional("model", Text, "The language model, as the creator says; null: it says nothing."),
    CheckConstraint(_any_of("review_status", ReviewStatus), "review_status"),
    CheckConstraint("content_id > 0", "content_id"),
    _index("contents_by_account", "account_id", "content_id"),
    # what a claim of a review may take, in its order: one that no other index has
    _index("contents_waiting", *_REVIEW_ORDER, where=WAITS_FOR_REVIEW),
    _index("contents_waiting_by_account", "account_id", *_REVIEW_ORDER, where=WAITS_FOR_REVIEW),
    _index("contents_held", "review_holder", "review_claim_expire_time", where="review_holder IS NOT NULL"),
    _index("contents_by_review", "review_status", "content_id", where=NOT_APPROVED),
    _index("contents_by_review_and_account", "review_status", "account_id", "content_id", where=NOT_APPROVED),
    storage={"toast_tuple_target": "8160"} | _GROWS,  # a body of a few KB stays inline: no compression, no second read
)


def _of_content(table: str) -> sa.Column[int]:
    """Returns the content of a row, deleted with it also by a version that does not know the table."""
    column = _key("content_id", BigInteger)
    column.append_foreign_key(sa.ForeignKey("contents.content_id", name=f"{table}_content_id_fkey", ondelete="CASCADE"))
    return column


content_revisions = _table(
    "content_revisions",
    "The texts of each content that was edited. The creator's is revision 1, which the first edit writes.",
    _of_content("content_revisions"),
    _key("number", Integer, "From 1."),
    _column("author", Text, "Who edited; empty: the creator."),
    _column("create_time", TIME, default=NOW),
    *(_column(name, Text, "Of this revision.") for name in ContentTexts._fields),
    CheckConstraint("number > 0", "number"),
)

content_grams = _table(
    "content_grams",
    "What a search looks up: see contents/sql/search.py.",
    _of_content("content_grams"),
    _column("grams", ARRAY(Integer), "Hashes of the pieces of its texts that a search looks for."),
    sa.Index("content_grams_by_gram", "grams", postgresql_using="gin"),
)

search_index = _table(
    "search_index",
    "How far the search index has come.",
    *_one_row(),
    _column("indexed_to", BigInteger, "Up to which id all contents are in it."),
)

_SHA256 = "sha256 ~ '^[0-9a-f]{64}$'"

assets = _table(
    "assets",
    "The files that contents name. A row is there before its object. What no content names is first made "
    "incomplete, then deleted with its object.",
    _key("sha256", Text),
    _column("size", BigInteger, "Bytes."),
    _column("complete", Boolean, "Whether the object is durable: only then may a content name it.", default=sa.false()),
    _column(
        "touch_time", TIME, "When it was last uploaded, or the last content that named it was deleted.", default=NOW
    ),
    _column("media_type", Text, "Such as image/png; empty: not known.", default=""),
    _optional("width", Integer, "Pixels; null: not known."),
    _optional("height", Integer, "Pixels; null: not known."),
    CheckConstraint(_SHA256, "sha256"),
    CheckConstraint("size > 0", "size"),
    _index("assets_incomplete", "touch_time", where="NOT complete"),
    storage={"fillfactor": "80"},
)

account_assets = _table(
    "account_assets",
    "Which assets count for which account. No foreign key: a version that does not know the table deletes assets.",
    _key("sha256", Text),
    _key("account_id", BigInteger),
    _column("size", BigInteger, "Bytes."),
    _column("upload_time", TIME, "When it was last uploaded for the account.", default=NOW),
    CheckConstraint("size > 0", "size"),
)

asset_usage = _table(
    "asset_usage",
    "The bytes of each account's assets.",
    _key("account_id", BigInteger),
    _column("bytes", BigInteger, "The sum of its assets' sizes."),
    CheckConstraint("bytes >= 0", "bytes"),
)

asset_store = _table(
    "asset_store",
    "Which store the assets are in.",
    *_one_row(),
    _optional("store_id", Text, "The id of the store; null until the first asset is stored."),
)

content_assets = _table(
    "content_assets",
    "The files that a result names, in its order: stored, or left out for a reason.",
    _of_content("content_assets"),
    _key("position", SmallInteger, "Its place in the result, from 0."),
    _column("account_id", BigInteger),
    _column("name", Text, "What the result calls it."),
    sa.Column(
        "sha256",
        Text,
        sa.ForeignKey("assets.sha256", name="content_assets_sha256_fkey"),
        comment="The asset; null: it is not stored.",
    ),
    _optional("reason", Text, "Why it is not stored."),
    CheckConstraint("(sha256 IS NULL) = (reason IS NOT NULL)", "stored"),
    _index("content_assets_by_asset", "sha256", "account_id", where="sha256 IS NOT NULL"),
)

# The statements on the pool and its indexes must spell these alike.
PUBLISHABLE = f"status IN ({PublishStatus.PENDING}, {PublishStatus.PUBLISHING})"
PUBLISH_TIME = "coalesce(claim_expire_time, schedule_time, '-infinity')"
AWAITS_RETRY = "next_attempt_time IS NOT NULL"
_PLACE = (sa.text("priority DESC"), "content_id")
_CLAIM_ORDER = (*_PLACE, sa.text(PUBLISH_TIME))
# What has been claimed, but for what waits for its retry. No entry is among these when its task completes.
_MOVED_ON = f"status <> {PublishStatus.PENDING} AND next_attempt_time IS NULL"

publish_pool = _table(
    "publish_pool",
    "The approved contents, for publishers to claim, and what became of them.",
    _key("content_id", BigInteger),
    _column("account_id", BigInteger),
    _column("priority", SmallInteger),
    _optional("schedule_time", TIME, "It is not claimed earlier; null: at once."),
    _column("status", SmallInteger, f"{_numbers(PublishStatus)}.", default=str(PublishStatus.PENDING)),
    _column("error", Text, "What the publisher said of the last failed attempt.", default=""),
    _column("claim_id", Text, "The present claim, or the last one: a report names it.", default=""),
    _optional("claim_expire_time", TIME, "Until when it is claimed; another publisher may have it then."),
    _column(
        "attempt_count",
        SmallInteger,
        "Attempts that were reported since it came here, or since RetryPublish.",
        default="0",
    ),
    _optional(
        "next_attempt_time",
        TIME,
        "Of a failed entry: when it is pending again. To the version before it is one that failed.",
    ),
    _column("published_url", Text, "Where it was published.", default=""),
    _column("publisher", Text, "Who has the present claim, or had the last one if that expired.", default=""),
    _optional("claim_time", TIME, "When the present claim began, or the last one if that expired."),
    CheckConstraint(_any_of("status", PublishStatus), "status"),
    CheckConstraint(_PRIORITY, "priority"),
    CheckConstraint(
        f"(status = {PublishStatus.PUBLISHING}) = (claim_expire_time IS NOT NULL)"
        f" AND (status <> {PublishStatus.PUBLISHING} OR claim_id <> '')",
        "claim",
    ),
    # what a claim may take, in its order; with the time within, what is not due costs no look at its row
    _index("publish_pool_claims", *_CLAIM_ORDER, where=PUBLISHABLE),
    _index("publish_pool_claims_by_account", "account_id", *_CLAIM_ORDER, where=PUBLISHABLE),
    _index("publish_pool_retries", *_PLACE, "next_attempt_time", where=AWAITS_RETRY),
    _index("publish_pool_retries_by_account", "account_id", *_PLACE, "next_attempt_time", where=AWAITS_RETRY),
    _index("publish_pool_moved_on", "status", *_PLACE, where=_MOVED_ON),
    _index("publish_pool_moved_on_by_account", "account_id", "status", *_PLACE, where=_MOVED_ON),
    storage=_GROWS,
)

publish_attempts = _table(
    "publish_attempts",
    "What publishers have reported of a content, in any of its entries. A claim that expired is no attempt.",
    _key("content_id", BigInteger),
    _key("number", Integer, "From 1."),
    _column("publisher", Text, "Who reported."),
    _optional("start_time", TIME, "When its claim began; null: the claim is of a scheduler of the version before."),
    _column("end_time", TIME, "When it was reported.", default=NOW),
    _column("published", Boolean, "Whether it succeeded."),
    _column("error", Text, "Why it failed."),
    CheckConstraint('"number" > 0', "number"),
    CheckConstraint("NOT published OR error = ''", "error"),
    storage=_GROWS,
)

workers = _table(
    "workers",
    "The workers: their session, what they say of themselves, and what is wanted of them.",
    _key("worker_id", Text, "Its name."),
    _column("session_key", BigInteger, "Its present session."),
    _column("folder_id", Text, "Of its data folder: two workers of one name differ in it."),
    _column("session_number", Integer, "Counted on the worker's disk: an older one is of a stream that is gone."),
    _column("process_id", Text, "Another one with each start of its process."),
    _column("hostname", Text, "Its machine."),
    _column("version", Text, "Of contentgen."),
    _column("slots", Integer, "How many CLIs it runs at a time."),
    _column("labels", JSONB, "Names and values that it says of itself; shown, never used."),
    _column("creator_path", Text, "The CLI."),
    _column("creator_version", Text, "What the CLI says of itself."),
    _column("scheduler_id", Text, "The scheduler that it is connected to, or was."),
    _column("connected", Boolean, "Whether its stream is open."),
    _column("draining", Boolean, "Whether it takes no leases."),
    _column("connect_time", TIME, "When its session began."),
    _column("heartbeat_time", TIME, "When its last heartbeat came."),
    _optional("desired_slots", Integer, "How many slots it should have; null: as it says."),
    _column("desired_drain", Boolean, "Whether it should take no leases."),
    _column("requested_poll", BigInteger, "The newest poll that it was asked for.", default="0"),
    _optional("poll_time", TIME, "When that was."),
    _column("answered_poll", BigInteger, "The newest poll that it has answered.", default="0"),
    _column(
        "identity", Text, "The name of the token that opened the session; empty: no tokens were asked.", default=""
    ),
    _optional("unhealthy_time", TIME, "Since when it says that it is unhealthy; null: it is not."),
    _optional("last_error", Text, "Why it is unhealthy; null: it is not."),
    storage={"fillfactor": "50"},
)

reaper = _table(
    "reaper",
    "When expiry of leases last ran, and from when on it may expire any.",
    *_one_row(),
    _column("stamp", TIME, "When a scheduler last looked for expired leases.", default=NOW),
    _column(
        "expire_not_before",
        TIME,
        "Nothing expires earlier: after an outage workers have a lease time to come back.",
        default=NOW,
    ),
)

replicas = _table(
    "replicas",
    "The schedulers, and how each of them stands.",
    _key("scheduler_id", Text, "Its name."),
    _column("version", Text, "Of contentgen."),
    _column("start_time", TIME, "When it started."),
    _column("heartbeat_time", TIME, "When it last wrote this row."),
    _column("serving", Boolean, "Whether its health is SERVING."),
    _column("lanes", JSONB, "The state of its lanes, for GetSystem."),
    _column("traits", JSONB, "What else it says of itself: how far its clock is off, its settings.", default="{}"),
    storage={"fillfactor": "50"},
)

webhooks = _table(
    "webhooks",
    "Where events are sent.",
    _numbered("webhook_id", "Its number."),
    _column("account_id", BigInteger, "Whose events it gets; 0: those of all accounts."),
    _column("url", Text, "Where they are sent."),
    _column("event_types", ARRAY(Text), "Which events it gets."),
    _column("active", Boolean, "Whether events are stored and sent.", default=sa.true()),
    _column("backlogged", Boolean, "Whether as many deliveries wait as may: no more are stored.", default=sa.false()),
    _column("secret", Text, "What deliveries are signed with."),
    _optional("previous_secret", Text, "The secret before, while it is valid too."),
    _optional("previous_secret_expire_time", TIME, "How long the secret before is valid."),
    _column("last_error", Text, "Why the last try failed; empty: it did not.", default=""),
    _column("create_time", TIME, default=NOW),
    _optional("delete_time", TIME, "Deleted for callers; the row goes after its deliveries."),
    CheckConstraint("(previous_secret IS NULL) = (previous_secret_expire_time IS NULL)", "previous_secret"),
    CheckConstraint("delete_time IS NULL OR NOT active", "deleted"),
    _index("webhooks_by_account", "account_id", where="active"),
)

_PENDING = "next_attempt_time IS NOT NULL"

webhook_deliveries = _table(
    "webhook_deliveries",
    "One event for one webhook, stored in the transaction of the move. It outlives its task and its "
    "content: it holds all that is sent.",
    _numbered("delivery_id", "Its number: those of a webhook about one task go out in this order."),
    _column("webhook_id", BigInteger, "The webhook."),
    _column("event_type", Text, "Such as task.ended."),
    _optional("task_key", BigInteger, "The task that it is about; null: a ping."),
    _column("message_id", Text, "The same with each try: a receiver knows by it what it has already."),
    _column("data", JSONB, "What is sent."),
    _column("status", SmallInteger, f"{_numbers(DeliveryStatus)}.", default=str(DeliveryStatus.PENDING)),
    _column("attempt_count", Integer, "Tries so far.", default="0"),
    _optional(
        "next_attempt_time",
        TIME,
        "When it is due; while a replica tries it, when that replica's claim expires; null: it has ended.",
    ),
    _column("expire_time", TIME, "No try begins after a failure that late."),
    _column("last_status_code", SmallInteger, "The HTTP status of the last try; 0: there was no answer.", default="0"),
    _column("last_error", Text, "Why the last try failed.", default=""),
    _column("create_time", TIME, default=NOW),
    _optional("end_time", TIME, "When it ended."),
    CheckConstraint(_any_of("status", DeliveryStatus), "status"),
    CheckConstraint(f"(status = {DeliveryStatus.PENDING}) = (next_attempt_time IS NOT NULL)", "next_attempt"),
    CheckConstraint(f"(status = {DeliveryStatus.PENDING}) = (end_time IS NULL)", "end_time"),
    # the statements that use these mention no column of another one's: see `webhooks/sql.py`
    _index("webhook_deliveries_due", "webhook_id", "next_attempt_time", "delivery_id", where=_PENDING),
    _index("webhook_deliveries_of_task", "task_key", where=_PENDING),
    # the same rows, in words that no statement of the hot path has: plans made on empty tables may take any index
    _index("webhook_deliveries_expiring", "expire_time", where="end_time IS NULL"),
    _index("webhook_deliveries_listed", "status", "webhook_id", "delivery_id"),
    _index("webhook_deliveries_ended", "status", "end_time", where="end_time IS NOT NULL"),
    storage=_GROWS,
)

task_counts = _table(
    "task_counts",
    "Counted tasks: all deltas that are folded.",
    _key(
        "account_id",
        BigInteger,
        "The account; 0: the sums over all. A negative one is a day, counted from 1970-01-01 UTC, and has the "
        "pending tasks that are scheduled for it.",
    ),
    _key("kind", SmallInteger, "1 to 7: a status; 8: what is ready."),
    _column("n", BigInteger, "How many."),
    storage={"fillfactor": "50"},
)

count_deltas = _table(
    "count_deltas",
    "What transactions add to the counts, until it is folded.",
    _numbered("delta_id", "Its number.", cache=100),
    _column("account_id", BigInteger, "As of task_counts."),
    _column("kind", SmallInteger, "As of task_counts."),
    _column("n", BigInteger, "How many more."),
    _optional(
        "xact",
        BigInteger,
        "The transaction that added it: deltas of those that had ended before the last fold are folded.",
        default=_OWN_TRANSACTION,
    ),
    _index("count_deltas_by_kind", "account_id", "kind"),
    _index("count_deltas_by_transaction", "account_id", "kind", "xact"),
    storage=_CHURN,
)

count_floor = _table(
    "count_floor",
    "Up to which transaction all deltas are folded.",
    *_one_row(),
    _column("xact", BigInteger, "Every delta of an older transaction is folded."),
    storage={"fillfactor": "50"},
)

task_rollups = _table(
    "task_rollups",
    "What happened to tasks, by account, hour or day, and kind: see domain/rollup.py.",
    _key("account_id", BigInteger, "The account; 0: all."),
    _key("resolution", SmallInteger, f"{_numbers(Resolution)}."),
    _key("time", TIME, "The beginning of the hour or day, in UTC."),
    _key("kind", SmallInteger, "What is counted: see domain/rollup.py."),
    _column("n", DOUBLE_PRECISION, "How many, or what they cost."),
    CheckConstraint(_any_of("resolution", Resolution), "resolution"),
    _index("task_rollups_by_time", "resolution", "time"),
    storage={"fillfactor": "50"},
)

rollup_deltas = _table(
    "rollup_deltas",
    "What a transaction adds to the rollups, until it is folded: a row an account.",
    _numbered("delta_id", "Its number.", cache=100),
    _column("account_id", BigInteger),
    _column("hour", TIME, "When, in UTC.", default=sa.text("date_trunc('hour', now(), 'UTC')")),
    _column("kinds", ARRAY(SmallInteger), "What is counted, as of task_rollups."),
    _column("numbers", ARRAY(DOUBLE_PRECISION), "How many more, for each of the kinds."),
    storage=_CHURN,
)

schedules = _table(
    "schedules",
    "The schedules, which submit a task at each tick.",
    _numbered("schedule_id", "Its number."),
    _column("account_id", BigInteger),
    _column("name", Text, "For people."),
    _column("cron", Text, "When it ticks, as cron writes it."),
    _column("time_zone", Text, "In which cron is read."),
    _column("template", BYTEA, "The submit of each tick, a message of the API."),
    _column("catch_up", SmallInteger, f"{_numbers(CatchUp)}: what becomes of missed ticks."),
    _column("overlap", SmallInteger, f"{_numbers(Overlap)}: what a tick does while the last task is open."),
    _column("jitter", INTERVAL, "How long after its tick a task is submitted, at most."),
    _column("paused", Boolean, "Whether it does nothing."),
    _optional(
        "next_tick",
        TIME,
        "The first tick that is still to be decided; null while it is paused, and where none follows.",
    ),
    _optional("due_time", TIME, "When that tick is due."),
    _column("create_time", TIME, default=NOW),
    _optional("last_run_time", TIME, "When it last submitted."),
    _optional("last_task_key", BigInteger, "The task that it last submitted."),
    _column("last_error", Text, "Why the last submit failed; empty: it did not.", default=""),
    CheckConstraint(_any_of("catch_up", CatchUp), "catch_up"),
    CheckConstraint(_any_of("overlap", Overlap), "overlap"),
    CheckConstraint(
        "(next_tick IS NULL) = (due_time IS NULL) AND (next_tick IS NULL OR NOT paused AND due_time >= next_tick)",
        "due",
    ),
    CheckConstraint("(last_run_time IS NULL) = (last_task_key IS NULL)", "last_run"),
    _index("schedules_by_account", "account_id", "schedule_id"),
    _index("schedules_by_due_time", "due_time", "schedule_id", where="due_time IS NOT NULL"),
    storage={"fillfactor": "80"},
)

schedule_tasks = _table(
    "schedule_tasks",
    "The tasks that schedules submitted, as long as the tasks are there.",
    _key("task_key", BigInteger),
    _column("schedule_id", BigInteger, "The schedule."),
    _optional("tick", TIME, "Which tick it was: one task at most; null: RunSchedule."),
    _index("schedule_tasks_by_tick", "schedule_id", "tick", unique=True),
    _index("schedule_tasks_by_schedule", "schedule_id", "task_key"),
)

# The index of methods must be spelt like this by its statements. Submits are many, and seldom searched for. Their RPCs
# are known by `awaited` of their rows, too; here they are named, since another one needs a migration.
SUBMITS = ("TaskService/SubmitTask", "TaskService/BatchSubmitTasks")
NO_SUBMIT = "method NOT IN ({})".format(", ".join(f"'{method}'" for method in SUBMITS))

audit_events = _table(
    "audit_events",
    "The calls that may have changed something.",
    _key("event_key", BigInteger, "Its number, which holds its time."),
    _column("actor", Text, "The name of a token; empty: the call had no valid one."),
    _column("account_id", BigInteger, "The account that it is about; 0: none, or not known."),
    _column("method", Text, "The call."),
    _column("resource", Text, "What it is about."),
    _column("outcome", Text, "OK, or the status and the reason of the error."),
    CheckConstraint("length(resource) <= 200", "resource"),
    _index("audit_events_by_account", "account_id", "event_key"),
    _index("audit_events_by_method", "method", "event_key", where=NO_SUBMIT),
    storage=_GROWS,
)

import_sources = _table(
    "import_sources",
    "The databases of the old application that were imported.",
    _numbered("source_id", "Its number.", type_=SmallInteger),
    _column("name", Text, "How the import called it.", unique=True),
    _column("import_time", TIME, "When an import from it began last.", default=NOW),
)

# The kinds are those of `RowKind` in old_application/old_rows.py.
imported = _table(
    "imported",
    "Which row became which, so that an import that is run again skips it.",
    _key("source_id", SmallInteger, "The database that it comes from."),
    _key("kind", SmallInteger, "1 account, 2 task, 3 content, 4 pool_entry."),
    _key("old_id", BigInteger, "Its id there."),
    _column("new_id", BigInteger, "Its number here."),
    CheckConstraint("kind BETWEEN 1 AND 4", "kind"),
)

schema_compatibility = _table(
    "schema_compatibility",
    "What a scheduler of an older version reads before it runs on a schema that it does not know.",
    *_one_row(),
    _column("oldest_code", Text, "The oldest revision whose code may run on the schema."),
    _column("migrated_by", Text, "The version of contentgen that made the schema."),
)

FIRST_ROWS = (
    "INSERT INTO reaper DEFAULT VALUES",
    "INSERT INTO count_floor (xact) VALUES (0)",
    "INSERT INTO search_index (indexed_to) VALUES (0)",
    "INSERT INTO asset_store (store_id) VALUES (NULL)",
)
"""What a new database holds: these tables have their one row from the start."""
