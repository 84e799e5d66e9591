"""The database refuses invalid rows: each CHECK and unique key is tested with raw SQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, INTERVAL, JSONB, TIMESTAMP

from scheduler_svc.domain.lifecycle import MOVES, Status
from scheduler_svc.schema.relations import relations

pytestmark = pytest.mark.integration

NOW = sa.text("now()")
_VALUES: dict[type[sa.types.TypeEngine[Any]], Any] = {
    ARRAY: [],
    BYTEA: b"",
    DOUBLE_PRECISION: 1.0,
    INTERVAL: timedelta(0),
    JSONB: {},
    TIMESTAMP: NOW,
    sa.BIGINT: 1,
    sa.BOOLEAN: False,
    sa.INTEGER: 1,
    sa.SMALLINT: 1,
    sa.TEXT: "",
}
_OWN: dict[str, dict[str, Any]] = {
    "tasks": {"timeout_ms": 1000},
    "leases": {"status": 2},
    "task_events": {"seq": 1, "previous_status": 0},
    "publish_attempts": {"error": "refused"},
    "schedule_tasks": {"tick": NOW},
    "assets": {"sha256": "a" * 64},
    "content_assets": {"sha256": "a" * 64},
    "webhook_deliveries": {"next_attempt_time": NOW},
}
"""What some tables' constraints ask for beyond that."""
TABLES = [table for table, columns in relations().columns.items() if "only" not in columns]
METADATA = sa.MetaData()
"""The tables, as the first test finds them."""
COMPLETED = {"status": 4, "end_time": NOW, "content_id": 1, "attempt": 1, "fence": 7, "lease_end": 1}
STARTED = {"status": 3, "accept_time": NOW, "start_time": NOW}
OF_CONTENTS = (
    *("content_revisions", "content_assets", "content_assignments", "content_comments", "content_grams"),
    "content_reviews",
)
"""Tables whose rows need a content, and are deleted with it."""
ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    *((table, {}) for table in TABLES if table not in OF_CONTENTS),
    ("accounts", {"weight": 1000.0}),
    ("ready", {"tag": 0.0}),  # without a tag it waits for its turn
    ("pauses", {"account_id": 0}),  # everything
    ("tasks", COMPLETED),
    ("tasks", {"status": 5, "end_time": NOW, "attempt": 2, "fence": 0, "lease_end": 2}),
    ("tasks", {"status": 7, "end_time": NOW}),  # cancelled before it was ever leased
    ("leases", {"accept_time": NOW}),
    ("leases", STARTED),
    ("publish_pool", {"status": 2, "claim_id": "c", "claim_expire_time": NOW}),
    ("publish_pool", {"status": 3, "claim_id": "c"}),
    ("schedules", {"next_tick": NOW, "due_time": NOW, "last_run_time": NOW, "last_task_key": 1}),
    ("schedules", {"paused": True}),
    ("schedule_tasks", {"tick": None}),  # by RunSchedule
    ("webhooks", {"previous_secret": "p", "previous_secret_expire_time": NOW}),
    ("webhooks", {"active": False, "delete_time": NOW}),
    ("webhooks", {"account_id": 0, "account_ids": [1]}),
    ("webhook_deliveries", {"status": 2, "next_attempt_time": None, "end_time": NOW}),
]
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("schedules", {"catch_up": 0}, "schedules_catch_up"),
    ("schedules", {"overlap": 3}, "schedules_overlap"),
    ("schedules", {"next_tick": NOW}, "schedules_due"),
    ("schedules", {"next_tick": NOW, "due_time": NOW, "paused": True}, "schedules_due"),
    ("schedules", {"next_tick": NOW, "due_time": sa.text("now() - interval '1 second'")}, "schedules_due"),
    ("schedules", {"last_task_key": 1}, "schedules_last_run"),
    ("accounts", {"max_concurrent_tasks": -1}, "accounts_limit"),
    ("accounts", {"weight": 0.0}, "accounts_weight"),
    ("accounts", {"weight": -1.0}, "accounts_weight"),
    ("accounts", {"weight": 1000.5}, "accounts_weight"),
    ("accounts", {"weight": float("nan")}, "accounts_weight"),
    ("accounts", {"max_cost_per_month": -1.0}, "accounts_budget"),
    ("accounts", {"budget_mode": 3}, "accounts_budget"),
    ("start_quotas", {"counts": [1]}, "start_quotas_starts"),
    ("deployment", {"only": True, "cell": 1_024}, "deployment_cell"),
    ("tasks", {"status": 0, "end_time": NOW}, "tasks_status"),
    ("tasks", {"status": 2, "end_time": NOW}, "tasks_status"),  # only its lease tells that it runs
    ("tasks", {"status": 3, "end_time": NOW}, "tasks_status"),
    ("tasks", {"status": 8, "end_time": NOW}, "tasks_status"),
    ("tasks", {"priority": 0}, "tasks_priority"),
    ("tasks", {"priority": 11}, "tasks_priority"),
    ("tasks", {"retry_count": 4}, "tasks_retries"),
    ("tasks", {"retry_count": -1}, "tasks_retries"),
    ("tasks", {"timeout_ms": 999}, "tasks_timeout"),
    ("tasks", {"end_time": NOW}, "tasks_end_time"),
    ("tasks", {"status": 5}, "tasks_end_time"),
    ("tasks", COMPLETED | {"content_id": None}, "tasks_content"),
    ("tasks", {"content_id": 1}, "tasks_content"),
    ("tasks", {"attempt": 1}, "tasks_last_lease"),
    ("tasks", {"fence": 7}, "tasks_last_lease"),
    ("tasks", {"attempt": 1, "fence": 7}, "tasks_last_lease"),
    ("tasks", {"lease_end": 2}, "tasks_last_lease"),
    ("tasks", COMPLETED | {"lease_end": 4}, "tasks_completed_by_lease"),
    ("ready", {"attempt": 0}, "ready_attempt"),
    ("delayed", {"attempt": 0}, "delayed_attempt"),
    ("delayed", {"cause": 0}, "delayed_cause"),
    ("delayed", {"cause": 4}, "delayed_cause"),
    ("leases", {"attempt": 0}, "leases_attempt"),
    ("leases", {"status": 1}, "leases_status"),
    ("leases", {"status": 4}, "leases_status"),
    ("leases", {"status": 3}, "leases_stage"),
    ("leases", {"start_time": NOW, "accept_time": NOW}, "leases_stage"),
    ("leases", {"status": 3, "start_time": NOW}, "leases_stage"),
    ("contents", {"review_status": 0}, "contents_review_status"),
    ("contents", {"review_status": 4}, "contents_review_status"),
    ("contents", {"content_id": 0}, "contents_content_id"),
    ("assets", {"sha256": "A" * 64}, "assets_sha256"),
    ("assets", {"sha256": "a" * 63}, "assets_sha256"),
    ("assets", {"size": 0}, "assets_size"),
    ("account_assets", {"size": 0}, "account_assets_size"),
    ("asset_usage", {"bytes": -1}, "asset_usage_bytes"),
    ("content_assets", {"sha256": None}, "content_assets_stored"),
    ("content_assets", {"reason": "NOT_FOUND"}, "content_assets_stored"),
    ("worker_selectors", {"selector_id": 0}, "worker_selectors_id"),
    ("worker_selectors", {"selector_id": 2_001}, "worker_selectors_id"),
    ("imported", {"kind": 0}, "imported_kind"),
    ("imported", {"kind": 5}, "imported_kind"),
    ("attempt_logs", {"attempt": 0}, "attempt_logs_attempt"),
    ("publish_attempts", {"number": 0}, "publish_attempts_number"),
    ("publish_attempts", {"published": True}, "publish_attempts_error"),
    ("content_revisions", {"number": 0}, "content_revisions_number"),
    ("content_comments", {"number": 0}, "content_comments_number"),
    ("content_reviews", {"number": 0}, "content_reviews_number"),
    ("content_reviews", {"review_status": 0}, "content_reviews_status"),
    ("content_reviews", {"review_status": 4}, "content_reviews_status"),
    ("publish_pool", {"status": 0}, "publish_pool_status"),
    ("publish_pool", {"status": 5}, "publish_pool_status"),
    ("publish_pool", {"priority": 0}, "publish_pool_priority"),
    ("publish_pool", {"priority": 11}, "publish_pool_priority"),
    ("publish_pool", {"status": 2, "claim_id": "c"}, "publish_pool_claim"),
    ("publish_pool", {"status": 2, "claim_expire_time": NOW}, "publish_pool_claim"),
    ("publish_pool", {"status": 1, "claim_id": "c", "claim_expire_time": NOW}, "publish_pool_claim"),
    ("audit_events", {"resource": "r" * 201}, "audit_events_resource"),
    ("audit_events", {"changes": "c" * 1_001}, "audit_events_changes"),
    ("task_rollups", {"resolution": 0}, "task_rollups_resolution"),
    ("task_rollups", {"resolution": 3}, "task_rollups_resolution"),
    ("webhooks", {"previous_secret": "p"}, "webhooks_previous_secret"),
    ("webhooks", {"delete_time": NOW}, "webhooks_deleted"),
    ("webhooks", {"account_id": 1, "account_ids": [1]}, "webhooks_channel"),
    ("webhook_deliveries", {"status": 0, "next_attempt_time": None, "end_time": NOW}, "webhook_deliveries_status"),
    ("webhook_deliveries", {"status": 4, "next_attempt_time": None, "end_time": NOW}, "webhook_deliveries_status"),
    ("webhook_deliveries", {"next_attempt_time": None}, "webhook_deliveries_next_attempt"),
    ("webhook_deliveries", {"status": 2, "end_time": NOW}, "webhook_deliveries_next_attempt"),
    ("webhook_deliveries", {"end_time": NOW}, "webhook_deliveries_end_time"),
]
# Two rows each: the second has these changes, and is refused nevertheless.
TWICE: list[tuple[str, dict[str, Any], str]] = [
    *((table, {}, f"{table}_pkey") for table in TABLES),
    ("unique_keys", {"unique_key": "v"}, "unique_keys_by_task"),
    ("contents", {"content_id": 2}, "contents_task_key_key"),  # a completed task has one content row
    ("schedule_tasks", {"task_key": 2}, "schedule_tasks_by_tick"),  # a tick has one task
    ("worker_selectors", {"selector_id": 2}, "worker_selectors_digest"),
    ("import_sources", {"source_id": 2}, "import_sources_name_key"),
]
PRIMARY_KEYS = {table: [columns[0]] for table, columns in relations().columns.items() if table in TABLES} | {
    "task_labels": ["name", "value", "task_key"],
    "request_ids": ["account_id", "request_id"],
    "unique_keys": ["account_id", "unique_key"],
    "shares": ["account_id", "priority"],
    "task_events": ["task_key", "seq"],
    "attempt_logs": ["task_key", "attempt"],
    "content_revisions": ["content_id", "number"],
    "content_comments": ["content_id", "number"],
    "content_reviews": ["content_id", "number"],
    "account_assets": ["sha256", "account_id"],
    "content_assets": ["content_id", "position"],
    "publish_attempts": ["content_id", "number"],
    "task_counts": ["account_id", "kind"],
    "task_rollups": ["account_id", "resolution", "time", "kind"],
    "imported": ["source_id", "kind", "old_id"],
}
"""Of most tables it is their first column."""


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        if not METADATA.tables:
            METADATA.reflect(connection)
        yield connection


