"""The application on a real database, driven step by step as the lanes and loops drive it; time moves by SQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Concatenate, ParamSpec, TypeVar
from unittest.mock import patch

import sqlalchemy as sa

from scheduler_svc.accounts.work import create_account, update_account
from scheduler_svc.config import Settings
from scheduler_svc.database.statements import Page, Pipeline
from scheduler_svc.dispatch.admission import scan, settle
from scheduler_svc.dispatch.rows import Claimed
from scheduler_svc.dispatch.work import SessionCapacity, claim, pause_dispatch, resume_dispatch
from scheduler_svc.domain.account import Account, AccountChange, AccountSettings
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.errors import DomainError
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import (
    AttemptAccepted,
    AttemptCompleted,
    AttemptDeferred,
    AttemptFailed,
    AttemptReleased,
    AttemptStarted,
    Change,
    Grant,
    LeaseUpdate,
    Outcome,
    Release,
)
from scheduler_svc.domain.task import (
    TEXTS,
    Brief,
    NewTask,
    PendingReason,
    Task,
    TaskEdit,
    TaskError,
    TaskEvent,
    TaskFilter,
)
from scheduler_svc.domain.webhook import SUBSCRIBABLE
from scheduler_svc.domain.worker import Heartbeat, HeldLease, Hello
from scheduler_svc.leases.recover import Reaped, promote_due, reap
from scheduler_svc.leases.report import HeartbeatAck, HeartbeatItem, ReportItem, ReportWork, UnsentLeases
from scheduler_svc.leases.sessions import OpenedSession, open_session
from scheduler_svc.runtime.loops import DueRound
from scheduler_svc.runtime.signals import CommitSignals
from scheduler_svc.tasks import change, query
from scheduler_svc.tasks.submit import SubmitItem, SubmitWork
from scheduler_svc.transactions import Database, Tx, make_engine
from scheduler_svc.watch import work as changes
from scheduler_svc.webhooks import work as webhooks
from scheduler_svc.webhooks.work import WebhookInterest
from tests.harness.waiting import wait_until

TTL = 120.0
MAX_DEFERRALS = 3
MAX_QUEUE = 1_000
SETTINGS = Settings(lease_ttl=TTL, max_worker_losses=5, max_deferrals=MAX_DEFERRALS, max_queue_size=MAX_QUEUE)
RESULT = AttemptCompleted(TaskResult("a body of some words"))
FAILURE = AttemptFailed(TaskError("CREATOR_ERROR", "exit status 3"))
DEFERRED = AttemptDeferred(20.0, "the model is over its quota")
TIMEOUT = AttemptFailed(TaskError("TASK_TIMEOUT", "too long"))
P = ParamSpec("P")
R = TypeVar("R")


def later(hours: float = 1) -> datetime:
    """Returns that many hours from now; negative: ago."""
    return datetime.now(UTC) + timedelta(hours=hours)


def released(reason: Release = Release.DRAINING, *, started: bool = False) -> AttemptReleased:
    return AttemptReleased(reason, started)


def report_of(ref: LeaseRef, *changes: Change) -> ReportItem:
    return ReportItem(tuple(LeaseUpdate(ref.lease_id, ref.attempt, ref, change) for change in changes))


def held(refs: Iterable[LeaseRef]) -> tuple[HeldLease, ...]:
    return tuple(HeldLease(ref.lease_id, ref) for ref in refs)


def new_task(**fields: Any) -> NewTask:
    """Returns a task of account 1 that differs from a plain one by `fields`."""
    brief = {name: fields.pop(name) for name in Brief._fields if name in fields}
    return NewTask(account_id=1, brief=Brief(**{"topic": "a topic"} | brief))._replace(**fields)


def sql(engine: sa.Engine, text: str, **parameters: Any) -> list[Any]:
    """Returns the rows of a statement, if it has any; it is committed."""
    with engine.begin() as connection:
        result = connection.execute(sa.text(text), parameters)
        return list(result.fetchall()) if result.returns_rows else []


@contextmanager
def sent(*engines: sa.Engine, first: Callable[[sa.Connection], object] = lambda _: None) -> Iterator[list[str]]:
    """Yields what transactions on these engines send within the block; `first` is called before each."""
    scripts: list[str] = []
    send = Pipeline._send

    def noted(pipeline: Pipeline) -> Any:
        if pipeline._connection.engine in engines:
            scripts.append("; ".join(pipeline._held_back))
            first(pipeline._connection)
        return send(pipeline)

    with patch.object(Pipeline, "_send", noted):
        yield scripts


class Scheduling:
    """One scheduler's transactions, one after the other, on a database of its own.

    `signals` are those of each commit; account 1 is there, and no gap of the reapers is open. An engine that it is
    given stays open.
    """

    def __init__(self, database: str | sa.Engine, max_queue: int = MAX_QUEUE, *, aging: float = 0.0) -> None:
        self.signals: list[CommitSignals] = []
        self._heard = 0
        self._owned = isinstance(database, str)
        self.engine = make_engine(database, 8, hot=True) if isinstance(database, str) else database
        self._aging = aging
        self._interest = WebhookInterest(())
        self.database = Database(
            self.engine, self.signals.append, lambda _: None, webhook_interest=self._interest, aging=aging
        )
        self._submits = SubmitWork(SETTINGS.model_copy(update={"max_queue_size": max_queue}), commits=True)
        self._reports = ReportWork(SETTINGS)
        self._numbers = itertools.count(1)
        self.sessions: dict[str, int] = {}
        self.run(create_account, AccountSettings("one"))
        self.no_gap()

    def close(self) -> None:
        if self._owned:
            self.engine.dispose()

    def run(self, work: Callable[Concatenate[Tx, P], R], *arguments: P.args, **named: P.kwargs) -> R:
        """Runs `work(tx, …)`, and commits."""
        return self.database.run(lambda tx: work(tx, *arguments, **named))

    def sql(self, text: str, **parameters: Any) -> list[Any]:
        return sql(self.engine, text, **parameters)

    @contextmanager
    def transaction(self) -> Iterator[Tx]:
        """Yields one that is committed at the end of the block, for what two of them do at the same time."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")  # around what would commit by itself
            tx = Tx(connection, aging=self._aging, webhook_interest=self._interest)
            yield tx
            tx.commit()
            connection.exec_driver_sql("COMMIT")

    # what clients do

    def submit(self, *tasks: NewTask, after_commit: Callable[[], None] | None = None) -> list[Task]:
        """Submits by one call for all of them. Raises what refused it."""
        (answer,) = self.submit_group(SubmitItem(tasks), after_commit=after_commit)
        if isinstance(answer, DomainError):
            raise answer
        return list(answer)

    def submit_group(
        self, *group: SubmitItem, after_commit: Callable[[], None] | None = None
    ) -> list[tuple[Task, ...] | DomainError]:
        def work(tx: Tx) -> list[tuple[Task, ...] | DomainError]:
            tx.after_commit = after_commit
            return self._submits.run_group(tx, group)

        return self.run(work)

    def submit_one(self, **fields: Any) -> int:
        """Returns the key of a new task of account 1."""
        return self.submit(new_task(**fields))[0].task_key

    def fill(self, account_id: int, count: int, **fields: Any) -> list[int]:
        """Returns the keys of so many new tasks of an account, oldest first."""
        task = new_task(account_id=account_id, **fields)
        batches = [min(count - done, 1_000) for done in range(0, count, 1_000)]
        return [submitted.task_key for batch in batches for submitted in self.submit(*[task] * batch)]

    def task(self, key: int) -> Task:
        return self.run(query.get_task, key)

    def explain(self, key: int) -> tuple[Task, PendingReason, datetime | None]:
        return self.run(query.explain_task, key, TTL)

    def events(self, key: int) -> list[TaskEvent]:
        return self.run(query.list_events, key, 0, 1_000)

    def changes(self) -> list[TaskChange]:
        """Returns every move there ever was, with its task as of that move, in order."""
        moves: list[TaskChange] = []
        until, full = self.run(lambda tx: tx.changes.last()), True
        while full:
            page, _ = self.run(changes.read_all, moves[-1].number if moves else 0, until, lambda *_: True)
            moves += page.changes
            full = page.full
        return moves

    def tasks(self) -> dict[int, Task]:
        """Returns all tasks by key, as lists show them."""
        listed: Page[Task, int] = self.run(lambda tx: tx.task_reads.list(TaskFilter(), None, 100_000))
        return {task.task_key: task for task in listed.rows}

    def path(self, key: int) -> list[str]:
        return [event.status.label for event in self.events(key)]

    def cancel(self, key: int, *, force: bool = False) -> Task:
        return self.run(change.cancel_task, key, force)

    def update(self, key: int, **fields: Any) -> Task:
        texts = {name: fields.pop(name) for name in Brief._fields if name in fields}
        return self.run(change.update_task, key, TaskEdit(texts, fields))[1]

    def retry(self, key: int, *, reset: bool = False) -> Task:
        return self.run(change.retry_task, key, reset)

    # what workers do

    def hello(
        self,
        worker_id: str = "w",
        *,
        folder_id: str = "folder",
        number: int | None = None,
        names: Iterable[LeaseRef] = (),
        lost: Iterable[LeaseRef] = (),
        identity: str = "",
        labels: Mapping[str, str] | None = None,
        settings: Settings = SETTINGS,
    ) -> OpenedSession:
        """Says hello with the next session number; its session is what `claim` and `state` then speak for."""
        hello = Hello(
            worker_id=worker_id,
            folder_id=folder_id,
            session_number=next(self._numbers) if number is None else number,
            hostname="host",
            version="1",
            slots=3,
            labels=labels or {},
            creator_path="creator",
            creator_version="1",
            process_id="process",
            held=held(names),
            lost=tuple(ref.lease_id for ref in lost),
            identity=identity,
        )
        opened = self.run(open_session, hello, settings, "replica")
        self.sessions[worker_id] = opened.session_key
        return opened

    def claim(self, count: int = 1, worker_id: str = "w") -> list[LeaseRef]:
        """Claims for a worker with `count` free slots; opens a session for it if it has none."""
        return [grant.ref for grant in self.claim_for(self.capacity(count, worker_id)).grants]

    def capacity(self, count: int, worker_id: str = "w") -> SessionCapacity:
        if worker_id not in self.sessions:
            self.hello(worker_id)
        return SessionCapacity(worker_id, self.sessions[worker_id], 1, count)

    def serve(self, count: int, worker_id: str = "w") -> list[Grant]:
        """Grants to a worker in the order of dispatch; as the dispatcher does, windows are filled after each claim."""
        claimed = self.claim_for(self.capacity(count, worker_id))
        for account_id in sorted(claimed.short):
            self.run(settle, account_id)
        return claimed.grants

    def claim_for(self, *capacities: SessionCapacity, selectors: Sequence[int] = ()) -> Claimed:
        return self.run(claim, capacities, 1_000, TTL, selectors)

    def start(self, **fields: Any) -> LeaseRef:
        """Returns the lease of a new task whose CLI has started."""
        ref = self.claim_of_new(**fields)
        self.report(ref, AttemptAccepted(), AttemptStarted())
        return ref

    def lost(self) -> LeaseRef:
        """Returns a lease that expired while its CLI ran; its task is ready again."""
        ref = self.start()
        assert self.lose(ref).expired == 1
        return ref

    def revoked(self) -> LeaseRef:
        """Returns a lease whose task was cancelled by force while its CLI ran."""
        ref = self.start()
        self.cancel(ref.task_key, force=True)
        return ref

    def start_and_end(self, change: Change, **fields: Any) -> int:
        """Returns the key of a new task whose first attempt has ended so."""
        ref = self.start(**fields)
        assert self.end(ref, change) is Outcome.COMMITTED
        return ref.task_key

    def content(self, **fields: Any) -> int:
        """Returns the id of the content of a new task that has completed."""
        return self.task(self.start_and_end(RESULT, **fields)).content_id

    def claim_of_new(self, **fields: Any) -> LeaseRef:
        """Returns the lease of a new task that no slot has taken yet."""
        self.submit_one(**fields)
        (ref,) = self.claim()
        return ref

    def report(self, ref: LeaseRef, *changes: Change) -> list[Outcome]:
        (outcomes,) = self.report_group(report_of(ref, *changes))
        return list(outcomes)

    def end(self, ref: LeaseRef, change: Change) -> Outcome:
        return self.report(ref, change)[0]

    def stated(self, worker_id: str, names: Iterable[LeaseRef]) -> HeartbeatItem:
        return HeartbeatItem(worker_id, self.sessions[worker_id], Heartbeat(next(self._numbers), 0, held(names), 0))

    def state(self, *names: LeaseRef, worker_id: str = "w") -> HeartbeatAck:
        """Sends a heartbeat that names these leases."""
        (ack,) = self.report_group(self.stated(worker_id, names))
        if isinstance(ack, DomainError):
            raise ack
        assert isinstance(ack, HeartbeatAck)
        return ack

    def take_back(self, *refs: LeaseRef) -> None:
        self.report_group(UnsentLeases(refs))

    def report_group(self, *group: Any) -> list[Any]:
        return self.run(self._reports.run_group, group)

    # what operators do

    def make_account(self, limit: int = 0, weight: float = 1.0, **quotas: Any) -> int:
        account: Account = self.run(create_account, AccountSettings("another", limit, weight, **quotas))
        return account.account_id

    def change_account(self, account_id: int, **changes: Any) -> None:
        self.run(update_account, account_id, AccountChange(**changes))

    def pause(self, account_id: int = 0) -> None:
        self.run(pause_dispatch, account_id)

    def resume(self, account_id: int = 0) -> None:
        self.run(resume_dispatch, account_id)

    # what the admission loop does

    def admit(self) -> None:
        """Settles the accounts that commits have asked for, until none asks for more."""
        while asked := self._asked():
            for account_id in sorted(asked):
                self.run(settle, account_id)

    def _asked(self) -> set[int]:
        until = len(self.signals)
        news, self._heard = self.signals[self._heard : until], until
        limited = self.run(scan, 0).limited
        return {account_id for signals in news for account_id in signals.admit | (signals.released & limited)}

    # what time does

    def hook(self, account_id: int = 0) -> int:
        """Returns the id of a new webhook, which is told everything from now on."""
        answer = self.run(webhooks.create_webhook, account_id, "https://news.example/", SUBSCRIBABLE)
        self._interest.replace(self.run(lambda tx: tx.webhooks.wanted()))
        return answer.webhook.webhook_id

    def no_gap(self) -> None:
        """Acts as if a reaper had ticked a moment ago, and for long before."""
        self.sql("UPDATE reaper SET stamp = now(), expire_not_before = now() - interval '1 hour'")

    def expire(self, *refs: LeaseRef) -> None:
        """Makes these leases expire a moment ago; no reaper has ended them yet."""
        keys = [ref.task_key for ref in refs]
        self.sql("UPDATE leases SET expire_time = now() - interval '1 second' WHERE task_key = ANY(:keys)", keys=keys)

    def lose(self, *refs: LeaseRef) -> Reaped:
        """Makes these leases expire, and a reaper ends them."""
        self.expire(*refs)
        return self.reap()

    def reap(self) -> Reaped:
        return self.run(reap, SETTINGS)

    def time_out(self, ref: LeaseRef) -> LeaseRef:
        """Has it run for an hour, so that a reaper revokes it."""
        hour = "now() - interval '1 h', start_time = coalesce(start_time, now())"
        self.sql(f"UPDATE leases SET accept_time = {hour} WHERE task_key = :key", key=ref.task_key)
        self.reap()
        assert self.barred(ref.task_key)
        return ref

    def wait_is_over(self, key: int) -> DueRound:
        """Brings what the task waits for; the due loop looks."""
        self.sql("UPDATE delayed SET due_time = now() - interval '1 second' WHERE task_key = :key", key=key)
        return self.due()

    def age(self, seconds: float, *keys: int) -> None:
        """Ages these tasks as if they had been ready for so much longer; without keys, all that are."""
        self.sql(
            """UPDATE ready SET ready_time = ready_time - make_interval(secs => :seconds)
                WHERE cardinality(CAST(:keys AS bigint[])) = 0 OR task_key = ANY(:keys)""",
            seconds=seconds,
            keys=list(keys),
        )

    def due(self) -> DueRound:
        return self.run(promote_due)

    def pass_expire_time(self, *keys: int) -> None:
        """Lets the time pass by which these tasks had to be started; the loop has not looked yet."""
        ((past,),) = self.sql("SELECT now() - interval '1 second'")
        for table in ("tasks", "ready", "delayed"):
            self.sql(
                f"UPDATE {table} SET expire_time = :past WHERE task_key = ANY(:keys) AND expire_time IS NOT NULL",
                past=past,
                keys=list(keys),
            )

    def expire_waiting(self) -> DueRound:
        return self.run(change.expire_tasks)

    # what is so

    def place(self, key: int) -> str:
        """Returns where an open task stands: ready, delayed or leases; empty where it has ended."""
        places = self.sql(
            """SELECT 'ready' FROM ready WHERE task_key = :key UNION ALL SELECT 'delayed' FROM delayed
                WHERE task_key = :key UNION ALL SELECT 'leases' FROM leases WHERE task_key = :key AND NOT revoked""",
            key=key,
        )
        assert len(places) <= 1
        return places[0][0] if places else ""

    def barred(self, key: int) -> bool:
        """Returns whether a revoked lease of the task is still there."""
        return bool(self.sql("SELECT FROM leases WHERE task_key = :key AND revoked", key=key))

    def check(self) -> None:
        """Checks the invariants that hold after every commit. Each query lists what breaks one of them."""
        self._hold(INVARIANTS)

    def check_windows(self) -> None:
        """Checks those of what may be claimed, which are quick however much waits."""
        self._hold(WINDOW_INVARIANTS)

    def _hold(self, invariants: Mapping[str, str]) -> None:
        queries = tuple(invariants.values())
        numbers = self.run(lambda tx: [row[0] for row in tx._session.execute(_violated(queries), {})])
        violated = {
            what: self.sql(query) for number, (what, query) in enumerate(invariants.items()) if number in numbers
        }
        assert violated == {}


