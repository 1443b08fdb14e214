"""einsum: sums of products, said with letters, made of matmul."""
from __future__ import annotations

from tapeflow import arguments
from tapeflow.ops import shape as _shape
from tapeflow.ops.einsum_plan import Arranged, Start, plan
from tapeflow.ops.elementwise import coerce
from tapeflow.ops.linalg import matmul
from tapeflow.ops.linalg_diagonal import diagonal
from tapeflow.tensor import Tensor, TensorLike


def einsum(equation: str, *operands: TensorLike) -> Tensor:
    """The sum of products of the operands, over all letters that the result does not name.

    More than two are multiplied two at a time, in the order that takes the fewest multiplications;
    of more than six in a good one, which opt_einsum finds where it is installed.

    Args:
        equation: letters for the axes of each operand, separated by commas, then `->` and those of
            the result; without `->` the result has the letters that occur once, in order. A letter
            that an operand has twice takes its diagonal. `...` stands for further axes, which
            broadcast.

    Raises: ArgumentError for an equation that does not fit the operands, ShapeError where one
        letter names different sizes.

    >>> einsum("ij,j->i", [[1, 2], [3, 4]], [1, 1])
    Tensor([3, 7], i64[2])
    """
    xs = coerce("einsum", *operands) if operands else []
    steps = plan(arguments.text("einsum", "equation", equation), tuple([x.spec for x in xs]))
    values = {i: _started(x, start) for i, (x, start) in enumerate(zip(xs, steps.starts,
                                                                      strict=True))}
    for number, step in enumerate(steps.products, len(xs)):
        left, right = values.pop(step.one), values.pop(step.other)
        product = matmul(_arranged(left, step.left), _arranged(right, step.right))
        values[number] = _reshaped(product, step.shape)
    (last,) = values.values()
    y = _arranged(last, steps.end)
    return _shape.another(y) if any(y is x for x in xs) else y


def _started(x: Tensor, start: Start) -> Tensor:
    if x.shape != start.shape:
        x = _shape.broadcast_to(x, start.shape)
    for i, j in start.diagonals:
        x = diagonal(x, 0, i, j)
    return x


def _arranged(x: Tensor, how: Arranged) -> Tensor:
    if how.summed:
        x = _shape.sum_over(x, axes=how.summed)
    return _reshaped(_shape.permute_dims(x, how.order) if how.order else x, how.shape)


def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x if x.shape == shape else _shape.reshape(x, shape)
