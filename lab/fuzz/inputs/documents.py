"""JSON documents and lines as no program should print them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from lab.fuzz import values
from lab.fuzz.values import Known

_NUMBERS = (0, -1, 40, 100, 2**63, 10**400, 1.5, -0.0, 1e308, float("nan"), float("inf"))
_DEEP = ("[" * 50_000, '{"a":' * 5_000, "[" * 500 + "]" * 500, '{"content": ' * 400 + "1" + "}" * 400)
_CUT = ('{"a": 1', "{", "}", '{"content": "cut of')
_ODD = ('{"x": 1e999}', '{"n": ' + "9" * 5_000 + "}", '"\\ud800"', "\ufeff{}")


def text(source: random.Random) -> str:
    """Returns a hostile text, a lone surrogate among them."""
    return source.choice((values.text(Known(), source), "\ud800 alone", "plain", "\\u0000 escaped"))


def value(source: random.Random, depth: int = 0) -> Any:
    if depth > 3 or source.random() < 0.6:
        return source.choice((None, True, False, source.choice(_NUMBERS), text(source), text(source)))
    if source.random() < 0.5:
        return [value(source, depth + 1) for _ in range(source.randrange(4))]
    return {text(source)[:50]: value(source, depth + 1) for _ in range(source.randrange(4))}


def of(keys: Sequence[str], source: random.Random) -> dict[str, Any]:
    """Returns an object with some of these keys, whose values are mostly texts."""
    document = {key: text(source) if source.random() < 0.5 else value(source) for key in keys if source.random() < 0.8}
    return document | ({text(source)[:50]: value(source)} if source.random() < 0.1 else {})


def line(document: object, source: random.Random) -> str:
    """Returns it as JSON, in some form; or no JSON at all."""
    if source.random() < 0.05:
        return source.choice((*_DEEP, *_CUT, *_ODD))
    try:
        return json.dumps(document, ensure_ascii=source.random() < 0.5, indent=source.choice((None, None, 1)))
    except ValueError:  # an integer of more digits than Python prints
        return "{}"


def encoded(characters: str) -> bytes:
    """Encodes as a program might print it: lone surrogates as the bytes that they would be."""
    return characters.encode("utf-8", "surrogatepass")
