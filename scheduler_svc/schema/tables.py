"""The tables. What is hot is narrow: `ready`, `delayed` and `leases` hold keys and numbers only, and a task's payload
is written once, apart from its state.

An open task is `pending` in `tasks` and stands in exactly one of `ready` (due; with a tag it may be claimed), `delayed`
(waits for a time) and `leases` (a worker has it; `leases.status` says submitted or processing). If each move updated a
column instead, every claim would rewrite the wide row, and its indexes would fill with dead entries. The price is a
join in each read (`tasks/sql/reads.py`). No foreign keys on the hot tables: each would cost a look-up a row, and rows
leave only through the subjects' statements. docs/state-machine.md shows the moves between these tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, INTERVAL, JSONB, TIMESTAMP

from scheduler_svc.domain.content import ContentTexts, PublishStatus, ReviewStatus
from scheduler_svc.domain.ids import SEQUENCE_BITS
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import MOVES, RUNNING, Status
from scheduler_svc.domain.old_rows import RowKind
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

_PRIORITY = f"priority BETWEEN {MIN_PRIORITY} AND {MAX_PRIORITY}"


def _among(column: str, *statuses: Status) -> str:
    return f"{column} IN ({', '.join(str(status) for status in statuses)})"


def _any_of(column: str, enum: type[IntEnum]) -> str:
    return f"{column} BETWEEN {min(enum)} AND {max(enum)}"


def _numbers(enum: Iterable[IntEnum]) -> str:
    """What the numbers of a column mean, such as `1 hour, 2 day`."""
    return ", ".join(f"{member} {member.name.lower()}" for member in sorted(enum))


def _legal_moves() -> str:
    """The transition table as a CHECK: two digits are quicker compared than pairs."""
    pairs = sorted(int(source) * 10 + int(target) for source, target in MOVES)
    return f"status BETWEEN 0 AND 9 AND previous_status * 10 + status IN ({', '.join(map(str, pairs))})"


accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, comment="For people."),
    sa.Column(
        "max_concurrent_tasks",
        sa.Integer,
        nullable=False,
        comment="How many of its tasks may be leased at a time; 0: any number.",
    ),
    sa.Column(
        "weight", DOUBLE_PRECISION, nullable=False, comment="Its share of the workers, relative to that of others."
    ),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true(), comment="Whether it may submit."),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column(
        "max_pending_tasks",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="How many of its tasks may wait; 0: any number.",
    ),
    sa.Column(
        "max_priority",
        sa.SmallInteger,
        nullable=False,
        server_default="0",
        comment="The highest priority that its submits may have; 0: any.",
    ),
    sa.Column(
        "max_starts_per_minute",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="How many of its tasks may start within a minute; 0: any number.",
    ),
    sa.Column(
        "max_asset_bytes",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="How many bytes of assets it may store; 0: any number.",
    ),
    sa.CheckConstraint("max_concurrent_tasks >= 0", "limit"),
    sa.Index("accounts_limited", "account_id", postgresql_where=sa.text("max_concurrent_tasks > 0")),
    sa.CheckConstraint("weight > 0 AND weight <= 1000", "weight"),
    comment="Who tasks are for: limits and weight of each tenant.",
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
    sa.Column(
        "status", sa.SmallInteger, nullable=False, comment=f"{_numbers(Status)}. Of an open task always pending."
    ),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("auto_approve", sa.Boolean, nullable=False, comment="Whether its content is approved without a review."),
    sa.Column("auto_retry", sa.Boolean, nullable=False, comment="Whether it runs again by itself after a failure."),
    sa.Column("max_retries", sa.SmallInteger, nullable=False, comment="Retries after failures, at most."),
    sa.Column(
        "retry_count", sa.SmallInteger, nullable=False, server_default="0", comment="Retries after failures, so far."
    ),
    sa.Column(
        "losses",
        sa.SmallInteger,
        nullable=False,
        server_default="0",
        comment="Attempts that were lost with their worker.",
    ),
    sa.Column("refusals", sa.SmallInteger, nullable=False, server_default="0", comment="Leases that workers refused."),
    sa.Column("timeout_ms", sa.BigInteger, nullable=False),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column("schedule_time", TIME, comment="No attempt begins earlier; null: at once."),
    sa.Column(
        "attempt",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment=(
            "The last lease that ended; 0: none. What may still come of it is decided by this, the fence and lease_end."
        ),
    ),
    sa.Column("fence", sa.Integer, comment="Of the last lease that ended."),
    sa.Column(
        "lease_end",
        sa.SmallInteger,
        nullable=False,
        server_default="0",
        comment=f"{_numbers(LeaseEnd)}: how the last lease ended.",
    ),
    sa.Column("worker_id", sa.Text, comment="Who had the last lease that ended."),
    sa.Column("submit_time", TIME, comment="When the last lease that ended was claimed."),
    sa.Column("start_time", TIME, comment="When the CLI of the last lease that ended started."),
    sa.Column("end_time", TIME, comment="When the task ended; null while it is open."),
    sa.Column("content_id", sa.BigInteger, comment="What it wrote."),
    sa.Column("error", JSONB, comment="Why the last attempt failed: reason, message, details."),
    sa.Column("deferrals", sa.SmallInteger, nullable=False, server_default="0", comment="Deferrals in a row."),
    sa.Column(
        "initial_backoff_ms",
        sa.BigInteger,
        comment="What the submit says of the wait before the first retry, in milliseconds; null: the default.",
    ),
    sa.Column(
        "backoff_multiplier",
        DOUBLE_PRECISION,
        comment="What the submit says of later waits, each so many times the one before; null: the default.",
    ),
    sa.Column(
        "max_backoff_ms",
        sa.BigInteger,
        comment="What the submit says of the longest of these waits, in milliseconds; null: the default.",
    ),
    sa.Column(
        "schedule_id", sa.BigInteger, comment="The schedule that submitted it; set with its row of schedule_tasks."
    ),
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
    sa.Index("tasks_by_account", "account_id", "status", "task_key"),
    sa.Index("tasks_by_status", "status", "task_key"),
    # what the retention looks at, and nothing that waits
    sa.Index("tasks_ended", "end_time", postgresql_where=sa.text("end_time IS NOT NULL")),
    # none, unless a replica's clock was wrong: lists of a time look at these and at a range of keys
    sa.Index("tasks_misdated", "create_time", "task_key", postgresql_where=sa.text(MISDATED)),
    postgresql_with={"fillfactor": "80"} | _GROWS,
    comment=(
        "A row a task: its status, counters and last ended lease. What runs or waits is in ready, delayed and leases."
    ),
)

task_payloads = sa.Table(
    "task_payloads",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, nullable=False, comment=f"The {name} of the brief.") for name in TEXTS),
    sa.Column("labels", JSONB, comment="Names and values, for lists."),
    sa.Column("creator_options", JSONB, comment="Passed to the CLI, as far as workers allow it."),
    sa.Column("request_id", sa.Text, comment="What the submit was called; one that is sent again gets this task."),
    sa.Column("regenerates_content_id", sa.BigInteger, comment="The content that it writes anew."),
    sa.Column("unique_key", sa.Text, comment="No other open task of its account has it."),
    sa.Column(
        "unique_for_ms",
        sa.BigInteger,
        comment="How long after its submit a submit with its unique key returns it, open or not, in milliseconds.",
    ),
    sa.Column("traceparent", sa.Text, comment="The span that its attempts follow, as W3C Trace Context writes it."),
    sa.Column("tracestate", sa.Text, comment="Of that span, as W3C Trace Context writes it."),
    postgresql_with={"toast_tuple_target": "8160"} | _GROWS,
    comment="What a task's submit says: written once, apart from its state.",
)

task_labels = sa.Table(
    "task_labels",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, comment="The label's name."),
    sa.Column("value", sa.Text, primary_key=True, comment="The label's value."),
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    postgresql_with=_GROWS,
    comment="The labels of tasks, for lists by label.",
)

request_ids = sa.Table(
    "request_ids",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("request_id", sa.Text, primary_key=True, comment="What the submit was called."),
    sa.Column("task_key", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", BYTEA, nullable=False, comment="Of the submit: another one by this id is refused."),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column("cleaned_task", JSONB, comment="The row of tasks as it last stood, once the task was cleaned up."),
    sa.Index("request_ids_cleaned", "create_time", postgresql_where=sa.text("cleaned_task IS NOT NULL")),
    postgresql_with=_GROWS,
    comment="The submits that named a request id: one that is sent again gets the same task.",
)

unique_keys = sa.Table(
    "unique_keys",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("unique_key", sa.Text, primary_key=True, comment="The key."),
    sa.Column("task_key", sa.BigInteger, nullable=False),
    sa.Column(
        "until", TIME, nullable=False, comment="Until when a submit with the key returns the task though it has ended."
    ),
    sa.Index("unique_keys_by_task", "task_key", unique=True),
    comment=(
        "Which task has a unique key: an open one, or the last one that had it. Until then it counts"
        " though it has ended."
    ),
)

shares = sa.Table(
    "shares",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("priority", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("finish", DOUBLE_PRECISION, nullable=False, comment="The tag that its last task got."),
    sa.Column(
        "tagged",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="Of the last tasks that became ready, how many got a tag: so the statement that decides it can say so.",
    ),
    sa.Column(
        "backlog",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="Whether some wait without a tag: no later one may overtake them.",
    ),
    sa.Column(
        "closed",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment=(
            "Whether the account has a limit or is paused: tasks that become ready get no tag until"
            " admission gives them one."
        ),
    ),
    sa.Column(
        "refill",
        DOUBLE_PRECISION,
        comment=(
            "A claim that takes this tag, or a later one, says that the window wants more; -Infinity:"
            " starts are to be counted."
        ),
    ),
    sa.Index("shares_finish", "priority", "finish"),
    postgresql_with={"fillfactor": "50"},
    comment="The fair order: what each account was last given of each priority.",
)

_TAGGED = sa.text("tag IS NOT NULL")
_EXPIRES = sa.text("expire_time IS NOT NULL")

ready = sa.Table(
    "ready",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column(
        "tag",
        DOUBLE_PRECISION,
        comment=(
            "Its place in the fair order: of a priority, the lowest is claimed first; null: it may not be claimed yet."
        ),
    ),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, comment="The number of the attempt that a claim begins."),
    sa.Column("timeout_ms", sa.BigInteger, nullable=False),
    sa.Column(
        "ready_time",
        TIME,
        nullable=False,
        server_default=NOW,
        comment="Since when it is ready. How high it competes may rise with the wait; its priority stays.",
    ),
    sa.Column("expire_time", TIME),
    sa.CheckConstraint("attempt > 0", "attempt"),
    sa.Index("ready_backlog", "account_id", "priority", "task_key", postgresql_where=sa.text("tag IS NULL")),
    sa.Index("ready_order", sa.text("priority DESC"), "tag", "task_key", postgresql_where=_TAGGED),
    sa.Index("ready_tags", "account_id", "priority", "tag", postgresql_where=_TAGGED),
    sa.Index("ready_expiry", "expire_time", "task_key", postgresql_where=_EXPIRES),
    postgresql_with=_CHURN,
    comment="The pending tasks that are due. With a tag one may be claimed; without, it waits for its account's turn.",
)

start_quotas = sa.Table(
    "start_quotas",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column(
        "tagged",
        sa.Integer,
        nullable=False,
        comment=(
            "Its tasks with a tag when its starts were last counted: what has lost it since, and was not"
            " cancelled, has started."
        ),
    ),
    sa.Column(
        "times",
        ARRAY(TIME),
        nullable=False,
        comment="Oldest first: as many starts as counts says, none of them later than that.",
    ),
    sa.Column("counts", ARRAY(sa.Integer), nullable=False, comment="How many starts, for each of the times."),
    sa.CheckConstraint("cardinality(times) = cardinality(counts)", "starts"),
    comment=(
        "Of each account with max_starts_per_minute: what has started within the last minute, as far as it is counted."
    ),
)

ready_floors = sa.Table(
    "ready_floors",
    metadata,
    sa.Column("priority", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("tag", DOUBLE_PRECISION, nullable=False, comment="Nothing that can be claimed has a lower one."),
    postgresql_with={"fillfactor": "50"},
    comment="Nothing of a priority that can be claimed has a lower tag; no row: a priority that never had a floor.",
)

pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The account; 0: all."),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    comment="The accounts for which dispatch is paused.",
)

delayed = sa.Table(
    "delayed",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("tag", DOUBLE_PRECISION, comment="The place that it had in the fair order, if it was ready before."),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, comment="The number of the attempt that comes next."),
    sa.Column("timeout_ms", sa.BigInteger, nullable=False),
    sa.Column("due_time", TIME, nullable=False, comment="When it becomes ready."),
    sa.Column(
        "cause",
        sa.SmallInteger,
        nullable=False,
        comment=(
            f"{SCHEDULED} its schedule time, {BACKOFF} the wait before a retry, {BARRED} a revoked lease"
            " that its worker has not let go of."
        ),
    ),
    sa.Column("expire_time", TIME),
    sa.CheckConstraint("attempt > 0", "attempt"),
    sa.CheckConstraint(f"cause BETWEEN {SCHEDULED} AND {BARRED}", "cause"),
    sa.Index("delayed_due", "due_time", "task_key"),
    sa.Index("delayed_expiry", "expire_time", "task_key", postgresql_where=_EXPIRES),
    postgresql_with=_CHURN,
    comment="The pending tasks that wait for a time.",
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("worker_id", sa.Text, nullable=False),
    sa.Column("status", sa.SmallInteger, nullable=False, comment=f"{_numbers(RUNNING)}."),
    sa.Column(
        "revoked",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="Whether it has ended for the task; the row stays until its worker has let go of it.",
    ),
    sa.Column(
        "named",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="Of a revoked lease: whether a later heartbeat has named it. It ends with the next one that does not.",
    ),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("tag", DOUBLE_PRECISION, nullable=False, comment="The place that the task had in the fair order."),
    sa.Column("timeout_ms", sa.BigInteger, nullable=False),
    sa.Column("claim_time", TIME, nullable=False, comment="When it was granted."),
    sa.Column("accept_time", TIME, comment="When a slot of the worker took it: the timeout runs from here."),
    sa.Column("start_time", TIME, comment="When the CLI started."),
    sa.Column("expire_time", TIME, nullable=False, comment="When it expires unless a heartbeat renews it."),
    sa.Column("percent", sa.SmallInteger, comment="Progress, 0 to 100."),
    sa.Column("step", sa.Text, comment="Progress: which step runs."),
    sa.Column("message", sa.Text, comment="Progress: what the CLI says."),
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
    comment="The tasks that a worker has: one row is one grant of one task.",
)

task_events = sa.Table(
    "task_events",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column(
        "seq", sa.BigInteger, primary_key=True, server_default=_NEXT_EVENT, comment="Its number among all moves."
    ),
    sa.Column(
        "previous_status",
        sa.SmallInteger,
        nullable=False,
        comment=f"{_numbers(Status)}: before the move; none: there was no task.",
    ),
    sa.Column("status", sa.SmallInteger, nullable=False, comment=f"{_numbers(Status)}: after the move."),
    sa.Column("event_time", TIME, nullable=False, server_default=NOW, comment="When it moved."),
    sa.Column("attempt", sa.Integer, nullable=False, comment="The attempt; 0: none had begun."),
    sa.Column("fence", sa.Integer),
    sa.Column("worker_id", sa.Text, comment="The worker of the attempt."),
    sa.Column("reason", sa.Text, nullable=False, comment="Why, in capitals."),
    sa.Column("message", sa.Text, comment="Why, for people."),
    sa.Column("retry_count", sa.SmallInteger, comment="Of moves back to pending: the retries consumed by then."),
    sa.CheckConstraint(_legal_moves(), "legal_move"),
    sa.Index("task_events_by_seq", "seq"),
    postgresql_with=_GROWS,
    comment="The history of each task: its moves from status to status.",
)

attempt_logs = sa.Table(
    "attempt_logs",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("worker_id", sa.Text, nullable=False),
    sa.Column("end_time", TIME, nullable=False, server_default=NOW, comment="When the attempt ended."),
    sa.Column("stdout", sa.Text, nullable=False, comment="The end of what the CLI wrote to its standard output."),
    sa.Column("stderr", sa.Text, nullable=False, comment="The end of what the CLI wrote to its standard error."),
    sa.Column("stdout_truncated", sa.Boolean, nullable=False, comment="Whether the beginning is missing."),
    sa.Column("stderr_truncated", sa.Boolean, nullable=False, comment="Whether the beginning is missing."),
    sa.CheckConstraint("attempt > 0", "attempt"),
    postgresql_with=_GROWS,
    comment="What the CLI printed in an attempt, written with the attempt's end. An attempt without output has no row.",
)

cleaned_events = sa.Table(
    "cleaned_events",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False, comment="The highest number."),
    sa.Index("cleaned_events_by_seq", "seq"),
    comment="The highest number among the moves that were deleted with their tasks.",
)

# The statements that use the indexes of what is not approved, or waits, must spell these alike.
NOT_APPROVED = f"review_status <> {ReviewStatus.APPROVED}"
WAITS_FOR_REVIEW = f"review_status = {ReviewStatus.PENDING_REVIEW}"
_REVIEW_ORDER = ("create_time", "content_id")

contents = sa.Table(
    "contents",
    metadata,
    sa.Column("content_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="Its number."),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("task_key", sa.BigInteger, nullable=False, unique=True, comment="The task that wrote it."),
    sa.Column("title", sa.Text, nullable=False, comment="The present title."),
    sa.Column("body", sa.Text, nullable=False, comment="The present text, in Markdown."),
    sa.Column("html_body", sa.Text, nullable=False, comment="The present text, in HTML."),
    sa.Column("summary", sa.Text, nullable=False, comment="The present summary."),
    sa.Column("category", sa.Text, nullable=False, comment="The present category."),
    sa.Column("images", JSONB, nullable=False, comment="What the creator says of images, as it says it."),
    sa.Column("word_count", sa.Integer, nullable=False, comment="Of the body."),
    sa.Column("quality_score", DOUBLE_PRECISION, comment="The creator's."),
    sa.Column("review_status", sa.SmallInteger, nullable=False, comment=f"{_numbers(ReviewStatus)}."),
    sa.Column("review_comment", sa.Text, nullable=False, server_default="", comment="The reviewer's."),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column("cover_image", sa.Text, comment="Null: the first of the images."),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1", comment="The number of the present texts."),
    sa.Column(
        "etag",
        sa.Text,
        nullable=False,
        server_default="1",
        comment='Another one with each change of texts or review; "1": never changed.',
    ),
    sa.Column(
        "reviewer",
        sa.Text,
        nullable=False,
        server_default="",
        comment="Who decided the review; empty: nobody, or auto_approve.",
    ),
    sa.Column("review_time", TIME, comment="When the review was decided; null: it was not, or by auto_approve."),
    sa.Column("review_holder", sa.Text, comment="Who has claimed the review."),
    sa.Column("review_claim_expire_time", TIME, comment="Until when the review is claimed."),
    sa.Column("superseded_by_content_id", sa.BigInteger, comment="The approved content that was written in its place."),
    sa.Column("usage", JSONB, comment="Tokens and costs, as the creator says; null: it says nothing."),
    sa.Column("model", sa.Text, comment="The language model, as the creator says; null: it says nothing."),
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
    comment="What completed tasks have written, and its review.",
)


def _of_content(table: str) -> sa.Column[int]:
    """The content of a row, deleted with it also by a version that does not know the table."""
    key = sa.ForeignKey("contents.content_id", name=f"{table}_content_id_fkey", ondelete="CASCADE")
    return sa.Column("content_id", sa.BigInteger, key, primary_key=True, autoincrement=False)


content_revisions = sa.Table(
    "content_revisions",
    metadata,
    _of_content("content_revisions"),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False, comment="From 1."),
    sa.Column("author", sa.Text, nullable=False, comment="Who edited; empty: the creator."),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    *(sa.Column(name, sa.Text, nullable=False, comment="Of this revision.") for name in ContentTexts._fields),
    sa.CheckConstraint("number > 0", "number"),
    comment="The texts of each content that was edited. The creator's is revision 1, which the first edit writes.",
)

content_grams = sa.Table(
    "content_grams",
    metadata,
    _of_content("content_grams"),
    sa.Column(
        "grams", ARRAY(sa.Integer), nullable=False, comment="Hashes of the pieces of its texts that a search looks for."
    ),
    sa.Index("content_grams_by_gram", "grams", postgresql_using="gin"),
    comment="What a search looks up: see contents/sql/search.py.",
)

search_index = sa.Table(
    "search_index",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("indexed_to", sa.BigInteger, nullable=False, comment="Up to which id all contents are in it."),
    sa.CheckConstraint('"only"', "only"),
    comment="How far the search index has come.",
)

_SHA256 = "sha256 ~ '^[0-9a-f]{64}$'"

assets = sa.Table(
    "assets",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False, comment="Bytes."),
    sa.Column(
        "complete",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="Whether the object is durable: only then may a content name it.",
    ),
    sa.Column(
        "touch_time",
        TIME,
        nullable=False,
        server_default=NOW,
        comment="When it was last uploaded, or the last content that named it was deleted.",
    ),
    sa.Column("media_type", sa.Text, nullable=False, server_default="", comment="Such as image/png; empty: not known."),
    sa.Column("width", sa.Integer, comment="Pixels; null: not known."),
    sa.Column("height", sa.Integer, comment="Pixels; null: not known."),
    sa.CheckConstraint(_SHA256, "sha256"),
    sa.CheckConstraint("size > 0", "size"),
    sa.Index("assets_incomplete", "touch_time", postgresql_where=sa.text("NOT complete")),
    postgresql_with={"fillfactor": "80"},
    comment=(
        "The files that contents name. A row is there before its object. What no content names is first"
        " made incomplete, then deleted with its object."
    ),
)

account_assets = sa.Table(
    "account_assets",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("size", sa.BigInteger, nullable=False, comment="Bytes."),
    sa.Column(
        "upload_time", TIME, nullable=False, server_default=NOW, comment="When it was last uploaded for the account."
    ),
    sa.CheckConstraint("size > 0", "size"),
    comment=(
        "Which assets count for which account. No foreign key: a version that does not know the table deletes assets."
    ),
)

asset_usage = sa.Table(
    "asset_usage",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("bytes", sa.BigInteger, nullable=False, comment="The sum of its assets' sizes."),
    sa.CheckConstraint("bytes >= 0", "bytes"),
    comment="The bytes of each account's assets.",
)

asset_store = sa.Table(
    "asset_store",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("store_id", sa.Text, comment="The id of the store; null until the first asset is stored."),
    sa.CheckConstraint('"only"', "only"),
    comment="Which store the assets are in.",
)

content_assets = sa.Table(
    "content_assets",
    metadata,
    _of_content("content_assets"),
    sa.Column(
        "position", sa.SmallInteger, primary_key=True, autoincrement=False, comment="Its place in the result, from 0."
    ),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False, comment="What the result calls it."),
    sa.Column(
        "sha256",
        sa.Text,
        sa.ForeignKey("assets.sha256", name="content_assets_sha256_fkey"),
        comment="The asset; null: it is not stored.",
    ),
    sa.Column("reason", sa.Text, comment="Why it is not stored."),
    sa.CheckConstraint("(sha256 IS NULL) = (reason IS NOT NULL)", "stored"),
    sa.Index("content_assets_by_asset", "sha256", "account_id", postgresql_where=sa.text("sha256 IS NOT NULL")),
    comment="The files that a result names, in its order: stored, or left out for a reason.",
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
    sa.Column("schedule_time", TIME, comment="It is not claimed earlier; null: at once."),
    sa.Column(
        "status",
        sa.SmallInteger,
        nullable=False,
        server_default=str(PublishStatus.PENDING),
        comment=f"{_numbers(PublishStatus)}.",
    ),
    sa.Column(
        "error",
        sa.Text,
        nullable=False,
        server_default="",
        comment="What the publisher said of the last failed attempt.",
    ),
    sa.Column(
        "claim_id",
        sa.Text,
        nullable=False,
        server_default="",
        comment="The present claim, or the last one: a report names it.",
    ),
    sa.Column("claim_expire_time", TIME, comment="Until when it is claimed; another publisher may have it then."),
    sa.Column(
        "attempt_count",
        sa.SmallInteger,
        nullable=False,
        server_default="0",
        comment="Attempts that were reported since it came here, or since RetryPublish.",
    ),
    sa.Column(
        "next_attempt_time",
        TIME,
        comment="Of a failed entry: when it is pending again. To the version before it is one that failed.",
    ),
    sa.Column("published_url", sa.Text, nullable=False, server_default="", comment="Where it was published."),
    sa.Column(
        "publisher",
        sa.Text,
        nullable=False,
        server_default="",
        comment="Who has the present claim, or had the last one if that expired.",
    ),
    sa.Column("claim_time", TIME, comment="When the present claim began, or the last one if that expired."),
    sa.CheckConstraint(_any_of("status", PublishStatus), "status"),
    sa.CheckConstraint(_PRIORITY, "priority"),
    sa.CheckConstraint(
        f"(status = {PublishStatus.PUBLISHING}) = (claim_expire_time IS NOT NULL)"
        f" AND (status <> {PublishStatus.PUBLISHING} OR claim_id <> '')",
        "claim",
    ),
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
    comment="The approved contents, for publishers to claim, and what became of them.",
)

publish_attempts = sa.Table(
    "publish_attempts",
    metadata,
    sa.Column("content_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False, comment="From 1."),
    sa.Column("publisher", sa.Text, nullable=False, comment="Who reported."),
    sa.Column(
        "start_time", TIME, comment="When its claim began; null: the claim is of a scheduler of the version before."
    ),
    sa.Column("end_time", TIME, nullable=False, server_default=NOW, comment="When it was reported."),
    sa.Column("published", sa.Boolean, nullable=False, comment="Whether it succeeded."),
    sa.Column("error", sa.Text, nullable=False, comment="Why it failed."),
    sa.CheckConstraint('"number" > 0', "number"),
    sa.CheckConstraint("NOT published OR error = ''", "error"),
    postgresql_with=_GROWS,
    comment="What publishers have reported of a content, in any of its entries. A claim that expired is no attempt.",
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("worker_id", sa.Text, primary_key=True, comment="Its name."),
    sa.Column("session_key", sa.BigInteger, nullable=False, comment="Its present session."),
    sa.Column(
        "folder_id", sa.Text, nullable=False, comment="Of its data folder: two workers of one name differ in it."
    ),
    sa.Column(
        "session_number",
        sa.Integer,
        nullable=False,
        comment="Counted on the worker's disk: an older one is of a stream that is gone.",
    ),
    sa.Column("process_id", sa.Text, nullable=False, comment="Another one with each start of its process."),
    sa.Column("hostname", sa.Text, nullable=False, comment="Its machine."),
    sa.Column("version", sa.Text, nullable=False, comment="Of contentgen."),
    sa.Column("slots", sa.Integer, nullable=False, comment="How many CLIs it runs at a time."),
    sa.Column("labels", JSONB, nullable=False, comment="Names and values that it says of itself; shown, never used."),
    sa.Column("creator_path", sa.Text, nullable=False, comment="The CLI."),
    sa.Column("creator_version", sa.Text, nullable=False, comment="What the CLI says of itself."),
    sa.Column("scheduler_id", sa.Text, nullable=False, comment="The scheduler that it is connected to, or was."),
    sa.Column("connected", sa.Boolean, nullable=False, comment="Whether its stream is open."),
    sa.Column("draining", sa.Boolean, nullable=False, comment="Whether it takes no leases."),
    sa.Column("connect_time", TIME, nullable=False, comment="When its session began."),
    sa.Column("heartbeat_time", TIME, nullable=False, comment="When its last heartbeat came."),
    sa.Column("desired_slots", sa.Integer, comment="How many slots it should have; null: as it says."),
    sa.Column("desired_drain", sa.Boolean, nullable=False, comment="Whether it should take no leases."),
    sa.Column(
        "requested_poll",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="The newest poll that it was asked for.",
    ),
    sa.Column("poll_time", TIME, comment="When that was."),
    sa.Column(
        "answered_poll",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="The newest poll that it has answered.",
    ),
    sa.Column(
        "identity",
        sa.Text,
        nullable=False,
        server_default="",
        comment="The name of the token that opened the session; empty: no tokens were asked.",
    ),
    sa.Column("unhealthy_time", TIME, comment="Since when it says that it is unhealthy; null: it is not."),
    sa.Column("last_error", sa.Text, comment="Why it is unhealthy; null: it is not."),
    postgresql_with={"fillfactor": "50"},
    comment="The workers: their session, what they say of themselves, and what is wanted of them.",
)

reaper = sa.Table(
    "reaper",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column(
        "stamp", TIME, nullable=False, server_default=NOW, comment="When a scheduler last looked for expired leases."
    ),
    sa.Column(
        "expire_not_before",
        TIME,
        nullable=False,
        server_default=NOW,
        comment="Nothing expires earlier: after an outage workers have a lease time to come back.",
    ),
    sa.CheckConstraint('"only"', "only"),
    comment="When expiry of leases last ran, and from when on it may expire any.",
)

replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("scheduler_id", sa.Text, primary_key=True, comment="Its name."),
    sa.Column("version", sa.Text, nullable=False, comment="Of contentgen."),
    sa.Column("start_time", TIME, nullable=False, comment="When it started."),
    sa.Column("heartbeat_time", TIME, nullable=False, comment="When it last wrote this row."),
    sa.Column("serving", sa.Boolean, nullable=False, comment="Whether its health is SERVING."),
    sa.Column("lanes", JSONB, nullable=False, comment="The state of its lanes, for GetSystem."),
    sa.Column(
        "traits",
        JSONB,
        nullable=False,
        server_default="{}",
        comment="What else it says of itself: how far its clock is off, its settings.",
    ),
    postgresql_with={"fillfactor": "50"},
    comment="The schedulers, and how each of them stands.",
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("webhook_id", sa.BigInteger, sa.Identity(), primary_key=True, comment="Its number."),
    sa.Column("account_id", sa.BigInteger, nullable=False, comment="Whose events it gets; 0: those of all accounts."),
    sa.Column("url", sa.Text, nullable=False, comment="Where they are sent."),
    sa.Column("event_types", ARRAY(sa.Text), nullable=False, comment="Which events it gets."),
    sa.Column(
        "active", sa.Boolean, nullable=False, server_default=sa.true(), comment="Whether events are stored and sent."
    ),
    sa.Column(
        "backlogged",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="Whether as many deliveries wait as may: no more are stored.",
    ),
    sa.Column("secret", sa.Text, nullable=False, comment="What deliveries are signed with."),
    sa.Column("previous_secret", sa.Text, comment="The secret before, while it is valid too."),
    sa.Column("previous_secret_expire_time", TIME, comment="How long the secret before is valid."),
    sa.Column(
        "last_error", sa.Text, nullable=False, server_default="", comment="Why the last try failed; empty: it did not."
    ),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column("delete_time", TIME, comment="Deleted for callers; the row goes after its deliveries."),
    sa.CheckConstraint("(previous_secret IS NULL) = (previous_secret_expire_time IS NULL)", "previous_secret"),
    sa.CheckConstraint("delete_time IS NULL OR NOT active", "deleted"),
    sa.Index("webhooks_by_account", "account_id", postgresql_where=sa.text("active")),
    comment="Where events are sent.",
)

_PENDING = sa.text("next_attempt_time IS NOT NULL")

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column(
        "delivery_id",
        sa.BigInteger,
        sa.Identity(),
        primary_key=True,
        comment="Its number: those of a webhook about one task go out in this order.",
    ),
    sa.Column("webhook_id", sa.BigInteger, nullable=False, comment="The webhook."),
    sa.Column("event_type", sa.Text, nullable=False, comment="Such as task.ended."),
    sa.Column("task_key", sa.BigInteger, comment="The task that it is about; null: a ping."),
    sa.Column(
        "message_id",
        sa.Text,
        nullable=False,
        comment="The same with each try: a receiver knows by it what it has already.",
    ),
    sa.Column("data", JSONB, nullable=False, comment="What is sent."),
    sa.Column(
        "status",
        sa.SmallInteger,
        nullable=False,
        server_default=str(DeliveryStatus.PENDING),
        comment=f"{_numbers(DeliveryStatus)}.",
    ),
    sa.Column("attempt_count", sa.Integer, nullable=False, server_default="0", comment="Tries so far."),
    sa.Column(
        "next_attempt_time",
        TIME,
        comment="When it is due; while a replica tries it, when that replica's claim expires; null: it has ended.",
    ),
    sa.Column("expire_time", TIME, nullable=False, comment="No try begins after a failure that late."),
    sa.Column(
        "last_status_code",
        sa.SmallInteger,
        nullable=False,
        server_default="0",
        comment="The HTTP status of the last try; 0: there was no answer.",
    ),
    sa.Column("last_error", sa.Text, nullable=False, server_default="", comment="Why the last try failed."),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column("end_time", TIME, comment="When it ended."),
    sa.CheckConstraint(_any_of("status", DeliveryStatus), "status"),
    sa.CheckConstraint(f"(status = {DeliveryStatus.PENDING}) = (next_attempt_time IS NOT NULL)", "next_attempt"),
    sa.CheckConstraint(f"(status = {DeliveryStatus.PENDING}) = (end_time IS NULL)", "end_time"),
    # the statements that use these mention no column of another one's: see `webhooks/sql.py`
    sa.Index("webhook_deliveries_due", "webhook_id", "next_attempt_time", "delivery_id", postgresql_where=_PENDING),
    sa.Index("webhook_deliveries_of_task", "task_key", postgresql_where=_PENDING),
    # the same rows, in words that no statement of the hot path has: plans made on empty tables may take any index
    sa.Index("webhook_deliveries_expiring", "expire_time", postgresql_where=sa.text("end_time IS NULL")),
    sa.Index("webhook_deliveries_listed", "status", "webhook_id", "delivery_id"),
    sa.Index("webhook_deliveries_ended", "status", "end_time", postgresql_where=sa.text("end_time IS NOT NULL")),
    postgresql_with=_GROWS,
    comment=(
        "One event for one webhook, stored in the transaction of the move. It outlives its task and its"
        " content: it holds all that is sent."
    ),
)

task_counts = sa.Table(
    "task_counts",
    metadata,
    sa.Column(
        "account_id",
        sa.BigInteger,
        primary_key=True,
        autoincrement=False,
        comment=(
            "The account; 0: the sums over all. A negative one is a day, counted from 1970-01-01 UTC, and"
            " has the pending tasks that are scheduled for it."
        ),
    ),
    sa.Column(
        "kind", sa.SmallInteger, primary_key=True, autoincrement=False, comment="1 to 7: a status; 8: what is ready."
    ),
    sa.Column("n", sa.BigInteger, nullable=False, comment="How many."),
    postgresql_with={"fillfactor": "50"},
    comment="Counted tasks: all deltas that are folded.",
)

count_deltas = sa.Table(
    "count_deltas",
    metadata,
    sa.Column("delta_id", sa.BigInteger, sa.Identity(cache=100), primary_key=True, comment="Its number."),
    sa.Column("account_id", sa.BigInteger, nullable=False, comment="As of task_counts."),
    sa.Column("kind", sa.SmallInteger, nullable=False, comment="As of task_counts."),
    sa.Column("n", sa.BigInteger, nullable=False, comment="How many more."),
    sa.Column(
        "xact",
        sa.BigInteger,
        server_default=_OWN_TRANSACTION,
        comment="The transaction that added it: deltas of those that had ended before the last fold are folded.",
    ),
    sa.Index("count_deltas_by_kind", "account_id", "kind"),
    sa.Index("count_deltas_by_transaction", "account_id", "kind", "xact"),
    postgresql_with=_CHURN,
    comment="What transactions add to the counts, until it is folded.",
)

count_floor = sa.Table(
    "count_floor",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("xact", sa.BigInteger, nullable=False, comment="Every delta of an older transaction is folded."),
    sa.CheckConstraint('"only"', "only"),
    postgresql_with={"fillfactor": "50"},
    comment="Up to which transaction all deltas are folded.",
)

task_rollups = sa.Table(
    "task_rollups",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The account; 0: all."),
    sa.Column("resolution", sa.SmallInteger, primary_key=True, autoincrement=False, comment=f"{_numbers(Resolution)}."),
    sa.Column("time", TIME, primary_key=True, comment="The beginning of the hour or day, in UTC."),
    sa.Column(
        "kind", sa.SmallInteger, primary_key=True, autoincrement=False, comment="What is counted: see domain/rollup.py."
    ),
    sa.Column("n", DOUBLE_PRECISION, nullable=False, comment="How many, or what they cost."),
    sa.CheckConstraint(_any_of("resolution", Resolution), "resolution"),
    sa.Index("task_rollups_by_time", "resolution", "time"),
    postgresql_with={"fillfactor": "50"},
    comment="What happened to tasks, by account, hour or day, and kind: see domain/rollup.py.",
)

rollup_deltas = sa.Table(
    "rollup_deltas",
    metadata,
    sa.Column("delta_id", sa.BigInteger, sa.Identity(cache=100), primary_key=True, comment="Its number."),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column(
        "hour",
        TIME,
        nullable=False,
        server_default=sa.text("date_trunc('hour', now(), 'UTC')"),
        comment="When, in UTC.",
    ),
    sa.Column("kinds", ARRAY(sa.SmallInteger), nullable=False, comment="What is counted, as of task_rollups."),
    sa.Column("numbers", ARRAY(DOUBLE_PRECISION), nullable=False, comment="How many more, for each of the kinds."),
    postgresql_with=_CHURN,
    comment="What a transaction adds to the rollups, until it is folded: a row an account.",
)

schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("schedule_id", sa.BigInteger, sa.Identity(), primary_key=True, comment="Its number."),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False, comment="For people."),
    sa.Column("cron", sa.Text, nullable=False, comment="When it ticks, as cron writes it."),
    sa.Column("time_zone", sa.Text, nullable=False, comment="In which cron is read."),
    sa.Column("template", BYTEA, nullable=False, comment="The submit of each tick, a message of the API."),
    sa.Column(
        "catch_up", sa.SmallInteger, nullable=False, comment=f"{_numbers(CatchUp)}: what becomes of missed ticks."
    ),
    sa.Column(
        "overlap",
        sa.SmallInteger,
        nullable=False,
        comment=f"{_numbers(Overlap)}: what a tick does while the last task is open.",
    ),
    sa.Column("jitter", INTERVAL, nullable=False, comment="How long after its tick a task is submitted, at most."),
    sa.Column("paused", sa.Boolean, nullable=False, comment="Whether it does nothing."),
    sa.Column(
        "next_tick",
        TIME,
        comment="The first tick that is still to be decided; null while it is paused, and where none follows.",
    ),
    sa.Column("due_time", TIME, comment="When that tick is due."),
    sa.Column("create_time", TIME, nullable=False, server_default=NOW),
    sa.Column("last_run_time", TIME, comment="When it last submitted."),
    sa.Column("last_task_key", sa.BigInteger, comment="The task that it last submitted."),
    sa.Column(
        "last_error",
        sa.Text,
        nullable=False,
        server_default="",
        comment="Why the last submit failed; empty: it did not.",
    ),
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
    comment="The schedules, which submit a task at each tick.",
)

schedule_tasks = sa.Table(
    "schedule_tasks",
    metadata,
    sa.Column("task_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("schedule_id", sa.BigInteger, nullable=False, comment="The schedule."),
    sa.Column("tick", TIME, comment="Which tick it was: one task at most; null: RunSchedule."),
    sa.Index("schedule_tasks_by_tick", "schedule_id", "tick", unique=True),
    sa.Index("schedule_tasks_by_schedule", "schedule_id", "task_key"),
    comment="The tasks that schedules submitted, as long as the tasks are there.",
)

# The index of methods must be spelt like this by its statements. Submits are many, and seldom searched for.
SUBMITS = ("TaskService/SubmitTask", "TaskService/BatchSubmitTasks")
NO_SUBMIT = "method NOT IN ({})".format(", ".join(f"'{method}'" for method in SUBMITS))

audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column(
        "event_key", sa.BigInteger, primary_key=True, autoincrement=False, comment="Its number, which holds its time."
    ),
    sa.Column("actor", sa.Text, nullable=False, comment="The name of a token; empty: the call had no valid one."),
    sa.Column(
        "account_id", sa.BigInteger, nullable=False, comment="The account that it is about; 0: none, or not known."
    ),
    sa.Column("method", sa.Text, nullable=False, comment="The call."),
    sa.Column("resource", sa.Text, nullable=False, comment="What it is about."),
    sa.Column("outcome", sa.Text, nullable=False, comment="OK, or the status and the reason of the error."),
    sa.CheckConstraint("length(resource) <= 200", "resource"),
    sa.Index("audit_events_by_account", "account_id", "event_key"),
    sa.Index("audit_events_by_method", "method", "event_key", postgresql_where=sa.text(NO_SUBMIT)),
    postgresql_with=_GROWS,
    comment="The calls that may have changed something.",
)

import_sources = sa.Table(
    "import_sources",
    metadata,
    sa.Column("source_id", sa.SmallInteger, sa.Identity(), primary_key=True, comment="Its number."),
    sa.Column("name", sa.Text, nullable=False, unique=True, comment="How the import called it."),
    sa.Column("import_time", TIME, nullable=False, server_default=NOW, comment="When an import from it began last."),
    comment="The databases of the old application that were imported.",
)

imported = sa.Table(
    "imported",
    metadata,
    sa.Column(
        "source_id", sa.SmallInteger, primary_key=True, autoincrement=False, comment="The database that it comes from."
    ),
    sa.Column("kind", sa.SmallInteger, primary_key=True, autoincrement=False, comment=f"{_numbers(RowKind)}."),
    sa.Column("old_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="Its id there."),
    sa.Column("new_id", sa.BigInteger, nullable=False, comment="Its number here."),
    sa.CheckConstraint(_any_of("kind", RowKind), "kind"),
    comment="Which row became which, so that an import that is run again skips it.",
)

schema_compatibility = sa.Table(
    "schema_compatibility",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("oldest_code", sa.Text, nullable=False, comment="The oldest revision whose code may run on the schema."),
    sa.Column("migrated_by", sa.Text, nullable=False, comment="The version of contentgen that made the schema."),
    sa.CheckConstraint('"only"', "only"),
    comment="What a scheduler of an older version reads before it runs on a schema that it does not know.",
)

for _table in metadata.tables.values():
    for _column in _table.columns:
        _column.comment = _column.comment or _COMMENTS[_column.name]

FIRST_ROWS = (
    "INSERT INTO reaper DEFAULT VALUES",
    "INSERT INTO count_floor (xact) VALUES (0)",
    "INSERT INTO search_index (indexed_to) VALUES (0)",
    "INSERT INTO asset_store (store_id) VALUES (NULL)",
)
"""What a new database holds: these tables have their one row from the start."""
