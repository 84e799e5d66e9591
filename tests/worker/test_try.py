"""`contentgen-worker try`: one run of a real CLI without a scheduler, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.process import Process, installed, run_to_end
from tests.harness.processes import children
from tests.harness.stack import DEMO_CREATOR
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_gone
from worker_svc import try_command

pytestmark = pytest.mark.integration


TRY = [str(installed("contentgen-worker")), "try"]


class Try:
    """Runs of the command in a separate environment."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.cwd = folder / "cwd"
        self.cwd.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.temporary),
            "CREATOR_CLI_PATH": str(DEMO_CREATOR),
            "CREATOR_PROFILE": "json",
            "CREATOR_OPTIONS_ALLOWED": "*",
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = run_to_end([*TRY, *arguments], {**self.environment, **environment}, cwd=self.cwd, within=60)
        self.assert_nothing_is_left()
        return done

    def document(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """What `--output=json` prints, without the seconds that the run took."""
        document: dict[str, Any] = json.loads(self.run(*arguments, "--output=json", **environment).stdout)
        assert document.pop("seconds") > 0
        return document

    def assert_nothing_is_left(self) -> None:
        assert list(self.temporary.iterdir()) == []
        assert list(self.cwd.iterdir()) == []


@pytest.fixture
def trying(tmp_path: Path) -> Try:
    return Try(tmp_path)


QUICK = "--option=demo-seconds=0"


def test_a_completed_run_shows_an_excerpt_and_its_progress(trying: Try, tmp_path: Path) -> None:
    data = tmp_path / "data"
    arguments = ["--topic=Working well from home", "--tone=warm", "--keywords=desk,light", QUICK]
    done = trying.run(*arguments, CONTENTGEN_DATA_DIR=str(data))
    assert done.returncode == 0
    assert done.stdout.startswith("completed after ")
    assert "  title          Working well from home\n" in done.stdout
    assert "\n# Working well from home\n" in done.stdout
    assert "-cover.png" in done.stdout
    assert "more characters; --output=json prints all" in done.stdout
    assert "the CLI has started\n" in done.stderr
    assert "  0% outline" in done.stderr
    assert not data.exists(), "the worker's own folder"


def test_a_secret_file_that_is_missing_is_named(trying: Try) -> None:
    done = trying.run("--topic=Tea", CREATOR_ENV="SECRET", SECRET_FILE="/nowhere/secret")
    assert (done.returncode, done.stdout) == (78, "")
    assert "SECRET_FILE: must be the path of a file that holds SECRET (No such file or directory)\n" in done.stderr


def test_json_output_holds_all_that_would_be_stored(trying: Try) -> None:
    arguments = ["--topic=人工智能", "--requirements=短", "--tone=专业", "--keywords=机器"]
    printed = subprocess.run(
        [DEMO_CREATOR, "create", "--mode=sync", *arguments, "--demo-seconds=0"], capture_output=True, check=True
    )
    article = json.loads(printed.stdout.splitlines()[-1])
    document = trying.document(*arguments, QUICK)
    stdout = printed.stdout.decode().strip()
    assert document.pop("output") == {
        "stdout": stdout,
        "stderr": "",
        "stdout_truncated": False,
        "stderr_truncated": False,
    }
    assert document == {
        "status": "completed",
        "result": {
            "title": "人工智能",
            "body": article["content"],
            "html_body": article["htmlContent"],
            "images": article["images"],
            "quality_score": article["qualityScore"],
        },
    }


def test_a_flag_beats_its_variable_and_the_profile_decides_how_the_cli_is_driven(trying: Try) -> None:
    environment = {"CREATOR_ENV": "CREATOR_DEMO_JOURNAL", "CREATOR_DEMO_JOURNAL": str(trying.cwd.parent / "journal")}
    profile = ["--creator-profile=reference", "--creator-poll-interval=0.05"]
    assert trying.document("--topic=Tea", QUICK, *profile, **environment)["status"] == "completed"
    start = json.loads(Path(environment["CREATOR_DEMO_JOURNAL"]).read_text().splitlines()[0])
    assert (start["mode"], start["topic"], start["attempt"]) == ("async", "Tea", 1)


def test_a_missing_cli_fails_and_names_the_setting(trying: Try) -> None:
    done = trying.run("--topic=Tea", CREATOR_CLI_PATH="/no/such/creator")
    assert done.returncode == 1
    assert "CREATOR_CLI_NOT_FOUND" in done.stdout
    assert "set CREATOR_CLI_PATH (--creator-cli-path) to the creator CLI" in done.stdout


def test_a_failure_shows_reason_message_details_and_the_end_of_stderr(trying: Try) -> None:
    done = trying.run("--topic=Tea", "--option=demo-fail=exit")
    assert done.returncode == 1
    headline, *rest = done.stdout.splitlines()
    assert headline.endswith(": CREATOR_ERROR")
    assert rest == [
        "  the CLI exited with status 3: Error: the model said no",
        "  exit_code: 3",
        "  the end of stderr:",
        "    demo creator: told to fail",
        "    Error: the model said no",
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--option=demo-fail=hang", "--timeout=500ms"], "TASK_TIMEOUT"),
        ([QUICK, "--creator-max-result=100"], "RESULT_TOO_LARGE"),
        ([QUICK, "--creator-options-allowed=audience"], "INVALID_CREATOR_OPTIONS"),
    ],
)
def test_a_failure_has_the_reason_of_a_leased_run(trying: Try, arguments: list[str], reason: str) -> None:
    document = trying.document("--topic=Tea", *arguments)
    assert (document["status"], document["error"]["reason"]) == ("failed", reason)


