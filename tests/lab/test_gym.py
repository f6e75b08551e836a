"""The environment: Gymnasium's own checks, the lab's truth beside every reward, and nothing of it in an observation."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.utils.env_match import check_environments_match
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

import simlab
from simlab.errors import ConfigError
from simlab.lab.desks import RECENT, Desks, ShopConfig, as_slates, fill
from simlab.lab.gym import ShopEnv, ShopVectorEnv
from simlab.lab.oracle import GOALS, Oracle
from simlab.schema import NO_ITEM, Floats, Ints, Requests, Slates
from simlab.streams import stream
from simlab.world.history import serve
from simlab.world.truth import World, available
from simlab.world.users import visits

SMALL: dict[str, Any] = {"n_users": 150, "n_items": 60, "history_days": 14}
REMEMBERS = {
    "rhythm": {"next_page": 0.6},
    "change": {"boredom": 0.1, "item_boredom": 0.2, "stock": 8, "lifetime_days": 20},
    "response": {"cascade_share": 0.3, "logit_share": 0.3},
    "loyalty": {"pull": 1.0, "newcomers_per_week": 20},
}


def shop(n: int = 1, *, days: int = 3, **settings: Any) -> Any:
    """The environment, not wrapped; with several desks the one for vectors."""
    settings = {"days": days, "world": SMALL, **settings}
    made: Any = gymnasium.make if n == 1 else gymnasium.make_vec
    return made("simlab/Shop-v0", **({"num_envs": n} if n > 1 else {}), **settings).unwrapped


def top_of(mask: Any, n: int) -> Ints:
    """The first items that can be shown; shape (R, n)."""
    return np.argsort(~mask.astype(bool), axis=-1, kind="stable")[..., :n]


def clicks_of(desks: Desks) -> float:
    """What an episode earns with the first items that can be shown."""
    earned = 0.0
    while desks.asks.any():
        earned += float(desks.serve(top_of(desks.observe()["mask"], desks.n_positions))[0].sum())
    return earned


def clicks_in_the_ring(world: World, days: int, n: int) -> int:
    """The same policy, day by day as in simlab.lab.loop."""
    oracle, clicks = Oracle(world), 0

    def show(requests: Requests) -> Slates:
        mask = np.tile(available(world, oracle.state(requests.day)), (len(requests), 1))
        mask[requests.exclude[:, 0], requests.exclude[:, 1]] = False
        return as_slates(requests, fill(top_of(mask, n), mask))

    for day in range(days):
        slates, outcomes = serve(world, oracle.state(day), visits(world, day, n, oracle.state(day)), show)
        clicks += int(outcomes.clicked.sum())
        oracle.move(slates, outcomes)
    return clicks


@pytest.mark.parametrize("world", [SMALL, {**SMALL, **REMEMBERS}])
def test_gymnasium_finds_no_fault(world: dict[str, Any]) -> None:
    """`check_env` passes, and its warnings are errors here."""
    check_env(shop(world=world))


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_the_vector_variants_keep_gymnasium_s_contract(mode: Any) -> None:
    """Gymnasium ships no check for vectors, so: spaces are batches, data fits them and is new each time, the same seed
    gives the same episode, and after its end the next step begins another one."""
    first, second = (
        gymnasium.make_vec("simlab/Shop-v0", num_envs=3, vectorization_mode=mode, days=1, world=SMALL) for _ in "ab"
    )
    assert first.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert first.observation_space == batch_space(first.single_observation_space, 3)
    assert first.action_space == batch_space(first.single_action_space, 3)
    assert data_equivalence(first.reset(seed=5), second.reset(seed=5), exact=True)
    first.action_space.seed(1)
    over, before, ends = np.zeros(3, dtype=bool), first.reset(seed=5)[0], 0
    for _ in range(80):
        action = first.action_space.sample()
        step = first.step(action)
        seen, reward, terminated, truncated, info = step
        assert data_equivalence(step, second.step(action), exact=True)
        assert seen in first.observation_space
        assert not any(np.shares_memory(seen[name], before[name]) for name in seen)
        assert [part.dtype for part in (reward, terminated, truncated)] == [np.float64, bool, bool]
        assert reward.shape == terminated.shape == truncated.shape == (3,)
        assert not reward[over].any()
        assert not (terminated | truncated)[over].any()
        assert all(info[f"_{name}"].shape == info[name].shape == (3,) for name in info if name[0] != "_")
        over, before, ends = terminated | truncated, seen, ends + int(truncated.sum())
    assert ends >= 3


def test_one_desk_of_the_vector_is_the_environment() -> None:
    """The same observations, rewards and truth, step by step, to the end of the episode."""
    alone, among = shop(days=2), ShopVectorEnv(1, days=2, world=SMALL)
    seen, rows = alone.reset(seed=4)[0], among.reset(seed=4)[0]
    alone.action_space.seed(2)
    truncated = False
    while not truncated:
        assert data_equivalence(seen, {name: row[0] for name, row in rows.items()}, exact=True)
        action = alone.action_space.sample()
        seen, reward, _, truncated, info = alone.step(action)
        rows, rewards, _, ends, infos = among.step(action[None])
        assert (reward, truncated) == (rewards[0], ends[0])
        assert info == {name: infos[name][0] for name in info}


def test_an_episode_is_what_the_ring_makes_of_it() -> None:
    """One policy earns the same in the ring and at 1 or 20 desks, also where shoppers remember and turn pages."""
    found: list[float] = []
    for n in (1, 20):
        desks = Desks(ShopConfig(days=6, n_positions=4, world={**SMALL, **REMEMBERS}), n)
        desks.begin(luck=3)
        found.append(clicks_of(desks))
    assert found == [clicks_in_the_ring(desks.world, 6, 4)] * 2
    assert found[0] > 50


@pytest.mark.parametrize("goal", GOALS)
def test_rewards_equal_their_expectation(goal: str) -> None:
    """Random actions: the mean reward is that of the closed form, within 4 standard errors; some of it is not 0."""
    buyers = {"base": -4.0, "purchase_base": 1.0, "another_unit": 0.5, "return_share": 0.9}
    envs = shop(64, reward=goal, days=20, world={**SMALL, "n_users": 1500, "response": buyers})
    envs.reset(seed=1)
    envs.action_space.seed(1)
    parts: list[tuple[Floats, Floats]] = []
    for _ in range(100):
        _, reward, _, _, info = envs.step(envs.action_space.sample())
        parts.append((reward, info[f"true_{goal}"]))
    earned, true = (np.concatenate(column) for column in zip(*parts, strict=True))
    error = (earned - true).std() / np.sqrt(len(true))
    assert abs(earned.mean() - true.mean()) < 4 * error
    assert true.mean() > 8 * error  # so that a reward that is always 0 would not pass


def test_a_seed_gives_one_episode_and_the_shop_stays() -> None:
    """Gymnasium's own comparison of two environments; another seed is other luck for the same shoppers on day 0."""
    first, second = shop(), shop()
    check_environments_match(first, second, num_steps=120, seed=3)
    same, other = first.reset(seed=3)[0], second.reset(seed=4)[0]
    assert not data_equivalence(same, other)
    tastes = [env.desks.oracle.state(0).taste for env in (first, second)]
    assert np.array_equal(*tastes)
    assert not np.array_equal(*(env.desks.oracle.state(1).taste for env in (first, second)))


