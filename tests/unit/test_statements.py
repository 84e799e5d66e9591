"""The list of SQL statements in the docs: complete, up to date, each with what it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from verification.generated import statements
from verification.generated.statements import SCHEDULER, Module, main, modules, read


def test_the_document_is_what_the_modules_say() -> None:
    assert main([]) == 0


def test_a_stale_document_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "statements.md"
    stale.write_text(statements.DOCUMENT.read_text().replace("Creates an account.", "Creates nothing."))
    monkeypatch.setattr(statements, "DOCUMENT", stale)
    assert main([]) == 1
    assert main(["--write"]) == 0
    assert main([]) == 0


def test_a_statement_is_read_with_its_purpose_tables_and_callers() -> None:
    by_name = {statement.name: statement for statement in read(modules()["scheduler_svc.accounts.sql"])}
    assert by_name["_GET_ACCOUNT"].purpose == "Reads one account."
    assert (by_name["_GET_ACCOUNT"].tables, by_name["_GET_ACCOUNT"].run_by) == (("accounts",), ("Accounts.require",))


def test_a_builder_is_read_with_the_tables_of_what_it_uses_elsewhere() -> None:
    by_name = {statement.name: statement for statement in read(modules()["scheduler_svc.tasks.sql.reads"])}
    assert by_name["_page()"].tables == ("leases", "schedule_tasks", "task_labels", "task_payloads", "tasks")


def test_a_statement_without_a_purpose_is_found() -> None:
    module = Module(SCHEDULER / "accounts" / "sql.py")
    module.body = [node for node in module.body if not isinstance(node, ast.Expr)]
    assert {statement.purpose for statement in read(module)} == {""}
