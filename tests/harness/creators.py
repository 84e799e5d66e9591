"""Creators that are made in a folder: a quick one, and ones that write pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.harness.pictures import png

# A creator that takes a millisecond, for scenarios of hundreds of runs: it speaks the `json` profile, in shell.

ARTICLE = "an article"
_QUICK_SCRIPT = """\
#!/bin/sh
[ "$1" = --version ] && { echo 'quick creator 1'; exit; }
for option; do
    case "$option" in
        --task-id=*) id=${option#*=} ;;
        --seconds=*) seconds=${option#*=} ;;
        --until=*) until=${option#*=} ;;
        --prints=*) prints=${option#*=} ;;
        --characters=*) characters=${option#*=} ;;
        --status=*) status=${option#*=} ;;
        --mode=*) mode=${option#*=} ;;
        --retry-after=*) retry_after=${option#*=} ;;
        --deaf=*) trap '' TERM ;;
        --leaves=*) sleep 600 & setsid sleep 600 & ;;
    esac
done
[ "$1" = status ] && { echo '{"status": "running"}'; exit; }
note() {
    printf '{"event": "%s", "task_id": "%s", "pid": %d, "time": 0, "status": 0}\\n' "$1" "$id" $$ \\
        >> "${CREATOR_DEMO_JOURNAL:-/dev/null}"
}
note start
[ -z "$retry_after" ] || { echo over quota >&2; echo "retry-after: $retry_after" >&2; exit 75; }
[ "$mode" = async ] && exit "${status:-0}"
[ "$seconds" = 600 ] && exec sleep 600
[ -z "$seconds" ] || sleep "$seconds"
[ -z "$status" ] || exit "$status"
print_new() { [ ! -e "$prints" ] || { cat "$prints" >&2; rm "$prints"; }; }
[ -z "$until" ] || while [ ! -e "$until" ]; do print_new; sleep 0.05; done
print_new
printf '{"content": "@ARTICLE@'
[ -z "$characters" ] || head -c "$characters" /dev/zero | tr '\\0' a
echo '"}'
note end
"""


def quick_creator(folder: Path) -> Path:
    """Writes the program into `folder`; it notes each create in the journal, as the demo creator does.

    Options: `seconds` that it takes, a file that it waits for (`until`), one that it
    `prints` to stderr and removes, whenever it is there, `characters` that its article has more, the
    `status` that it exits with, and makes nothing; `retry_after`, to come back after so many seconds; `deaf` to TERM;
    `leaves` two processes behind. With profile `reference` a run only begins.
    """
    path = folder / "quick-creator"
    if not path.exists():  # else it may run just now
        path.write_text(_QUICK_SCRIPT.replace("@ARTICLE@", ARTICLE))
        path.chmod(0o755)
    return path


# Topics that would make a CLI misbehave, by what each is.

HOSTILE_TOPICS = {
    "an option": "--help",
    "another option": "--task-id=task-0",
    "an option of the demo creator": "--demo-fail=exit",
    "a dash": "-",
    "an equals sign": "=",
    "quotes and commands": "\"'`\\\"' $(touch pwned) `touch pwned`; touch pwned | tee pwned && touch pwned > pwned",
    "variables and newlines": "\n $HOME ${PATH} %s %n %(topic)s {topic} ~ * ?\r\nanother\ttab\x0b\x1b[31mred\x7f \n",
    "scripts within spaces": "   👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇳 人工智能的未来发展 العربية עברית ไทย \u202eright to left\u202c   ",
    "forms": "e\u0301 \u00e9 \ufeff\u2028\u2029\u00a0\ufffd\U0010ffff",
    "control characters": "\x01\x1b[31m\x7f",
    "markup": "<script>alert('x')</script> & # _not_ *bold* [a](javascript:b) |",
    "4,000 emoji": "😀" * 4_000,
}


# A creator that breaks and is mended, in shell, for the `json` profile.

BROKEN = "CREATOR_ERROR: the CLI exited with status 3: no model answers"
"""What a worker says of it while it fails."""
_BREAKABLE_SCRIPT = """\
#!/bin/sh
[ "$1" = create ] || {{ echo asked >> {folder}/asked; exit "$(cat {folder}/version 2>/dev/null || echo 0)"; }}
while [ -e {folder}/hangs ]; do sleep 0.05; done
[ -e {folder}/works ] || {{ echo 'no model answers' >&2; exit 3; }}
sleep 0.1
echo '{{"content": "an article"}}'
"""


class BreakableCreator:
    """A CLI that fails at once while there is no file `works`, and hangs while there is one `hangs`.

    `version` may hold the exit status of `--version`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "creator"
        self.works, self.hangs = folder / "works", folder / "hangs"
        self.version, self._asked = folder / "version", folder / "asked"
        self.path.write_text(_BREAKABLE_SCRIPT.format(folder=folder))
        self.path.chmod(0o755)

    @property
    def asked(self) -> int:
        """The number of `--version` calls."""
        return len(self._asked.read_text().splitlines())


# A creator whose results name files: it speaks the `json` profile, and does in its folder what a test wants.

_PICTURE_SCRIPT = """\
#!{python} -IS
import json, os, sys
if sys.argv[1:] == ["--version"]:
    print("picture creator 1")
    sys.exit()
exec({setup!r})
print(json.dumps({result!r}))
"""


def picture_creator(folder: Path, setup: str, **result: Any) -> Path:
    """Writes the program into `folder`: it runs the Python code `setup` in its folder, and prints `result`.

    `content` has a default.
    """
    result = {"content": "an article"} | result
    json.dumps(result)
    path = folder / "picture-creator"
    path.write_text(_PICTURE_SCRIPT.format(python=sys.executable, setup=setup, result=result))
    path.chmod(0o755)
    return path


def writing(**files: bytes) -> str:
    """Returns code that writes files, named by keyword: `a__b_png` is `a/b.png`."""
    lines = []
    for name, data in files.items():
        path = name.replace("__", "/").replace("_", ".")
        lines.append(
            f"os.makedirs(os.path.dirname({path!r}) or '.', exist_ok=True); open({path!r}, 'wb').write({data!r})"
        )
    return "\n".join(lines)


# A CLI that writes articles with pictures: good ones, a bad one, and one of another site.

BODY = "# An article\n\nIt has a picture:\n\n![a cover](asset:cover.png)\n\nand an end.\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def picture_writer(folder: Path) -> Path:
    """Makes the CLI in this folder and returns its path."""
    return picture_creator(
        folder,
        writing(cover_png=png(60, 40, shade=90), bad_svg=SVG),
        content=BODY,
        images=["cover.png", "bad.svg", "https://elsewhere.example/picture.png"],
    )
