"""Discrete Fourier transforms: y[k] = sum over j of x[j] exp(-2 pi i j k / n), and their inverses.

All are linear over the real numbers. The matrix of a transform is symmetric, so that the transform
is its own adjoint; those of real numbers are adjoint to each other but for conjugates and weights,
which count each number of a half spectrum as often as it stands for one of the whole.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapeflow import arguments, dispatch
from tapeflow.dtypes import as_dtype, complex_of, float32, is_complex, is_floating, real_of
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.ops import joining, movement
from tapeflow.ops import shape as _shape
from tapeflow.ops.casts import cast, conj
from tapeflow.ops.device import on_cpu
from tapeflow.ops.shape import Axes
from tapeflow.primitive import along, linear
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor

# What a transform scales by is what its inverse scales by under the other name.
_OF_INVERSE = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


# ---- the transforms of whole axes

def _dft_adjoint(g: Tensor, x: Spec, *, axes: Axes, inverse: bool, norm: str) -> Tensor:
    return _dft(g, axes=axes, inverse=inverse, norm=norm)


@linear(name="dft", spec=lambda x, *, axes, inverse, norm: x, adjoint=_dft_adjoint,
        batching=along("axes"))
def _dft(x: Array, *, axes: Axes, inverse: bool, norm: str) -> Array:
    """c[...] -> c[...]: the transform over `axes`."""
    transform: Any = np.fft.ifftn if inverse else np.fft.fftn
    y: Array = transform(x, axes=axes, norm=norm)
    return y


def _with_size(x: Spec, axis: int, size: int) -> tuple[int, ...]:
    return (*x.shape[:axis], size, *x.shape[axis + 1:])


def _rdft_spec(x: Spec, *, axis: int, norm: str) -> Spec:
    return Spec(_with_size(x, axis, x.shape[axis] // 2 + 1), complex_of(x.dtype))


def _irdft_spec(x: Spec, *, axis: int, size: int, norm: str) -> Spec:
    return Spec(_with_size(x, axis, size), real_of(x.dtype))


def _rdft_adjoint(g: Tensor, x: Spec, *, axis: int, norm: str) -> Tensor:
    n = x.shape[axis]
    return _irdft(conj(g) / _weights(g, axis, n), axis=axis, size=n, norm=_OF_INVERSE[norm])


def _irdft_adjoint(g: Tensor, x: Spec, *, axis: int, size: int, norm: str) -> Tensor:
    y = conj(_rdft(g, axis=axis, norm=_OF_INVERSE[norm]))
    return y * _weights(y, axis, size)


def _weights(y: Tensor, axis: int, size: int) -> Tensor:
    """How many numbers of a spectrum of `size` each of its half stands for: 1 at its ends, else 2;
    along `axis` of y."""
    twice = np.full(size // 2 + 1, 2.0, real_of(y.dtype))
    twice[0] = 1
    if size % 2 == 0:
        twice[-1] = 1
    return dispatch.wrap(twice.reshape([-1 if a == axis else 1 for a in range(y.ndim)]))


@linear(name="rdft", spec=_rdft_spec, adjoint=_rdft_adjoint, batching=along("axis"))
def _rdft(x: Array, *, axis: int, norm: str) -> Array:
    """f[..., n, ...] -> c[..., n // 2 + 1, ...]: the first half of the spectrum along `axis`."""
    y: Array = np.fft.rfft(x, axis=axis, norm=norm)   # type: ignore[arg-type]
    return y


@linear(name="irdft", spec=_irdft_spec, adjoint=_irdft_adjoint, batching=along("axis"))
def _irdft(x: Array, *, axis: int, size: int, norm: str) -> Array:
    """c[..., size // 2 + 1, ...] -> f[..., size, ...]: the numbers with this half spectrum; parts
    that such a spectrum has not, the imaginary ones of its ends, are ignored."""
    y: Array = np.fft.irfft(x, size, axis=axis, norm=norm)   # type: ignore[arg-type]
    return y


# ---- arguments

def _complex(op: str, x: TensorLike) -> Tensor:
    t = as_tensor(x, op=op)
    if is_floating(t.dtype):
        return cast(t, complex_of(t.dtype))
    if not is_complex(t.dtype):
        raise DTypeError(op, got=t.spec, fix="cast the input: tf.cast(x, tf.float32)",
                         why=f"{op} is defined for floating and complex dtypes only")
    return t


def _real(op: str, x: TensorLike) -> Tensor:
    t = as_tensor(x, op=op)
    if not is_floating(t.dtype):
        raise DTypeError(op, got=t.spec, why=f"{op} is defined for real floating dtypes only",
                         fix="use tf.fft.fft for complex numbers" if is_complex(t.dtype) else
                         "cast the input: tf.cast(x, tf.float32)")
    return cast(t, _shape.wide(t.dtype))


def _known(op: str, norm: str) -> str:
    if norm not in _OF_INVERSE:
        raise ArgumentError(op, got=f"norm={norm!r}", why="there is no such way to scale",
                            fix="use " + ", ".join(map(repr, _OF_INVERSE)))
    return norm


def _fitted(op: str, x: Tensor, axis: int, size: int) -> Tensor:
    """x with `size` elements along `axis`: cut off, or with zeros at the end."""
    n = x.shape[axis]
    if size < 1:
        raise ShapeError(op, got=f"{x.spec}, axis {axis}, size {size}",
                         why="nothing has no spectrum", fix="give at least one element")
    if size < n:
        return movement.part(x, axis, 0, size)
    if size == n:
        return x
    return movement.pad(x, [(0, size - n) if a == axis else (0, 0) for a in range(x.ndim)])


def _size(op: str, n: int | None, otherwise: int) -> int:
    return otherwise if n is None else arguments.integer(op, "n", n)


def _axes(op: str, x: Tensor, s: Sequence[int] | None,
          axes: Sequence[int] | None) -> tuple[list[int], list[int]]:
    """The axes to transform in the order given, and a size for each, -1 where it stays."""
    sizes = None if s is None else arguments.integers(op, "s", s)
    if axes is None:
        named = range(x.ndim) if sizes is None else range(x.ndim - len(sizes), x.ndim)
    else:
        named = arguments.integers(op, "axes", axes)   # type: ignore[assignment]
    places = [_shape.normalize_axis(op, a, x.ndim) for a in named]
    if len(set(places)) < len(places) or not places:
        raise ArgumentError(op, got=f"{x.spec}, axes {axes}", fix="name axes, each once",
                            why="no axis is named" if not places else "an axis is named twice")
    if sizes is not None and len(sizes) != len(places):
        raise ArgumentError(op, got=f"s {sizes}, axes {axes}", why="each axis needs a size",
                            fix="give as many sizes as axes")
    return places, [-1] * len(places) if sizes is None else list(sizes)


# ---- complex transforms

def fft(x: TensorLike, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The discrete Fourier transform of x along `axis`.

    Args:
        x: c[...], or f[...], which is taken as complex.
        n: how many elements are transformed: others are cut off, or zeros come in at the end.
        norm: "backward" leaves the sums as they are, "ortho" divides them by the root of n,
            "forward" by n.

    Returns: c[..., n, ...].
    Raises: DTypeError for bool and integers, OutOfRangeError if there is no such axis, ShapeError
        if nothing is transformed, ArgumentError for another norm.

    >>> fft([1.0, 0.0, 0.0])
    Tensor([1.+0.j, 1.+0.j, 1.+0.j], c64[3])
    """
    return _along("fft", x, n, axis, norm, inverse=False)


def ifft(x: TensorLike, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of fft(): of sums with exp(+2 pi i j k / n), which "backward" divides by n.

    Raises: as fft().
    """
    return _along("ifft", x, n, axis, norm, inverse=True)


def _along(op: str, x: TensorLike, n: int | None, axis: int, norm: str, *, inverse: bool) -> Tensor:
    z = _complex(op, x)
    axis = _shape.normalize_axis(op, axis, z.ndim)
    z = _fitted(op, z, axis, _size(op, n, z.shape[axis]))
    return _dft(z, axes=(axis,), inverse=inverse, norm=_known(op, norm))


def fftn(x: TensorLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
         norm: str = "backward") -> Tensor:
    """The discrete Fourier transform of x over several axes, by default all.

    s: how many elements are transformed along each of them.
    Raises: as fft(); ArgumentError unless there are as many sizes as axes.
    """
    return _over("fftn", x, s, axes, norm, inverse=False)


def ifftn(x: TensorLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
          norm: str = "backward") -> Tensor:
    """The inverse of fftn().

    Raises: as fftn().
    """
    return _over("ifftn", x, s, axes, norm, inverse=True)


def _over(op: str, x: TensorLike, s: Sequence[int] | None, axes: Sequence[int] | None, norm: str, *,
          inverse: bool) -> Tensor:
    z = _complex(op, x)
    places, sizes = _axes(op, z, s, axes)
    for axis, size in zip(places, sizes, strict=True):
        z = _fitted(op, z, axis, z.shape[axis] if size == -1 else size)
    return _dft(z, axes=tuple(places), inverse=inverse, norm=_known(op, norm))


# ---- transforms of real numbers

def rfft(x: TensorLike, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The first half of the spectrum of real numbers, whose other half is its mirrored conjugate.

    Args:
        x: f[...].
        n, norm: as for fft().

    Returns: c[..., n // 2 + 1, ...].
    Raises: as fft(); DTypeError if x is complex.
    """
    return _half("rfft", x, n, axis, norm)


def _half(op: str, x: TensorLike, n: int | None, axis: int, norm: str) -> Tensor:
    t = _real(op, x)
    axis = _shape.normalize_axis(op, axis, t.ndim)
    t = _fitted(op, t, axis, _size(op, n, t.shape[axis]))
    return _rdft(t, axis=axis, norm=_known(op, norm))


def irfft(x: TensorLike, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of rfft(): n real numbers, by default 2 (m - 1), from m of their spectrum.

    Raises: as fft().
    """
    return _whole("irfft", x, n, axis, norm)


def _whole(op: str, x: TensorLike, n: int | None, axis: int, norm: str) -> Tensor:
    z = _complex(op, x)
    axis = _shape.normalize_axis(op, axis, z.ndim)
    size = _size(op, n, 2 * (z.shape[axis] - 1))
    z = _fitted(op, z, axis, size // 2 + 1 if size > 0 else 0)
    return _irdft(z, axis=axis, size=size, norm=_known(op, norm))


def rfftn(x: TensorLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
          norm: str = "backward") -> Tensor:
    """rfft() along the last of several axes, by default all, then fft() along the others.

    Raises: as fftn(); DTypeError if x is complex.
    """
    t = _real("rfftn", x)
    places, sizes = _axes("rfftn", t, s, axes)
    z = _half("rfftn", t, None if sizes[-1] == -1 else sizes[-1], places[-1], norm)
    return _over("rfftn", z, sizes[:-1], places[:-1], norm, inverse=False) if places[:-1] else z


def irfftn(x: TensorLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
           norm: str = "backward") -> Tensor:
    """The inverse of rfftn(): ifft() along all axes but the last, then irfft().

    Raises: as fftn().
    """
    z = _complex("irfftn", x)
    places, sizes = _axes("irfftn", z, s, axes)
    if places[:-1]:
        z = _over("irfftn", z, sizes[:-1], places[:-1], norm, inverse=True)
    return _whole("irfftn", z, None if sizes[-1] == -1 else sizes[-1], places[-1], norm)


def hfft(x: TensorLike, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The real spectrum of n numbers, by default 2 (m - 1), of which the first half is x.

    Raises: as fft().
    """
    return _whole("hfft", conj(_complex("hfft", x)), n, axis, _OF_INVERSE[_known("hfft", norm)])


def ihfft(x: TensorLike, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of hfft(): the first half of the numbers whose spectrum x is.

    Raises: as rfft().
    """
    return conj(_half("ihfft", x, n, axis, _OF_INVERSE[_known("ihfft", norm)]))


# ---- frequencies

def fftfreq(n: int, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies that fft() gives, in its order, of n numbers taken `d` apart.

    Raises: ArgumentError unless n is a whole number of at least 1.
    """
    on_cpu("fftfreq", device)
    return _frequencies(np.fft.fftfreq, n, d, dtype)


def rfftfreq(n: int, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies that rfft() gives, in its order, of n numbers taken `d` apart.

    Raises: ArgumentError unless n is a whole number of at least 1.
    """
    on_cpu("rfftfreq", device)
    return _frequencies(np.fft.rfftfreq, n, d, dtype)


def _frequencies(of: Callable[..., Array], n: int, d: float, dtype: Any) -> Tensor:
    op = of.__name__
    count = arguments.size(op, "n", n)
    if not count:
        raise ArgumentError(op, got="n=0", why="nothing has no frequencies", fix="give at least 1")
    numbers = of(count, arguments.number(op, "d", d))
    return dispatch.wrap(numbers.astype(float32 if dtype is None else as_dtype(dtype, op)))


def fftshift(x: TensorLike, axes: int | Sequence[int] | None = None) -> Tensor:
    """x with frequency 0 moved from the start of `axes`, by default all, to their middle.

    Raises: OutOfRangeError if there is no such axis.
    """
    t = as_tensor(x, op="fftshift")
    named = _shape.normalize_axes("fftshift", axes, t.ndim)
    return joining.roll(t, [t.shape[a] // 2 for a in named], named)


def ifftshift(x: TensorLike, axes: int | Sequence[int] | None = None) -> Tensor:
    """The inverse of fftshift().

    Raises: OutOfRangeError if there is no such axis.
    """
    t = as_tensor(x, op="ifftshift")
    named = _shape.normalize_axes("ifftshift", axes, t.ndim)
    return joining.roll(t, [-(t.shape[a] // 2) for a in named], named)
