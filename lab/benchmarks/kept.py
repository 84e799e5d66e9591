"""What runs have kept as JSON lines, each an object with its kind as the one name: how it is read, and shown again."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lab.benchmarks.page import Part

K = TypeVar("K")


def read(
    lines: Iterable[str], kinds: Mapping[str, Callable[[dict[str, Any]], Any]], benchmark: str
) -> dict[str, list[Any]]:
    """Returns what each kind makes of its lines. Raises ValueError where a line is of something else."""
    records: dict[str, list[Any]] = {kind: [] for kind in kinds}
    for number, line in enumerate(lines, 1):
        try:
            kind, values = _only(json.loads(line), kinds)
            records[kind].append(kinds[kind](values))
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"line {number} is not of a run of {benchmark}: {error}") from error
    return records


def _only(document: object, kinds: Iterable[str]) -> tuple[str, dict[str, Any]]:
    for kind in kinds:
        if isinstance(document, dict) and kind in document:
            return kind, document[kind]
    raise TypeError(f"it has neither {' nor '.join(f'a {kind}' for kind in kinds)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `show`."""
    parser.add_argument("--from", dest="kept", type=Path, metavar="FILE", help="measure nothing: print a file's tables")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="with --from: a folder to write plots to")
    parser.add_argument("--page", type=Path, metavar="FILE", help="with --from: a Markdown page to put the tables into")


def show(
    arguments: argparse.Namespace,
    read: Callable[[Iterable[str]], K],
    tables: Callable[[K], str],
    part: Part,
    draw: Callable[[K, Path], Iterable[Path]],
) -> int:
    """Prints the tables of a file, and writes what else is asked for; the exit status."""
    try:
        records = read(arguments.kept.read_text().splitlines())
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{arguments.kept}: {error}\n")
        return 1
    print(tables(records))
    if arguments.page:
        part.write(arguments.page, tables(records))
    if arguments.plots:
        for path in draw(records, arguments.plots):
            sys.stderr.write(f"wrote {path}\n")
    return 0
