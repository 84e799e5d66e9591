"""The client's dicts have every field of the API, and their states are those of the protos."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from contentgen.client import documents, results
from contentgen.client.documents import document
from contentgen.rpcs import METHODS
from contentgen.v1 import (
    account_service_pb2,
    asset_pb2,
    audit_service_pb2,
    content_service_pb2,
    schedule_service_pb2,
    system_service_pb2,
    task_pb2,
    task_service_pb2,
    webhook_service_pb2,
    worker_pool_service_pb2,
)


class Pair(NamedTuple):
    """A message and the dict of it."""

    message: type[Message]
    result: Any
    left_out: Mapping[str, str] = MappingProxyType({})
    """Fields that the dict does not have, each with the reason."""


PAIRS = [
    Pair(task_pb2.Task, results.Task),
    Pair(task_pb2.TaskProgress, results.TaskProgress),
    Pair(task_service_pb2.TaskChange, results.TaskChange),
    Pair(task_pb2.TaskEvent, results.TaskEvent),
    Pair(task_pb2.AttemptLog, results.AttemptLog),
    Pair(task_service_pb2.GetTaskStatsResponse, results.TaskStats),
    Pair(task_service_pb2.TaskHistoryPoint, results.TaskHistoryPoint),
    Pair(task_service_pb2.PollRunningTasksResponse, results.PollStats),
    Pair(content_service_pb2.Content, results.Content),
    Pair(content_service_pb2.ContentRevision, results.ContentRevision),
    Pair(asset_pb2.Asset, results.Asset),
    Pair(asset_pb2.LeftOutAsset, results.LeftOutAsset),
    Pair(content_service_pb2.PublishPoolEntry, results.PublishPoolEntry),
    Pair(content_service_pb2.PublishAttempt, results.PublishAttempt),
    Pair(account_service_pb2.Account, results.Account),
    Pair(schedule_service_pb2.Schedule, results.Schedule),
    Pair(
        task_service_pb2.SubmitTaskRequest,
        results.SubmitTemplate,
        {
            "account_id": "it is the schedule's",
            "schedule_time": "no template has it",
            "request_id": "no template has it",
            "expire_time": "no template has it",
            "unique_key": "no template has it",
            "unique_for": "no template has it",
        },
    ),
    Pair(worker_pool_service_pb2.Worker, results.Worker),
    Pair(
        worker_pool_service_pb2.GetWorkerPoolResponse,
        results.WorkerPool,
        {"next_page_token": "the client reads all pages"},
    ),
    Pair(worker_pool_service_pb2.GetDispatchStatusResponse, results.DispatchStatus),
    Pair(system_service_pb2.GetSystemResponse, results.System),
    Pair(system_service_pb2.Replica, results.Replica),
    Pair(system_service_pb2.Lane, results.Lane, {"name": "it is the key of the lane"}),
    Pair(system_service_pb2.LockHolder, results.LockHolder),
    Pair(system_service_pb2.Database, results.Database),
    Pair(system_service_pb2.OldestTransaction, results.OldestTransaction),
    Pair(system_service_pb2.Limits, results.Limits),
    Pair(system_service_pb2.GetCallerResponse, results.Caller),
    Pair(webhook_service_pb2.Webhook, results.Webhook),
    Pair(webhook_service_pb2.Delivery, results.Delivery),
    Pair(audit_service_pb2.AuditEvent, results.AuditEvent),
]
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
    return str(pair.result.__name__)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_each_field_of_a_message_is_seen_in_a_key(pair: Pair) -> None:
    empty = document(pair.result, pair.message())
    unseen = [
        field.name for field in fields(pair.message) if document(pair.result, filled(pair.message, field)) == empty
    ]
    assert set(unseen) == set(pair.left_out)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_each_key_has_the_value_of_a_field(pair: Pair) -> None:
    empty, whole = document(pair.result, pair.message()), document(pair.result, filled(pair.message))
    assert list(whole) == list(get_type_hints(pair.result))
    same = [key for key in whole if whole[key] == empty[key]]
    assert same == (["running"] if pair.result is results.Worker else []), (
        "a worker that drains does not count as running"
    )


def test_each_message_that_an_rpc_answers_has_a_dict() -> None:
    known = {pair.message.DESCRIPTOR.full_name for pair in PAIRS}
    answered = {
        field.message_type.full_name
        for rpc, method in METHODS.items()
        if not rpc.startswith("WorkerService/")
        for field in method.output_type.fields
        if field.message_type is not None and not field.message_type.GetOptions().map_entry
    }
    assert {full_name for full_name in answered if full_name.startswith("contentgen.")} <= known


@pytest.mark.parametrize(("enum", "literal"), LITERALS, ids=[enum.name for enum, _ in LITERALS])
def test_the_states_are_those_of_the_proto(enum: EnumDescriptor, literal: Any) -> None:
    assert list(get_args(literal)) == [documents.label(enum, member.number) for member in enum.values if member.number]


def fields(message: type[Message]) -> list[FieldDescriptor]:
    descriptors: Any = message.DESCRIPTOR.fields  # upb's class is as good
    return list(descriptors)


def filled(message: type[Message], *only: FieldDescriptor) -> Message:
    """With a value other than the default in every field, or in one."""
    instance = message()
    for field in only or fields(message):
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entry: Any = filled(GetMessageClass(field.message_type))
            getattr(instance, field.name)[entry.key] = entry.value
        elif field.is_repeated:
            getattr(instance, field.name).append(value(field))
        elif field.message_type is not None:
            getattr(instance, field.name).CopyFrom(value(field))
        else:
            setattr(instance, field.name, value(field))
    return instance


def value(of: FieldDescriptor) -> Any:
    if of.message_type is not None:
        return filled(GetMessageClass(of.message_type))
    if of.enum_type is not None:
        return of.enum_type.values[1].number
    return {FieldDescriptor.CPPTYPE_STRING: "text", FieldDescriptor.CPPTYPE_BOOL: True}.get(of.cpp_type, 7)
