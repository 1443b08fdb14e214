"""MultiHeadAttention: several attentions side by side, each in a space of its own."""
from __future__ import annotations

from typing import Any

from tapeflow import ops
from tapeflow.errors import ShapeError
from tapeflow.initializers import Initializer
from tapeflow.nn.layers import Dense, Dropout
from tapeflow.nn.module import Module
from tapeflow.nn.weighted import at_least_one, check_features
from tapeflow.ops.attention import attention_weights
from tapeflow.tensor import Spec, Tensor, TensorLike, as_tensor


class MultiHeadAttention(Module):
    """Each query as a mixture of values, in `num_heads` ways: f[..., n, d] -> f[..., n, d].

    Called with (query, value=None, key=None, mask=None, is_causal=False): values are by default the
    queries, and keys the values. A mask is bool[n, m], or bool[..., n, m] for each example, true
    where a query may see a key; with is_causal query i sees the keys 0 to i only.

    Args:
        num_heads: how many ways.
        key_dim: the size of queries and keys in each.
        value_dim: that of values, by default key_dim.
        dropout: the share of weights that are dropped while training.
        use_bias: whether the four products have biases.
        kernel_initializer: a name, or a function of (shape, dtype).
        name: its scope; inside are `query`, `key`, `value` and `output`.

    Raises: ArgumentError for sizes below 1 and unknown names; at a call ShapeError unless the
        inputs are f[..., n, d], with as many features as at the first call, and each key has a
        value.
    Source: Vaswani et al. (2017), arXiv:1706.03762.
    """

    output: Dense

    def __init__(self, num_heads: int, key_dim: int, value_dim: int | None = None,
                 dropout: float = 0.0, use_bias: bool = True,
                 kernel_initializer: str | Initializer = "glorot_uniform",
                 name: str | None = None) -> None:
        super().__init__(name)
        kind = "MultiHeadAttention"
        self.num_heads = at_least_one(kind, "num_heads", num_heads)
        self.key_dim = at_least_one(kind, "key_dim", key_dim)
        self.value_dim = at_least_one(
            kind, "value_dim", key_dim if value_dim is None else value_dim)
        self.use_bias, self.kernel_initializer = use_bias, kernel_initializer
        self.query = self._dense(self.num_heads * self.key_dim)
        self.key = self._dense(self.num_heads * self.key_dim)
        self.value = self._dense(self.num_heads * self.value_dim)
        self.dropout = Dropout(dropout)

    def _dense(self, units: int) -> Dense:
        return Dense(units, use_bias=self.use_bias, kernel_initializer=self.kernel_initializer)

    def build(self, query: Spec, *others: Any) -> None:
        if query.ndim < 2:
            raise ShapeError("MultiHeadAttention", got=query, why="there is no axis of queries",
                             fix="give f[batch, queries, features]")
        self.output = self._dense(query.shape[-1])

    def call(self, query: TensorLike, value: TensorLike | None = None,
             key: TensorLike | None = None, mask: TensorLike | None = None, *,
             is_causal: bool = False) -> Tensor:
        q = as_tensor(query)
        v = q if value is None else as_tensor(value)
        k = v if key is None else as_tensor(key)
        if mask is not None:
            mask = as_tensor(mask)
            if mask.ndim == q.ndim > 2:   # one for each example, and for all its heads
                mask = ops.expand_dims(mask, -3)
        weights = attention_weights(self._heads("query", q), self._heads("key", k), mask,
                                    is_causal=is_causal)
        mixed = ops.matmul(self.dropout(weights), self._heads("value", v))
        together = ops.moveaxis(mixed, -3, -2)
        shape = (*together.shape[:-2], self.num_heads * self.value_dim)
        return self.output(ops.reshape(together, shape))   # type: ignore[no-any-return]

    def _heads(self, name: str, given: Tensor) -> Tensor:
        """The product by this name, of each head: f[..., n, d] -> f[..., heads, n, k]."""
        product: Dense = getattr(self, name)
        if "kernel" in vars(product):
            check_features(self, given, product.kernel, f"the kernel of {name}")
        x = product(given)
        apart = ops.reshape(x, (*x.shape[:-1], self.num_heads, x.shape[-1] // self.num_heads))
        return ops.moveaxis(apart, -2, -3)
