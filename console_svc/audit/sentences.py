"""What calls of the audit did, in sentences: one for each RPC that changes something."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from console_svc.contents.content import TEXTS
from console_svc.submits.fields import TYPED
from console_svc.web.language import text
from contentgen import AuditEvent
from contentgen.account_fields import FIELDS
from contentgen.rpcs import RPCS

SENTENCES: Mapping[str, str] = {
    "TaskService/SubmitTask": text("{who} submitted {what}"),
    "TaskService/BatchSubmitTasks": text("{who} submitted {what}"),
    "TaskService/CancelTask": text("{who} cancelled {what}"),
    "TaskService/UpdateTask": text("{who} changed {what}"),
    "TaskService/RetryTask": text("{who} retried {what}"),
    "TaskService/BulkCancelTasks": text("{who} cancelled all tasks that match a filter"),
    "TaskService/BulkRetryTasks": text("{who} retried all tasks that match a filter"),
    "TaskService/CleanupTasks": text("{who} deleted all ended tasks that match a filter"),
    "TaskService/PollRunningTasks": text("{who} had the running tasks checked"),
    "TaskService/PollTask": text("{who} had {what} checked"),
    "TaskService/HandleTimeouts": text("{who} had overdue tasks ended"),
    "WorkerPoolService/DrainWorker": text("{who} drained {what}"),
    "WorkerPoolService/UndrainWorker": text("{who} let {what} take tasks again"),
    "WorkerPoolService/ResizeWorker": text("{who} changed the slots of {what}"),
    "WorkerPoolService/PauseDispatch": text("{who} paused dispatch"),
    "WorkerPoolService/ResumeDispatch": text("{who} resumed dispatch"),
    "ContentService/UpdateContent": text("{who} edited {what}"),
    "ContentService/RestoreContentRevision": text("{who} restored a revision of {what}"),
    "ContentService/UploadAsset": text("{who} added a file to {what}"),
    "ContentService/RemoveAsset": text("{who} removed a file from {what}"),
    "ContentService/AddComment": text("{who} commented on {what}"),
    "ContentService/AssignReview": text("{who} assigned the review of {what}"),
    "ContentService/ReviewContent": text("{who} decided on {what}"),
    "ContentService/ReviewContent decision: approve": text("{who} approved {what}"),
    "ContentService/ReviewContent decision: reject": text("{who} rejected {what}"),
    "ContentService/BatchReviewContents": text("{who} decided on {what}"),
    "ContentService/ReopenContent": text("{who} reopened the review of {what}"),
    "ContentService/ClaimReview": text("{who} claimed the review of {what}"),
    "ContentService/ReleaseReview": text("{who} released the review of {what}"),
    "ContentService/RegenerateContent": text("{who} had {what} written again"),
    "ContentService/DeleteContent": text("{who} deleted {what}"),
    "ContentService/UpdatePublishPoolEntry": text("{who} changed the publication of {what}"),
    "ContentService/RemoveFromPublishPool": text("{who} took {what} out of the pool"),
    "ContentService/RetryPublish": text("{who} had the publication of {what} tried again"),
    "ContentService/ClaimPublishPool": text("{who} claimed {what} for publication"),
    "ContentService/RenewPublishClaim": text("{who} renewed the claim of {what} for publication"),
    "ContentService/ReportPublished": text("{who} reported how the publication of {what} ended"),
    "ContentService/ReportPublished published: true": text("{who} published {what}"),
    "ContentService/ReportPublished published: false": text("{who} reported that the publication of {what} failed"),
    "AccountService/CreateAccount": text("{who} created {what}"),
    "AccountService/UpdateAccount": text("{who} changed {what}"),
    "AccountService/DeactivateAccount": text("{who} deactivated {what}"),
    "AccountService/EraseAccount": text("{who} erased {what}"),
    "AccountService/EraseAccount dry_run: true": text("{who} counted what {what} has, before an erasure"),
    "AccountService/ExportAccount": text("{who} exported {what}"),
    "AccountService/ImportAccount": text("{who} imported {what}"),
    "ScheduleService/CreateSchedule": text("{who} created {what}"),
    "ScheduleService/UpdateSchedule": text("{who} changed {what}"),
    "ScheduleService/DeleteSchedule": text("{who} deleted {what}"),
    "ScheduleService/PauseSchedule": text("{who} paused {what}"),
    "ScheduleService/ResumeSchedule": text("{who} resumed {what}"),
    "ScheduleService/RunSchedule": text("{who} ran {what} at once"),
    "SystemService/RevokeToken": text("{who} revoked {what}"),
    "SystemService/SetMaintenance": text("{who} turned maintenance on or off"),
    "WebhookService/CreateWebhook": text("{who} created {what}"),
    "WebhookService/UpdateWebhook": text("{who} changed {what}"),
    "WebhookService/DeleteWebhook": text("{who} deleted {what}"),
    "WebhookService/RotateWebhookSecret": text("{who} replaced the secret of {what}"),
    "WebhookService/PingWebhook": text("{who} sent a test event to {what}"),
    "WebhookService/RedeliverWebhook": text("{who} had {what} delivered again"),
    "NotificationService/CreateChannel": text("{who} created {what}"),
    "NotificationService/UpdateChannel": text("{who} changed {what}"),
    "NotificationService/DeleteChannel": text("{who} deleted {what}"),
    "NotificationService/TestChannel": text("{who} sent a test message to {what}"),
}
"""What each call did, if it was done, by its method, or by this and its changes; `{what}` is what it was about."""
ANY = text("{who} called {method}: {what}")
"""Of an RPC that has no sentence."""


class Kind(NamedTuple):
    """What people call a kind of resource. `page`: where the page of one is; empty: it has none."""

    named: str
    unnamed: str
    page: str = ""


KINDS: Mapping[str, Kind] = {
    "task": Kind(text("task {id}"), text("a task"), "/tasks/"),
    "content": Kind(text("content {id}"), text("a content"), "/contents/"),
    "account": Kind(text("account {id}"), text("an account"), "/accounts/"),
    "schedule": Kind(text("schedule {id}"), text("a schedule"), "/schedules/"),
    "webhook": Kind(text("webhook {id}"), text("a webhook"), "/webhooks/"),
    "delivery": Kind(text("delivery {id}"), text("a delivery")),
    "channel": Kind(text("channel {id}"), text("a channel")),
    "worker": Kind(text("worker {id}"), text("a worker")),
    "maintenance": Kind(text("maintenance"), text("maintenance")),
    "token": Kind(text("token {id}"), text("a token")),
}
_LABELS: Mapping[str, str] = {
    **{name: field.label for name, field in TYPED.items()},
    **{field.name: field.label for field in FIELDS},
    **TEXTS,
    "cron": text("When"),
    "time_zone": text("Time zone"),
    "catch_up": text("Missed runs"),
    "event_types": text("Events"),
    "url": text("Address"),
    "active": text("active"),
    "paused": text("paused"),
    "until": text("the last one"),
}
"""What pages call a field that an update may change; one without a label goes by its name."""
_RESOURCE = re.compile(r"(\w+):(\S+)(?: and ([\d,]+) more)?")
_UNSURE = ("CANCELLED", "UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED")
"""Statuses of calls that may have been done all the same."""


class Difference(NamedTuple):
    """A field that an update has changed. Of texts `before` and `after` are empty."""

    field: str
    before: str
    after: str


class Told(NamedTuple):
    """What a page tells of a call. `frame`: what stands round its sentence if it was refused or failed, else empty."""

    event: AuditEvent
    sentence: str
    frame: str
    kind: Kind | None
    name: str
    more: str
    differences: Sequence[Difference]


def told(event: AuditEvent) -> Told:
    method, outcome = event["method"], event["outcome"]
    match = _RESOURCE.fullmatch(event["resource"])
    kind, name, more = match.groups(default="") if match else (_kind(method), "", "")
    status = outcome.partition(" ")[0]
    frame = text("Perhaps not done: {sentence}") if status in _UNSURE else text("Not done: {sentence}")
    sentence = SENTENCES.get(f"{method} {event['changes']}")
    differences = [] if sentence else _differences(event["changes"])
    sentence = sentence or SENTENCES.get(method, ANY)
    return Told(event, sentence, "" if outcome == "OK" else frame, KINDS.get(kind), name, more, differences)


def _differences(changes: str) -> Sequence[Difference]:
    parts = (change.partition(": ") for change in changes.split("; ") if change)
    values = ((name, *value.rpartition(" -> ")) for name, _, value in parts)
    return [Difference(_LABELS.get(name, name), before, after) for name, before, _, after in values]


def _kind(method: str) -> str:
    """Returns the kind of what such calls are about; empty for an RPC that is not known."""
    rpc = RPCS.get(method)
    return rpc.changes.kind if rpc and rpc.changes else ""
