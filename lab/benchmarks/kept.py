"""What runs have kept as JSON lines, each an object with its kind as the one name: how it is read, and shown again.

It is shown as tables in Markdown, on a page between two comments too, and as plots, which need matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

END = "<!-- the end of what is made -->"


@dataclass(frozen=True, slots=True)
class Part:
    """Of a document, between two comments. Its methods raise ValueError for one that does not have them."""

    begin: str
    end: str = END

    def read(self, document: str) -> str:
        return self._split(document)[1].strip()

    def replaced(self, document: str, text: str) -> str:
        """Returns the document with another text, which has the space around it, too."""
        before, _, after = self._split(document)
        return f"{before}{self.begin}{text}{self.end}{after}"

    def _split(self, document: str) -> tuple[str, str, str]:
        before, begin, remainder = document.partition(self.begin)
        text, end, after = remainder.partition(self.end)
        if not (begin and end):
            raise ValueError(f"there is no {self.begin!r} followed by {self.end!r}")
        return before, text, after


def made_by(command: str) -> Part:
    return Part(f"<!-- made by `{command}` -->")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def pyplot() -> Any:
    """Draws the same file from the same figures. Raises ModuleNotFoundError without matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "contentgen"
    from matplotlib import pyplot as plt

    return plt


def save(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    pyplot().close(figure)
    return path


K = TypeVar("K")


def line_of(record: Any) -> str:
    """Returns the line of a dataclass, whose name is its kind."""
    return json.dumps({type(record).__name__.lower(): asdict(record)})


def read_lines(lines: Iterable[str], kinds: Sequence[type], benchmark: str) -> list[tuple[Any, ...]]:
    """Returns those of each kind that `line_of` wrote. Raises ValueError where a line is of something else."""
    names = [kind.__name__.lower() for kind in kinds]
    records: list[list[Any]] = [[] for _ in kinds]
    for number, line in enumerate(lines, 1):
        try:
            ((name, values),) = json.loads(line).items()
            index = names.index(name)
            records[index].append(kinds[index](**values))
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"line {number} is not of a run of {benchmark}: {error}") from error
    return list(map(tuple, records))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="kept", type=Path, metavar="FILE", help="measure nothing: print a file's tables")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="with --from: a folder to write plots to")
    parser.add_argument("--page", type=Path, metavar="FILE", help="with --from: a Markdown page to put the tables into")


def show_kept(
    arguments: argparse.Namespace,
    read: Callable[[Iterable[str]], K],
    tables: Callable[[K], str],
    part: Part,
    draw: Callable[[K, Path], Iterable[Path]],
) -> int:
    try:
        records = read(arguments.kept.read_text().splitlines())
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{arguments.kept}: {error}\n")
        return 1
    print(tables(records))
    if arguments.page:
        page = part.replaced(arguments.page.read_text(), f"\n\n{tables(records)}\n\n")
        arguments.page.write_text(page)
    if arguments.plots:
        for path in draw(records, arguments.plots):
            sys.stderr.write(f"wrote {path}\n")
    return 0
