"""Layers that bring activations to a common scale; halves by float32 moments and variables."""
from __future__ import annotations

from collections.abc import Sequence

from tapeflow import arguments, ops
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.nn.module import Module
from tapeflow.ops.normalization import local_response_normalization
from tapeflow.ops.reduce import narrowed, widened
from tapeflow.ops.shape import normalize_axes, wide
from tapeflow.primitive import require_floating
from tapeflow.tensor import Spec, Tensor, TensorLike, as_tensor
from tapeflow.variable import Variable


class _Normalization(Module):
    """What BatchNorm and LayerNorm share: the axes that keep their own scale and offset."""

    gamma: Variable | None
    beta: Variable | None

    def __init__(self, axis: int | Sequence[int], epsilon: float, center: bool, scale: bool,
                 name: str | None) -> None:
        super().__init__(name)
        epsilon = arguments.number(type(self).__name__, "epsilon", epsilon)
        if epsilon < 0:
            raise ArgumentError(type(self).__name__, got=f"epsilon={epsilon}",
                                why="added to a variance, it must not be negative",
                                fix="give a small number such as 1e-3")
        self.axis, self.epsilon, self.center, self.scale = axis, epsilon, center, scale

    def build(self, x: Spec) -> None:
        kind = type(self).__name__
        require_floating(kind, x)
        if x.ndim < 2:
            raise ShapeError(kind, got=x, why="examples and their features need an axis each",
                             fix="give f[batch, ..., features]")
        self.axes = normalize_axes(kind, self.axis, x.ndim)
        self.sizes = tuple(x.shape[a] for a in self.axes)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.make_variable("gamma", lambda: ops.ones(self.sizes, wide(x.dtype)))
        if self.center:
            self.beta = self.make_variable("beta", lambda: ops.zeros(self.sizes, wide(x.dtype)))

    def fitting(self, x: TensorLike) -> Tensor:
        """x, if it has the features that the layer was made for."""
        t = as_tensor(x)
        sizes = tuple(t.shape[a] for a in self.axes if a < t.ndim)
        if sizes != self.sizes:
            raise ShapeError(type(self).__name__, got=t.spec,
                             why=f"its scales are for {list(self.sizes)} features along "
                                 f"{list(self.axes)}, not {list(sizes)}",
                             fix="give inputs like the first one, or make another layer")
        return t

    def along(self, v: Variable | Tensor | None, x: Tensor) -> Tensor | None:
        """v[*sizes], which stands for the axes of x, so that it broadcasts to x."""
        if v is None:
            return None
        shape = [n if a in self.axes else 1 for a, n in enumerate(x.shape)]
        return ops.reshape(v, shape)


class BatchNorm(_Normalization):
    """x with mean 0 and variance 1 over the batch for each feature, then scaled and offset.

    While training these are the moments of the batch (variance biased), and `moving_mean` and
    `moving_variance` come nearer to them; else those two are used. They are no trainable variables.
    An empty batch has no moments, and changes nothing; nor does any while the layer is frozen.

    Args:
        axis: of the features; the moments are taken over all others.
        momentum: how much of the moving moments each batch leaves.
        epsilon: added to the variance.
        center, scale: whether there are offsets `beta` and scales `gamma`.
        name: its scope.

    Raises: ArgumentError for a negative epsilon, or unless 0 <= momentum <= 1; at the first call
        ShapeError or DTypeError unless the input is f[batch, ..., features]; later ShapeError
        unless there are as many features.
    Source: Ioffe & Szegedy (2015), arXiv:1502.03167.
    """

    moving_mean: Variable
    moving_variance: Variable

    def __init__(self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3,
                 center: bool = True, scale: bool = True, name: str | None = None) -> None:
        super().__init__(axis, epsilon, center, scale, name)
        momentum = arguments.number("BatchNorm", "momentum", momentum)
        if not 0.0 <= momentum <= 1.0:
            raise ArgumentError("BatchNorm", got=f"momentum={momentum}",
                                why="it is the share that stays", fix="give a number from 0 to 1")
        self.momentum = momentum

    def build(self, x: Spec) -> None:
        super().build(x)
        self.moving_mean = self.make_variable(
            "moving_mean", lambda: ops.zeros(self.sizes, wide(x.dtype)), trainable=False)
        self.moving_variance = self.make_variable(
            "moving_variance", lambda: ops.ones(self.sizes, wide(x.dtype)), trainable=False)

    def call(self, x: TensorLike, *, training: bool) -> Tensor:
        given = self.fitting(x)
        t = widened(given)
        mean, variance = self.moving_mean.value, self.moving_variance.value
        if training and t.size and self._frozen is None:
            mean, variance = ops.moments(t, [a for a in range(t.ndim) if a not in self.axes])
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign_add((ops.stop_gradient(batch) - moving) * (1.0 - self.momentum))
        y = ops.batch_normalization(
            t, self.along(mean, t), self.along(variance, t), self.along(self.beta, t),
            self.along(self.gamma, t), self.epsilon)
        return narrowed(y, given)


class LayerNorm(_Normalization):
    """Each example with mean 0 and variance 1 over `axis`, then scaled and offset.

    Args:
        axis: of the features; one or several.
        epsilon: added to the variance.
        center, scale: whether there are offsets `beta` and scales `gamma`.
        name: its scope.

    Raises: ArgumentError for a negative epsilon; at the first call ShapeError or DTypeError unless
        the input is f[batch, ..., features]; later ShapeError unless there are as many features.
    Source: Ba, Kiros & Hinton (2016), arXiv:1607.06450.
    """

    def __init__(self, axis: int | Sequence[int] = -1, epsilon: float = 1e-3, center: bool = True,
                 scale: bool = True, name: str | None = None) -> None:
        super().__init__(axis, epsilon, center, scale, name)

    def call(self, x: TensorLike) -> Tensor:
        given = self.fitting(x)
        t = widened(given)
        y = ops.layer_normalization(t, self.along(self.gamma, t), self.along(self.beta, t),
                                    self.axes, self.epsilon)
        return narrowed(y, given)


class LocalResponseNorm(Module):
    """x, brought down where near channels are large: see tf.nn.local_response_normalization."""

    def __init__(self, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0,
                 beta: float = 0.5, name: str | None = None) -> None:
        super().__init__(name)
        self.depth_radius, self.bias, self.alpha, self.beta = depth_radius, bias, alpha, beta

    def call(self, x: TensorLike) -> Tensor:
        return local_response_normalization(x, self.depth_radius, self.bias, self.alpha, self.beta)
