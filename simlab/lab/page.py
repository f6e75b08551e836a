"""HTML pages in one file: they open anywhere, without a network, and print well.

Why one file: a page that fetches its figures or styles is broken by the time somebody looks at it again.
"""

import base64
from collections.abc import Sequence
from html import escape

import pandas as pd
from matplotlib.figure import Figure

from simlab.lab.plots.style import png

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --quiet: #5f6368; --line: #d9d9de; --page: #fff; --band: #f4f5f7;
        --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf0; --quiet: #a9adb5; --line: #3a3d44; --page: #16181c; --band: #202329; --accent: #6cb8e6; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; }
.lead { font-size: 1.15rem; }
.quiet, caption, footer { color: var(--quiet); }
a { color: var(--accent); }
figure { margin: 1.2rem 0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 8px; padding: .5rem; }
figcaption { color: var(--quiet); max-width: 46rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead th { background: var(--band); white-space: normal; vertical-align: bottom; }
th:first-child, .words th, .words td { text-align: left; }
.words td { white-space: normal; }
footer { margin-top: 3rem; font-size: .9rem; }
"""


def page(title: str, body: Sequence[str]) -> str:
    """A whole page: a title, and pieces of HTML."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            f'<head><meta charset="utf-8"><title>{escape(title)}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{STYLE}</style></head>",
            f"<body><main><h1>{escape(title)}</h1>",
            *body,
            "<footer>Made by simlab.</footer>",
            "</main></body></html>",
            "",
        ]
    )


def figure(drawn: Figure, caption: str) -> str:
    """A figure inside the page, with its title as its text."""
    data = base64.b64encode(png(drawn)).decode()
    title = " ".join(drawn.get_suptitle().split())
    alt = f"{title}. {caption}" if title else caption
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def cell(value: object) -> str:
    """A value as a reader wants it."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(frame: pd.DataFrame, caption: str, *, words: bool = False) -> str:
    """The index becomes the row headers. Numbers stand to the right, tables of words to the left."""
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in (frame.index.name or "", *frame.columns))
    rows = [
        f'<tr><th scope="row">{escape(cell(index))}</th>'
        + "".join(f"<td>{escape(cell(value))}</td>" for value in row)
        + "</tr>"
        for index, row in zip(frame.index, frame.astype(object).to_numpy(), strict=True)
    ]
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = ' class="words"' if words else ""
    table = f"<table{kind}>{said}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="wide" tabindex="0">{table}</div>'  # so that the keyboard can scroll it
