# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#   "cloudcoil-models-keda==2.16.1.0",
#   "cloudcoil-models-prometheus-operator==0.80.1.0",
#   "kubernetes-validate",
# ]
# ///
"""Writes the schemas of the kinds in our manifests, strict: what they do not name is refused.

All schemas of all versions are 116 MB; these few lie with the tests. Where a kind or a version is added:
`.venv/bin/uv run --script verification/generated/kubernetes.py`, in an environment of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

SCHEMAS = Path(__file__).parents[2] / "tests/harness/kubernetes"
VERSIONS = ("1.30", "1.37")
"""The oldest that the manifests are for, and the newest that there are schemas of."""
KINDS = {
    "apps/v1": ("Deployment", "StatefulSet"),
    "batch/v1": ("CronJob", "Job"),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "policy/v1": ("PodDisruptionBudget",),
    "v1": ("ConfigMap", "Namespace", "PersistentVolumeClaim", "Secret", "Service"),
}
FOREIGN = {
    "keda.sh/v1alpha1": (
        "keda-2.16",
        "cloudcoil.models.keda.v1alpha1",
        ("ScaledJob", "ScaledObject", "TriggerAuthentication"),
    ),
    "monitoring.coreos.com/v1": (
        "prometheus-operator-0.80",
        "cloudcoil.models.prometheus_operator.v1",
        ("PodMonitor", "PrometheusRule"),
    ),
}
"""Of other projects, by version: the file, the module with their models, and the kinds."""
_WORDS_FOR_PEOPLE = ("$id", "$schema", "description", "title")


def main() -> None:
    package = files("kubernetes_validate")
    for version in VERSIONS:
        _write(version, schemas(Path(str(package / f"kubernetes-json-schema/v{version}.0-local-strict"))))
    for version, (name, module, kinds) in FOREIGN.items():
        _write(name, schemas_of_models(version, module, kinds))


def _write(name: str, document: dict[str, Any]) -> None:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    (SCHEMAS / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def schemas(source: Path) -> dict[str, Any]:
    """That of each kind, by `version/kind`, and the definitions that these need."""
    definitions = json.loads((source / "_definitions.json").read_text(encoding="utf-8"))["$defs"]
    kinds = {f"{version}/{kind}": _kind(source, version, kind) for version, names in KINDS.items() for kind in names}
    definitions_needed: dict[str, Any] = {}
    pending = list(_references(kinds))
    while pending:
        name = pending.pop()
        if name not in definitions_needed:
            definitions_needed[name] = _plain(definitions[name])
            pending += _references(definitions_needed[name])
    return {"kinds": kinds, "$defs": definitions_needed}


def schemas_of_models(version: str, module: str, kinds: Iterable[str]) -> dict[str, Any]:
    """The same, from models, which ignore what they do not know."""
    package = import_module(module)
    _, document = models_json_schema([(getattr(package, kind), "validation") for kind in kinds])
    definitions = {
        name: {"additionalProperties": False, **schema} if "properties" in schema else schema
        for name, schema in _plain(document["$defs"]).items()
    }
    return {"kinds": {f"{version}/{kind}": {"$ref": f"#/$defs/{kind}"} for kind in kinds}, "$defs": definitions}


def _kind(source: Path, version: str, kind: str) -> Any:
    group, _, number = version.rpartition("/")
    name = "-".join(filter(None, (kind.lower(), group.partition(".")[0], number)))
    return _plain(json.loads((source / f"{name}.json").read_text(encoding="utf-8")))


def _plain(schema: Any) -> Any:
    """It, without texts, and with its references inside the same document."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    fields = {
        key: _plain(part)
        for key, part in schema.items()
        if not (key in _WORDS_FOR_PEOPLE and isinstance(part, str)) and not key.startswith("x-")
    }
    if isinstance(reference := fields.get("$ref"), str):
        fields["$ref"] = f"#{reference.partition('#')[2]}"
    return fields


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.rpartition("/")[2]
        schema = list(schema.values())
    for part in schema if isinstance(schema, list) else ():
        yield from _references(part)


if __name__ == "__main__":
    main()
