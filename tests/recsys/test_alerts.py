"""Alerts: beyond chance and large enough to matter, or silence; each names what it is about."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simlab.errors import ConfigError
from simlab.recsys.alerts import AlertConfig, Series, items, levels, mixes, of_models, shares, told
from simlab.recsys.daybook import DELAYS, DaySums, day_sums, of_group, total
from simlab.recsys.models import PopularityModel
from simlab.recsys.registry import Registry
from simlab.schema import Floats, Labels, Shoppers
from simlab.settings import from_dict
from simlab.streams import stream
from tests.recsys.rows import CATALOGUE, feedback, impressions

N_USERS, ALPHA = 600, 0.01
LEFT = {"part left": np.arange(N_USERS) < 200, "part right": np.arange(N_USERS) >= 200}
TINY = AlertConfig(fall=1e-9, apart=1e-9)


def day(number: int, rate: Floats, *, rng: np.random.Generator) -> DaySums:
    """A day on which each shopper is shown ten items or none, and clicks at a rate of their own."""
    shown = 10 * (rng.random(N_USERS) < 0.4).astype(np.int64)
    clicked = rng.binomial(shown, rate)
    return DaySums(
        day=number,
        shown=shown,
        clicked=clicked,
        position=rng.multinomial(clicked.sum(), 0.7 ** np.arange(256) * 0.3),
        hour=rng.multinomial(240, np.full(24, 1 / 24)),
        delay=rng.multinomial(60, 0.5 ** np.arange(DELAYS) / (0.5 ** np.arange(DELAYS)).sum()),
        rung=np.array([230, 8, 2, 0]),
        visits=240,
        visits_of_new=10,
        item_shown=np.full(50, 48),
        item_clicked=np.full(50, 5),
        shown_of_new=20,
    )


def series(seed: int, now: Floats | float = 1.0) -> Series:
    """Three days against a fortnight; shoppers differ, and click `now` times as often in the end."""
    rng = stream(seed, "alerts")
    rate = 0.02 + 0.3 * rng.beta(1, 4, size=N_USERS)
    before = [day(number, rate, rng=rng) for number in range(14)]
    return Series([day(14 + number, rate * now, rng=rng) for number in range(3)], before, ALPHA)


def checks(found: Sequence[object]) -> list[tuple[str, str]]:
    return [(getattr(one, "check"), getattr(one, "where")) for one in found]  # noqa: B009


def test_levels_keep_their_budget() -> None:
    """Of 400 equal windows of shoppers who differ, three series at 1 %: 12 alarms are to be expected, 24 are too many
    (p = 0.001 for more, by Poisson's law)."""
    n = sum(len(list(levels(series(seed), LEFT, TINY))) for seed in range(400))
    assert n <= 24


@pytest.mark.parametrize(("change", "n"), [(0.95, 0), (0.6, 1)])
def test_a_fall_must_matter(change: float, n: int) -> None:
    """Five per cent is beneath what matters, forty per cent is not; no group is blamed for what all do."""
    found = checks(list(levels(series(1, change), LEFT, AlertConfig())))
    assert found == [("clicks", "")] * n


def test_a_group_is_named_where_it_falls_alone() -> None:
    """A third of the shoppers click half as often: it is they; the others are not said to have risen."""
    found = checks(list(levels(series(2, np.where(LEFT["part left"], 0.4, 1.0)), LEFT, AlertConfig())))
    assert ("clicks_of_group", "part left") in found
    assert ("clicks_of_group", "part right") not in found


def test_nobody_clicking_is_a_fall() -> None:
    """The rate is 0, and no error is divided by it."""
    assert ("clicks", "") in checks(list(levels(series(3, 0.0), LEFT, AlertConfig())))


def test_mixes_are_told_apart_from_chance() -> None:
    """Positions upside down, clocks eight hours fast, purchases three days late; equal days are quiet, 100 times."""
    usual = [series(seed) for seed in range(100)]
    assert not [one for some in usual for one in mixes(some, AlertConfig())]
    some = series(4)
    changed = {
        "mix_of_positions": [replace(one, position=np.r_[one.position[9::-1], one.position[10:]]) for one in some.now],
        "mix_of_hours": [
            replace(one, hour=one.hour // 2 + np.r_[one.hour[:6] * 2, np.zeros(18, int)]) for one in some.now
        ],
        "mix_of_delays": [replace(one, delay=np.roll(one.delay, 3)) for one in some.now],
    }
    for check, now in changed.items():
        assert checks(list(mixes(some._replace(now=now), AlertConfig()))) == [(check, "")]


def test_shares_that_rise_are_told() -> None:
    """The static list, newcomers, one shopper; none of them on usual days."""
    some = series(5)
    assert not list(shares(some))
    low = [replace(one, rung=np.array([220, 8, 2, 10])) for one in some.now]
    assert checks(list(shares(some._replace(now=low)))) == [("rung", "static")]
    new = [replace(one, visits_of_new=60) for one in some.now]
    assert checks(list(shares(some._replace(now=new)))) == [("newcomers", "")]
    clicks = [one.clicked + 100 * (np.arange(N_USERS) == 7) for one in some.now]
    bot = [replace(one, clicked=clicked) for one, clicked in zip(some.now, clicks)]
    assert checks(list(shares(some._replace(now=bot)))) == [("one_shopper", "user 7")]


def test_items_that_stand_out_are_told() -> None:
    """Sold out are eight of fifty, which had 16 % of the impressions; one item has a fifth of the clicks."""
    some, none = series(6), np.empty(0, dtype=np.int64)
    assert not list(items(some, np.arange(4)))
    assert checks(list(items(some, np.arange(8)))) == [("sold_out", "")]
    surge = [replace(one, item_clicked=one.item_clicked + 60 * (np.arange(50) == 3)) for one in some.now]
    assert checks(list(items(some._replace(now=surge), none))) == [("one_item", "item 3")]


def card(trained_day: int, rows: int = 100, algorithm: str = "lightfm") -> dict[str, object]:
    return {"trained_day": trained_day, "rows": rows, "settings": {"algorithm": algorithm, "signal": "clicked"}}


def promoted(path: Path, cards: dict[int, dict[str, object]], n_items: int = 5) -> Registry:
    registry = Registry(path)
    for number, one in cards.items():
        registry.register(PopularityModel(score=np.zeros(n_items)), f"m{number:02d}", one)
        registry.promote(f"m{number:02d}", day=number, actor="test", reason="scheduled")
    return registry


def test_an_old_champion_is_told(tmp_path: Path) -> None:
    """Trained on days 0, 7 and 14: still quiet on day 25, told on day 26; the first two trainings say nothing."""
    registry = promoted(tmp_path, {number: card(number) for number in (0, 7, 14)})
    assert not list(of_models(registry, CATALOGUE.launched_by(6), 25))
    assert checks(list(of_models(registry, CATALOGUE.launched_by(6), 26))) == [("old_model", "")]
    assert not list(of_models(promoted(tmp_path / "young", {0: card(0)}), CATALOGUE.launched_by(0), 99))


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (card(14, algorithm="als"), "algorithm is als"),
        (card(3), "trained on day 3"),
        (card(14, rows=40), "learnt from 40 rows"),
    ],
)
def test_a_champion_unlike_the_one_before_is_told(last: dict[str, object], words: str, tmp_path: Path) -> None:
    """On the day of its promotion, and never again."""
    registry = promoted(tmp_path, {0: card(0), 7: card(7), 14: last})
    (alert,) = of_models(registry, CATALOGUE.launched_by(0), 14)
    assert (alert.check, alert.where) == ("odd_champion", "m14")
    assert words in alert.evidence
    assert not list(of_models(registry, CATALOGUE.launched_by(0), 15))


