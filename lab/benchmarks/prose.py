"""Text of a given size, the same in each run. It imports nothing of contentgen: peers' processes use it too."""

from __future__ import annotations

import random
from typing import Any

RESULT_BYTES = 2_000
_WORDS = ("queue", "lease", "worker", "article", "topic", "draft", "season", "market", "garden", "river", "harbour")


def prose(chance: random.Random, size: int) -> str:
    words: list[str] = []
    while size > 0:
        words.append(chance.choice(_WORDS))
        size -= len(words[-1]) + 1
    return " ".join(words)


def brief(chance: random.Random) -> dict[str, Any]:
    return {
        "topic": prose(chance, 60),
        "keywords": prose(chance, 40),
        "category": "benchmark",
        "requirements": prose(chance, 1_000 - 120),
        "tone": "plain",
    }
