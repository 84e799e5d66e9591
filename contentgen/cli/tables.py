"""What tables show of each resource: columns of lists, and the lines of a single one.

Layer: inside operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

from contentgen.cli import cells
from contentgen.cli.documents import Document
from contentgen.cli.output import Column, fields
from contentgen.doctor.reasons import waits_for


def worker_state(worker: Document) -> Text:
    """The one word that matters most about it."""
    if not (worker["connected"] or worker["running"]):
        return Text("disconnected", "red")
    if worker["unhealthy"]:
        return Text("unhealthy", "red")
    if worker["draining"]:
        return Text("draining", "magenta")
    return Text("busy", "yellow") if worker["busy_slots"] else Text("idle", "green")


def worker_error(worker: Document) -> str:
    """Why it is unhealthy, why its disk refuses, or what does not get through."""
    return cells.line(worker["last_error"])


def task_error(task: Document) -> str:
    """The reason and the message of what has failed for good."""
    return cells.error(task) if task["status"] in {"failed", "timeout"} else ""


def account_state(account: Document) -> Text:
    """The one word that matters most about it; `paused` is its own switch of dispatch."""
    if not account["active"]:
        return Text("inactive", "red")
    return Text("paused", "yellow") if account["paused"] else Text("active", "green")


def at_once(account: Document) -> str:
    """How many of an account's tasks may run at once."""
    return _limit(account["max_concurrent_tasks"])


def _limit(most: int) -> str:
    return str(most or "no limit")


def _most(most: int) -> str:
    return cells.number(most) if most else "-"


TASKS = (
    Column("TASK", lambda it: it["task_id"]),
    Column("ACCOUNT", lambda it: str(it["account_id"]), right=True, wide=True),
    Column("STATUS", cells.state_and_progress),
    Column("PRIO", lambda it: str(it["priority"]), right=True, wide=True),
    Column("ATTEMPT", lambda it: str(it["attempt"]), right=True),
    Column("AGE", lambda it: cells.brief_age(it["create_time"]), right=True),
    Column("CREATED", lambda it: cells.local_time(it["create_time"]), wide=True),
    Column("WORKER", lambda it: cells.line(it["worker_id"]), wide=True),
    Column("STEP", lambda it: cells.line((it["progress"] or {}).get("step")), wide=True),
    Column("TOPIC", lambda it: cells.line(it["topic"])),
)
EVENTS = (
    Column("TIME", lambda it: cells.local_time(it["event_time"])),
    Column("FROM", lambda it: cells.state(it["previous_status"]), wide=True),
    Column("TO", lambda it: cells.state(it["status"])),
    Column("ATTEMPT", lambda it: str(it["attempt"] or ""), right=True),
    Column("REASON", lambda it: cells.line(it["reason"])),
    Column("WORKER", lambda it: cells.line(it["worker_id"])),
)


def _ended(status: str) -> Callable[[Document], str]:
    return lambda it: cells.number(it["counts"][status])


