"""`doctor`: beside a real scheduler, and beside scripted ones for what is hard to bring about."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode, aio

from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import system_service_pb2 as system_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from tests.command.transcript import GOOD, VERSION, Deployment, Ran, Transcript, run, worker
from tests.harness.scripted_server import Answer, refuse, scripted
from tests.harness.scripted_worker import ScriptedWorker, hello

pytestmark = pytest.mark.contract


def doctor(deployment: Deployment, *arguments: str, **answers: Answer) -> Ran:
    """One run beside a deployment, some of whose answers are others."""
    with scripted(**{**deployment.answers(), **answers}) as target:
        return run("-s", target, "doctor", *arguments)


def examined(deployment: Deployment, *arguments: str, **answers: Answer) -> tuple[int, list[dict[str, str]]]:
    """The exit status, and every finding."""
    result = doctor(deployment, "-o", "json", *arguments, **answers)
    assert result.err == ""
    return result.status, json.loads(result.out)


def problems(deployment: Deployment, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """The exit status, and every finding that is not ok."""
    status, findings = examined(deployment, *arguments)
    return status, [finding for finding in findings if finding["level"] != "ok"]


async def test_doctor_prints_the_golden_screens(contentgen: Transcript, channel: aio.Channel, account: int) -> None:
    await contentgen.play("doctor", 2)
    greeting = hello(version=VERSION, creator_version="content-creator 3")
    async with ScriptedWorker(channel, greeting) as scripted_worker:
        await scripted_worker.run()
        await contentgen.play("doctor", 2)
        scripted_worker.last_error = "CREATOR_ERROR: the CLI exited with status 3: no model answers"
        await scripted_worker.heartbeat(0)
        await contentgen.play("doctor")


async def test_an_unreachable_scheduler_is_the_only_finding(transcript_of: Callable[[str], Transcript]) -> None:
    await transcript_of("127.0.0.1:1").play("doctor-unreachable")


def now(ago: float = 0) -> Timestamp:
    return Timestamp(seconds=int(time.time() - ago))


def failed_task(task_id: str, reason: str, hours_ago: int, **details: str) -> task_pb2.Task:
    error = task_pb2.TaskError(reason=reason, details=details)
    return task_pb2.Task(task_id=task_id, end_time=now(3_600 * hours_ago), error=error)


def entry(content_id: int, status: content_pb.PublishStatus.ValueType, error: str = "") -> content_pb.PublishPoolEntry:
    return content_pb.PublishPoolEntry(content_id=content_id, status=status, error=error)


def system(*replicas: system_pb.Replica, **fields: Any) -> system_pb.GetSystemResponse:
    return system_pb.GetSystemResponse(replicas=replicas, **fields)


def replica(name: str, *lanes: system_pb.Lane, serving: bool = True, **fields: Any) -> system_pb.Replica:
    times = {"last_heartbeat_time": now(), **fields}
    return system_pb.Replica(scheduler_id=name, serving=serving, lanes=lanes, **times)


def lane(name: str, seconds: int, *, waiting: int = 1, set_aside: int = 0) -> system_pb.Lane:
    return system_pb.Lane(name=name, oldest_age=Duration(seconds=seconds), waiting=waiting, set_aside=set_aside)


def holder(**fields: Any) -> system_pb.GetSystemResponse:
    values: dict[str, Any] = {"pid": 4711, "role": "ann", "relation": "workers", **fields}
    return system(lock_holders=[system_pb.LockHolder(**values)])


def oldest(**fields: Any) -> system_pb.GetSystemResponse:
    values: dict[str, Any] = {"pid": 4711, "database": "other", "role": "ann", "application": "psql", **fields}
    return system(oldest_transaction=system_pb.OldestTransaction(**values))


def beside_good(**fields: Any) -> Deployment:
    return Deployment(workers=[GOOD, worker(worker_id="w2", **fields)])


PAUSED, NO_WORKERS = task_pb2.PENDING_REASON_PAUSED, task_pb2.PENDING_REASON_NO_WORKERS
OF_7 = pool_pb.GetDispatchStatusResponse(paused_account_ids=[7])
EVERYTHING = pool_pb.GetDispatchStatusResponse(all_paused=True)
BLOCKED = system(
    replica("s1", lane("reports", 75, waiting=3, set_aside=2)),
    lock_holders=[
        system_pb.LockHolder(
            pid=4711,
            role="ann",
            application="psql",
            state="idle in transaction",
            transaction_age=Duration(seconds=80),
            relation="workers",
            waited_for=True,
        )
    ],
)
DIFFERENT = system(
    *(
        replica(
            name,
            clock_offset=Duration(seconds=offset),
            settings={"CONTENTGEN_RETENTION": retention, "CONTENTGEN_LEASE_TTL": "120 s"},
        )
        for name, offset, retention in (("s1", 0, ""), ("s2", -8, ""), ("s3", 301, "60 s"), ("s4", 4, ""))
    ),
    replica("s0, of an older version"),
)
REFUSED_OPTIONS = [
    failed_task("task-4", "CREATOR_ERROR", 0),
    failed_task("task-3", "INVALID_CREATOR_OPTIONS", 1, options="colour, size"),
    failed_task("task-2", "INVALID_CREATOR_OPTIONS", 2, options="colour"),
    failed_task("task-1", "INVALID_CREATOR_OPTIONS", 25, options="forgotten"),
]
RESUME = "[`contentgen dispatch resume`"
Found = tuple[str, str, str]
"""The check, the level, and a part of `[message] [advice]`."""


def warn(check: str, text: str) -> Found:
    return check, "warn", text


def fail(check: str, text: str) -> Found:
    return check, "fail", text


PROBLEMS: list[tuple[Deployment, *tuple[Found, ...]]] = [
    (Deployment(workers=[]), fail("workers", "[none is connected]")),
    (
        Deployment(workers=[worker(running=False, draining=True)]),
        fail("workers", "[all 1 are draining] [restart them, or start others"),
    ),
    (beside_good(running=False), warn("workers", "[w2 not heard of any more]")),
    (beside_good(version="0.0.9"), warn("version", "workers are 0.0.9]")),
    (beside_good(creator_version="content-creator 2"), warn("cli", "content-creator 2, content-creator 3]")),
    (
        beside_good(unhealthy=True, last_error="exit status 127\nnot found"),
        fail("cli", "[that of w2 fails at once or is gone: exit status 127 not found]"),
    ),
    (beside_good(unhealthy=True), fail("cli", "no reason is given]")),
    (
        beside_good(last_error="a result of 2,000,057 bytes does not get through"),
        warn("workers", "[w2: a result of 2,000,057 bytes does not get through]"),
    ),
    (
        beside_good(last_error="the data folder can't be written: No space left on device"),
        warn("workers", "[w2: the data folder can't be written: No space left on device]"),
    ),
    (
        Deployment(system=system(database=system_pb.Database(weakened_settings=["fsync", "synchronous_commit"]))),
        warn(
            "durability",
            "[PostgreSQL has fsync off] [a crash of its host may lose or damage acknowledged work: set it on",
        ),
        warn("durability", "own sessions have it on"),
    ),
    (
        Deployment(system=system(replica("s1", standby_problem="LAGS"))),
        warn("standby", "[s1 reads nothing from its standby: it lags behind the primary] [its reads go to the primary"),
    ),
    (Deployment(pauses=OF_7), warn("dispatch", f"[paused: account 7] {RESUME}")),
    (
        Deployment(pauses=OF_7, reasons=[PAUSED] * 2),
        warn("dispatch", f"[paused: account 7; the newest pending tasks wait for its end (2)] {RESUME}"),
    ),
    (
        Deployment(reasons=[PAUSED] * 2),
        warn("dispatch", f"[paused; the newest pending tasks wait for its end (2)] {RESUME}"),
    ),
    (
        Deployment(pauses=EVERYTHING, reasons=[PAUSED, NO_WORKERS]),
        warn("dispatch", f"[paused: everything; the newest pending tasks wait for its end (1)] {RESUME}"),
        fail("dispatch", "] [start contentgen-worker]"),
    ),
    (
        Deployment(
            entries=[
                entry(7, content_pb.PUBLISH_STATUS_FAILED, "the site is away"),
                entry(8, content_pb.PUBLISH_STATUS_FAILED),
                entry(9, content_pb.PUBLISH_STATUS_PENDING),
            ]
        ),
        warn(
            "publishing",
            "[2 in the publish pool stay failed, the first being content 7: the site is away]"
            " [`contentgen pool list --status failed` shows them, `contentgen pool retry` tries again]",
        ),
    ),
    (
        Deployment(failed=REFUSED_OPTIONS),
        warn(
            "options",
            "failed 2 tasks within a day, the newest being task-3: colour, size]"
            " [submit without them, or name them in CREATOR_OPTIONS_ALLOWED",
        ),
    ),
    (
        Deployment(system=system(replica("s1", lane("submits", 12), serving=False), replica("s2"))),
        fail("schedulers", "[s1 does not serve; waiting: submits for 12 s]"),
    ),
    (
        Deployment(system=BLOCKED),
        warn("schedulers", "[2 of the reports of s1 wait for a lock, the oldest for 1 min 15 s]"),
        warn(
            "locks",
            "[session 4711 (ann, psql) is idle in transaction, its transaction open for 1 min 20 s, and holds a"
            " lock of workers that others wait for] [let it commit, or end it: SELECT pg_terminate_backend(4711)]",
        ),
    ),
    (
        Deployment(system=holder(transaction_age=Duration(seconds=80))),
        warn(
            "locks",
            "[session 4711 (ann) is there, its transaction open for 1 min 20 s, and has locked rows of workers,"
            " or all]",
        ),
    ),
    (
        Deployment(system=holder(waited_for=True)),
        warn(
            "locks",
            "[session 4711 (ann) is in a state that the schedulers' role may not see, and holds a lock of workers"
            " that others wait for] [let it commit, or end it: SELECT pg_terminate_backend(4711);"
            " GRANT pg_read_all_stats",
        ),
    ),
    (
        Deployment(system=holder(state="idle", relation="contentgen.pause_dispatch", waited_for=True)),
        warn(
            "locks", "[session 4711 (ann) is idle, and holds a lock of contentgen.pause_dispatch that others wait for]"
        ),
    ),
    (
        Deployment(system=oldest(age=Duration(seconds=70))),
        warn("snapshots", "[session 4711 (ann, psql) of database other has a transaction open for 1 min"),
    ),
    (
        Deployment(system=oldest(seen_for=Duration(seconds=15))),
        warn("snapshots", "transaction open for 15 s at least: watches may wait for it, and vacuums]"),
    ),
    (
        Deployment(system=oldest(age=Duration(seconds=70), pid=0)),
        warn("snapshots", "[psql, which is prepared, of database other"),
    ),
    (
        Deployment(system=DIFFERENT),
        warn("clock", "[the clock of s2 is 8 s behind the database's]"),
        fail("clock", "[the clock of s3 is 5 min 1 s ahead of the database's]"),
        warn("settings", "[CONTENTGEN_RETENTION differs: unset on s1, s2, s4; 60 s on s3]"),
    ),
    (
        Deployment(unknown=["AuditService"]),
        warn("version", "[the scheduler is of another version than this command: it has no AuditService]"),
    ),
    (Deployment(system=system(replica("s1", version="0.0.9"))), warn("version", ", schedulers are 0.0.9]")),
    (
        Deployment(system=system(limits=system_pb.Limits(max_queue_size=10)), pending=10, due=10),
        fail("queue", "[full: 10 of 10 pending, 10 due"),
    ),
    (Deployment(away=["TaskService"]), fail("database", "[NOT_SERVING: TaskService]")),
]


@pytest.mark.parametrize(
    "healthy",
    [Deployment(), Deployment(system=oldest(age=Duration(seconds=10)))],
    ids=["healthy", "with a young transaction"],
)
def test_a_healthy_deployment_has_no_problems(healthy: Deployment) -> None:
    assert problems(healthy) == (0, [])


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: " ".join(problem[1][::2])[:60])
def test_problems_are_found_with_advice(problem: tuple[Deployment, *tuple[Found, ...]]) -> None:
    deployment, *expected = problem
    status, findings = problems(deployment)
    assert [(finding["check"], finding["level"]) for finding in findings] == [
        (check, level) for check, level, _ in expected
    ]
    for finding, (_, _, text) in zip(findings, expected, strict=True):
        assert text in f"[{finding['message']}] [{finding['advice']}]"
        assert finding["advice"]
    assert status == any(level == "fail" for _, level, _ in expected)


def test_a_pool_of_unhealthy_workers_is_found() -> None:
    unhealthy_worker = worker(unhealthy=True, last_error="no model answers", hostname="host-7")
    unhealthy_worker.unhealthy_time.CopyFrom(now(330))
    status, (pool_finding, cli_finding) = problems(Deployment(workers=[unhealthy_worker]))
    assert (status, pool_finding["check"], cli_finding["check"]) == (1, "workers", "cli")
    assert pool_finding["message"] == "all 1 are unhealthy: each tries one task at a time"
    assert cli_finding["message"].startswith("that of w1 fails at once or is gone, for 5 min 3")
    assert cli_finding["message"].endswith("no model answers")
    assert "host-7" in cli_finding["advice"]


@pytest.mark.parametrize(
    ("pending", "due", "level"), [(90, 0, "warn"), (100, 100, "fail"), (101, 101, "fail"), (101, 99, "warn")]
)
def test_a_full_queue_is_found(pending: int, due: int, level: str) -> None:
    status, (finding,) = problems(Deployment(pending=pending, due=due), "--max-queue-size", "100")
    assert (status, finding["check"], finding["level"]) == (level == "fail", "queue", level)
    assert f"{pending} of 100 pending" in finding["message"]
    assert "the oldest for 1 h 2 min" in finding["message"]


def test_a_queue_of_scheduled_tasks_has_no_oldest() -> None:
    stats = task_pb.GetTaskStatsResponse(counts={"pending": 1})
    result = doctor(Deployment(), GetTaskStats=lambda request, context: stats)
    assert "1 of 1,000,000 pending, 0 due\n" in result.out


@pytest.mark.parametrize(
    ("busy", "message"),
    [
        (3, "the pool is starved, all 3 slots are busy: the newest pending tasks wait for a free slot"),
        (1, "the oldest for 1 h 2 min, though 2 of 3 slots are not busy"),
    ],
)
def test_a_starved_pool_is_found(busy: int, message: str) -> None:
    waiting = [task_pb2.PENDING_REASON_ALL_SLOTS_BUSY]
    deployment = Deployment(workers=[worker(busy_slots=busy)], pending=1, reasons=waiting)
    status, (finding,) = problems(deployment)
    assert (status, finding["check"], finding["level"]) == (0, "dispatch", "warn")
    assert message in finding["message"]
    assert finding["advice"]
    assert problems(deployment, "--stuck-after", "2h") == (0, [])


def test_tasks_stuck_in_submitted_are_found() -> None:
    tasks = [
        task_pb2.Task(task_id=task_id, worker_id="w1", submit_time=now(ago))
        for task_id, ago in (("task-2", 0), ("task-1", 400))
    ]
    status, (finding,) = problems(Deployment(submitted=tasks))
    assert (status, finding["check"], finding["level"]) == (0, "submitted", "warn")
    assert finding["message"] == "1 not started for 5 min: task-1 on w1"
    assert problems(Deployment(submitted=tasks), "--stuck-after", "10m") == (0, [])


def test_the_age_of_the_oldest_item_is_shown_if_all_is_well() -> None:
    replicas = replica("s1", lane("submits", 2)), replica("s2", lane("reports", 1))
    result = doctor(Deployment(system=system(*replicas)))
    assert "2 of 2 serve, and the oldest of the submits waits for 2 s\n" in result.out


@pytest.mark.parametrize(
    ("silence", "age", "is_reported"), [(20, 500, False), (45, 500, True), (45, 30, False), (300, 500, False)]
)
def test_a_replica_that_was_killed_is_reported_for_minutes(silence: int, age: int, is_reported: bool) -> None:
    """Whatever our own clock says, and unless another was started since."""
    answering = replica("s0", last_heartbeat_time=now(4_000), start_time=now(4_000 + age))
    killed = replica("s1", last_heartbeat_time=now(4_000 + silence))
    status, findings = problems(Deployment(system=system(answering, killed)))
    assert (status, len(findings)) == (0, is_reported)
    for finding in findings:
        assert finding["message"].startswith("s1 has said nothing for 45 s: it was killed, is frozen, or")


@pytest.mark.parametrize("code", [StatusCode.UNIMPLEMENTED, StatusCode.PERMISSION_DENIED])
def test_a_scheduler_without_get_system_is_tolerated(code: StatusCode) -> None:
    """It is older, or our token's role may not ask."""
    status, findings = examined(
        Deployment(), GetSystem=lambda request, context: refuse(context, code, "ROLE_FORBIDDEN", "not for this role")
    )
    assert not [finding for finding in findings if finding["check"] == "schedulers"]
    assert status == 0


