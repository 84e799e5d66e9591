"""The part of a Markdown page that is made from figures, between two comments."""

from __future__ import annotations

from pathlib import Path

BEGIN = "<!-- made by `python -m benchmarks.peers --from benchmarks/results/peers.jsonl --page docs/performance.md` -->"
END = "<!-- the end of what is made -->"


def part(text: str) -> str:
    """What is between the comments. Raises ValueError without them."""
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[begin:end].strip()


def write(path: Path, made: str) -> None:
    """Puts it there."""
    text = path.read_text()
    path.write_text(text[: text.index(BEGIN) + len(BEGIN)] + f"\n\n{made}\n\n" + text[text.index(END) :])
