"""What `make check` takes for changed, and the tests that it takes for those of the subject."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from verification.gate.changes import changed, related_tests

WHO = {f"GIT_{who}_{what}": "someone@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with a module, a test that imports it, one that is named after it, and others."""
    write(tmp_path, "shop/till.py", "shop/stock.py", "tests/contract/test_nothing.py")
    write(tmp_path, "tests/contract/test_prices.py", text="from shop import (\n    stock,\n    till,\n)\n")
    write(tmp_path, "tests/integration/test_orders.py", text="from shop.till import Till\n")
    write(tmp_path, "tests/e2e/test_till.py", "tests/unit/test_till.py", text="import shop.till\n")
    return tmp_path


def write(root: Path, *paths: str, text: str = "") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def git(root: Path, *arguments: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1", **WHO}
    subprocess.run(["git", *arguments], cwd=root, env=environment, capture_output=True, check=True, timeout=30)


def test_a_module_has_the_tests_that_import_it_or_have_its_name_the_cheapest_first(tree: Path) -> None:
    tests = ["tests/contract/test_prices.py", "tests/integration/test_orders.py", "tests/e2e/test_till.py"]
    assert related_tests(["shop/till.py"], tree) == tests
    assert related_tests(["shop/stock.py"], tree) == tests[:1]
    assert related_tests(["docs/orders.md"], tree) == [tests[1]]
    assert related_tests(["README.md", "tests/unit/test_till.py"], tree) == []


def test_a_changed_test_comes_first(tree: Path) -> None:
    assert related_tests(["shop/stock.py", "tests/e2e/test_till.py"], tree) == [
        "tests/e2e/test_till.py",
        "tests/contract/test_prices.py",
    ]


def test_what_a_branch_has_and_what_nobody_committed_has_changed(tree: Path) -> None:
    git(tree, "init", "--quiet", "--initial-branch=main")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "--message=Open the shop")
    assert changed(tree) == []
    git(tree, "switch", "--quiet", "--create=branch")
    write(tree, "shop/till.py", text="drawer = 1\n")
    git(tree, "commit", "--quiet", "--all", "--message=Add a drawer")
    write(tree, "shop/stock.py", text="tea = 1\n")
    write(tree, "shop/new.py")
    (tree / "tests/e2e/test_till.py").unlink()
    assert changed(tree) == ["shop/new.py", "shop/stock.py", "shop/till.py"]
