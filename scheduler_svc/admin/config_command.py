"""`contentgen-scheduler config check`: what the settings are, and all that is wrong with them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from contentgen.service.check import ConfigCheck, Findings, expired, same_ports, traces, unresolved, unwritable
from contentgen.service.settings import SettingsError
from scheduler_svc.assets.stores import open_store
from scheduler_svc.config import Bucket, Settings, configure_logging
from scheduler_svc.config.settings import empty_url
from scheduler_svc.config.tokens import read_tokens
from scheduler_svc.database.connections import check_sessions, describe_standby
from scheduler_svc.postgres import PostgresError
from scheduler_svc.postgres.programs import find_bindir
from scheduler_svc.runtime.tls import Certificates


def config_command(arguments: Sequence[str]) -> int:
    """Runs the command with the arguments after `config`, and returns its exit status."""
    return ConfigCheck(
        "scheduler",
        Settings,
        reads="certificates and their key, tokens, folders",
        connects="resolves names, and logs in to the database",
        checks=(_certificates, _tokens, _folders, same_ports, traces),
        connect=_unreachable,
        notes=lambda _: empty_url(os.environ),
    ).run(arguments)


def _certificates(settings: Settings, findings: Findings) -> Iterator[str]:
    """Checks whether the PEM files can be read, belong together and have not expired."""
    if not (settings.tls_cert and settings.tls_key):
        return
    try:
        Certificates(settings)
    except SettingsError as error:
        yield from error.problems
    except OSError as error:
        yield f"{error.filename}: must be a file that can be read ({error.strerror})"
    yield from expired(settings, findings, "tls_cert", "tls_client_ca")


def _tokens(settings: Settings, findings: Findings) -> Iterator[str]:
    if settings.tokens_file is None:
        return
    try:
        lines = read_tokens(settings.tokens_file)
    except SettingsError as error:
        yield from error.problems
        return
    roles = Counter(line.role for line in lines)
    findings["tokens_file"] = ", ".join(f"{count} of role {role}" for role, count in roles.items()) or "no tokens"
    if not lines:
        yield (
            f"CONTENTGEN_TOKENS_FILE={settings.tokens_file}: must have a line for each token, and has none, so nobody"
            " may call: contentgen-scheduler token create adds one"
        )


def _folders(settings: Settings, _: Findings) -> Iterator[str]:
    """Checks whether the folders can be written, or made; a bucket's credentials; an embedded PostgreSQL's programs."""
    yield from unwritable("CONTENTGEN_DATA_DIR", settings.data_dir)
    if isinstance(settings.assets, Path):
        yield from unwritable("CONTENTGEN_ASSETS", settings.assets)
    if isinstance(settings.assets, Bucket):
        try:
            open_store(settings.assets)
        except SettingsError as error:
            yield from error.problems
    if not settings.model_fields_set & Settings.SECRETS:
        try:
            find_bindir()
        except PostgresError as error:
            yield str(error)


def _unreachable(settings: Settings, findings: Findings) -> Iterator[str]:
    configure_logging(settings)
    bucket = settings.assets if isinstance(settings.assets, Bucket) else None
    hosts = (
        {"CONTENTGEN_ASSETS": bucket.endpoint.rpartition("//")[2].split(":")[0]} if bucket and bucket.endpoint else {}
    )
    yield from unresolved(settings, **hosts)
    if settings.database_url is None:
        return
    try:
        check_sessions(settings.database_url)
    except SettingsError as error:
        yield from error.problems
    else:
        findings["database_url"] = "answers, and keeps sessions"
    if settings.read_url:
        try:
            findings["read_url"] = describe_standby(settings.read_url)
        except SettingsError as error:
            yield from error.problems
