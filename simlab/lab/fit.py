"""A world fitted to what a company has: ratings, impressions, or both; with what was found, and how well it fits.

    ratings        tastes, popularity, activity and the rating histogram                 simlab.world.calibrate
    impressions    patience, clicks and purchases; without ratings also what is liked    simlab.world.funnel, .clicks

Every part is put to the test: what it adds to the log probability of data that were held out (simlab.lab.goodness).
What the data do not tell is not in the world, or stands in CalibrationConfig.

Why a part that does not help stays in: the table says so, and the one who reads it decides. Its strength is that under
which other held-out data are likeliest, and 0 where that is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from simlab import files
from simlab.datasets import OwnImpressions, Ratings, observed, read_impressions, read_own
from simlab.errors import ConfigError
from simlab.lab.goodness import Fit, goodness
from simlab.schema import Bools, Floats, Ints
from simlab.settings import require
from simlab.streams import stream
from simlab.world.calibrate import SILENT, CalibrationConfig, calibrate, purchase_base, world_of
from simlab.world.clicks import ClickModel, Shown, fit_clicks, with_tastes
from simlab.world.factors import foretold, scale_of_taste
from simlab.world.funnel import Estimate, fit_patience, share
from simlab.world.organic import Observed
from simlab.world.snapshot import to_bytes
from simlab.world.truth import World, utility

HELD_OUT = 0.15
"""Share of choices and impressions that the fit is tested on; the world itself is fitted to all."""

FEWEST = 20
"""Ratings or impressions that a fit needs."""

FAINT = 0.05
"""Standard deviation of utility from tastes, below which they are as good as absent: odds change by 5 %."""

READ = """How to read the tables: a part helps where it raises the log probability of what was held out by more than 2
standard errors. One that does not ("no") is still in the world, unless its strength is fitted as 0."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A world, and what it rests on; print it."""

    world: World
    estimates: dict[str, Estimate]
    """What impressions told, by name."""
    fits: tuple[Fit, ...]
    """For choices, for impressions."""
    notes: tuple[str, ...] = ()
    """What was read and left out, and what the data could not tell."""

    def save(self, path: Path) -> None:
        """Writes the world as one file, which simlab.world.snapshot.from_bytes opens."""
        files.write_bytes(path, to_bytes(self.world))

    def __str__(self) -> str:
        world = self.world
        size = f"{world.config.name}: {len(world.shoppers)} shoppers, {len(world.catalogue)} items"
        found = [f"{name}: {value}, from {value.n}" for name, value in self.estimates.items()]
        head = ["fitted, with 95 % intervals:"] if found else []
        lines = [size, *self.notes, _of_tastes(world), *head, *(f"  {line}" for line in found)]
        return "\n\n".join(["\n".join(lines), *map(str, self.fits), READ])


def fit_world(
    ratings: Ratings | None = None,
    impressions: OwnImpressions | None = None,
    *,
    config: CalibrationConfig | None = None,
) -> Fitted:
    """The world of `ratings`, of `impressions`, or of both, which must then tell of the same users and items.

    `n_dims` is lowered to what few users and items allow. Raises `ConfigError` where there is nothing to fit to.
    """
    config = CalibrationConfig() if config is None else config
    if ratings is None:
        if impressions is None:
            raise ConfigError("ratings and impressions", None, "give one of them, or both")
        return _from_clicks(impressions, config)
    fitted = _from_choices(observed(ratings, seed=config.seed), config)
    return fitted if impressions is None else _with_clicks(fitted, ratings, impressions)


def fit_file(path: Path | str, columns: Mapping[str, str], out: Path | str, seed: int) -> str:
    """Fits a world to somebody's own file and writes it to `out`; the report to print.

    `columns` says what the file calls our columns: with `rating` it is read as ratings, with `clicked` as impressions.
    Raises as `simlab.datasets.read_own` and `read_impressions`.
    """
    kinds = {"rating", "clicked"} & {*columns}
    require("columns", dict(columns), len(kinds) > 0, "say which column holds: rating, or clicked")
    ratings = read_own(path, columns) if "rating" in kinds else None
    impressions = read_impressions(path, columns) if "clicked" in kinds else None
    fitted = fit_world(ratings, impressions, config=CalibrationConfig(seed=seed))
    fitted.save(Path(out))
    told = [str(part.reading) for part in (ratings, impressions) if part is not None]
    return "\n\n".join([*told, str(fitted), f"the world is in {out}"])


def _of_tastes(world: World) -> str:
    scale = world.config.taste_scale
    if scale < FAINT:
        return "tastes are absent in this world: there is little for a model to learn"
    return f"tastes: they give utility a standard deviation of {scale:.2f}"


def _hidden(seed: int, name: str, n: int, share: float) -> Bools:
    """A random share of `n` rows, at least one."""
    luck = stream(seed, name).random(n)
    return np.asarray((luck < share) | (luck == luck.min(initial=1)))


