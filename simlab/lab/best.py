"""The best slate there is, in closed form: what regret is measured against.

Shoppers who walk down a slate: an item looked at is worth w (what its click brings in expectation) and lets them go on
with probability c = patience * (1 - P(click) * P(satisfied)). The value of a slate is

    w_1 + c_1 (w_2 + c_2 (w_3 + ...))

In the best slate items stand in falling order of w / (1 - c), and dynamic programming over the items in that order
finds which n of them to take (Kempe and Mahdian, WINE 2008; Aggarwal, Feldman, Muthukrishnan, Pal, WINE 2008). For
position-based shoppers c is the same for all, and the order is that of w.

Shoppers who choose one item of the whole slate (multinomial logit) are worth sum(g_i e_i) / (1 + sum(e_i)), with gain
g_i = w_i / P(click): the best n items are those of largest positive e_i (g_i - v), where v is that value itself
(Dinkelbach 1967; the steps are finitely many).
"""

import numpy as np

from simlab.compiled import compiled
from simlab.schema import NO_ITEM, Floats, Ints


@compiled
def best_walk(worth: Floats, on: Floats, n: int) -> Ints:
    """The best `n` places for one shopper; `worth` and `on` have shape (n_items,), in [0, inf) and [0, 1]."""
    order = np.argsort(-worth / np.maximum(1 - on, 1e-12), kind="mergesort")
    n_items = len(order)
    value = np.zeros(n + 1)  # of the best slate of k places from the items behind
    taken = np.zeros((n_items, n + 1), dtype=np.bool_)
    for j in range(n_items - 1, -1, -1):
        item = order[j]
        for k in range(n, 0, -1):
            here = worth[item] + on[item] * value[k - 1]
            if here > value[k]:
                value[k] = here
                taken[j, k] = True
    slate, k = np.full(n, NO_ITEM), n
    for j in range(n_items):
        if k > 0 and taken[j, k]:
            slate[n - k] = order[j]
            k -= 1
    return slate


@compiled
def best_choice(pull: Floats, gain: Floats, n: int) -> Ints:
    """The best `n` items for one shopper who chooses among all; `pull` is e = exp(log-odds), both (n_items,)."""
    value, slate = 0.0, np.full(n, NO_ITEM)
    for _ in range(100):
        worth = pull * (gain - value)
        order = np.argsort(-worth, kind="mergesort")[:n]
        top, total = 0.0, 1.0
        for item in order:
            if worth[item] > 0:
                top += pull[item] * gain[item]
                total += pull[item]
        if top / total <= value * (1 + 1e-12):
            break
        value = top / total
        for k in range(n):
            slate[k] = order[k] if worth[order[k]] > 0 else NO_ITEM
    return slate
