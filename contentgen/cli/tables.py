"""What tables show of each resource: columns of lists, and the lines of a single one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

from contentgen.account_fields import FIELDS, OF_BUDGET
from contentgen.cli import cells
from contentgen.cli.output import Column, Document, fields
from contentgen.doctor.findings import waits_for
from contentgen.submit_fields import BRIEF, Kind

Lines = Iterator[tuple[str, Text | str]]
"""The name and the value of each field."""


def _written(lines: Callable[[Document], Lines]) -> Callable[[Console, Document], None]:
    """Writes these fields of a resource, each on a line."""
    return lambda console, document: fields(console, lines(document))


def _written_with_body(lines: Callable[[Document], Lines]) -> Callable[[Console, Document], None]:
    """Writes these fields of a resource, and its text, which a terminal shows rendered."""

    def write(console: Console, document: Document) -> None:
        fields(console, lines(document))
        if document["body"]:
            body = cells.lines(document["body"]).rstrip()
            console.print()
            if console.is_terminal:
                console.print(Markdown(body, hyperlinks=False))
            else:
                console.print(body, soft_wrap=True)

    return write


def last_error(document: Document) -> str:
    """Returns why a worker, a schedule, a webhook or a delivery failed the last time."""
    return cells.line(document["last_error"])


def worker_state(worker: Document) -> Text:
    """Returns the one word that matters most about a worker."""
    if not (worker["connected"] or worker["running"]):
        return Text("disconnected", "red")
    if worker["unhealthy"]:
        return Text("unhealthy", "red")
    if worker["draining"]:
        return Text("draining", "magenta")
    return Text("busy", "yellow") if worker["busy_slots"] else Text("idle", "green")


def task_error(task: Document) -> str:
    """Returns the reason and the message of what has failed for good."""
    return cells.error(task) if task["status"] in {"failed", "timeout"} else ""


def account_state(account: Document) -> Text:
    """Returns the one word that matters most about an account; `paused` is its own switch of dispatch."""
    if not account["active"]:
        return Text("inactive", "red")
    return Text("paused", "yellow") if account["paused"] else Text("active", "green")


def _most(limit: int) -> str:
    return cells.number(limit) if limit else "-"


TASKS = (
    Column("TASK", lambda task: task["task_id"]),
    Column("ACCOUNT", lambda task: str(task["account_id"]), right=True, wide=True),
    Column("STATUS", cells.state_and_progress),
    Column("PRIO", lambda task: str(task["priority"]), right=True, wide=True),
    Column("ATTEMPT", lambda task: str(task["attempt"]), right=True),
    Column("AGE", lambda task: cells.brief_age(task["create_time"]), right=True),
    Column("CREATED", lambda task: cells.local_time(task["create_time"]), wide=True),
    Column("WORKER", lambda task: cells.line(task["worker_id"]), wide=True),
    Column("STEP", lambda task: cells.line((task["progress"] or {}).get("step")), wide=True),
    Column("TOPIC", lambda task: cells.line(task["topic"])),
)
EVENTS = (
    Column("TIME", lambda event: cells.local_time(event["event_time"])),
    Column("FROM", lambda event: cells.state(event["previous_status"]), wide=True),
    Column("TO", lambda event: cells.state(event["status"])),
    Column("ATTEMPT", lambda event: str(event["attempt"] or ""), right=True),
    Column("REASON", lambda event: cells.line(event["reason"])),
    Column("WORKER", lambda event: cells.line(event["worker_id"])),
)


def _ended(status: str) -> Callable[[Document], str]:
    return lambda point: cells.number(point["counts"][status])


HISTORY = (
    Column("BEGINS", lambda point: cells.local_time(point["time"])),
    Column("SUBMITTED", lambda point: cells.number(point["submitted"]), right=True),
    Column("COMPLETED", _ended("completed"), right=True),
    Column("FAILED", _ended("failed"), right=True),
    Column("TIMEOUT", _ended("timeout"), right=True),
    Column("CANCELLED", _ended("cancelled"), right=True),
    Column("P50", lambda point: cells.duration(point["duration_p50"]), right=True),
    Column("P95", lambda point: cells.duration(point["duration_p95"]), right=True),
    Column("COST", lambda point: f"{point['cost']:.4f}", right=True, wide=True),
)
TOKENS = (
    Column("NAME", lambda token: cells.line(token["name"])),
    Column("ROLE", lambda token: cells.line(token["role"])),
    Column("ACCOUNTS", lambda token: ", ".join(map(str, token["account_ids"])) or "all"),
    Column("FOR OTHERS", lambda token: "yes" if token["delegates"] else "", wide=True),
    Column("VALID", lambda token: str(token["valid_count"]), right=True),
    Column("REVOKED", lambda token: cells.local_time(token["revoke_time"])),
    Column("BY", lambda token: cells.line(token["revoked_by"]), wide=True),
)
AUDIT_EVENTS = (
    Column("TIME", lambda event: cells.local_time(event["event_time"])),
    Column("ACTOR", lambda event: cells.line(event["actor"])),
    Column("ACCOUNT", lambda event: str(event["account_id"] or ""), right=True),
    Column("METHOD", lambda event: cells.line(event["method"])),
    Column("RESOURCE", lambda event: cells.line(event["resource"]), wide=True),
    Column("OUTCOME", lambda event: cells.line(event["outcome"])),
    Column("CHANGES", lambda event: cells.line(event["changes"]), wide=True),
)
COUNTS = (
    Column("STATUS", lambda count: cells.state(count["status"])),
    Column("TASKS", lambda count: cells.number(count["tasks"]), right=True),
)
WORKERS = (
    Column("WORKER", lambda worker: cells.line(worker["worker_id"])),
    Column("STATE", worker_state),
    Column("BUSY", lambda worker: f"{worker['busy_slots']}/{worker['slots']}", right=True),
    Column("AHEAD", lambda worker: str(worker["queue_size"]), right=True),
    Column("SEEN", lambda worker: f"{cells.brief_age(worker['last_heartbeat_time'])} ago", right=True),
    Column("HOST", lambda worker: cells.line(worker["hostname"])),
    Column("VERSION", lambda worker: cells.line(worker["version"]), wide=True),
    Column("CLI", lambda worker: cells.line(worker["creator_version"]), wide=True),
)
CONTENTS = (
    Column("CONTENT", lambda content: str(content["content_id"]), right=True),
    Column("ACCOUNT", lambda content: str(content["account_id"]), right=True, wide=True),
    Column("REVIEW", lambda content: cells.state(content["review_status"])),
    Column("LENGTH", lambda content: cells.number(content["word_count"]), right=True),
    Column("SCORE", lambda content: cells.number(content["quality_score"]), right=True),
    Column("POOL", lambda content: cells.state(content["publish_status"]), wide=True),
    Column("ASSIGNEE", lambda content: cells.line(content["assignee"]), wide=True),
    Column("HELD BY", lambda content: cells.line(content["review_holder"]), wide=True),
    Column("AGE", lambda content: cells.brief_age(content["create_time"]), right=True),
    Column("CREATED", lambda content: cells.local_time(content["create_time"]), wide=True),
    Column("TASK", lambda content: cells.line(content["task_id"]), wide=True),
    Column("TITLE", lambda content: cells.line(content["title"])),
)
REVISIONS = (
    Column("REVISION", lambda revision: str(revision["number"]), right=True),
    Column("AUTHOR", lambda revision: cells.line(revision["author"] or "creator")),
    Column("CREATED", lambda revision: cells.local_time(revision["create_time"])),
    Column("LENGTH", lambda revision: cells.number(len(revision["body"])), right=True),
    Column("FILE", lambda revision: cells.line(revision["asset"]), wide=True),
    Column("TITLE", lambda revision: cells.line(revision["title"])),
)
COMMENTS = (
    Column("COMMENT", lambda comment: str(comment["number"]), right=True),
    Column("AUTHOR", lambda comment: cells.line(comment["author"])),
    Column("CREATED", lambda comment: cells.local_time(comment["create_time"])),
    Column("TEXT", lambda comment: cells.line(comment["text"])),
)
POOL = (
    Column("CONTENT", lambda entry: str(entry["content_id"]), right=True),
    Column("ACCOUNT", lambda entry: str(entry["account_id"]), right=True, wide=True),
    Column("STATUS", lambda entry: cells.state(entry["status"])),
    Column("PRIO", lambda entry: str(entry["priority"]), right=True),
    Column("ATTEMPTS", lambda entry: f"{entry['attempt_count']}/{entry['max_attempts']}", right=True),
    Column("NOT BEFORE", lambda entry: cells.local_time(_not_before(entry))),
    Column("PUBLISHER", lambda entry: cells.line(entry["publisher"]), wide=True),
    Column("CLAIM", lambda entry: cells.line(entry["claim_id"]), wide=True),
    Column("URL", lambda entry: cells.line(entry["published_url"]), wide=True),
    Column("TITLE", lambda entry: cells.line(entry["title"])),
)


def _not_before(entry: Document) -> str | None:
    """Returns when an entry is due: both of its times have passed then. Alike in form, they compare as text."""
    return max(filter(None, (entry["schedule_time"], entry["next_attempt_time"])), default=None)


CLAIMS = (
    Column("CONTENT", lambda entry: str(entry["content_id"]), right=True),
    Column("ACCOUNT", lambda entry: str(entry["account_id"]), right=True),
    Column("CLAIM", lambda entry: cells.line(entry["claim_id"])),
)


PUBLISH_ATTEMPTS = (
    Column("ATTEMPT", lambda attempt: str(attempt["number"]), right=True),
    Column("PUBLISHER", lambda attempt: cells.line(attempt["publisher"])),
    Column("CLAIMED", lambda attempt: cells.local_time(attempt["start_time"])),
    Column("REPORTED", lambda attempt: cells.local_time(attempt["end_time"])),
    Column("OUTCOME", lambda attempt: cells.state("published" if attempt["published"] else "failed")),
)


def pool_error(entry: Document) -> str:
    return cells.line(entry["error"])


ACCOUNTS = (
    Column("ACCOUNT", lambda account: str(account["account_id"]), right=True),
    Column("STATE", account_state),
    Column("WEIGHT", lambda account: cells.number(account["weight"]), right=True),
    Column("AT ONCE", lambda account: _most(account["max_concurrent_tasks"]), right=True),
    Column("PENDING", lambda account: _most(account["max_pending_tasks"]), right=True),
    Column("PRIO", lambda account: _most(account["max_priority"]), right=True),
    Column("A MINUTE", lambda account: _most(account["max_starts_per_minute"]), right=True),
    Column("CREATED", lambda account: cells.local_time(account["create_time"]), wide=True),
    Column("NAME", lambda account: cells.line(account["name"])),
)


def _webhook_state(webhook: Document) -> Text:
    if not webhook["active"]:
        return Text("inactive", "red")
    return Text("failing", "yellow") if webhook["last_error"] else Text("active", "green")


def _whose(webhook: Document) -> str:
    return str(webhook["account_id"] or "all")


WEBHOOKS = (
    Column("WEBHOOK", lambda webhook: str(webhook["webhook_id"]), right=True),
    Column("ACCOUNT", _whose, right=True),
    Column("STATE", _webhook_state),
    Column("CREATED", lambda webhook: cells.local_time(webhook["create_time"]), wide=True),
    Column("EVENTS", lambda webhook: ", ".join(webhook["event_types"]), wide=True),
    Column("URL", lambda webhook: cells.line(webhook["url"])),
)
CHANNELS = (
    Column("CHANNEL", lambda channel: str(channel["channel_id"]), right=True),
    Column("STATE", _webhook_state),
    Column("TO", lambda channel: cells.line(channel["destination"])),
    Column("DESCRIPTION", lambda channel: cells.line(channel["description"])),
    Column("CREATED", lambda channel: cells.local_time(channel["create_time"]), wide=True),
    Column("EVENTS", lambda channel: ", ".join(channel["event_types"]), wide=True),
)
DELIVERIES = (
    Column("DELIVERY", lambda delivery: str(delivery["delivery_id"]), right=True),
    Column("STATUS", lambda delivery: cells.state(delivery["status"])),
    Column("TRIES", lambda delivery: str(delivery["attempt_count"]), right=True),
    Column("ANSWER", lambda delivery: str(delivery["last_status_code"] or ""), right=True),
    Column("AGE", lambda delivery: cells.brief_age(delivery["create_time"]), right=True),
    Column("NEXT TRY", lambda delivery: cells.local_time(delivery["next_attempt_time"]), wide=True),
    Column("MESSAGE", lambda delivery: cells.line(delivery["message_id"]), wide=True),
    Column("EVENT", lambda delivery: cells.line(delivery["event_type"])),
    Column("DATA", lambda delivery: cells.line(delivery["data"]), wide=True),
)


@_written
def webhook(webhook: Document) -> Lines:
    yield "webhook", str(webhook["webhook_id"])
    yield "account", _whose(webhook)
    yield "url", cells.line(webhook["url"])
    yield "state", _webhook_state(webhook)
    yield "last error", last_error(webhook)
    yield "events", ", ".join(webhook["event_types"])
    yield "create time", cells.local_time(webhook["create_time"])
    yield "secret", webhook.get("secret", "")
    yield "former secret until", cells.local_time(webhook["previous_secret_expire_time"])


@_written
def channel(channel: Document) -> Lines:
    yield "channel", str(channel["channel_id"])
    yield "to", cells.line(channel["destination"])
    yield "description", cells.line(channel["description"])
    yield "accounts", ", ".join(map(str, channel["account_ids"])) or "all"
    yield "state", _webhook_state(channel)
    yield "last error", last_error(channel)
    yield "events", ", ".join(channel["event_types"])
    yield "quiet hours", cells.line(channel["quiet_hours"])
    yield "digest", cells.duration(channel["digest"])
    yield "language", channel["language"]
    yield "create time", cells.local_time(channel["create_time"])


@_written
def tested(answer: Document) -> Lines:
    yield "delivered", "yes" if answer["delivered"] else "no"
    yield "error", cells.line(answer["error"])


@_written
def delivery(delivery: Document) -> Lines:
    yield "delivery", str(delivery["delivery_id"])
    yield "event", cells.line(delivery["event_type"])
    yield "status", cells.state(delivery["status"])
    yield "answer", str(delivery["last_status_code"] or "")
    yield "last error", last_error(delivery)
    yield "message", cells.line(delivery["message_id"])


@_written
def task(task: Document) -> Lines:
    """Writes what is known of a task, but for what is as usual."""
    yield "task", task["task_id"]
    yield "account", str(task["account_id"])
    yield "status", cells.state(task["status"])
    yield "waits for", str(waits_for(task["pending_reason"] or ""))
    yield "until", cells.local_time(task["next_attempt_time"])
    yield "progress", cells.progress(task)
    yield "error", cells.error(task)
    for key, value in sorted((task["error"] or {}).get("details", {}).items()):
        yield f"  {cells.line(key)}", cells.lines(value)
    yield "content", str(task["content_id"] or "")
    yield from _brief_lines(task)
    yield "priority", str(task["priority"])
    yield "review", "" if task["auto_approve"] else "needed"
    yield "attempt", str(task["attempt"] or "")
    by_itself = "" if task["auto_retry"] else ", none by itself"
    yield "retries", f"{task['retry_count']} of {task['max_retries']}{by_itself}"
    yield "backoff", ", ".join(_backoff(task))
    yield "timeout", cells.duration(task["timeout"])
    yield "worker", cells.line(task["worker_id"])
    yield "lease", cells.line(task["lease_id"])
    for name in ("create", "schedule", "expire", "submit", "start", "timeout", "end"):
        yield f"{name} time", cells.local_time(task[f"{name}_time"])
    yield "labels", _pairs(task["labels"])
    yield "worker selector", _pairs(task["worker_selector"])
    yield "request id", cells.line(task["request_id"])
    yield "unique key", cells.line(task["unique_key"])
    if task["unique_for"] is not None:
        yield "unique for", cells.duration(task["unique_for"])
    yield "schedule", str(task["schedule_id"] or "")
    yield "trace", cells.line(task["trace_id"])


def _brief_lines(source: Document) -> Lines:
    topic, *texts = BRIEF
    yield topic.name, cells.line(source[topic.name])
    for field in texts:
        show = cells.lines if field.rows > 1 else cells.line
        yield field.name.replace("_", " "), show(source[field.name] or "")


def _backoff(task: Document) -> Iterator[str]:
    """Yields what the task's submit says of the waits before its retries; nothing where they are as always."""
    if task["initial_backoff"] is not None:
        yield f"first {cells.duration(task['initial_backoff'])}"
    if task["backoff_multiplier"] is not None:
        yield f"times {cells.number(task['backoff_multiplier'])}"
    if task["max_backoff"] is not None:
        yield f"at most {cells.duration(task['max_backoff'])}"


