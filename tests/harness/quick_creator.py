"""A creator that takes a millisecond, for scenarios of hundreds of runs: it speaks the `json` profile, in shell."""

from __future__ import annotations

from pathlib import Path

ARTICLE = "an article"
_SCRIPT = """\
#!/bin/sh
[ "$1" = --version ] && { echo 'quick creator 1'; exit; }
for option; do
    case "$option" in
        --task-id=*) id=${option#*=} ;;
        --seconds=*) seconds=${option#*=} ;;
        --until=*) until=${option#*=} ;;
        --characters=*) characters=${option#*=} ;;
        --status=*) status=${option#*=} ;;
    esac
done
note() {
    printf '{"event": "%s", "task_id": "%s", "pid": %d, "time": 0, "status": 0}\\n' "$1" "$id" $$ \\
        >> "$CREATOR_DEMO_JOURNAL"
}
note start
[ -z "$seconds" ] || sleep "$seconds"
[ -z "$status" ] || exit "$status"
[ -z "$until" ] || while [ ! -e "$until" ]; do sleep 0.05; done
printf '{"content": "@ARTICLE@'
[ -z "$characters" ] || head -c "$characters" /dev/zero | tr '\\0' a
echo '"}'
note end
"""


def quick_creator(folder: Path) -> Path:
    """The program, written into `folder`; it notes each create in the journal, as the demo creator does.

    Options: `seconds` that it takes, a file that it waits for (`until`), `characters` that its article has more, the
    `status` that it exits with, and makes nothing.
    """
    path = folder / "quick-creator"
    path.write_text(_SCRIPT.replace("@ARTICLE@", ARTICLE))
    path.chmod(0o755)
    return path
