"""The gate: whether a model that has just been trained may follow the champion, judged before anybody is shown it.

    fail            by chance surely worse than popularity, or than the champion by more than the margin
    pass            by chance it surely lacks less than the margin, and chance could have shown most of its list
    inconclusive    too few users, too little chance, or an interval that holds both

Why the champion is not compared offline: at home it beats its equals, see simlab.recsys.rivals; the figures stand in
the evidence beside each other. Where chance has shown too little to tell, the gate says inconclusive, and not pass; it
then refuses offline only what is surely worse than popularity, which a stranger may suffer from too, but who is broken
surely does.

How much it sees, a week at a time in shops of 1,000 and 2,000 shoppers, one place in ten left to chance among 50
candidates: chance is worth some 200 and 400 rows. Of eight challengers that were the same training two weeks later, all
lost 5 to 11 % of nDCG to the champion offline; by chance they had 6 % less to 16 % more, and all passed. Of planted
ones, champions with noise, 8 of 8 passed that truly lack 1 or 2 %, 7 of 8 that lack 7 %, and 0 of 32 that lack 15 %
and more; but only 5 of these failed, and the others were inconclusive: what a bad list has within the candidates is not
so bad (-46 % looks like -8 to -27 %), which is why most of it must be covered. With 150 candidates it looks like -36 to
-60 %, and chance is worth half as many rows.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from simlab.recsys.log import EventLog
from simlab.recsys.monitor import RIPE_AFTER
from simlab.recsys.recipe import SIGNALS
from simlab.recsys.rivals import Grounds, Home, Models, Offline, OffPolicy, compare_by_chance, compare_offline, home_of
from simlab.schema import Catalogue, Shoppers
from simlab.settings import check_types, choose, require

ACTOR = "gate"

OUTCOMES = ("promote", "canary", "refuse")


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """How careful the gate is, and what follows from what it finds."""

    days: int = 7
    """Days on which is judged, the last ripe ones; from 1 up. Take fewer than lie between trainings: a challenger that
    must not know the days since the champion's training is the champion again, and passes."""
    signal: str = "clicked"
    """What counts as success: clicked or purchased."""
    ripe_after: int = RIPE_AFTER
    """Days until purchases are in, from 0 up; clicks are ripe at once."""
    k: int = 10
    """Length of the lists, from 1 up; fewer where fewer items are on sale."""
    margin: float = 0.2
    """Share of the champion's successes that a rival may lack and still pass, in (0, 1): the less, the more days it
    takes to tell."""
    min_users: int = 50
    """Users who chose anything on these days, from 2 up."""
    min_effective: float = 100.0
    """Rows of equal weight that those of chance must be worth, for either model, from 2 up."""
    min_covered: float = 0.8
    """Share of a rival's list that chance could have shown, without which it does not pass, in (0, 1]: what lies
    beyond the champion's candidates for exploration has never been tried."""
    clip: float = 10_000.0
    """No row weighs more than this, from 1 up: less is less noise, and more of the champion's advantage."""
    passed: str = "promote"
    """What follows a pass: promote or canary."""
    doubtful: str = "refuse"
    """What follows where nothing can be told: refuse, canary or promote."""

    def __post_init__(self) -> None:
        check_types(self)
        choose("signal", self.signal, dict.fromkeys(SIGNALS))
        choose("passed", self.passed, dict.fromkeys(OUTCOMES[:2]))
        choose("doubtful", self.doubtful, dict.fromkeys(OUTCOMES))
        for name, least in (
            ("days", 1),
            ("ripe_after", 0),
            ("k", 1),
            ("min_users", 2),
            ("min_effective", 2),
            ("clip", 1),
        ):
            require(name, getattr(self, name), getattr(self, name) >= least, f"give a number from {least} up")
        require("margin", self.margin, 0 < self.margin < 1, "give a share in (0, 1)")
        require("min_covered", self.min_covered, 0 < self.min_covered <= 1, "give a share in (0, 1]")

    def grounds(self, day: int) -> Grounds:
        """On what is judged on the morning of `day`: the last ripe days.

        >>> seen = GateConfig(signal="purchased", ripe_after=10).grounds(30)
        >>> seen.first, seen.last
        (13, 19)
        """
        last = day - 1 - (self.ripe_after if self.signal == "purchased" else 0)
        return Grounds(first=last - self.days + 1, last=last, known=day, signal=self.signal, k=self.k, clip=self.clip)


