"""How long a task's texts may be, and how large its numbers: what submits are held to, and what is imported.

Lengths are in code points.
"""

from __future__ import annotations

MAX_TOPIC = 4_000
MAX_KEYWORDS = 2_000
MAX_CATEGORY = 200
MAX_REQUIREMENTS = 20_000
MAX_TONE = 200
MAX_PROMPT_BYTES = 64 * 1024
"""Of topic and requirements together, in UTF-8."""
MIN_PRIORITY = 1
MAX_PRIORITY = 10
MAX_RETRIES = 100
MAX_MULTIPLIER = 100
"""By how much each wait before a retry may be longer than the one before."""