def attempt_log(console: Console, document: Document) -> None:
    _log_fields(console, document)
    console.print()


@_written
def _log_fields(log: Document) -> Lines:
    yield "attempt", str(log["attempt"])
    yield "worker", cells.line(log["worker_id"])
    yield "end time", cells.local_time(log["end_time"])
    for name in ("stdout", "stderr"):
        title = f"{name} (its end)" if log[f"{name}_truncated"] else name
        yield title, cells.lines(log[name] or "")


def schedule_state(schedule: Document) -> Text:
    """Returns the one word that matters most about a schedule."""
    if schedule["paused"]:
        return Text("paused", "yellow")
    if schedule["last_error"]:
        return Text("refused", "red")
    return Text("active", "green") if schedule["next_run_times"] else Text("ended", "dim")


SCHEDULES = (
    Column("SCHEDULE", lambda schedule: str(schedule["schedule_id"]), right=True),
    Column("ACCOUNT", lambda schedule: str(schedule["account_id"]), right=True, wide=True),
    Column("STATE", schedule_state),
    Column("CRON", lambda schedule: cells.line(schedule["cron"])),
    Column("ZONE", lambda schedule: cells.line(schedule["time_zone"]), wide=True),
    Column("NEXT", lambda schedule: cells.local_time(next(iter(schedule["next_run_times"]), None))),
    Column("LAST", lambda schedule: cells.local_time(schedule["last_run_time"]), wide=True),
    Column("LAST TASK", lambda schedule: cells.line(schedule["last_task_id"]), wide=True),
    Column("NAME", lambda schedule: cells.line(schedule["name"] or schedule["template"]["topic"])),
)


