"""The URL of the scheduler's database: from where it is taken, how it is read, and that no part of it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contentgen.service.settings import SettingsError
from scheduler_svc.config import notices, read_settings

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("no_settings")]


def only_problem(*arguments: str) -> str:
    with pytest.raises(SettingsError) as raised:
        read_settings(arguments)
    (text,) = raised.value.problems
    return text


@pytest.fixture
def url_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that DATABASE_URL_FILE names; a test writes it."""
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    return tmp_path / "url"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_the_database_url_comes_from_the_environment_and_is_not_shown(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://user:secret@host/db")
    settings = read_settings([])
    assert settings.database_url == "postgresql+psycopg2://user:secret@host/db"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("u:p@a:1,b:2/db?target_session_attrs=read-write", "u:p@/db?host=a:1&host=b:2&target_session_attrs=read-write"),
        ("a.example,b-2.example/db", "/db?host=a.example&host=b-2.example"),
        ("u@a,b", "u@/?host=a&host=b"),
        ("u:a,b@host/db", "u:a,b@host/db"),
        ("/db?host=/a,/b", "/db?host=/a,/b"),
    ],
)
def test_several_hosts_of_a_database_become_parameters(url: str, read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{url}")
    assert read_settings([]).database_url == f"postgresql+psycopg2://{read}"


def test_the_database_url_comes_from_a_file_and_is_not_shown(url_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url_file.write_text("postgres://user:zebra@host/db\n")
    monkeypatch.setenv("CONTENTGEN_REQUIRE_DATABASE_URL", "on")
    settings = read_settings([])
    assert settings.database_url == "postgresql+psycopg2://user:zebra@host/db"
    assert "zebra" not in repr(settings)


@pytest.mark.parametrize(
    ("held", "wrong"),
    [
        (None, "must be the path of a file that can be read"),
        (b"zebra", "the URL in the file must begin with postgresql://"),
        (b"", "the URL in the file must begin with postgresql://"),
        (b"\xff", "must be the path of a file that holds the URL and nothing else"),
    ],
)
def test_a_file_without_a_database_url_is_refused(url_file: Path, held: bytes | None, wrong: str) -> None:
    if held is not None:
        url_file.write_bytes(held)
    problem = only_problem()
    assert problem.startswith(f"DATABASE_URL_FILE: {wrong}")
    assert "zebra" not in problem


def test_a_url_in_the_place_of_its_file_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "postgresql://user:zebra@host/db")
    problem = only_problem()
    assert problem == "DATABASE_URL_FILE: must be the path of a file that can be read (No such file or directory)"


def test_exactly_one_of_url_and_file_may_be_set(url_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url_file.write_text("postgresql://one/db")
    monkeypatch.setenv("DATABASE_URL", "postgresql://other/db")
    problem = only_problem()
    assert problem == "DATABASE_URL: exactly one of DATABASE_URL and DATABASE_URL_FILE may be set: unset the other one"
    monkeypatch.setenv("DATABASE_URL", "")
    assert read_settings([]).database_url == "postgresql+psycopg2://one/db"


@pytest.mark.parametrize("url", ["mysql://user:secret@host/db", "secret", "sqlite:///secret"])
def test_another_database_is_refused_without_its_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    problem = only_problem()
    assert problem.startswith("DATABASE_URL: must begin with postgresql://")
    assert "secret" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "u:zebra@giraffe@host/db",
        "u:zebra@giraffe/@host:1/db",
        "u:@zebra@host:1/db",
        "u:zebra",
        "u:zebra/db",
        "u:zebra,giraffe/db",
        "u:zebra@[::1:1/db",
        "u:zebra@host:giraffe/db",
        "u@zebra:host:1/db",
        "u:x@host,zebra@host/db",
    ],
)
def test_no_part_of_a_password_is_taken_for_a_host_and_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{url}")
    problem = only_problem()
    assert problem.startswith("DATABASE_URL: must be postgresql://user:password@host:5432/database")
    assert "%40" in problem
    assert not {"zebra", "giraffe"} & set(re.findall(r"\w+", problem))


OTHERS = ["u:p%40q@h:1/db", "u@[::1]:1/db", "u@%2Frun/db", "/db?host=/run/pg&options=a@b", "", "h/db", "u:a:b@h,i:2"]


@pytest.mark.parametrize("url", OTHERS)
def test_other_urls_are_left_to_the_driver(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{url}")
    assert read_settings([]).database_url


@pytest.mark.parametrize("given", [None, ""])
def test_a_database_url_can_be_required(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_REQUIRE_DATABASE_URL", "on")
    if given is not None:
        monkeypatch.setenv("DATABASE_URL", given)
    problem = only_problem()
    assert problem.startswith(
        "DATABASE_URL or DATABASE_URL_FILE must be set, since CONTENTGEN_REQUIRE_DATABASE_URL is on"
    )
    assert only_problem("--require-database-url")
    monkeypatch.setenv("DATABASE_URL", "postgresql://host/db")
    assert read_settings([]).require_database_url


def test_an_empty_database_url_is_told() -> None:
    (notice,) = notices({"DATABASE_URL": ""})
    assert "DATABASE_URL is empty" in notice
