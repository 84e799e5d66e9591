"""A row for each RPC: who may call it and about which accounts, what it changes, and whether it may be repeated.

The scheduler checks tokens, counts calls and keeps the audit by it, and the client repeats calls by it. Layer: above
`v1`, below `client`; the scheduler uses it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from contentgen.v1 import (
    account_service_pb2,
    asset_service_pb2,
    audit_service_pb2,
    content_service_pb2,
    notification_service_pb2,
    schedule_service_pb2,
    system_service_pb2,
    task_service_pb2,
    webhook_service_pb2,
    worker_pool_service_pb2,
    worker_service_pb2,
)

ACCOUNT_FIELDS = ("account_id", "filter.account_id", "account.account_id")
"""Where requests name accounts. The `account_id` of a resource that they update is not read."""
PERSON = "contentgen-on-behalf-of-bin"
"""The metadata that names the person for whom a call with a token that delegates is made: JSON with `name`, `role`, and
`accounts` if it is tied to some.
"""
Accounts = Callable[[Any], set[int]]
"""Reads the ids of the accounts that a request names; 0 names none."""


class Change(NamedTuple):
    """What an RPC changes, for the audit.

    Attributes:
        kind: the first part of an event's resource.
        named: the path of its id in the request; empty: it names none.
        made: the path of the resource in the response; empty: it has none.
        several: these are paths of lists of messages with ids.
        claims: a call that finds nothing changes nothing.
        awaited: the answer waits until the event is stored.
        otherwise: kind and path of what a request names that does not name the former.
        tells: a field of the request whose value is told; that of a text must not be.
    """

    kind: str
    named: str = ""
    made: str = ""
    several: bool = False
    claims: bool = False
    awaited: bool = True
    otherwise: tuple[str, str] | None = None
    tells: str = ""


class Rpc(NamedTuple):
    """An RPC of the contract.

    Attributes:
        callers: the roles that may call it beside `operator`, which may call all.
        changes: None if it only reads, or if only workers call it.
        all_accounts: what a call that names no account is about, if a token that is tied to accounts may not make it.
            Empty: it is about all accounts of the token.
        accounts: reads the accounts that its request names, if their fields are none of `ACCOUNT_FIELDS`.
        repeatable: a call that comes twice changes nothing more and has the same answer, so that the client repeats it
            when its outcome is unknown: UNAVAILABLE, as of a commit. A call that is idempotent but answers how much it
            moved is none: a second attempt would answer too little. Streams reconnect by themselves.
        submits: it creates tasks, so that maintenance refuses it.
        may_be_stale: it may show what was so a moment ago, so that a standby may answer it. One that gives the etag of
            a change, or tells of a task by which its caller goes on, is none.
        counted_as: the kind that a caller's calls in progress are limited by: `call`, `wait`, `watch` or `lease`.
    """

    name: str
    callers: str
    changes: Change | None = None
    all_accounts: str = ""
    accounts: Accounts | None = None
    repeatable: bool = False
    submits: bool = False
    may_be_stale: bool = False
    counted_as: str = "call"


_TASK = Change("task", "task_id", "task")
_CONTENT = Change("content", "content_id", "content")
_ENTRY = Change("content", "content_id", "entry")
_OF_ACCOUNT = Change("account", "account_id")
_OF_FILTER = Change("account", "filter.account_id")
_WORKER = Change("worker", "worker_id", "worker")
_SCHEDULE = Change("schedule", "schedule_id", "schedule")
_WEBHOOK = Change("webhook", "webhook_id", "webhook")
_ALL_WORKERS = "the workers, which serve all accounts"
_DISPATCH = "dispatch as a whole"
_TOKENS = "the tokens, which are for all accounts"

_ROWS = {
    task_service_pb2: (
        Rpc("SubmitTask", "client", Change("task", made="task", awaited=False), repeatable=True, submits=True),
        Rpc(
            "BatchSubmitTasks",
            "client",
            Change("task", "requests", "tasks", several=True, awaited=False),
            accounts=lambda batch: {request.account_id for request in batch.requests[:1_000]},  # no batch may have more
            repeatable=True,
            submits=True,
        ),
        Rpc("GetTask", "client reviewer viewer", repeatable=True),
        Rpc("BatchGetTasks", "client reviewer viewer", repeatable=True),
        Rpc("ListTasks", "client reviewer viewer", repeatable=True, may_be_stale=True),
        Rpc("CancelTask", "client", _TASK),
        Rpc("UpdateTask", "client", Change("task", "task.task_id", "task")),
        Rpc("RetryTask", "client", _TASK),
        Rpc("BulkCancelTasks", "client", _OF_FILTER),
        Rpc("BulkRetryTasks", "client", _OF_FILTER),
        Rpc("CleanupTasks", "client", _OF_FILTER),
        Rpc("WaitTask", "client reviewer viewer", repeatable=True, counted_as="wait"),
        Rpc("WatchTasks", "client reviewer viewer", counted_as="watch"),
        Rpc("ListTaskEvents", "client reviewer viewer", repeatable=True, may_be_stale=True),
        Rpc("ListAttemptLogs", "client reviewer viewer", repeatable=True, may_be_stale=True),
        Rpc("TailAttempt", "client reviewer viewer", counted_as="watch"),
        Rpc("GetTaskStats", "client reviewer viewer", repeatable=True, may_be_stale=True),
        Rpc("GetTaskHistory", "client reviewer viewer", repeatable=True, may_be_stale=True),
        Rpc("PollRunningTasks", "client", _OF_ACCOUNT, repeatable=True),
        Rpc("PollTask", "client", Change("task", "task_id"), repeatable=True),
        Rpc("HandleTimeouts", "client", _OF_ACCOUNT),
    ),
    worker_service_pb2: (
        Rpc("Lease", "worker", all_accounts=_ALL_WORKERS, counted_as="lease"),
        Rpc("PutAsset", "worker", all_accounts=_ALL_WORKERS),
    ),
    worker_pool_service_pb2: (
        Rpc("GetWorkerPool", "client viewer", repeatable=True),
        Rpc("DrainWorker", "", _WORKER, all_accounts=_ALL_WORKERS),
        Rpc("UndrainWorker", "", _WORKER, all_accounts=_ALL_WORKERS),
        Rpc("ResizeWorker", "", _WORKER._replace(tells="slots"), all_accounts=_ALL_WORKERS),
        Rpc("PauseDispatch", "", _OF_ACCOUNT, all_accounts=_DISPATCH),
        Rpc("ResumeDispatch", "", _OF_ACCOUNT, all_accounts=_DISPATCH),
        Rpc("GetDispatchStatus", "client viewer", repeatable=True),
    ),
    content_service_pb2: (
        Rpc("GetContent", "client reviewer publisher viewer", repeatable=True),
        Rpc("ListContents", "client reviewer publisher viewer", repeatable=True, may_be_stale=True),
        Rpc("UpdateContent", "client reviewer", Change("content", "content.content_id", "content")),
        Rpc("ListContentRevisions", "client reviewer publisher viewer", repeatable=True, may_be_stale=True),
        Rpc("RestoreContentRevision", "client reviewer", _CONTENT),
        Rpc("UploadAsset", "client reviewer", Change("content", made="content")),
        Rpc("RemoveAsset", "client reviewer", _CONTENT),
        Rpc("AddComment", "client reviewer", Change("content", "content_id")),
        Rpc("ListComments", "client reviewer publisher viewer", repeatable=True, may_be_stale=True),
        Rpc("ListReviewEvents", "client reviewer publisher viewer", repeatable=True, may_be_stale=True),
        Rpc("AssignReview", "client reviewer", _CONTENT, repeatable=True),
        Rpc("ReviewContent", "client reviewer", _CONTENT._replace(tells="decision")),
        Rpc("BatchReviewContents", "client reviewer", Change("content", "requests", "contents", several=True)),
        Rpc("ReopenContent", "client reviewer", _CONTENT),
        Rpc(
            "ClaimReview",
            "client reviewer",
            Change("content", made="content", claims=True),
            accounts=lambda claim: set() if claim.content_id else {claim.account_id},
        ),
        Rpc("ReleaseReview", "client reviewer", _CONTENT),
        Rpc("RegenerateContent", "client reviewer", Change("content", "content_id", "task"), submits=True),
        Rpc("DeleteContent", "client", Change("content", "content_id")),
        Rpc("ListPublishPool", "client reviewer publisher viewer", repeatable=True, may_be_stale=True),
        Rpc("UpdatePublishPoolEntry", "client reviewer", Change("content", "entry.content_id", "entry")),
        Rpc("RemoveFromPublishPool", "client reviewer", Change("content", "content_id")),
        Rpc("RetryPublish", "client reviewer", _ENTRY),
        Rpc("ClaimPublishPool", "client publisher", Change("content", made="entries", several=True, claims=True)),
        Rpc("RenewPublishClaim", "client publisher", _ENTRY, repeatable=True),
        Rpc("ReportPublished", "client publisher", _ENTRY._replace(tells="published")),
        Rpc("ListPublishAttempts", "client reviewer publisher viewer", repeatable=True, may_be_stale=True),
    ),
    asset_service_pb2: (
        Rpc("GetAsset", "client reviewer publisher viewer"),
        Rpc("GetAssetInfo", "client reviewer publisher viewer", repeatable=True),
    ),
    account_service_pb2: (
        Rpc("CreateAccount", "", Change("account", made="account"), all_accounts="new accounts"),
        Rpc("GetAccount", "client reviewer viewer", repeatable=True),
        Rpc("ListAccounts", "client reviewer viewer", repeatable=True),
        Rpc("UpdateAccount", "", Change("account", "account.account_id", "account")),
        Rpc("DeactivateAccount", "", _OF_ACCOUNT),
        Rpc("EraseAccount", "", _OF_ACCOUNT._replace(tells="dry_run")),
        Rpc("ExportAccount", "", _OF_ACCOUNT),
        Rpc("ImportAccount", "", Change("account", made="account"), all_accounts="new accounts"),
    ),
    schedule_service_pb2: (
        Rpc("CreateSchedule", "client", Change("schedule", made="schedule")),
        Rpc("GetSchedule", "client viewer", repeatable=True),
        Rpc("ListSchedules", "client viewer", repeatable=True, may_be_stale=True),
        Rpc("GetNextRuns", "client viewer", repeatable=True),
        Rpc("UpdateSchedule", "client", Change("schedule", "schedule.schedule_id", "schedule")),
        Rpc("DeleteSchedule", "client", Change("schedule", "schedule_id")),
        Rpc("PauseSchedule", "client", _SCHEDULE),
        Rpc("ResumeSchedule", "client", _SCHEDULE),
        Rpc("RunSchedule", "client", Change("schedule", "schedule_id", "task"), submits=True),
    ),
    system_service_pb2: (
        Rpc("GetSystem", "viewer", all_accounts="the schedulers, which serve all accounts", repeatable=True),
        Rpc("GetCaller", "client reviewer publisher viewer worker", repeatable=True),
        Rpc("ListTokens", "", all_accounts=_TOKENS, repeatable=True),
        Rpc("RevokeToken", "", Change("token", "name", "token"), all_accounts=_TOKENS, repeatable=True),
        Rpc(
            "SetMaintenance",
            "",
            Change("maintenance", tells="until_time"),
            all_accounts="maintenance, which is for all accounts",
            repeatable=True,
        ),
    ),
    webhook_service_pb2: (
        Rpc("CreateWebhook", "", Change("webhook", made="webhook"), all_accounts="webhooks of all accounts"),
        Rpc("GetWebhook", "viewer", repeatable=True),
        Rpc("ListWebhooks", "viewer", repeatable=True),
        Rpc("UpdateWebhook", "", Change("webhook", "webhook.webhook_id", "webhook")),
        Rpc("DeleteWebhook", "", Change("webhook", "webhook_id")),
        Rpc("RotateWebhookSecret", "", _WEBHOOK),
        Rpc("PingWebhook", "", Change("webhook", "webhook_id")),
        Rpc("ListDeliveries", "viewer", repeatable=True, may_be_stale=True),
        Rpc("RedeliverWebhook", "", Change("delivery", "delivery_id", otherwise=("webhook", "webhook_id"))),
    ),
    notification_service_pb2: (
        Rpc(
            "CreateChannel",
            "",
            Change("channel", made="channel"),
            all_accounts="channels of all accounts",
            accounts=lambda create: set(create.channel.account_ids[:1_000]),  # no channel may have more
        ),
        Rpc("ListChannels", "viewer", repeatable=True),
        Rpc("UpdateChannel", "", Change("channel", "channel.channel_id", "channel")),
        Rpc("DeleteChannel", "", Change("channel", "channel_id")),
        Rpc("TestChannel", "", Change("channel", "channel_id")),
    ),
    audit_service_pb2: (Rpc("ListAuditEvents", "viewer", repeatable=True, may_be_stale=True),),
}

SERVICES: Mapping[str, ServiceDescriptor] = {
    service.name: service for module in _ROWS for service in module.DESCRIPTOR.services_by_name.values()
}
"""The services of the contract, by their names."""
METHODS: Mapping[str, MethodDescriptor] = {
    f"{service.name}/{method.name}": method for service in SERVICES.values() for method in service.methods
}
"""What the protos say of each RPC, by its name as `TaskService/SubmitTask`."""
RPCS: Mapping[str, Rpc] = {
    f"{service}/{rpc.name}": rpc
    for module, rows in _ROWS.items()
    for service in module.DESCRIPTOR.services_by_name
    for rpc in rows
}
"""The row of each."""


def path_of(name: str) -> str:
    """Returns the path by which gRPC calls an RPC, such as `/contentgen.v1.TaskService/SubmitTask`."""
    return f"/contentgen.v1.{name}"


def accounts_of(name: str) -> Accounts | None:
    """Returns what reads the accounts that a request of an RPC names. Returns None if it has no field for one."""
    fields = METHODS[name].input_type.fields_by_name
    read = [attrgetter(path) for path in ACCOUNT_FIELDS if path.partition(".")[0] in fields]
    return RPCS[name].accounts or ((lambda request: {get(request) for get in read}) if read else None)