HISTORY = (
    Column("BEGINS", lambda it: cells.local_time(it["time"])),
    Column("SUBMITTED", lambda it: cells.number(it["submitted"]), right=True),
    Column("COMPLETED", _ended("completed"), right=True),
    Column("FAILED", _ended("failed"), right=True),
    Column("TIMEOUT", _ended("timeout"), right=True),
    Column("CANCELLED", _ended("cancelled"), right=True),
    Column("P50", lambda it: cells.duration(it["duration_p50"]), right=True),
    Column("P95", lambda it: cells.duration(it["duration_p95"]), right=True),
    Column("COST", lambda it: f"{it['cost']:.4f}", right=True, wide=True),
)
AUDIT_EVENTS = (
    Column("TIME", lambda it: cells.local_time(it["event_time"])),
    Column("ACTOR", lambda it: cells.line(it["actor"])),
    Column("ACCOUNT", lambda it: str(it["account_id"] or ""), right=True),
    Column("METHOD", lambda it: cells.line(it["method"])),
    Column("RESOURCE", lambda it: cells.line(it["resource"]), wide=True),
    Column("OUTCOME", lambda it: cells.line(it["outcome"])),
)
COUNTS = (
    Column("STATUS", lambda it: cells.state(it["status"])),
    Column("TASKS", lambda it: cells.number(it["tasks"]), right=True),
)
WORKERS = (
    Column("WORKER", lambda it: cells.line(it["worker_id"])),
    Column("STATE", worker_state),
    Column("BUSY", lambda it: f"{it['busy_slots']}/{it['slots']}", right=True),
    Column("AHEAD", lambda it: str(it["queue_size"]), right=True),
    Column("SEEN", lambda it: f"{cells.brief_age(it['last_heartbeat_time'])} ago", right=True),
    Column("HOST", lambda it: cells.line(it["hostname"])),
    Column("VERSION", lambda it: cells.line(it["version"]), wide=True),
    Column("CLI", lambda it: cells.line(it["creator_version"]), wide=True),
)
CONTENTS = (
    Column("CONTENT", lambda it: str(it["content_id"]), right=True),
    Column("ACCOUNT", lambda it: str(it["account_id"]), right=True, wide=True),
    Column("REVIEW", lambda it: cells.state(it["review_status"])),
    Column("LENGTH", lambda it: cells.number(it["word_count"]), right=True),
    Column("SCORE", lambda it: cells.number(it["quality_score"]), right=True),
    Column("POOL", lambda it: cells.state(it["publish_status"]), wide=True),
    Column("HELD BY", lambda it: cells.line(it["review_holder"]), wide=True),
    Column("AGE", lambda it: cells.brief_age(it["create_time"]), right=True),
    Column("CREATED", lambda it: cells.local_time(it["create_time"]), wide=True),
    Column("TASK", lambda it: cells.line(it["task_id"]), wide=True),
    Column("TITLE", lambda it: cells.line(it["title"])),
)
REVISIONS = (
    Column("REVISION", lambda it: str(it["number"]), right=True),
    Column("AUTHOR", lambda it: cells.line(it["author"] or "creator")),
    Column("CREATED", lambda it: cells.local_time(it["create_time"])),
    Column("LENGTH", lambda it: cells.number(len(it["body"])), right=True),
    Column("TITLE", lambda it: cells.line(it["title"])),
)
POOL = (
    Column("CONTENT", lambda it: str(it["content_id"]), right=True),
    Column("ACCOUNT", lambda it: str(it["account_id"]), right=True, wide=True),
    Column("STATUS", lambda it: cells.state(it["status"])),
    Column("PRIO", lambda it: str(it["priority"]), right=True),
    Column("ATTEMPTS", lambda it: f"{it['attempt_count']}/{it['max_attempts']}", right=True),
    Column("NOT BEFORE", lambda it: cells.local_time(_not_before(it))),
    Column("PUBLISHER", lambda it: cells.line(it["publisher"]), wide=True),
    Column("CLAIM", lambda it: cells.line(it["claim_id"]), wide=True),
    Column("URL", lambda it: cells.line(it["published_url"]), wide=True),
    Column("TITLE", lambda it: cells.line(it["title"])),
)


def _not_before(entry: Document) -> str | None:
    """When an entry is due: both of its times have passed then. They are alike in form, and so compare as text."""
    return max(filter(None, (entry["schedule_time"], entry["next_attempt_time"])), default=None)


CLAIMS = (
    Column("CONTENT", lambda it: str(it["content_id"]), right=True),
    Column("ACCOUNT", lambda it: str(it["account_id"]), right=True),
    Column("CLAIM", lambda it: cells.line(it["claim_id"])),
)


PUBLISH_ATTEMPTS = (
    Column("ATTEMPT", lambda it: str(it["number"]), right=True),
    Column("PUBLISHER", lambda it: cells.line(it["publisher"])),
    Column("CLAIMED", lambda it: cells.local_time(it["start_time"])),
    Column("REPORTED", lambda it: cells.local_time(it["end_time"])),
    Column("OUTCOME", lambda it: cells.state("published" if it["published"] else "failed")),
)


def pool_error(entry: Document) -> str:
    """Why it could not be published."""
    return cells.line(entry["error"])


ACCOUNTS = (
    Column("ACCOUNT", lambda it: str(it["account_id"]), right=True),
    Column("STATE", account_state),
    Column("WEIGHT", lambda it: cells.number(it["weight"]), right=True),
    Column("AT ONCE", lambda it: _most(it["max_concurrent_tasks"]), right=True),
    Column("PENDING", lambda it: _most(it["max_pending_tasks"]), right=True),
    Column("PRIO", lambda it: _most(it["max_priority"]), right=True),
    Column("A MINUTE", lambda it: _most(it["max_starts_per_minute"]), right=True),
    Column("CREATED", lambda it: cells.local_time(it["create_time"]), wide=True),
    Column("NAME", lambda it: cells.line(it["name"])),
)


