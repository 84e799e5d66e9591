"""The Chinese texts of the pages about contents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Contents": "内容",
    "Edit": "编辑",
    "Title": "标题",
    "Text": "正文",
    "Summary": "摘要",
    "HTML": "HTML",
    "Cover picture": "封面图",
    "Brief": "需求",
    "Facts": "信息",
    "Labels": "标签",
    "Label": "标签",
    "Length": "字数",
    "{n} characters": "{n} 字",
    "Model": "模型",
    "Score": "评分",
    "Score at least": "评分不低于",
    "Revision": "修订版本",
    "Written in the place of": "用来取代",
    "Its task is not kept any more, or not yours to see.": "任务已被清理，或您无权查看。",
    "Pictures": "图片",
    "Opens in a new tab.": "在新标签页打开。",
    "Not stored.": "未保存。",
    "Left out:": "未收录：",
    "Its own HTML": "自带的 HTML",
    "This text is too long or too tangled to be rendered. Here is how it begins, as it was written:": (
        "正文过长或结构过于复杂，无法排版，以下是原文的开头："
    ),
    "Save the whole text": "下载全文",
    "{holder} holds it": "{holder} 正在审核",
    "Why": "原因",
    "There is no such content.": "没有该内容。",
    "There is no such file.": "没有该文件。",
    "Not taken back: {message}": "未能撤回：{message}",
    "pending_review": "待审核",
    "approved": "已通过",
    "rejected": "已拒绝",
    "publishing": "发布中",
    "published": "已发布",
}
