"""Every command's help: what it does, examples of it, and each of its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.operators.transcript import SCHEDULER, Transcript, run
from tests.harness.scripted_server import scripted

OPERATORS = Path(__file__).parents[3] / "docs" / "operators.md"
CALL = re.compile(r"^(?:    |\$ )(?:id=\$\()?contentgen ((?:'[^']*'|\"[^\"]*\"|[^|&)\n'\"])+)", re.MULTILINE)

APART = re.compile(r"--scheduler|^context|content review --account|content edit 17$")

COMMANDS = {
    "task": (
        "submit",
        "status",
        "list",
        "wait",
        "watch",
        "update",
        "cancel",
        "retry",
        "stats",
        "cleanup",
        "events",
        "logs",
    ),
    "worker": ("list", "drain", "undrain", "resize"),
    "dispatch": ("status", "pause", "resume"),
    "content": (
        "list",
        "show",
        "save",
        "edit",
        "revisions",
        "review",
        "reopen",
        "claim",
        "release",
        "regenerate",
        "delete",
    ),
    "asset": ("show", "get"),
    "pool": ("list", "update", "retry", "remove", "attempts", "claim", "renew", "report"),
    "context": ("list", "use", "set", "show", "delete"),
    "schedule": ("create", "list", "show", "next", "update", "pause", "resume", "run", "delete"),
    "account": ("create", "list", "show", "update"),
    "webhook": (
        "create",
        "list",
        "show",
        "update",
        "delete",
        "rotate",
        "ping",
        "deliveries",
        "redeliver",
    ),
    "audit": ("list",),
    "whoami": (),
    "top": (),
    "doctor": (),
    "dev": (),
    "demo": (),
}


@pytest.mark.parametrize("group", COMMANDS)
def test_help_prints_the_golden_screens(group: str, request: pytest.FixtureRequest) -> None:
    transcript = Transcript(SCHEDULER, request.config.getoption("--update-golden"))
    for words in ((group, "--help"), *((group, name, "--help") for name in COMMANDS[group])):
        result = run(*words)
        transcript.add(words, result)
        assert result.status == 0
        if len(words) == 3 or not COMMANDS[group]:
            assert "Examples:\n    " in result.out
    transcript.check(f"help-{group}")


def test_the_command_s_help_prints_the_golden_screen(request: pytest.FixtureRequest) -> None:
    transcript = Transcript(SCHEDULER, request.config.getoption("--update-golden"))
    result = run("--help")
    transcript.add(("--help",), result)
    transcript.check("help")
    assert all(f"\n  {group} " in result.out for group in COMMANDS)


def examples() -> Iterator[str]:
    """Every call of the command in its help and in its page, up to what it is piped into."""
    groups = ([group, name] for group, names in COMMANDS.items() for name in names)
    help_texts = [run(*words, "--help").out for words in ([], ["whoami"], ["top"], ["doctor"], *groups)]
    for text in (*help_texts, OPERATORS.read_text(encoding="utf-8")):
        for call in CALL.findall(text):
            if "--install-completion" not in call and "…" not in call:
                yield call


def test_every_example_in_the_help_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a server that knows no call, so that nothing comes of them but that they were understood.

    Contexts need no server, and an editor and a review one by one need a terminal: they have tests of their own.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "topics.csv").write_text("topic\nSpring\n")
    (tmp_path / "article.md").write_text("A better text.")
    (tmp_path / "topics.jsonl").write_text('{"topic": "Spring"}\n')
    calls = dict.fromkeys(examples())
    assert len(calls) > 50
    with scripted() as target:
        statuses = {call: run("-s", target, *shlex.split(call)).status for call in calls if not APART.search(call)}
    successes = {call for call, status in statuses.items() if status == 0}
    assert successes == {"task submit -a 1 --file topics.csv --dry-run"}
    assert {call: status for call, status in statuses.items() if status not in {0, 1, 4}} == {}


def test_help_has_a_short_flag() -> None:
    for words in ([], ["task"], ["task", "list"]):
        assert run(*words, "-h") == run(*words, "--help")


@pytest.mark.parametrize("words", [[], ["task"], ["account"]])
def test_a_group_without_a_command_shows_its_help(words: list[str]) -> None:
    result = run(*words)
    assert result.status == 2
    assert "Commands:" in result.out + result.err
