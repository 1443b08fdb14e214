"""What elementary functions need of the CPU and Python cannot say: fused multiply-add, selection
without a branch, rounding inside the floating format, bit patterns, constants and polynomials.

Each is an intrinsic of Numba's that gives one LLVM instruction or a chain of them, for float32 and
float64 alike, so that loops over them vectorise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

Generate = Callable[[Any, Any, Any, Sequence[Any]], Any]

_PATTERN: dict[Any, Any] = {types.float32: types.int32, types.float64: types.int64}


def instruction(generator: Callable[..., Any]) -> Any:
    """What compiled code calls; `generator(context, *types)` gives its signature and its code."""
    return intrinsic(generator)


def _named(name: str) -> Generate:
    """The LLVM intrinsic `llvm.<name>`, of any number of operands, all of one type."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        kind = args[0].type
        function = builder.module.declare_intrinsic(
            f"llvm.{name}", [kind], ir.FunctionType(kind, [kind] * len(args))
        )
        return builder.call(function, args)

    return generate


_fma = _named("fma")


@instruction
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""
    return a(a, a, a), _fma


@instruction
def rint(context: Any, x: Any) -> Any:
    """The whole number nearest to x, halves to even."""
    return x(x), _named("rint")


@instruction
def floor(context: Any, x: Any) -> Any:
    """The largest whole number not above x."""
    return x(x), _named("floor")


@instruction
def root(context: Any, x: Any) -> Any:
    """The square root of x."""
    return x(x), _named("sqrt")


@instruction
def magnitude(context: Any, x: Any) -> Any:
    """x without its sign."""
    return x(x), _named("fabs")


@instruction
def copysign(context: Any, x: Any, y: Any) -> Any:
    """The magnitude of x with the sign of y."""
    return x(x, x), _named("copysign")


@instruction
def select(context: Any, condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y; both are computed."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        return builder.select(*args)

    return x(types.boolean, x, x), generate


def _reinterpret(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
    return builder.bitcast(args[0], context.get_value_type(signature.return_type))


@instruction
def pattern(context: Any, x: Any) -> Any:
    """The bits of a number, as a signed integer of its width."""
    return _PATTERN[x](x), _reinterpret


@instruction
def whole(context: Any, bits: Any, x: Any) -> Any:
    """The low bits of an integer, as many as x has; Python's integers widen when they meet."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        return context.cast(builder, args[0], bits, signature.return_type)

    return _PATTERN[x](bits, x), generate


@instruction
def number(context: Any, bits: Any, x: Any) -> Any:
    """The number of the format of x that has these bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        narrow = context.cast(builder, args[0], bits, _PATTERN[x])
        return builder.bitcast(narrow, context.get_value_type(x))

    return x(bits, x), generate


@instruction
def like(context: Any, value: Any, x: Any) -> Any:
    """A number in the format of x."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        return context.cast(builder, args[0], value, x)

    return x(value, x), generate


@instruction
def ldexp(context: Any, x: Any, k: Any) -> Any:
    """x · 2^k, rounded once; one instruction where the CPU has one for vectors, else many."""

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        kind, narrow = args[0].type, context.cast(builder, args[1], k, types.int32)
        function = builder.module.declare_intrinsic(
            "llvm.ldexp", [kind, narrow.type], ir.FunctionType(kind, [kind, narrow.type])
        )
        return builder.call(function, (args[0], narrow))

    return x(x, k), generate


def constant(single: float, double: float) -> Any:
    """The function of x that gives a constant of its format."""

    @instruction
    def give(context: Any, x: Any) -> Any:
        value = single if x == types.float32 else double

        def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            return ir.Constant(args[0].type, value)

        return x(x), generate

    return give


def integer(single: int, double: int) -> Any:
    """The function of x that gives an integer of its width."""

    @instruction
    def give(context: Any, x: Any) -> Any:
        value = single if x == types.float32 else double

        def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            return ir.Constant(context.get_value_type(signature.return_type), value)

        return _PATTERN[x](x), generate

    return give


is_double = integer(0, 1)


def _in_two(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
    return builder.fadd(builder.fmul(args[0], args[1]), args[2])


def polynomial(single: Sequence[float], double: Sequence[float], fused: bool = True) -> Any:
    """The function of x that gives a polynomial, with coefficients for each format, constant term
    first, by Horner's rule in steps that round once, or as NumPy's twice."""
    step = _fma if fused else _in_two

    @instruction
    def evaluate(context: Any, x: Any) -> Any:
        coefficients = single if x == types.float32 else double

        def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            total, *rest = (ir.Constant(args[0].type, c) for c in reversed(coefficients))
            for c in rest:
                total = step(context, builder, signature, (total, args[0], c))
            return total

        return x(x), generate

    return evaluate


def of_double(*coefficients: float) -> Any:
    """A polynomial of float64, which functions that compute in it share for float32."""
    return polynomial(coefficients, coefficients)


def of_two(*polynomials: Sequence[float]) -> Any:
    """The function of x and y that gives p(x) + q(x) y + r(x) y² + ..., for the polynomials of
    float64 that have these coefficients."""

    @instruction
    def evaluate(context: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            at_x, at_y = args
            total = ir.Constant(at_x.type, 0.0)
            for coefficients in reversed(polynomials):
                factor = ir.Constant(at_x.type, 0.0)
                for c in reversed(coefficients):
                    constant = ir.Constant(at_x.type, c)
                    factor = _fma(context, builder, signature, (factor, at_x, constant))
                total = _fma(context, builder, signature, (total, at_y, factor))
            return total

        return x(x, y), generate

    return evaluate


def difference(*coefficients: float) -> Any:
    """The function of x and y that gives (p(x) - p(y)) / (x - y), which does not cancel, for the
    polynomial p of float64 with these coefficients."""

    @instruction
    def evaluate(context: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            at_x, at_y = args
            total, *rest = (ir.Constant(at_x.type, c) for c in reversed(coefficients))
            quotient = ir.Constant(at_x.type, 0.0)
            for c in rest:
                quotient = _fma(context, builder, signature, (quotient, at_y, total))
                total = _fma(context, builder, signature, (total, at_x, c))
            return quotient

        return x(x, y), generate

    return evaluate


def table(values: Sequence[float]) -> Any:
    """The function of i that gives element i of a table of float64."""

    @instruction
    def look_up(context: Any, i: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            kind = ir.ArrayType(ir.DoubleType(), len(values))
            name = builder.module.get_unique_name("table")
            there = ir.GlobalVariable(builder.module, kind, name)
            there.linkage, there.global_constant = "internal", True
            there.initializer = ir.Constant(kind, list(values))
            at = builder.gep(there, [ir.Constant(ir.IntType(64), 0), args[0]], inbounds=True)
            return builder.load(at)

        return types.float64(types.int64), generate

    return look_up
