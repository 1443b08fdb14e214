"""Eager automatic differentiation for Python, compiled by a tracing JIT.

>>> import tapeflow as tf
>>> tf.grad(lambda x: x * x * x)(2.0)
Tensor(12., f32[])
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from tapeflow import config, errors, fft, linalg, ops, random
from tapeflow.autodiff.batching import vmap
from tapeflow.autodiff.custom import custom_gradient
from tapeflow.autodiff.functional import (
    grad,
    hessian,
    jacobian,
    jvp,
    no_grad,
    value_and_grad,
    vjp,
)
from tapeflow.autodiff.rematerialize import checkpoint
from tapeflow.autodiff.tape import GradientTape
from tapeflow.dtypes import (
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tapeflow.dtypes import bool_ as bool
from tapeflow.jit.api import jit
from tapeflow.jit.eager import by_program as _by_program
from tapeflow.jit.signature import TensorSpec
from tapeflow.ops import *  # noqa: F403   # ops.__all__ lists what that is
from tapeflow.ops.info import STANDARD as __array_api_version__  # noqa: F401   # no public name
from tapeflow.ops.info import __array_namespace_info__  # noqa: F401
from tapeflow.primitive import accelerate as _accelerate
from tapeflow.scope import name_scope
from tapeflow.tensor import Tensor
from tapeflow.variable import Variable

if _TYPE_CHECKING:
    from tapeflow import (
        constraints,
        datasets,
        debug,
        distributed,
        initializers,
        losses,
        metrics,
        nn,
        optim,
        regularizers,
        summary,
        testing,
    )
    from tapeflow.checkpoints import Checkpoint, CheckpointManager
    from tapeflow.jit.control.api import cond, map, scan, while_loop

__version__ = "0.1.0"

# Their modules are loaded at first use: what a program does not save it does not pay for.
_LATER = {
    "Checkpoint": "checkpoints", "CheckpointManager": "checkpoints", "cond": "jit.control.api",
    "map": "jit.control.api", "scan": "jit.control.api", "while_loop": "jit.control.api",
}  # fmt: skip

__all__ = [
    *ops.__all__,
    "Checkpoint", "CheckpointManager", "GradientTape", "Tensor", "TensorSpec", "Variable",
    "bfloat16", "bool", "checkpoint", "complex128", "complex64", "cond", "config", "constraints",
    "custom_gradient", "datasets", "debug", "distributed", "errors", "fft", "float16", "float32",
    "float64", "grad", "hessian", "initializers", "int16", "int32", "int64", "int8", "jacobian",
    "jit", "jvp", "linalg", "losses", "map", "metrics", "name_scope", "nn", "no_grad", "optim",
    "random", "regularizers", "scan", "summary", "testing", "uint16", "uint32", "uint64", "uint8",
    "value_and_grad", "vjp", "vmap", "while_loop",
]  # fmt: skip

_accelerate(_by_program)
if config.numerics_checked():
    _import_module("tapeflow.debug").check_numerics()


def __getattr__(name: str) -> _Any:
    if name in _LATER:
        return getattr(_import_module(f"tapeflow.{_LATER[name]}"), name)
    if name in __all__:  # a room that is not loaded yet
        return _import_module(f"tapeflow.{name}")
    raise AttributeError(f"module 'tapeflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