def next_runs(console: Console, document: Document) -> None:
    for tick in document["next_run_times"]:
        console.print(cells.local_time(tick))


@_written
def schedule(schedule: Document) -> Lines:
    """Writes what is known of a schedule, but for what is as usual."""
    yield "schedule", str(schedule["schedule_id"])
    yield "account", str(schedule["account_id"])
    yield "name", cells.line(schedule["name"])
    yield "state", schedule_state(schedule)
    yield "error", last_error(schedule)
    yield "cron", cells.line(schedule["cron"])
    yield "time zone", cells.line(schedule["time_zone"])
    yield "next runs", "\n".join(map(cells.local_time, schedule["next_run_times"]))
    yield "catch up", cells.line(schedule["catch_up"])
    yield "overlap", cells.line(schedule["overlap"])
    yield "jitter", cells.duration(schedule["jitter"])
    yield "last run", cells.local_time(schedule["last_run_time"])
    yield "last task", cells.line(schedule["last_task_id"])
    yield "missed runs", "\n".join(_missed_line(missed) for missed in schedule["missed_runs"])
    yield "create time", cells.local_time(schedule["create_time"])
    yield from _template_lines(schedule["template"])


def _missed_line(missed: Document) -> str:
    several = f" ({missed['count']})" if missed["count"] > 1 else ""
    return f"{cells.local_time(missed['run_time'])}{several}  {cells.line(missed['reason'])}"


