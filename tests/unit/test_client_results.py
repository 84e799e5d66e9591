"""The client's dicts have every field of the API, and their states are those of the protos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import pytest
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from contentgen.client import documents, results
from contentgen.v1 import (
    account_service_pb2,
    asset_pb2,
    asset_service_pb2,
    audit_service_pb2,
    content_service_pb2,
    schedule_service_pb2,
    system_service_pb2,
    task_pb2,
    task_service_pb2,
    webhook_service_pb2,
    worker_pool_service_pb2,
)

TIMES = {
    "create_time": "created_at",
    "submit_time": "submitted_at",
    "start_time": "started_at",
    "end_time": "completed_at",
    "timeout_time": "timeout_at",
    "connect_time": "connected_at",
    "last_heartbeat_time": "last_heartbeat_at",
    "unhealthy_time": "unhealthy_since",
    "review_time": "reviewed_at",
    "review_claim_expire_time": "review_claim_expires_at",
    "next_attempt_time": "next_attempt_at",
    "next_run_times": "next_runs_at",
    "last_run_time": "last_run_at",
    "previous_secret_expire_time": "previous_secret_expires_at",
}


@dataclass(frozen=True)
class Pair:
    """A message and the dict of it."""

    message: type[Message]
    result: type
    document: Callable[[Any], Any]
    renamed: Mapping[str, str] = field(default_factory=dict)
    """The keys of fields that are called otherwise."""
    added: frozenset[str] = frozenset()
    """Keys that are worked out of several fields."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Fields that the dict does not have, each with the reason."""


PAGES = {"next_page_token": "the client reads all pages"}
PAIRS = [
    Pair(
        task_pb2.Task,
        results.Task,
        documents.task,
        added=frozenset({"error_reason", "error_message", "error_details"}),
    ),
    Pair(task_service_pb2.TaskChange, results.TaskChange, documents.task_change),
    Pair(task_pb2.TaskEvent, results.TaskEvent, documents.task_event),
    Pair(task_pb2.AttemptLog, results.AttemptLog, documents.attempt_log, renamed={"end_time": "ended_at"}),
    Pair(task_service_pb2.GetTaskStatsResponse, results.TaskStats, documents.task_stats),
    Pair(task_service_pb2.TaskHistoryPoint, results.TaskHistoryPoint, documents.task_history_point),
    Pair(task_service_pb2.PollRunningTasksResponse, results.PollStats, documents.poll_stats),
    Pair(content_service_pb2.Content, results.Content, documents.content),
    Pair(content_service_pb2.ContentRevision, results.ContentRevision, documents.content_revision),
    Pair(asset_pb2.Asset, results.Asset, documents.asset),
    Pair(
        content_service_pb2.PublishPoolEntry,
        results.PublishPoolEntry,
        documents.publish_pool_entry,
        renamed={
            "schedule_time": "scheduled_at",
            "claim_expire_time": "claim_expires_at",
        },
    ),
    Pair(
        content_service_pb2.PublishAttempt,
        results.PublishAttempt,
        documents.publish_attempt,
        renamed={"end_time": "ended_at"},
    ),
    Pair(account_service_pb2.Account, results.Account, documents.account),
    Pair(schedule_service_pb2.Schedule, results.Schedule, documents.schedule),
    Pair(worker_pool_service_pb2.Worker, results.Worker, documents.worker, added=frozenset({"running"})),
    Pair(
        worker_pool_service_pb2.GetWorkerPoolResponse,
        results.WorkerPool,
        documents.worker_pool,
        renamed={"workers": "worker_statuses"},
        added=frozenset({"total_slots"}),
        left_out=PAGES,
    ),
    Pair(worker_pool_service_pb2.GetDispatchStatusResponse, results.DispatchStatus, documents.dispatch_status),
    Pair(system_service_pb2.GetSystemResponse, results.System, documents.system),
    Pair(system_service_pb2.GetCallerResponse, results.Caller, documents.caller),
    Pair(webhook_service_pb2.Webhook, results.Webhook, documents.webhook),
    Pair(webhook_service_pb2.Delivery, results.Delivery, documents.delivery, renamed={"end_time": "ended_at"}),
    Pair(audit_service_pb2.AuditEvent, results.AuditEvent, documents.audit_event),
]
WITHIN = [
    Pair(
        task_service_pb2.SubmitTaskRequest,
        results.SubmitTemplate,
        documents.template,
        left_out={
            "account_id": "it is the schedule's",
            "schedule_time": "no template has it",
            "request_id": "no template has it",
            "expire_time": "no template has it",
            "unique_key": "no template has it",
            "unique_for": "no template has it",
        },
    ),
    Pair(
        task_pb2.TaskProgress, results.TaskProgress, lambda it: documents.task(task_pb2.Task(progress=it))["progress"]
    ),
    Pair(
        asset_pb2.LeftOutAsset,
        results.LeftOutAsset,
        lambda it: documents.content(content_service_pb2.Content(left_out_assets=[it]))["left_out_assets"][0],
    ),
    Pair(
        system_service_pb2.Replica,
        results.Replica,
        lambda it: documents.system(system_service_pb2.GetSystemResponse(replicas=[it]))["replicas"][0],
    ),
    Pair(
        system_service_pb2.Lane,
        results.Lane,
        lambda it: documents.system(
            system_service_pb2.GetSystemResponse(replicas=[system_service_pb2.Replica(lanes=[it])])
        )["replicas"][0]["lanes"][it.name],
        left_out={"name": "it is the key of the lane"},
    ),
    Pair(
        system_service_pb2.LockHolder,
        results.LockHolder,
        lambda it: documents.system(system_service_pb2.GetSystemResponse(lock_holders=[it]))["lock_holders"][0],
    ),
    Pair(
        system_service_pb2.Database,
        results.Database,
        lambda it: documents.system(system_service_pb2.GetSystemResponse(database=it))["database"],
    ),
    Pair(
        system_service_pb2.OldestTransaction,
        results.OldestTransaction,
        lambda it: documents.system(system_service_pb2.GetSystemResponse(oldest_transaction=it))["oldest_transaction"],
    ),
    Pair(
        system_service_pb2.Limits,
        results.Limits,
        lambda it: documents.system(system_service_pb2.GetSystemResponse(limits=it))["limits"],
    ),
]
ALL = [*PAIRS, *WITHIN]
LITERALS: list[tuple[EnumDescriptor, Any]] = [
    (documents.TASK_STATUS, results.TaskStatus),
    (documents.PENDING_REASON, results.PendingReason),
    (documents.REVIEW_STATUS, results.ReviewStatus),
    (documents.PUBLISH_STATUS, results.PublishStatus),
    (documents.CATCH_UP, results.CatchUp),
    (documents.OVERLAP, results.Overlap),
    (documents.DELIVERY_STATUS, results.DeliveryStatus),
    (documents.RESOLUTION, results.Resolution),
]


