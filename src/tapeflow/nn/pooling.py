"""Layers that reduce windows of images to one number, or all of an image."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from tapeflow import ops
from tapeflow.errors import ShapeError
from tapeflow.nn.module import Module
from tapeflow.ops.pool import avg_pool, max_pool
from tapeflow.ops.window import Padding, per_axis
from tapeflow.tensor import Tensor, TensorLike, as_tensor


def _images(op: str, x: TensorLike) -> Tensor:
    t = as_tensor(x, op=op)
    if t.ndim != 4:
        raise ShapeError(op, got=t.spec, why=f"the input has {t.ndim} axes, not 4",
                         fix="give f[batch, height, width, channels]; tf.expand_dims adds an axis")
    return t


class _Pool2D(Module):
    """What MaxPool2D and AvgPool2D share: all but what they take of a window."""

    _pool: ClassVar[Callable[..., Tensor]]

    def __init__(self, pool_size: int | Sequence[int] = 2,
                 strides: int | Sequence[int] | None = None, padding: Padding = "VALID",
                 name: str | None = None) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.pool_size = per_axis(kind, "pool_size", pool_size, 2)
        self.strides = self.pool_size if strides is None else per_axis(kind, "strides", strides, 2)
        self.padding = padding

    def call(self, x: TensorLike) -> Tensor:
        return type(self)._pool(_images(type(self).__name__, x), self.pool_size, self.strides,
                                self.padding)


class MaxPool2D(_Pool2D):
    """The largest number of each window: any[batch, height, width, channels].

    Args:
        pool_size: of the windows; one number, or one an axis, as are strides.
        strides: from window to window; by default they do not overlap.
        padding: as in tf.nn.max_pool; "VALID", the default, is none.
        name: its scope.

    Raises: ArgumentError for sizes below 1; at a call ShapeError unless the input is
        any[batch, height, width, channels] and has room for a window.
    """

    _pool = staticmethod(max_pool)


class AvgPool2D(_Pool2D):
    """The mean of each window, without padding: f[batch, height, width, channels].

    Args: as MaxPool2D. Raises: as MaxPool2D.
    """

    _pool = staticmethod(avg_pool)


class GlobalAvgPool2D(Module):
    """The mean of each channel: f[batch, height, width, channels] -> f[batch, channels].

    keepdims: whether the spatial axes stay, with size 1.
    Raises: at a call ShapeError unless the input has four axes.
    """

    def __init__(self, keepdims: bool = False, name: str | None = None) -> None:
        super().__init__(name)
        self.keepdims = keepdims

    def call(self, x: TensorLike) -> Tensor:
        return ops.mean(_images("GlobalAvgPool2D", x), (1, 2), self.keepdims)
