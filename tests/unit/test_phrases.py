"""Texts of the doctor that can be translated."""

from __future__ import annotations

from contentgen.doctor.phrases import Phrase, joined

CHINESE = {"paused: {what}": "已暂停：{what}", "account {ids}": "账号 {ids}", "everything": "全部"}


def in_chinese(phrase: Phrase) -> str:
    return phrase.said(lambda text, values: CHINESE.get(text, text).format(**values))


def test_a_phrase_is_english_unless_somebody_translates_it() -> None:
    both = joined([Phrase("everything"), Phrase("account {ids}", ids="1")], "; ")
    phrase = Phrase("paused: {what}", what=both)
    assert str(phrase) == "paused: everything; account 1"
    assert in_chinese(phrase) == "已暂停：全部; 账号 1"


def test_what_is_filled_in_is_no_template() -> None:
    assert str(Phrase("{worker}: {error}", worker="w1", error="bad {field}")) == "w1: bad {field}"


def test_nothing_joined_is_empty() -> None:
    assert joined([]) == ""
    assert joined(["one"]) == "one"
