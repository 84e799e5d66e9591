"""How gRPC itself chooses a scheduler, and what it retries on another: the service config of the client's channel.

Layer: client, below `connection`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.descriptor import ServiceDescriptor

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import asset_service_pb2 as asset_pb
from contentgen.v1 import audit_service_pb2 as audit_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import schedule_service_pb2 as schedule_pb
from contentgen.v1 import system_service_pb2 as system_pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import webhook_service_pb2 as webhook_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb

_TASKS = task_pb.DESCRIPTOR.services_by_name["TaskService"]
_CONTENTS = content_pb.DESCRIPTOR.services_by_name["ContentService"]
_ASSETS = asset_pb.DESCRIPTOR.services_by_name["AssetService"]
_ACCOUNTS = account_pb.DESCRIPTOR.services_by_name["AccountService"]
_POOL = pool_pb.DESCRIPTOR.services_by_name["WorkerPoolService"]
_SCHEDULES = schedule_pb.DESCRIPTOR.services_by_name["ScheduleService"]
_SYSTEM = system_pb.DESCRIPTOR.services_by_name["SystemService"]
_WEBHOOKS = webhook_pb.DESCRIPTOR.services_by_name["WebhookService"]
_AUDIT = audit_pb.DESCRIPTOR.services_by_name["AuditService"]

RETRIED: Mapping[ServiceDescriptor, Sequence[str]] = {
    _TASKS: (
        "SubmitTask",  # carries a request_id, always
        "BatchSubmitTasks",  # each of its requests does
        "GetTask",
        "BatchGetTasks",
        "ListTasks",
        "WaitTask",
        "ListTaskEvents",
        "ListAttemptLogs",
        "GetTaskStats",
        "GetTaskHistory",
        "PollRunningTasks",
        "PollTask",
    ),
    _CONTENTS: (
        "GetContent",
        "ListContents",
        "ListContentRevisions",
        "ListPublishPool",
        "ListPublishAttempts",
        "RenewPublishClaim",
    ),
    _ASSETS: ("GetAssetInfo",),
    _ACCOUNTS: ("GetAccount", "ListAccounts"),
    _POOL: ("GetWorkerPool", "GetDispatchStatus"),
    _SCHEDULES: ("GetSchedule", "ListSchedules", "GetNextRuns"),
    _SYSTEM: ("GetSystem", "GetCaller"),
    _WEBHOOKS: ("GetWebhook", "ListWebhooks", "ListDeliveries"),
    _AUDIT: ("ListAuditEvents",),
}
"""Calls that change nothing when they come twice. A commit of unknown outcome is UNAVAILABLE too, so no others; nor
those that are idempotent but answer how many they moved: a second attempt would answer too few. A watch reconnects by
itself, and so does the reading of an asset.
"""

_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def service_config() -> str:
    """As JSON, for the channel option `grpc.service_config`."""
    names = [name for service, methods in RETRIED.items() for name in _names(service, methods)]
    return json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],  # else all clients of a list would call its first address
            "methodConfig": [{"name": names, "retryPolicy": _POLICY}],
        }
    )


def _names(service: ServiceDescriptor, methods: Iterable[str]) -> Iterable[dict[str, str]]:
    for method in methods:
        assert method in service.methods_by_name, method
        yield {"service": service.full_name, "method": method}