def insert(connection: sa.Connection, name: str, changes: dict[str, Any]) -> None:
    """Inserts a row that is accepted, but for the changes that spoil it."""
    table = METADATA.tables[name]
    values = {
        column.name: _VALUES[type(column.type)]
        for column in table.columns
        if not column.nullable and (column.server_default is None or column.identity)
    }
    connection.execute(sa.insert(table).values(values | _OWN.get(name, {}) | changes))


def refused(connection: sa.Connection, table: str, changes: dict[str, Any]) -> str:
    """The constraint that refuses the row."""
    with pytest.raises(sa.exc.IntegrityError) as error, connection.begin_nested():
        insert(connection, table, changes)
    constraint: str = error.value.orig.diag.constraint_name  # type: ignore[union-attr]
    return constraint


def test_valid_rows_are_accepted(connection: sa.Connection) -> None:
    for table, changes in ACCEPTED:
        with connection.begin_nested() as savepoint:
            insert(connection, table, changes)
            savepoint.rollback()


def test_each_check_refuses_its_bad_row(connection: sa.Connection) -> None:
    refusals = [(table, changes, refused(connection, table, changes)) for table, changes, _ in REFUSED]
    assert refusals == REFUSED


def test_each_unique_key_refuses_a_second_row(connection: sa.Connection) -> None:
    for table in TABLES:
        insert(connection, table, {})
    refusals = [(table, changes, refused(connection, table, changes)) for table, changes, _ in TWICE]
    assert refusals == TWICE


