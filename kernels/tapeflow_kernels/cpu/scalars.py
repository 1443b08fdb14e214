"""Functions of numbers that Python has no word for, or another meaning: extrema that carry NaN,
division that survives 0, rounding, tests, shifts. Each is defined for floats and for integers.

They mean what NumPy's functions of the same names mean, and are compiled into the loops that call
them. tests/test_codegen.py compares them with NumPy.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types  # type: ignore[import-untyped]
from numba.extending import intrinsic  # type: ignore[import-untyped]

from tapeflow_kernels.cpu.lowering import by_type, inlined, of_arity
from tapeflow_kernels.cpu.vecmath.bits import copysign, number, pattern, root

Function: TypeAlias = Callable[..., Any]

_INFINITY = float("inf")


def _instruction(
    arity: int, of_floats: str, signed: str | None = None, unsigned: str | None = None
) -> Any:
    """The LLVM intrinsic of this name for floats or integers; where None, the first operand."""

    def call(context: Any, *operands: Any) -> Any:
        x = operands[0]
        name = of_floats if isinstance(x, types.Float) else signed if x.signed else unsigned

        def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            if name is None:
                return args[0]
            flags = [ir.Constant(ir.IntType(1), 0)] if name == "abs" else []   # abs(min) is min
            kinds = [a.type for a in (*args, *flags)]
            kind = ir.FunctionType(args[0].type, kinds)
            function = builder.module.declare_intrinsic(f"llvm.{name}", [args[0].type], kind)
            return builder.call(function, [*args, *flags])

        return x(*operands), generate

    return of_arity(of_floats, arity, call)


floor = _instruction(1, "floor")
ceil = _instruction(1, "ceil")
trunc = _instruction(1, "trunc")
round_ = _instruction(1, "rint")
absolute = _instruction(1, "fabs", "abs")
maximum = _instruction(2, "maximum", "smax", "umax")
minimum = _instruction(2, "minimum", "smin", "umin")


def _unordered(operation: str) -> Any:
    """An operation on floats whose order in a loop is left to the compiler, so that a vector
    carries many. The code is the same for any number of threads, and so is the order."""

    @intrinsic  # type: ignore[untyped-decorator]
    def combine(context: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            return getattr(builder, operation)(*args, flags=("reassoc",))

        return a(a, b), generate

    return combine


add_unordered = _unordered("fadd")
multiply_unordered = _unordered("fmul")


@intrinsic  # type: ignore[untyped-decorator]
def fmod(context: Any, x: Any, y: Any) -> Any:
    """The remainder of x / y rounded towards zero."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        return builder.frem(*args)

    return x(x, y), generate


