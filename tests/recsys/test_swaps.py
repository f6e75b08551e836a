"""Models change while shoppers are served: nobody is refused, and each slate is wholly of one model."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from simlab.lab.serving import Server, free_port
from tests.recsys.live import N_USERS, Client, N, make_shop, rankings, together, version_of

CLIENTS = 8


@dataclass
class Heard:
    """An answer: who, by which version, what, and how many swaps were sure before it and begun by its end."""

    user_id: int
    version: str
    items: list[int]
    sure: int
    begun: int


def swapped(folder: Path, n_swaps: int, pause: float, workers: int) -> list[Heard]:
    """What shoppers hear, each asking again as soon as answered, while one version after another is promoted."""
    config, heard = make_shop(folder / "run", n_swaps + 1), list[Heard]()
    sure = begun = 0
    over = False
    with Server(config, free_port(), workers=workers) as server:

        def shop(number: int) -> None:
            client, turn = Client(server.port), 0
            while not over:
                user_id = (number + CLIENTS * turn) % N_USERS
                before, turn = sure, turn + 1
                status, answer = client.once("/recommend", {"user_id": user_id, "n": N, "deadline_ms": 30_000})
                assert status == 200, answer
                items = [item["item_id"] for item in answer["items"]]
                heard.append(Heard(user_id, answer["model_version"], items, before, begun))
            client.close()

        threads, wrong = together(shop, CLIENTS)
        boss, start = Client(server.port), time.monotonic()
        for number in range(1, n_swaps + 1):
            time.sleep(max(0.0, start + number * pause - time.monotonic()))
            begun = number
            change = {"action": "promote", "version": version_of(number), "reason": "the next"}
            status, answer = boss.once("/admin/deploy", change)
            assert (status, answer["refused"]) == (200, "")
            sure = number
        time.sleep(pause)
        over = True
        for thread in threads:
            thread.join()
        boss.close()
        assert wrong == []
    return heard


@pytest.mark.parametrize(
    ("n_swaps", "pause", "workers"),
    [
        (6, 0.2, 1),
        (6, 0.2, 2),
        pytest.param(60, 1.0, 1, marks=pytest.mark.soak),
        pytest.param(60, 1.0, 2, marks=pytest.mark.soak),
    ],
)
def test_swaps_under_load(n_swaps: int, pause: float, workers: int, tmp_path: Path) -> None:
    """No request fails; a slate is what its version alone would show; who asks after a swap is answered by the new one.

    The last also between processes: the row of the history is the moment, whoever reads it. So a shopper who asks
    again never goes back to an older version.
    """
    heard = swapped(tmp_path, n_swaps, pause, workers)
    right = rankings(tmp_path / "run", n_swaps + 1)
    seen: dict[int, str] = {}
    for one in heard:
        assert one.items == right[one.version][one.user_id]
        assert version_of(one.sure) <= one.version <= version_of(one.begun)
        assert seen.get(one.user_id, "") <= one.version
        seen[one.user_id] = one.version
    assert {one.version for one in heard} == set(right)
    print(f"{len(heard)} answers, {n_swaps} swaps, {workers} workers")
