"""Means and variances taken out of activations, and lengths brought down."""
from __future__ import annotations

import math
from collections.abc import Sequence

from tapeflow import arguments
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.arithmetic import clipped, divide, maximum, rsqrt
from tapeflow.ops.composite import composite
from tapeflow.ops.elementwise import coerce
from tapeflow.ops.joining import add_n, stack
from tapeflow.ops.linalg_norm import length
from tapeflow.ops.movement import pad, part
from tapeflow.ops.shape import Axes, sum_over
from tapeflow.primitive import Tangents, require_floating
from tapeflow.tensor import Array, Axis, Tensor, TensorLike, as_tensor
from tapeflow_kernels.cpu import rows


def moments(x: TensorLike, axis: Axis, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and variance (biased) of x over `axis`.

    Raises: DTypeError unless x is floating.
    """
    return reduce.moments("moments", as_tensor(x, op="moments"), axis, keepdims)


def _standardized_jvp(ts: Tangents, y: Tensor, x: Tensor, center: Tensor, factor: Tensor, *,
                      axes: Axes) -> Tensor:
    t, of_center, of_factor = ts
    parts: list[Tensor] = []
    if t is not None:
        parts.append(t * reduce.spread(factor, x, axes))
    if of_center is not None:
        parts.append(reduce.spread(-(of_center * factor), x, axes))
    if of_factor is not None:
        parts.append((x - reduce.spread(center, x, axes)) * reduce.spread(of_factor, x, axes))
    return add_n(parts)


# the chain rule would sum the multiples of g for the center, where the sum of g is at hand
@composite(
    lambda g, y, x, center, factor, *, axes: g * reduce.spread(factor, x, axes),
    lambda g, y, x, center, factor, *, axes: -(factor * sum_over(g, axes=axes)),
    lambda g, y, x, center, factor, *, axes: sum_over(
        g * (x - reduce.spread(center, x, axes)), axes=axes),
    jvp=_standardized_jvp)
def _standardized(x: Tensor, center: Tensor, factor: Tensor, *, axes: Axes) -> Tensor:
    """(x - center) * factor, both without the axes of x along which they are the same."""
    away: Tensor = x - reduce.spread(center, x, axes)
    return away * reduce.spread(factor, x, axes)


def batch_normalization(x: TensorLike, mean: TensorLike, variance: TensorLike,
                        offset: TensorLike | None, scale: TensorLike | None,
                        epsilon: float) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset; all but x broadcast to x.

    Source: Ioffe & Szegedy (2015), arXiv:1502.03167.
    """
    op = "batch_normalization"
    factor = rsqrt(as_tensor(variance, op=op) + epsilon)
    if scale is not None:
        factor = factor * scale
    t, center, factor = coerce(op, x, mean, factor)
    shape = _shape.broadcast_shapes(op, t.spec, center.spec, factor.spec)
    own = _shape.broadcast_shapes(op, center.spec, factor.spec)
    sizes = (1,) * (len(shape) - len(own)) + own
    axes = tuple(a for a, (n, m) in enumerate(zip(sizes, shape, strict=True)) if n != m)
    kept = tuple(n for a, n in enumerate(sizes) if a not in axes)
    center, factor = (_shape.reshape(_shape.broadcast_to(v, own), kept) for v in (center, factor))
    y = _standardized(_shape.broadcast_to(t, shape), center, factor, axes=axes)
    return y if offset is None else y + offset


def _normal_array(x: Array, *, axes: Axes, epsilon: float) -> Array:
    """By rows of all that `axes` hold."""
    kept = tuple([a for a in range(x.ndim) if a not in axes])
    ordered = x.transpose(*kept, *axes)
    flat = ordered.reshape(*ordered.shape[:len(kept)], math.prod([x.shape[a] for a in axes]))
    y = rows.apply("standardize", flat, len(kept), epsilon).reshape(ordered.shape)
    return y.transpose(_shape.inverse_order((*kept, *axes)))


def _normal_adjoint(g: Tensor, y: Tensor, x: Tensor, *, axes: Axes, epsilon: float) -> Tensor:
    _, variance = reduce.moments("layer_normalization", x, axes, keepdims=True)
    along = g - reduce.mean(g, axes, keepdims=True) - y * reduce.mean(g * y, axes, keepdims=True)
    return rsqrt(variance + epsilon) * along


def _normal_jvp(ts: Tangents, y: Tensor, x: Tensor, *, axes: Axes, epsilon: float) -> Tensor:
    (t,) = ts
    assert t is not None
    return _normal_adjoint(t, y, x, axes=axes, epsilon=epsilon)   # a symmetric matrix


# with a derivative of two means: compiled, f32[1024,768] on one thread 1.23 -> 1.00 ms
@composite(_normal_adjoint, jvp=_normal_jvp, spec=lambda x, *, axes, epsilon: x,
           arrays=_normal_array)
def _normal(x: Tensor, *, axes: Axes, epsilon: float) -> Tensor:
    mean, variance = reduce.moments("layer_normalization", x, axes, keepdims=True)
    return batch_normalization(x, mean, variance, None, None, epsilon)


def layer_normalization(x: TensorLike, scale: TensorLike | None = None,
                        offset: TensorLike | None = None, axis: int | Sequence[int] = -1,
                        epsilon: float = 1e-6) -> Tensor:
    """x with mean 0 and variance 1 over `axis`, then scaled and offset.

    Source: Ba, Kiros & Hinton (2016), arXiv:1607.06450.
    """
    op = "layer_normalization"
    t = reduce.floating(op, x)
    y = reduce.narrowed(_normal(reduce.widened(t), axes=_shape.normalize_axes(op, axis, t.ndim),
                                epsilon=arguments.number(op, "epsilon", epsilon)), t)
    y = y if scale is None else y * scale
    return y if offset is None else y + offset


def l2_normalize(x: TensorLike, axis: Axis = None, epsilon: float = 1e-12) -> Tensor:
    """x / sqrt(max(sum(x²), epsilon)) over `axis`; no square overflows.

    Raises: DTypeError unless x is floating.
    """
    t = reduce.floating("l2_normalize", x)
    least = max(arguments.number("l2_normalize", "epsilon", epsilon), 0.0) ** 0.5
    return t / maximum(length("l2_normalize", t, axis, keepdims=True), least)


def local_response_normalization(x: TensorLike, depth_radius: int = 5, bias: float = 1.0,
                                 alpha: float = 1.0, beta: float = 0.5) -> Tensor:
    """x / (bias + alpha * sum of squares of the channels at most depth_radius away) ** beta.

    Args:
        x: f[..., channels].

    Raises: DTypeError unless x is floating, ShapeError if it has no axes, ArgumentError for a
        negative radius.
    Source: Krizhevsky, Sutskever & Hinton (2012); not divided by the number of channels.
    """
    op = "local_response_normalization"
    t = reduce.floating(op, x)
    if not t.ndim:
        raise ShapeError(op, got=t.spec, why="there is no axis of channels",
                         fix="give f[..., channels]")
    bias, alpha, beta = (arguments.number(op, name, given) for name, given in
                         (("bias", bias), ("alpha", alpha), ("beta", beta)))
    last, channels = t.ndim - 1, t.shape[-1]
    radius = min(arguments.size(op, "depth_radius", depth_radius), max(channels - 1, 0))
    padded = pad(t * t, [(0, 0)] * last + [(radius, radius)])
    energy = add_n([part(padded, last, i, channels) for i in range(2 * radius + 1)])
    return t * (bias + alpha * energy) ** -arguments.number(op, "beta", beta)


# ---- clipping

def clip_by_value(x: TensorLike, clip_value_min: TensorLike, clip_value_max: TensorLike) -> Tensor:
    """x brought between the two values: see clip."""
    return clipped("clip_by_value", x, clip_value_min, clip_value_max)


def _shrink(length: Tensor, limit: TensorLike) -> Tensor:
    """What to multiply by, so that `length` is at most `limit`."""
    return divide(limit, maximum(length, limit))


def clip_by_norm(x: TensorLike, clip_norm: TensorLike, axis: Axis = None) -> Tensor:
    """x, scaled down where its length over `axis` exceeds `clip_norm`.

    Raises: DTypeError unless x is floating.
    """
    t = as_tensor(x, op="clip_by_norm")
    require_floating("clip_by_norm", t.spec)
    return t * _shrink(length("clip_by_norm", t, axis, keepdims=True), clip_norm)


def global_norm(tensors: Sequence[TensorLike | None]) -> Tensor:
    """The length of all elements of the tensors together; None stands for no elements.

    No square overflows. Its derivative at 0 is 0.
    Raises: ArgumentError unless there is a list with at least one tensor.
    """
    xs = [as_tensor(x, op="global_norm")
          for x in arguments.several("global_norm", "tensors", tensors, "tensors")
          if x is not None]
    if not xs:
        raise ArgumentError("global_norm", got="no tensors", why="there is nothing to measure",
                            fix="give at least one tensor")
    lengths = [length("global_norm", x) for x in xs]
    return lengths[0] if len(xs) == 1 else length("global_norm", stack(lengths))


def clip_by_global_norm(tensors: Sequence[TensorLike | None], clip_norm: TensorLike,
                        use_norm: TensorLike | None = None) -> tuple[list[Tensor | None], Tensor]:
    """The tensors, scaled down together where their common length exceeds `clip_norm`.

    use_norm: that length, where it is known already.
    Returns: the tensors, and their length before.
    Raises: ArgumentError unless there is a list with at least one tensor.
    """
    tensors = arguments.several("clip_by_global_norm", "tensors", tensors, "tensors")
    norm = (global_norm(tensors) if use_norm is None
            else as_tensor(use_norm, op="clip_by_global_norm"))
    factor = _shrink(norm, clip_norm)
    return [None if x is None else as_tensor(x) * factor for x in tensors], norm