def test_a_deferral_shows_when_the_task_would_run_again(trying: Try) -> None:
    arguments = ["--topic=Tea", "--option=demo-fail=defer", "--option=demo-retry-after=20"]
    done = trying.run(*arguments)
    assert done.returncode == os.EX_TEMPFAIL
    assert "the CLI asks to come back in 20 s\n" in done.stdout
    assert trying.document(*arguments) == {
        "status": "deferred",
        "retry_after": 20,
        "message": "demo creator: the model is over its quota",
        "output": {
            "stdout": "",
            "stderr": "demo creator: the model is over its quota\nretry-after: 20",
            "stdout_truncated": False,
            "stderr_truncated": False,
        },
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_cli_and_leaves_nothing_behind(trying: Try, tmp_path: Path, number: signal.Signals) -> None:
    command, out = [*TRY, "--topic=Tea", "--option=demo-fail=hang"], tmp_path / "out"
    with Process("try", command, tmp_path / "log", trying.environment, out=out, cwd=trying.cwd) as process:
        wait_until(lambda: "waiting for ever" in process.text(), within=PATIENCE_S, what="the CLI has started")
        family = children(process.pid, recursive=True)
        assert len(family) == 2, "the guard and the CLI"
        process.signal(number)
        process.ended(30, status=130)
    assert process.out == ""
    wait_until_gone(lambda: [child for child in family if child.is_running()], within=10, what="no process is left")
    trying.assert_nothing_is_left()


WHILE_THE_FOLDER_IS_MADE = """if True:
    import os, signal, tempfile
    from worker_svc import try_command
    make = tempfile.mkdtemp

    def make_and_signal(*arguments):
        folder = make(*arguments)
        os.kill(os.getpid(), signal.SIGHUP)
        return folder

    tempfile.mkdtemp = make_and_signal
    raise SystemExit(try_command.run(["--topic=Tea"]))
"""


def test_a_signal_while_the_folder_is_made_leaves_nothing_behind(trying: Try) -> None:
    command = [sys.executable, "-c", WHILE_THE_FOLDER_IS_MADE]
    assert subprocess.call(command, env=trying.environment, cwd=trying.cwd, timeout=60) == 130
    trying.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--topic"),
        (["--topic= "], "--topic must not be blank"),
        (["--topic=Tea", "--option=audience"], "argument --option: must be KEY=VALUE"),
        (["--topic=Tea", "--timeout=soon"], "argument --timeout: must be a duration"),
        (["--topic=Tea", "--timeout=0"], "argument --timeout: must be a duration above 0"),
        (["--topic=Tea", "--output=xml"], "--output"),
        (["--topic=Tea", "--token=secret"], "--token: no such flag"),
    ],
)
def test_wrong_arguments_exit_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert try_command.run(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert "secret" not in output.err


def test_wrong_settings_exit_with_78(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CREATOR_PROFILE", "nonsense")
    monkeypatch.setenv("CREATOR_MAX_RESULT", "much")
    assert try_command.run(["--topic=Tea"]) == 78
    output = capsys.readouterr()
    assert output.out == ""
    assert "CREATOR_PROFILE" in output.err
    assert "CREATOR_MAX_RESULT" in output.err


def test_help_has_flags_examples_and_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        try_command.run(["--help"])
    output = capsys.readouterr()
    assert (ended.value.code, output.err) == (0, "")
    for text in ("--topic", "--option", "--timeout", "--output", "--creator-cli-path", "examples:", "exit statuses:"):
        assert text in output.out
    assert "--scheduler" not in output.out