@pytest.mark.parametrize("goal", ["clicks", "margin"])
def test_the_best_slate_earns_more_than_random(goal: str) -> None:
    """It leaves no regret, and brings at least 4 times as much (measured: 8.3 and 11.7)."""
    envs = shop(32, reward=goal, days=20)
    earned = {True: 0.0, False: 0.0}
    for best in earned:
        envs.reset(seed=2)
        envs.action_space.seed(2)
        for _ in range(25):
            action = envs.action_space.sample()
            if best:
                action[envs.desks.asks] = envs.desks.oracle.best(envs.desks.requests, goal).item_id
            _, reward, _, _, info = envs.step(action)
            earned[best] += reward.sum()
            assert np.all(info["regret"] >= -1e-12)
            assert not best or np.all(info["regret"] <= 1e-12)
    assert earned[True] > 4 * earned[False]


def test_requests_come_in_order_and_the_mask_is_kept() -> None:
    """Not in the mask: what is sold out, not on sale or seen in this visit. Shown all the same, it leaves a gap."""
    desks = Desks(ShopConfig(days=5, n_positions=4, world={**SMALL, **REMEMBERS}), 1)
    rng, pages, gone = stream(1, "test slates"), 0, 0
    seen, day, start = set[int](), 0, 0
    while desks.asks.any():
        asked, mask = desks.requests, desks.observe()["mask"][0].astype(bool)
        here = desks.world.catalogue.on_sale(asked.day) & (desks.oracle.state(asked.day).stock > 0)
        if asked.page[0] == 0:
            assert (asked.day, asked.second[0]) >= (day, start)
            seen, day, start = set(), asked.day, asked.second[0]
        assert asked.second[0] == start + 30 * asked.page[0]
        assert np.array_equal(np.flatnonzero(mask), sorted({*np.flatnonzero(here).tolist()} - seen))
        pages, gone = max(pages, int(asked.page[0])), max(gone, int((~here).sum()))
        wanted = rng.integers(len(mask), size=4)
        shown = [item if mask[item] and item not in wanted[:k] else NO_ITEM for k, item in enumerate(wanted.tolist())]
        seen |= {item for item in shown if item != NO_ITEM}
        worth = desks.oracle.value(as_slates(asked, np.array([shown]))).clicks
        assert desks.serve(wanted[None])[1]["true_clicks"] == worth
    assert pages >= 3
    assert gone > 10


