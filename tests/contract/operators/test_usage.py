"""What is refused before anything is asked of a scheduler: exit status 2, and what it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.operators.transcript import run

WRONG = {
    "no such command": (["task", "lose"], "No such command 'lose'"),
    "no topic": (["task", "submit", "-a", "1"], "either TOPIC or --file"),
    "no account": (["task", "submit", "a topic"], "give --account ID, or set CONTENTGEN_ACCOUNT"),
    "priority": (["task", "submit", "-a", "1", "-p", "11", "a topic"], "less than or equal to 10"),
    "duration": (
        ["task", "submit", "-a", "1", "--timeout", "soon", "a topic"],
        "'soon' should be a duration such as 90",
    ),
    "time": (["task", "submit", "-a", "1", "--schedule-time", "soon", "a topic"], "'soon' should be a time such as"),
    "label": (["task", "submit", "-a", "1", "--label", "spring", "a topic"], "'spring' should be KEY=VALUE"),
    "state": (["task", "list", "--status", "failed,lost"], "'lost' should be one of pending, submitted"),
    "tasks and all": (["task", "retry", "--all", "task-1"], "either tasks or --all"),
    "neither tasks nor all": (["task", "retry"], "either tasks or --all"),
    "an account without all": (["task", "retry", "task-1", "-a", "1"], "go with --all"),
    "a topic without all": (["task", "cancel", "task-1", "--topic", "tea"], "go with --all"),
    "account 0 without all": (["task", "cancel", "task-1", "-a", "0"], "go with --all"),
    "nothing to cancel": (["task", "cancel"], "either tasks or --all"),
    "a bad time": (["task", "cancel", "--all", "--since", "soon"], "'soon' should be a time such as"),
    "tasks and an account": (["task", "watch", "task-1", "-a", "1"], "either tasks, or --account, or --all"),
    "nothing to watch": (["task", "watch"], "either tasks, or --account, or --all"),
    "pause of nothing": (["dispatch", "pause"], "either --account ID or --all"),
    "pause of both": (["dispatch", "pause", "--all", "-a", "1"], "either --account ID or --all"),
    "no decision": (["content", "review", "1"], "give --approve or --reject"),
    "no edit": (["content", "edit", "1"], "give what to change"),
    "a decision on nothing": (["content", "review", "--approve"], "give the contents to decide on"),
    "no outcome": (["pool", "report", "1", "claim"], "give --published or --failed"),
    "an error of what is published": (["pool", "report", "1", "claim", "--published", "-m", "x"], "goes with --failed"),
    "a URL of what failed": (["pool", "report", "1", "claim", "--failed", "--url", "x"], "goes with --published"),
    "nothing to change of an entry": (["pool", "update", "1"], "--priority, --schedule-time or --unschedule"),
    "a time that is taken away": (["pool", "update", "1", "--unschedule", "--schedule-time", "+1h"], "contradict"),
    "a state of the pool that does not exist": (["pool", "list", "--status", "lost"], "lost"),
    "neither a topic nor a file": (["task", "submit", "-a", "1"], "either TOPIC or --file"),
    "a topic and a file": (["task", "submit", "-a", "1", "-f", "x.csv", "a topic"], "either TOPIC or --file"),
    "a file that is not there": (["task", "submit", "-a", "1", "-f", "none.csv"], "none.csv can't be read"),
    "a run without a file": (["task", "submit", "-a", "1", "--run", "x", "a topic"], "go with --file"),
    "a wait for a file": (["task", "submit", "-a", "1", "-f", "x.csv", "--wait"], "go with one TOPIC"),
    "a dry run of named tasks": (["task", "retry", "task-1", "--dry-run"], "go with --all"),
    "no such context": (["--context", "none", "task", "list"], "there is no context 'none'"),
    "an empty context": (["context", "set", "x"], "give what the context is to hold"),
    "a context of nowhere": (["context", "set", "x", "-s", "nowhere"], "'nowhere' is no scheduler"),
    "a context without a name": (["context", "set", " ", "-s", "a:1"], "give the context a name"),
    "an id of 70 bits": (["content", "show", str(1 << 70)], "is too large a number: 9223372036854775807 at most"),
    "ids of 70 bits": (["content", "delete", "1", str(1 << 70)], "is too large a number"),
    "a limit of 40 bits": (["task", "retry", "--all", "-n", str(1 << 40)], "too large a number: 2147483647 at most"),
    "no current context": (["context", "show"], "no context is current"),
    "no change": (["account", "update", "1"], "give what to change"),
    "stuck after": (["doctor", "--stuck-after", "long"], "'long' should be a duration"),
    "output": (["--output", "yaml", "task", "list"], "table"),
    "scheduler": (["--scheduler", "nowhere", "task", "list"], "'nowhere' is no scheduler: give host:port"),
    "one of two schedulers": (["-s", "a:1,b", "task", "list"], "'b' is no scheduler"),
    "port": (["-s", "a:70000", "task", "list"], "'a:70000' is no scheduler"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage_exits_with_2_and_names_the_problem(name: str) -> None:
    arguments, message = WRONG[name]
    result = run(*arguments)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"CONTENTGEN_TLS_CA": "/nowhere/ca.pem"}, "CONTENTGEN_TLS_CA=/nowhere/ca.pem should be a PEM file"),
        ({"CONTENTGEN_TLS_CA": "ca.pem", "CONTENTGEN_TLS_CLIENT_CERT": "ca.pem"}, "go together"),
        ({"CONTENTGEN_TLS_CLIENT_CERT": "ca.pem", "CONTENTGEN_TLS_CLIENT_KEY": "ca.pem"}, "requires CONTENTGEN_TLS_CA"),
        ({"CONTENTGEN_SCHEDULER": "nowhere"}, "'nowhere' is no scheduler"),
        ({"CONTENTGEN_TOKEN": "a", "CONTENTGEN_TOKEN_FILE": "ca.pem"}, "exclude each other"),
        ({"CONTENTGEN_TOKEN": "two words"}, "CONTENTGEN_TOKEN should hold one token"),
        ({"CONTENTGEN_TOKEN_FILE": "ca.pem"}, "CONTENTGEN_TOKEN_FILE should hold one token"),
        ({"CONTENTGEN_TOKEN_FILE": "/nowhere/token"}, "CONTENTGEN_TOKEN_FILE should be a readable file"),
    ],
)
def test_a_wrong_environment_is_refused(
    given: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("a certificate")
    monkeypatch.chdir(tmp_path)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    result = run("task", "list")
    assert result.status == 2
    assert told in result.err


def test_a_variable_that_is_none_of_ours_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a misspelled CONTENTGEN_SCHEDULER would have the command write to another one."""
    monkeypatch.setenv("CONTENTGEN_SCHEDULR", "scheduler-2:50051")
    result = run("task", "list", "--scheduler=127.0.0.1:1")
    assert result.err.startswith(
        "note: CONTENTGEN_SCHEDULR is no setting, and is ignored: did you mean CONTENTGEN_SCHEDULER?\n"
    )
