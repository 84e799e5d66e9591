"""What a task asks to have written, as creators read it: texts, most of which a CLI gets as options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from contentgen.submit_fields import BRIEF

_NONE: Mapping[str, str] = MappingProxyType({})
TEXTS = tuple(field.name for field in BRIEF)
"""The topic, and the others."""
ARGUMENTS = {name: name.replace("_", "-") for name in TEXTS if name != "category"}
"""The option of each text that a CLI gets."""


class Brief(NamedTuple):
    """What is empty, or missing among the texts, was not given."""

    topic: str
    texts: Mapping[str, str] = _NONE
    """The others of `TEXTS`, by name."""
    options: Mapping[str, str] = _NONE
    """`creator_options`: more `--key=value` arguments."""

    def arguments(self, names: Iterable[str] = ARGUMENTS) -> dict[str, str]:
        """The CLI's options: the topic, those of these texts that are given, and the others."""
        texts = {ARGUMENTS[name]: text for name in names if (text := self.texts.get(name))}
        return {"topic": self.topic} | texts | dict(self.options)
