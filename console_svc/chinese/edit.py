"""The Chinese texts of `pages.edit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "It has been deleted.": "已被删除。",
    "Somebody": "有人",
    "Save": "保存",
    "Saved.": "已保存。",
    "Do not save": "不保存",
    "Drop it": "丢弃",
    "What you typed before is here again.": "已恢复您之前输入的内容。",
    "A new text empties it, unless you change it, too.": "修改正文会清空它，除非同时修改它。",
    "Preview": "预览",
    "What you have changed": "您的修改",
    "Nothing.": "无。",
    "What is stored now": "当前保存的版本",
    "This text is too long or too tangled to be rendered.": "正文过长或结构过于复杂，无法排版。",
    "{name} has saved another text since you began. Nothing is lost: your text is in the form, what is stored"
    " now is below, and the differences are marked. Save again to put yours in its place.": (
        "在您编辑期间，{name} 保存了另一个版本。您的内容没有丢失：它仍在表单中；当前保存的版本和差异见下方。"
        "再次保存将以您的内容取代它。"
    ),
}
