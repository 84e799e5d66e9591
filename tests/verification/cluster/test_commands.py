"""What a script and the keys of `make cluster` may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from verification.cluster import options
from verification.cluster.commands import COMMANDS, KEYS, CommandError, parse


@pytest.mark.parametrize(
    "step",
    [
        "kill scheduler", "kill worker-12", "freeze database", "drain worker-1", "fill database", "starve", "up",
        "roll", "scale 0", "rate 2.5", "wait 10", "wait healthy", "wait alert", *KEYS.values(),
    ],
)  # fmt: skip
def test_a_step_is_taken_word_by_word(step: str) -> None:
    assert parse(step) == step.split()


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("", "is no step"),
        ("burn scheduler", "is no step"),
        ("kill", "is no step"),
        ("kill scheduler now", "is no step"),
        ("kill prometheus", "kill KIND|NAME"),
        ("drain database", "drain KIND|NAME"),
        ("fill scheduler", "fill KIND|NAME"),
        ("scale many", "scale N"),
        ("rate -1", "rate N"),
        ("wait for it", "is no step"),
        ("wait long", "wait N|healthy|alert"),
    ],
)
def test_what_is_no_step_says_what_it_should_be(step: str, why: str) -> None:
    with pytest.raises(CommandError) as raised:
        parse(step)
    assert why in str(raised.value)


def test_options_have_a_script_of_steps() -> None:
    chosen = options.read(["--script", "kill scheduler; wait 1;", "--workers", "2"])
    assert chosen.script == [["kill", "scheduler"], ["wait", "1"]]
    assert chosen.unattended
    assert not options.read([]).unattended


def test_the_docs_have_every_key_and_every_step() -> None:
    document = (Path(__file__).parents[3] / "docs" / "cluster.md").read_text(encoding="utf-8").replace("\\|", "|")
    assert [command.usage for command in COMMANDS if f"`{command.usage}`" not in document] == []
    assert [key for key in KEYS if f"`{key}`" not in document] == []


def test_the_help_names_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.read(["--help"])
    text = capsys.readouterr().out
    assert [command.name for command in COMMANDS if command.does not in text] == []
