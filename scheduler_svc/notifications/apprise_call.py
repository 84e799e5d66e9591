"""Sends one message by apprise. Runs in a sandbox: an address may be hostile, and apprise blocks.

An audit hook lets it connect to allowed addresses only, read no file but Python's own, and start nothing: some plugins
read templates and keys by a path in the address.
"""

from __future__ import annotations

import json
import logging
import mimetypes
import re
import socket
import sys
from functools import cache
from importlib import import_module
from ipaddress import ip_network
from typing import Any
from urllib.parse import unquote

from scheduler_svc.domain.webhook import AddressPolicy

PLUGINS = {
    "feishu": "feishu:NotifyFeishu",
    "lark": "lark:NotifyLark",
    "dingtalk": "dingtalk:NotifyDingTalk",
    "wecombot": "wecombot:NotifyWeComBot",
    "slack": "slack:NotifySlack",
    "workflows": "workflows:NotifyWorkflows",
    "mailto": "email:NotifyEmail",
    "mailtos": "email:NotifyEmail",
    "json": "custom_json:NotifyJSON",
    "jsons": "custom_json:NotifyJSON",
}
"""By scheme: who sends. No other one is ever loaded."""
_FORBIDDEN = ("ctypes", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "subprocess")
_MIN_SECRET = 6
"""Characters of a part of an address that is hidden in errors."""


def call(request: bytes) -> bytes:
    """Takes `url`, `allowed` (networks) and, to send, `title` and `body`, as JSON; returns `problem` or `error`.

    `problem`: why the address is refused, as it completes "url …". `error`: why it was not sent. Empty: neither.
    """
    wanted = json.loads(request)
    guard = _guard()
    guard.allow(AddressPolicy(tuple(map(ip_network, wanted["allowed"]))))
    log = _Log()
    try:
        plugin = _plugin(wanted["url"])
        guard.secure = _is_secure(plugin)
        if "body" not in wanted:
            return _answer(problem=_refusal(guard, plugin))
        sent = plugin.notify(title=wanted["title"], body=wanted["body"], body_format="text")
    except Exception as error:  # noqa: BLE001 - of whatever kind; its text may have parts of the address
        scheme = wanted["url"].partition(":")[0].lower()
        problem = f"is no valid address of {scheme}://, see {_class(scheme).setup_url}"
        return _answer(problem=problem, error=guard.refused or type(error).__name__)
    finally:
        log.close()
    return _answer(error="" if sent else guard.refused or _redacted(log.text, wanted["url"]) or "not sent")


def _answer(problem: str = "", error: str = "") -> bytes:
    return json.dumps({"problem": problem, "error": error}).encode()


def _plugin(url: str) -> Any:
    import apprise

    kind = _class(url.partition(":")[0].lower())
    asset = apprise.AppriseAsset(app_id="contentgen", app_desc="contentgen", app_url="", allow_templates=False)
    values = kind.parse_url(url)
    if not values:
        raise ValueError
    plugin = kind(**values, asset=asset)
    plugin.redirects = False
    plugin.overflow_mode = "truncate"
    return plugin


@cache
def _class(scheme: str) -> Any:
    module, _, name = PLUGINS[scheme].partition(":")
    return getattr(import_module(f"apprise.plugins.{module}"), name)


def _is_secure(plugin: Any) -> bool:
    """Returns whether a plugin encrypts what it sends: but for mail and plain JSON they know no other way."""
    if hasattr(plugin, "secure_mode"):
        return bool(plugin.secure_mode != "insecure")
    return bool(plugin.secure) or not plugin.protocol


def _refusal(guard: _Guard, plugin: Any) -> str:
    """Returns why the host that an address names is refused now. One that does not resolve is checked when it does."""
    host = getattr(plugin, "smtp_host", None) or (plugin.host if plugin.protocol else None)
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)} if host else set()
    except (OSError, UnicodeError):
        return ""
    refusal = guard.policy.refusal_of_all(sorted(addresses), secure=guard.secure)
    return f"must lead to an address that is allowed: {refusal}" if refusal else ""


class _Guard:
    """What the audit hook holds to."""

    def __init__(self) -> None:
        import apprise  # noqa: F401 - what it reads at its import is no address's doing

        for scheme in PLUGINS:
            _class(scheme)
        mimetypes.init()
        self._own = tuple({sys.prefix, sys.base_prefix, *filter(None, sys.path)})
        sys.addaudithook(self._audit)

    def allow(self, policy: AddressPolicy) -> None:
        self.policy, self.secure, self.refused = policy, True, ""

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            if refusal := self._refusal(arguments[1]):
                self.refused = f"can't connect: {refusal}"
                raise PermissionError(refusal)
        elif event == "open":
            path = arguments[0]
            if not isinstance(path, int) and not str(path).startswith(self._own):
                raise PermissionError("no file may be read")
        elif event.startswith(_FORBIDDEN):
            raise PermissionError("nothing may be started")

    def _refusal(self, address: object) -> str | None:
        if not isinstance(address, tuple):
            return "no network address"
        return self.policy.refusal(str(address[0]), secure=self.secure)


@cache
def _guard() -> _Guard:
    return _Guard()


class _Log(logging.Handler):
    """Keeps the last warning of apprise, which says what failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""
        logging.getLogger("apprise").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()

    def close(self) -> None:
        logging.getLogger("apprise").removeHandler(self)
        super().close()


def _redacted(text: str, url: str) -> str:
    """Hides what the address has of secrets."""
    for part in re.split(r"[/:?&=@+,]+", f"{url}/{unquote(url)}"):
        if len(part) >= _MIN_SECRET:
            text = text.replace(part, "…")
    return " ".join(text.split())[:200]
