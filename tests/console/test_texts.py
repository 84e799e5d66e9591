"""The texts of the pages in both languages, and the check that each has its Chinese."""

from __future__ import annotations

import pytest
from babel.messages.catalog import Catalog

from console_svc.web.language import ENGLISH, ZH, Texts, plural, refused
from contentgen import RequestError
from verification.generated import texts as generated


def test_each_text_of_the_pages_has_its_chinese(capsys: pytest.CaptureFixture[str]) -> None:
    assert generated.main([]) == 0, capsys.readouterr().out
    places = {text.place for text in generated.found()}
    assert {"console_svc/pool/list.html", "console_svc/site.py", "values of the API"} <= places


@pytest.mark.parametrize(
    ("english", "chinese", "wrong"),
    [
        ("Save", "", "'Save' has no Chinese"),
        ("Page {n}", "第页", "'Page {n}' and '第页' do not fill in the same"),
        (("{n} task of {m}", "{n} tasks"), ("{n} 个任务",), "'{n} task of {m}' fills in what '{n} tasks' does not"),
    ],
)
def test_wrong_chinese_is_named(english: str | tuple[str, str], chinese: str | tuple[str], wrong: str) -> None:
    catalog = Catalog(locale="zh_CN")
    catalog.add("Close", string="关闭")
    catalog.add(english, string=chinese)
    assert list(generated.problems(catalog)) == [wrong]


def test_a_text_that_is_gone_leaves_the_catalogue_and_a_new_one_enters_it() -> None:
    present = Catalog(locale="zh_CN")
    present.add("Save", string="保存")
    present.add("It was here once", string="曾在此")
    updated = generated.updated(present)
    save, publish = updated.get("Save"), updated.get("Publish again")
    assert save is not None and publish is not None  # noqa: PT018
    assert (save.string, publish.string, updated.get("It was here once")) == ("保存", "", None)
    assert "'Publish again' has no Chinese" in generated.problems(updated)


def test_the_text_of_one_thing_is_not_that_of_several() -> None:
    texts = Texts(ENGLISH)
    assert [texts.counted("{n} task", "{n} tasks", n=n) for n in (0, 1, 2, "1", "100+")] == [
        *("0 tasks", "1 task", "2 tasks", "1 task", "100+ tasks")
    ]
    several = plural("Cancelled {n} task.", "Cancelled {n} tasks.")
    assert (texts(several, n=1), Texts(ZH)(several, n=1)) == ("Cancelled 1 task.", "已取消 1 个任务。")


def test_a_refusal_is_said_in_both_languages_and_is_no_html() -> None:
    refusal = refused(RequestError("<b> is {full}", code="RESOURCE_EXHAUSTED", reason="QUEUE_FULL"))
    assert Texts(ENGLISH)(refusal) == "<b> is {full}"
    chinese = '队列已满，请稍后再试。 <small lang="en" class="said">&lt;b&gt; is {full}</small>'
    assert Texts(ZH)(refusal) == chinese
    assert Texts(ZH)("It stopped: {why}", why=refusal) == f"已停止：{chinese}"
    assert Texts(ZH)(refused(RequestError("a proxy's", code="UNKNOWN"))) == "a proxy's"
