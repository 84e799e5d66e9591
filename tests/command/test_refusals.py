"""What the command refuses, how calls fail, and the help for both."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from grpc import StatusCode

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.webhook_service_pb2 import DeleteWebhookResponse
from tests.command.transcript import GOLDEN, SCHEDULER, Transcript, run, tree
from tests.harness.scripted_server import Refused, ScriptedServices, scripted

pytestmark = pytest.mark.contract


# Calls that fail: the exit status for scripts, and one line that says what to do.


REFUSALS = [
    (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", 2, ""),
    (StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", 2, "set CONTENTGEN_TOKEN"),
    (StatusCode.PERMISSION_DENIED, "ROLE_FORBIDDEN", 2, "role operator"),
    (StatusCode.PERMISSION_DENIED, "ACCOUNT_FORBIDDEN", 2, "other accounts"),
    (StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", 3, ""),
    (StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 4, "CONTENTGEN_MAX_QUEUE_SIZE"),
    (StatusCode.RESOURCE_EXHAUSTED, "ACCOUNT_QUEUE_FULL", 4, "--max-pending-tasks"),
    (StatusCode.INTERNAL, "INTERNAL", 4, ""),
    (StatusCode.UNIMPLEMENTED, "", 4, "older than this client"),
    (StatusCode.UNKNOWN, "", 4, "answers UNKNOWN"),
    (StatusCode.FAILED_PRECONDITION, "RETRIES_EXHAUSTED", 5, "--reset-retry-count"),
    (StatusCode.FAILED_PRECONDITION, "ACCOUNT_INACTIVE", 5, "account update"),
    (StatusCode.ALREADY_EXISTS, "REQUEST_ID_CONFLICT", 5, ""),
    (StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED", 2, "; watch again, without --resume-token\n"),
    (
        StatusCode.UNAVAILABLE,
        "STORE_UNAVAILABLE",
        4,
        "refused; the scheduler is there, its database is not: look at `contentgen doctor`\n",
    ),
]


@pytest.mark.parametrize(("code", "reason", "status", "advice"), REFUSALS)
def test_a_refusal_prints_one_line_and_sets_the_status(
    scheduler: ScriptedServices, code: StatusCode, reason: str, status: int, advice: str
) -> None:
    scheduler.will("BulkCancelTasks", Refused(code, "that is refused", reason))
    result = run("-s", scheduler.target, "task", "cancel", "--all")
    assert (result.status, result.out, result.err.count("\n")) == (status, "", 1)
    assert result.err.startswith("contentgen: ")
    assert "that is refused" in result.err or not reason
    assert advice in result.err


def test_an_unreachable_scheduler_prints_one_line() -> None:
    result = run("-s", "127.0.0.1:1", "task", "cancel", "task-1")
    assert (result.status, result.out) == (4, "")
    assert result.err == (
        "contentgen: cannot reach the scheduler at 127.0.0.1:1 (Connection refused): start one (contentgen-scheduler),"
        " or name it by CONTENTGEN_SCHEDULER\n"
    )
    result = run("-s", "no-such-host.invalid:50051", "task", "cancel", "task-1")
    assert (result.status, result.err.count("\n"), "(no such host): start one" in result.err) == (4, 1, True)


def test_the_first_of_several_addresses_that_answers_is_used(scheduler: ScriptedServices) -> None:
    target = scheduler.target
    for addresses in (f"127.0.0.1:1,{target}", f"{target},127.0.0.1:1", f"ipv4:127.0.0.1:1,{target}"):
        scheduler.will("DeleteWebhook", DeleteWebhookResponse())
        assert run("--scheduler", addresses, "webhook", "delete", "1").status == 0


def test_several_tasks_are_done_one_by_one(scheduler: ScriptedServices) -> None:
    cancelled = pb.CancelTaskResponse(task=task_pb2.Task(task_id="task-2", status=task_pb2.TASK_STATUS_CANCELLED))
    unknown = Refused(StatusCode.NOT_FOUND, "there is no task task-9", "RESOURCE_NOT_FOUND")
    ended = Refused(StatusCode.FAILED_PRECONDITION, "it is cancelled", "INVALID_STATE")
    scheduler.will("CancelTask", unknown, cancelled, ended)
    result = run("-s", scheduler.target, "task", "cancel", "task-9", "task-2", "task-2")
    assert (result.status, result.out) == (3, "task-2  cancelled\n")
    first, second = result.err.splitlines()
    assert "task-9" in first
    assert "cancelled" in second


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_SCHEDULER", "127.0.0.1:2")
    assert "127.0.0.1:2 " in run("task", "cancel", "task-1").err
    assert "127.0.0.1:1 " in run("-s", "127.0.0.1:1", "task", "cancel", "task-1").err
    assert "127.0.0.1:3 " in run("-s", "127.0.0.1:1", "task", "cancel", "task-1", "-s", "127.0.0.1:3").err


# What is refused before anything is asked of a scheduler: exit status 2, and what it should be.


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
    "a topic and a file": (["task", "submit", "-a", "1", "-f", "x.csv", "a topic"], "either TOPIC or --file"),
    "a file that is not there": (["task", "submit", "-a", "1", "-f", "none.csv"], "none.csv can't be read"),
    "a run without a file": (["task", "submit", "-a", "1", "--run", "x", "a topic"], "go with --file"),
    "a wait for a file": (["task", "submit", "-a", "1", "-f", "x.csv", "--wait"], "go with one TOPIC"),
    "a dry run of named tasks": (["task", "retry", "task-1", "--dry-run"], "go with --all"),
    "no such context": (["--context", "none", "task", "list"], "there is no context 'none'"),
    "an empty context": (["context", "set", "x"], "give what the context is to hold"),
    "a context of nowhere": (["context", "set", "x", "-s", "nowhere:x"], "'nowhere:x' is no scheduler"),
    "a context without a name": (["context", "set", " ", "-s", "a:1"], "give the context a name"),
    "an id of 70 bits": (["content", "show", str(1 << 70)], "is too large a number: 9223372036854775807 at most"),
    "ids of 70 bits": (["content", "delete", "1", str(1 << 70)], "is too large a number"),
    "a limit of 40 bits": (["task", "retry", "--all", "-n", str(1 << 40)], "too large a number: 2147483647 at most"),
    "no current context": (["context", "show"], "no context is current"),
    "no change": (["account", "update", "1"], "give what to change"),
    "stuck after": (["doctor", "--stuck-after", "long"], "'long' should be a duration"),
    "output": (["--output", "yaml", "task", "list"], "table"),
    "scheduler": (["--scheduler", "nowhere:x", "task", "list"], "'nowhere:x' is no scheduler: give host:port"),
    "one of two schedulers": (["-s", "a:1,b:c", "task", "list"], "'b:c' is no scheduler"),
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
    ("variables", "message"),
    [
        ({"CONTENTGEN_TLS_CA": "/nowhere/ca.pem"}, "CONTENTGEN_TLS_CA=/nowhere/ca.pem should be a PEM file"),
        ({"CONTENTGEN_TLS_CA": "ca.pem", "CONTENTGEN_TLS_CLIENT_CERT": "ca.pem"}, "go together"),
        ({"CONTENTGEN_TLS_CLIENT_CERT": "ca.pem", "CONTENTGEN_TLS_CLIENT_KEY": "ca.pem"}, "requires CONTENTGEN_TLS_CA"),
        ({"CONTENTGEN_SCHEDULER": "nowhere:x"}, "'nowhere:x' is no scheduler"),
        ({"CONTENTGEN_TOKEN": "a", "CONTENTGEN_TOKEN_FILE": "ca.pem"}, "exclude each other"),
        ({"CONTENTGEN_TOKEN": "two words"}, "CONTENTGEN_TOKEN should hold one token"),
        ({"CONTENTGEN_TOKEN_FILE": "ca.pem"}, "CONTENTGEN_TOKEN_FILE should hold one token"),
        ({"CONTENTGEN_TOKEN_FILE": "/nowhere/token"}, "CONTENTGEN_TOKEN_FILE should be a readable file"),
    ],
)
def test_a_wrong_environment_is_refused(
    variables: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("a certificate")
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = run("task", "list")
    assert result.status == 2
    assert message in result.err


# Every command's help: what it does, examples of it, and each of its options.


HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
CALL = re.compile(r"^(?:    |\$ )(?:id=\$\()?contentgen ((?:'[^']*'|\"[^\"]*\"|[^|&)\n'\"])+)", re.MULTILINE)
APART = re.compile(r"--scheduler|^context|content review --account|content edit 17$")
HELP: dict[str, list[list[str]]] = {"help": [[]]}
for _name, _command in tree().commands.items():
    HELP[f"help-{_name}"] = [[_name], *([_name, subcommand] for subcommand in getattr(_command, "commands", ()))]
"""What each golden file shows the help of: a group and its commands, in the order in which the group lists them."""
STARTING_PROCESSES = {"help-dev", "help-demo"}
"""Screens of commands that are not to be run as their examples have them."""


@pytest.mark.parametrize("name", HELP)
async def test_help_prints_the_golden_screens(name: str, transcript_of: Callable[[str], Transcript]) -> None:
    transcript = transcript_of(SCHEDULER)
    for words in HELP[name]:
        await transcript(*words, "--help")
    transcript.check(name)


def test_every_command_has_a_help_with_examples() -> None:
    assert {path.stem for path in GOLDEN.glob("help*.txt")} == HELP.keys()
    for name, commands in HELP.items():
        screens = help_text(name).split("--help\n")[1:]
        plain = [words for words, screen in zip(commands, screens, strict=True) if "Examples:\n    " not in screen]
        assert plain == (commands[:1] if len(commands) > 1 else []), "a group has no examples of its own"


def help_text(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def examples() -> Iterator[str]:
    """Every call of the command in its help and in the guides, up to what it is piped into."""
    texts = [help_text(name) for name in HELP if name not in STARTING_PROCESSES]
    for text in (*texts, *(page.read_text(encoding="utf-8") for page in HOW_TO.glob("*.md"))):
        for call in CALL.findall(text):
            if "--install-completion" not in call and "--help" not in call and "…" not in call:
                yield call


def test_every_example_in_the_help_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a server that knows no call, so that nothing comes of them but that they were understood.

    Contexts need no server, and an editor and a review one by one need a terminal: they have tests of their own.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "topics.csv").write_text("topic\nSpring\n")
    (tmp_path / "article.md").write_text("A better text.")
    for picture in ("cover.png", "new.png"):
        (tmp_path / picture).write_bytes(b"\x89PNG")
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
