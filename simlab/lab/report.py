"""One HTML page for a finished run or course: it opens anywhere, without a network, and prints well.

Why one file: a page that fetches its figures or styles is broken by the time somebody looks at it again.
"""

import base64
import json
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from matplotlib.figure import Figure

from simlab.errors import RunError
from simlab.files import write_bytes
from simlab.lab import plots
from simlab.lab.run import Run, load_run
from simlab.recsys.monitor import windows

NAME = "report.html"

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

WEEKS = {
    "visits": "visits",
    "click_rate": "click rate",
    "clicks_per_visit": "clicks a visit",
    "purchases": "purchases",
    "revenue": "revenue, €",
    "true_clicks_per_visit": "true clicks a visit",
    "best_clicks_per_visit": "best possible",
    "share_of_best": "share of the best",
    "retrained": "new models",
}
"""Columns of the table of weeks, and what they are called there."""

CARD = {
    "trained_day": "trained on day",
    "first_day": "from day",
    "last_day": "to day",
    "rows": "rows",
    "data_sha256": "hash of the data",
}
"""What the table of models says of each, and what it is called there."""


def write_report(path: Path) -> Path:
    """Writes report.html into the folder of a run or of a course, and returns where it is.

    Raises `RunError` for a folder that holds neither, or that has not come far enough to tell of.
    """
    folder = Path(path)
    if (folder / "summary.json").is_file():
        title, body = _course(folder)
    else:
        title, body = _run(load_run(folder))
    write_bytes(folder / NAME, _page(title, body).encode())
    return folder / NAME


def _page(title: str, body: list[str]) -> str:
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            f'<head><meta charset="utf-8"><title>{escape(title)}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{STYLE}</style></head>",
            f"<body><main><h1>{escape(title)}</h1>",
            *body,
            "<footer>Made by simlab. Everything shown is in the folder of this page.</footer>",
            "</main></body></html>",
            "",
        ]
    )


def _run(run: Run) -> tuple[str, list[str]]:
    metrics = run.metrics
    if metrics.empty:
        raise RunError("run folder", str(run.path), "no day has happened in it yet: run it first")
    if metrics["visits"].sum() == 0:
        raise RunError(
            "run folder", str(run.path), "nobody has visited, so there is nothing to tell: take more shoppers"
        )
    config = run.config
    shop = config.preset if config.data == "shop" else config.data
    done = f"{len(metrics)} of {config.days} days" if not run.finished else f"{config.days} days"
    return f"{shop}, {done}, seed {config.seed}", [
        f'<p class="lead">{escape(_finding(metrics))}</p>',
        "<h2>What is true</h2>",
        _figure(
            plots.true_clicks({config.training.algorithm: metrics}),
            "Expected clicks a visit of what was shown, and of the best slates that anybody could have shown. Only the "
            "lab knows either. A triangle marks the first day of a new model.",
        ),
        "<h2>What the company saw of it</h2>",
        _figure(
            plots.seen_and_true(windows(run.log, days=1), metrics["true_clicks_per_visit"]),
            "Clicks a visit as counted each day, with 95 % intervals, around the truth.",
        ),
        "<h2>Weeks</h2>",
        _table(
            _weeks(run), "Sums of visits, purchases, revenue and new models; means of the rest, weighted by visits."
        ),
        "<h2>Models</h2>",
        _table(_models(run), "Every version, and what it was learnt from.", words=True),
        _table(run.registry.table().set_index("day"), "Who put which version to work, when and why.", words=True),
        "<h2>Settings</h2>",
        _table(_settings(run), "Everything that decides the outcome: the same settings give the same run.", words=True),
    ]


def _finding(metrics: pd.DataFrame) -> str:
    share = plots.shares_of_best({"all": metrics, "last": metrics[metrics.index > metrics.index[-1] - 7]})
    trained = int(metrics["retrained"].sum())
    return (
        "Of the clicks that the best possible slates would have brought, the shop got "
        f"{plots.percent(share['all'])} over {len(metrics)} days, {plots.percent(share['last'])} in the last seven. "
        f"It trained {trained} {'model' if trained == 1 else 'models'}."
    )


def _weeks(run: Run) -> pd.DataFrame:
    weeks = run.weeks()
    return weeks[[name for name in WEEKS if name in weeks]].rename(columns=WEEKS)