def test_each_primary_key_has_these_columns_and_no_more(engine: sa.Engine) -> None:
    """A wider one would refuse the same row twice, too."""
    inspector = sa.inspect(engine)
    assert {table: inspector.get_pk_constraint(table)["constrained_columns"] for table in TABLES} == PRIMARY_KEYS


@pytest.mark.parametrize("previous", Status, ids=lambda status: status.label)
def test_the_history_accepts_only_legal_moves(connection: sa.Connection, previous: Status) -> None:
    for i, status in enumerate(Status):
        changes = {"seq": i, "previous_status": previous, "status": status}
        if (previous, status) in MOVES:
            insert(connection, "task_events", changes)
        else:
            assert refused(connection, "task_events", changes) == "task_events_legal_move"


@pytest.mark.parametrize(("previous", "status"), [(0, 51), (-1, 22), (5, -49), (7, 8), (10, 1)])
def test_the_history_refuses_numbers_that_are_no_states(connection: sa.Connection, previous: int, status: int) -> None:
    changes = {"previous_status": previous, "status": status}
    assert refused(connection, "task_events", changes) == "task_events_legal_move"


def test_an_event_s_number_needs_a_transaction_id(connection: sa.Connection) -> None:
    """Else watchers could not know that the number is not committed yet."""
    of_column = "(table_name, column_name) = ('task_events', 'seq')"
    query = sa.text(f"SELECT column_default FROM information_schema.columns WHERE {of_column}")
    default = connection.execute(query).scalar_one()
    assigned = sa.text("SELECT pg_current_xact_id_if_assigned()::text")
    connection.rollback()
    assert connection.execute(assigned).scalar_one() is None
    assert connection.execute(sa.text(f"SELECT {default}")).scalar_one() > 0
    assert connection.execute(assigned).scalar_one() is not None


