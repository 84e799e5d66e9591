"""`doctor`: beside a real scheduler, and beside scripted ones for what is hard to bring about."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
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
from tests.command.transcript import GOOD, VERSION, Deployment, Transcript, run, worker
from tests.harness.scripted_server import refuse, scripted
from tests.harness.scripted_worker import ScriptedWorker, hello

pytestmark = pytest.mark.contract


def examined(deployment: Deployment, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """The exit status, and every finding that is not ok."""
    with scripted(**deployment.answers()) as target:
        result = run("-s", target, "-o", "json", "doctor", *arguments)
    assert result.err == ""
    return result.status, [finding for finding in json.loads(result.out) if finding["level"] != "ok"]


async def test_doctor_prints_the_golden_screens(contentgen: Transcript, channel: aio.Channel, account: int) -> None:
    await contentgen("task", "submit", "-a", "1", "It waits")
    await contentgen("doctor")
    greeting = hello(version=VERSION, creator_version="content-creator 3")
    async with ScriptedWorker(channel, greeting) as scripted_worker:
        (lease,) = await scripted_worker.take()
        await scripted_worker.start(lease)
        await contentgen("doctor")
        await contentgen("-o", "json", "doctor")
        scripted_worker.last_error = "CREATOR_ERROR: the CLI exited with status 3: no model answers"
        await scripted_worker.heartbeat(0)
        await contentgen("doctor")
    contentgen.check("doctor")


def test_an_unreachable_scheduler_is_the_only_finding(request: pytest.FixtureRequest) -> None:
    transcript = Transcript("127.0.0.1:1", request.config.getoption("--update-golden"))
    transcript.add(("doctor",), run("-s", "127.0.0.1:1", "doctor"))
    transcript.check("doctor-unreachable")


def test_a_healthy_deployment_has_no_findings() -> None:
    assert examined(Deployment()) == (0, [])


@pytest.mark.parametrize(
    ("workers", "status", "check", "told"),
    [
        ([], 1, "workers", "none is connected"),
        ([worker(running=False, draining=True)], 1, "workers", "all 1 are draining"),
        ([GOOD, worker(worker_id="w2", running=False)], 0, "workers", "w2 not heard of any more"),
        ([GOOD, worker(worker_id="w2", version="0.0.9")], 0, "version", "workers are 0.0.9"),
        ([GOOD, worker(worker_id="w2", creator_version="content-creator 2")], 0, "cli", "content-creator 2"),
        (
            [GOOD, worker(worker_id="w2", unhealthy=True, last_error="exit status 127\nnot found")],
            1,
            "cli",
            "that of w2 fails at once or is gone: exit status 127 not found",
        ),
        ([GOOD, worker(worker_id="w2", unhealthy=True)], 1, "cli", "no reason is given"),
        (
            [GOOD, worker(worker_id="w2", last_error="a result of 2,000,057 bytes does not get through")],
            0,
            "workers",
            "w2: a result of 2,000,057 bytes does not get through",
        ),
        (
            [GOOD, worker(worker_id="w2", last_error="the data folder can't be written: No space left on device")],
            0,
            "workers",
            "w2: the data folder can't be written: No space left on device",
        ),
    ],
)
def test_workers_with_problems_are_found(workers: Sequence[pool_pb.Worker], status: int, check: str, told: str) -> None:
    deployment = Deployment()
    deployment.workers = workers
    exit_status, (finding,) = examined(deployment)
    assert (exit_status, finding["check"], finding["level"]) == (status, check, "fail" if status else "warn")
    assert told in finding["message"]
    assert finding["advice"]


def test_a_pool_of_unhealthy_workers_is_found() -> None:
    deployment = Deployment()
    unhealthy_worker = worker(unhealthy=True, last_error="no model answers", hostname="host-7")
    unhealthy_worker.unhealthy_time.FromSeconds(int(time.time()) - 330)
    deployment.workers = [unhealthy_worker]
    status, (pool_finding, cli_finding) = examined(deployment)
    assert (status, pool_finding["check"], cli_finding["check"]) == (1, "workers", "cli")
    assert pool_finding["message"] == "all 1 are unhealthy: each tries one task at a time"
    assert cli_finding["message"].startswith("that of w1 fails at once or is gone, for 5 min 3")
    assert cli_finding["message"].endswith("no model answers")
    assert "host-7" in cli_finding["advice"]


def test_settings_of_durability_that_are_off_are_found() -> None:
    deployment = Deployment()
    deployment.system.database.weakened_settings[:] = ["fsync", "synchronous_commit"]
    status, (lossy_finding, own_finding) = examined(deployment)
    assert (status, lossy_finding["check"], lossy_finding["message"]) == (0, "durability", "PostgreSQL has fsync off")
    assert "set it on" in lossy_finding["advice"]
    assert "own sessions have it on" in own_finding["advice"]


@pytest.mark.parametrize(
    ("pending", "due", "level"), [(90, 0, "warn"), (100, 100, "fail"), (101, 101, "fail"), (101, 99, "warn")]
)
def test_a_full_queue_is_found(pending: int, due: int, level: str) -> None:
    deployment = Deployment()
    deployment.pending, deployment.due = pending, due
    status, (finding,) = examined(deployment, "--max-queue-size", "100")
    assert (status, finding["check"], finding["level"]) == (level == "fail", "queue", level)
    assert f"{pending} of 100 pending" in finding["message"]
    assert "the oldest for 1 h 2 min" in finding["message"]


def test_a_queue_of_scheduled_tasks_has_no_oldest() -> None:
    answers = Deployment().answers()
    answers["GetTaskStats"] = lambda request, context: task_pb.GetTaskStatsResponse(counts={"pending": 1})
    with scripted(**answers) as target:
        result = run("-s", target, "doctor")
    assert "1 of 1,000,000 pending, 0 due\n" in result.out


@pytest.mark.parametrize(
    ("paused", "waiting", "message"),
    [
        ([7], 0, "paused: account 7"),
        ([7], 2, "paused: account 7; the newest pending tasks wait for its end (2)"),
        ([], 2, "paused; the newest pending tasks wait for its end (2)"),
    ],
)
def test_a_pause_is_reported_once(paused: Sequence[int], waiting: int, message: str) -> None:
    deployment = Deployment()
    deployment.pauses.paused_account_ids.extend(paused)
    deployment.reasons = [task_pb2.PENDING_REASON_PAUSED] * waiting
    status, (finding,) = examined(deployment)
    assert (status, finding["check"], finding["level"]) == (0, "dispatch", "warn")
    assert finding["message"] == message
    assert "contentgen dispatch resume" in finding["advice"]


def test_tasks_that_wait_for_other_reasons_are_reported_beside_a_pause() -> None:
    deployment = Deployment()
    deployment.pauses.all_paused = True
    deployment.reasons = [task_pb2.PENDING_REASON_PAUSED, task_pb2.PENDING_REASON_NO_WORKERS]
    status, findings = examined(deployment)
    assert status == 1
    assert [finding["check"] for finding in findings] == ["dispatch", "dispatch"]
    assert findings[0]["message"] == "paused: everything; the newest pending tasks wait for its end (1)"
    assert "start contentgen-worker" in findings[1]["advice"]


@pytest.mark.parametrize(
    ("busy", "told"),
    [
        (3, "the pool is starved, all 3 slots are busy: the newest pending tasks wait for a free slot"),
        (1, "the oldest for 1 h 2 min, though 2 of 3 slots are not busy"),
    ],
)
def test_a_starved_pool_is_found(busy: int, told: str) -> None:
    deployment = Deployment()
    deployment.workers = [worker(busy_slots=busy)]
    deployment.pending, deployment.reasons = 1, [task_pb2.PENDING_REASON_ALL_SLOTS_BUSY]
    status, (finding,) = examined(deployment)
    assert (status, finding["check"], finding["level"]) == (0, "dispatch", "warn")
    assert told in finding["message"]
    assert finding["advice"]
    assert examined(deployment, "--stuck-after", "2h") == (0, [])


def test_tasks_stuck_in_submitted_are_found() -> None:
    deployment = Deployment()
    now = Timestamp()
    now.GetCurrentTime()
    deployment.submitted = [
        task_pb2.Task(task_id="task-2", worker_id="w1", submit_time=now),
        task_pb2.Task(task_id="task-1", worker_id="w1", submit_time=Timestamp(seconds=now.seconds - 400)),
    ]
    status, (finding,) = examined(deployment)
    assert (status, finding["check"], finding["level"]) == (0, "submitted", "warn")
    assert finding["message"] == "1 not started for 5 min: task-1 on w1"
    assert examined(deployment, "--stuck-after", "10m") == (0, [])


def failed_task(task_id: str, reason: str, hours_ago: int, **details: str) -> task_pb2.Task:
    end_time = Timestamp(seconds=int(time.time()) - 3_600 * hours_ago)
    error = task_pb2.TaskError(reason=reason, details=details)
    return task_pb2.Task(task_id=task_id, end_time=end_time, error=error)


def test_contents_that_stay_failed_in_the_pool_are_found() -> None:
    deployment = Deployment()
    deployment.entries = [
        content_pb.PublishPoolEntry(content_id=7, status=content_pb.PUBLISH_STATUS_FAILED, error="the site is away"),
        content_pb.PublishPoolEntry(content_id=8, status=content_pb.PUBLISH_STATUS_FAILED),
        content_pb.PublishPoolEntry(content_id=9, status=content_pb.PUBLISH_STATUS_PENDING),
    ]
    status, (finding,) = examined(deployment)
    assert (status, finding["check"], finding["level"]) == (0, "publishing", "warn")
    assert finding["message"] == "2 in the publish pool stay failed, the first being content 7: the site is away"
    assert "contentgen pool retry" in finding["advice"]


def test_refused_creator_options_are_found() -> None:
    deployment = Deployment()
    reason = "INVALID_CREATOR_OPTIONS"
    deployment.failed = [
        failed_task("task-4", "CREATOR_ERROR", 0),
        failed_task("task-3", reason, 1, options="colour, size"),
        failed_task("task-2", reason, 2, options="colour"),
        failed_task("task-1", reason, 25, options="forgotten"),
    ]
    status, (finding,) = examined(deployment)
    assert (status, finding["check"], finding["level"]) == (0, "options", "warn")
    assert "failed 2 tasks within a day, the newest being task-3: colour, size" in finding["message"]
    assert "CREATOR_OPTIONS_ALLOWED" in finding["advice"]


def replica(name: str, *lanes: system_pb.Lane, serving: bool = True) -> system_pb.Replica:
    message = system_pb.Replica(scheduler_id=name, serving=serving, lanes=lanes)
    message.last_heartbeat_time.GetCurrentTime()
    return message


def lane(name: str, seconds: int, *, waiting: int = 1, set_aside: int = 0) -> system_pb.Lane:
    return system_pb.Lane(name=name, oldest_age=Duration(seconds=seconds), waiting=waiting, set_aside=set_aside)


def test_a_stalled_lane_is_found() -> None:
    deployment = Deployment()
    deployment.system.replicas.extend([replica("s1", lane("submits", 12), serving=False), replica("s2")])
    status, (finding,) = examined(deployment)
    assert (status, finding["check"], finding["level"]) == (1, "schedulers", "fail")
    assert finding["message"] == "s1 does not serve; waiting: submits for 12 s"


def test_a_lock_that_blocks_others_is_found() -> None:
    deployment = Deployment()
    deployment.system.replicas.append(replica("s1", lane("reports", 75, waiting=3, set_aside=2)))
    deployment.system.lock_holders.add(
        pid=4711,
        role="ann",
        application="psql",
        state="idle in transaction",
        transaction_age=Duration(seconds=80),
        relation="workers",
        waited_for=True,
    )
    status, (waiting, holder) = examined(deployment)
    assert (status, waiting["level"], holder["level"]) == (0, "warn", "warn")
    assert waiting["message"] == "2 of the reports of s1 wait for a lock, the oldest for 1 min 15 s"
    assert holder["check"] == "locks"
    assert holder["message"] == (
        "session 4711 (ann, psql) is idle in transaction, its transaction open for 1 min 20 s, and holds a lock of"
        " workers that others wait for"
    )
    assert holder["advice"].endswith("SELECT pg_terminate_backend(4711)")


def test_a_lock_that_is_skipped_is_found() -> None:
    deployment = Deployment()
    deployment.system.lock_holders.add(pid=4711, role="ann", relation="workers", transaction_age=Duration(seconds=80))
    status, (holder,) = examined(deployment)
    assert (status, holder["check"], holder["level"]) == (0, "locks", "warn")
    assert holder["message"] == (
        "session 4711 (ann) is there, its transaction open for 1 min 20 s, and has locked rows of workers, or all"
    )


def test_the_age_of_a_lock_that_is_hidden_is_not_invented() -> None:
    deployment = Deployment()
    deployment.system.lock_holders.add(pid=4711, role="ann", relation="workers", waited_for=True)
    deployment.system.lock_holders.add(
        pid=4712, role="ann", state="idle", relation="contentgen.pause_dispatch", waited_for=True
    )
    _, (hidden, idle) = examined(deployment)
    assert hidden["message"] == (
        "session 4711 (ann) is in a state that the schedulers' role may not see, and holds a lock of workers that"
        " others wait for"
    )
    assert "GRANT pg_read_all_stats" in hidden["advice"]
    assert idle["message"] == (
        "session 4712 (ann) is idle, and holds a lock of contentgen.pause_dispatch that others wait for"
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"age": Duration(seconds=70)}, "session 4711 (ann, psql) of database other has a transaction open for 1 min"),
        ({"age": Duration(seconds=10)}, ""),
        (
            {"seen_for": Duration(seconds=15)},
            "has a transaction open for 15 s at least: watches may wait for it, and vacuums",
        ),
        ({"age": Duration(seconds=70), "pid": 0}, "psql, which is prepared, of database other"),
    ],
)
def test_a_transaction_that_has_been_open_for_long_is_found(fields: dict[str, Any], told: str) -> None:
    deployment = Deployment()
    transaction: dict[str, Any] = {"pid": 4711, "database": "other", "role": "ann", "application": "psql"}
    deployment.system.oldest_transaction.CopyFrom(system_pb.OldestTransaction(**transaction | fields))
    status, findings = examined(deployment)
    assert (status, [finding["check"] for finding in findings]) == (0, ["snapshots"] * bool(told))
    assert all(told in finding["message"] for finding in findings)


def test_clocks_and_settings_that_differ_are_found() -> None:
    deployment = Deployment()
    for name, offset, retention in (("s1", 0, ""), ("s2", -8, ""), ("s3", 301, "60 s"), ("s4", 4, "")):
        message = replica(name)
        message.clock_offset.FromSeconds(offset)
        message.settings["CONTENTGEN_RETENTION"] = retention
        message.settings["CONTENTGEN_LEASE_TTL"] = "120 s"
        deployment.system.replicas.append(message)
    deployment.system.replicas.append(replica("s0, of an older version"))
    status, (behind, ahead, setting) = examined(deployment)
    assert (status, behind["level"], ahead["level"], setting["level"]) == (1, "warn", "fail", "warn")
    assert behind["message"] == "the clock of s2 is 8 s behind the database's"
    assert ahead["message"] == "the clock of s3 is 5 min 1 s ahead of the database's"
    assert setting["message"] == "CONTENTGEN_RETENTION differs: unset on s1, s2, s4; 60 s on s3"


def test_a_scheduler_without_a_service_is_told_from_one_that_does_not_serve() -> None:
    deployment = Deployment()
    deployment.unknown = ["AuditService"]
    status, (finding,) = examined(deployment)
    assert (status, finding["check"], finding["level"]) == (0, "version", "warn")
    assert finding["message"] == "the scheduler is of another version than this command: it has no AuditService"


def test_the_age_of_the_oldest_item_is_shown_if_all_is_well() -> None:
    deployment = Deployment()
    deployment.system.replicas.extend([replica("s1", lane("submits", 2)), replica("s2", lane("reports", 1))])
    with scripted(**deployment.answers()) as target:
        result = run("-s", target, "doctor")
    assert "2 of 2 serve, and the oldest of the submits waits for 2 s\n" in result.out


def test_a_scheduler_of_another_version_is_found() -> None:
    deployment = Deployment()
    deployment.system.replicas.append(replica("s1"))
    deployment.system.replicas[0].version = "0.0.9"
    status, (finding,) = examined(deployment)
    assert (status, finding["check"], finding["level"]) == (0, "version", "warn")
    assert finding["message"].endswith(", schedulers are 0.0.9")


def test_the_schedulers_limit_of_the_queue_is_used() -> None:
    deployment = Deployment()
    deployment.system.limits.max_queue_size = 10
    deployment.pending = deployment.due = 10
    assert [finding["check"] for finding in examined(deployment)[1]] == ["queue"]


@pytest.mark.parametrize(
    ("silence", "age", "told"), [(20, 500, False), (45, 500, True), (45, 30, False), (300, 500, False)]
)
def test_a_replica_that_was_killed_is_reported_for_minutes(silence: int, age: int, told: bool) -> None:
    """Whatever our own clock says, and unless another was started since."""
    deployment = Deployment()
    answering, killed = replica("s0"), replica("s1")
    answering.last_heartbeat_time.FromSeconds(int(time.time()) - 4_000)
    answering.start_time.FromSeconds(int(time.time()) - 4_000 - age)
    killed.last_heartbeat_time.FromSeconds(int(time.time()) - 4_000 - silence)
    deployment.system.replicas.extend([answering, killed])
    status, findings = examined(deployment)
    assert (status, len(findings)) == (0, told)
    for finding in findings:
        assert finding["message"].startswith("s1 has said nothing for 45 s: it was killed, is frozen, or")


@pytest.mark.parametrize("code", [StatusCode.UNIMPLEMENTED, StatusCode.PERMISSION_DENIED])
def test_a_scheduler_without_get_system_is_tolerated(code: StatusCode) -> None:
    """It is older, or our token's role may not ask."""
    deployment = Deployment()
    answers = deployment.answers()
    answers["GetSystem"] = lambda request, context: refuse(context, code, "ROLE_FORBIDDEN", "not for this role")
    with scripted(**answers) as target:
        result = run("-s", target, "-o", "json", "doctor")
    assert not [finding for finding in json.loads(result.out) if finding["check"] == "schedulers"]
    assert result.status == 0


