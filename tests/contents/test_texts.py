"""Articles made safe, and their summaries, without a browser."""

from __future__ import annotations

import asyncio
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console_svc.articles import sandbox
from console_svc.articles.safe_html import cleaned, rendered
from console_svc.articles.sandbox import ArticleSandbox
from console_svc.articles.texts import Picture, Pictures, difference, visible
from scheduler_svc.domain.content import SUMMARY_LENGTH, summary_of
from tests.harness.console import HEAVY_HTML, HEAVY_MARKDOWN, HTML, HUGE, MARKDOWN

pytestmark = pytest.mark.unit

OURS = Picture("cover.png", "/assets/0/cover.png", shown=True)
PICTURES = Pictures({"cover.png": OURS, "bad.svg": Picture("bad.svg", "/assets/1/bad.svg", shown=False)})
ATTRIBUTES = {"href", "title", "target", "rel", "src", "alt", "loading", "start", "colspan", "rowspan"}
BAD_TAGS = {
    "script", "style", "svg", "math", "iframe", "object", "embed", "form", "input", "button", "link", "meta", "base",
    "video", "audio", "source", "div", "span", "body", "details", "dialog", "template", "textarea", "frameset",
}  # fmt: skip


class Seen(HTMLParser):
    """Fails at what must not be in safe HTML."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in BAD_TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        attributes = dict(attrs)
        if tag == "img":
            assert attributes["src"] == OURS.address
        if "href" in attributes:
            assert str(attributes["href"]).startswith(("http://", "https://", "mailto:", "/assets/"))
            assert attributes["rel"] == "noopener noreferrer nofollow"
            assert attributes["target"] == "_blank"


@pytest.mark.parametrize("text", [*HTML, *MARKDOWN])
def test_nothing_harmful_is_left(text: str) -> None:
    for html in (cleaned(text, PICTURES.find), rendered(text, PICTURES.find)):
        Seen().feed(html)


def test_markdown_is_rendered() -> None:
    html = rendered("# One\n\n~~old~~ [two](https://example.org)\n\n|a|\n|-|\n|1|", PICTURES.find)
    assert html == (
        '<h3>One</h3>\n<p><s>old</s> <a href="https://example.org" title="https://example.org" target="_blank"'
        ' rel="noopener noreferrer nofollow">two</a></p>\n<table>\n<thead>\n<tr>\n<th>a</th>\n</tr>\n</thead>\n'
        "<tbody>\n<tr>\n<td>1</td>\n</tr>\n</tbody>\n</table>\n"
    )


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("asset:cover.png", '<img src="/assets/0/cover.png" alt="x" loading="lazy">'),
        ("asset:bad.svg", '<mark>x <a href="/assets/1/bad.svg"'),
        ("asset:none.png", "<mark>x none.png</mark>"),
        ("https://elsewhere.example/a.png", '<mark>x <a href="https://elsewhere.example/a.png"'),
        ("/assets/0/cover.png", "<mark>x /assets/0/cover.png</mark>"),
    ],
)
def test_only_pictures_of_ours_are_pictures(source: str, shown: str) -> None:
    assert shown in cleaned(f"<p><img src='{source}' alt=x></p>", PICTURES.find)
    assert shown in rendered(f"![x]({source})", PICTURES.find)


@pytest.mark.parametrize(
    ("old", "new", "html"),
    [
        ("same", "same", ""),
        ("one two", "one three", "<p>one <del>two</del><ins>three</ins></p>"),
        ("今天天气好", "今天天气不好", "<p>今天天气<ins>不</ins>好</p>"),
        ("a\nb", "a", "<p>a</p><p><del>b</del></p>"),
        ("a", "a\n<b>", "<p>a</p><p><ins>&lt;b&gt;</ins></p>"),
    ],
)
def test_what_two_texts_differ_in(old: str, new: str, html: str) -> None:
    assert difference(old, new) == html


def test_controls_are_shown_by_their_numbers() -> None:
    assert visible("a\u202eb\x1bc\nd") == "a⟦U+202E⟧b\ufffdc\nd"


async def test_a_text_that_takes_too_much_ends_only_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "TIMEOUT", 0.3)
    articles = ArticleSandbox()
    try:
        heavy = [articles.html(text, PICTURES) for text in HEAVY_HTML]
        heavy += [articles.markdown(text, PICTURES) for text in (*HEAVY_MARKDOWN, HUGE)]
        answers = await asyncio.gather(*heavy, articles.difference("a b " * 60_000, "b c " * 60_000))
        assert answers[1] is answers[len(HEAVY_HTML) + 1] is None  # these two take many seconds
        articles.sandbox.timeout = 20.0
        assert await articles.markdown("**goes on**", PICTURES) == "<p><strong>goes on</strong></p>\n"
        assert await articles.html("<p>goes on", PICTURES) == "<p>goes on</p>"
    finally:
        articles.close()


# A summary is what a reader of the rendered article sees first.


@pytest.mark.parametrize(
    ("body", "summary"),
    [
        ("plain text, 3 - 2 = 1", "plain text, 3 - 2 = 1"),
        ("# 标题\n\n正文 **重点** 和 *强调*。", "标题 正文 重点 和 强调。"),
        ("![a cover](asset:cover.png)\n\nA [link](https://a/b) and `code`.", "A link and code."),
        ("> - [x] done\n> 1. first\n\n---\n\nTitle\n=====\n", "done first Title"),
        ('<h1 class="x">A &amp; B</h1><!-- no --> c &lt; d', "A & B c < d"),
        ("```python\nx = 1\n```\nsnake_case and __bold__ and 2*3*4", "x = 1 snake_case and bold and 234"),
        ("a \\*star\\* and a [ref][1]\n\n[1]: https://a/b", "a *star* and a ref"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "| a b | | 1 2 |"),
        ("<https://a/b> <b>bold", "https://a/b bold"),
    ],
)
def test_marks_are_no_part_of_it(body: str, summary: str) -> None:
    assert summary_of(body) == summary


def test_it_is_bounded() -> None:
    assert summary_of("字" * 300) == "字" * SUMMARY_LENGTH
    assert summary_of("# " + "字" * 300) == "字" * SUMMARY_LENGTH


@given(st.text(alphabet="a字 \n#*_`~[]()<>&|\\!-=0.1") | st.text())
def test_any_text_has_one(body: str) -> None:
    summary = summary_of(body)
    assert len(summary) <= SUMMARY_LENGTH
    assert "\n" not in summary or "\n" not in body


@pytest.mark.parametrize("piece", ["[", "![", "*a", "_", "`", "<!--", "<a ", "> ", "- ", "~~a"])
def test_hostile_text_takes_no_time(piece: str) -> None:
    summary_of(piece * 1_000_000)
