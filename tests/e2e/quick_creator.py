"""A creator that takes a millisecond, for scenarios of hundreds of runs: it speaks the `json` profile, in shell."""

from __future__ import annotations

from pathlib import Path

_SCRIPT = """\
#!/bin/sh
[ "$1" = --version ] && { echo 'quick creator 1'; exit; }
for option; do
    case "$option" in --task-id=*) id=${option#*=} ;; esac
done
printf '{"event": "start", "task_id": "%s", "pid": %d, "time": 0}\\n' "$id" $$ >> "$CREATOR_DEMO_JOURNAL"
echo '{"content": "a short article"}'
"""


def quick_creator(folder: Path) -> Path:
    """The program, written into `folder`; it notes each create in the journal, as the demo creator does."""
    path = folder / "quick-creator"
    path.write_text(_SCRIPT)
    path.chmod(0o755)
    return path
