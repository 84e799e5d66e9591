"""What the CLI gets of the environment.

Layer: beside outcome, above config; used by runner and config_command.

No value is repeated: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from contentgen.service.settings import SettingsError


def variables_for_cli(names: Collection[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of these names that are set, or whose value is in a file that NAME_FILE names.

    Raises SettingsError for a file that can't be read, or if both are set.
    """
    values, problems = {name: environ[name] for name in names if name in environ}, []
    for name in names:
        file = f"{name}_FILE"
        if not environ.get(file) or file in names:  # a CLI that reads the file itself gets its path
            continue
        if environ.get(name):
            problems.append(f"{name} and {file} exclude each other: unset one of them")
            continue
        try:
            values[name] = _held_by(Path(environ[file]))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it must be text"
            problems.append(f"{file}: must be the path of a file that holds {name} ({reason})")
    if problems:
        raise SettingsError(problems)
    return values


def _held_by(file: Path) -> str:
    """Returns the text that a file holds. Raises OSError, and ValueError for what no variable can hold."""
    text = file.read_text(encoding="utf-8").rstrip("\r\n")
    if "\0" in text:
        raise ValueError
    return text
