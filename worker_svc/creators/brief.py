"""What a task asks to have written, as creators read it. A new text is added here; a CLI gets it as an option."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class Brief(NamedTuple):
    """The texts are as the client gave them; empty means not given. In the order of a CLI's arguments."""

    topic: str
    requirements: str = ""
    tone: str = ""
    keywords: str = ""
    category: str = ""
    options: Mapping[str, str] = NO_OPTIONS
    """`creator_options`: more `--key=value` arguments."""

    @classmethod
    def of(cls, texts: Iterable[str], options: Mapping[str, str]) -> Brief:
        """Makes a brief of the values of `TEXTS`, in their order."""
        return cls._make((*texts, options))

    @property
    def texts(self) -> tuple[str, ...]:
        """The values of `TEXTS`, in their order."""
        return self[:-1]

    def arguments(self) -> dict[str, str]:
        """The CLI's options, without the texts that are not given."""
        pairs = zip(TEXTS, self.texts, strict=True)
        texts = {ARGUMENTS[name]: text for name, text in pairs if name in ARGUMENTS and text}
        return {"topic": self.topic} | texts | dict(self.options)


TEXTS = Brief._fields[:-1]
ARGUMENTS = {name: name.replace("_", "-") for name in TEXTS if name != "category"}
"""The option of each text that a CLI gets."""
