"""The part of a Markdown page that is made from kept figures, between two comments; each benchmark has its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

END = "<!-- the end of what is made -->"


@dataclass(frozen=True, slots=True)
class Part:
    """The part that `command` writes."""

    command: str

    @property
    def begin(self) -> str:
        return f"<!-- made by `{self.command}` -->"

    def read(self, text: str) -> str:
        """Returns what is between the comments. Raises ValueError without them."""
        begin, end = self._bounds(text)
        return text[begin:end].strip()

    def write(self, path: Path, made: str) -> None:
        """Puts it there."""
        text = path.read_text()
        begin, end = self._bounds(text)
        path.write_text(f"{text[:begin]}\n\n{made}\n\n{text[end:]}")

    def _bounds(self, text: str) -> tuple[int, int]:
        begin = text.index(self.begin) + len(self.begin)
        return begin, text.index(END, begin)
