"""An OpenID Connect provider, as a process of its own.

It answers as `oidc-provider-mock` does, which checks no PKCE: a code is worth something only with the verifier of its
challenge here. What a person is said to be overrides the claims of the ID token, wrong ones too.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

from tests.harness.process import Process, inherited
from tests.harness.processes import free_port
from tests.harness.waiting import PATIENCE_S, wait_until


class OpenIdProvider(Process):
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", __name__, self.port]
        super().__init__("provider", command, folder / "provider.log", inherited(), cwd=Path.cwd())

    def ready(self) -> None:
        wait_until(self._listens, within=PATIENCE_S, what="the provider listens")

    def _listens(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def knows(self, sub: str, **claims: Any) -> None:
        """Has it say this about somebody."""
        body = json.dumps(claims).encode()
        headers = {"Content-Type": "application/json"}
        urlopen(Request(f"{self.issuer}/users/{sub}", body, headers, method="PUT")).close()  # noqa: S310 (it is ours)


def main(port: int) -> None:
    warnings.simplefilter("ignore")  # it imports what its library has deprecated
    import flask
    import oidc_provider_mock
    from werkzeug.serving import run_simple

    app: flask.Flask = oidc_provider_mock.app()
    challenges: dict[str, str] = {}

    @app.after_request
    def keep(response: flask.Response) -> flask.Response:
        codes = parse_qs(urlsplit(response.headers.get("location", "")).query).get("code", [])
        for code in codes:
            challenges[code] = flask.request.args["code_challenge"]
        return response

    @app.before_request
    def check() -> tuple[Mapping[str, str], int] | None:
        if flask.request.path != "/oauth2/token":
            return None
        verifier = sha256(flask.request.form["code_verifier"].encode()).digest()
        secret = flask.request.authorization and flask.request.authorization.password
        is_right = challenges[flask.request.form["code"]] == urlsafe_b64encode(verifier).rstrip(b"=").decode()
        return None if is_right and secret == "console-secret" else ({"error": "invalid_grant"}, 400)

    run_simple("127.0.0.1", port, app, threaded=True)


if __name__ == "__main__":
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    main(int(sys.argv[1]))
