"""The manifests for Kubernetes and the units for systemd."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from console_svc.serving import STOP_TIMEOUT
from scheduler_svc.main import SHUTDOWN_TIMEOUT
from tests.harness.process import installed, program, run_to_end
from tests.harness.settings import NAMES, check, make_secrets
from verification.generated.kubernetes import FOREIGN, SCHEMAS, VERSIONS
from worker_svc.config import WorkerSettings
from worker_svc.session.service import STOP_TIMEOUT as WORKER_STOP_TIMEOUT

pytestmark = pytest.mark.integration

Manifest = dict[str, Any]
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
KUBERNETES_GUIDE, SYSTEMD_GUIDE = (ROOT / "docs/how-to" / name for name in ("kubernetes.md", "systemd.md"))
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
CHART: dict[str, Manifest] = {
    "chart": {},
    "chart-everything": {
        "images": {"registry": "registry.example.com/team", "tag": "1.2.3", "pullSecrets": [{"name": "registry"}]},
        "assets": {"bucket": "s3://contentgen-assets?region=eu-central-1"},
        "scheduler": {
            "settings": {"CONTENTGEN_RETENTION": "90d"},
            "pod": {"nodeSelector": {"disk": "ssd"}, "serviceAccountName": "contentgen"},
            "annotations": {"a": "b"},
        },
        "worker": {
            "mode": "scaled",
            "slots": 5,
            "drainMinutes": 20,
            "storageClass": "fast",
            "updateStrategy": {"type": "OnDelete"},
        },
        "console": {"ingress": {"host": "contentgen.example.com"}},
        "networkPolicy": {"egress": [{"ports": [{"port": 4318}]}]},
        "monitoring": {
            "podMonitors": True,
            "rules": True,
            "labels": {"release": "prometheus"},
            "runbooks": "https://docs.example.com/runbooks/",
        },
        "migration": {"enabled": True},
        "backup": {"enabled": True},
    },
    "chart-jobs": {
        "assets": {"claim": "files"},
        "worker": {"mode": "jobs", "settings": {"CREATOR_PROFILE": "json"}},
        "networkPolicy": {"enabled": False},
        "backup": {"enabled": True, "claim": "backups"},
    },
    "chart-open": {"tls": {"enabled": False}, "assets": {"claim": "files"}},
}
"""Values of the Helm chart."""
LIMIT = 60
SCALED = ("ScaledObject", "ScaledJob")
SECRETS = {
    "contentgen-database", "contentgen-tokens", "contentgen-tls", "contentgen-worker-token", "contentgen-creator",
    "contentgen-bucket", "contentgen-console-tls", "contentgen-owner", "registry",
}  # fmt: skip
"""That an operator makes, or a generator of the overlay."""
overlays = pytest.mark.parametrize("overlay", [*OVERLAYS, *CHART])


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """An overlay of kustomize, or the chart with some values."""
    if overlay in CHART:
        pytest.importorskip("helm_python", exc_type=ImportError)
        command = [installed("python"), "-m", "verification.generated.chart", "--values", json.dumps(CHART[overlay])]
    else:
        command = [program("kustomize"), "build", FOLDER / "overlays" / overlay]
    built = run_to_end(command, cwd=ROOT, within=LIMIT)
    assert (built.returncode, built.stderr) == (0, "")
    return tuple(yaml.safe_load_all(built.stdout))


@cache
def schemas(name: str) -> Manifest:
    return Manifest(json.loads((SCHEMAS / f"{name}.json").read_text()))


def validate(manifest: Manifest, version: str) -> None:
    foreign, *_ = FOREIGN.get(manifest["apiVersion"], (version,))
    definitions = schemas(foreign)
    schema = definitions["kinds"][f"{manifest['apiVersion']}/{manifest['kind']}"]
    Draft202012Validator({**schema, "$defs": definitions["$defs"]}).validate(manifest)


def named(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [manifest for manifest in rendered(overlay) if manifest["kind"] in kinds]


def templates(overlay: str) -> Iterator[Manifest]:
    """The template of each workload's pods."""
    for manifest in of_kind(overlay, "Deployment", "StatefulSet"):
        yield manifest["spec"]["template"]
    for manifest in of_kind(overlay, "ScaledJob"):
        yield manifest["spec"]["jobTargetRef"]["template"]
    for manifest in of_kind(overlay, "CronJob"):
        yield manifest["spec"]["jobTemplate"]["spec"]["template"]
    for manifest in of_kind(overlay, "Job"):
        yield manifest["spec"]["template"]


