"""What the migrations make, read from their SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

_TABLE = re.compile(r"^CREATE TABLE (\w+) \((.*?)^\)", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(r'^    "?([a-z]\w*)', re.MULTILINE)
_ADDED = re.compile(r"^ALTER TABLE (\w+) ADD COLUMN (\w+)", re.MULTILINE)
_VIEW, _SEQUENCE = (re.compile(rf"^CREATE {kind} (\w+)", re.MULTILINE) for kind in ("VIEW", "SEQUENCE"))


class Relations(NamedTuple):
    """What the migrations make: tables with their columns, views, and the sequences that statements draw from."""

    columns: Mapping[str, Sequence[str]]
    views: Sequence[str]
    sequences: Sequence[str]


@cache
def relations() -> Relations:
    """Reads the migrations' SQL: a role may lack the rights to read the schema itself. `make verify` compares both."""
    files = sorted(Path(__file__).with_name("migrations").glob("versions/*.sql"))
    ddl = "\n".join(file.read_text() for file in files)
    columns = {table: _COLUMN.findall(body) for table, body in _TABLE.findall(ddl)}
    for table, column in _ADDED.findall(ddl):
        columns[table].append(column)
    return Relations(columns, _VIEW.findall(ddl), _SEQUENCE.findall(ddl))