def _template_lines(template: Document) -> Lines:
    """Yields what each tick submits, as far as it is given."""
    yield from _brief_lines(template)
    yield "priority", cells.number(template["priority"])
    yield "review", "needed" if template["auto_approve"] is False else ""
    yield "max retries", cells.number(template["max_retries"])
    yield "auto retry", "no" if template["auto_retry"] is False else ""
    yield "backoff", ", ".join(_backoff(template))
    yield "timeout", cells.duration(template["timeout"])
    for name in ("labels", "creator_options", "worker_selector"):
        yield name.replace("_", " "), _pairs(template[name])


def _pairs(pairs: Mapping[str, str]) -> str:
    return ", ".join(cells.line(f"{key}={value}") for key, value in sorted(pairs.items()))


@_written
def worker(worker: Document) -> Lines:
    yield "worker", cells.line(worker["worker_id"])
    yield "state", worker_state(worker)
    yield "busy slots", f"{worker['busy_slots']} of {worker['slots']}"
    yield "leases ahead", str(worker["queue_size"])


@_written
def account(account: Document) -> Lines:
    yield "account", str(account["account_id"])
    yield "name", cells.line(account["name"])
    yield "state", account_state(account)
    for field in FIELDS:
        if field.kind in {Kind.WHOLE, Kind.NUMBER} and field.name not in OF_BUDGET:
            yield field.label.lower(), cells.number(account[field.name]) if account[field.name] else field.zero
    if account["max_cost_per_month"]:
        budget = f"{account['month_cost']:,.2f} of {account['max_cost_per_month']:,.2f} {account['currency']}".rstrip()
        yield "cost this month", f"{budget} ({account['budget_mode']})"
    yield "create time", cells.local_time(account["create_time"])


