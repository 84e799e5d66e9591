"""The console's settings: one frozen object, read once from flags and environment variables.

Layer: the bottom of console_svc.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from contentgen.client.connection import stays_here

EXIT_CONFIG = 78
"""Exit status (EX_CONFIG) of a console whose settings are wrong."""
_OWN = "CONTENTGEN_CONSOLE_"
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]*):(\d{1,5})", re.ASCII)
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?", re.ASCII)
_PREFIX = re.compile(r"(?:/[\w.~-]+)*", re.ASCII)


class SettingsError(Exception):
    """Some settings are wrong; `problems` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Address(NamedTuple):
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def host_names(value: object) -> object:
    """Parses names of hosts, separated by commas, without ports."""
    if not isinstance(value, str):
        return value
    names = tuple(name.strip().lower() for name in value.split(",") if name.strip())
    if wrong := [name for name in names if not _HOST.fullmatch(name)]:
        raise ValueError(
            f"should be names of hosts without ports, by comma, such as desk.example.com; {wrong[0]!r} is not"
        )
    return names


Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(host_names)]


class ConsoleSettings(BaseSettings):
    """What an operator may set."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, case_sensitive=True, extra="ignore", use_attribute_docstrings=True
    )

    console_listen: str = Field("127.0.0.1:8080", alias="CONTENTGEN_CONSOLE_LISTEN")
    """host:port to serve the pages on; :0 is loopback with any free port. Beyond loopback it needs TLS, or a proxy that
    has it and --console-behind-proxy, or --insecure."""
    scheduler: str = Field("127.0.0.1:50051", alias="CONTENTGEN_SCHEDULER", min_length=1)
    """Address of the schedulers: any gRPC target."""
    tls_ca: Path | None = Field(None, alias="CONTENTGEN_TLS_CA")
    """PEM file of the CA that signed the schedulers' certificate; unset: plaintext."""
    tls_client_cert: Path | None = Field(None, alias="CONTENTGEN_TLS_CLIENT_CERT")
    """PEM file of the console's own certificate for the schedulers; requires the CA and the key."""
    tls_client_key: Path | None = Field(None, alias="CONTENTGEN_TLS_CLIENT_KEY")
    """PEM file of its key."""
    console_tls_cert: Path | None = Field(None, alias="CONTENTGEN_CONSOLE_TLS_CERT")
    """PEM file of the certificate that browsers see."""
    console_tls_key: Path | None = Field(None, alias="CONTENTGEN_CONSOLE_TLS_KEY")
    """PEM file of its key."""
    console_behind_proxy: bool = Field(False, alias="CONTENTGEN_CONSOLE_BEHIND_PROXY")
    """Whether a proxy with TLS is before it: it may listen beyond loopback, and cookies are for https only."""
    console_prefix: str = Field("", alias="CONTENTGEN_CONSOLE_PREFIX")
    """Path before all addresses, such as /console, where a proxy has others beside it."""
    console_token_header: str = Field("", pattern=r"^[A-Za-z0-9-]*$", alias="CONTENTGEN_CONSOLE_TOKEN_HEADER")
    """Name of a request header in which a proxy that signs users in names their token. Whoever reaches the console past
    that proxy may send it, too."""
    console_hosts: Hosts = Field((), alias="CONTENTGEN_CONSOLE_HOSTS")
    """Names, by comma, by which browsers may call it beside localhost and its address. Unset: any by TLS, its own or a
    proxy's, and none without."""
    insecure: bool = Field(False, alias="CONTENTGEN_INSECURE")
    """Allow an address wider than loopback without TLS, its own or the schedulers', to try out: tokens pass the network
    in plaintext."""
    metrics_listen: str = Field("", alias="CONTENTGEN_METRICS_LISTEN")
    """host:port for /metrics, /livez and /readyz; unset: none."""
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", alias="CONTENTGEN_LOG_LEVEL")
    """Lowest level that is logged: debug, info, warning or error."""

    @field_validator("console_listen", "metrics_listen")
    @classmethod
    def _listenable(cls, address: str) -> str:
        found = _LISTEN.fullmatch(address.strip())
        if address and (found is None or int(found[2]) > 65535):
            raise ValueError("should be host:port, such as 127.0.0.1:8080, [::1]:8080 or :0 (loopback, any free port)")
        return f"{found[1] or '127.0.0.1'}:{found[2]}" if found else ""

    @field_validator("console_prefix")
    @classmethod
    def _path(cls, prefix: str) -> str:
        if not _PREFIX.fullmatch(prefix := prefix.rstrip("/")):
            raise ValueError("should be a path such as /console")
        return prefix

    @field_validator("tls_ca", "tls_client_cert", "tls_client_key", "console_tls_cert", "console_tls_key")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                path.open("rb").close()
            except OSError as error:
                raise ValueError(f"should be a readable file ({error.strerror})") from None
        return path

    @model_validator(mode="after")
    def _whole(self) -> ConsoleSettings:
        if problems := self.conflicts():
            raise ValueError("\n".join(problems))
        return self

    def conflicts(self) -> list[str]:
        """What is wrong with the values together."""
        problems = []
        if (self.tls_client_cert is None) != (self.tls_client_key is None):
            problems.append("CONTENTGEN_TLS_CLIENT_CERT and CONTENTGEN_TLS_CLIENT_KEY should be set together")
        if self.tls_client_cert and not self.tls_ca:
            problems.append("CONTENTGEN_TLS_CA should be set if CONTENTGEN_TLS_CLIENT_CERT is")
        if (self.console_tls_cert is None) != (self.console_tls_key is None):
            problems.append("CONTENTGEN_CONSOLE_TLS_CERT and CONTENTGEN_CONSOLE_TLS_KEY should be set together")
        if not (self.tls_ca or self.insecure or stays_here(self.scheduler)):
            problems.append(
                f"CONTENTGEN_SCHEDULER={self.scheduler}: tokens would pass the network in plaintext: set"
                " CONTENTGEN_TLS_CA, or reach a scheduler on 127.0.0.1, or set CONTENTGEN_INSECURE=true to try it out"
            )
        if not (self.listen.loopback or self.secure or self.insecure):
            problems.append(
                f"CONTENTGEN_CONSOLE_LISTEN={self.listen}: tokens would pass the network in plaintext: set"
                " CONTENTGEN_CONSOLE_TLS_CERT and _KEY, or CONTENTGEN_CONSOLE_BEHIND_PROXY=true if a proxy has TLS, or"
                " listen on 127.0.0.1, or set CONTENTGEN_INSECURE=true to try it out"
            )
        return problems

    @property
    def listen(self) -> Address:
        return Address.parse(self.console_listen)

    @property
    def metrics(self) -> Address | None:
        return Address.parse(self.metrics_listen) if self.metrics_listen else None

    @property
    def secure(self) -> bool:
        """Whether browsers come by https."""
        return self.console_tls_cert is not None or self.console_behind_proxy


