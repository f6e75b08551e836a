"""The Open Bandit log: what shoppers of a real shop clicked under a policy whose propensities are known.

ZOZOTOWN showed three items side by side; each impression was chosen by a uniformly random policy ("random") or by
Bernoulli Thompson sampling ("bts"), in three campaigns. These are the published samples, 10,000 rows each, kept in
data/open_bandit/ with licence and checksums. Positions are left, middle, right: a row of three, not a list to scroll.

Why: few logs say how likely each shown item was. Under "random", position and item are independent, so clicks by
position show position alone; and a value estimated from one policy's log can be held against the other's clicks.
Source: Saito, Aihara, Matsutani and Narita, NeurIPS Datasets and Benchmarks 2021; CC BY 4.0.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from simlab.datasets.shelf import MANIFEST, data_folder, sha256
from simlab.errors import DataError
from simlab.settings import choose

CAMPAIGNS = {"all": 80, "men": 34, "women": 46}
"""Campaign -> its number of items."""

POLICIES = {"random": "each item alike", "bts": "Bernoulli Thompson sampling, learnt before the log begins"}

_REMEDY = "bring data/open_bandit back from the repository"


def load_open_bandit(campaign: str, policy: str) -> pa.Table:
    """The 10,000 impressions of a campaign under a policy, in order of time.

    Columns: timestamp (UTC), item_id (0 .. items of the campaign - 1), position (0 left, 1 middle, 2 right), click,
    propensity_score (of the item at this position, under `policy`), user_feature_0 .. 3 (hashed words).
    Raises `ConfigError` for an unknown campaign or policy, `DataError` where the file is missing or damaged.

    >>> import pyarrow.compute as pc
    >>> pc.sum(load_open_bandit("men", "bts")["click"]).as_py()
    69
    """
    choose("campaign", campaign, CAMPAIGNS)
    choose("policy", policy, POLICIES)
    table = _of("log.parquet", campaign)
    return table.filter(pc.equal(table["policy"], policy)).drop_columns(["policy"]).combine_chunks()


def load_open_bandit_items(campaign: str) -> pa.Table:
    """The items of a campaign: item_id from 0, item_feature_0 (a number), item_feature_1 .. 3 (hashed words).

    Raises as `load_open_bandit`.
    """
    choose("campaign", campaign, CAMPAIGNS)
    return _of("items.parquet", campaign)


def _of(name: str, campaign: str) -> pa.Table:
    table = pq.read_table(_checked(name))
    return table.filter(pc.equal(table["campaign"], campaign)).drop_columns(["campaign"]).combine_chunks()


def _checked(name: str) -> Path:
    """The path of one file of the data set. Raises `DataError` unless it is the file of the manifest."""
    folder = data_folder() / "open_bandit"
    path, manifest = folder / name, folder / MANIFEST
    try:
        pinned = json.loads(manifest.read_text(encoding="utf-8"))["sha256"][name]
        found = sha256(path)
    except FileNotFoundError as error:
        raise DataError(str(error.filename), "no such file", _REMEDY) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(str(manifest), "not a manifest", _REMEDY) from error
    if found != pinned:
        raise DataError(str(path), "damaged (its SHA-256 differs)", _REMEDY)
    return path
