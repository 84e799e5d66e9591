"""What a property says where it does not hold. Below the checker and the properties."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    property: str
    """Its name in `checker.PROPERTIES`."""
    task_id: str
    """Empty where no one task is concerned."""
    said: str
    """What was seen, and what should be."""

    def __str__(self) -> str:
        return f"{self.property}: {self.task_id + ': ' if self.task_id else ''}{self.said}"
