"""The tokens file: one JSON object a line, which names a caller. Part of `scheduler_svc.config`.

It holds only hashes. Empty lines and lines that begin with `#` are ignored. Several lines may share name, role and
accounts: that is how a token is replaced while calls go on.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contentgen.service.settings import SettingsError

ROLES = ("client", "reviewer", "publisher", "viewer", "worker", "operator")
MAX_BYTES = 4 * 1024 * 1024
MAX_NAME = 200
MAX_ACCOUNTS = 100
_MAX_PROBLEMS = 100
"""Invalid lines that an error names."""
_KEYS = frozenset({"name", "sha256", "role", "accounts", "delegates"})
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class TokenLine:
    """A token: name, SHA-256 of its UTF-8 bytes in hex, role, and the accounts it is tied to (None: all).

    One that `delegates` calls only for persons whom its calls name, each with no more rights than its own.
    """

    name: str
    sha256: str
    role: str
    accounts: tuple[int, ...] | None = None
    delegates: bool = False

    def json(self) -> str:
        tied = {} if self.accounts is None else {"accounts": list(self.accounts)}
        delegates = {"delegates": True} if self.delegates else {}
        fields = {"name": self.name, "sha256": self.sha256, "role": self.role, **tied, **delegates}
        return json.dumps(fields, ensure_ascii=False)


def new_token() -> str:
    """Returns 256 random bits, with a prefix by which secret scanners recognize a token."""
    return "contentgen_" + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(path: Path) -> tuple[TokenLine, ...]:
    """Returns the file's lines. Raises SettingsError naming each invalid line and its problems."""
    source = f"CONTENTGEN_TOKENS_FILE={path}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError([f"{source}: can't be read ({error.strerror or error})"]) from None
    if len(data) > MAX_BYTES:
        raise SettingsError([f"{source}: must have at most {MAX_BYTES:,} bytes, has {len(data):,}"])
    lines, problems = [], []
    for number, text in enumerate(data.split(b"\n"), 1):
        if not text.strip() or text.lstrip().startswith(b"#"):
            continue
        line, wrong = _parse(text)
        problems += [f"{source}, line {number}: {problem}" for problem in wrong]
        lines += [line] if line else []
    problems += [f"{source}: {problem}" for problem in _contradictions(lines)]
    if problems:
        more = [f"{source}: and {len(problems) - _MAX_PROBLEMS:,} more"] if len(problems) > _MAX_PROBLEMS else []
        raise SettingsError([*problems[:_MAX_PROBLEMS], *more])
    return tuple(lines)


def read_person(text: bytes) -> TokenLine | None:
    """Returns whom a call with a delegating token names: a line without `sha256`. Returns None if it is none."""
    line, _ = _parse(text, {"sha256": "0" * 64})
    return None if line is None or line.delegates or line.role == "worker" else line


def _parse(text: bytes, more: Mapping[str, str] | None = None) -> tuple[TokenLine | None, list[str]]:
    """Returns a line, or its problems. They repeat no value: it may be a token, put there by mistake."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return None, ["must be a JSON object with name, sha256, role and, if it is tied to some, accounts"]
    fields |= more or {}
    problems = list(_problems(fields))
    if problems:
        return None, problems
    accounts = tuple(sorted(set(fields["accounts"]))) if "accounts" in fields else None
    return TokenLine(fields["name"], fields["sha256"], fields["role"], accounts, "delegates" in fields), []


def _problems(fields: dict[str, object]) -> Iterator[str]:
    name, digest, role = fields.get("name"), fields.get("sha256"), fields.get("role")
    if not (isinstance(name, str) and name.strip() and len(name) <= MAX_NAME and name.isprintable()):
        yield f"name must be a text of 1 to {MAX_NAME} printable characters"
    if not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
        yield "sha256 must be the lower-case hex SHA-256 of the token, 64 digits"
    if role not in ROLES:
        yield f"role must be {', '.join(ROLES[:-1])} or {ROLES[-1]}"
    if "accounts" in fields:
        yield from _problems_of_accounts(fields["accounts"], role)
    if fields.get("delegates", True) is not True or ("delegates" in fields and role == "worker"):
        yield "delegates must be true, or left out; role worker must have none"
    if unknown := sorted(fields.keys() - _KEYS):
        yield f"has {len(unknown)} keys that are none of {', '.join(sorted(_KEYS))}"


def _problems_of_accounts(accounts: object, role: object) -> Iterator[str]:
    ids = accounts if isinstance(accounts, list) else []
    if not (
        0 < len(ids) <= MAX_ACCOUNTS and all(type(account_id) is int and 0 < account_id < 1 << 63 for account_id in ids)
    ):
        yield f"accounts must be a list of 1 to {MAX_ACCOUNTS} ids of accounts; without it the token is for all"
    if role == "worker":
        yield "a worker takes tasks of all accounts: role worker must have no accounts"


def _contradictions(lines: list[TokenLine]) -> Iterator[str]:
    """All lines of a name must agree; a token belongs to one name."""
    meaning: dict[str, tuple[object, ...]] = {}
    owner: dict[str, str] = {}
    for line in lines:
        rights = (line.role, line.accounts, line.delegates)
        if meaning.setdefault(line.name, rights) != rights:
            yield f"the lines named {line.name!r} must agree in role, accounts and delegates"
        if owner.setdefault(line.sha256, line.name) != line.name:
            yield f"{owner[line.sha256]!r} and {line.name!r} have the same sha256: each needs a token of its own"


def add_token(path: Path, line: TokenLine) -> None:
    """Adds a line; the file is replaced as a whole, with mode 0600. Raises SettingsError, OSError.

    A file that is invalid, or would become so, stays as it is.
    """
    path = path.resolve()  # what a link names is replaced, not the link
    with _locked(path.parent):
        lines = list(read_tokens(path)) if path.exists() else []
        _, problems = _parse(line.json().encode())
        problems += _contradictions([*lines, line])
        if problems:
            raise SettingsError(problems)
        present = path.read_bytes() if path.exists() else b""
        missing_end = b"\n" if present and not present.endswith(b"\n") else b""
        _replace(path, present + missing_end + line.json().encode() + b"\n")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
