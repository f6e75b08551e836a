"""Rules: what cannot be in a row of the log, each a line of SQL that names its columns; see simlab.recsys.quality."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from simlab.recsys.letters import SECONDS, first_id
from simlab.recsys.online import OnlineConfig
from simlab.recsys.traffic import ARMS, HOLDBACK
from simlab.schema import KINDS, SOURCES, Catalogue, Ints
from simlab.tables import FEEDBACK, IMPRESSIONS

Severity = Literal["warning", "error"]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the company knows beside the tables of the day; what is left out is not checked."""

    impression_id: Ints | None = None
    """Of all that was shown on earlier days."""
    random: tuple[str, ...] = ()
    """Versions that draw from all that is left with equal chances (`models.RandomModel`)."""
    online: OnlineConfig | None = None
    """How the service explores."""


_COLUMNS = tuple(dict.fromkeys([*IMPRESSIONS.names, *FEEDBACK.names]))


class Rule(NamedTuple):
    """What cannot be in a row."""

    check: str
    sql: str
    """Which rows are wrong."""
    look: str
    says: str = ""
    """In words, where SQL is not as plain."""
    shows: str = ""
    """What to show of the first wrong row, by default its id and the columns of the SQL."""
    severity: Severity = "error"

    @property
    def needs(self) -> set[str]:
        """The columns without which it cannot be asked."""
        words = set(re.findall(r"\w+", f"{self.sql} {self.shows}"))
        return words & {*_COLUMNS} | ({"item_id"} if words & {"price", "on_sale"} else set())


def _words(names: Sequence[str]) -> str:
    return "(" + ", ".join("'" + name.replace("'", "''") + "'" for name in names) + ")"


_TWICE = "impression_id is not null and row_number() over (partition by {} order by row) > 1"
_SLATE, _PLACE = "(partition by request_id)", "(partition by position)"
_SERVICE, _GOODS, _CLOCKS = "how the service computes propensities", "the service's catalogue", "clocks and time zones"
_RETRIES, _JOIN = "who sends again what has arrived", "how events find their impressions; lost impressions"


def of_impressions(day: int, catalogue: Catalogue, known: Known) -> list[Rule]:
    """Of the IMPRESSIONS of `day`."""
    return [
        Rule("another_day", f"day <> {day}", _CLOCKS + "; a file that came again"),
        Rule("duplicate_impression", _TWICE.format("impression_id"), _RETRIES, "the id was there before"),
        Rule("position", "position not between 0 and 255", "who fills slates in"),
        Rule("user_id", "user_id < 0", "who counts visitors"),
        Rule("second", f"second not between 0 and {SECONDS - 1}", _CLOCKS + "; units, such as milliseconds"),
        Rule("latency_ms", "not latency_ms between 0 and 1e30", "clocks of the servers"),
        Rule("dwell", "not dwell between 0 and 1e30", "the clock of the page"),
        Rule("dwell_without_click", "dwell is not null and not clicked", _JOIN),
        Rule("propensity", "not (propensity > 0 and propensity <= 1)", _SERVICE + ": per cent, logarithms?"),
        Rule("no_propensity", "propensity is null and source <> 'history'", _SERVICE, severity="warning"),
        Rule("item_id", f"item_id not between 0 and {len(catalogue) - 1}", _GOODS),
        Rule("not_on_sale", "not on_sale", _GOODS, shows="impression_id, item_id"),
        Rule("source", f"source not in {_words(SOURCES)}", "the last release of the service"),
        Rule("arm", f"arm not in {_words([*ARMS, HOLDBACK, 'history'])}", "the last release of the service"),
        Rule("model_version", "model_version = ''", "the last release of the service"),
        Rule(
            "slate_holes",
            f"bool_and(position between 0 and 255 and position is not null) over {_SLATE} and (count(*) over {_SLATE}"
            f" - max(position) over {_SLATE} <> 1 or count(distinct position) over {_SLATE} <> count(*) over {_SLATE})",
            "lost rows; two slates under one number",
            "the positions of the slate are not 0, 1, 2 ..",
        ),
        Rule(
            "one_user",
            "count(distinct request_id) over (partition by user_id)"
            " > greatest(80, 0.1 * count(distinct request_id) over ())",  # 5 visits of 16 pages are 80
            "bots; visitors who share a number",
            "one user asks for more than 80 slates, and a tenth of all",
            "user_id, count(distinct request_id) over (partition by user_id) as slates",
            "warning",
        ),
        *_of_propensities(int(catalogue.on_sale(day).sum()), known),
    ]