def test_without_a_database_one_check_that_needs_it_is_made() -> None:
    def away(request: object, context: grpc.ServicerContext) -> None:
        refuse(context, StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "the database is away")

    status, (*_, last) = examined(Deployment(), GetSystem=away, GetWorkerPool=away)
    assert (status, last["check"], last["level"]) == (1, "schedulers", "fail")
    assert last["message"].startswith("the database is away, so these were not looked at: workers, queue, ")
    assert last["advice"] == "look at PostgreSQL and the scheduler's log"


@pytest.mark.parametrize(
    ("role", "token", "level", "message"),
    [
        ("", "", "ok", "none is given, and none is required"),
        ("", "known", "warn", "one is given, and none is required"),
        ("operator", "known", "ok", "with the role operator"),
        ("operator", "", "fail", "a token is required, and none is given"),
        ("operator", "unknown", "fail", "the token is not known"),
        ("client", "known", "ok", "with the role client"),
        ("viewer", "known", "ok", "with the role viewer: it may not change anything"),
        ("worker", "known", "fail", "its role is worker"),
        ("publisher", "known", "fail", "its role is publisher"),
        ("reviewer", "known", "fail", "its role is reviewer"),
    ],
)
def test_problems_of_the_token_are_found(
    role: str, token: str, level: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTENTGEN_TOKEN", token)
    _, findings = examined(Deployment(role=role))
    (finding,) = [finding for finding in findings if finding["check"] == "token"]
    assert finding["level"] == level
    assert message in finding["message"]


def test_a_token_from_a_file_is_used(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("known\n")
    with scripted(**Deployment(role="operator").answers()) as target:
        result = run("--token-file", str(tmp_path / "token"), "-s", target, "doctor")
    assert "accepted, with the role operator" in result.out
