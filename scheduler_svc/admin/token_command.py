"""`contentgen-scheduler token create`: a new token, shown once, and its hash in the tokens file."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

from contentgen.service.settings import EXIT_STATUS, SettingsError
from scheduler_svc.config.tokens import ROLES, TokenLine, add_token, hash_of, new_token

_VARIABLE = "CONTENTGEN_TOKENS_FILE"
_DESCRIPTION = """Creates a token and prints it once on stdout. The tokens file gets its hash only; a running scheduler
reloads the file."""
_EPILOG = """Example: contentgen-scheduler token create --name blog --role client --accounts 1,2. To replace a token,
create another one of the same name, role and accounts, give it to the caller, then delete the line of the old one."""


def token_command(arguments: Sequence[str]) -> int:
    """Runs `token …`; returns the exit status: 0, or 78 if the file can't be used."""
    parser = ArgumentParser(prog="contentgen-scheduler token", description="Manages the tokens that identify callers.")
    create = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "create", help="create a token", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False
    )
    create.add_argument("--name", required=True, help="the owner; worker ids and leases belong to a name")
    create.add_argument("--role", required=True, choices=ROLES, help="the calls that it allows")
    create.add_argument("--accounts", type=_accounts, help="its accounts, ids separated by commas (default: all)")
    create.add_argument(
        "--delegates",
        action="store_true",
        help="for a console that signs persons in: it calls only for those whom it names, with its own rights at most",
    )
    create.add_argument("--tokens-file", type=Path, help=f"the file, created if it is missing [{_VARIABLE}]")
    options = parser.parse_args(arguments)
    try:
        token = new_token()
        line = TokenLine(options.name, hash_of(token), options.role, options.accounts, options.delegates)
        _add(options.tokens_file, line)
        print(token)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_STATUS
    return 0


def _add(tokens_file: Path | None, line: TokenLine) -> None:
    """Adds a token to the file. Raises SettingsError."""
    path = tokens_file or Path(os.environ.get(_VARIABLE, ""))
    if path == Path():
        raise SettingsError([f"{_VARIABLE} is not set: set it, or give --tokens-file, to the scheduler's tokens file"])
    try:
        add_token(path, line)
    except OSError as error:
        raise SettingsError([f"{_VARIABLE}={path}: can't be written ({error.strerror or error})"]) from None


def _accounts(text: str) -> tuple[int, ...]:
    """Reads ids of accounts. Raises ArgumentTypeError, which the parser reports."""
    try:
        return tuple(sorted({int(number) for number in text.split(",")}))
    except ValueError:
        raise ArgumentTypeError("must be ids of accounts separated by commas, such as 1,2") from None
