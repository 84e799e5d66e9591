"""Variables that look like settings of ours: what services and command say of them."""

from __future__ import annotations

import pytest

from contentgen.variables import NAMES, PREFIX, notices
from scheduler_svc import config as scheduler
from tests.harness.setting_names import NAMES as OF_SERVICES

OF_OTHERS = {"CONTENTGEN_ACCOUNT", "CONTENTGEN_CONTEXT", "CONTENTGEN_RUN"}
"""Of the command, and of the CLIs."""


def test_the_list_has_what_there_is() -> None:
    of_services = frozenset[str]().union(*OF_SERVICES.values())
    assert {name for name in of_services if not name.startswith("CREATOR_")} | OF_OTHERS == NAMES


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("CONTENTGEN_LOG_LEVL", "did you mean CONTENTGEN_LOG_LEVEL?"),
        ("CONTENTGEN_TOKENFILE", "did you mean CONTENTGEN_TOKEN"),
        ("CONTENTGEN_CONSOLE_LISTN", "did you mean CONTENTGEN_CONSOLE_LISTEN?"),
        ("CONTENTGEN_DATABASE_URL", "did you mean DATABASE_URL?"),
        ("CONTENTGEN_COLOUR", "and is ignored"),
    ],
)
def test_an_unknown_variable_is_named_without_its_value(variable: str, told: str) -> None:
    (notice,) = notices({variable: "zebra", "PATH": "/bin", "CREATOR_COLOUR": "red", f"{PREFIX}SLOTS": "3"})
    assert notice.startswith(f"{variable} is no setting, and is ignored")
    assert told in notice
    assert "zebra" not in notice


def test_variables_set_by_kubernetes_are_not_reported() -> None:
    host, url = "10.0.0.1", "tcp://10.0.0.1:50051"
    set_by_it = {
        "SERVICE_HOST": host,
        "SERVICE_PORT": "50051",
        "SERVICE_PORT_GRPC": "50051",
        "PORT": url,
        "PORT_50051_TCP": url,
        "PORT_50051_TCP_PROTO": "tcp",
        "PORT_50051_TCP_PORT": "50051",
        "PORT_50051_TCP_ADDR": host,
    }
    assert list(notices({f"CONTENTGEN_SCHEDULER_{name}": value for name, value in set_by_it.items()})) == []
    assert len(list(notices({"CONTENTGEN_PORT": "50051"}))) == 1


def test_an_empty_database_url_is_told() -> None:
    (notice,) = scheduler.notices({"DATABASE_URL": ""})
    assert "DATABASE_URL is empty" in notice
