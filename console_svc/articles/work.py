"""Works on one article, in a sandbox: for some texts, which were made for that, parsers take long and much memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from console_svc.articles.cleaning import cleaned
from console_svc.articles.difference import difference
from console_svc.articles.markdown import rendered
from console_svc.articles.pictures import Picture, Pictures
from console_svc.articles.plain import visible


def _markdown(asked: Mapping[str, Any]) -> str:
    return rendered(asked["text"], _pictures(asked).find)


def _html(asked: Mapping[str, Any]) -> str:
    return cleaned(visible(asked["text"]), _pictures(asked).find)


def _difference(asked: Mapping[str, Any]) -> str:
    return difference(asked["old"], asked["text"])


def _pictures(asked: Mapping[str, Any]) -> Pictures:
    return Pictures({name: Picture(*picture) for name, picture in asked["assets"].items()})


_WORK: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "markdown": _markdown,
    "html": _html,
    "difference": _difference,
}


def work(order: bytes) -> bytes:
    """`order` is the JSON that `workshop.py` writes. Returns HTML."""
    asked = json.loads(order)
    return _WORK[asked["work"]](asked).encode()
