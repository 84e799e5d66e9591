"""The console's settings: one frozen object, read once from flags and environment variables."""

from __future__ import annotations

import re
import ssl
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import field_validator

from console_svc.roles import Roles
from contentgen.client.connection import stays_here
from contentgen.service import settings as service
from contentgen.service.files import unusable_authorities, unusable_pair
from contentgen.service.settings import FlagParser, ServiceSettings, add_flags, together
from contentgen.service.values import Address, ListenAddress, LogLevel, ReadableFile, Text, by_comma

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?", re.ASCII)
_PREFIX = re.compile(r"(?:/[\w.~-]+)*", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9-]*")

OIDC = ("oidc_issuer", "oidc_client_id", "oidc_client_secret_file", "oidc_token_file", "oidc_roles")
Hosts = Annotated[tuple[str, ...], by_comma(_HOST, "names of hosts without ports", "desk.example.com", lower=True)]


class ConsoleSettings(ServiceSettings):
    UNSHOWN: ClassVar[frozenset[str]] = frozenset({"oidc_client_secret_file", "oidc_token_file"})

    console_listen: ListenAddress = Address("127.0.0.1", 8080)
    """host:port to serve the pages on; :0 is loopback with any free port. Beyond loopback it needs TLS, or a proxy that
    has it and --console-behind-proxy, or --insecure."""
    scheduler: Text = "127.0.0.1:50051"
    """Address of the schedulers: any gRPC target."""
    tls_ca: ReadableFile | None = None
    """PEM file of the CA that signed the schedulers' certificate; unset: plaintext."""
    tls_client_cert: ReadableFile | None = None
    """PEM file of the console's own certificate for the schedulers; requires the CA and the key."""
    tls_client_key: ReadableFile | None = None
    """PEM file of its key."""
    console_tls_cert: ReadableFile | None = None
    """PEM file of the certificate that browsers see."""
    console_tls_key: ReadableFile | None = None
    """PEM file of its key."""
    console_behind_proxy: bool = False
    """Whether a proxy with TLS is before it: it may listen beyond loopback, and cookies are for https only."""
    console_prefix: str = ""
    """Path before all addresses, such as /console, where a proxy has others beside it."""
    console_token_header: str = ""
    """Name of a request header in which a proxy that signs users in names their token. Whoever reaches the console past
    that proxy may send it, too."""
    oidc_issuer: Text | None = None
    """Address of an OpenID Connect provider that signs people in beside tokens: its issuer, https:// unless it is on
    this machine. Unset: tokens only."""
    oidc_client_id: Text | None = None
    """The console's name at the provider."""
    oidc_client_secret_file: ReadableFile | None = None
    """File that holds the console's secret at the provider; read at each sign-in."""
    oidc_token_file: ReadableFile | None = None
    """File that holds the token of the console itself, made with --delegates; read at each sign-in."""
    oidc_roles: Roles | None = None
    """Which claims give which role, and accounts if not all: CLAIM=VALUE:ROLE or CLAIM=VALUE:ROLE@1,2, separated by
    semicolons. The first that fits gives the role; others with that role add accounts."""
    console_hosts: Hosts = ()
    """Names, by comma, by which browsers may call it beside localhost and its address. Unset: any by TLS, its own or a
    proxy's, and none without."""
    insecure: bool = False
    """Allow an address wider than loopback without TLS, its own or the schedulers', to try out: tokens pass the network
    in plaintext."""
    console_design: bool = False
    """Whether the page /design shows what pages are made of, for those who change them. `contentgen dev` sets it."""
    metrics_listen: ListenAddress | None = None
    """host:port for /metrics, /livez and /readyz; unset: none."""
    log_level: LogLevel = "info"
    """Lowest level that is logged: debug, info, warning or error."""

    @field_validator("console_prefix")
    @classmethod
    def _path(cls, prefix: str) -> str:
        if not _PREFIX.fullmatch(prefix := prefix.rstrip("/")):
            raise ValueError("must be a path such as /console")
        return prefix

    @field_validator("console_token_header")
    @classmethod
    def _header(cls, name: str) -> str:
        if not _HEADER.fullmatch(name):
            raise ValueError("must be the name of a header, such as X-Contentgen-Token")
        return name

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer(cls, address: str | None) -> str | None:
        if address and not is_safe(address):
            raise ValueError("must be https://…, or http:// on this machine")
        return address

    def conflicts(self) -> list[str]:
        problems = [
            *together(self, "tls_client_cert", "tls_client_key"),
            *together(self, "console_tls_cert", "console_tls_key"),
            *together(self, *OIDC),
        ]
        if self.oidc_issuer and self.console_token_header:
            problems.append("CONTENTGEN_OIDC_ISSUER and CONTENTGEN_CONSOLE_TOKEN_HEADER exclude each other: unset one")
        if self.tls_client_cert and not self.tls_ca:
            problems.append("CONTENTGEN_TLS_CLIENT_CERT asks for CONTENTGEN_TLS_CA")
        if not (self.tls_ca or self.insecure or stays_here(self.scheduler)):
            problems.append(
                f"CONTENTGEN_SCHEDULER={self.scheduler}: tokens would pass the network in plaintext: set"
                " CONTENTGEN_TLS_CA, or reach a scheduler on 127.0.0.1, or set CONTENTGEN_INSECURE=on to try it out"
            )
        if not (self.console_listen.is_loopback or self.secure or self.insecure):
            problems.append(
                f"CONTENTGEN_CONSOLE_LISTEN={self.console_listen}: tokens would pass the network in plaintext: set"
                " CONTENTGEN_CONSOLE_TLS_CERT and _KEY, or CONTENTGEN_CONSOLE_BEHIND_PROXY=on if a proxy has TLS, or"
                " listen on 127.0.0.1, or set CONTENTGEN_INSECURE=on to try it out"
            )
        return problems

    @property
    def secure(self) -> bool:
        return self.console_tls_cert is not None or self.console_behind_proxy


def is_safe(address: str) -> bool:
    """Returns whether secrets may be sent to an address: by TLS, or on this machine."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and Address(host, 0).is_loopback))


def read_settings(arguments: Sequence[str]) -> ConsoleSettings:
    """Returns the settings of `arguments` (without the program's name) and the environment.

    `--help` prints every setting and exits 0. Raises SettingsError with everything that is wrong.
    """
    parser = FlagParser(
        "contentgen-console",
        usage="contentgen-console [--help] [--setting=value ...]\n"
        "       contentgen-console config check [...]         shows the settings, and what is wrong with them",
        description="Serves the pages of contentgen: tasks, contents, workers. It asks the schedulers with the token\n"
        "of whoever has signed in.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_flags(parser, ConsoleSettings)
    return service.read_settings(ConsoleSettings, parser, arguments)


CERTIFICATES = ("tls_ca", "tls_client_cert", "console_tls_cert")
"""The settings that name files with certificates."""


def unusable(settings: ConsoleSettings) -> Iterator[str]:
    """Yields what OpenSSL finds wrong with the files: a line for each setting, or pair."""
    scheduler_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    yield from unusable_authorities(scheduler_context, settings, "tls_ca")
    yield from unusable_pair(scheduler_context, settings, "tls_client_cert", "tls_client_key")
    browser_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yield from unusable_pair(browser_context, settings, "console_tls_cert", "console_tls_key")