def _dims(config: CalibrationConfig, rows: int, n_users: int, n_items: int) -> CalibrationConfig:
    """The settings, with no more dimensions than so many users and items allow."""
    for name, n in (("users", n_users), ("items", n_items)):
        require(name, n, n >= 2, "a fit needs at least 2 users and 2 items")
    require("rows", rows, rows >= FEWEST, f"a fit needs at least {FEWEST} ratings or impressions")
    return replace(config, n_dims=min(config.n_dims, n_users - 1, n_items - 1))


def _from_choices(choices: Observed, config: CalibrationConfig) -> Fitted:
    config = _dims(config, len(choices.user_id), len(choices.shoppers), len(choices.catalogue))
    world = calibrate(choices, config=config)
    held = _hidden(config.seed, "held out", len(choices.user_id), HELD_OUT)
    rest = replace(choices, **{name: getattr(choices, name)[~held] for name in ("user_id", "item_id", "rating")})
    inner = _hidden(config.seed, "hidden choices", len(rest.user_id), config.hidden_share)
    scores = foretold(choices, held, config.n_dims, scale_of_taste(rest, inner, config.n_dims))
    fit = goodness("choices", choices.user_id[held], scores)
    note = "tastes come from who rated what; stars only set how ratings are given"
    return Fitted(world=world, estimates={}, fits=(fit,), notes=(note,))


def _shown(told: OwnImpressions, rows: Bools | None = None) -> tuple[Shown, Estimate | None]:
    """All impressions with their looks, and the patience that these rest on, as far as `rows` (by default all) tell."""
    rows = np.ones(len(told), dtype=np.bool_) if rows is None else rows
    looks: Floats = np.ones(len(told))
    patience = None
    if told.position is not None:
        patience = fit_patience(told.clicked[rows], told.position[rows], told.item_id[rows], told.user_id[rows])
        if patience is not None:
            looks = np.asarray(min(patience.value, 1.0) ** told.position, dtype=np.float64)
    return Shown(user_id=told.user_id, item_id=told.item_id, looks=looks, clicked=told.clicked), patience


def _estimates(told: OwnImpressions, patience: Estimate | None) -> dict[str, Estimate]:
    found = {"click rate": share(told.clicked, told.user_id)}
    if patience is not None:
        found["patience"] = patience
    if told.purchased is not None:
        found["purchases after a click"] = share(told.purchased[told.clicked], told.user_id[told.clicked])
    return found


def _notes(told: OwnImpressions, patience: Estimate | None) -> tuple[str, ...]:
    notes = []
    if told.position is None:
        notes.append("no positions: every place is taken to be looked at")
    elif patience is None:
        notes.append("clicks stand at one end only and tell nothing of patience: every place is taken to be looked at")
    elif patience.high >= 1:
        notes.append(
            "the interval of patience reaches 1: these clicks do not show that places below are looked at less"
        )
    else:
        notes.append("patience is that of the place only as far as what stood on top was not chosen for each shopper")
    if told.purchased is None:
        notes.append("no purchases: their rate after a click is that of the settings")
    return tuple(notes)


def _with_funnel(world: World, told: OwnImpressions, base: float, felt: Floats, found: dict[str, Estimate]) -> World:
    """`world` with looks, clicks and purchases as `told`; `felt` (n,) is the utility of each impression."""
    patience = min(found["patience"].value, 1.0) if "patience" in found else 1.0
    response = replace(world.config.response, base=base)
    if told.purchased is not None:
        bought = found["purchases after a click"].value
        clicks = told.clicked.astype(np.float64)
        middle = float(np.clip(bought, 1e-6, 1 - 1e-6))
        response = replace(
            response, purchase_share=float(bought > 0), purchase_base=purchase_base(felt, clicks, middle)
        )
    people = replace(world.people, patience=np.full(len(world.shoppers), patience))
    return replace(world, config=replace(world.config, patience=patience, response=response), people=people)


def _from_clicks(told: OwnImpressions, config: CalibrationConfig) -> Fitted:
    require("clicks", int(told.clicked.sum()), bool(told.clicked.any()), "give impressions of which some were clicked")
    public = _public(told, config.seed)
    config = _dims(config, len(told), len(public.shoppers), len(public.catalogue))
    shown, patience = _shown(told)
    model = _clicks(shown, public, config)
    found, felt = _estimates(told, patience), model.utility(shown)
    response = replace(SILENT, purchase_base=purchase_base(felt, told.clicked.astype(np.float64), config.purchase_rate))
    held = _hidden(config.seed, "held out", len(told), HELD_OUT)
    scores = _foretold(told, held, public, config)
    config = replace(config, n_dims=model.vector.shape[1])
    world = world_of(public, config, (model.taste, model.vector, model.quality), response)
    return Fitted(
        world=_with_funnel(world, told, model.base, felt, found),
        estimates=found,
        fits=(goodness("impressions", told.user_id[held], scores),),
        notes=_notes(told, patience),
    )


