"""Commands that control workers, dispatch and accounts: what they ask of a scheduler, and what they print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from tests.contract.operators.transcript import Transcript, run
from tests.harness.scripted_server import scripted


class Asked:
    """Answers these commands, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    @contextmanager
    def served(self) -> Iterator[str]:
        with scripted(
            ResizeWorker=self._resize,
            UndrainWorker=self._undrain,
            PauseDispatch=self._pause,
            ResumeDispatch=self._resume,
            UpdateAccount=self._update,
        ) as target:
            yield target

    def _resize(self, request: pool_pb.ResizeWorkerRequest, context: object) -> pool_pb.ResizeWorkerResponse:
        self.requests.append(request)
        worker = pool_pb.Worker(worker_id=request.worker_id, running=True, slots=request.slots, busy_slots=1)
        return pool_pb.ResizeWorkerResponse(worker=worker)

    def _undrain(self, request: pool_pb.UndrainWorkerRequest, context: object) -> pool_pb.UndrainWorkerResponse:
        self.requests.append(request)
        return pool_pb.UndrainWorkerResponse(worker=pool_pb.Worker(worker_id=request.worker_id, connected=True))

    def _pause(self, request: object, context: object) -> pool_pb.PauseDispatchResponse:
        self.requests.append(request)
        return pool_pb.PauseDispatchResponse()

    def _resume(self, request: object, context: object) -> pool_pb.ResumeDispatchResponse:
        self.requests.append(request)
        return pool_pb.ResumeDispatchResponse()

    def _update(self, request: account_pb.UpdateAccountRequest, context: object) -> account_pb.UpdateAccountResponse:
        self.requests.append(request)
        account = account_pb.Account(
            account_id=request.account.account_id, name="newsroom", weight=2, create_time=Timestamp(seconds=1)
        )
        return account_pb.UpdateAccountResponse(account=account)


def test_control_commands_print_the_golden_screens(request: pytest.FixtureRequest) -> None:
    with Asked().served() as target:
        transcript = Transcript(target, request.config.getoption("--update-golden"))
        for words in (
            ("worker", "resize", "host-1-3f2a", "8"),
            ("worker", "undrain", "host-1-3f2a"),
            ("dispatch", "pause", "--all"),
            ("dispatch", "pause", "--account", "1"),
            ("-o", "json", "dispatch", "pause", "--all"),
            ("dispatch", "resume", "--all"),
            ("-o", "jsonl", "dispatch", "resume", "--account", "1"),
            ("account", "update", "1", "--inactive"),
        ):
            transcript.add(words, run("-s", target, *words))
    transcript.check("control")


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ("worker resize w1 8", pool_pb.ResizeWorkerRequest(worker_id="w1", slots=8)),
        ("worker undrain w1", pool_pb.UndrainWorkerRequest(worker_id="w1")),
        ("dispatch pause --all", pool_pb.PauseDispatchRequest()),
        ("dispatch pause --account 7", pool_pb.PauseDispatchRequest(account_id=7)),
        ("dispatch resume --all", pool_pb.ResumeDispatchRequest()),
        ("dispatch resume -a 7", pool_pb.ResumeDispatchRequest(account_id=7)),
    ],
)
def test_commands_send_the_right_requests(words: str, request_: object) -> None:
    scheduler = Asked()
    with scheduler.served() as target:
        assert run("-s", target, *words.split()).status == 0
    assert scheduler.requests == [request_]


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (["--inactive"], {"active": False}),
        (["--active", "--weight", "0.5"], {"active": True, "weight": 0.5}),
        (["--name", "新闻", "--max-concurrent-tasks", "0"], {"name": "新闻", "max_concurrent_tasks": 0}),
        (["--max-pending-tasks", "9", "--max-priority", "0"], {"max_pending_tasks": 9, "max_priority": 0}),
        (["--max-starts-per-minute", "60"], {"max_starts_per_minute": 60}),
        (["--max-asset-bytes", "5000000000"], {"max_asset_bytes": 5_000_000_000}),
    ],
)
def test_an_update_names_only_the_given_fields(flags: list[str], changes: dict[str, Any]) -> None:
    scheduler = Asked()
    with scheduler.served() as target:
        assert run("-s", target, "account", "update", "3", *flags).status == 0
    (request,) = scheduler.requests
    assert request.account == account_pb.Account(account_id=3, **changes)
    assert set(request.update_mask.paths) == set(changes)


async def test_an_account_is_changed_by_a_real_scheduler(contentgen: Transcript, account: int) -> None:
    result = await contentgen("-o", "json", "account", "update", "1", "--inactive", "--weight", "0.5")
    assert result.status == 0, result.err
    fields = json.loads(result.out)
    assert (fields["active"], fields["weight"], fields["name"]) == (False, 0.5, "an account")
    result = await contentgen("task", "submit", "-a", "1", "a topic")
    assert result.status == 5
    assert "account update ID --active" in result.err
    assert (await contentgen("account", "update", "1", "--active")).status == 0
    assert (await contentgen("task", "submit", "-a", "1", "a topic")).status == 0
    assert (await contentgen("account", "update", "1", "--weight", "0")).status == 2
    assert (await contentgen("account", "update", "99", "--active")).status == 3


async def test_schedules_are_resumed_by_a_real_scheduler(contentgen: Transcript, account: int) -> None:
    created = await contentgen("-o", "json", "schedule", "create", "-a", "1", "--cron", "0 0 1 1 *", "--paused", "News")
    assert json.loads(created.out)["next_run_times"] == []
    assert (await contentgen("schedule", "resume", "1")).out == "1  active\n"
    schedule = json.loads((await contentgen("-o", "json", "schedule", "show", "1")).out)
    assert (schedule["paused"], len(schedule["next_run_times"])) == (False, 5)
    updated = await contentgen(
        "-o", "json", "schedule", "update", "1", "--topic", "Other news", "--label", "a=b", "--cron", "0 0 2 1 *"
    )
    changed_schedule = json.loads(updated.out)
    assert (changed_schedule["template"]["topic"], changed_schedule["template"]["labels"]) == ("Other news", {"a": "b"})
    assert changed_schedule["next_run_times"] > schedule["next_run_times"]
    assert (await contentgen("schedule", "show", "99")).status == 3
    assert (await contentgen("schedule", "update", "1", "--cron", "x")).status == 2
