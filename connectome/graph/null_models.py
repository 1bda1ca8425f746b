"""Random graphs to compare a real one with: the same degrees, other partners."""

from __future__ import annotations

import numpy as np

N_ROUNDS = 30  # of worms, what is left of the real connections no longer changes after 20


def rewire(
    pre: np.ndarray,
    post: np.ndarray,
    count: int,
    rng: np.random.Generator,
    keep_reciprocal: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Swap the postsynaptic ends of connections at random.

    Parameters
    ----------
    pre, post : ndarray of int, shape (E,)
        Ends of the connections, as node numbers below ``count``: no two alike, none from a node
        to itself.
    count : int
        Number of nodes.
    rng : numpy.random.Generator
        Where chance comes from.
    keep_reciprocal : bool
        Keep for every node how many of its connections are answered, too. Otherwise what is found
        of motifs with reciprocal connections is mostly that there are many of them.

    Returns
    -------
    pre, post : ndarray of int, shape (E,)
        Of a graph in which every node has as many connections in and out as before.

    Notes
    -----
    Maslov & Sneppen (2002); with ``keep_reciprocal`` as Milo et al. (2002, 2004), who swap
    one-way connections among each other, and reciprocal pairs among each other. Swaps are tried
    many at a time: all connections are drawn into couples, a→b with c→d, and each couple becomes
    a→d with c→b by the toss of a coin, unless one of these four is a connection or a proposal of
    another couple. From the outcome the same draw leads back, so that in the long run every graph
    is as likely as any other that swaps reach.
    """
    if not keep_reciprocal:
        return _swapped(pre, post, [np.arange(len(pre))], lambda a, b: a * count + b, rng)

    def pair(a, b):
        return np.minimum(a, b) * count + np.maximum(a, b)

    answered = np.isin(pre * count + post, post * count + pre)
    once = ~answered | (pre < post)  # a reciprocal pair is one thing to swap
    pre, post, answered = pre[once], post[once], np.flatnonzero(answered[once])
    alone = np.setdiff1d(np.arange(len(pre)), answered)
    pre, post = _swapped(pre, post, [alone, answered], pair, rng, turned=answered)
    return np.concatenate([pre, post[answered]]), np.concatenate([post, pre[answered]])


def _swapped(pre, post, groups, key, rng, turned=()) -> tuple[np.ndarray, np.ndarray]:
    """Go through all rounds; connections swap within their group, keys tell them apart."""
    pre, post = pre.copy(), post.copy()
    for _ in range(N_ROUNDS):
        flip = np.asarray(turned, int)[rng.random(len(turned)) < 0.5]
        pre[flip], post[flip] = post[flip], pre[flip]
        drawn = [rng.permutation(group)[: len(group) // 2 * 2] for group in groups]
        one, other = np.concatenate(drawn).reshape(-1, 2).T
        proposed = key(pre[one], post[other]), key(pre[other], post[one])
        keys = np.concatenate([key(pre, post), *proposed])
        _, which, seen = np.unique(keys, return_inverse=True, return_counts=True)
        single = seen[which] == 1
        there, first, second = np.split(single, [len(pre), len(pre) + len(one)])
        free = there[one] & there[other] & first & second
        free &= (pre[one] != post[other]) & (pre[other] != post[one])
        # Without chance here, few connections would only swap to and fro.
        free &= rng.random(len(one)) < 0.5
        one, other = one[free], other[free]
        post[one], post[other] = post[other], post[one]
    return pre, post
