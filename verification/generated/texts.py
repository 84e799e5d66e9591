"""Keeps the Chinese of the console's texts equal to the texts of its pages. Run by `make verify`.

A text is a message of gettext: in a template `_('…')` or `_n('…', '…')`, in code an argument of one of `TAKES_TEXT`, or
a value of the API that pages show as a word. `--write` adds new ones to `console_svc/locale`, and takes away those that
are gone: run it, translate what has no Chinese yet, and run it again.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from jinja2 import Environment, nodes

from console_svc.submits.fields import TYPED
from console_svc.web.language import CATALOGUE
from contentgen import DeliveryStatus, PublishStatus, ReviewStatus, TaskStatus
from contentgen.account_fields import FIELDS
from scheduler_svc.domain.account import Role
from scheduler_svc.domain.errors import DomainError
from scheduler_svc.runtime.errors import INTERNAL

ROOT = Path(__file__).parents[2]
SOURCES = ("console_svc", "contentgen/doctor")
"""The doctor's findings are shown by the overview."""

TAKES_TEXT = {
    "_done": (1,),
    "done": (1,),
    "failure": (2,),
    "tell": (0,),
    "text": (0,),
    "Link": (1,),
    "Need": (0,),
    "NotDone": (0,),
    "Phrase": (0,),
    "Span": (0,),
    "Subject": (0,),
    "_again": (4,),
    "_form": (1,),
    "present": (1,),
}
"""Functions of the console, and which of their arguments are texts of a page."""

_OF_WORKERS = {"taking tasks", "draining", "unhealthy", "gone"}
_OF_OTHERS = {"WORKER_ID_IN_USE", "SESSION_REPLACED", "LEASE_LOST"} | {
    *("RESUME_TOKEN_EXPIRED", "WATCHER_TOO_SLOW", "WATCH_OVERRUN", "TOO_MANY_WATCHERS", "CHANGES_DELAYED")
}
"""Reasons that workers meet, and watches, which begin anew by themselves."""
_REASONS = {INTERNAL, *(kind.reason for kind in DomainError.kinds)} - _OF_OTHERS | {"DEADLINE_EXCEEDED"}
_STATUSES = (TaskStatus, ReviewStatus, PublishStatus, DeliveryStatus)
_VALUES = {*(value for status in _STATUSES for value in get_args(status)), *map(str, Role), *_OF_WORKERS, *_REASONS}
_PLACEHOLDER = re.compile(r"{\w+}")


_HEAD = """\
# The Chinese of the console's texts: python -m verification.generated.texts --write adds those of the pages.
msgid ""
msgstr ""
"Language: zh_CN\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"
"Content-Type: text/plain; charset=utf-8\\n"

"""


class PageText(NamedTuple):
    """A text of a page, and what it is for several things, if it counts."""

    text: str
    several: str | None = None


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 if the catalogue is right (now), else 1 with what is wrong on the standard output."""
    with CATALOGUE.open("rb") as file:
        present = read_po(file)
    expected = updated(present)
    if "--write" in arguments:
        CATALOGUE.write_bytes(_po(expected))
    findings = [*problems(expected)]
    if CATALOGUE.read_bytes() != _po(expected):
        findings.append("console_svc/locale is older than the pages: python -m verification.generated.texts --write")
    print("\n".join(findings) or "console_svc/locale has the Chinese of all texts of the pages")
    return 1 if findings else 0


def problems(catalog: Catalog) -> Iterator[str]:
    for (*originals, last), chinese in _strings(catalog).items():
        if not all(chinese):
            yield f"{last!r} has no Chinese"
        elif _filled_in(last) != _filled_in(*chinese):
            yield f"{last!r} and {chinese[0]!r} do not fill in the same"
        elif not _filled_in(*originals) <= _filled_in(last):
            yield f"{originals[0]!r} fills in what {last!r} does not"


def _filled_in(*texts: str) -> set[str]:
    return {name for text in texts for name in _PLACEHOLDER.findall(text)}


def page_texts() -> Iterator[PageText]:
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*.*")):
            if read := {".html": _in_template, ".py": _in_code}.get(path.suffix):
                yield from read(path.read_text(encoding="utf-8"))
    yield from map(PageText, sorted(_VALUES))
    for field in TYPED.values():
        yield from map(PageText, filter(None, (field.label, field.hint, *(field.choice or ()))))
    for field in FIELDS:
        shown = (field.label, field.hint or field.help, field.zero, *field.choices.values())
        yield from map(PageText, filter(None, shown))


def _in_template(source: str) -> Iterator[PageText]:
    for call in Environment(autoescape=True).parse(source).find_all(nodes.Call):
        texts = [argument.value for argument in call.args if isinstance(argument, nodes.Const)]
        name = call.node.name if isinstance(call.node, nodes.Name) else ""
        if name == "_" and texts and texts[0]:
            yield PageText(texts[0])
        elif name == "_n":
            yield PageText(*texts[:2])


def _in_code(source: str) -> Iterator[PageText]:
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name == "plural":
            texts = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
            if texts:
                yield PageText(*map(str, texts))
        for argument in (call.args[number] for number in TAKES_TEXT.get(name, ()) if number < len(call.args)):
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value:
                yield PageText(argument.value)


def updated(present: Catalog) -> Catalog:
    """Returns the texts of the pages, with the Chinese that there is of them."""
    catalog = Catalog(locale="zh_CN")
    for text in page_texts():
        key = (text.text, text.several) if text.several else text.text
        message = present.get(text.text)
        entry = catalog.add(key, string=message.string if message and message.id == key else "")
        entry.flags.clear()  # `problems` checks what is filled in
    return catalog


def _strings(catalog: Catalog) -> dict[tuple[str, ...], tuple[str, ...]]:
    """The Chinese by the text: of one thing and of several, if it counts."""
    return {_tuple(message.id): _tuple(message.string) for message in catalog if message.id}


def _tuple(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _po(catalog: Catalog) -> bytes:
    buffer = io.BytesIO(_HEAD.encode())
    buffer.seek(0, io.SEEK_END)
    write_po(buffer, catalog, width=120, omit_header=True)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
