"""A creator whose results name files: it speaks the `json` profile, and does in its folder what a test wants."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_SCRIPT = """\
#!{python}
import json, os, sys
if sys.argv[1:] == ["--version"]:
    print("picture creator 1")
    sys.exit()
exec({setup!r})
print(json.dumps({result!r}))
"""


def picture_creator(folder: Path, setup: str, **result: Any) -> Path:
    """The program, written into `folder`: runs the Python code `setup` in its folder, and prints `result`.

    `content` has a default.
    """
    result = {"content": "an article"} | result
    json.dumps(result)
    path = folder / "picture-creator"
    path.write_text(_SCRIPT.format(python=sys.executable, setup=setup, result=result))
    path.chmod(0o755)
    return path


def writing(**files: bytes) -> str:
    """Code that writes files, named by keyword: `a__b_png` is `a/b.png`."""
    lines = []
    for name, data in files.items():
        path = name.replace("__", "/").replace("_", ".")
        lines.append(
            f"os.makedirs(os.path.dirname({path!r}) or '.', exist_ok=True); open({path!r}, 'wb').write({data!r})"
        )
    return "\n".join(lines)
