"""The page of a world says what is true of it."""

import re
from pathlib import Path

from simlab.lab.config import RunConfig
from simlab.lab.oracle import Oracle
from simlab.lab.portrait import write_portrait
from simlab.lab.worlds import open_world
from simlab.world.users import visits

SETTINGS = {
    "n_users": 300,
    "n_items": 80,
    "history_days": 14,
    "response": {"cascade_share": 0.5, "logit_share": 0.2},
    "change": {"lifetime_days": 30},
}


def test_a_page_says_what_there_is_to_gain_and_what_is_particular(tmp_path: Path) -> None:
    """One file; its words, its figures and its table are those of the world, and the same when made again."""
    config, words = RunConfig(seed=3, world=SETTINGS), ["Teaches <much>.", "Lesson: all."]
    page = write_portrait(config, tmp_path / "a.html", words).read_text()
    assert page == write_portrait(config, tmp_path / "b.html", words).read_text()
    assert "Teaches &lt;much&gt;." in page
    assert page.count("<img") == 4
    assert "http" not in page.replace("http://www.w3.org", "")
    rows = re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td>', page)
    assert ("response.cascade_share", "0.500", "0", "Share of shoppers who look down a slate until they click.") in rows
    assert {row[0] for row in rows} == {
        "seed", "n_users", "n_items", "history_days", "response.cascade_share", "response.logit_share",
        "change.lifetime_days",
    }  # fmt: skip
    world, history = open_world(RunConfig(seed=3, days=60, world=SETTINGS))
    assert f"{history.impressions.num_rows:,} impressions" in page
    asked = visits(world, 0, 10, world.state)
    best = Oracle(world).value(Oracle(world).best(asked)).clicks.mean()
    assert 0.1 < best < 10