ONE_ROW: dict[str, dict[str, Any]] = {
    "reaper": {},
    "count_floor": {"xact": 1},
    "search_index": {"indexed_to": 1},
    "asset_store": {},
    "deployment": {},
    "backups": {},
    "maintenance": {"until_time": sa.func.now(), "reason": ""},
    "schema_compatibility": {"oldest_code": "0001", "migrated_by": "0.1.0"},
}


@pytest.mark.parametrize("name", ONE_ROW)
def test_a_table_of_one_row_refuses_a_second(connection: sa.Connection, name: str) -> None:
    assert connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar() == 1
    table = METADATA.tables[name]
    for only, constraint in ((True, f"{name}_pkey"), (False, f"{name}_only")):
        with pytest.raises(sa.exc.IntegrityError, match=constraint), connection.begin_nested():
            connection.execute(sa.insert(table).values(ONE_ROW[name] | {"only": only}))


def test_what_belongs_to_a_content_is_deleted_with_it(connection: sa.Connection) -> None:
    """By a version that does not know these tables, too. Assets that it names have to be there."""
    insert(connection, "assets", {})
    for table in OF_CONTENTS:
        assert refused(connection, table, {}) == f"{table}_content_id_fkey"
    for table in ("contents", *OF_CONTENTS):
        insert(connection, table, {})
    assert refused(connection, "content_assets", {"sha256": "b" * 64, "position": 2}) == "content_assets_sha256_fkey"
    insert(connection, "content_assets", {"position": 2, "sha256": None, "reason": "NOT_FOUND"})
    connection.execute(sa.text("DELETE FROM contents"))
    for table in OF_CONTENTS:
        assert connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one() == 0


def test_every_check_and_unique_key_has_a_test(connection: sa.Connection) -> None:
    """A new constraint needs a row above that it refuses."""
    names = "SELECT conname FROM pg_constraint WHERE contype <> 'n' AND connamespace = 'public'::regnamespace"
    tried = {constraint for _, _, constraint in REFUSED + TWICE} | {
        "task_events_legal_move",
        "content_assets_sha256_fkey",
        *(f"{table}_content_id_fkey" for table in OF_CONTENTS),
    }
    tried |= {f"{table}_{kind}" for table in ONE_ROW for kind in ("pkey", "only")}
    existing = set(connection.execute(sa.text(names)).scalars())
    assert existing - tried == {"alembic_version_pkc"}
