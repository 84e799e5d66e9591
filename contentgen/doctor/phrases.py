"""Texts that can be translated: a template, and what is filled in. Layer: the bottom of doctor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence


class Phrase:
    """An English text with `{name}` filled in; a value may be a phrase."""

    def __init__(self, text: str, **values: object) -> None:
        self.text = text
        self.values: Mapping[str, object] = values

    def __str__(self) -> str:
        """In English."""
        return self.said(lambda text, values: text.format(**values))

    def said(self, fill: Callable[[str, Mapping[str, object]], str]) -> str:
        """As `fill` says a template and its values; it translates the template, if it likes."""
        values = {name: it.said(fill) if isinstance(it, Phrase) else it for name, it in self.values.items()}
        return fill(self.text, values)


def joined(parts: Sequence[Phrase | str], between: str = ", ") -> Phrase | str:
    """One after the other."""
    one: Phrase | str = ""
    for part in parts:
        one = Phrase("{one}{between}{other}", one=one, between=between, other=part) if one else part
    return one
