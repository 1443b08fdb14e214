"""Numbers gathered over batches: `update_state` for each, `result` for all; compiled too."""
from __future__ import annotations

from tapeflow import ops
from tapeflow.autodiff.functional import no_grad
from tapeflow.dtypes import float64
from tapeflow.errors import ShapeError
from tapeflow.nn.module import Module
from tapeflow.tensor import Tensor, TensorLike, as_tensor
from tapeflow.variable import Variable

__all__ = ["Accuracy", "Mean"]


class Mean(Module):
    """The mean of all values since reset_state(); NaN if there were none."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.total = Variable(lambda: ops.zeros((), float64), trainable=False, name="total")
        self.count = Variable(lambda: ops.zeros((), float64), trainable=False, name="count")

    def update_state(self, values: TensorLike) -> None:
        """Take in `values`, of any shape."""
        x = as_tensor(values)
        with no_grad():
            self.total.assign_add(ops.sum(ops.cast(x, float64)))
            self.count.assign_add(float(x.size))

    def result(self) -> Tensor:
        """The mean, f64[]."""
        return ops.divide(self.total, self.count)

    def reset_state(self) -> None:
        """Forget all values."""
        self.total.assign(0.0)
        self.count.assign(0.0)


class Accuracy(Mean):
    """The share of examples whose label was predicted."""

    def update_state(self, labels: TensorLike,   # type: ignore[override]
                     predictions: TensorLike) -> None:
        """Take in a batch.

        Args:
            labels: int[n].
            predictions: labels, int[n], or a score for each class, f[n, classes].

        Raises: ShapeError if they do not belong together.
        """
        y, p = as_tensor(labels), as_tensor(predictions)
        if p.ndim == y.ndim + 1:
            p = ops.argmax(p, axis=-1)
        if p.shape != y.shape:
            raise ShapeError("Accuracy",
                             got=f"labels {y.spec}, predictions {as_tensor(predictions).spec}",
                             why="there is one prediction for each label",
                             fix="give predictions int[n] or f[n, classes] for labels int[n]")
        super().update_state(ops.equal(ops.cast(p, y.dtype), y))
