"""One HTML page for a finished run or course."""

import json
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from simlab.errors import RunError
from simlab.files import write_bytes
from simlab.lab import plots
from simlab.lab.page import cell, figure, page, table
from simlab.lab.run import Run, load_run
from simlab.recsys.monitor import windows

NAME = "report.html"

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
    write_bytes(folder / NAME, page(title, body).encode())
    return folder / NAME


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
        figure(
            plots.true_clicks({config.training.algorithm: metrics}),
            "Expected clicks a visit of what was shown, and of the best slates for that day; only the lab knows them. "
            "Where shoppers remember what they saw, compare policies by true clicks and not by shares: what was shown "
            "before has made the best of today, too. A triangle marks the first day of a new model.",
        ),
        "<h2>What the company saw of it</h2>",
        figure(
            plots.seen_and_true(windows(run.log, days=1), metrics["true_clicks_per_visit"]),
            "Clicks a visit as counted each day, with 95 % intervals, around the truth of those who came. They "
            "allow for others who might have come, too, so they hold it more often than 95 times in 100.",
        ),
        "<h2>Weeks</h2>",
        table(_weeks(run), "Sums of visits, purchases, revenue and new models; means of the rest, weighted by visits."),
        "<h2>Models</h2>",
        table(_models(run), "Every version, and what it was learnt from.", words=True),
        table(run.registry.table().set_index("day"), "Who put which version to work, when and why.", words=True),
        "<h2>Settings</h2>",
        table(_settings(run), "Everything that decides the outcome: the same settings give the same run.", words=True),
    ]


def _finding(metrics: pd.DataFrame) -> str:
    share = plots.shares_of_best({"all": metrics, "last": metrics[metrics.index > metrics.index[-1] - 7]})
    trained = int(metrics["retrained"].sum())
    return (
        "Of the clicks that the best slates of each day would have brought, after all that was shown before, it got "
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
    body.append(figure(plots.cycle(), "The life of a recommender, station by station."))
    body.append("<h2>Notebooks</h2>")
    body.append("<p>Each link leads to the notebook as it ran, with its outputs; open it in JupyterLab.</p>")
    for name, (seconds, said) in summary.items():
        link = f'<a href="{quote(name)}.ipynb">{escape(name.replace("_", " "))}</a>'
        figures = pd.DataFrame(
            {"value": [cell(value) for value in said.values()]},
            index=pd.Index([str(key).replace("_", " ") for key in said], name="key figure"),
        )
        body.append(f'<h3>{link} <span class="quiet">{seconds:.1f} s</span></h3>')
        body.append(table(figures, "") if len(figures) else '<p class="quiet">It recorded no key figures.</p>')
        body += _pictures(folder / f"{name}.ipynb")
    return "simlab course", body


def _pictures(notebook: Path) -> list[str]:
    """The figures of an executed notebook, each with the heading it stands under there; not the cycle again."""
    if not notebook.is_file():
        return []
    heading, found = "", []
    for part in _json(notebook).get("cells", []):
        source = "".join(part["source"])
        if part["cell_type"] == "markdown":
            heading = next((line.lstrip("# ") for line in source.splitlines() if line.startswith("#")), heading)
        for output in part.get("outputs", []):
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