def last_error(of: Document) -> str:
    """Why the latest try of a webhook, or of a delivery, failed."""
    return cells.line(of["last_error"])


def _webhook_state(webhook: Document) -> Text:
    if not webhook["active"]:
        return Text("inactive", "red")
    return Text("failing", "yellow") if webhook["last_error"] else Text("active", "green")


def _whose(webhook: Document) -> str:
    return str(webhook["account_id"] or "all")


WEBHOOKS = (
    Column("WEBHOOK", lambda it: str(it["webhook_id"]), right=True),
    Column("ACCOUNT", _whose, right=True),
    Column("STATE", _webhook_state),
    Column("CREATED", lambda it: cells.local_time(it["create_time"]), wide=True),
    Column("EVENTS", lambda it: ", ".join(it["event_types"]), wide=True),
    Column("URL", lambda it: cells.line(it["url"])),
)
DELIVERIES = (
    Column("DELIVERY", lambda it: str(it["delivery_id"]), right=True),
    Column("STATUS", lambda it: cells.state(it["status"])),
    Column("TRIES", lambda it: str(it["attempt_count"]), right=True),
    Column("ANSWER", lambda it: str(it["last_status_code"] or ""), right=True),
    Column("AGE", lambda it: cells.brief_age(it["create_time"]), right=True),
    Column("NEXT TRY", lambda it: cells.local_time(it["next_attempt_time"]), wide=True),
    Column("MESSAGE", lambda it: cells.line(it["message_id"]), wide=True),
    Column("EVENT", lambda it: cells.line(it["event_type"])),
    Column("DATA", lambda it: cells.line(it["data"]), wide=True),
)


def webhook(to: Console, it: Document) -> None:
    """A webhook, and its secret if that is new."""
    fields(
        to,
        [
            ("webhook", str(it["webhook_id"])),
            ("account", _whose(it)),
            ("url", cells.line(it["url"])),
            ("state", _webhook_state(it)),
            ("last error", cells.line(it["last_error"])),
            ("events", ", ".join(it["event_types"])),
            ("create time", cells.local_time(it["create_time"])),
            ("secret", it.get("secret", "")),
            ("former secret until", cells.local_time(it["previous_secret_expire_time"])),
        ],
    )


def delivery(to: Console, it: Document) -> None:
    fields(
        to,
        [
            ("delivery", str(it["delivery_id"])),
            ("event", cells.line(it["event_type"])),
            ("status", cells.state(it["status"])),
            ("answer", str(it["last_status_code"] or "")),
            ("last error", cells.line(it["last_error"])),
            ("message", cells.line(it["message_id"])),
        ],
    )


def task(to: Console, it: Document) -> None:
    """All that is known of a task, but what is as it always is."""
    fields(to, _task_lines(it))


def _task_lines(it: Document) -> Iterator[tuple[str, Text | str]]:
    yield "task", it["task_id"]
    yield "account", str(it["account_id"])
    yield "status", cells.state(it["status"])
    yield "waits for", str(waits_for(it["pending_reason"] or ""))
    yield "progress", f"{cells.progress(it)}  {cells.line((it['progress'] or {}).get('message'))}".strip()
    yield "error", cells.error(it)
    for key, value in sorted((it["error"] or {}).get("details", {}).items()):
        yield f"  {cells.line(key)}", cells.lines(value)
    yield "content", str(it["content_id"] or "")
    yield "topic", cells.line(it["topic"])
    for name in ("keywords", "category", "tone"):
        yield name, cells.line(it[name])
    yield "requirements", cells.lines(it["requirements"] or "")
    yield "priority", str(it["priority"])
    yield "review", "" if it["auto_approve"] else "needed"
    yield "attempt", str(it["attempt"] or "")
    yield "retries", _retries(it)
    yield "backoff", ", ".join(_backoff(it))
    yield "timeout", cells.duration(it["timeout"])
    yield "worker", cells.line(it["worker_id"])
    yield "lease", cells.line(it["lease_id"])
    for name in ("create", "schedule", "expire", "submit", "start", "timeout", "end"):
        yield f"{name} time", cells.local_time(it[f"{name}_time"])
    yield "labels", ", ".join(cells.line(f"{key}={value}") for key, value in sorted(it["labels"].items()))
    yield "request id", cells.line(it["request_id"])
    yield "unique key", cells.line(it["unique_key"])
    if it["unique_for"] is not None:
        yield "unique for", cells.duration(it["unique_for"])
    yield "schedule", str(it["schedule_id"] or "")
    yield "trace", cells.line(it["trace_id"])


