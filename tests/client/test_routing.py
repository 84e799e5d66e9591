"""What a call says of its cell: of an account, an id, or neither."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from contentgen.client.routing import cell_of, route
from contentgen.rpcs import METHODS
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.ids import FIRST_ID_BITS, KEY_MAX, MAX_CELL, format_task_id, make_key, make_past_key

pytestmark = pytest.mark.unit

OF_NO_ACCOUNT = {
    "AccountService/CreateAccount", "AccountService/ImportAccount", "AccountService/ListAccounts",
    "AssetService/GetAsset", "AssetService/GetAssetInfo", "NotificationService/ListChannels",
    "ScheduleService/GetNextRuns", "SystemService/GetCaller", "SystemService/GetSystem", "SystemService/ListTokens",
    "SystemService/RevokeToken", "SystemService/SetMaintenance", "WorkerPoolService/DrainWorker",
    "WorkerPoolService/GetDispatchStatus", "WorkerPoolService/GetWorkerPool", "WorkerPoolService/ResizeWorker",
    "WorkerPoolService/UndrainWorker", "WorkerService/Lease", "WorkerService/PutAsset",
}  # fmt: skip
"""Workers and operators address their cell, and so do callers who have no account, or ask for all."""
FIRST = 3 << FIRST_ID_BITS | 1
TASK = format_task_id(make_key(1_700_000_000_000, 5, cell=3))


def filled(descriptor: Descriptor, depth: int = 2) -> Any:
    """A request in which each id is one of cell 3."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        value: Any = None
        if field.name.rstrip("s").endswith("_id"):
            value = FIRST if field.type == FieldDescriptor.TYPE_INT64 else TASK
        elif field.message_type and depth and not field.message_type.GetOptions().map_entry:
            value = filled(field.message_type, depth - 1)
        if value is None:
            continue
        if field.is_repeated:
            getattr(message, field.name).append(value)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message


def test_each_call_about_one_account_names_its_cell() -> None:
    routes = {name: dict(route(filled(method.input_type))) for name, method in METHODS.items()}
    assert {name for name, said in routes.items() if not said} == OF_NO_ACCOUNT
    assert {said["contentgen-cell"] for said in routes.values() if said} == {"3"}
    assert {said.get("contentgen-account") for said in routes.values()} == {str(FIRST), None}


@pytest.mark.parametrize("cell", [0, 1, 511, MAX_CELL])
def test_an_id_tells_its_cell(cell: int) -> None:
    for sequence in (0, 511, (1 << 19) - 1, 1 << 19, KEY_MAX):
        assert cell_of(format_task_id(make_key(1_700_000_000_000, sequence, cell))) == cell
    assert {cell_of((cell << FIRST_ID_BITS) + number) for number in (1, 1 << 42, (1 << 43) - 1)} == {cell}


@pytest.mark.parametrize("number", [0, (1 << 19) - 1, 1 << 19, (1 << 20) - 1, 1 << 40])
def test_what_came_from_elsewhere_is_of_cell_0(number: int) -> None:
    assert cell_of(format_task_id(make_past_key(1_700_000_000_000, number))) == 0


def test_the_client_s_account_counts_where_a_request_names_none() -> None:
    assert dict(route(pb.ListTasksRequest(), FIRST)) == said(FIRST, 3)
    assert dict(route(pb.GetTaskRequest(task_id=TASK), 7)) == said(7, 3), "the id's cell, unless a proxy knows better"
    assert dict(route(pb.ListTasksRequest(account_id=8), FIRST)) == said(8, 0)
    claim = content_pb.ClaimReviewRequest(account_id=8, content_id=FIRST)
    assert dict(route(claim)) == {"contentgen-cell": "3"}, "the account counts for nothing there"


@pytest.mark.parametrize("request_", [pb.GetTaskRequest(task_id="task-x"), pb.GetTaskStatsRequest(account_id=-1), b""])
def test_what_is_no_id_says_nothing(request_: Any) -> None:
    assert route(request_) == ()


def said(account: int, cell: int) -> dict[str, str]:
    return {"contentgen-account": str(account), "contentgen-cell": str(cell)}
