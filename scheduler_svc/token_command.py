"""`contentgen-scheduler token create`: a new token, shown once, and its hash in the tokens file. Beside `replica`."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

from scheduler_svc.config import EXIT_STATUS, SettingsError
from scheduler_svc.config.tokens import ROLES, TokenLine, add_token, hash_of, new_token

_VARIABLE = "CONTENTGEN_TOKENS_FILE"
_DESCRIPTION = """Makes a token and prints it, alone and once, on stdout. The tokens file gets its hash only; a running
scheduler reads the file again by itself."""
_EPILOG = """Example: contentgen-scheduler token create --name blog --role client --accounts 1,2. To replace a token,
make one more of the same name, role and accounts, give it to whoever calls, then delete the old one's line."""


def token_command(arguments: Sequence[str]) -> int:
    """Runs `token …`; returns the exit status: 0, or 78 where the file can't be used or has something against it."""
    parser = ArgumentParser(prog="contentgen-scheduler token", description="Tokens by which callers are known.")
    create = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "create", help="make a token", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False
    )
    create.add_argument("--name", required=True, help="whose it is; worker ids and leases belong to a name")
    create.add_argument("--role", required=True, choices=ROLES, help="what it may call")
    create.add_argument("--accounts", type=_accounts, help="ids by comma that it is tied to; without: all accounts")
    create.add_argument("--tokens-file", type=Path, help=f"the file, made where there is none [{_VARIABLE}]")
    given = parser.parse_args(arguments)
    try:
        print(_create(given.tokens_file, given.name, given.role, given.accounts))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_STATUS
    return 0


def _create(given: Path | None, name: str, role: str, accounts: tuple[int, ...] | None) -> str:
    """The token. Raises SettingsError."""
    path = given or Path(os.environ.get(_VARIABLE, ""))
    if path == Path():
        raise SettingsError([f"{_VARIABLE} is not set: set it, or give --tokens-file, to the scheduler's tokens file"])
    token = new_token()
    try:
        add_token(path, TokenLine(name, hash_of(token), role, accounts))
    except OSError as error:
        raise SettingsError([f"{_VARIABLE}={path}: can't be written ({error.strerror or error})"]) from None
    return token


def _accounts(text: str) -> tuple[int, ...]:
    """Raises ArgumentTypeError, which the parser tells."""
    try:
        return tuple(sorted({int(each) for each in text.split(",")}))
    except ValueError:
        raise ArgumentTypeError("must be ids of accounts by comma, such as 1,2") from None
