"""Degree-preserving random graphs, the null model that a real graph is compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

N_ROUNDS = 30  # for worms, the number of remaining original connections is stable after 20


def rewire(
    pre: np.ndarray,
    post: np.ndarray,
    n_nodes: int,
    rng: np.random.Generator,
    *,
    keep_reciprocal: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Rewire a directed graph at random, preserving in- and out-degrees.

    Parameters
    ----------
    pre, post : ndarray of int, shape (E,)
        Ends of the connections, as node numbers below ``n_nodes``: no duplicates and no
        self-connections.
    n_nodes : int
        Number of nodes.
    rng : numpy.random.Generator
        Source of randomness.
    keep_reciprocal : bool
        Also preserve the number of reciprocated connections of every node. Otherwise motifs with
        reciprocal connections mainly show that there are many of these.

    Returns
    -------
    pre, post : ndarray of int, shape (E,)
        Ends of the connections of the random graph.

    Notes
    -----
    Maslov & Sneppen (2002); with ``keep_reciprocal`` as Milo et al. (2002, 2004), who swap
    one-way connections among each other, and reciprocal pairs among each other. Many swaps are
    proposed at a time: all connections are randomly paired, a→b with c→d, and each pair becomes
    a→d and c→b with probability 1/2, unless one of these is a self-connection, exists already,
    or is proposed by another pair too. Every step is as likely as its reverse, so in the limit all
    graphs that swaps reach are equally likely.
    """
    if not keep_reciprocal:
        everything = [np.arange(len(pre))]
        return _swap_ends(pre, post, everything, lambda a, b: a * n_nodes + b, rng)

    def pair_key(a, b):
        return np.minimum(a, b) * n_nodes + np.maximum(a, b)

    reciprocated = np.isin(pre * n_nodes + post, post * n_nodes + pre)
    first = ~reciprocated | (pre < post)  # a reciprocal pair is swapped as a whole
    pre, post, reciprocal = pre[first], post[first], np.flatnonzero(reciprocated[first])
    one_way = np.setdiff1d(np.arange(len(pre)), reciprocal)
    pre, post = _swap_ends(pre, post, [one_way, reciprocal], pair_key, rng, reversible=reciprocal)
    return np.concatenate([pre, post[reciprocal]]), np.concatenate([post, pre[reciprocal]])


def _swap_ends(
    pre: np.ndarray,
    post: np.ndarray,
    groups: list[np.ndarray],
    key: Callable[[np.ndarray, np.ndarray], np.ndarray],
    rng: np.random.Generator,
    reversible: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Swap postsynaptic ends within groups of connections.

    Connections with the same ``key`` must not coexist; ``reversible`` ones have no direction.
    """
    pre, post = pre.copy(), post.copy()
    reversible = np.zeros(0, int) if reversible is None else reversible
    for _ in range(N_ROUNDS):
        flip = reversible[rng.random(len(reversible)) < 0.5]
        pre[flip], post[flip] = post[flip], pre[flip]
        paired = [rng.permutation(group)[: len(group) // 2 * 2] for group in groups]
        one, other = np.concatenate(paired).reshape(-1, 2).T
        proposed = key(pre[one], post[other]), key(pre[other], post[one])
        keys = np.concatenate([key(pre, post), *proposed])
        _, index, counts = np.unique(keys, return_inverse=True, return_counts=True)
        unique = counts[index] == 1
        existing, first, second = np.split(unique, [len(pre), len(pre) + len(one)])
        allowed = existing[one] & existing[other] & first & second
        allowed &= (pre[one] != post[other]) & (pre[other] != post[one])
        # Without this coin toss a few connections would only swap back and forth.
        allowed &= rng.random(len(one)) < 0.5
        one, other = one[allowed], other[allowed]
        post[one], post[other] = post[other], post[one]
    return pre, post