def test_a_champion_must_know_the_goods(tmp_path: Path) -> None:
    """Trained on day 7, when there were six items, it knows five."""
    registry = promoted(tmp_path, {7: card(7)})
    (alert,) = of_models(registry, CATALOGUE.launched_by(7), 7)
    assert "5 of the 6 items" in alert.evidence
    assert told([alert])[0].startswith("day 7  warning ")


def test_sums_of_a_day_by_hand() -> None:
    """Two visits, one of them by a newcomer; guests and what is not in the catalogue count where they can."""
    shown = impressions(
        pd.DataFrame(
            {
                "visit": [1, 1, 2, 3],
                "day": [7] * 4,
                "user_id": [0, 0, 1, 1 << 30],
                "item_id": [1, 5, 2, 1],
                "position": [0, 1, 0, 0],
                "second": [0, 0, 43_200, 86_399],
                "clicked": [True, False, True, True],
                "model_version": ["m", "m", "fallback-static", "m"],
            }
        )
    )
    first = (7 - 2 + (1 << 15)) << 47
    came = feedback(
        pd.DataFrame(
            {
                "impression_id": [first, first + 1],
                "item_id": [1, 2],
                "kind": ["purchase", "return"],
                "day": [7, 7],
                "value": [1.0, 1.0],
            }
        )
    )
    alike = Labels.constant("all", 2)
    people = Shoppers(segment=alike, region=alike, arrival_day=np.array([-9, 6]))
    sums = day_sums(7, shown, came, CATALOGUE, people)
    assert sums.shown.tolist() == [2, 1]
    assert sums.clicked.tolist() == [1, 1]
    assert sums.position[:2].tolist() == [3, 0]
    assert (sums.hour[0], sums.hour[12], sums.hour[23]) == (1, 1, 1)
    assert sums.delay.tolist() == [0, 0, 1] + [0] * (DELAYS - 3)
    assert sums.rung.tolist() == [2, 0, 0, 1]
    assert (sums.visits, sums.visits_of_new) == (3, 2)
    assert sums.item_shown.tolist() == [0, 2, 1, 0, 0, 1]
    assert sums.shown_of_new == 1
    assert total([sums, sums], "clicked").tolist() == [2, 2]
    clicked, seen = of_group([sums], np.array([True, False]))
    assert (clicked.tolist(), seen.tolist()) == ([1.0], [2.0])