def test_a_lost_database_is_found() -> None:
    deployment = Deployment()
    deployment.away = ["TaskService"]
    status, (finding,) = examined(deployment)
    assert (status, finding["check"], finding["level"]) == (1, "database", "fail")
    assert "NOT_SERVING: TaskService" in finding["message"]


def test_without_a_database_one_check_that_needs_it_is_made() -> None:
    def away(request: object, context: grpc.ServicerContext) -> None:
        refuse(context, StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "the database is away")

    answers = Deployment().answers()
    answers["GetSystem"] = answers["GetWorkerPool"] = away
    with scripted(**answers) as target:
        result = run("-s", target, "-o", "json", "doctor")
    *_, last = json.loads(result.out)
    assert (result.status, last["check"], last["level"]) == (1, "schedulers", "fail")
    assert last["message"].startswith("the database is away, so these were not looked at: workers, queue, ")
    assert last["advice"] == "look at PostgreSQL and the scheduler's log"


@pytest.mark.parametrize(
    ("role", "token", "level", "told"),
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
    role: str, token: str, level: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTENTGEN_TOKEN", token)
    deployment = Deployment()
    deployment.role = role
    with scripted(**deployment.answers()) as target:
        result = run("-s", target, "-o", "json", "doctor")
    (finding,) = [finding for finding in json.loads(result.out) if finding["check"] == "token"]
    assert finding["level"] == level
    assert told in finding["message"]


def test_a_token_from_a_file_is_used(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("known\n")
    deployment = Deployment()
    deployment.role = "operator"
    with scripted(**deployment.answers()) as target:
        result = run("--token-file", str(tmp_path / "token"), "-s", target, "doctor")
    assert "accepted, with the role operator" in result.out
