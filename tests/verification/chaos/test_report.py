"""What is told to people of a campaign, and what the docs say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from verification.chaos import options
from verification.chaos.plan import KINDS
from verification.chaos.report import BEGIN, END, kinds, publish

DOCS = Path(__file__).parents[3] / "docs" / "reliability.md"


def test_the_docs_have_every_kind_of_fault_as_it_is() -> None:
    assert kinds() in DOCS.read_text()


def test_figures_are_put_between_their_marks_however_often() -> None:
    once = publish(f"before\n{BEGIN}\n{END}\nafter\n", "a table")
    assert once == f"before\n{BEGIN}\na table\n{END}\nafter\n"
    assert publish(once, "another") == f"before\n{BEGIN}\nanother\n{END}\nafter\n"
    assert BEGIN in publish(DOCS.read_text(), "a table")


def test_a_document_without_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="figures"):
        publish("a document", "a table")


def test_the_help_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.read(["--help"])
    text = capsys.readouterr().out
    assert [kind.name for kind in KINDS if kind.does not in text] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--faults", "worker-kil"], "no such kind: worker-kil"),
        (["--seconds", "0"], "has to be above 0"),
        (["--workers", "65"], "has to be 1 to 64"),
        (["--minutes", "1", "--seconds", "1"], "not allowed with"),
        (["--keep", "/"], "is there already"),
        (["--json", "/nowhere/figures.json"], "/nowhere is no folder"),
        (["--publish", __file__], "can't have the figures"),
    ],
)
def test_wrong_options_are_told(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options.read(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_campaign_names_the_command_that_repeats_it() -> None:
    chosen = options.read(["--seed", "7", "--minutes", "2", "--faults", "guard-kill,worker-kill"])
    assert options.read(chosen.command.split()[3:]) == chosen
    assert options.read(options.read(["--seed", "7"]).command.split()[3:]) == options.read(["--seed", "7"])


def test_minutes_are_seconds() -> None:
    assert options.read(["--minutes", "120"]).seconds == 7_200
    assert options.read([]).seconds == 300
