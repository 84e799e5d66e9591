"""What the schedulers say about a field, as a text of the page: theirs is English with what was sent filled in."""

from __future__ import annotations

import re

from console_svc.web.language import PageText, filled, text

_TEXTS = (
    text("is required"),
    text("is required: 1 or more, is {value}"),
    text("is required: 1 to {most} characters, has {count}"),
    text("is required: 1 to {most} characters, not only whitespace"),
    text("must have at most {most} bytes of UTF-8 together with topic, has {count}"),
    text("must have at most {most} characters, has {count}"),
    text("must have at most {most} words, has {count}"),
    text("must have {least} to {most} items, has {count}"),
    text("must not contain NUL"),
    text("must be 0 or more, is {value}"),
    text("must be at most {most}, the max_priority of account {account}, is {value}"),
    text("must be at least {least}, the retries that are used, is {value}"),
    text("must be a duration of {least} s to {most} s"),
    text("must be {least} to {most}, is {value}"),
    text("must be a time in the years 1 to 9999, with nanos from 0 to 999,999,999"),
    text("must be in the future"),
    text("must be after schedule_time"),
    text("must be before expire_time"),
    text("must be at least initial_backoff"),
    text("must not be set without unique_key"),
    text("must have a key of 1 to {most} characters that matches {pattern}"),
    text("must not be set: the worker sets this option itself"),
    text("must be an IANA name such as Asia/Shanghai or UTC, is {value}"),
    text("must have five fields: minute, hour, day of month, month, day of week, such as 0 9 * * MON-FRI"),
    text("must be a cron line of five fields, such as 0 9 * * MON-FRI: {why}"),
    text("must come some day: no date is like that"),
    text("must be a URL ({why})"),
    text("must be ASCII without white space, other characters percent-encoded"),
    text("must be https://host/path, or http:// to an allowed network"),
    text("must have no user and no password: deliveries are signed with the webhook's secret"),
    text("must have no fragment (#…), which is never sent"),
    text("must lead to an address that is allowed: {why}"),
    text("missed, and not caught up"),
    text("its last task, {task}, has not ended"),
    text("of several at once only the first one runs"),
    text("account {account} is deactivated and takes no submits; set `active` by UpdateAccount to undo that"),
)
"""Those of fields that forms have, and why a schedule made no task; the first one that fits is taken."""


_REASONS = (
    *(text("bad minute"), text("bad hour"), text("bad day-of-month"), text("bad month"), text("bad day-of-week")),
    text("http is only for networks in CONTENTGEN_WEBHOOK_ALLOW; use https"),
    text("it is not public, and in no network in CONTENTGEN_WEBHOOK_ALLOW"),
)
"""What `{why}` may be."""


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(template)), re.DOTALL)


_PATTERNS = [(template, _pattern(template)) for template in _TEXTS]


def violation(description: str) -> PageText:
    """Returns a violation as a text that the page translates; one that has no translation stays as it is."""
    for template, pattern in _PATTERNS:
        if match := pattern.fullmatch(description):
            return filled(template, **{name: PageText(value) for name, value in match.groupdict().items()})
    return PageText(description)
