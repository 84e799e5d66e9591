"""A brief from and to messages: its texts by name, and the checks of a submit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.bounds import SubmitBounds
from scheduler_svc.domain.brief import MAX_LENGTHS, MAX_PROMPT_BYTES, TEXTS, Brief
from scheduler_svc.runtime.validation import Violations, entry_path

MAX_BYTES_OF_A_CHARACTER = 4
MAX_CREATOR_OPTIONS = 32
MAX_OPTION_KEY = 63
MAX_OPTION_VALUE = 1_000
LISTED_TEXTS = tuple(name for name in TEXTS if name != "requirements")
"""The texts of a task in a list."""

_ARGUMENTS = frozenset(name.replace("_", "-") for name in TEXTS if name != "category")
RESERVED_OPTIONS = _ARGUMENTS | {"type", "mode", "task-id", "json", "version", "help"}
"""Options that the worker sets itself, or that make the CLI do something else."""

_OPTION_KEY = re.compile(r"[a-z][a-z0-9-]*")
_CHECKS = [(name, limit, name == "topic") for name, limit in MAX_LENGTHS.items()]
_texts_of = attrgetter(*TEXTS)


class SubmitViolations(Violations):
    """Those of a submit, or of what becomes one, with the bounds that it is held to."""

    def __init__(self, bounds: SubmitBounds) -> None:
        super().__init__()
        self.bounds = bounds


def read_brief(request: pb.SubmitTaskRequest, bad: SubmitViolations) -> Brief:
    """The brief of a submit; what is wrong with it is added to `bad`."""
    texts = _texts_of(request)
    for text, (name, limit, required) in zip(texts, _CHECKS, strict=True):
        bad.text(name, text, limit, required=required)
    brief = Brief.of(texts, _creator_options(request.creator_options, bad))
    characters = len(brief.topic) + len(brief.requirements)
    if characters * MAX_BYTES_OF_A_CHARACTER > MAX_PROMPT_BYTES and (held := brief.prompt_bytes) > MAX_PROMPT_BYTES:
        text = f"must have at most {MAX_PROMPT_BYTES:,} bytes of UTF-8 together with topic, has {held:,}"
        bad.add("requirements", text)
    return brief


def fill_brief(message: task_pb2.Task, brief: Brief, names: Sequence[str] = TEXTS) -> None:
    """Sets these texts of a task."""
    for name in names:
        if text := getattr(brief, name):
            setattr(message, name, text)


def _creator_options(options: Mapping[str, str], violations: Violations) -> dict[str, str]:
    field = "creator_options"
    if not options or not violations.count(field, len(options), 0, MAX_CREATOR_OPTIONS):
        return {}
    for key, value in options.items():
        path = entry_path(field, key)
        if len(key) > MAX_OPTION_KEY or not _OPTION_KEY.fullmatch(key):
            violations.add(path, f"must have a key of 1 to {MAX_OPTION_KEY} characters that matches [a-z][a-z0-9-]*")
        elif key in RESERVED_OPTIONS:
            violations.add(path, "must not be set: the worker sets this option itself")
        violations.text(path, value, MAX_OPTION_VALUE)
    return dict(options)
