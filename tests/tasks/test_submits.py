"""Submits on a real database, small and large: request ids, bounds, batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from grpc import StatusCode

from scheduler_svc.accounts.work import update_account
from scheduler_svc.domain.account import AccountChange
from scheduler_svc.domain.dispatch import MAX_WINDOW
from scheduler_svc.domain.errors import DomainError, QueueFull, RequestIdConflict, StoreUnavailable
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import TEXTS, ExistingTask, Task, TraceContext
from scheduler_svc.tasks import submit as small_submits
from scheduler_svc.tasks.submit import SubmitItem, SubmitWork
from tests.api.cases import FULL_SUBMIT, NOTHING, OWN, SUBMIT, WAITS, Bad, Good, The, a_task_id, missing, of
from tests.harness.cluster import Databases
from tests.harness.database_faults import foreign_lock
from tests.harness.scheduling import MAX_QUEUE, SETTINGS, Scheduling, later, new_task, overtaken, sent
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.integration


def count(scheduling: Scheduling) -> int:
    return int(scheduling.sql("SELECT count(*) FROM tasks")[0][0])


def test_a_submit_is_answered_with_the_task_as_it_is_read(scheduling: Scheduling) -> None:
    fields = {
        **{name: f'--{name} \\ "quoted"\n\ttabs \'; DROP TABLE tasks; -- %s %(x)s {{}} 😀' for name in TEXTS},
        "priority": 10,
        "auto_approve": False,
        "max_retries": 100,
        "auto_retry": False,
        "timeout": timedelta(seconds=1.5),
        "schedule_time": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        "request_id": "id 'quoted' 😀",
        "labels": {"team": "a\\b", "名": "值"},
        "creator_options": {"model": "--x"},
    }
    (answered,) = scheduling.submit(new_task(**fields))
    read = scheduling.task(answered.task_key)
    assert read == answered
    assert fields.items() <= (read._asdict() | read.brief._asdict()).items()
    assert (read.status, read.attempt, read.ended) == (Status.PENDING, 0, False)


def test_a_schedule_in_the_past_is_ignored(scheduling: Scheduling) -> None:
    key = scheduling.submit_one(schedule_time=datetime(2020, 1, 1, tzinfo=UTC))
    assert scheduling.place(key) == "ready"


def test_a_scheduled_task_waits_for_its_time(scheduling: Scheduling) -> None:
    key = scheduling.submit_one(schedule_time=later())
    promoted = scheduling.due()
    assert (scheduling.place(key), promoted.count) == ("delayed", 0)
    assert promoted.next_due == pytest.approx(3600, abs=60)
    scheduling.wait_is_over(key)
    assert [ref.task_key for ref in scheduling.claim()] == [key]


def test_keys_rise_in_the_order_of_a_batch_and_of_submits(scheduling: Scheduling) -> None:
    batch = [task.task_key for task in scheduling.submit(*[new_task() for _ in range(50)])]
    keys = [*batch, scheduling.submit_one()]
    assert keys == sorted(set(keys))


@pytest.mark.parametrize("commits", [True, False], ids=["a small submit", "any submit"])
def test_a_key_that_another_replica_has_taken_is_drawn_anew(
    scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch, commits: bool
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    settings = SETTINGS.model_copy(update={"cell": 7})
    keys: set[int] = set()
    for _replica in range(2):
        scheduling.sql("ALTER SEQUENCE key_seq RESTART")
        work = SubmitWork(settings, commits=commits)
        (answer,) = scheduling.run(work.run_group, [SubmitItem((new_task(),))])
        assert isinstance(answer, tuple)
        keys |= {task.task_key for task in answer}
    assert len(keys) == count(scheduling) == 2


def test_events_are_numbered_in_their_order_whichever_connection_writes_them(
    scheduling: Scheduling, db_url: str
) -> None:
    """Submits and claims have separate connections, each of which draws its own blocks of numbers."""
    claims = Scheduling(db_url)
    for _ in range(3):
        scheduling.submit(*[new_task(priority=1) for _ in range(130)])
        key = scheduling.submit_one()
        assert [ref.task_key for ref in claims.claim()] == [key]
    claims.close()


def test_a_full_queue_refuses_submits(scheduling: Scheduling) -> None:
    scheduling.submit(*[new_task() for _ in range(MAX_QUEUE - 1)])
    answers = scheduling.submit_group(a_batch(1, 2), a_batch(1, 1), a_batch(1, 1))
    assert [type(answer) for answer in answers] == [QueueFull, tuple, QueueFull]
    scheduling.claim(2)  # running tasks are not queued
    scheduling.submit(new_task(), new_task())
    with pytest.raises(QueueFull):
        scheduling.submit_one()


class TestRequestIds:
    def test_a_repeated_request_id_is_answered_with_the_present_task(self, scheduling: Scheduling) -> None:
        ref = scheduling.start(request_id="r")
        (task,) = scheduling.submit(new_task(request_id="r"))
        assert (task.task_key, task.status) == (ref.task_key, Status.PROCESSING)

    def test_a_repeated_request_id_is_answered_even_if_the_queue_is_full_or_the_account_deactivated(
        self, scheduling: Scheduling
    ) -> None:
        first = scheduling.submit_one(request_id="r")
        scheduling.submit(*[new_task() for _ in range(MAX_QUEUE - 1)])
        assert scheduling.submit_one(request_id="r") == first
        with pytest.raises(RequestIdConflict):
            scheduling.submit_one(request_id="r", topic="another")
        with pytest.raises(QueueFull):
            scheduling.submit(new_task(request_id="r"), new_task(request_id="new"))
        scheduling.sql("UPDATE accounts SET active = false")
        assert scheduling.submit_one(request_id="r") == first

    def test_request_ids_are_separate_for_each_account(self, scheduling: Scheduling) -> None:
        other = scheduling.make_account()
        assert scheduling.submit_one(request_id="r") != scheduling.submit_one(request_id="r", account_id=other)

    def test_another_payload_with_the_same_request_id_is_refused_naming_the_first_task(
        self, scheduling: Scheduling
    ) -> None:
        (first,) = scheduling.submit(new_task(request_id="r"))
        with pytest.raises(RequestIdConflict) as refused:
            scheduling.submit(new_task(request_id="s"), new_task(request_id="r", priority=6))
        assert refused.value.metadata == {"task_id": first.task_id}
        assert scheduling.sql("SELECT request_id FROM request_ids") == [("r",)]
        assert count(scheduling) == 1

    def test_the_same_request_id_twice_in_a_batch_makes_one_task_and_counts_as_one(
        self, scheduling: Scheduling
    ) -> None:
        scheduling.submit(*[new_task()] * (MAX_QUEUE - 2))
        tasks = scheduling.submit(new_task(request_id="r"), new_task(), new_task(request_id="r"))
        assert tasks[0] == tasks[2] != tasks[1]
        assert count(scheduling) == MAX_QUEUE

    def test_a_refused_submit_s_request_id_makes_a_task_for_others_of_its_group(self, scheduling: Scheduling) -> None:
        scheduling.submit_one(request_id="taken")
        answers = scheduling.submit_group(
            SubmitItem((new_task(request_id="shared"), new_task(request_id="taken", topic="another"))),
            SubmitItem((new_task(request_id="shared"),)),
            SubmitItem((new_task(request_id="shared"),)),
        )
        assert [type(answer) for answer in answers] == [RequestIdConflict, tuple, tuple]
        assert answers[1] == answers[2]
        assert count(scheduling) == 2

    def test_the_request_id_of_a_refused_submit_can_be_used(self, scheduling: Scheduling) -> None:
        """Each is checked as if it came alone, after those before it."""
        x, y = new_task(request_id="r", topic="x"), new_task(request_id="r", topic="y")
        answers = scheduling.submit_group(
            SubmitItem((y, x)),  # contradicts itself
            SubmitItem((x, new_task(request_id="s", topic="x"))),
            SubmitItem((y, new_task(request_id="t", topic="y"))),  # the one before has the id
            SubmitItem((new_task(request_id="t", topic="x"),)),
        )
        assert [type(answer) for answer in answers] == [RequestIdConflict, tuple, RequestIdConflict, tuple]
        assert isinstance(answers[1], tuple)
        assert isinstance(answers[2], RequestIdConflict)
        assert answers[2].metadata == {"task_id": answers[1][0].task_id}
        assert count(scheduling) == 3

    def test_a_hundred_concurrent_submits_with_one_request_id_make_one_task(self, scheduling: Scheduling) -> None:
        """From several replicas: each has its own keys, and each call its own transaction."""

        def submit(_: int) -> int:
            answers = scheduling.database.run(
                lambda tx: SubmitWork(SETTINGS).run_group(tx, [SubmitItem((new_task(request_id="r"),))])
            )
            assert isinstance(answers[0], tuple)
            task: Task = answers[0][0]
            return task.task_key

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(submit, range(100)))) == 1
        assert count(scheduling) == 1


# Small submits: one statement leaves the same rows and signals as the transaction of several that it replaces.


PAUSED, LIMITED, HEAVY, QUOTA = 2, 3, 4, 5
QUEUE = 10_000
_NUMBERED = "(SELECT task_key, row_number() OVER (ORDER BY task_key) AS n FROM tasks)"
"""Keys hold the time, so tasks are compared by their order."""
ROWS = (
    f"SELECT k.n, to_jsonb(t) - 'task_key' - 'create_time' FROM tasks AS t JOIN {_NUMBERED} AS k USING (task_key)",
    f"SELECT k.n, to_jsonb(t) - 'task_key' FROM task_payloads AS t JOIN {_NUMBERED} AS k USING (task_key)",
    f"SELECT k.n, t.name, t.value FROM task_labels AS t JOIN {_NUMBERED} AS k USING (task_key)",
    f"""SELECT k.n, t.account_id, t.request_id, t.fingerprint::text
        FROM request_ids AS t JOIN {_NUMBERED} AS k USING (task_key)""",
    f"""SELECT k.n, to_jsonb(t) - 'task_key' - 'seq' - 'event_time' - 'xact'
        FROM task_events AS t JOIN {_NUMBERED} AS k USING (task_key)""",
    f"""SELECT k.n, to_jsonb(t) - 'task_key' - 'ready_time' - 'tag', round(tag::numeric, 9)
        FROM ready AS t JOIN {_NUMBERED} AS k USING (task_key)""",
    "SELECT to_jsonb(shares) FROM shares",
    "SELECT account_id, kind, sum(n) FROM count_deltas GROUP BY account_id, kind",
    "SELECT account_id, kinds, sum(numbers[1]) FROM rollup_deltas GROUP BY account_id, kinds",
)


@pytest.fixture
def twins(databases: Databases, template: str) -> Iterator[tuple[Scheduling, Scheduling]]:
    """Two databases with the same accounts."""
    with databases.lent(template) as one, databases.lent(template) as two:
        both = Scheduling(one, QUEUE), Scheduling(two, QUEUE)
        for twin in both:
            for limit, weight in ((0, 1.0), (1, 1.0), (0, 3.0), (0, 1.0)):
                twin.make_account(limit, weight)
            twin.pause(PAUSED)
            twin.run(update_account, QUOTA, AccountChange(max_pending_tasks=4, max_priority=6))
            twin.submit_one()  # has task keys at hand from now on
        yield both
        for twin in both:
            twin.check()
            twin.close()


def rows(scheduling: Scheduling) -> list[list[str]]:
    return [sorted(map(str, scheduling.sql(statement))) for statement in ROWS]


def statements(scheduling: Scheduling, *group: SubmitItem) -> tuple[list[tuple[Any, ...] | DomainError], int]:
    """The answers, and in how many round trips they came."""
    with sent(scheduling.engine) as scripts:
        return scheduling.submit_group(*group), len(scripts)


def a_batch(account_id: int, count: int, **fields: Any) -> SubmitItem:
    return SubmitItem(tuple(new_task(account_id=account_id, **fields) for _ in range(count)), batch=True)


GROUPS: dict[str, Sequence[SubmitItem]] = {
    "one": [a_batch(1, 1)],
    "accounts and priorities": [a_batch(1, 3), a_batch(HEAVY, 4, priority=9), a_batch(HEAVY, 2), a_batch(1, 1)],
    "closed shares": [a_batch(PAUSED, 2), a_batch(LIMITED, 3), a_batch(1, 1)],
    "within quotas": [a_batch(QUOTA, 3, priority=6), a_batch(QUOTA, 1)],
    "all fields": [
        SubmitItem(
            tuple(
                new_task(
                    topic=f'a "topic" \\ of\nlines {n}',
                    labels={"team": f"t{n}", "名": "值"},
                    request_id=f"id '{n}'",
                    creator_options={"model": "x"},
                    trace=TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", ""),
                    auto_approve=False,
                )
                for n in range(3)
            )
        )
    ],
}


@pytest.mark.parametrize("name", GROUPS)
def test_it_stores_and_signals_what_several_statements_do(
    twins: tuple[Scheduling, Scheduling], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, plain = twins
    answers, round_trips = statements(small, *GROUPS[name])
    monkeypatch.setattr(small_submits, "MAX_SMALL_GROUP", 0)
    others, several = statements(plain, *GROUPS[name])
    assert (round_trips, several > 1) == (1, True)
    assert rows(small) == rows(plain)
    assert [len(answer) for answer in answers if isinstance(answer, tuple)] == [
        len(answer) for answer in others if isinstance(answer, tuple)
    ]
    ours, theirs = small.signals[-1], plain.signals[-1]
    assert (ours.ready, ours.admit, ours.moved) == (theirs.ready, theirs.admit, theirs.moved)
    assert [move[1:] for move in ours.moves] == [move[1:] for move in theirs.moves]
    answered = [task for answer in answers if isinstance(answer, tuple) for task in answer]
    assert answered == [small.task(task.task_key) for task in answered]


def test_tasks_beyond_the_window_wait_without_a_tag(
    twins: tuple[Scheduling, Scheduling], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, plain = twins
    for twin in twins:
        twin.submit(*[new_task(priority=3) for _ in range(MAX_WINDOW - 2)])
        twin.submit(new_task(), new_task())  # there are task keys at hand again
    _, round_trips = statements(small, a_batch(1, 5, priority=3))
    monkeypatch.setattr(small_submits, "MAX_SMALL_GROUP", 0)
    plain.submit(*[new_task(priority=3) for _ in range(5)])
    assert round_trips == 1
    assert rows(small) == rows(plain)


@pytest.mark.parametrize(
    ("group", "outcomes"),
    [
        ([a_batch(1, 1), a_batch(77, 1)], ["tuple", "NotFound"]),
        ([a_batch(1, 1), a_batch(QUOTA, 1, priority=7)], ["tuple", "InvalidArgument"]),
        ([a_batch(QUOTA, 3), a_batch(QUOTA, 2)], ["tuple", "AccountQueueFull"]),
    ],
)
def test_what_it_refuses_leaves_nothing_and_is_judged_as_before(
    twins: tuple[Scheduling, Scheduling], group: list[SubmitItem], outcomes: list[str]
) -> None:
    answers, round_trips = statements(twins[0], *group)
    assert ([type(answer).__name__ for answer in answers], round_trips > 1) == (outcomes, True)
    stored = sum(len(answer) for answer in answers if isinstance(answer, tuple))
    assert twins[0].sql("SELECT count(*) FROM tasks") == [(1 + stored,)]


def test_a_request_id_that_another_session_remembers_at_the_same_time_stands_for_one_task(
    scheduling: Scheduling, db_url: str
) -> None:
    scheduling.submit_one()
    other = Scheduling(db_url)
    other.submit_one()
    task = new_task(request_id="r")
    mine: list[Any] = []
    (theirs,) = overtaken(
        scheduling,
        lambda tx: mine.extend(scheduling._submits.run_group(tx, [SubmitItem((task,))])),
        lambda: other.submit(task),
    )
    assert (theirs.task_key, type(theirs)) == (mine[0][0].task_key, ExistingTask)
    with pytest.raises(RequestIdConflict):
        other.submit_one(request_id="r", topic="another")
    other.submit_one(request_id="another")  # the connection has its statements still
    other.close()


def test_connections_that_the_server_closed_cost_no_submit(scheduling: Scheduling) -> None:
    pool: Any = scheduling.engine.pool
    with ExitStack() as stack:
        *others, last = [stack.enter_context(scheduling.engine.connect()) for _ in range(pool.size())]
        for other in others:
            pid = other.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            last.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
    for _ in range(3):
        scheduling.submit_one()
    assert scheduling.sql("SELECT count(*) FROM tasks") == [(3,)]


def test_a_connection_that_breaks_under_a_submit_is_told_as_such(scheduling: Scheduling, db_url: str) -> None:
    """Whether it was stored is unknown, so the caller has to ask again: no defect, no silent second try."""
    scheduling.submit_one()
    with foreign_lock(db_url, "LOCK TABLE tasks IN SHARE MODE") as holder, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(scheduling.submit_one)
        waits = f"SELECT pid FROM pg_stat_activity WHERE {holder} = ANY(pg_blocking_pids(pid))"
        ((pid,),) = wait_until(lambda: scheduling.sql(waits), within=5, what="the submit waits for the lock")
        assert scheduling.sql(f"SELECT pg_terminate_backend({pid}, 5000)") == [(True,)]
        with pytest.raises(StoreUnavailable):
            answer.result(timeout=5)
    scheduling.submit_one()
    assert scheduling.sql("SELECT count(*) FROM tasks") == [(2,)]


# What tests/api calls: requests that are answered, and those that are refused.
NEW_TASK = {
    "task_id": a_task_id,
    "account_id": OWN,
    "status": WAITS,
    "priority": 5,
    "auto_approve": True,
    "max_retries": 3,
    "auto_retry": True,
    "timeout": "1800s",
    "attempt": 0,
    "retry_count": 0,
    "content_id": "0",
    "create_time": str,
    "lease_id": "",
}
REPEATED = [key for key in FULL_SUBMIT if key != "creator_options"]
GOOD = [
    Good("SubmitTask", SUBMIT, {"task": NEW_TASK, "existing": False}),
    Good("SubmitTask", FULL_SUBMIT, {"task": {key: FULL_SUBMIT[key] for key in REPEATED}, "existing": False}),
    Good(
        "BatchSubmitTasks",
        {"requests": [SUBMIT, {**SUBMIT, "requirements": "long"}]},
        {"tasks": [NEW_TASK, {**NEW_TASK, "requirements": ""}], "existing_indexes": []},
    ),
    Good(
        "BatchSubmitTasks",
        {"requests": [{**SUBMIT, "unique_key": "u"}, {**SUBMIT, "unique_key": "u", "topic": "another"}]},
        {"tasks": [NEW_TASK, NEW_TASK], "existing_indexes": [1]},
    ),
]
BAD = [
    Bad("SubmitTask", {}, fields=("account_id", "topic")),
    Bad(
        "SubmitTask",
        {**SUBMIT, "topic": " \n", "priority": 0, "labels": {"": "v"}, "creator_options": {"mode": ""}},
        fields=("topic", 'creator_options["mode"]', 'labels[""]', "priority"),
    ),
    Bad("SubmitTask", {**SUBMIT, "expire_time": "1999-01-01T00:00:00Z"}, fields=("expire_time",)),
    *(
        Bad("SubmitTask", {**SUBMIT, "creator_options": {key: ""}}, fields=(f'creator_options["{key}"]',))
        for key in ("task-id", "mode", "type", "topic", "json")
    ),
    missing("SubmitTask", {"account_id": NOTHING, "topic": "a topic"}, "account"),
    Bad(
        "SubmitTask",
        {**of(account="inactive"), "topic": "a topic"},
        StatusCode.FAILED_PRECONDITION,
        "ACCOUNT_INACTIVE",
        metadata=of(account="inactive"),
    ),
    Bad(
        "SubmitTask",
        {**SUBMIT, "request_id": The("idempotent", "request_id"), "priority": 6},
        StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_CONFLICT",
        metadata=of(task="idempotent"),
    ),
    Bad("BatchSubmitTasks", {}, fields=("requests",)),
    Bad("BatchSubmitTasks", {"requests": [SUBMIT] * 1_001}, fields=("requests",)),
    Bad(
        "BatchSubmitTasks",
        {"requests": [SUBMIT, {}, {**SUBMIT, "priority": 11}]},
        fields=("requests[1].account_id", "requests[1].topic", "requests[2].priority"),
    ),
    Bad(
        "BatchSubmitTasks",
        {"requests": [SUBMIT, {**SUBMIT, "expire_time": "1999-01-01T00:00:00Z"}]},
        fields=("requests[1].expire_time",),
    ),
    missing("BatchSubmitTasks", {"requests": [SUBMIT, {**SUBMIT, "account_id": NOTHING}]}, "account"),
]
