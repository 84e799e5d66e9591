"""Payloads of tasks in plain SQL, for tables that are filled past the scheduler."""

from __future__ import annotations

from scheduler_svc.domain.brief import TEXTS

COLUMNS = ", ".join(("task_key", *TEXTS))
"""The columns that must have a value: the key, the topic, the other texts."""
NO_OTHER_TEXTS = ", ".join("''" for _ in TEXTS[1:])
"""The values of those other texts."""
