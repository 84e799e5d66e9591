"""The process that `workshop` starts. It works on one article after the other, as lines of JSON ask for it.

For some texts, which were made for that, parsers take long and much memory: here both are bounded, and the console
goes on.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from console_svc.articles.cleaning import cleaned
from console_svc.articles.difference import difference
from console_svc.articles.markdown import rendered
from console_svc.articles.pictures import Picture, Pictures
from console_svc.articles.plain import visible

MEMORY_LIMIT = 512 * 2**20
ALARM = 10
"""Seconds after which it ends even if nobody is left to end it."""


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


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the console, too
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _say("ready")
    for line in sys.stdin:
        asked = json.loads(line)
        signal.alarm(ALARM)
        answer = _WORK[asked["work"]](asked)
        signal.alarm(0)
        _say(answer)


def _say(text: str) -> None:
    sys.stdout.write(json.dumps(text) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
