"""Keeps kustomize's manifests equal to those of the Helm chart, and its schema and its page to its values.

`--write` makes it so. Run by `make verify`, which also lints the chart; Helm's own library renders it. `--values JSON`
prints the chart's manifests with these values. The library is there for Linux on x86-64 only.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from importlib.util import find_spec
from operator import getitem
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from lab.benchmarks.kept import table
from verification.generated.document import differences

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/contentgen"
KUSTOMIZE = ROOT / "deploy/kubernetes"
DOCUMENT = ROOT / "docs/reference/chart.md"
OLDEST = "v1.30.0"
_TYPES = {bool: "boolean", int: "integer", str: "string", dict: "object", list: "array"}
_LIMITS: dict[str, dict[str, Any]] = {
    "annotations": {"additionalProperties": {"type": "string"}},
    "mode": {"enum": ["fixed", "scaled", "jobs"]},
    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "settings": {"additionalProperties": {"type": "string"}, "propertyNames": {"pattern": "^[A-Z][A-Z0-9_]*$"}},
}
"""What a value of this name may be, beyond its type."""
Place = tuple[str, ...]
_MADE = "# Made from deploy/helm/contentgen by `python -m verification.generated.chart --write`.\n"
_PAGE = """# Values of the Helm chart

<!-- made by `python -m verification.generated.chart --write` from deploy/helm/contentgen/values.yaml -->

[Kubernetes](../how-to/kubernetes.md) says how to install it.

"""
MADE: dict[str, tuple[dict[str, Any], Collection[str]]] = {
    "base/contentgen.yaml": ({}, ()),
    "components/scaled-workers/scaled-object.yaml": (
        {"worker": {"mode": "scaled"}},
        ("ScaledObject", "TriggerAuthentication"),
    ),
    "components/jobs/scaled-job.yaml": ({"worker": {"mode": "jobs"}}, ("ScaledJob",)),
    "components/backups/backups.yaml": ({"backup": {"enabled": True}}, ("CronJob", "PersistentVolumeClaim")),
}
"""Files of kustomize: the values that they are made with, and kinds; none: all."""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 if all is right (now), else 1 with what is wrong on the standard output."""
    if find_spec("helm_python") is None:
        print("not compared: there is no library of Helm for this platform")
        return 0
    if "--values" in arguments:
        print("".join(manifests(json.loads(arguments[-1]))))
        return 0
    findings = differences(CHART / "values.schema.json", schema(), arguments)
    findings += [*lint(), *differences(DOCUMENT, f"{_PAGE}{values()}\n", arguments)]
    for name, (given, kinds) in MADE.items():
        findings += differences(KUSTOMIZE / name, _MADE + "".join(manifests(given, kinds)), arguments)
    print("\n".join(findings) or "kustomize's manifests, the schema and the page of values match the Helm chart")
    return 1 if findings else 0


@contextmanager
def copied() -> Iterator[Path]:
    """The chart with files in place of links, of which Helm would tell each time."""
    with TemporaryDirectory() as folder:
        yield shutil.copytree(CHART, Path(folder, CHART.name))


def lint() -> Iterator[str]:
    from helm_python import lint as helm_lint

    with copied() as folder:
        report = helm_lint(folder, {}, strict=True, kube_version=OLDEST)
    for message in report["messages"]:
        if message["error"] != "icon is recommended":
            yield f"{message['path']}: {message['error']}"


def manifests(given: dict[str, Any], kinds: Collection[str] = ()) -> Iterator[str]:
    """The documents of the chart with these values, of some kinds only. Release and namespace are `contentgen`."""
    from helm_python import Chart

    with copied() as folder, Chart.load(folder) as chart:
        rendered = chart.render(given, name="contentgen", namespace="contentgen", is_install=True)
    for name, text in sorted(rendered.items()):
        for document in re.split(r"^---\n", text, flags=re.MULTILINE):
            manifest = None if name.endswith(".txt") else yaml.safe_load(document)
            if manifest and (not kinds or manifest["kind"] in kinds):
                yield f"---\n{document.strip()}\n"


def documented() -> dict[Place, str]:
    """The comment above each value, by its place."""
    path, comments, comment = Place(), dict[Place, str](), ""
    for line in (CHART / "values.yaml").read_text().splitlines():
        if match := re.fullmatch(r" *# (.*)", line):
            comment = match[1]
        elif match := re.fullmatch(r"( *)([\w./-]+):.*", line):
            path = (*path[: len(match[1]) // 2], match[2])
            comments |= {path: comment} if comment and match[1] else {}
            comment = ""
    return comments


def values() -> str:
    """The table of values."""
    whole, rows = yaml.safe_load((CHART / "values.yaml").read_text()), []
    for path, comment in documented().items():
        default = json.dumps(reduce(getitem, path, whole))
        rows.append((f"`{'.'.join(path)}`", f"`{default}`" if len(default) < 40 else "see `values.yaml`", comment))
    return table(("value", "default", "what it is for"), rows)


def schema() -> str:
    """What values may be: those that `values.yaml` has and describes, of the kinds that their defaults have."""
    whole = yaml.safe_load((CHART / "values.yaml").read_text())
    draft = {"$schema": "http://json-schema.org/draft-07/schema#", **_schema(whole, (), documented())}
    draft["properties"]["global"] = {"type": "object"}  # of a chart that has this one within it
    return json.dumps(draft, indent=1) + "\n"


def _schema(value: Any, path: Place, comments: Mapping[Place, str]) -> dict[str, Any]:
    if path not in comments and isinstance(value, dict):
        inner = {key: _schema(part, (*path, key), comments) for key, part in value.items()}
        return {"type": "object", "properties": inner, "additionalProperties": False}
    limits = _LIMITS.get(path[-1], {}) | ({"minimum": 0} if type(value) is int else {})
    return {"type": _TYPES[type(value)], "description": comments[path], **limits}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
