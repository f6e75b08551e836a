"""Incidents: faults that happen to a running shop on some day, and what mends each.

    events      what shoppers did reaches the log late, twice, not at all, or wrong
    training    what is learnt from is not what there is
    serving     what answers is not what was trained
    registry    what was promoted should not have been
    shoppers    people have changed, or come in numbers; nobody has done anything wrong
    goods       what sells cannot be had

What each does to a shop stands in simlab.lab.spoiling (its events) and simlab.lab.mishaps (the rest); how it gets into
one, in simlab.lab.watched.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simlab.lab import mishaps, spoiling
from simlab.schema import NEVER, Bools, Requests, Slates
from simlab.settings import check_types, choose, require
from simlab.world.truth import World

if TYPE_CHECKING:
    from simlab.lab.watched import Watched

CURES = {
    "mend-events": "whoever writes events is mended",
    "mend-training": "the job that trains is mended, and run",
    "mend-serving": "the service is mended",
    "roll-back": "the champion makes way for the one before it",
    "block-bots": "who is no shopper is shut out",
    "restock": "goods are delivered",
    "train-again": "the model learns what is new",
    "wait": "nothing is done, for nothing is broken",
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A kind of incident: what it is, how it looks, what mends it. What it does not change is None."""

    place: str
    """events, training, serving, registry, shoppers or goods."""
    says: str
    """What is wrong, in one sentence."""
    signature: str
    """How it looks in the reports."""
    signs: tuple[str, ...]
    """Checks of simlab.recsys.alerts that tell it from others."""
    cure: str
    """One of CURES."""
    events: spoiling.Spoiler | None = None
    """What comes of the day's tables on their way to the log."""
    slates: Callable[[Requests, "Watched"], Slates] | None = None
    """Who answers instead."""
    begins: Callable[["Watched", int], None] | None = None
    """What somebody does on the first day."""
    before: Callable[["Watched", int], None] | None = None
    """What is done on that day with or without the fault."""
    stock: Callable[["Watched", Bools], Bools] | None = None
    """What can be delivered instead."""
    settings: Callable[[int], dict[str, Any]] | None = None
    """In what the world differs: settings of a run."""
    scene: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a run with or without the fault."""
    world: Callable[[World, int], World] | None = None
    """The world instead."""
    slow: bool = False
    """Whether it is there from the beginning: its day is 1."""


_E, _M, _S, _R, _P, _G = "events", "training", "serving", "registry", "shoppers", "goods"

FAULTS: dict[str, Fault] = {
    "late-events": Fault(
        place=_E,
        says="Most purchases are told three to seven days late.",
        signature="the delays of purchases shift; the last days look poor, and fill up later",
        signs=("mix_of_delays",),
        cure="mend-events",
        events=spoiling.late,
    ),
    "duplicate-events": Fault(
        place=_E,
        says="A third of the feedback, and some impressions, are told twice.",
        signature="ids that were there before",
        signs=("duplicate_feedback", "duplicate_impression"),
        cure="mend-events",
        events=spoiling.twice,
    ),
    "dropped-client": Fault(
        place=_E,
        says="The client of one region no longer tells of clicks and purchases.",
        signature="one region clicks far less, all others as before",
        signs=("clicks_of_group",),
        cure="mend-events",
        events=spoiling.dropped,
    ),
    "clock-skew": Fault(
        place=_E,
        says="The clock of one server in three is eight hours fast.",
        signature="hours of visits shift; rows of another day",
        signs=("another_day", "mix_of_hours"),
        cure="mend-events",
        events=spoiling.skewed,
    ),
    "schema-change": Fault(
        place=_E,
        says="The writer has renamed the column of clicks.",
        signature="a column is missing, one is not known; no clicks",
        signs=("schema",),
        cure="mend-events",
        events=spoiling.renamed,
    ),
    "price-unit": Fault(
        place=_E,
        says="What was paid is told in cents.",
        signature="values a hundred times the price",
        signs=("price",),
        cure="mend-events",
        events=spoiling.cents,
    ),
    "positions-wrong": Fault(
        place=_E,
        says="Positions are logged from the bottom of the slate.",
        signature="clicks stand at the end of slates",
        signs=("mix_of_positions",),
        cure="mend-events",
        events=spoiling.upside_down,
    ),
    "pipeline-dead": Fault(
        place=_E,
        says="Nothing reaches the log any more.",
        signature="no rows; every chart is flat or empty",
        signs=("no_impressions", "no_feedback"),
        cure="mend-events",
        events=spoiling.silent,
    ),
    "bots": Fault(
        place=_E,
        says="Three accounts click one item all day long.",
        signature="one item and a few shoppers have far more clicks than any before",
        signs=("one_item", "one_shopper"),
        cure="block-bots",
        events=spoiling.bots,
    ),
    "frozen-features": Fault(
        place=_M,
        says="Training reads the catalogue of an earlier day, and does not know what is new.",
        signature="nothing that was launched since is ever shown",
        signs=("odd_champion",),
        cure="mend-training",
        begins=mishaps.freeze,
    ),
    "serving-skew": Fault(
        place=_S,
        says="The service looks each shopper up one row too far.",
        signature="features as served are not those of training; everybody clicks less",
        signs=("feature_values",),
        cure="mend-serving",
        slates=mishaps.misread,
    ),
    "stale-model": Fault(
        place=_M,
        says="The job that trains has stopped, and nobody was told.",
        signature="the champion grows older than any before",
        signs=("old_model",),
        cure="mend-training",
        begins=mishaps.stop_training,
    ),
    "wrong-model": Fault(
        place=_R,
        says="Somebody has promoted a model whose items are in the wrong rows.",
        signature="everybody clicks less from one day to the next, with a new champion",
        signs=("clicks", "odd_champion", "few_clicks"),
        cure="roll-back",
        begins=mishaps.promote_wrong,
    ),
    "broken-fallback": Fault(
        place=_S,
        says="A part of the shoppers gets the static list, for all rungs above it fail.",
        signature="the lowest rung answers",
        signs=("rung",),
        cure="mend-serving",
        slates=mishaps.no_rungs,
    ),
    "segment-hurt": Fault(
        place=_S,
        says="A better model was released, but one segment gets goods at random from it.",
        signature="the mean rises, one segment falls",
        signs=("clicks_of_group",),
        cure="mend-serving",
        before=mishaps.release,
        slates=mishaps.hurt,
        scene={"training": {"epochs": 1}},
    ),
    "stock-out": Fault(
        place=_G,
        says="The goods that are shown most are sold out.",
        signature="much of what used to be shown cannot be delivered",
        signs=("sold_out",),
        cure="restock",
        stock=mishaps.sold_out,
    ),
    "newcomers": Fault(
        place=_P,
        says="Months of newcomers come on one day.",
        signature="new shoppers make the visits; lower rungs answer them",
        signs=("newcomers", "rung"),
        cure="train-again",
        world=mishaps.wave,
    ),
    "taste-shift": Fault(
        place=_P,
        says="More than half of the shoppers have changed their taste overnight.",
        signature="everybody clicks less, in all categories, and it does not come back",
        signs=("clicks", "common_fall"),
        cure="train-again",
        settings=lambda day: {"world": {"change": {"shift_day": day, "shift_share": 0.6}}},
    ),
    "season": Fault(
        place=_P,
        says="It is the season: categories rise and fall, and come back.",
        signature="some categories fall while others rise, slowly, and cross again; the mean may move a little",
        signs=("categories",),
        cure="wait",
        settings=lambda day: {"world": {"change": {"season": 2.0}, "rhythm": {"year_days": 56}}},
        slow=True,
    ),
}
"""By name."""


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A fault on a day."""

    fault: str
    """One of FAULTS."""
    day: int
    """The first day, from 1 up."""
    until: int = NEVER
    """The day on which the cure is given."""
    seed: int = 0
    """Of what is random in it."""

    def __post_init__(self) -> None:
        check_types(self)
        choose("fault", self.fault, FAULTS)
        require(
            "day of an incident", self.day, self.day >= 1, "give a day from 1 up: day 0 is there to be compared with"
        )
        require("until", self.until, self.until > self.day, "a cure comes after the first day")

    @property
    def kind(self) -> Fault:
        """What it is."""
        return FAULTS[self.fault]

    def on(self, day: int) -> bool:
        """Whether it is there on `day`."""
        return self.day <= day < self.until