def test_an_observation_holds_nothing_of_the_truth() -> None:
    """Two shops that differ in all that is hidden, where nobody ever clicks, look the same to the last bit."""
    dull = {**SMALL, "response": {"base": -60.0}}
    other = {"taste_scale": 0.5, "quality_sd": 3.0, "price_sensitivity": 2.0, "patience": 0.3, "drift": 0.5}
    first, second = shop(8, world=dull), shop(8, world={**dull, **other})
    assert data_equivalence(first.reset(seed=1), second.reset(seed=1), exact=True)
    for _ in range(15):
        action = first.action_space.sample()
        (seen, reward, *_, info), (seen_too, _, *_, info_too) = first.step(action), second.step(action)
        assert data_equivalence(seen, seen_too, exact=True)
        assert not reward.any()
        asked = info["_regret"]
        assert np.all(info["regret"][asked] != info_too["regret"][asked])


def test_an_observation_holds_the_shopper_s_past() -> None:
    """Clicks of the history and of the episode, the latest last, and the latest slate: as in the log."""
    env = shop(days=4)
    log = env.desks.history.impressions.sort_by([("day", "ascending"), ("second", "ascending")]).to_pandas()
    log = log[log["clicked"]]
    for seed in (1, 2):
        past = {user: rows["item_id"].tolist() for user, rows in log.groupby("user_id")}
        shown: dict[int, tuple[list[int], float]] = {}
        (seen, _), truncated, clicks = env.reset(seed=seed), False, 0
        while not truncated:
            user, action = int(seen["user_id"]), top_of(seen["mask"], 10)
            before = past.setdefault(user, [])
            if user in shown:
                assert (seen["last_slate"].tolist(), seen["last_clicked"].sum()) == shown[user]
                before += seen["last_slate"][seen["last_clicked"] > 0].tolist()
                clicks += seen["last_clicked"].sum()
            assert seen["recent"].tolist() == ([NO_ITEM] * RECENT + before)[-RECENT:]
            seen, reward, _, truncated, _ = env.step(action)
            shown[user] = (action.tolist(), reward)
        assert clicks > 10


def test_settings_and_actions_are_checked() -> None:
    """A misspelt setting, an unknown reward and a slate of another length are errors with a remedy."""
    with pytest.raises(ConfigError, match="did you mean 'preset'"):
        ShopEnv(presets="shop")
    with pytest.raises(ConfigError, match="choose one of: clicks, margin, purchases, revenue"):
        ShopEnv(reward="click rate")
    env = shop()
    for wrong in ([0] * 9, [60] * 10, [-1] * 10, [0.5] * 10):
        with pytest.raises(ConfigError, match="an item_id for each position"):
            env.step(wrong)


def test_only_this_module_needs_gymnasium() -> None:
    """Without it, importing the module says what to do."""
    code = "import sys; sys.modules['gymnasium'] = None; import simlab.lab.gym"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert said.strip().endswith("pip install simlab[gym]")
    package = Path(simlab.__file__).parent
    users = [f.name for f in package.rglob("*.py") if re.search(r"^\s*(import|from) gymnasium", f.read_text(), re.M)]
    assert users == ["gym.py"]