def _of_propensities(n_items: int, known: Known) -> list[Rule]:
    online = known.online or OnlineConfig(exploration="thompson")  # of which the least is known
    random = f"model_version in {_words(known.random)}" if known.random else "false"
    certain = f"source in ('model', 'exploration') and not {random}" if online.exploration == "none" else "false"
    lawful = f"propensity > 0 and propensity <= 1 and position between 0 and 255 and arm <> '{HOLDBACK}'"  # has its own
    p = f"(case when {lawful} then propensity::double end)"
    most = f"greatest({online.candidates}, 1 + (max(position) over ())::int)"
    chance = f"when source = 'exploration' then {online.epsilon}" if online.exploration == "epsilon" else ""
    m = f"(case when {random} then 1.0 {chance} end / {p} + position)"
    return [
        Rule(
            "propensity_sure",
            f"{p} < 1 and (source = 'fallback' or {certain})",
            _SERVICE,
            "nothing is left to chance, yet propensity < 1",
        ),
        Rule(
            "propensity_left",
            f"abs({m} - round({m})) > 1e-6 + 4e-6 * {m} or round({m}) <> median(round({m})) over {_SLATE}"
            f" or round({m}) - position < case when {random} then 1 else 2 end"
            f" or round({m}) > case when {random} then {n_items} else {most} end",
            _SERVICE,
            "propensity does not say how many items were left",
            f"impression_id, position, source, propensity, {m} - position as says_left",
        ),
        *([_of_sums(online, random, p, most)] if known.online and online.exploration != "none" else []),
        Rule(
            "repeated_slate",
            "request_id in (select request_id from"
            f" (select request_id, user_id, list(item_id order by position) as items, sum(ln(coalesce({p}, 1))) as luck"
            " from rows group by all) where luck < ln(1e-9)"
            " qualify row_number() over (partition by user_id, items order by request_id) > 1)",
            "a cache before the service; bots",
            "the user had this slate before, which comes by chance less than once in 1e9 times",
            "request_id, user_id",
            "warning",
        ),
    ]


def _of_sums(online: OnlineConfig, random: str, p: str, most: str) -> Rule:
    """The sum over S = {the best left}, as `check_day` tells it."""
    chosen = f"source in ('model', 'exploration') and not {random}"
    weight = f"(case when {chosen} then case when source = 'model' then 1 else 0 end / {p} end)"
    n, total = f"count({weight}) over {_PLACE}", f"sum({weight}) over {_PLACE}"
    b, v = f"greatest(1, max({weight}) over {_PLACE})", f"sum({weight} * ({weight} - 1)) over {_PLACE}"
    off = f"{total} - {n}"
    if online.exploration == "epsilon":
        b, off = f"(1 / (1 - {online.epsilon} + {online.epsilon} / {most}))", f"abs({off})"
        v = f"{n} * ({b} - 1)"
    slack = f"(20 * {b} / 3 + sqrt(pow(20 * {b} / 3, 2) + 40 * {v}))"
    return Rule(
        "propensity_sum",
        f"{weight} is not null and {off} > {slack}",
        _SERVICE,
        "propensities do not sum: the mean of [best] / propensity at the position is not 1",
        f"position, {n} as slates, {total} / {n} as mean, {slack} / {n} as may_differ_by",
    )


def of_feedback(day: int, shown: Ints | None) -> list[Rule]:
    """Of the FEEDBACK of `day`; `shown` are the ids it may be about, None where nobody knows them."""
    paid = "kind in ('purchase', 'return')"
    ratio = f"(case when {paid} and value between 1e-9 and 1e30 and price > 0 then value / price end)"
    lawful = f"count({ratio}) over () < 5 or median({ratio}) over () between 0.3 and 6"  # sales, several units
    return [
        Rule("another_day", f"day <> {day}", _CLOCKS + "; a file that came again"),
        Rule("duplicate_feedback", _TWICE.format("impression_id, kind"), _RETRIES, "id and kind were there before"),
        Rule("kind", f"kind not in {_words(KINDS)}", "the last release of who sends feedback"),
        Rule("feedback_item", "price is null", _GOODS, "item_id is not in the catalogue", "impression_id, item_id"),
        Rule("rating", "kind = 'rating' and value not in (1, 2, 3, 4, 5)", "the form for ratings: its scale"),
        Rule("value", f"{paid} and not value between 1e-9 and 1e30", "the till: signs, vouchers"),
        Rule(
            "price",
            f"{ratio} not between 0.02 and 50 or ({ratio} is not null and not ({lawful}))",
            "units, such as cents for euros",
            "value is far from the catalogue's price",
            f"impression_id, item_id, value, price, median({ratio}) over () as median_of_value_over_price",
        ),
        Rule("too_early", f"impression_id >= {first_id(day + 1)}", _CLOCKS, "the impression is of a later day"),
        Rule(
            "unknown_impression",
            f"{shown is not None} and impression_id not in (from shown)",
            _JOIN,
            "nobody was shown it",
        ),
    ]
