"""Keeps `docs/reference/settings.md` and the list of `contentgen/variables.py` equal to the settings of all services.

Run by `make verify`; `--write` makes them so. The list is static: an installation of one service lacks the others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from typer.main import get_command

from contentgen.cli.app import make_app
from contentgen.cli.contexts import SETTINGS as OF_CONTEXTS
from contentgen.service.settings import ServiceSettings, described, flag_of, variable_of
from lab.benchmarks.kept import Part, table
from scheduler_svc.config import Settings
from tests.harness.settings import KINDS, NAMES
from verification.generated.document import differences
from worker_svc.guard.process.procfs import VARIABLE as OF_CLIS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reference" / "settings.md"
VARIABLES = ROOT / "contentgen" / "variables.py"

_NAMES = Part("NAMES = frozenset({\n", "})  # fmt: skip\n")
_OF_CREATORS = "CREATOR_"
"""Variables of workers with names of their own, which need no list."""
_HEAD = """\
# Settings

<!-- made by `python -m verification.generated.settings --write` from the classes of settings -->

All settings of a scheduler, a worker and a console, with the texts of their `--help`. A flag wins over its variable,
and an empty variable counts as unset; what may be a secret has no flag. Durations are in seconds, or carry a unit: 90,
90s, 2m. [How to check settings](../how-to/check-settings.md) before a start. The operators' command has [some of its
own](../how-to/command.md#which-scheduler).
"""


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 if both files are right (now), else 1 with what is wrong on the standard output."""
    files = {DOCUMENT: document(), VARIABLES: _NAMES.replaced(VARIABLES.read_text(), names())}
    findings = [line for path, expected in files.items() for line in differences(path, expected, arguments)]
    print("\n".join(findings) or "settings.md and contentgen/variables.py have the settings of all services")
    return 1 if findings else 0


def document() -> str:
    shared = ", ".join(f"`{variable}`" for variable in Settings.model_construct().shared)
    agreed = f"All schedulers of a database must agree on {shared}; `contentgen doctor` names those that differ.\n"
    sections = [f"## Of a {service}\n\n{_rows(kind)}\n" for service, kind in KINDS.items()]
    return "\n".join([_HEAD, fill(agreed, 120, break_on_hyphens=False) + "\n", *sections])


def names() -> str:
    """Returns the list: of the services' settings, of the command, and of what a worker gives its CLIs."""
    of_services = frozenset[str]().union(*NAMES.values())
    variables = of_services | {*_of_command(get_command(make_app())), *OF_CONTEXTS.values(), OF_CLIS}
    listed = ", ".join(f'"{name}"' for name in sorted(variables) if not name.startswith(_OF_CREATORS))
    indent = " " * 4
    return fill(f"{listed},", 120, initial_indent=indent, subsequent_indent=indent) + "\n"


def _rows(kind: type[ServiceSettings]) -> str:
    rows = []
    for name in kind.model_fields:
        meaning, default = described(kind, name)
        flag = "none" if name in kind.SECRETS else f"`{flag_of(kind, name)}`"
        rows.append((f"`{variable_of(kind, name)}`", flag, meaning, default.removesuffix(".")))
    return table(("variable", "flag", "meaning", "default"), rows)


def _of_command(command: Any) -> Iterator[str]:
    """Yields the variables that options of a command, or of those below it, are read from."""
    yield from (option.envvar for option in command.params if isinstance(option.envvar, str))
    for child in getattr(command, "commands", {}).values():
        yield from _of_command(child)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
