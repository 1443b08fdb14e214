"""Eager automatic differentiation for Python, compiled by a tracing JIT.

>>> import tapeflow as tf
>>> tf.grad(lambda x: tf.tanh(x) * x)(0.5)
Tensor(0.85534..., f32[])
"""
from tapeflow import config, linalg, ops, random
from tapeflow.autodiff.functional import (
    custom_gradient,
    grad,
    hessian,
    jacobian,
    jvp,
    no_grad,
    value_and_grad,
    vjp,
)
from tapeflow.autodiff.reverse import GradientTape
from tapeflow.checkpoint import Checkpoint, CheckpointManager
from tapeflow.dtypes import (
    bfloat16,
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
from tapeflow.ops import *
from tapeflow.scope import name_scope
from tapeflow.tensor import Tensor
from tapeflow.variable import Variable

__version__ = "0.1.0"
