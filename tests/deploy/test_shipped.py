"""What `make verify` and `make audit` look at: packages, commits, documents, statements."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, distribution
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests.harness.process import inherited, run_to_end
from verification.generated import metrics, pages, settings
from verification.shipped.audit import ROOT, UNKNOWN, judged, read, status
from verification.shipped.distributions import INSTALLATIONS, OURS, is_allowed, licence, sbom, shipped, table

pytestmark = pytest.mark.unit

AUDIT = "verification.shipped.audit"
EVERYTHING = {extra for extras in INSTALLATIONS.values() for extra in extras}


@pytest.mark.parametrize("package", shipped(EVERYTHING), ids=lambda package: package.name)
def test_what_is_shipped_has_a_licence_that_is_allowed(package: Distribution) -> None:
    expression = licence(package)
    assert is_allowed(package.name, expression), f"{expression!r} is not in verification/shipped/distributions.py"


def test_what_is_shipped_is_what_an_extra_needs_and_nothing_of_the_tests() -> None:
    packages = {name: shipped(extras) for name, extras in INSTALLATIONS.items()}
    names = {name: {package.name.lower() for package in packages[name]} for name in packages}
    assert names["client"] == {
        OURS, "googleapis-common-protos", "grpcio", "grpcio-status", "protobuf", "typing_extensions"
    }  # fmt: skip
    assert names["client"] < names["worker"]
    assert "psycopg2-binary" in names["scheduler"] - names["worker"]
    assert "pyasn1" in names["worker"], "what a dependency needs counts"
    assert "opentelemetry-proto" in names["otel"] - names["scheduler"] - names["worker"]
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
        ("MPL-2.0", False),
        ("", False),
        ("see the file", False),
    ],
)
def test_an_expression_is_allowed_if_one_side_of_each_or_is(expression: str, allowed: bool) -> None:
    assert is_allowed("some", expression) is allowed


def test_a_licence_is_allowed_for_one_package_alone() -> None:
    assert is_allowed("psycopg2-binary", "LGPL-3.0-or-later")


def test_the_list_of_licences_and_the_sbom_name_all_that_is_shipped() -> None:
    distributions = shipped({"worker"})
    assert [line.split(" | ")[0] for line in table(distributions).splitlines()[2:]] == [
        f"| {package.name}" for package in distributions
    ]
    bill = json.loads(sbom(distributions))
    assert bill["metadata"]["component"]["name"] == OURS
    parts = {part["bom-ref"]: part["name"] for part in bill["components"]}
    assert {*parts.values()} == {canonicalize_name(package.name) for package in distributions} - {OURS}
    needed = {entry["ref"]: entry.get("dependsOn", ()) for entry in bill["dependencies"]}
    assert {*map(parts.get, needed[bill["metadata"]["component"]["bom-ref"]])} >= {"grpcio", "structlog"}


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


# The commit-msg hook, by commits in a repository of its own.


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


# The glossary and the tour name what exists, and links lead somewhere.


DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
_GLOSSARY_ROW = re.compile(r"^\| (?P<term>[^|]+) \| [^|]+ \| (?:`(?P<name>\w+)` in )?\[[^]]+\]\((?P<path>[^)]+)\) \|$")
_FUNCTION = re.compile(r"`([\w./]+\.py):([\w.]+)`")


@cache
def definitions(path: Path) -> frozenset[str]:
    """The names that a file defines: for Python, functions and methods by their qualified names, too."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".proto":
        return frozenset(re.findall(r"^\s*(?:message|enum|service|rpc) (\w+)", text, re.MULTILINE))
    return frozenset(_defined(ast.parse(text).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield prefix + node.name
                if prefix:
                    yield node.name
                if isinstance(node, ast.ClassDef):
                    yield from _defined(node.body, f"{prefix}{node.name}.")
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def glossary() -> list[re.Match[str]]:
    text = (REFERENCE / "glossary.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| term ")]
    matches = [match for row in rows if (match := _GLOSSARY_ROW.match(row))]
    assert len(matches) == len(rows) > 0, [row for row in rows if not _GLOSSARY_ROW.match(row)]
    return matches


def test_the_glossary_is_in_alphabetical_order() -> None:
    terms = [row["term"].casefold() for row in glossary()]
    assert terms == sorted(terms)


def test_the_glossary_names_files_that_define_its_terms() -> None:
    missing = [
        (row["term"], row["path"], row["name"])
        for row in glossary()
        if not (path := REFERENCE / row["path"]).is_file() or (row["name"] and row["name"] not in definitions(path))
    ]
    assert missing == []


def test_the_tour_names_functions_that_exist() -> None:
    named = _FUNCTION.findall((DOCS / "development" / "tour.md").read_text(encoding="utf-8"))
    assert len(named) > 0
    known = {path: definitions(ROOT / path) for path, _ in named if (ROOT / path).is_file()}
    assert [f"{path}:{name}" for path, name in named if name not in known.get(path, ())] == []


def test_relative_links_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("lab/results/*.md")]
    broken = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in documents
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]
    assert broken == []


@pytest.mark.parametrize(
    ("generated", "right", "wrong"),
    [
        (metrics, "contentgen_build_info", "contentgen_built"),
        (pages, "| Schedules |", "| Timetables |"),
        (settings, "CONTENTGEN_LISTEN", "CONTENTGEN_HEAR"),
    ],
)
def test_a_stale_document_is_found(
    generated: Any, right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generated.main([]) == 0
    for name in vars(generated).keys() & {"DOCUMENT", "VARIABLES"}:
        stale = tmp_path / name
        text = getattr(generated, name).read_text()
        stale.write_text(text.replace(right, wrong))
        assert stale.read_text() != text
        monkeypatch.setattr(generated, name, stale)
    assert generated.main([]) == 1
    assert generated.main(["--write"]) == 0
    assert generated.main([]) == 0


# SQL statements, each with what it is for: in a string below it, or in the docstring of the function that returns it.


@pytest.mark.parametrize("package", ["scheduler_svc", "old_application"])
def test_each_statement_says_what_it_is_for(package: str) -> None:
    silent = [
        f"{path}:{node.lineno}"
        for path in sorted((ROOT / package).rglob("*.py"))
        if "migrations" not in path.parts and not path.name.startswith("old_")
        for node, following in pairwise([*ast.parse(path.read_text()).body, ast.Pass()])
        if not _says_what_it_is_for(node, following)
    ]
    assert not silent


def _says_what_it_is_for(node: ast.stmt, following: ast.stmt) -> bool:
    """Returns True also for what is no statement of SQL."""
    if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns) == "sa.TextClause":
        return ast.get_docstring(node) is not None
    made_by = ast.unparse(node.value.func) if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) else ""
    return made_by not in {"sa.text", "Insert"} or (
        isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
    )
