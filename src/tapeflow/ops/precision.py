"""How exact products are asked to be."""
from __future__ import annotations

from tapeflow import config, dispatch
from tapeflow.dtypes import float32
from tapeflow.tensor import Tensor


def asked(x: Tensor) -> dict[str, str]:
    """The attribute of a product whose factors are like x: in a trace as exact as is asked for now,
    see tf.config.matmul_precision; eager products are always exact."""
    precision = config.numerics().matmul_precision
    if precision == "float32" or dispatch.tracer() is None or x.dtype != float32:
        return {}
    return {"precision": precision}