def _retries(it: Document) -> str:
    return f"{it['retry_count']} of {it['max_retries']}" + ("" if it["auto_retry"] else ", none by itself")


def _backoff(it: Document) -> Iterator[str]:
    """What the task's submit says of the waits before its retries; nothing where they are as always."""
    if it["initial_backoff"] is not None:
        yield f"first {cells.duration(it['initial_backoff'])}"
    if it["backoff_multiplier"] is not None:
        yield f"times {cells.number(it['backoff_multiplier'])}"
    if it["max_backoff"] is not None:
        yield f"at most {cells.duration(it['max_backoff'])}"


def attempt_log(to: Console, it: Document) -> None:
    """What the CLI printed in one attempt, its lines as they are; ends with an empty line."""
    fields(to, _attempt_log_lines(it))
    to.print()


def _attempt_log_lines(it: Document) -> Iterator[tuple[str, Text | str]]:
    yield "attempt", str(it["attempt"])
    yield "worker", cells.line(it["worker_id"])
    yield "end time", cells.local_time(it["end_time"])
    for name in ("stdout", "stderr"):
        title = f"{name} (its end)" if it[f"{name}_truncated"] else name
        yield title, cells.lines(it[name] or "")


def schedule_state(schedule: Document) -> Text:
    """The one word that matters most about it."""
    if schedule["paused"]:
        return Text("paused", "yellow")
    if schedule["last_error"]:
        return Text("refused", "red")
    return Text("active", "green") if schedule["next_run_times"] else Text("ended", "dim")


def schedule_error(schedule: Document) -> str:
    """Why its last tick made no task."""
    return cells.line(schedule["last_error"])


SCHEDULES = (
    Column("SCHEDULE", lambda it: str(it["schedule_id"]), right=True),
    Column("ACCOUNT", lambda it: str(it["account_id"]), right=True, wide=True),
    Column("STATE", schedule_state),
    Column("CRON", lambda it: cells.line(it["cron"])),
    Column("ZONE", lambda it: cells.line(it["time_zone"]), wide=True),
    Column("NEXT", lambda it: cells.local_time(next(iter(it["next_run_times"]), None))),
    Column("LAST", lambda it: cells.local_time(it["last_run_time"]), wide=True),
    Column("LAST TASK", lambda it: cells.line(it["last_task_id"]), wide=True),
    Column("NAME", lambda it: cells.line(it["name"] or it["template"]["topic"])),
)


def schedule(to: Console, it: Document) -> None:
    """All that is known of a schedule, but what is as it always is."""
    fields(to, _schedule_lines(it))


def next_runs(to: Console, it: Document) -> None:
    """The ticks of a cron line, a line each."""
    for tick in it["next_run_times"]:
        to.print(cells.local_time(tick))


def _schedule_lines(it: Document) -> Iterator[tuple[str, Text | str]]:
    yield "schedule", str(it["schedule_id"])
    yield "account", str(it["account_id"])
    yield "name", cells.line(it["name"])
    yield "state", schedule_state(it)
    yield "error", schedule_error(it)
    yield "cron", cells.line(it["cron"])
    yield "time zone", cells.line(it["time_zone"])
    yield "next runs", "\n".join(map(cells.local_time, it["next_run_times"]))
    yield "catch up", cells.line(it["catch_up"])
    yield "overlap", cells.line(it["overlap"])
    yield "jitter", cells.duration(it["jitter"])
    yield "last run", cells.local_time(it["last_run_time"])
    yield "last task", cells.line(it["last_task_id"])
    yield "create time", cells.local_time(it["create_time"])
    yield from _template_lines(it["template"])