def read_settings(argv: Sequence[str]) -> ConsoleSettings:
    """Returns the settings from `argv` (without the program's name) and the environment; a flag beats its variable.

    `--help` prints every setting and exits 0. Raises SettingsError with everything that is wrong.
    """
    return make_settings(given_settings(_parser().parse_args(argv)))


def given_settings(parsed: argparse.Namespace) -> dict[str, str]:
    """The settings that were given as flags, by their variables."""
    flags = ((str(field.alias), vars(parsed)[str(field.alias)]) for field in ConsoleSettings.model_fields.values())
    return {variable: value for variable, value in flags if value is not None}


def make_settings(flags: Mapping[str, str]) -> ConsoleSettings:
    """The settings of these flags and the environment. Raises SettingsError with everything that is wrong."""
    try:
        return ConsoleSettings(**flags)  # type: ignore[arg-type] # texts, as the environment gives them
    except ValidationError as error:
        raise SettingsError([line for detail in error.errors() for line in _lines(detail, flags)]) from None


def notices(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each variable that is probably a mistake. Other services look at the other variables."""
    known = [str(field.alias).removeprefix(_OWN) for field in ConsoleSettings.model_fields.values()]
    for variable in sorted(environ):
        if variable.startswith(_OWN) and (name := variable.removeprefix(_OWN)) not in known:
            guess = get_close_matches(name, known, n=1, cutoff=0.75)
            advice = f": did you mean {_OWN}{guess[0]}?" if guess else " (--help lists the settings)"
            yield f"{variable} is no setting, and is ignored{advice}"


def _lines(detail: ErrorDetails, flags: Mapping[str, str]) -> list[str]:
    text = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return text.splitlines()
    name = str(detail["loc"][0])
    return [f"{_flag(name) if name in flags else name}={detail['input']}: {text}"]


def _flag(variable: str) -> str:
    return "--" + variable.removeprefix("CONTENTGEN_").lower().replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="contentgen-console",
        usage="contentgen-console [--help] [--setting=value ...]\n"
        "       contentgen-console config check [...]         shows the settings, and what is wrong with them",
        description="Serves the pages of contentgen: tasks, contents, workers. It asks the schedulers with the token of"
        " whoever has signed in.",
    )
    parser.add_argument("--version", action="version", version=version("contentgen-grpc"))
    add_setting_flags(parser)
    return parser


def add_setting_flags(parser: argparse.ArgumentParser) -> None:
    for field in ConsoleSettings.model_fields.values():
        variable = str(field.alias)
        default = "" if field.default in {None, "", ()} else f" Default: {field.default}."
        description = " ".join((field.description or "").split())
        text = f"{description}{default} [{variable}]".replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(_flag(variable), dest=variable, nargs="?", const="true", metavar="BOOL", help=text)
        else:
            parser.add_argument(_flag(variable), dest=variable, metavar=variable.rpartition("_")[2], help=text)
