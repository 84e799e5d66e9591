"""The tokens file: its format, the naming of bad lines, and `token create`."""

from __future__ import annotations

import json
import re
import stat
import threading
from pathlib import Path

import pytest

from contentgen.service.settings import SettingsError
from scheduler_svc.admin.token_command import token_command
from scheduler_svc.config.tokens import TokenLine, add_token, hash_of, read_tokens
from scheduler_svc.domain.account import CallerIdentity, Role, Scope
from scheduler_svc.runtime.access import KnownTokens

pytestmark = pytest.mark.unit

HASH = "ab" * 32
GOOD = {"name": "blog", "sha256": HASH, "role": "client"}
_ROLES = "client, reviewer, publisher, viewer, worker or operator"


def written(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read_tokens(path)
    return [problem.removeprefix(f"CONTENTGEN_TOKENS_FILE={path}") for problem in raised.value.problems]


def test_a_file_has_lines_comments_and_accounts(tmp_path: Path) -> None:
    tied = {**GOOD, "name": "tied", "sha256": "0" * 64, "accounts": [3, 1, 3]}
    assert read_tokens(written(tmp_path / "empty")) == ()
    path = written(tmp_path / "tokens", "# who may call", GOOD, "", "  ", tied)
    assert read_tokens(path) == (TokenLine("blog", HASH, "client", None), TokenLine("tied", "0" * 64, "client", (1, 3)))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nonsense", "must be a JSON object"),
        ("[" * 100_000, "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ({**GOOD, "name": " "}, "name must be"),
        ({**GOOD, "name": "a\nb"}, "name must be"),
        ({**GOOD, "name": 1}, "name must be"),
        ({**GOOD, "sha256": HASH.upper()}, "sha256 must be"),
        ({**GOOD, "sha256": "the token itself"}, "sha256 must be"),
        ({**GOOD, "role": "admin"}, f"role must be {_ROLES}"),
        ({**GOOD, "role": ["client"]}, f"role must be {_ROLES}"),
        ({**GOOD, "accounts": []}, "accounts must be"),
        ({**GOOD, "accounts": [True]}, "accounts must be"),
        ({**GOOD, "accounts": [0]}, "accounts must be"),
        ({**GOOD, "accounts": "1"}, "accounts must be"),
        ({**GOOD, "accounts": list(range(1, 102))}, "accounts must be"),
        ({**GOOD, "accounts": None}, "accounts must be"),
        ({**GOOD, "role": "worker", "accounts": [1]}, "role worker must have no accounts"),
        ({**GOOD, "delegates": False}, "delegates must be true, or left out"),
        ({**GOOD, "role": "worker", "delegates": True}, "role worker must have none"),
        ({**GOOD, "account": [1]}, "has 1 keys that are none of"),
    ],
)
def test_a_bad_line_is_named_without_its_values(tmp_path: Path, line: object, expected: str) -> None:
    (problem,) = problems(written(tmp_path / "tokens", GOOD, line))
    assert problem.startswith(f", line 2: {expected}") or (problem.startswith(", line 2: ") and expected in problem)
    assert "the token itself" not in problem


def test_at_most_100_bad_lines_are_named(tmp_path: Path) -> None:
    messages = problems(written(tmp_path / "tokens", *["nonsense"] * 150))
    assert len(messages) == 101
    assert messages[-1] == ": and 50 more"


def test_names_and_tokens_are_unique(tmp_path: Path) -> None:
    again = {**GOOD, "sha256": "0" * 64}
    assert len(read_tokens(written(tmp_path / "tokens", GOOD, again))) == 2, "a token that is being replaced"
    assert "must agree" in problems(written(tmp_path / "tokens", GOOD, {**again, "role": "operator"}))[0]
    assert "must agree" in problems(written(tmp_path / "tokens", GOOD, {**again, "accounts": [1]}))[0]
    assert "same sha256" in problems(written(tmp_path / "tokens", GOOD, {**GOOD, "name": "other"}))[0]


def test_a_missing_or_too_large_file_is_named(tmp_path: Path) -> None:
    assert "can't be read" in problems(tmp_path)[0]
    large = tmp_path / "large"
    large.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    assert "at most 4,194,304 bytes" in problems(large)[0]


def test_a_token_is_identified_by_its_hash() -> None:
    tokens = KnownTokens([TokenLine("blog", hash_of("tökén"), "client", (1,))])
    assert tokens.identify(bytes.fromhex(hash_of("tökén"))) == CallerIdentity("blog", Role.CLIENT, Scope((1,)))
    assert tokens.identify(bytes.fromhex(hash_of("token"))) is None
    assert tokens.identify(bytes(32)) is None, "the placeholder of an unknown hash is not a token"


def create(path: Path, *arguments: str) -> int:
    return token_command(["create", f"--tokens-file={path}", *arguments])


def test_create_prints_the_token_once_and_keeps_its_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tokens"
    assert create(path, "--name=desk", "--role=client", "--accounts=2,1", "--delegates") == 0
    token = capsys.readouterr().out.strip()
    assert re.fullmatch(r"contentgen_[\w-]{43}", token)
    assert read_tokens(path) == (TokenLine("desk", hash_of(token), "client", (1, 2), delegates=True),)
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert create(path, "--name=w", "--role=worker") == 0
    assert [line.name for line in read_tokens(path)] == ["desk", "w"]
    assert list(tmp_path.iterdir()) == [path]


def test_create_keeps_the_content_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "real", "# ours", GOOD)
    link = tmp_path / "tokens"
    link.symlink_to(path)
    assert create(link, "--name=w", "--role=worker") == 0
    assert link.is_symlink()
    assert path.read_text().startswith(f"# ours\n{json.dumps(GOOD)}\n")


@pytest.mark.parametrize(
    ("present", "arguments", "expected"),
    [
        (GOOD, ("--name=blog", "--role=operator"), "must agree"),
        (GOOD, ("--name=w", "--role=worker", "--accounts=1"), "no accounts"),
        (GOOD, ("--name= ", "--role=worker"), "name must be"),
        (GOOD, ("--name=c", "--role=client", "--accounts=0"), "accounts must be"),
        ("nonsense", ("--name=w", "--role=worker"), "line 1"),
    ],
)
def test_create_refuses_what_the_scheduler_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], present: object, arguments: tuple[str, ...], expected: str
) -> None:
    path = written(tmp_path / "tokens", present)
    before = path.read_bytes()
    assert create(path, *arguments) == 78
    shown = capsys.readouterr()
    assert expected in shown.err
    assert shown.out == ""
    assert path.read_bytes() == before


def test_create_needs_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONTENTGEN_TOKENS_FILE", raising=False)
    assert token_command(["create", "--name=w", "--role=worker"]) == 78
    assert "CONTENTGEN_TOKENS_FILE is not set" in capsys.readouterr().err
    assert create(tmp_path / "missing" / "tokens", "--name=w", "--role=worker") == 78
    assert "can't be written" in capsys.readouterr().err
    monkeypatch.setenv("CONTENTGEN_TOKENS_FILE", str(tmp_path / "tokens"))
    assert token_command(["create", "--name=w", "--role=worker"]) == 0


def test_concurrent_creates_lose_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    lines = [TokenLine(f"w{i}", hash_of(f"{i}"), "worker") for i in range(8)]
    threads = [threading.Thread(target=add_token, args=(path, line)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(read_tokens(path)) == set(lines)