def name(pair: Pair) -> str:
    return pair.result.__name__


@pytest.mark.parametrize("pair", ALL, ids=name)
def test_each_field_of_a_message_has_a_key(pair: Pair) -> None:
    names = {**TIMES, **pair.renamed}
    keys = {names.get(each.name, each.name) for each in fields(pair.message) if each.name not in pair.left_out}
    assert keys | pair.added == set(get_type_hints(pair.result))


@pytest.mark.parametrize("pair", ALL, ids=name)
def test_each_key_has_a_value_of_its_field(pair: Pair) -> None:
    whole, empty = pair.document(filled(pair.message)), pair.document(pair.message())
    assert set(whole) == set(empty) == set(get_type_hints(pair.result))
    assert not {key for key in whole if whole[key] == empty[key]} - pair.added


def test_each_message_that_an_rpc_answers_has_a_dict() -> None:
    known = {pair.message.DESCRIPTOR.full_name for pair in ALL}
    files = (
        task_service_pb2,
        content_service_pb2,
        asset_service_pb2,
        account_service_pb2,
        schedule_service_pb2,
        worker_pool_service_pb2,
        system_service_pb2,
        webhook_service_pb2,
    )
    answered = {
        each.message_type.full_name
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        for each in method.output_type.fields
        if each.message_type is not None and not each.message_type.GetOptions().map_entry
    }
    assert {each for each in answered if each.startswith("contentgen.")} <= known


@pytest.mark.parametrize(("enum", "literal"), LITERALS, ids=[enum.name for enum, _ in LITERALS])
def test_the_states_are_those_of_the_proto(enum: EnumDescriptor, literal: Any) -> None:
    assert list(get_args(literal)) == [documents.label(enum, each.number) for each in enum.values if each.number]


def fields(message: type[Message]) -> list[FieldDescriptor]:
    found: Any = message.DESCRIPTOR.fields  # upb's class is as good
    return list(found)


def filled(message: type[Message]) -> Message:
    """With a value other than the default in every field."""
    made = message()
    for each in fields(message):
        if each.message_type is not None and each.message_type.GetOptions().map_entry:
            entry: Any = filled(GetMessageClass(each.message_type))
            getattr(made, each.name)[entry.key] = entry.value
        elif each.is_repeated:
            getattr(made, each.name).append(value(each))
        elif each.message_type is not None:
            getattr(made, each.name).CopyFrom(value(each))
        else:
            setattr(made, each.name, value(each))
    return made


def value(of: FieldDescriptor) -> Any:
    if of.message_type is not None:
        return filled(GetMessageClass(of.message_type))
    if of.enum_type is not None:
        return of.enum_type.values[1].number
    return {FieldDescriptor.CPPTYPE_STRING: "text", FieldDescriptor.CPPTYPE_BOOL: True}.get(of.cpp_type, 7)