@cache
def _violated(queries: tuple[str, ...]) -> sa.TextClause:
    """The numbers of those that find rows, by one statement that each session plans once."""
    counts = (f"SELECT {number} AS number, count(*) AS n FROM ({query}) AS q" for number, query in enumerate(queries))
    return sa.text(f"SELECT number FROM ({' UNION ALL '.join(counts)}) AS counts WHERE n > 0")


_TRUTH = """
    SELECT t.task_key, t.account_id, coalesce(l.status, t.status) AS status
    FROM tasks AS t LEFT JOIN leases AS l ON l.task_key = t.task_key AND NOT l.revoked
"""
WINDOW_INVARIANTS = {
    "no account has more seats taken than its limit, but for what ran before it": """
        SELECT account_id, limited, tagged, leased FROM (
            SELECT a.account_id, a.max_concurrent_tasks AS limited,
                (SELECT count(*) FROM ready AS r WHERE r.account_id = a.account_id AND tag IS NOT NULL) AS tagged,
                (SELECT count(*) FROM leases AS l WHERE l.account_id = a.account_id) AS leased
            FROM accounts AS a WHERE a.max_concurrent_tasks > 0
        ) AS s WHERE tagged > 0 AND tagged + leased > limited
    """,
    "no account may start more than its quota": """
        SELECT account_id, quota, tagged, used FROM (
            SELECT a.account_id, a.max_starts_per_minute AS quota,
                (SELECT count(*) FROM ready AS r WHERE r.account_id = a.account_id AND tag IS NOT NULL) AS tagged,
                (SELECT sum(n) FROM start_quotas AS q, unnest(q.times, q.counts) AS s(time, n)
                    WHERE q.account_id = a.account_id AND s.time > clock_timestamp() - interval '59 s') AS used
            FROM accounts AS a WHERE a.max_starts_per_minute > 0
        ) AS s WHERE tagged > 0 AND tagged + used > quota
    """,
    "nothing of a paused account can be claimed": """
        SELECT task_key, account_id FROM ready JOIN pauses USING (account_id) WHERE tag IS NOT NULL
    """,
    "what waits without a tag is overtaken by nothing new": """
        SELECT task_key, account_id, priority FROM ready LEFT JOIN shares USING (account_id, priority)
        WHERE tag IS NULL AND (backlog OR closed) IS NOT true
    """,
    "nothing that can be claimed is below its floor": """
        SELECT task_key, priority, r.tag, f.tag FROM ready AS r JOIN ready_floors AS f USING (priority)
        WHERE r.tag < f.tag
    """,
    "an account is closed while it has a limit, a quota of starts or a pause": """
        SELECT account_id, priority, closed FROM shares JOIN accounts USING (account_id)
        WHERE closed <> (priority > 15 OR max_concurrent_tasks > 0 OR max_starts_per_minute > 0
            OR account_id IN (SELECT account_id FROM pauses))
    """,
}
ALWAYS = WINDOW_INVARIANTS | {
    "each open task is once in the views for people": """
        SELECT task_id FROM (
            SELECT 'task-' || lpad(to_hex(task_key), 16, '0') AS task_id FROM tasks WHERE status = 1
            UNION ALL SELECT task_id FROM v_running UNION ALL SELECT task_id FROM v_waiting) AS shown
        GROUP BY task_id HAVING count(*) <> 2
    """,
    "an open task stands in exactly one place, an ended one in none": """
        SELECT t.task_key, t.status FROM tasks AS t LEFT JOIN (
            SELECT task_key FROM ready UNION ALL SELECT task_key FROM delayed
            UNION ALL SELECT task_key FROM leases WHERE NOT revoked
        ) AS p USING (task_key)
        GROUP BY t.task_key, t.status HAVING count(p.task_key) <> CASE WHEN t.status = 1 THEN 1 ELSE 0 END
    """,
    "a content names only complete assets": """
        SELECT content_id, name FROM content_assets JOIN assets USING (sha256) WHERE NOT complete
    """,
    "what is named is of a content, and of its account": """
        SELECT n.content_id, n.name FROM content_assets AS n LEFT JOIN contents AS c USING (content_id)
        WHERE c.account_id IS DISTINCT FROM n.account_id
    """,
    "nothing stands anywhere without its task": """
        SELECT task_key FROM (SELECT task_key FROM ready UNION ALL SELECT task_key FROM delayed
            UNION ALL SELECT task_key FROM leases) AS p WHERE task_key NOT IN (SELECT task_key FROM tasks)
    """,
    "what a lease holds or bars can't be claimed": "SELECT task_key FROM ready JOIN leases USING (task_key)",
    "attempts follow one another": """
        SELECT t.task_key, t.attempt, p.attempt FROM tasks AS t JOIN (
            SELECT task_key, attempt FROM ready UNION ALL SELECT task_key, attempt FROM delayed
            UNION ALL SELECT task_key, attempt + revoked::integer FROM leases
        ) AS p USING (task_key) WHERE p.attempt <> t.attempt + 1
    """,
    "what waits expires at its task's time, unless an attempt has begun": """
        SELECT task_key, w.expire_time, t.expire_time FROM tasks AS t JOIN (
            SELECT task_key, expire_time FROM ready UNION ALL SELECT task_key, expire_time FROM delayed
        ) AS w USING (task_key)
        WHERE w.expire_time IS DISTINCT FROM CASE WHEN NOT EXISTS (
            SELECT FROM task_events AS e
            WHERE e.task_key = t.task_key AND (e.status IN (3, 5, 6) OR e.reason = 'DEFERRED')) THEN t.expire_time END
    """,
    "what has expired has no attempt that began": """
        SELECT task_key FROM task_events AS e WHERE status = 7 AND reason = 'EXPIRED' AND EXISTS (
            SELECT FROM task_events AS x WHERE x.task_key = e.task_key AND x.status IN (3, 5, 6))
    """,
    "each content up to the last one indexed is in the search index": """
        SELECT content_id FROM contents JOIN search_index ON content_id <= indexed_to
        WHERE content_id NOT IN (SELECT content_id FROM content_grams)
    """,
    "no delta is taken for folded": "SELECT d.* FROM count_deltas AS d, count_floor AS f WHERE d.xact < f.xact",
    "the counts are the truth": f"""
        WITH truth AS (
            SELECT account_id, status AS kind, 1 AS n FROM ({_TRUTH}) AS s
            UNION ALL SELECT account_id, 8, 1 FROM ready
        ), counted AS (
            SELECT account_id, kind, sum(n) AS n FROM (SELECT account_id, kind, n FROM task_counts
                UNION ALL SELECT account_id, kind, n FROM count_deltas) AS c
            WHERE account_id >= 0 GROUP BY account_id, kind HAVING sum(n) <> 0
        )
        SELECT * FROM (SELECT account_id, kind, sum(n) AS n FROM truth GROUP BY account_id, kind
            UNION ALL SELECT 0, kind, sum(n) FROM truth GROUP BY kind) AS t
        FULL JOIN counted AS c USING (account_id, kind) WHERE t.n IS DISTINCT FROM c.n
    """,
    "each submit and each end is counted in one hour and one day, of its account and of all": """
        WITH truth AS (
            SELECT t.account_id, k.kind, count(*) AS n FROM (
                SELECT task_key, 1 AS kind FROM task_events WHERE previous_status = 0
                UNION ALL
                SELECT task_key, status FROM (
                    SELECT task_key, status, event_time,
                        lead(event_time) OVER (PARTITION BY task_key ORDER BY seq) AS next
                    FROM task_events) AS e
                WHERE status BETWEEN 4 AND 7 AND next IS DISTINCT FROM event_time
            ) AS k JOIN tasks AS t USING (task_key) GROUP BY 1, 2
        ), counted AS (
            SELECT a.account_id, kind, s.resolution, sum(n) AS n FROM (
                SELECT account_id, resolution, kind, n FROM task_rollups
                UNION ALL
                SELECT a, s, kind, n FROM rollup_deltas, LATERAL unnest(kinds, numbers) AS u(kind, n),
                    LATERAL (VALUES (account_id), (0)) AS a(a), generate_series(1, 2) AS s
            ) AS r, LATERAL (VALUES (r.account_id)) AS a(account_id), LATERAL (VALUES (r.resolution)) AS s(resolution)
            WHERE kind < 100 GROUP BY 1, 2, 3
        )
        SELECT * FROM (
            SELECT account_id, kind, resolution, n FROM (SELECT * FROM truth
                UNION ALL SELECT 0, kind, sum(n) FROM truth GROUP BY kind) AS t, generate_series(1, 2) AS resolution
        ) AS t FULL JOIN counted AS c USING (account_id, kind, resolution)
        WHERE t.n IS DISTINCT FROM c.n
            AND NOT EXISTS (SELECT FROM cleaned_events) AND NOT EXISTS (SELECT FROM import_sources)
    """,
    "each scheduled task is counted for one day": """
        SELECT * FROM (SELECT count(*) AS n FROM delayed WHERE cause = 1) AS truth, (
            SELECT coalesce(sum(n), 0) AS n FROM (SELECT account_id, n FROM task_counts
                UNION ALL SELECT account_id, n FROM count_deltas) AS c WHERE account_id < 0) AS counted
        WHERE truth.n <> counted.n
    """,
    "the history is a path that leads to where the task is": f"""
        SELECT * FROM (
            SELECT e.task_key, previous_status, e.status,
                lag(e.status, 1, 0::smallint) OVER w AS before, lead(e.status, 1, s.status) OVER w AS after,
                lead(e.previous_status, 1, s.status) OVER w AS next_from
            FROM task_events AS e JOIN ({_TRUTH}) AS s USING (task_key)
            WINDOW w AS (PARTITION BY e.task_key ORDER BY seq)
        ) AS path WHERE previous_status <> before OR status <> next_from
    """,
    "payloads, labels, history and logs are of a task": """
        SELECT task_key FROM (SELECT task_key FROM task_payloads UNION ALL SELECT task_key FROM task_labels
            UNION ALL SELECT task_key FROM task_events UNION ALL SELECT task_key FROM attempt_logs
        ) AS p WHERE task_key NOT IN (SELECT task_key FROM tasks)
    """,
    "the labels to search by are the task's own": """
        WITH own AS (SELECT p.task_key, e.key, e.value FROM task_payloads AS p, jsonb_each_text(p.labels) AS e),
        indexed AS (SELECT task_key, name, value FROM task_labels)
        (TABLE own EXCEPT TABLE indexed) UNION ALL (TABLE indexed EXCEPT TABLE own)
    """,
    "what waits has the queue of its worker selector": """
        SELECT task_key FROM task_payloads AS p JOIN (SELECT task_key, priority FROM ready
            UNION ALL SELECT task_key, priority FROM delayed UNION ALL SELECT task_key, priority FROM leases) AS w
            USING (task_key) LEFT JOIN worker_selectors AS s ON s.selector_id = w.priority >> 4
        WHERE p.worker_selector IS DISTINCT FROM s.labels
    """,
    "what waits has the priority and the timeout of its task": """
        SELECT task_key FROM tasks AS t JOIN (SELECT task_key, priority, timeout_ms FROM ready
            UNION ALL SELECT task_key, priority, timeout_ms FROM delayed
            UNION ALL SELECT task_key, priority, timeout_ms FROM leases WHERE NOT revoked) AS w USING (task_key)
        WHERE (w.priority & 15, w.timeout_ms) <> (t.priority, t.timeout_ms)
    """,
    "an open task holds its unique key, as only one can": """
        SELECT task_key FROM tasks AS t JOIN task_payloads AS p USING (task_key)
            LEFT JOIN unique_keys AS q USING (task_key)
        WHERE t.status = 1 AND p.unique_key IS NOT NULL
            AND (q.account_id, q.unique_key) IS DISTINCT FROM (t.account_id, p.unique_key)
    """,
    "a unique key is held by a task that has it": """
        SELECT task_key FROM unique_keys AS q LEFT JOIN task_payloads AS p USING (task_key)
        WHERE p.unique_key IS DISTINCT FROM q.unique_key
    """,
    "a request id is of a task, or keeps the last state of one": """
        SELECT request_id FROM request_ids WHERE (end_time IS NULL) <> (task_key IN (SELECT task_key FROM tasks))
    """,
    "the runs of schedules are of tasks that name the schedule, and the other way round": """
        SELECT task_key, t.schedule_id, r.schedule_id FROM (SELECT * FROM tasks WHERE schedule_id IS NOT NULL) AS t
        FULL JOIN schedule_tasks AS r USING (task_key) WHERE t.schedule_id IS DISTINCT FROM r.schedule_id
    """,
    "every task has a history": "SELECT task_key FROM tasks WHERE task_key NOT IN (SELECT task_key FROM task_events)",
    "a completed task has its content, and no other task has one": """
        SELECT task_key, t.status, c.content_id FROM tasks AS t LEFT JOIN contents AS c USING (task_key)
        WHERE (t.status = 4) IS DISTINCT FROM (c.content_id IS NOT NULL) OR t.content_id IS DISTINCT FROM c.content_id
    """,
    "only a failed entry waits for its next attempt": """
        SELECT content_id FROM publish_pool WHERE next_attempt_time IS NOT NULL AND status <> 4
    """,
    "attempts to publish are of a content, numbered, and one for each that its entry counts": """
        SELECT content_id, n, p.attempt_count FROM (
            SELECT content_id, count(*) AS n, max(number) AS last FROM publish_attempts GROUP BY 1
        ) AS a FULL JOIN publish_pool AS p USING (content_id)
        WHERE last <> n OR coalesce(p.attempt_count, 0) > coalesce(n, 0)
            OR content_id NOT IN (SELECT content_id FROM contents)
    """,
    "what is in the publish pool is approved": """
        SELECT content_id FROM publish_pool LEFT JOIN contents AS c USING (content_id)
        WHERE c.review_status IS DISTINCT FROM 2
    """,
    "only what waits for a review is held, and it has no reviewer": """
        SELECT content_id FROM contents WHERE (review_holder IS NULL) <> (review_claim_expire_time IS NULL)
            OR review_status = 1 AND (reviewer <> '' OR review_time IS NOT NULL)
            OR review_status <> 1 AND review_holder IS NOT NULL OR (reviewer = '') <> (review_time IS NULL)
    """,
    "an edited content has its first revision and its newest, which is its text, and no other content has any": """
        SELECT content_id, c.revision, r.newest FROM contents AS c LEFT JOIN (
            SELECT content_id, min(number) AS first, max(number) AS newest FROM content_revisions GROUP BY content_id
        ) AS r USING (content_id)
        WHERE (c.revision > 1) IS DISTINCT FROM coalesce(r.first = 1 AND r.newest = c.revision, false)
    """,
}
"""What holds whatever calls are made."""
INVARIANTS = ALWAYS | {
    "each end of a task is told once to a webhook that was there before": """
        WITH ends AS (
            SELECT task_key, count(*) AS n FROM (
                SELECT task_key, status, event_time, lead(event_time) OVER (PARTITION BY task_key ORDER BY seq) AS next
                FROM task_events) AS e
            WHERE status BETWEEN 4 AND 7 AND next IS DISTINCT FROM event_time GROUP BY task_key
        ), told AS (
            SELECT webhook_id, task_key, count(*) AS n FROM webhook_deliveries WHERE event_type = 'task.ended'
            GROUP BY webhook_id, task_key
        )
        SELECT w.webhook_id, t.task_key, ends.n, told.n
        FROM tasks AS t
        JOIN webhooks AS w ON w.active AND w.account_id IN (0, t.account_id) AND w.create_time <= t.create_time
        LEFT JOIN ends USING (task_key) LEFT JOIN told USING (webhook_id, task_key)
        WHERE ends.n IS DISTINCT FROM told.n
    """,
    "each content is told to a webhook that was there before": """
        SELECT w.webhook_id, c.content_id, c.review_status FROM contents AS c
        JOIN webhooks AS w ON w.active AND w.account_id IN (0, c.account_id) AND w.create_time <= c.create_time
        WHERE NOT EXISTS (SELECT FROM webhook_deliveries AS d WHERE d.webhook_id = w.webhook_id
            AND d.task_key = c.task_key AND d.data ->> 'content_id' = CAST(c.content_id AS text)
            AND d.event_type = 'content.' || (ARRAY['pending_review', 'approved', 'rejected'])[c.review_status])
    """,
    "no delivery of a task overtakes an earlier one": """
        SELECT d.delivery_id FROM webhook_deliveries AS d JOIN webhook_deliveries AS p USING (webhook_id, task_key)
        WHERE d.attempt_count > 0 AND p.delivery_id < d.delivery_id AND p.status = 1
    """,
    "what is approved is in the publish pool": """
        SELECT content_id FROM contents AS c WHERE review_status = 2
            AND NOT EXISTS (SELECT FROM publish_pool AS p WHERE p.content_id = c.content_id)
    """,
}
"""What holds where webhooks want all events and stay as they are, and nothing calls RemoveFromPublishPool."""


WAITING = "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
"""What waits for another transaction."""


def overtaken(scheduling: Scheduling, first: Callable[[Tx], Any], second: Callable[[], Any]) -> Any:
    """Returns what `second` returns or raises if `first` commits only after `second` waits for it."""
    with ThreadPoolExecutor(1) as pool:
        with scheduling.transaction() as tx:
            first(tx)
            answer = pool.submit(second)
            wait_until(lambda: scheduling.sql(WAITING), within=5, what="the second waits for the first")
        return answer.result(timeout=5)


def claims(scheduling: Scheduling, worker_id: str = "w", count: int = 1) -> Callable[[Tx], Any]:
    capacity = scheduling.capacity(count, worker_id)
    return lambda tx: claim(tx, [capacity], 100, TTL)


def cancels(key: int, *, force: bool = False) -> Callable[[Tx], Any]:
    return lambda tx: change.cancel_task(tx, key, force)


COLUMNS = ", ".join(("task_key", *TEXTS))
"""For payloads in plain SQL: the columns that must have a value, which are the key, the topic, the other texts."""
NO_OTHER_TEXTS = ", ".join("''" for _ in TEXTS[1:])
"""The values of those other texts."""