def _template_lines(it: Document) -> Iterator[tuple[str, Text | str]]:
    """What each tick submits, as far as it is given."""
    for name in ("topic", "keywords", "category", "tone"):
        yield name, cells.line(it[name])
    yield "requirements", cells.lines(it["requirements"] or "")
    yield "priority", cells.number(it["priority"])
    yield "review", "needed" if it["auto_approve"] is False else ""
    yield "max retries", cells.number(it["max_retries"])
    yield "auto retry", "no" if it["auto_retry"] is False else ""
    yield "backoff", ", ".join(_backoff(it))
    yield "timeout", cells.duration(it["timeout"])
    for name in ("labels", "creator_options"):
        yield name.replace("_", " "), ", ".join(cells.line(f"{key}={value}") for key, value in it[name].items())


def worker(to: Console, it: Document) -> None:
    fields(
        to,
        [
            ("worker", cells.line(it["worker_id"])),
            ("state", worker_state(it)),
            ("busy slots", f"{it['busy_slots']} of {it['slots']}"),
            ("leases ahead", str(it["queue_size"])),
        ],
    )


def account(to: Console, it: Document) -> None:
    fields(
        to,
        [
            ("account", str(it["account_id"])),
            ("name", cells.line(it["name"])),
            ("state", account_state(it)),
            ("weight", cells.number(it["weight"])),
            ("tasks at once", at_once(it)),
            ("tasks pending", _limit(it["max_pending_tasks"])),
            ("highest priority", _limit(it["max_priority"])),
            ("starts a minute", _limit(it["max_starts_per_minute"])),
            ("bytes of files", str(it["max_asset_bytes"] or "the schedulers' default")),
            ("create time", cells.local_time(it["create_time"])),
        ],
    )


def content(to: Console, it: Document) -> None:
    """What is known of a content, and its text: rendered on a terminal, as it is elsewhere."""
    fields(to, _content_lines(it))
    _article(to, it["body"])


def revision(to: Console, it: Document) -> None:
    """Who made a revision and when, and its text."""
    fields(
        to,
        [
            ("revision", str(it["number"])),
            ("author", cells.line(it["author"] or "creator")),
            ("create time", cells.local_time(it["create_time"])),
            ("title", cells.line(it["title"])),
            ("summary", cells.line(it["summary"])),
            ("category", cells.line(it["category"])),
            ("cover image", cells.line(it["cover_image"])),
        ],
    )
    _article(to, it["body"])


def _article(to: Console, text: str | None) -> None:
    if text:
        body = cells.lines(text).rstrip()
        to.print()
        if to.is_terminal:
            to.print(Markdown(body, hyperlinks=False))
        else:
            to.print(body, soft_wrap=True)


def asset(to: Console, it: Document) -> None:
    """What is known of an asset."""
    fields(to, _asset_lines(it))


def _asset_lines(it: Document) -> Iterator[tuple[str, Text | str]]:
    yield "asset", cells.line(it["sha256"])
    yield "name", cells.line(it["name"])
    yield "type", cells.line(it["media_type"])
    yield "size", cells.number(it["size"])
    yield "pixels", f"{it['width']} x {it['height']}" if it["width"] is not None else ""


def _content_lines(it: Document) -> Iterator[tuple[str, Text | str]]:
    yield "content", str(it["content_id"])
    yield "account", str(it["account_id"])
    yield "task", cells.line(it["task_id"])
    yield "title", cells.line(it["title"])
    yield "review", cells.state(it["review_status"])
    yield "reviewer", cells.line(it["reviewer"])
    yield "review time", cells.local_time(it["review_time"])
    yield "comment", cells.line(it["review_comment"])
    yield "held by", cells.line(it["review_holder"])
    yield "held until", cells.local_time(it["review_claim_expire_time"])
    yield "pool", cells.state(it["publish_status"])
    yield "superseded by", cells.number(it["superseded_by_content_id"])
    yield "category", cells.line(it["category"])
    yield "length", cells.number(it["word_count"])
    yield "score", cells.number(it["quality_score"])
    yield "images", cells.line(", ".join(it["images"]))
    yield "revision", str(it["revision"])
    for asset in it["assets"]:
        yield "asset", cells.line(asset["sha256"])
        yield "", cells.line(f"{asset['name']}, {asset['media_type']}, {asset['size']:,} bytes")
    for left in it["left_out_assets"]:
        yield "left out", f"{cells.line(left['name'])}: {cells.line(left['reason'])}"
    yield "model", cells.line(it["model"])
    yield "usage", cells.line(", ".join(f"{name} {amount:g}" for name, amount in it["usage"].items()))
    yield "create time", cells.local_time(it["create_time"])
