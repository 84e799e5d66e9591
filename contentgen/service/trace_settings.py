"""Whether spans are exported, by the standard variables of OpenTelemetry.

The exporter reads the other variables (headers, certificates, timeout, sampler) itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from contentgen.service.settings import SettingsError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def exports_traces(environ: Mapping[str, str]) -> bool:
    """Returns whether traces are to be exported. Raises SettingsError if they can't be."""
    endpoint = _first(_ENDPOINTS, environ)
    exporter = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if endpoint is None or exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    problems = []
    if exporter != "otlp":
        problems.append(f"OTEL_TRACES_EXPORTER={exporter}: must be otlp, or none, which switches traces off")
    if not endpoint[1].startswith(("http://", "https://")):
        problems.append(f"{endpoint[0]}: must be a URL, such as http://collector:4318")
    protocol = _first(_PROTOCOLS, environ)
    if protocol and protocol[1] != "http/protobuf":
        problems.append(
            f"{protocol[0]}={protocol[1]}: must be http/protobuf, or unset (collectors take it on port 4318)"
        )
    if not _is_installed():
        problems.append(
            f"{endpoint[0]} is set, and OpenTelemetry is not installed: pip install 'contentgen-grpc[otel]',"
            " or unset it"
        )
    if problems:
        raise SettingsError(problems)
    return True


def _first(names: tuple[str, ...], environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Returns the first of these variables that is set, with its value."""
    return next(((name, environ[name]) for name in names if environ.get(name)), None)


def _is_installed() -> bool:
    try:
        return find_spec(_EXPORTER) is not None and find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:  # of the packages above it
        return False