GATES: dict[str, GateConfig | None] = {
    "none": None,
    "strict": GateConfig(),
    "lenient": GateConfig(doubtful="promote"),
    "canary": GateConfig(passed="canary", doubtful="canary"),
}
"""Gates by name: none lets everybody through, strict who passes, lenient all but who fails, canary lets a judge look at
living shoppers wherever the gate does not say no."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says."""

    finding: str
    """pass, fail or inconclusive."""
    outcome: str
    """What follows: promote, canary or refuse."""
    reason: str
    evidence: dict[str, Any]
    """JSON; None where a number cannot be told."""

    @property
    def passes(self) -> bool:
        """Whether it is sure enough that the model is no worse."""
        return self.finding == "pass"


def judge(
    log: EventLog, models: Models, catalogue: Catalogue, shoppers: Shoppers, *, day: int, config: GateConfig
) -> Verdict:
    """Whether the challenger may follow the champion on the morning of `day`, and what was seen.

    Fail where by chance it is surely worse than popularity, or than the champion by more than the margin; pass where it
    surely lacks less than the margin; inconclusive otherwise, and where there are too few users, rows or items that
    chance could have shown. Where chance has shown too little, it still fails where offline it is surely worse than
    popularity.
    """
    grounds = config.grounds(day)
    grounds = replace(grounds, first=max(grounds.first, models.since))
    evidence: dict[str, Any] = {"first_day": grounds.first, "last_day": grounds.last}

    def say(finding: str, reason: str) -> Verdict:
        outcomes = {"pass": config.passed, "fail": "refuse", "inconclusive": config.doubtful}
        return Verdict(finding, outcomes[finding], f"{finding}: {reason}", evidence)

    if grounds.last < grounds.first:
        return say("inconclusive", "the champion has learnt from all ripe days")
    offline = compare_offline(log, models, catalogue, shoppers, grounds)
    by_chance = compare_by_chance(log, models, catalogue, grounds)
    evidence |= {
        "offline": _plain(offline),
        "off_policy": _plain(by_chance),
        "home": _plain(home_of(offline, by_chance)),
    }
    if offline.users < config.min_users:
        return say("inconclusive", f"{offline.users} of {config.min_users} users who chose anything")
    if by_chance.effective < config.min_effective:
        if offline.over_popularity.high < 0:
            return say("fail", _words("nDCG", offline.challenger, "popularity's", offline.popularity))
        worth = f"{by_chance.effective:.0f} of {config.min_effective:.0f}"
        return say("inconclusive", f"what chance has shown is worth {worth} rows")
    what = f"{config.signal} a place"
    if by_chance.over_popularity.high < 0:
        return say("fail", _words(what, by_chance.challenger, "popularity's", by_chance.popularity))
    lack = config.margin * by_chance.champion
    told = _words(what, by_chance.challenger, "the champion's", by_chance.champion)
    if by_chance.over_champion.high < -lack:
        return say("fail", told)
    if by_chance.covered < config.min_covered:
        return say("inconclusive", f"chance could have shown only {by_chance.covered:.0%} of its list")
    return say("pass" if by_chance.over_champion.low > -lack else "inconclusive", told)


def _plain(found: Offline | OffPolicy | Home) -> dict[str, Any]:
    """As JSON: None for what is no number."""

    def number(value: Any) -> Any:
        if isinstance(value, tuple):
            return [number(part) for part in value]
        return None if value != value else value

    return {name: number(value) for name, value in asdict(found).items()}


def _words(what: str, ours: float, whose: str, theirs: float) -> str:
    return f"{what} {ours:.4f} against {whose} {theirs:.4f}"
