"""The worker's settings: flags over variables, and everything that is wrong named at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contentgen.service.settings import SettingsError, flag_of, variable_of
from tests.harness.settings import NAMES
from worker_svc.config import WorkerSettings, addresses, read_settings

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in NAMES["worker"]:
        monkeypatch.delenv(variable, raising=False)


def problems(*argv: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read_settings(argv)
    return caught.value.problems


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = read_settings([])
    assert (settings.scheduler, settings.slots, settings.queue_size) == ("127.0.0.1:50051", 3, 0)
    assert (settings.drain_timeout, settings.creator_poll_interval) == (600.0, 30.0)
    assert (settings.creator_profile, settings.creator_cli_path) == ("reference", "content-creator")
    assert settings.creator_max_result == 3 * 1024 * 1024
    assert (settings.data_dir, settings.worker_id, settings.token, settings.log_format) == (
        Path(".contentgen"),
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ("no-such-user", "must be the name of a user of this machine"),
        ("root", "must be a user with fewer rights than root and than the worker's own"),
    ],
)
def test_a_user_whom_no_cli_may_run_as_is_refused(user: str, problem: str) -> None:
    assert problems(f"--creator-user={user}") == (f"--creator-user={user}: {problem}",)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user has none to lose")
def test_a_worker_without_the_capabilities_names_them() -> None:
    program = "from worker_svc.creator_user import CreatorUser; CreatorUser.named('nobody')"
    drop = ["setpriv", "--bounding-set=-kill,-setuid", "--inh-caps=-kill,-setuid"]
    done = subprocess.run([*drop, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "(it has no KILL, SETUID)" in done.stderr


def test_a_worker_for_one_task_is_a_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not read_settings([]).run_one
    settings = read_settings(["--run-one", "--slots=7"])
    assert (settings.run_one, settings.run_one_wait, settings.slots) == (True, 600.0, 7)
    assert read_settings(["--run-one-wait=90s"]).run_one_wait == 90
    monkeypatch.setenv("CONTENTGEN_RUN_ONE", "on")
    assert read_settings([]).run_one
    assert not read_settings(["--run-one=off"]).run_one
    assert problems("--run-one=two") == ("--run-one: must be on or off",)


def test_the_names_of_variables_are_a_list_by_comma() -> None:
    assert read_settings(["--creator-env", "LLM_API_KEY, LLM_BASE_URL,"]).creator_env == ("LLM_API_KEY", "LLM_BASE_URL")


@pytest.mark.parametrize(
    ("text", "allowed"), [("audience, min-words,", ("audience", "min-words")), ("*", ("*",)), ("", ())]
)
def test_the_allowed_creator_options_are_a_list_by_comma_or_all(text: str, allowed: tuple[str, ...]) -> None:
    assert read_settings([f"--creator-options-allowed={text}"]).creator_options_allowed == allowed
    assert read_settings([]).creator_options_allowed is None


def test_everything_that_is_wrong_is_named_with_what_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_QUEUE_SIZE", "1001")
    messages = problems(
        "--slots=none",
        "--drain-timeout=soon",
        "--creator-max-result=4MiB",
        "--creator-env=A-B",
        "--creator-options-allowed=--topic",
        "--creator-profile=other",
        "--log-level=loud",
        "--metrics-listen=9464",
        "--tls-ca=/nowhere",
        "--no-such-setting",
    )
    text = "\n".join(messages)
    assert len(messages) == 11
    for part in (
        "--slots=none: must be a whole number from 1 to 1,000",
        "CONTENTGEN_QUEUE_SIZE=1001: must be a whole number from 0 to 1,000",
        "--drain-timeout=soon: must be a duration",
        "--creator-max-result=4MiB: must be a size of 1 to 3,145,728 bytes",
        "--creator-env=A-B: must be names of environment variables",
        "or * for all, separated by commas, such as audience,min-words; '--topic' is not",
        "--creator-profile=other: must be reference, json or llm-content-creator",
        "--log-level=loud: must be debug, info, warning or error",
        "--metrics-listen=9464: must be host:port",
        "--tls-ca=/nowhere: must be a file that can be read",
        "--no-such-setting: no such flag",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("host:50051", ["host:50051"]),
        ("10.0.0.1:1, [::1]:65535", ["10.0.0.1:1", "[::1]:65535"]),
        ("dns:///scheduler:50051", ["dns:///scheduler:50051"]),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", ["ipv4:10.0.0.1:1,10.0.0.2:2"]),
    ],
)
def test_the_scheduler_is_a_grpc_target_or_several_addresses(target: str, expected: list[str]) -> None:
    assert addresses(read_settings([f"--scheduler={target}"]).scheduler) == expected


@pytest.mark.parametrize("target", ["host", "host:", ":50051", "host:65536", "http://host:1", "a:1,,b:2", "a:1,b"])
def test_an_address_without_host_or_port_is_none(target: str) -> None:
    assert "must be host:port" in problems(f"--scheduler={target}")[0]


def test_the_token_is_neither_a_flag_nor_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_TOKEN", "secret")
    settings = read_settings([])
    assert settings.token is not None
    assert settings.token.get_secret_value() == "secret"
    assert "secret" not in repr(settings)
    assert "no such flag" in problems("--token=secret")[0]


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in WorkerSettings.model_fields:
        assert variable_of(WorkerSettings, name) in text
        assert name == "token" or f"{flag_of(WorkerSettings, name)} " in text


def test_asset_hosts_are_names_by_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREATOR_ASSET_HOSTS", "CDN.example.com, *.b.org,c.net:8443")
    assert read_settings([]).creator_asset_hosts == ("cdn.example.com", "*.b.org", "c.net:8443")
    for bad in ("https://a.com", "a.com/x", "*", "a.com:0", "-a.com"):
        monkeypatch.setenv("CREATOR_ASSET_HOSTS", bad)
        with pytest.raises(SettingsError, match="must be names of hosts"):
            read_settings([])


def test_a_token_does_not_pass_the_network_in_plaintext(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (file := tmp_path / "a.pem").touch()
    beyond = "--scheduler=localhost:1,scheduler-2.example.com:50051"
    assert read_settings([beyond]).token is None
    refused = [problems(beyond, f"--token-file={file}")]
    monkeypatch.setenv("CONTENTGEN_TOKEN", "secret")
    refused.append(problems(beyond))
    for (problem,) in refused:
        assert "the token would pass the network in plaintext: set CONTENTGEN_TLS_CA" in problem
    for allowed in ([beyond, "--insecure"], [beyond, f"--tls-ca={file}"], ["--scheduler=unix:///run/a"], []):
        assert read_settings(allowed).token


def test_what_is_no_text_for_a_terminal_is_shown_as_it_is_written() -> None:
    (problem,) = problems("--worker-id=a\n\x1b[2Jb")
    assert problem == "--worker-id='a\\n\\x1b[2Jb': must be 1 to 200 printable characters"


def test_what_must_not_be_empty_is_told() -> None:
    assert problems("--creator-cli-path=", "--scheduler= ") == (
        "--scheduler= : must not be empty",
        "--creator-cli-path=: must not be empty",
    )


def test_a_flag_without_its_value_is_told_beside_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_SLOTS", "none")
    messages = problems("--queue-size")
    assert [problem.partition(":")[0] for problem in messages] == ["argument --queue-size", "CONTENTGEN_SLOTS=none"]


def test_a_variable_with_a_name_of_its_own_has_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_CREATOR_CLI_PATH", "elsewhere")
    assert read_settings([]).creator_cli_path == "content-creator"
    assert read_settings(["--creator-cli-path=here"]).creator_cli_path == "here"


def test_the_guard_starts_before_grpc_is_there() -> None:
    program = "import sys, worker_svc.main; raise SystemExit('grpc' in sys.modules or 'opentelemetry' in sys.modules)"
    assert subprocess.call([sys.executable, "-c", program]) == 0
