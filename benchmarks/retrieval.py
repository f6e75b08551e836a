"""Exact top-10 over all items on one core, as ratios to the bare product: `python -m benchmarks.retrieval`.

Requests per second at 32 dimensions, each the best of several runs; 1.00 is the product in single precision, nothing
ranked. What ranks a table is timed with the product in double precision that makes it.
"""

import platform
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from simlab.recsys.retrieval import best_of_factors, top_n
from simlab.recsys.training import on_grid
from simlab.schema import Floats, Ints
from simlab.streams import stream

N_ROWS, N_DIMS, N = 2000, 32, 10
BLOCK = 1 << 18  # scores made at once, so that a table is ranked while it is in the cache
SECONDS = 1.0


def ways(n_items: int) -> dict[str, Callable[[], object]]:
    """What is timed, on factors like those that training leaves."""
    rng = stream(n_items, "benchmark of retrieval")
    user, item = on_grid(rng.normal(size=(N_ROWS, N_DIMS))), on_grid(rng.normal(size=(n_items, N_DIMS)))
    bias, allowed = on_grid(rng.normal(size=n_items)), np.ones(n_items, dtype=np.bool_)
    nothing = np.empty((0, 2), dtype=np.int64)
    seen = np.column_stack([np.arange(N_ROWS).repeat(N), rng.integers(0, n_items, N_ROWS * N)])
    single_user, single_item = user.astype(np.float32), np.ascontiguousarray(item.T.astype(np.float32))
    size = BLOCK // n_items
    blocks = [slice(first, first + size) for first in range(0, N_ROWS, size)]
    single, double = np.empty((size, n_items), dtype=np.float32), np.empty((size, n_items))

    def table(block: slice) -> Floats:
        rows = user[block]
        scores: Floats = np.matmul(rows, item.T, out=double[: len(rows)])
        scores += bias
        return scores

    return {
        "bare product, single precision": lambda: [
            np.matmul(single_user[block], single_item, out=single[: len(single_user[block])]) for block in blocks
        ],
        "bare product, double precision": lambda: [table(block) for block in blocks],
        "best_of_factors": lambda: best_of_factors(user, item, bias, N, allowed, nothing),
        "best_of_factors, 10 exclusions a row": lambda: best_of_factors(user, item, bias, N, allowed, seen),
        "product and top_n": lambda: [top_n(table(block), N, allowed, nothing) for block in blocks],
        "product and numpy argpartition": lambda: [by_partition(table(block)) for block in blocks],
    }


def by_partition(scores: Floats) -> Ints:
    """The usual way in NumPy; ties fall as they will."""
    found = np.argpartition(-scores, N, axis=1)[:, :N]
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1)
    return np.take_along_axis(found, order, axis=1)


def fastest(way: Callable[[], object]) -> float:
    """The shortest of the runs that fit into a second, at least three; seconds."""
    way()  # what is compiled is compiled
    runs: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(runs) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        way()
        runs.append(time.perf_counter() - begin)
    return min(runs)


if __name__ == "__main__":
    print(f"{platform.machine()}, one core, {N_DIMS} dimensions, top {N}, {N_ROWS} requests at once\n")
    with threadpool_limits(1, "blas"):
        for n_items in (1000, 10_000):
            seconds = {name: fastest(way) for name, way in ways(n_items).items()}
            bare = seconds["bare product, single precision"]
            print(f"{f'{n_items:,} items':<38} {'requests/s':>12} {'of the product':>15}")
            for name, spent in seconds.items():
                print(f"{name:<38} {N_ROWS / spent:>12,.0f} {bare / spent:>15.2f}")
            print()
