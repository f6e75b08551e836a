"""The Open Bandit log: it is the published sample, and damage is noticed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from simlab.datasets import data_folder, load_open_bandit, load_open_bandit_items
from simlab.errors import ConfigError, DataError

FOLDER = data_folder() / "open_bandit"

CLICKS = {
    ("all", "random"): 38,
    ("all", "bts"): 42,
    ("men", "random"): 46,
    ("men", "bts"): 69,
    ("women", "random"): 46,
    ("women", "bts"): 46,
}
"""Published: Saito, Aihara, Matsutani and Narita 2021; see references.md, off-policy evaluation."""

ITEMS = {"all": 80, "men": 34, "women": 46}

CASES = pytest.mark.parametrize(("campaign", "policy"), CLICKS)


@CASES
def test_rows_and_clicks_are_the_published_ones(campaign: str, policy: str) -> None:
    """10,000 rows each; clicks as published; rows in order of time, within seven days of November 2019."""
    log = load_open_bandit(campaign, policy).to_pandas()
    assert len(log) == 10_000
    assert log["click"].sum() == CLICKS[campaign, policy]
    assert log["timestamp"].is_monotonic_increasing
    assert "2019-11-24" <= str(log["timestamp"].iloc[0]) < str(log["timestamp"].iloc[-1]) < "2019-12-01"


@CASES
def test_every_row_shows_an_item_at_one_of_three_places(campaign: str, policy: str) -> None:
    """Positions count from 0 and are shared alike; item ids are those of the item table; features are words."""
    log, items = load_open_bandit(campaign, policy), load_open_bandit_items(campaign)
    position, item_id = np.asarray(log["position"]), np.asarray(log["item_id"])
    assert set(position.tolist()) == {0, 1, 2}
    assert np.abs(np.bincount(position) - 10_000 / 3).max() < 4 * np.sqrt(10_000 * 2 / 9)
    assert items["item_id"].to_pylist() == list(range(ITEMS[campaign])) == sorted(set(item_id.tolist()))
    assert all(len(word) == 32 for k in range(4) for word in log[f"user_feature_{k}"].unique().to_pylist())


@pytest.mark.parametrize("campaign", ITEMS)
def test_propensities_are_what_the_policy_says(campaign: str) -> None:
    """Random: 1/80, 1/34, 1/46, exactly, and items are shown alike; bts: probabilities that differ."""
    n = ITEMS[campaign]
    log = load_open_bandit(campaign, "random")
    assert np.all(np.asarray(log["propensity_score"]) == 1 / n)
    count = np.bincount(np.asarray(log["item_id"]), minlength=n)
    assert np.abs(count - 10_000 / n).max() < 4 * np.sqrt(10_000 / n)
    learnt = np.asarray(load_open_bandit(campaign, "bts")["propensity_score"])
    assert 0 < learnt.min() < 0.001 < 0.5 < learnt.max() < 1


@pytest.mark.parametrize("campaign", ITEMS)
def test_weights_to_the_random_policy_have_mean_one(campaign: str) -> None:
    """E under bts of (1 / n) / propensity is 1, within 4 standard errors: items were drawn with these propensities.

    Cut at 5 the weights can only lose: what is left is above a half and below 1.
    """
    weight = 1 / ITEMS[campaign] / np.asarray(load_open_bandit(campaign, "bts")["propensity_score"])
    assert abs(weight.mean() - 1) < 4 * weight.std() / np.sqrt(len(weight))
    assert 0.5 < np.minimum(weight, 5).mean() < 1


def test_unknown_names_are_refused() -> None:
    """With the one that was meant."""
    with pytest.raises(ConfigError, match="campaign.*did you mean 'women'"):
        load_open_bandit("womens", "random")
    with pytest.raises(ConfigError, match="policy.*choose one of: bts, random"):
        load_open_bandit("men", "thompson")
    with pytest.raises(ConfigError, match="campaign"):
        load_open_bandit_items("kids")


def test_the_folder_is_small_and_says_whose_it_is() -> None:
    """Under a megabyte, with the authors and the licence beside the data."""
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000
    text = (FOLDER / "LICENSE.txt").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert all(name in text for name in ("Saito", "Aihara", "Matsutani", "Narita", "ZOZO"))


def test_damage_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, one flipped bit and a broken manifest are errors that name the file."""
    monkeypatch.setenv("SIMLAB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"manifest\.json.*no such file"):
        load_open_bandit("men", "bts")
    folder = tmp_path / "open_bandit"
    shutil.copytree(FOLDER, folder)
    whole = (folder / "log.parquet").read_bytes()
    (folder / "log.parquet").write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    with pytest.raises(DataError, match=r"log\.parquet.*damaged"):
        load_open_bandit("men", "bts")
    (folder / "items.parquet").unlink()
    with pytest.raises(DataError, match=r"items\.parquet.*no such file"):
        load_open_bandit_items("men")
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match="not a manifest"):
        load_open_bandit("men", "bts")