@pytest.mark.parametrize("setting", ["alarms_a_month", "window", "reference", "silence", "fall", "apart", "mix"])
def test_settings_that_make_no_sense_are_refused(setting: str) -> None:
    """Nothing is watched with 0 of it."""
    with pytest.raises(ConfigError, match=setting):
        from_dict(AlertConfig, {setting: 0})


def test_few_shoppers_say_nothing() -> None:
    """Of one shopper, of six and of 29 no change is told, however large; of 200 who all stop, one is."""
    some = series(7)
    for n in (1, 6, 29):
        few = {"part few": np.arange(N_USERS) < n}
        gone = [replace(one, clicked=np.where(few["part few"], 0, one.clicked)) for one in some.now]
        assert not list(levels(some._replace(now=gone), few, AlertConfig()))
    gone = [replace(one, clicked=np.where(LEFT["part left"], 0, one.clicked)) for one in some.now]
    assert ("clicks_of_group", "part left") in checks(list(levels(some._replace(now=gone), LEFT, AlertConfig())))


def test_a_champion_that_no_gate_lets_go_is_old(tmp_path: Path) -> None:
    """Tried every week and kept, which adds rows to the history: after 12 days it is older than champions become."""
    registry = promoted(tmp_path, {0: card(0)})
    for number in (7, 14, 21):
        registry.promote("m00", day=number, actor="gate", reason="it stays")
    assert checks(list(of_models(registry, CATALOGUE.launched_by(0), 22))) == [("old_model", "")]