@_written_with_body
def revision(revision: Document) -> Lines:
    yield "revision", str(revision["number"])
    yield "author", cells.line(revision["author"] or "creator")
    yield "create time", cells.local_time(revision["create_time"])
    for name in ("title", "summary", "category", "cover_image"):
        yield name.replace("_", " "), cells.line(revision[name])


@_written
def asset(asset: Document) -> Lines:
    yield "asset", cells.line(asset["sha256"])
    yield "name", cells.line(asset["name"])
    yield "type", cells.line(asset["media_type"])
    yield "size", cells.number(asset["size"])
    yield "pixels", f"{asset['width']} x {asset['height']}" if asset["width"] is not None else ""


@_written_with_body
def content(content: Document) -> Lines:
    yield "content", str(content["content_id"])
    yield "account", str(content["account_id"])
    yield "task", cells.line(content["task_id"])
    yield "title", cells.line(content["title"])
    yield "review", cells.state(content["review_status"])
    yield "reviewer", cells.line(content["reviewer"])
    yield "review time", cells.local_time(content["review_time"])
    yield "comment", cells.line(content["review_comment"])
    yield "assignee", cells.line(content["assignee"])
    yield "held by", cells.line(content["review_holder"])
    yield "held until", cells.local_time(content["review_claim_expire_time"])
    yield "pool", cells.state(content["publish_status"])
    yield "superseded by", cells.number(content["superseded_by_content_id"])
    yield "category", cells.line(content["category"])
    yield "length", cells.number(content["word_count"])
    yield "score", cells.number(content["quality_score"])
    yield "images", cells.line(", ".join(content["images"]))
    yield "revision", str(content["revision"])
    for asset in content["assets"]:
        yield "asset", cells.line(asset["sha256"])
        yield "", cells.line(f"{asset['name']}, {asset['media_type']}, {asset['size']:,} bytes")
    for left_out in content["left_out_assets"]:
        yield "left out", f"{cells.line(left_out['name'])}: {cells.line(left_out['reason'])}"
    yield "model", cells.line(content["model"])
    yield "usage", cells.line(", ".join(f"{name} {amount:g}" for name, amount in content["usage"].items()))
    yield "create time", cells.local_time(content["create_time"])
