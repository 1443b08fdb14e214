"""Whether numbers are equal or close, and numbers in place of those that are not finite."""
from __future__ import annotations

from tapeflow.dtypes import is_complex, is_floating
from tapeflow.ops import create, info, reduce
from tapeflow.ops.casts import imag, real
from tapeflow.ops.elementwise import coerce, where
from tapeflow.ops.logic import isfinite, isnan
from tapeflow.ops.shape import broadcast_shapes
from tapeflow.tensor import Tensor, TensorLike, as_tensor


def isclose(a: TensorLike, b: TensorLike, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Tensor:
    """Whether |a - b| <= atol + rtol |b|, or both are the same infinity; as bool[...].

    equal_nan: whether NaN is close to NaN.
    Raises: ShapeError unless the shapes broadcast, DTypeError unless the dtypes promote.

    >>> isclose([1.0, 1.1], [1.000001, 1.0])
    Tensor([ True, False], bool[2])
    """
    return _isclose("isclose", a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)


def _isclose(op: str, a: TensorLike, b: TensorLike, *, rtol: float, atol: float,
             equal_nan: bool) -> Tensor:
    x, y = coerce(op, a, b)
    broadcast_shapes(op, x.spec, y.spec)   # so that an error speaks of this op
    if not (is_floating(x.dtype) or is_complex(x.dtype)):
        x, y = (t.astype("float64") for t in (x, y))
    near = (abs(x - y) <= atol + rtol * abs(y)) & isfinite(y)
    close = near | (x == y)
    return close | (isnan(x) & isnan(y)) if equal_nan else close


def allclose(a: TensorLike, b: TensorLike, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> Tensor:
    """Whether all elements are close, as isclose() says; a bool without axes.

    Raises: ShapeError unless the shapes broadcast, DTypeError unless the dtypes promote.
    """
    return reduce.all(_isclose("allclose", a, b, rtol=rtol, atol=atol, equal_nan=equal_nan))


def array_equal(a: TensorLike, b: TensorLike, equal_nan: bool = False) -> Tensor:
    """Whether both have the same shape and equal elements; a bool without axes.

    equal_nan: whether NaN equals NaN.
    Raises: DTypeError unless the dtypes promote.
    """
    x, y = coerce("array_equal", a, b)
    if x.shape != y.shape:
        return create.asarray(False)
    same = x == y
    return reduce.all(same | (isnan(x) & isnan(y)) if equal_nan else same)


def nan_to_num(x: TensorLike, nan: float = 0.0, posinf: float | None = None,
               neginf: float | None = None) -> Tensor:
    """x with other numbers in place of NaN and infinities, by default 0 and the largest numbers.

    Integers stay; real and imaginary parts are replaced each on its own. Where a number was
    replaced, the derivative is 0.

    >>> nan_to_num([1.0, float("nan")])
    Tensor([1., 0.], f32[2])
    """
    t = as_tensor(x, op="nan_to_num")
    if is_complex(t.dtype):
        first, second = (nan_to_num(part(t), nan, posinf, neginf) for part in (real, imag))
        return first + second * 1j
    if not is_floating(t.dtype):
        return +t
    limits = info.finfo(t.dtype)
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    finite = where(isnan(t), nan, t)
    finite = where(t == float("inf"), high, finite)
    return where(t == float("-inf"), low, finite)
