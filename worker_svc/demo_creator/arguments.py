"""The command line of the demo creator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from worker_svc.demo_creator.brief import Brief
from worker_svc.demo_creator.misbehaviour import MISBEHAVIOURS

USAGE = """\
usage: contentgen-demo-creator --version
       contentgen-demo-creator create --topic=TEXT [--type=content-creator] [--mode=async|sync] [--task-id=ID]
                                      [--requirements=TEXT] [--tone=TEXT] [--keywords=TEXT,TEXT]
                                      [--demo-seconds=N] [--demo-first-seconds=N] [--demo-fail=HOW]
                                      [--demo-fail-times=N] [--demo-retry-after=N]
       contentgen-demo-creator status --task-id=ID --json
       contentgen-demo-creator result --task-id=ID --json

An asynchronous create needs --task-id. Other options are ignored, unless they begin with --demo-.
--demo-seconds is how long the run takes, and
--demo-first-seconds how long that of the task id's first create does; --demo-fail how it goes wrong, one of
{misbehaviours}; --demo-fail-times that only the first N creates of the task id do; --demo-retry-after the
seconds that `defer` asks for, 5 by default.
""".format(misbehaviours=", ".join(MISBEHAVIOURS))

_OPTIONS: Mapping[str, frozenset[str]] = {
    "create": frozenset({"demo-seconds", "demo-first-seconds", "demo-fail", "demo-fail-times", "demo-retry-after"}),
    "status": frozenset({"task-id", "json"}),
    "result": frozenset({"task-id", "json"}),
}
_FLAGS = frozenset({"json"})


class UsageError(Exception):
    """The arguments do not match `USAGE`; the text names the first that does not."""


class Request(NamedTuple):
    """A command and its options, by name without dashes."""

    command: str
    options: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.options.get(name, "")

    def brief(self) -> Brief:
        return Brief._make(map(self.text, Brief._fields))

    def number(self, name: str, default: float) -> float:
        return number(f"--{name}", self.options[name]) if name in self.options else default


def number(name: str, text: str) -> float:
    """Parses a finite number, 0 or above. Raises UsageError, which names `name`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError(f"{name} should be a number, 0 or above")
    return value


def parse(argv: Sequence[str]) -> Request:
    """Parses `argv`, without the program's name. Raises UsageError."""
    if not argv or argv[0] not in _OPTIONS:
        raise UsageError(f"the command should be one of {', '.join(_OPTIONS)}")
    request = Request(argv[0], _options(argv[0], argv[1:]))
    if request.command == "create":
        _check_create(request)
    elif not request.text("task-id") or "json" not in request.options:
        raise UsageError(f"{request.command} needs --task-id and --json")
    return request


def _options(command: str, arguments: Sequence[str]) -> dict[str, str]:
    """Accepts `--key=value` and `--key value`; the last one of a key counts."""
    options: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not _takes(command, name):
            raise UsageError(f"{command} has no option {argument.partition('=')[0][:100]!r}")
        if not equals and name not in _FLAGS:
            next_argument = next(rest, None)
            if next_argument is None:
                raise UsageError(f"--{name} needs a value")
            value = next_argument
        options[name] = value
    return options


def _takes(command: str, name: str) -> bool:
    """Returns whether a command takes an option. To create, each text of a task is one, though only some matter."""
    return name in _OPTIONS[command] or (command == "create" and not name.startswith("demo-"))


def _check_create(request: Request) -> None:
    if not request.text("topic"):
        raise UsageError("create needs --topic")
    _check_choice(request, "type", ["content-creator"])
    _check_choice(request, "mode", ["async", "sync"])
    _check_choice(request, "demo-fail", list(MISBEHAVIOURS))
    if request.text("mode") != "sync" and not request.text("task-id"):
        raise UsageError("an asynchronous create needs --task-id")
    for name in ("demo-seconds", "demo-first-seconds", "demo-fail-times", "demo-retry-after"):
        request.number(name, 0)


def _check_choice(request: Request, name: str, choices: Sequence[str]) -> None:
    if request.options.get(name, choices[0]) not in choices:
        raise UsageError(f"--{name} should be one of {', '.join(choices)}")
