"""The commit-msg hook, by commits in a repository of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HOOKS = Path(__file__).parents[2] / ".githooks"
WHO = {f"GIT_{who}_{what}": "someone@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
MAX_SUBJECT = "Add " + "x" * 68


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty repository with the hook."""
    assert git(tmp_path, "init", "--quiet").returncode == 0
    assert git(tmp_path, "config", "core.hooksPath", str(HOOKS)).returncode == 0
    return tmp_path


def git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(repository), "GIT_CONFIG_NOSYSTEM": "1", **WHO}
    return subprocess.run(
        ["git", *arguments], cwd=repository, env=environment, capture_output=True, text=True, check=False, timeout=30
    )


def commit(repository: Path, message: str) -> subprocess.CompletedProcess[str]:
    return git(repository, "commit", "--allow-empty", "--cleanup=strip", "--message", message)


@pytest.mark.parametrize(
    "message",
    [
        "Add a glossary",
        "Add a glossary\n\nIt has a word for each concept, and lines that are longer than a subject may be.",
        MAX_SUBJECT,
        "Process reports in parts",
        "Bring back the demo",
        "Embed PostgreSQL",
        "Re-read tokens",
        "Merge branch 'names'",
        'Revert "Added something."',
        "fixup! Add a glossary",
    ],
)
def test_a_good_message_is_committed(repository: Path, message: str) -> None:
    committed = commit(repository, message)
    assert committed.returncode == 0, committed.stderr
    assert git(repository, "log", "-1", "--format=%B").stdout.strip() == message


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (MAX_SUBJECT + "x", "the subject has 73 characters, more than 72"),
        ("Add a glossary.", "the subject ends with a period"),
        ("Add a glossary\nof all words", "the second line is not empty"),
        ("Added a glossary", "use the imperative"),
        ("Adding a glossary", "use the imperative"),
        ("Adds a glossary", "use the imperative"),
        ("Docs: add a glossary", "the subject begins with a topic, 'Docs:'"),
        ("A glossary", "the subject begins with 'A': begin with a verb"),
        ("`make sdist`", "the subject begins with '`make': begin with a verb"),
    ],
)
def test_a_bad_message_is_refused_with_its_fault(repository: Path, message: str, fault: str) -> None:
    refused = commit(repository, message)
    assert refused.returncode == 1
    assert fault in refused.stderr
    assert git(repository, "log", "--format=%s").stdout == ""


def test_all_faults_are_named_at_once(repository: Path) -> None:
    refused = commit(repository, "Added a " + "x" * 65 + ".\nand more")
    assert refused.stderr.count("commit-msg: ") == 4
