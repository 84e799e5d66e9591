"""How each state of a task, a review and a publication looks.

Layer: cli, below both of its commands.
"""

from __future__ import annotations

STYLES = {
    "pending": "dim",
    "submitted": "cyan",
    "processing": "yellow",
    "completed": "green",
    "failed": "red",
    "timeout": "red",
    "cancelled": "magenta",
    "pending_review": "yellow",
    "approved": "green",
    "rejected": "red",
    "publishing": "yellow",
    "published": "green",
}
