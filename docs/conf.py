"""The site: `make docs` builds it in English, and in Chinese with `-D language=zh_CN`.

Both have the same pages, by the same names. The Chinese site takes a page from `zh_CN` if it is there, else the English
one, and its first page lists those.
"""

from __future__ import annotations

import base64
import html
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmdr
from pygments.lexers import TextLexer
from sphinx.application import Sphinx
from sphinx.search.zh import SearchChinese
from sphinx.util.inspect import stringify_signature

DOCS = Path(__file__).parent
CHINESE = DOCS / "zh_CN"
TRANSLATED = ("tutorials/", "how-to/", "explanation/")
"""What is to be there in Chinese; the rest may stay English."""
_LINK = re.compile(r"\[([^]]*)\]\((?![a-z]+:|[#/])([^)#\s]+)(#[^)\s]*)?\)")
_HEADING = re.compile(r"^# (.*)$", re.MULTILINE)
_MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_THEME = '%%{init: {"theme": "neutral"}}%%\n'
_CONTENTS = re.compile(r"^```{toctree}\n.*?^```\n", re.MULTILINE | re.DOTALL)
_PAGE = re.compile(r"\bdocs/([\w/-]+)\.md\b")
_COLON = "\ue000"
_NOT_YET = "```{note}\n这一页还没有中文版。\n```"

sys.path.insert(0, str(DOCS.parent))

project = "contentgen"
html_title = f"contentgen {os.environ.get('VERSION', '')}".strip()
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["zh_CN"]
locale_dirs = ["locale"]
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!contentgen\b).*|contentgen\.client\.watch\.(ResumingStream|T)")]
default_role = "literal"  # docstrings mark code as Markdown does
myst_heading_anchors = 4
napoleon_use_ivar = True  # an attribute that is documented twice would be an object twice
autodoc_member_order = "bysource"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "language.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
copybutton_prompt_text = "$ "


class Chinese(SearchChinese):
    """Finds Chinese text by its characters, and by pairs of them: a query needs no word of a dictionary."""

    language_name = "English"  # of the stemmer: there is none for Chinese
    js_splitter_code = """
function splitQuery(query) {
  return (query.match(/[\\u3400-\\u9fff]+|[^\\u3400-\\u9fff]+/gu) || []).flatMap((run) =>
    !/[\\u3400-\\u9fff]/u.test(run) ? run.split(/[^\\p{Letter}\\p{Number}_]+/gu).filter(Boolean)
    : run.length === 1 ? [run] : Array.from({length: run.length - 1}, (_, i) => run.slice(i, i + 2)));
}
"""

    def split(self, input: str) -> list[str]:  # noqa: A002 - Sphinx's name for it
        runs = re.findall(r"[\u3400-\u9fff]+", input)
        pairs = [run[i : i + size] for run in runs for size in (1, 2) for i in range(len(run) + 1 - size)]
        return pairs + self.latin1_letters.findall(input)

    def word_filter(self, word: str) -> bool:
        return bool(word) and word not in self.stopwords


def take_chinese(app: Sphinx, name: str, source: list[str]) -> None:
    """Puts the Chinese page in place of the English one of the same name, or says that there is none."""
    page = CHINESE / f"{name}.md"
    if page.exists():
        app.env.note_dependency(page)
        text = page.read_text(encoding="utf-8")
        source[0] = text.replace("<!-- contents -->", "\n".join(_CONTENTS.findall(source[0])))
    elif name.startswith(TRANSLATED):
        source[0] = _HEADING.sub(rf"# \1\n\n{_NOT_YET}", source[0], count=1)


def lead_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Lets links lead to this site's pages, from Chinese ones too, and to the repository for what is no page."""
    folders = [(root / name).parent for root in ((CHINESE, DOCS) if app.config.language == "zh_CN" else (DOCS,))]
    english = len(folders) > 1 and not (CHINESE / f"{name}.md").exists()
    repository = os.environ.get("SOURCE", "").rstrip("/")

    def led(match: re.Match[str]) -> str:
        text, path, anchor = match[1], match[2], match[3] or ""
        target = next((place for folder in folders if (place := (folder / path).resolve()).exists()), None)
        if target is None:
            return match[0]
        for root in (CHINESE, DOCS):
            if target.is_relative_to(root) and target.is_file():
                if english and (CHINESE / target.relative_to(root)).exists():
                    anchor = ""  # the headings there are in Chinese
                return f"[{text}](/{target.relative_to(root)}{anchor})"
        return f"[{text}]({repository}/blob/HEAD/{target.relative_to(DOCS.parent)}{anchor})" if repository else text

    source[0] = _LINK.sub(led, source[0])


def draw(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Puts a picture in place of each Mermaid diagram, whose text describes it."""

    def drawn(match: re.Match[str]) -> str:
        picture = base64.b64encode(mmdr.render(_THEME + match[1]).svg().encode()).decode()
        return f'<img class="diagram" src="data:image/svg+xml;base64,{picture}" alt="{html.escape(match[1])}">'

    source[0] = _MERMAID.sub(drawn, source[0])


def show_signature(_app: Sphinx, what: str, _name: str, obj: Any, *_: Any) -> tuple[str, str] | None:
    """Shows a method of the client as `help` does: with what it returns, and types by their names."""
    if what == "exception":
        return "", ""
    if what != "method":
        return None
    signature = inspect.signature(obj)
    parameters = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    shown, _, returned = stringify_signature(signature.replace(parameters=parameters)).rpartition(" -> ")
    return shown, returned


def replacing(old: str, new: str) -> Callable[..., None]:
    """Returns what replaces a character in the texts of attributes."""

    def replace(*arguments: Any) -> None:
        what, lines = arguments[1], arguments[-1]
        if what == "attribute":
            lines[:] = [line.replace(old, new) for line in lines]

    return replace


def lead_to_pages(*arguments: Any) -> None:
    """Links the pages that docstrings name."""
    lines = arguments[-1]
    lines[:] = [_PAGE.sub(r":doc:`/\1`", line) for line in lines]


def setup(app: Sphinx) -> None:
    app.add_search_language(Chinese)
    app.add_lexer("haproxy", TextLexer)  # Pygments knows none
    # Napoleon, whose priority is 500, takes what stands before the first colon of an attribute's text for its type.
    app.connect("autodoc-process-docstring", replacing(":", _COLON), priority=400)
    app.connect("autodoc-process-docstring", replacing(_COLON, ":"), priority=600)
    app.connect("autodoc-process-docstring", lead_to_pages)
    app.connect("autodoc-process-signature", show_signature)
    if app.config.language == "zh_CN":
        app.connect("source-read", take_chinese)
    app.connect("source-read", lead_links)
    app.connect("source-read", draw)
