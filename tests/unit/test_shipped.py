"""What `make audit` finds, what it says it does not know, and that what is shipped has licences that are allowed."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from tests.harness.process import inherited, run_to_end
from verification.shipped.audit import ROOT, UNKNOWN, judged, read, status
from verification.shipped.distributions import INSTALLATIONS, OURS, shipped
from verification.shipped.licences import is_allowed, licence, table
from verification.shipped.sbom import environment

AUDIT = "verification.shipped.audit"
EVERYTHING = {*INSTALLATIONS.values()} - {""}


@pytest.mark.parametrize("found", shipped(EVERYTHING), ids=lambda package: package.name)
def test_what_is_shipped_has_a_licence_that_is_allowed(found: Distribution) -> None:
    expression = licence(found)
    assert is_allowed(found.name, expression), f"{expression!r} is not in verification/shipped/licences.py"


def test_what_is_shipped_is_what_an_extra_needs_and_nothing_of_the_tests() -> None:
    names = {
        name: {package.name.lower() for package in shipped({extra} - {""})} for name, extra in INSTALLATIONS.items()
    }
    assert names["client"] == {
        OURS, "googleapis-common-protos", "grpcio", "grpcio-status", "protobuf", "typing_extensions"
    }  # fmt: skip
    assert names["client"] < names["worker"]
    assert "psycopg2-binary" in names["scheduler"] - names["worker"]
    assert "pycparser" in names["worker"], "what a dependency needs counts"
    assert "certifi" in names["otel"] - names["scheduler"] - names["worker"]
    assert not set.union(*names.values()) & {"pytest", "ruff", "hypothesis"}


def test_every_extra_is_an_installation() -> None:
    assert set(distribution(OURS).metadata.get_all("Provides-Extra") or ()) == EVERYTHING


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("MIT AND Apache-2.0", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("LGPL-3.0-or-later", False),
        ("", False),
        ("see the file", False),
    ],
)
def test_an_expression_is_allowed_if_one_side_of_each_or_is(expression: str, allowed: bool) -> None:
    assert is_allowed("some", expression) is allowed


def test_a_licence_may_be_allowed_for_one_distribution() -> None:
    assert is_allowed("psycopg2-binary", "LGPL-3.0-or-later")
    assert not is_allowed("some", "MPL-2.0")


def test_the_list_of_licences_and_the_sbom_s_environment_name_all_that_is_shipped(tmp_path: Path) -> None:
    distributions = shipped({"worker"})
    assert [line.split(" | ")[0] for line in table(distributions).splitlines()[2:]] == [
        f"| {package.name}" for package in distributions
    ]
    python = environment(tmp_path, distributions)
    script = "import importlib.metadata as m; print(*sorted(it.name for it in m.distributions()), sep='\\n')"
    listed = run_to_end([python, "-I", "-c", script], inherited(), within=30)
    assert listed.stdout.splitlines() == sorted(package.name for package in distributions)


def test_a_lock_without_versions_or_hashes_is_seen(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(
        "# a comment\n"
        "one==1.0 ; python_full_version < '3' \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via two\n"
        "Two_too==2.0 \\\n    --hash=sha256:cc\n"
        "three==3.0\n"
        "four>=4 --hash=sha256:dd\n"
        "https://host/five.whl\n"
    )
    assert [tuple(pin) for pin in read(lock)] == [
        ("one", "1.0", False),
        ("two-too", "2.0", True),
        ("three", "", True),
        ("four", "", True),
        ("https://host/five.whl", "", False),
    ]


CLEAN = {"name": "one", "version": "1", "vulns": []}
VULNERABLE = {"name": "two", "version": "2", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}
SKIPPED = {"name": "three", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "expected"),
    [
        ([CLEAN], ("ok", "1 of 1 distributions have none")),
        ([CLEAN, SKIPPED], ("?", "1 of 2 distributions have none; not known for three (not found)")),
        ([CLEAN, VULNERABLE, SKIPPED], ("FAIL", "two 2: PYSEC-1, PYSEC-2")),
    ],
)
def test_what_pip_audit_answers_is_judged(dependencies: list[dict[str, object]], expected: tuple[str, str]) -> None:
    judgement = judged({"dependencies": dependencies})
    assert (judgement.verdict, judgement.text) == expected


def test_a_finding_counts_more_than_what_is_not_known() -> None:
    assert [status(verdicts) for verdicts in (["ok"], ["ok", "?"], ["FAIL", "?"])] == [0, UNKNOWN, 1]


def test_without_an_index_the_other_checks_are_made_and_the_status_says_that_something_is_not_known() -> None:
    """Whatever this environment has: its checks may fail, and the advisories are not known."""
    offline = inherited() | {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
    ended = run_to_end([sys.executable, "-m", AUDIT, "pip-audit==2.10.1"], offline, cwd=ROOT, within=60)
    verdicts = {line.split()[1]: line.split()[0] for line in ended.stdout.splitlines()}
    assert list(verdicts) == ["locks", "installed", "needs", "licences", "advisories"]
    assert (verdicts["locks"], verdicts["licences"], verdicts["advisories"]) == ("ok", "ok", "?")
    assert "could not be installed" in ended.stdout
    assert ended.returncode == status(list(verdicts.values()))
