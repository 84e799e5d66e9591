"""What `request_ids` keeps of a deleted task: its columns for what each attempt sets, and in `rest` what is unusual.

In JSON the names alone would take more space than everything else in the row, and a week of request ids is most of what
is kept of tasks that are gone.
"""

from __future__ import annotations

import json

_KEPT = ("status", "attempt", "fence", "worker_id", "submit_time", "start_time", "end_time", "content_id")
"""Columns of both tables."""
_OWN = ("task_key", "account_id", "create_time")
"""Columns that a request id has anyway."""
_USUAL = {
    "priority": 5,
    "auto_approve": True,
    "auto_retry": True,
    "max_retries": 3,
    "timeout_ms": 1_800_000,
    "lease_end": 1,
    **dict.fromkeys(("retry_count", "losses", "refusals", "deferrals"), 0),
}
"""What `rest` leaves out, as it leaves out nulls. Stored rows rely on it, so it stays when a default changes."""
_USUAL_SQL = f"CAST('{json.dumps(_USUAL)}' AS jsonb)"
_LEFT_OUT = "ARRAY[{}]".format(", ".join(f"'{name}'" for name in (*_KEPT, *_OWN[:2])))

KEEP = f"""
    {", ".join(f"{name} = t.{name}" for name in _KEPT)}, rest = (
        SELECT jsonb_object_agg(key, value)
        FROM jsonb_each(to_jsonb(t) - {_LEFT_OUT}
            - CASE WHEN t.create_time = q.create_time THEN 'create_time' ELSE '' END)
        WHERE value <> coalesce({_USUAL_SQL} -> key, 'null'))
"""
"""For UPDATE: keeps the row `t` of `tasks` in the row `q` of `request_ids`."""
CLEANED_TASK = f"""
    jsonb_populate_record(CAST(NULL AS tasks), {_USUAL_SQL} || jsonb_build_object(
        {", ".join(f"'{name}', q.{name}" for name in (*_OWN, *_KEPT))}) || coalesce(q.rest, '{{}}'))
"""
"""The row of `tasks` that was kept in `q`."""