def _models(run: Run) -> pd.DataFrame:
    rows = []
    for version in run.registry.versions():
        card = run.registry.card(version)
        rows.append([version, *(card.get(name, "–") for name in CARD)])
    models = pd.DataFrame(rows, columns=["version", *CARD.values()]).set_index("version")
    return models.assign(**{CARD["data_sha256"]: models[CARD["data_sha256"]].str[:12]})


def _settings(run: Run) -> pd.DataFrame:
    config = run.config
    world = asdict(run.world.config) if config.data == "shop" else dict(config.world)
    settings = asdict(config) | {"training": asdict(config.training_config()), "world": world}
    flat = pd.json_normalize(settings).iloc[0].to_dict()
    packages = json.loads((run.path / "config.json").read_text()).get("packages", {})
    flat |= {f"package {name}": version for name, version in packages.items()}
    return pd.DataFrame({"value": [str(value) for value in flat.values()]}, index=pd.Index(flat, name="setting"))


def _course(folder: Path) -> tuple[str, list[str]]:
    file = folder / "summary.json"
    try:
        summary = {str(name): (float(part["seconds"]), dict(part["figures"])) for name, part in _json(file).items()}
    except (TypeError, KeyError, ValueError) as error:
        raise RunError("course folder", str(file), f"it is damaged ({error!r}): run the course again") from error
    settings = _json(folder / "course.json").get("parameters", {}) if (folder / "course.json").is_file() else {}
    total = sum(seconds for seconds, _ in summary.values())
    body = [f'<p class="lead">{len(summary)} notebooks ran, in {total:.0f} seconds.</p>']
    if settings:
        given = ", ".join(f"{name} = {value}" for name, value in settings.items())
        body.append(f"<p>Parameters given: {escape(given)}. All others have their defaults.</p>")
    body.append(_figure(plots.cycle(), "The life of a recommender, station by station."))
    body.append("<h2>Notebooks</h2>")
    body.append("<p>Each link leads to the notebook as it ran, with its outputs; open it in JupyterLab.</p>")
    for name, (seconds, said) in summary.items():
        link = f'<a href="{quote(name)}.ipynb">{escape(name.replace("_", " "))}</a>'
        figures = pd.DataFrame(
            {"value": [_cell(value) for value in said.values()]},
            index=pd.Index([str(key).replace("_", " ") for key in said], name="key figure"),
        )
        body.append(f'<h3>{link} <span class="quiet">{seconds:.1f} s</span></h3>')
        body.append(_table(figures, "") if len(figures) else '<p class="quiet">It recorded no key figures.</p>')
        body += _pictures(folder / f"{name}.ipynb")
    return "simlab course", body


def _pictures(notebook: Path) -> list[str]:
    """The figures of an executed notebook, each with the heading it stands under there; not the cycle again."""
    if not notebook.is_file():
        return []
    heading, found = "", []
    for cell in _json(notebook).get("cells", []):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = next((line.lstrip("# ") for line in source.splitlines() if line.startswith("#")), heading)
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get("image/png")
            if data and "plots.cycle(" not in source:
                words = escape(heading)
                image = f'<img src="data:image/png;base64,{"".join(data).strip()}" alt="{words}" loading="lazy">'
                found.append(f"<figure>{image}<figcaption>{words}</figcaption></figure>")
    return found


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise RunError("course folder", str(file), f"it is damaged ({error}): run the course again") from error


def _figure(figure: Figure, caption: str) -> str:
    data = base64.b64encode(plots.png(figure)).decode()
    title = " ".join(figure.get_suptitle().split())
    alt = f"{title}. {caption}" if title else caption
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(frame: pd.DataFrame, caption: str, *, words: bool = False) -> str:
    """The index becomes the row headers. Numbers stand to the right, tables of words to the left."""
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in (frame.index.name or "", *frame.columns))
    rows = [
        f'<tr><th scope="row">{escape(_cell(index))}</th>'
        + "".join(f"<td>{escape(_cell(value))}</td>" for value in row)
        + "</tr>"
        for index, row in zip(frame.index, frame.astype(object).to_numpy(), strict=True)
    ]
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = ' class="words"' if words else ""
    table = f"<table{kind}>{said}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="wide" tabindex="0">{table}</div>'  # so that the keyboard can scroll it