def _public(told: OwnImpressions, seed: int) -> Observed:
    """What is public of the users and items of impressions: their names."""
    n, n_items = len(told), len(told.item_key)
    return observed(
        Ratings(
            name=told.name,
            user_id=told.user_id,
            item_id=told.item_id,
            rating=np.ones(n),
            timestamp=np.zeros(n, dtype=np.int64),
            user_key=told.user_key,
            item_key=told.item_key,
            title=tuple(str(key) for key in told.item_key),
            genres=((),) * n_items,
            year=np.zeros(n_items, dtype=np.int64),
        ),
        seed=seed,
    )


def _clicks(shown: Shown, public: Observed, config: CalibrationConfig) -> ClickModel:
    hidden = _hidden(config.seed, "hidden choices", len(shown), config.hidden_share)
    return fit_clicks(shown, hidden, public.catalogue, public.shoppers, most=config.n_dims)


def _foretold(told: OwnImpressions, held: Bools, public: Observed, config: CalibrationConfig) -> dict[str, Floats]:
    """Log probability of the impressions `held`, when the others are known, by what is taken into account."""
    shown, patience = _shown(told, ~held)
    flat = replace(shown, looks=np.ones(len(told)))
    nothing = np.zeros((len(public.shoppers), 1)), np.zeros((len(public.catalogue), 1))
    scores = {"one click rate": _rate_alone(flat, held)}
    scores["popularity of items"] = with_tastes(flat.take(~held), *nothing).scores(flat.take(held))
    if patience is not None:
        scores["positions"] = with_tastes(shown.take(~held), *nothing).scores(shown.take(held))
    scores["tastes of users"] = _clicks(shown.take(~held), public, config).scores(shown.take(held))
    return _with_activity(scores, told.user_id, held)


def _rate_alone(shown: Shown, held: Bools) -> Floats:
    rate = (shown.clicked[~held].sum() + 0.5) / (np.count_nonzero(~held) + 1)
    return np.asarray(np.where(shown.clicked[held], np.log(rate), np.log1p(-rate)))


def _with_activity(scores: dict[str, Floats], user_id: Ints, held: Bools) -> dict[str, Floats]:
    """The scores with the chance that this user is the one, first all alike, then as often as in the other rows."""
    often = np.bincount(user_id[~held], minlength=int(user_id.max()) + 1) + 0.5
    last = list(scores)[-1]
    told = {name: score - np.log(len(often)) for name, score in scores.items()}
    return {**told, "activity of users": scores[last] + np.log(often / often.sum())[user_id[held]]}


def _base(shown: Shown, felt: Floats) -> float:
    """The base with which as many clicks are to be expected as there were; `felt` (n,) is utility."""
    clicks = float(np.clip(shown.clicked.sum(), 0.5, shown.looks.sum() - 0.5))
    return round(float(brentq(lambda base: shown.looks @ expit(base + felt) - clicks, -99, 99)), 6)


def _with_clicks(fitted: Fitted, ratings: Ratings, told: OwnImpressions) -> Fitted:
    """The world of ratings with the looks, clicks and purchases of impressions of the same users and items."""
    n, told = len(told), _matched(told, ratings)
    clicks = int(told.clicked.sum())
    require("clicks of users and items that have ratings", clicks, clicks > 0, "do both call users and items the same?")
    world, seed = fitted.world, fitted.world.config.seed
    felt = utility(world, world.state, told.user_id, told.item_id[:, None])[:, 0]
    shown, patience = _shown(told)
    found = _estimates(told, patience)
    held = _hidden(seed, "held out", len(told), HELD_OUT)
    partly, _ = _shown(told, ~held)
    scores = {"one click rate": _rate_alone(partly, held)}
    flat = replace(partly, looks=np.ones(len(told)))
    for name, rows in {"tastes and popularity, of ratings": flat, "positions": partly}.items():
        base = _base(rows.take(~held), felt[~held])
        chance = np.clip(rows.looks * expit(base + felt), 1e-12, 1 - 1e-12)[held]
        scores[name] = np.where(told.clicked[held], np.log(chance), np.log1p(-chance))
    scores = _with_activity(scores, told.user_id, held)
    return replace(
        fitted,
        world=_with_funnel(world, told, _base(shown, felt), felt, found),
        estimates=found,
        fits=(*fitted.fits, goodness("impressions", told.user_id[held], scores)),
        notes=(
            *fitted.notes,
            f"{len(told)} of {n} impressions are of users and items that have ratings",
            *_notes(told, patience),
        ),
    )


def _matched(told: OwnImpressions, ratings: Ratings) -> OwnImpressions:
    """The impressions of users and items that have ratings, numbered as there."""
    users, items = ({str(key): k for k, key in enumerate(keys)} for keys in (ratings.user_key, ratings.item_key))
    user_id = np.array([users.get(str(key), -1) for key in told.user_key])[told.user_id]
    item_id = np.array([items.get(str(key), -1) for key in told.item_key])[told.item_id]
    rows = (user_id >= 0) & (item_id >= 0)
    return replace(
        told,
        user_id=user_id[rows],
        item_id=item_id[rows],
        clicked=told.clicked[rows],
        position=None if told.position is None else told.position[rows],
        purchased=None if told.purchased is None else told.purchased[rows],
    )
