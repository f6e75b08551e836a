"""Named worlds, each there to teach something; tests/lab/test_lessons.py proves the lesson of each.

Why a lesson beside the numbers: a world is worth its name only if what it should show is there to be seen. Each lesson
is measured with the oracle, and is gone where the rate of the behaviour is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simlab.errors import ConfigError
from simlab.settings import choose, from_dict, merged
from simlab.world.config import WorldConfig

_STILL = {"drift": 0.0, "new_items_per_week": 0}
"""Nothing moves but what the world is about."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A world by name, and why it is there."""

    lesson: str
    """What is true in it, in one sentence; it is tested."""
    teaches: str
    """One paragraph: what is different here, what it does to a recommender, what to look at."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """In what it differs from the shop; names as in WorldConfig."""
    data: str = ""
    """The data set that the world is fitted to, see simlab.lab.worlds; "" for a world that is made."""


PRESETS: dict[str, Preset] = {
    "shop": Preset(
        lesson="Learning (LightFM) beats counting (popularity) beats chance, and a model trained again is worth more "
        "by day 60.",
        teaches="Goods for families. Tastes are partly shared by kind of household and drift slowly, items are "
        "launched every week, and the old shop showed noisy popularity: a factor model has much to learn, and must "
        "learn again.",
    ),
    "drifting": Preset(
        lesson="By day 60 a frozen model has lost a tenth of its worth and more, and one trained weekly on the last "
        "four weeks less than half of that.",
        teaches="Tastes wander fast around home, and nothing else changes. A model is a photograph: it is out of date "
        "at the speed of the drift, then levels off, for what belongs to the household stays. Compare frozen and "
        "retrained models over the weeks, and ask what each retraining buys.",
        settings={**_STILL, "drift": 0.25},
    ),
    "shock": Preset(
        lesson="On the day of the shock every model falls; a frozen one stays down, one trained weekly on the last "
        "fortnight climbs again.",
        teaches="On the morning of day 21 all shoppers turn round at once: in half of the dimensions they like what "
        "they disliked. Nothing announces it. Look for the day in the company's own metrics, and ask from how much "
        "old data a model should still learn after it.",
        settings={**_STILL, "visits_per_day": 0.5, "change": {"shift_day": 21, "shift_share": 1.0}},
    ),
    "seasonal": Preset(
        lesson="A model that learnt in one season loses in the opposite one, and without any training is back a year "
        "after.",
        teaches="Each category has its own time of the year, and a year has 56 days so that it fits into a course; "
        "visits swing too. A fall of the click rate is not always decay: this one comes back by itself. Look at what "
        "sells by category, and at alerts that a calendar would have foretold.",
        settings={**_STILL, "change": {"season": 2.5}, "rhythm": {"yearly": 0.3, "year_days": 56}},
    ),
    "cold-start": Preset(
        lesson="Where little is known of anybody, a model that reads public features beats one that reads only clicks.",
        teaches="A young shop: two weeks of history, and every week newcomers and launches of whom nothing is known "
        "but segment and region, category, brand and price. A model of clicks alone leaves newcomers to the "
        "fallback and never shows what is new. Features help as far as households of one kind like the same; a "
        "fallback that counts by segment knows part of that (the setting segments turns it off).",
        settings={
            "history_days": 14,
            "segment_share": 0.6,
            "new_items_per_week": 20,
            "loyalty": {"newcomers_per_week": 250},
        },
    ),
    "fatigue": Preset(
        lesson="The list that is best today loses more than half of its worth when it is shown every day, and after a "
        "month earns less than taking turns with the next best.",
        teaches="Each look tires of the item and of its category, and it takes a week to recover half way. Whoever "
        "shows the best ten again and again wears them out; tastes have not moved, so training again brings little "
        "back. An A/B test of a day or two says nothing about the month.",
        settings={
            **_STILL,
            "visits_per_day": 0.6,
            "change": {"boredom": 0.03, "item_boredom": 0.4, "recovery": 0.1},
        },
    ),
    "influence": Preset(
        lesson="A frozen list of what is popular earns more and more, because shoppers come to like what they are "
        "shown, and grow alike.",
        teaches="Each look moves taste a little towards the item. What was shown makes what is wanted: the model "
        "looks better every week though it has learnt nothing, its log proves it right, and the crowd grows more "
        "uniform than shoppers with lists of their own. Whether that is success is a question for people.",
        settings={**_STILL, "history_days": 30, "change": {"influence": 0.008}},
    ),
    "position-heavy": Preset(
        lesson="Raw clicks make the first item of a list look more than ten times as good against the last as it is; a "
        "position curve measured on shuffled lists puts that right.",
        teaches="Shoppers have little patience: three in ten leave after each item, some as soon as they have "
        "clicked. Who counts clicks counts places. The history is nearly shuffled, so its clicks by position show "
        "how far people look; divided by that curve, the clicks of a fixed list tell what its items are worth.",
        settings={**_STILL, "visits_per_day": 0.6, "patience": 0.7, "response": {"cascade_share": 0.2}},
    ),
    "niche": Preset(
        lesson="What is popular brings a smaller part of what is possible than in the shop, and personal lists bring "
        "more times as much as the popular one.",
        teaches="A long tail: tastes have many dimensions and nothing is shared by kind of household, so that few "
        "items are for everybody and most are for a few. A list for all serves nobody; the best items of a shopper "
        "have been clicked by few, and there is little to learn them from. Look at coverage and Gini.",
        settings={
            "new_items_per_week": 0,
            "n_dims": 16,
            "visits_per_day": 0.6,
            "taste_scale": 4.0,
            "segment_share": 0.0,
            "quality_sd": 0.0,
            "tail": 0.2,
            "response": {"base": -8.0},
        },
    ),
    "misspecified": Preset(
        lesson="Judged on its own log a factor model finds nearly all that is clicked, as it does where tastes are of "
        "its kind; but its slates bring about half of the best, where those bring seven tenths.",
        teaches="Tastes that no factor model can represent: what goes with the last click is wanted next, what is "
        "dear for a shopper's purse hurts more than in proportion, and some of taste is a wave and no slope. The "
        "offline score does not tell: people click what they are shown, so the model's own log agrees with it.",
        settings={
            **_STILL,
            "taste_scale": 2.0,
            "fuss": 3.0,
            "budget": 1.5,
            "complements": 4.0,
            "response": {"base": -6.0},
        },
    ),
    "movielens": Preset(
        lesson="In a world fitted to real ratings learning beats counting beats chance too.",
        teaches="Users, films and tastes as MovieLens 100K tells of them, and the real ratings as history. What was "
        "learnt in made-up worlds is tried where the numbers are not our choice: the long tail, the busy few, the "
        "genres. Truth is what the fitted model says, so it is a likeness and not the people themselves.",
        data="movielens-100k",
    ),
}

CALIBRATED = {name: world.data for name, world in PRESETS.items() if world.data}
"""Worlds that are fitted to a data set: its name."""


def preset(name: str, **changes: object) -> WorldConfig:
    """The world called `name`, with some settings changed, those of a part of them by name too.

    Raises `ConfigError` for unknown names and settings, and for worlds that are fitted to data.

    >>> preset("seasonal", n_users=200, change={"season": 0.5}).change.season
    0.5
    """
    found = choose("preset", name, PRESETS)
    if found.data:
        raise ConfigError("preset", name, f"it is fitted to {found.data}: simlab.run(preset={name!r}) opens it")
    return from_dict(WorldConfig, merged({"name": name, **found.settings}, changes))
