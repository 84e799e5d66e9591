"""How large a task's numbers may be, in submits and imports; `brief` has the lengths of its texts."""

from __future__ import annotations

MIN_PRIORITY = 1
MAX_PRIORITY = 10
MAX_RETRIES = 100
MAX_MULTIPLIER = 100
"""By how much each wait before a retry may be longer than the one before."""
