"""Variables that look like settings of ours: what both services say of them at start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from console_svc.config import ConsoleSettings
from scheduler_svc import config as scheduler
from worker_svc import config as worker
from worker_svc import environment

Notices = Callable[[Mapping[str, str]], Iterator[str]]
FIELDS = scheduler.Settings.model_fields
both = pytest.mark.parametrize("notices", [scheduler.notices, environment.notices], ids=["scheduler", "worker"])


@both
def test_settings_of_every_service_are_known_to_both(notices: Notices) -> None:
    of_scheduler = {str(field.validation_alias or f"CONTENTGEN_{name.upper()}") for name, field in FIELDS.items()}
    of_worker = {str(field.alias) for field in worker.WorkerSettings.model_fields.values()}
    of_console = {str(field.alias) for field in ConsoleSettings.model_fields.values()}
    assert list(notices(dict.fromkeys(of_scheduler | of_worker | of_console, "x"))) == []


@both
@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("CONTENTGEN_LOG_LEVL", "did you mean CONTENTGEN_LOG_LEVEL?"),
        ("CONTENTGEN_TOKENFILE", "did you mean CONTENTGEN_TOKEN"),
        ("CONTENTGEN_COLOUR", "(--help lists the settings)"),
    ],
)
def test_an_unknown_variable_is_named_without_its_value(notices: Notices, variable: str, told: str) -> None:
    (notice,) = notices({variable: "zebra", "PATH": "/bin", "CREATOR_COLOUR": "red"})
    assert notice.startswith(f"{variable} is no setting, and is ignored")
    assert told in notice
    assert "zebra" not in notice


def test_the_database_url_has_no_prefix() -> None:
    (notice,) = scheduler.notices({"CONTENTGEN_DATABASE_URL": "zebra"})
    assert notice.endswith("did you mean DATABASE_URL?")


@both
def test_variables_set_by_kubernetes_are_not_reported(notices: Notices) -> None:
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
