"""A summary is what a reader of the rendered article sees first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.summary import SUMMARY_LENGTH, summary_of


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
