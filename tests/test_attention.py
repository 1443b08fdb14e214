"""Attention where its rows of op_cases.py do not look: queries that see nothing, and sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf


def normal(*shape: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("dtype", [tf.float16, tf.float32], ids=["f16", "f32"])
def test_a_query_that_sees_nothing_gets_zeros_and_sends_no_gradient(dtype: Any) -> None:
    q, k, v = (tf.cast(normal(2, 2, seed=i), dtype) for i in range(3))
    mask = np.array([[True, True], [False, False]])

    def attend(q: Any) -> Any:
        return tf.nn.scaled_dot_product_attention(q, k, v, mask)

    y, pull = tf.vjp(attend, q)
    assert y.numpy()[1].tolist() == [0.0, 0.0] and y.numpy()[0].any()
    gradient = pull(tf.ones((2, 2), dtype=dtype))[0].numpy()
    assert gradient[1].tolist() == [0.0, 0.0] and np.isfinite(gradient).all()


def test_a_key_that_is_not_seen_changes_nothing() -> None:
    q, k, v = normal(3, 4, seed=0), normal(5, 4, seed=1), normal(5, 2, seed=2)
    mask = np.arange(5) != 2
    seen = tf.nn.scaled_dot_product_attention(q, k, v, np.broadcast_to(mask, (3, 5)))
    less = tf.nn.scaled_dot_product_attention(q, k[mask], v[mask])
    np.testing.assert_allclose(seen.numpy(), less.numpy(), rtol=1e-12)


def test_causal_attention_never_looks_ahead() -> None:
    q, k, v = normal(4, 3, seed=0), normal(4, 3, seed=1), normal(4, 2, seed=2)
    jacobian = tf.jacobian(lambda v: tf.nn.scaled_dot_product_attention(q, k, v, is_causal=True))(
        v
    ).numpy()
    influence = np.abs(jacobian).max((1, 3))
    assert (influence[np.triu_indices(4, 1)] == 0).all()
    assert (influence[np.tril_indices(4)] > 0).all()
