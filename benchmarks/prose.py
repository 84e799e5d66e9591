"""Text of a given size, the same in each run. It imports nothing of contentgen: peers' processes use it too."""

from __future__ import annotations

import random

TASK_BYTES = 1_000
RESULT_BYTES = 2_000
_WORDS = ("queue", "lease", "worker", "article", "topic", "draft", "season", "market", "garden", "river", "harbour")


def prose(chance: random.Random, size: int) -> str:
    """About `size` bytes of it."""
    words: list[str] = []
    while size > 0:
        words.append(chance.choice(_WORDS))
        size -= len(words[-1]) + 1
    return " ".join(words)
