"""Texts that can be translated: a template, and what is filled in. Layer: the bottom of doctor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence


class Phrase:
    """An English text with `{name}` filled in; a value may be a phrase."""

    def __init__(self, text: str, **values: object) -> None:
        self.text = text
        self.values: Mapping[str, object] = values

    def __str__(self) -> str:
        """Returns the text in English."""
        return self.said(lambda text, values: text.format(**values))

    def said(self, fill: Callable[[str, Mapping[str, object]], str]) -> str:
        """Returns what `fill` makes of the template and its values; it may translate the template."""
        values = {name: value.said(fill) if isinstance(value, Phrase) else value for name, value in self.values.items()}
        return fill(self.text, values)


def joined(parts: Sequence[Phrase | str], between: str = ", ") -> Phrase | str:
    """Returns the parts in one phrase, one after the other."""
    sentence: Phrase | str = ""
    for part in parts:
        sentence = Phrase("{one}{between}{other}", one=sentence, between=between, other=part) if sentence else part
    return sentence
