"""Embedding: a vector that is learned for each id."""
from __future__ import annotations

from typing import Any

from tapeflow import constraints, initializers, ops, regularizers
from tapeflow.constraints import Constraint
from tapeflow.dtypes import float32
from tapeflow.initializers import Initializer
from tapeflow.nn.module import Module
from tapeflow.nn.weighted import at_least_one
from tapeflow.regularizers import Regularizer
from tapeflow.tensor import Tensor, TensorLike
from tapeflow.variable import Variable


class Embedding(Module):
    """The rows of a table at ids: int[...] -> f32[..., output_dim].

    Args:
        input_dim: how many ids there are, from 0 on.
        output_dim: the length of a row.
        embeddings_initializer: a name, or a function of (shape, dtype).
        embeddings_regularizer: a penalty on the table, which appears in `losses`.
        embeddings_constraint: a limit on the table, kept after each update.
        name: its scope.

    Raises: ArgumentError for unknown names or sizes below 1; at a call OutOfRangeError unless
        ids are from 0 up to, not including, input_dim; DTypeError unless ids are integers.
    """

    embeddings: Variable

    def __init__(self, input_dim: int, output_dim: int,
                 embeddings_initializer: str | Initializer = "uniform",
                 embeddings_regularizer: str | Regularizer | None = None,
                 embeddings_constraint: str | Constraint | None = None,
                 name: str | None = None) -> None:
        super().__init__(name)
        self.input_dim = at_least_one("Embedding", "input_dim", input_dim)
        self.output_dim = at_least_one("Embedding", "output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer, "Embedding")
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer, "Embedding")
        self.embeddings_constraint = constraints.get(embeddings_constraint, "Embedding")

    def build(self, ids: Any) -> None:
        shape = (self.input_dim, self.output_dim)
        self.embeddings = self.make_variable(
            "embeddings", lambda: self.embeddings_initializer(shape, float32))
        self.embeddings.constraint = self.embeddings_constraint

    def call(self, ids: TensorLike) -> Tensor:
        return ops.embedding_lookup(self.embeddings, ids)

    def penalties(self) -> list[Tensor]:
        penalty = self.embeddings_regularizer
        return [penalty(self.embeddings)] if penalty else []
