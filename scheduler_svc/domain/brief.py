"""What a client asks to have written: the one list of fields by which a brief is checked, stored and sent.

A new text is a field and a length here; its column, its checks and what workers get of it follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class Brief(NamedTuple):
    """The texts are as the client gave them; empty means not given. `creator_options` are options of the CLI."""

    topic: str
    keywords: str = ""
    category: str = ""
    requirements: str = ""
    tone: str = ""
    creator_options: Mapping[str, str] = NO_OPTIONS

    @classmethod
    def of(cls, texts: Iterable[str], creator_options: Mapping[str, str] | None = None) -> Brief:
        """Returns the brief with these values of `TEXTS`."""
        return tuple.__new__(cls, (*texts, creator_options or NO_OPTIONS))

    @property
    def texts(self) -> tuple[str, ...]:
        """The values of `TEXTS`."""
        return self[:-1]

    @property
    def prompt_bytes(self) -> int:
        """Bytes of topic and requirements together, in UTF-8."""
        return len(self.topic.encode()) + len(self.requirements.encode())


MAX_LENGTHS = {
    "topic": 4_000,
    "keywords": 2_000,
    "category": 200,
    "requirements": 20_000,
    "tone": 200,
}
"""Code points that each text may have, in the order of the fields."""
TEXTS = tuple(MAX_LENGTHS)
MAX_PROMPT_BYTES = 64 * 1024
