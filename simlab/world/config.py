"""Size and character of a world: every number that is a choice and not a consequence.

Why rates: each behaviour has one number that says how strong it is, and at 0 the behaviour is not there at all. So a
world is taken apart by setting numbers to 0, and a lesson can be traced to the one that makes it.
"""

from dataclasses import dataclass, field, fields
from itertools import pairwise

from simlab.settings import check_types, require


def _ranges(config: object, low: float, high: float, remedy: str, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(name, value, low <= value <= high, remedy)


@dataclass(frozen=True, kw_only=True)
class ResponseConfig:
    """How shoppers look, click, buy, rate and give back; the laws stand in simlab.world.response."""

    cascade_share: float = 0.0
    """Share of shoppers who look down a slate until they click."""
    dependent_share: float = 0.0
    """Share of shoppers who look on after a click unless it has satisfied them."""
    logit_share: float = 0.0
    """Share of shoppers who see the whole slate and choose one item or none. The rest look down whatever they click."""
    impatience: float = 0.0
    """Loss of looks for each second that the slate is waited for: P(looked at at all) = exp(-impatience * seconds)."""
    base: float = -5.0
    """Log-odds of a click on an item of utility 0 that is looked at. Lower means fewer clicks."""
    satisfied_base: float = 0.0
    """Log-odds that a click on an item of utility 0 satisfies, so that a dependent shopper looks no further."""
    satisfied_scale: float = 0.25
    """How much more a click satisfies with utility, from 0 up."""
    dwell_seconds: float = 30.0
    """Median time spent with an item of utility 0 after a click; 0 where it is not measured."""
    dwell_scale: float = 0.1
    """How much the logarithm of that time grows with utility, from 0 up."""
    dwell_sd: float = 0.8
    """Standard deviation of the logarithm of that time."""
    purchase_share: float = 1.0
    """Factor of every probability to buy, in [0, 1]; 0 where nothing is sold."""
    purchase_base: float = -1.5
    """Log-odds of a purchase after a click on an item of utility 0."""
    purchase_scale: float = 0.25
    """How much more likely a purchase becomes with utility, from 0 up."""
    another_unit: float = 0.1
    """Probability of one more unit after each, at most 5 in all; in [0, 1)."""
    same_day: float = 0.5
    """q: probability that a purchase that has not come yet comes today, in (0, 1]."""
    max_delay: int = 14
    """Days after which a purchase comes at the latest."""
    rating_share: float = 0.3
    """Probability that a purchase is rated, in [0, 1]."""
    rating_scale: float = 0.25
    """How much ratings follow utility, from 0 up."""
    rating_cuts: tuple[float, float, float, float] = (-1.0, -0.4, 0.3, 1.3)
    """Where the rating changes from 1 to 2, 2 to 3, 3 to 4 and 4 to 5; rising."""
    rating_same_day: float = 0.5
    """Probability that a rating that has not come yet comes today, counted from the purchase; in (0, 1]."""
    rating_max_delay: int = 7
    """Days from the purchase to its rating at the latest."""
    return_share: float = 0.1
    """The share of purchases given back at the lowest utility, half of it at utility 0; in [0, 1]."""
    return_scale: float = 0.25
    """How much rarer returns become with utility, from 0 up."""
    return_same_day: float = 0.15
    """Probability that a return that has not come yet comes today, counted from the purchase; in (0, 1]."""
    return_max_delay: int = 21
    """Days from the purchase to its return at the latest."""

    def __post_init__(self) -> None:
        check_types(self)
        shares = ("cascade_share", "dependent_share", "logit_share", "purchase_share", "rating_share", "return_share")
        _ranges(self, 0, 1, "give a share in [0, 1]", *shares)
        ways = self.cascade_share + self.dependent_share + self.logit_share
        require("shares of ways to choose", ways, ways <= 1 + 1e-9, "give shares that sum to at most 1")
        scales = [f.name for f in fields(self) if f.name.endswith(("_scale", "_sd"))]
        _ranges(self, 0, 1e6, "give a number from 0 up", "impatience", "dwell_seconds", *scales)
        for name in ("same_day", "rating_same_day", "return_same_day"):
            require(name, getattr(self, name), 0 < getattr(self, name) <= 1, "give a probability in (0, 1]")
        require("another_unit", self.another_unit, 0 <= self.another_unit < 1, "give a probability in [0, 1)")
        _ranges(self, 0, 365, "give days from 0 to 365", "max_delay", "rating_max_delay", "return_max_delay")
        rising = all(low < high for low, high in pairwise(self.rating_cuts))
        require("rating_cuts", self.rating_cuts, rising, "give four rising numbers")


@dataclass(frozen=True, kw_only=True)
class RhythmConfig:
    """When shoppers come, and how long they stay; the laws stand in simlab.world.users."""

    weekly: float = 1.0
    """Strength of the week: 1 is the usual one, busiest on Saturdays; 0 is none; in [0, 4]."""
    yearly: float = 0.0
    """Swing of the year around the mean, busiest in December; in [0, 1]."""
    year_days: int = 365
    """Length of the year of visits and seasons, so that a lesson need not last as long."""
    campaign_day: int = 0
    """First day of a campaign that brings more visits."""
    campaign_days: int = 0
    """Its length in days; 0 for none."""
    campaign_lift: float = 0.0
    """Visits that it adds, as a share of the usual ones, in [0, 10]; nobody comes more than 5 times a day."""
    next_page: float = 0.0
    """Probability of asking for another slate after each, in [0, 0.95]."""

    def __post_init__(self) -> None:
        check_types(self)
        _ranges(self, 0, 4, "give a number in [0, 4]", "weekly")
        _ranges(self, 0, 1, "give a share in [0, 1]", "yearly")
        _ranges(self, 2, 10_000, "give days from 2 to 10000", "year_days")
        _ranges(self, 0, 10_000, "give days from 0 to 10000", "campaign_days")
        _ranges(self, 0, 10, "give a share in [0, 10]", "campaign_lift")
        _ranges(self, 0, 0.95, "give a probability in [0, 0.95]", "next_page")


@dataclass(frozen=True, kw_only=True)
class LoyaltyConfig:
    """Who stays, who leaves, who comes; the laws stand in simlab.world.loyalty."""

    pull: float = 0.0
    """How much more often a satisfied shopper comes: visits are multiplied by exp(pull * (satisfaction - 1/2))."""
    churn: float = 0.0
    """Probability that a wholly dissatisfied shopper leaves for good after a day with a visit, in [0, 1]."""
    learning: float = 0.2
    """Weight of the latest slate in satisfaction, which is the share of slates with a click; in (0, 1]."""
    newcomers_per_week: int = 0
    """Shoppers who arrive on day 7 and every seventh day after."""

    def __post_init__(self) -> None:
        check_types(self)
        _ranges(self, 0, 10, "give a number in [0, 10]", "pull")
        _ranges(self, 0, 1, "give a probability in [0, 1]", "churn")
        require("learning", self.learning, 0 < self.learning <= 1, "give a weight in (0, 1]")
        _ranges(self, 0, 10**7, "give a whole number from 0 up", "newcomers_per_week")


@dataclass(frozen=True, kw_only=True)
class ChangeConfig:
    """How tastes and goods change beside slow drift; the laws stand in simlab.world.dynamics."""

    shift_day: int = 0
    """Day on which some shoppers change their taste at once; not the first of all days, which has no day before."""
    shift_share: float = 0.0
    """Share of shoppers who do, in [0, 1]."""
    season: float = 0.0
    """Swing of a category's appeal over the year, in utility; each category has its own time; from 0 up."""
    fashion: float = 0.0
    """Standard deviation of a category's appeal as fashions come and go, in utility; from 0 up."""
    fashion_memory: float = 0.9
    """Share of a fashion that is left a day later, in [0, 1)."""
    boredom: float = 0.0
    """Utility lost by all items of a category with each look at one of them, from 0 up."""
    item_boredom: float = 0.0
    """Utility lost by an item with each look at it, from 0 up; a shopper remembers the 16 items seen most."""
    recovery: float = 0.2
    """Share of boredom that is gone a day later, in (0, 1]."""
    influence: float = 0.0
    """How far each look moves a shopper's taste towards the item, as a share of the way; in [0, 0.1]."""
    price_change: float = 0.0
    """Probability that an item gets another price on a day, in [0, 1]."""
    price_sd: float = 0.15
    """Standard deviation of the logarithm of those prices around the list price, from 0 up."""
    lifetime_days: int = 0
    """Mean days from launch to retirement (geometric, at least 7); 0 for items that stay."""
    stock: int = 0
    """Units of an item after each delivery; once they are paid it cannot be shown. 0 for no limit."""
    delivery_days: int = 7
    """Days between deliveries, from 1 up."""

    def __post_init__(self) -> None:
        check_types(self)
        _ranges(self, 0, 1, "give a share in [0, 1]", "shift_share", "price_change")
        _ranges(self, 0, 100, "give a number in [0, 100]", "season", "fashion", "boredom", "item_boredom")
        _ranges(self, 0, 3, "give a number in [0, 3]", "price_sd")
        require("fashion_memory", self.fashion_memory, 0 <= self.fashion_memory < 1, "give a share in [0, 1)")
        require("recovery", self.recovery, 0 < self.recovery <= 1, "give a share in (0, 1]")
        _ranges(self, 0, 0.1, "give a share in [0, 0.1]", "influence")
        _ranges(self, 0, 10**9, "give a whole number from 0 up", "stock", "lifetime_days")
        _ranges(self, 1, 10_000, "give days from 1 to 10000", "delivery_days")


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Size and character of a world."""

    name: str = "shop"
    """What the world is called in tables and figures."""
    seed: int = 0
    """Everything hidden and public is drawn from this, and the shoppers' luck too."""
    luck: int = 0
    """Another number gives the same shop and shoppers other luck, from the first day of history on."""
    n_users: int = 2000
    """Shoppers there on day 0."""
    n_items: int = 500
    """Items on sale on day 0, were none retired."""
    n_dims: int = 8
    """Hidden dimensions of taste."""
    history_days: int = 90
    """Days of history before day 0, at least 1."""
    new_items_per_week: int = 5
    """Items launched on day 0 and every seventh day before and after; 0 for none."""
    taste_scale: float = 2.4
    """How strongly clicks follow taste: standard deviation of the taste term of utility, from 0 up."""
    segment_share: float = 0.36
    """Share of the variance of taste that shoppers of one segment have in common, in [0, 1]."""
    quality_sd: float = 0.5
    """Standard deviation of what everybody likes about an item."""
    tail: float = 0.0
    """Utility lost with each doubling of an item's rank (random, 1 to 256): few are for everybody, many for few."""
    price_sensitivity: float = 0.3
    """Mean loss of utility for a price one standard deviation above its category's."""
    drift: float = 0.12
    """Daily step of a shopper's own taste, as a share of its standard deviation, in [0, 1). 0 is no drift."""
    fuss: float = 0.0
    """Nonlinear taste: `fuss` times a sine of the match with a second, hidden vector is added; from 0 up."""
    budget: float = 0.0
    """Utility lost for each factor e by which a price is above what a shopper can spend, from 0 up."""
    complements: float = 0.0
    """Utility gained by the category that goes with the one clicked last, from 0 up."""
    patience: float = 0.85
    """Mean probability of looking at the next position; shoppers differ by up to 0.1 or as far as 0 and 1 allow."""
    visits_per_day: float = 0.34
    """Mean visits of a shopper a day, before they are cut at 5 a day; shoppers differ (gamma, shape 1.2)."""
    response: ResponseConfig = field(default_factory=ResponseConfig)
    """How shoppers look, click, buy, rate and give back."""
    rhythm: RhythmConfig = field(default_factory=RhythmConfig)
    """When they come, and for how long."""
    loyalty: LoyaltyConfig = field(default_factory=LoyaltyConfig)
    """Who stays, leaves and arrives."""
    change: ChangeConfig = field(default_factory=ChangeConfig)
    """What changes beside slow drift."""

    def __post_init__(self) -> None:
        check_types(self)
        for name, most in (("n_users", 10**8), ("n_items", 10**6), ("n_dims", 1000), ("history_days", 10_000)):
            _ranges(self, 1, most, f"give a whole number from 1 to {most}", name)
        small = ("taste_scale", "quality_sd", "tail", "price_sensitivity", "fuss", "budget", "complements")
        _ranges(self, 0, float("inf"), "give a whole number from 0 up", "seed", "luck")
        _ranges(self, 0, 1000, "give a number from 0 to 1000", "new_items_per_week", *small)
        _ranges(self, 0, 1, "give a share in [0, 1]", "segment_share", "patience")
        require("drift", self.drift, 0 <= self.drift < 1, "give a share in [0, 1)")
        require("visits_per_day", self.visits_per_day, 0 < self.visits_per_day <= 3, "give a number in (0, 3]")

    @property
    def remembers(self) -> bool:
        """Whether what shoppers are shown and do changes what is true on later days."""
        change, loyalty = self.change, self.loyalty
        rates = (change.boredom, change.item_boredom, change.influence, change.stock, loyalty.pull, loyalty.churn)
        return any(rate > 0 for rate in (*rates, self.complements))