@intrinsic  # type: ignore[untyped-decorator]
def bits(context: Any, x: Any) -> Any:
    """The width of an integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        return ir.Constant(ir.IntType(64), x.bitwidth)

    return types.int64(x), generate


def _bitwise_invert(x: Any) -> Any:
    return type(x)(~x)



def _sum_and_loss(a: Any, lost: Any, x: Any) -> Any:
    """a + x, and what all additions so far have lost. Source: Neumaier (1974), as by Knuth."""
    s = a + x
    part = s - a
    return s, lost + ((a - (s - part)) + (x - part))


def _with_loss(a: Any, lost: Any) -> Any:
    """A sum with what its additions have lost, which is NaN where the sum is infinite."""
    return a + lost if lost == lost else a


# ---- one definition for floats, another for integers


def _either(of_floats: Function, of_integers: Function) -> Any:
    """`of_floats` or `of_integers`, by the type of the first operand."""

    def choose(*kinds: Any) -> Function:
        return of_floats if isinstance(kinds[0], types.Float) else of_integers

    arity = len(inspect.signature(of_floats).parameters)
    return by_type(of_floats.__name__.strip("_"), arity, choose)


def _sign(x: Any) -> Any:
    kind = type(x)
    return kind(1) if x > 0 else kind(-1) if x < 0 else kind(0)


def _sign_float(x: Any) -> Any:
    kind = type(x)
    return kind(1) if x > 0 else kind(-1) if x < 0 else kind(0) if x == 0 else x


def _isinf(x: Any) -> Any:
    return absolute(x) == _INFINITY


def _isfinite(x: Any) -> Any:
    return absolute(x) < _INFINITY


def _signbit(x: Any) -> Any:
    return pattern(x) < 0


def _false(x: Any) -> Any:
    return False


def _true(x: Any) -> Any:
    return True


def _remainder_float(x: Any, y: Any) -> Any:
    rest = fmod(x, y)
    if rest == 0:
        return copysign(rest, y)
    return rest + y if (rest < 0) != (y < 0) else rest


def _floor_divide_float(x: Any, y: Any) -> Any:
    """As NumPy: the quotient of what is left without the remainder, which is nearly whole.

    Where x or y is infinite it is the floor of x / y, by the array API standard; NumPy's is not."""
    if y == 0 or not (absolute(x) < _INFINITY and absolute(y) < _INFINITY):
        return floor(x / y)
    rest = fmod(x, y)
    quotient = (x - rest) / y
    if rest != 0 and (rest < 0) != (y < 0):
        quotient -= type(x)(1)
    if quotient == 0:
        return copysign(quotient, x / y)
    whole = floor(quotient)
    return whole + type(x)(1) if quotient - whole > type(x)(0.5) else whole


@inlined
def _is_minus_1(x: Any) -> Any:
    """Whether x is -1, by which the most negative number does not divide without a trap."""
    return x + type(x)(1) == 0 and x < 0


def _remainder(x: Any, y: Any) -> Any:
    kind = type(x)
    return kind(0) if y == 0 or _is_minus_1(y) else kind(x % y)


def _floor_divide(x: Any, y: Any) -> Any:
    kind = type(x)
    return kind(0) if y == 0 else kind(kind(0) - x) if _is_minus_1(y) else kind(x // y)


def _left_shift(x: Any, y: Any) -> Any:
    kind = type(x)
    return kind(x << y) if y >= 0 and y < bits(x) else kind(0)


def _right_shift(x: Any, y: Any) -> Any:
    kind = type(x)
    return kind(x >> y) if y >= 0 and y < bits(x) else kind(-1) if x < 0 else kind(0)


def _nextafter(x: Any, y: Any) -> Any:
    """The neighbour has the next bit pattern, up where the magnitude grows."""
    if x != x or y != y:
        return x + y
    if x == y:
        return y
    if x == 0:
        return copysign(number(1, x), y)
    here = pattern(x)
    grows = (y > x) == (x > 0)
    return number(here + 1 if grows else here - 1, x)


sign = _either(_sign_float, _sign)
isinf = _either(_isinf, _false)
isfinite = _either(_isfinite, _true)
signbit = inlined(_signbit)
nextafter = inlined(_nextafter)
remainder = _either(_remainder_float, _remainder)
floor_divide = _either(_floor_divide_float, _floor_divide)

# What Scalar texts call these.
FUNCTIONS: dict[str, Any] = {
    "floor": floor, "ceil": ceil, "trunc": trunc, "round": round_, "sqrt": root, "abs": absolute,
    "copysign": copysign, "maximum": maximum, "minimum": minimum, "sign": sign, "isinf": isinf,
    "isfinite": isfinite, "signbit": signbit, "nextafter": nextafter, "remainder": remainder,
    "floor_divide": floor_divide, "bitwise_invert": inlined(_bitwise_invert),
    "bitwise_left_shift": inlined(_left_shift), "bitwise_right_shift": inlined(_right_shift),
    "add_unordered": add_unordered, "multiply_unordered": multiply_unordered,
    "sum_and_loss": inlined(_sum_and_loss), "with_loss": inlined(_with_loss),
}  # fmt: skip