def services(overlay: str) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Of each pod that runs one of our services: its name, the pod's spec, and the container."""
    for template in templates(overlay):
        for container in template["spec"]["containers"]:
            if container["name"] in NAMES:
                yield container["name"], template["spec"], container


def environment(overlay: str, container: Manifest) -> dict[str, str]:
    """What a container gets by itself and from config maps."""
    maps = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind(overlay, "ConfigMap")}
    variables: dict[str, str] = {}
    for source in container["envFrom"]:
        variables |= maps[source["configMapRef"]["name"]] if "configMapRef" in source else {}
    return variables | {
        variable["name"]: variable.get("value", "from-a-field") for variable in container.get("env", ())
    }


def variables_of(overlay: str, service: str) -> list[dict[str, str]]:
    return [environment(overlay, container) for name, _, container in services(overlay) if name == service]


@overlays
@pytest.mark.parametrize("version", VERSIONS)
def test_each_manifest_is_what_its_schema_allows_and_no_more(overlay: str, version: str) -> None:
    for manifest in rendered(overlay):
        if manifest["kind"] == "ScaledJob":
            template = {key: value for key, value in manifest["spec"]["jobTargetRef"].items() if key != "rollout"}
            validate({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": template}, version)
        validate(manifest, version)


@pytest.mark.parametrize("kind", ["Deployment", "ScaledObject"])
def test_an_unknown_field_is_found(kind: str) -> None:
    manifest = json.loads(json.dumps(of_kind("production", kind)[0]))
    manifest["spec"]["replica"] = 1
    with pytest.raises(ValidationError, match="'replica' was unexpected"):
        validate(manifest, VERSIONS[-1])


def test_each_overlay_has_what_it_is_for() -> None:
    kinds = {overlay: {manifest["kind"] for manifest in rendered(overlay)} for overlay in OVERLAYS}
    assert not kinds["try"] & {*SCALED}
    assert kinds["production"] & {*SCALED, "StatefulSet"} == {"ScaledObject", "StatefulSet"}
    assert kinds["production-jobs"] & {*SCALED, "StatefulSet"} == {"ScaledJob"}


@overlays
def test_each_variable_is_a_setting(overlay: str) -> None:
    entries = list(services(overlay))
    assert {service for service, _, _ in entries} == set(NAMES)
    for service, _, container in entries:
        assert environment(overlay, container).keys() - NAMES[service] == set()


@overlays
def test_the_settings_pass_the_check_of_their_service(
    overlay: str,
    tmp_path: Path,
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With files in place of the mounted ones."""
    tls = {"server.pem": "tls.crt", "server.key": "tls.key", "ca.pem": "ca.crt"}
    make_secrets(tmp_path, certificates, tls, ["token"])
    for service, _, container in services(overlay):
        settings, flags = environment(overlay, container), container.get("args", [])
        status = check(monkeypatch, service, settings, ("/run/contentgen", "/data"), tmp_path, flags=flags)
        assert status == 0, capsys.readouterr().err


@overlays
def test_files_that_the_settings_name_are_mounted(overlay: str) -> None:
    for service, spec, container in services(overlay):
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        claims = {"data"} & set(mounts.values())
        assert set(mounts.values()) == {volume["name"] for volume in spec["volumes"]} | claims
        [secrets] = [volume for volume in spec["volumes"] if volume["name"] == "secrets"]
        paths = {item["path"] for source in secrets["projected"]["sources"] for item in source["secret"]["items"]}
        values = environment(overlay, container).values()
        files = {value.removeprefix("/run/contentgen/") for value in values if value.startswith("/run/contentgen/")}
        assert files <= paths
        assert service == "console" or environment(overlay, container)["CONTENTGEN_DATA_DIR"] in mounts


@pytest.mark.parametrize("overlay", [*OVERLAYS, *(name for name in CHART if "assets" in CHART[name])])
def test_no_pod_of_a_scheduler_keeps_assets_to_itself(overlay: str) -> None:
    for service, spec, container in services(overlay):
        location = environment(overlay, container).get("CONTENTGEN_ASSETS", "")
        if service != "scheduler" or location.startswith("s3://"):
            continue
        mounts = container["volumeMounts"]
        [name] = [mount["name"] for mount in mounts if f"{location}/".startswith(f"{mount['mountPath']}/")]
        [volume] = [candidate for candidate in spec["volumes"] if candidate["name"] == name]
        claims = [claim["metadata"]["name"] for claim in of_kind(overlay, "PersistentVolumeClaim")]
        assert volume["persistentVolumeClaim"]["claimName"] in [
            *claims,
            CHART.get(overlay, {}).get("assets", {}).get("claim"),
        ]


def test_no_scheduler_starts_before_somebody_says_where_assets_are() -> None:
    manifests = list(yaml.safe_load_all((FOLDER / "base/contentgen.yaml").read_text()))
    by_name = {named(manifest): manifest for manifest in manifests}
    assert by_name["ConfigMap/contentgen-scheduler"]["data"]["CONTENTGEN_ASSETS"] == "/assets"
    [container] = by_name["Deployment/contentgen-scheduler"]["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "/assets" not in {mount["mountPath"] for mount in container["volumeMounts"]}


@overlays
def test_secrets_are_those_that_the_docs_name(overlay: str) -> None:
    text = json.dumps(rendered(overlay))
    used = set(re.findall(r'"secret(?:KeyRef|Ref|Name)?": (?:\{[^}]*?"name": )?"([\w-]+)"', text))
    generated = {secret["metadata"]["name"]: secret for secret in of_kind(overlay, "Secret")}
    assert used
    assert {re.sub("-[a-z0-9]{10}$", "", name) for name in generated} & used == set()  # references have the hash too
    assert {name for name in used if name not in generated} <= SECRETS
    assert all(f"`{name}`" in KUBERNETES_GUIDE.read_text() for name in SECRETS - {"registry"})


@overlays
def test_a_pod_has_time_to_drain(overlay: str) -> None:
    drains = {"scheduler": SHUTDOWN_TIMEOUT, "console": STOP_TIMEOUT}
    for service, spec, container in services(overlay):
        grace = spec["terminationGracePeriodSeconds"]
        if service in drains:
            assert grace >= container["lifecycle"]["preStop"]["sleep"]["seconds"] + drains[service] + 5
        else:
            assert grace == int(environment(overlay, container)["CONTENTGEN_DRAIN_TIMEOUT"].removesuffix("m")) * 60 + 30


@overlays
def test_probes_ask_where_the_service_answers(overlay: str) -> None:
    for _, _, container in services(overlay):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        variables = environment(overlay, container)
        assert variables["CONTENTGEN_METRICS_LISTEN"] == f"0.0.0.0:{ports['metrics']}"
        asked = {
            probe: (settings["httpGet"]["path"], settings["httpGet"]["port"])
            for probe, settings in container.items()
            if probe.endswith("Probe")
        }
        assert asked["livenessProbe"] == ("/livez", "metrics")
        assert "--run-one" in container.get("args", ()) or asked["readinessProbe"] == ("/readyz", "metrics")
        if "CONTENTGEN_SCALER_LISTEN" in variables:
            assert variables["CONTENTGEN_SCALER_LISTEN"] == f"0.0.0.0:{ports['scaler']}"
            assert variables["CONTENTGEN_LISTEN"] == f"0.0.0.0:{ports['grpc']}"
        if "CONTENTGEN_CONSOLE_LISTEN" in variables:
            assert variables["CONTENTGEN_CONSOLE_LISTEN"] == f"0.0.0.0:{ports['http']}"


@overlays
def test_pods_may_do_little(overlay: str) -> None:
    for template in templates(overlay):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False  # its variables would begin with CONTENTGEN_
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume)
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}
            assert container["resources"]["limits"].keys() == {"memory", "ephemeral-storage"}


@overlays
def test_selectors_find_pods_and_their_ports(overlay: str) -> None:
    pods = [(template["metadata"]["labels"], template["spec"]["containers"]) for template in templates(overlay)]

    def selected(labels: Manifest) -> list[Manifest]:
        return [candidate for of, containers in pods if labels.items() <= of.items() for candidate in containers]

    for manifest in of_kind(overlay, "Service"):
        [container] = selected(manifest["spec"]["selector"])
        ports = {port["name"] for port in container["ports"]}
        assert {port["targetPort"] for port in manifest["spec"]["ports"]} <= ports
    for manifest in of_kind(overlay, "PodDisruptionBudget", "Deployment", "StatefulSet"):
        assert selected(manifest["spec"]["selector"]["matchLabels"]), named(manifest)
    for manifest in of_kind(overlay, "NetworkPolicy"):
        [container] = selected(manifest["spec"]["podSelector"]["matchLabels"])
        ports = {port["name"] for port in container["ports"]}
        assert {port["port"] for rule in manifest["spec"]["ingress"] for port in rule["ports"]} <= ports


@overlays
def test_autoscalers_ask_the_schedulers_as_their_settings_say(overlay: str) -> None:
    variables, *_ = variables_of(overlay, "worker")
    for manifest in of_kind(overlay, *SCALED):
        [trigger] = manifest["spec"]["triggers"]
        metadata = trigger["metadata"]
        assert metadata["scalerAddress"] == "contentgen-scheduler.contentgen:50052"
        assert metadata["enableTLS"] == "true"
        slots = "1" if manifest["kind"] == "ScaledJob" else variables["CONTENTGEN_SLOTS"]
        assert metadata["targetPerWorker"] == slots
        [authentication] = of_kind(overlay, "TriggerAuthentication")
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    for manifest in of_kind(overlay, "ScaledObject"):
        [target] = of_kind(overlay, "StatefulSet")
        assert manifest["spec"]["scaleTargetRef"]["name"] == target["metadata"]["name"]
        assert "replicas" not in target["spec"]


@overlays
def test_browsers_come_back_to_the_console_that_knows_them(overlay: str) -> None:
    by_name = {named(manifest): manifest for manifest in of_kind(overlay, "Service")}
    assert by_name["Service/contentgen-console"]["spec"]["sessionAffinity"] == "ClientIP"
    [console] = variables_of(overlay, "console")
    for ingress in of_kind(overlay, "Ingress"):
        assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/affinity"] == "cookie"
        [rule] = ingress["spec"]["rules"]
        [tls] = ingress["spec"]["tls"]
        assert tls["hosts"] == [rule["host"]]
        [path] = rule["http"]["paths"]
        assert path["backend"]["service"] == {"name": "contentgen-console", "port": {"name": "http"}}
    assert ("CONTENTGEN_CONSOLE_BEHIND_PROXY" in console) == ("CONTENTGEN_INSECURE" not in console)


def test_a_worker_keeps_its_disk() -> None:
    [workers] = of_kind("production", "StatefulSet")
    assert workers["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    [claim] = workers["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"


@overlays
def test_pods_spread_and_an_autoscaler_of_the_cluster_ends_no_run(overlay: str) -> None:
    for service, spec, _ in services(overlay):
        constraints = spec["topologySpreadConstraints"]
        assert [constraint["topologyKey"] for constraint in constraints] == [
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ]
        [template] = [template for template in templates(overlay) if template["spec"] is spec]
        evict = template["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"]
        assert evict == str(service != "worker").lower()


@overlays
def test_ports_say_what_is_spoken_there(overlay: str) -> None:
    [scheduler] = variables_of(overlay, "scheduler")
    spoken = "https" if "CONTENTGEN_TLS_CERT" in scheduler else "kubernetes.io/h2c"
    for manifest in of_kind(overlay, "Service"):
        for port in manifest["spec"]["ports"]:
            assert port.get("appProtocol", "") == {"grpc": spoken, "scaler": spoken, "http": "http"}.get(
                port["name"], ""
            )


# What only the chart has.


def test_a_value_that_the_chart_does_not_know_is_refused() -> None:
    for values, message in (
        ({"schedulers": {"replicas": 1}}, "schedulers"),
        ({"worker": {"mode": "many"}}, "worker/mode"),
        ({"scheduler": {"settings": {"CONTENTGEN_RETENTION": 90}}}, "CONTENTGEN_RETENTION"),
    ):
        pytest.importorskip("helm_python", exc_type=ImportError)
        command = [installed("python"), "-m", "verification.generated.chart", "--values", json.dumps(values)]
        refused = run_to_end(command, cwd=ROOT, within=LIMIT)
        assert refused.returncode == 1
        assert message in refused.stderr


def test_the_chart_has_the_alerts_and_finds_what_they_are_about() -> None:
    [rule] = of_kind("chart-everything", "PrometheusRule")
    text = (ROOT / "deploy/prometheus/contentgen.rules.yaml").read_text()
    *groups, expected = rule["spec"]["groups"]
    addressed = re.sub(r"runbook_url: .*/(\w+)\.md'?", r"runbook_url: https://docs.example.com/runbooks/\1.md", text)
    assert groups == yaml.safe_load(addressed)["groups"]
    counts = {rule["labels"]["role"]: rule["expr"] for rule in expected["rules"] if "labels" in rule}
    assert counts == {"scheduler": "vector(3)", "worker": "vector(0)", "console": "vector(2)", "standby": "vector(0)"}
    [monitor] = of_kind("chart-everything", "PodMonitor")
    assert {rule["metadata"]["labels"]["release"], monitor["metadata"]["labels"]["release"]} == {"prometheus"}
    for _, _, container in services("chart-everything"):
        assert "metrics" in {port["name"] for port in container["ports"]}
    for template in templates("chart-everything"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert template["metadata"]["labels"][monitor["spec"]["jobLabel"]].startswith("contentgen-")


def test_the_chart_migrates_before_an_upgrade() -> None:
    [migration] = of_kind("chart-everything", "Job")
    assert migration["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    [container] = migration["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["migrate"]
    maps = {reference["configMapRef"]["name"] for reference in container.get("envFrom", ())}
    assert not maps  # they come after the hook


@pytest.mark.parametrize("overlay", ["production", "production-jobs", "chart-everything"])
def test_backups_are_of_the_schedulers_assets_and_stay(overlay: str) -> None:
    [backup] = of_kind(overlay, "CronJob")
    pod = backup["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["args"] == ["once"]
    [claim] = of_kind(overlay, "PersistentVolumeClaim")
    claims = [
        volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume
    ]
    assert claims == [claim["metadata"]["name"]]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    [assets] = [variable for variable in container["env"] if variable["name"] == "CONTENTGEN_ASSETS"]
    maps = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind(overlay, "ConfigMap")}
    reference = assets["valueFrom"]["configMapKeyRef"]
    assert maps[reference["name"]][reference["key"]] == "s3://contentgen-assets?region=eu-central-1"


def test_chart_and_overlays_are_of_the_version_that_is_described() -> None:
    [version, *_] = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    chart = yaml.safe_load((ROOT / "deploy/helm/contentgen/Chart.yaml").read_text())
    overlay = yaml.safe_load((FOLDER / "overlays/production/kustomization.yaml").read_text())
    assert {chart["version"], chart["appVersion"], *(image["newTag"] for image in overlay["images"])} == {version}


# The units of deploy/systemd: valid and hardened as systemd sees it, and in step with the settings that they name.


UNITS = ROOT / "deploy/systemd"
unit_services = pytest.mark.parametrize("service", NAMES)


def unit(service: str) -> str:
    return (UNITS / f"contentgen-{service}.service").read_text()


def value(service: str, key: str) -> str:
    [text] = re.findall(rf"^{key}=(.*)$", unit(service), re.MULTILINE)
    return str(text)


@pytest.fixture
def put(service: str, tmp_path: Path) -> Path:
    """The unit, with the programs of this environment."""
    path = tmp_path / f"contentgen-{service}.service"
    path.write_text(unit(service).replace("/opt/contentgen/bin", str(installed("python").parent)))
    return path


@unit_services
def test_systemd_finds_nothing_wrong(put: Path) -> None:
    checked = run_to_end([program("systemd-analyze"), "verify", "--man=no", put], within=LIMIT)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@unit_services
def test_the_exposure_is_the_one_that_the_docs_name(service: str, put: Path) -> None:
    checked = run_to_end([program("systemd-analyze"), "security", "--offline=yes", "--no-pager", put], within=LIMIT)
    assert checked.returncode == 0, checked.stderr
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+) OK", checked.stdout)
    assert float(level) < (3 if service == "worker" else 2)  # a worker changes users
    version = run_to_end([program("systemd-analyze"), "--version"], within=LIMIT).stdout.split()[1]
    if f"`systemd-analyze security` ({version})" in SYSTEMD_GUIDE.read_text():  # another version may look at more
        assert f"| `contentgen-{service}.service` | {level} |" in SYSTEMD_GUIDE.read_text()


def test_a_stop_leaves_time_for_the_drain() -> None:
    for service, stop_timeout in (("scheduler", SHUTDOWN_TIMEOUT), ("console", STOP_TIMEOUT)):
        assert value(service, "TimeoutStopSec") == "15s"
        assert stop_timeout + 5 <= 15
    assert value("worker", "TimeoutStopSec") == "11min"
    assert "CONTENTGEN_DRAIN_TIMEOUT=10m" in value("worker", "Environment")
    assert WorkerSettings.model_fields["drain_timeout"].default == 600
    assert WORKER_STOP_TIMEOUT < 60


@unit_services
def test_settings_are_checked_before_a_start_and_only_the_service_itself_is_told_to_stop(service: str) -> None:
    assert value(service, "ExecStartPre") == f"{value(service, 'ExecStart')} config check"
    assert value(service, "KillMode") == "mixed"


@unit_services
def test_the_settings_exist(service: str) -> None:
    named = re.findall(r"^#?([A-Z_]+)=", (UNITS / f"{service}.env").read_text(), re.MULTILINE)
    lines = re.findall("^Environment=(.*)$", unit(service), re.MULTILINE)
    named += [pair.partition("=")[0] for line in lines for pair in line.split()]
    assert len(named) > 5
    assert set(named) - NAMES[service] == set()
