"""Each text of the pages has its Chinese, and no Chinese is left without its text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import get_args

import pytest
from jinja2 import Environment, nodes

import console_svc
import console_svc.chinese
import contentgen.doctor
from console_svc.chinese import CHINESE
from console_svc.pages import content, contents, edit, queue, review
from console_svc.submitting.fields import TYPED
from console_svc.web.language import ENGLISH, ZH, Texts, plural, refused
from contentgen import DeliveryStatus, PublishStatus, RequestError, ReviewStatus, TaskStatus
from scheduler_svc.api.messages.errors import ERROR_STATUSES, INTERNAL
from scheduler_svc.domain.access import Role

PACKAGE = Path(console_svc.__file__).parent
DOCTOR = Path(contentgen.doctor.__file__).parent
"""Its findings are shown by the overview."""
TAKES_TEXT = {
    "failure": 2,
    "tell": 0,
    "text": 0,
    "Hold": 0,
    "Link": 1,
    "Need": 0,
    "Phrase": 0,
    "Span": 0,
    "Subject": 0,
    "Typed": 2,
    "_again": 2,
    "_form": 1,
    "plural": 1,
}
"""Functions of the console, and which of their arguments is a text of a page."""
OF_WORKERS = {"taking tasks", "draining", "unhealthy", "gone"}
OF_OTHERS = {"WORKER_ID_IN_USE", "SESSION_REPLACED", "LEASE_LOST"} | {
    *("RESUME_TOKEN_EXPIRED", "WATCHER_TOO_SLOW", "WATCH_OVERRUN", "TOO_MANY_WATCHERS", "CHANGES_DELAYED")
}
"""Reasons that workers meet, and watches, which begin anew by themselves."""
REASONS = {row.reason for row in (*ERROR_STATUSES.values(), INTERNAL)} - OF_OTHERS | {"DEADLINE_EXCEEDED"}
STATUSES = (TaskStatus, ReviewStatus, PublishStatus, DeliveryStatus)
VALUES = {*(value for status in STATUSES for value in get_args(status)), *map(str, Role), *OF_WORKERS, *REASONS}
"""Values of the API that pages show as words: `_(value)`."""
NAMED = {
    *(field.label for field in TYPED.values()),
    *content.LABELS.values(),
    *queue.PROBLEMS.values(),
    review.CHANGED,
    contents.NOT_READ,
    edit.DELETED,
}
"""Texts that pages take from names of their modules."""


def called_in_templates(name: str) -> Iterator[list[str]]:
    for path in sorted((PACKAGE / "templates").glob("*.html")):
        for call in Environment(autoescape=True).parse(path.read_text(encoding="utf-8")).find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == name:
                yield [arg.value for arg in call.args if isinstance(arg, nodes.Const)]


def called_in_code() -> Iterator[tuple[str, list[ast.expr]]]:
    for path in sorted([*PACKAGE.rglob("*.py"), *DOCTOR.glob("*.py")]):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                yield (
                    call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", ""),
                    call.args,
                )


def in_templates() -> Iterator[str]:
    yield from (texts[0] for texts in called_in_templates("_") if texts)
    yield from (many for _, many in called_in_templates("_n"))


def counted() -> Iterator[tuple[str, str]]:
    """The texts of one thing, and of several."""
    yield from ((one, many) for one, many in called_in_templates("_n"))
    for name, arguments in called_in_code():
        texts = [str(it.value) for it in arguments if isinstance(it, ast.Constant)]
        if name == "plural" and texts:
            yield texts[0], texts[1]


def in_code() -> Iterator[str]:
    for name, arguments in called_in_code():
        for argument in arguments[TAKES_TEXT[name] :][:1] if name in TAKES_TEXT else ():
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def test_each_text_has_its_chinese() -> None:
    texts = {*in_templates(), *in_code(), *VALUES, *NAMED}
    assert len(texts) > 50
    assert texts - CHINESE.keys() == set()


def test_no_chinese_is_left_over() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.html")) + "".join(
        path.read_text(encoding="utf-8")
        for path in [*PACKAGE.rglob("*.py"), *DOCTOR.glob("*.py")]
        if path.parent.name != "chinese"
    )
    joined = re.sub(r'"\s*\n\s*f?"', "", source)
    assert [text for text in CHINESE if text not in VALUES | NAMED and text not in joined] == []


def test_the_text_of_one_thing_is_not_that_of_several() -> None:
    texts = Texts(ENGLISH)
    assert [texts.counted("{n} task", "{n} tasks", n=n) for n in (0, 1, 2, "1", "100+")] == [
        *("0 tasks", "1 task", "2 tasks", "1 task", "100+ tasks")
    ]
    several = plural("Cancelled {n} task.", "Cancelled {n} tasks.")
    assert (texts(several, n=1), Texts(ZH)(several, n=1)) == ("Cancelled 1 task.", "已取消 1 个任务。")


def test_a_refusal_is_said_in_both_languages_and_is_no_html() -> None:
    said = refused(RequestError("<b> is {full}", code="RESOURCE_EXHAUSTED", reason="QUEUE_FULL"))
    assert Texts(ENGLISH)(said) == "<b> is {full}"
    chinese = '队列已满，请稍后再试。 <small lang="en" class="said">&lt;b&gt; is {full}</small>'
    assert Texts(ZH)(said) == chinese
    assert Texts(ZH)("It stopped: {why}", why=said) == f"已停止：{chinese}"
    assert Texts(ZH)(refused(RequestError("a proxy's", code="UNKNOWN"))) == "a proxy's"


def test_all_values_of_a_plural_are_known_to_its_singular() -> None:
    pairs = list(counted())
    assert len(pairs) > 20
    for one, many in pairs:
        assert one != many
        assert set(re.findall(r"{\w+}", one)) <= set(re.findall(r"{\w+}", many))


@pytest.mark.parametrize("module", [it.name for it in iter_modules(console_svc.chinese.__path__)])
def test_what_is_filled_in_is_the_same_in_both_languages(module: str) -> None:
    for english, chinese in import_module(f"console_svc.chinese.{module}").TEXTS.items():
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", chinese)), english


def test_a_text_has_one_chinese() -> None:
    """Where it means something else on another page, it needs other words."""
    said: dict[str, set[str]] = {}
    for module in iter_modules(console_svc.chinese.__path__):
        for english, chinese in import_module(f"console_svc.chinese.{module.name}").TEXTS.items():
            said.setdefault(english, set()).add(chinese)
    assert {english: chinese for english, chinese in said.items() if len(chinese) > 1} == {}
