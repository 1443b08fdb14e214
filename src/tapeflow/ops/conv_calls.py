"""Convolutions as users call them: sizes checked, padding as a word, channels last."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tapeflow import arguments
from tapeflow.errors import ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.ops.conv import check_groups, check_ranks, conv, conv_input, fit, require_windows
from tapeflow.ops.elementwise import coerce
from tapeflow.ops.movement import Ints
from tapeflow.ops.precision import asked
from tapeflow.ops.window import Padding, Windows, pairs, per_axis, slide
from tapeflow.tensor import Tensor, TensorLike


def _convolved(op: str, x: TensorLike, filters: TensorLike, strides: int | Sequence[int],
               padding: Padding, *, dilations: int | Sequence[int], groups: int = 1,
               ndim: int = 2) -> Tensor:
    x, w = coerce(op, x, filters)
    groups = arguments.integer(op, "groups", groups)
    fit(op, x.spec, w.spec, groups, ndim)
    windows = slide(op, x.shape[1:-1], w.shape[:-2], strides, padding, dilations)
    return conv(x, w, strides=windows.strides, padding=windows.padding,
                dilations=windows.dilations, groups=groups, **asked(x))


def conv1d(x: TensorLike, filters: TensorLike, strides: int | Sequence[int] = 1,
           padding: Padding = "SAME", dilations: int | Sequence[int] = 1, *,
           groups: int = 1) -> Tensor:
    """The sum of products of filters and windows of sequences: see conv2d.

    Args:
        x: f[batch, length, channels].
        filters: f[window, channels/groups, out].

    Returns: f[batch, places, out].
    Raises: as conv2d.
    """
    return _convolved("conv1d", x, filters, strides, padding, dilations=dilations, groups=groups,
                      ndim=1)


def conv2d(x: TensorLike, filters: TensorLike, strides: int | Sequence[int] = 1,
           padding: Padding = "SAME", dilations: int | Sequence[int] = 1, *,
           groups: int = 1) -> Tensor:
    """The sum of products of filters and windows of images (cross-correlation).

    Args:
        x: f[batch, height, width, channels].
        filters: f[height, width, channels/groups, out], in the dtype of x.
        strides: from window to window; one number, or one an axis, as are dilations.
        padding: "VALID" for none; "SAME" for as many windows as ceil(size / stride), the odd cell
            after the image; or ((top, bottom), (left, right)).
        dilations: from cell to cell in a window.
        groups: the parts of the channels; each has its own part of the filters.

    Returns: f[batch, places, places, out].
    Raises: ShapeError if filters do not fit x or nothing would be left, ArgumentError for strides,
        dilations, groups or a padding that are none.

    >>> conv2d([[[[1.0], [2.0], [3.0]]]], [[[[1.0]], [[10.0]]]], padding="VALID")[0, 0, :, 0]
    Tensor([21., 32.], f32[2])
    """
    return _convolved("conv2d", x, filters, strides, padding, dilations=dilations, groups=groups)


def conv3d(x: TensorLike, filters: TensorLike, strides: int | Sequence[int] = 1,
           padding: Padding = "SAME", dilations: int | Sequence[int] = 1, *,
           groups: int = 1) -> Tensor:
    """The sum of products of filters and windows of volumes: see conv2d.

    Args:
        x: f[batch, depth, height, width, channels].
        filters: f[depth, height, width, channels/groups, out].

    Returns: f[batch, places, places, places, out].
    Raises: as conv2d.
    """
    return _convolved("conv3d", x, filters, strides, padding, dilations=dilations, groups=groups,
                      ndim=3)


def atrous_conv2d(x: TensorLike, filters: TensorLike, rate: int | Sequence[int],
                  padding: Padding = "SAME") -> Tensor:
    """conv2d whose windows have their cells `rate` apart.

    Raises: as conv2d, which calls the rate dilations.
    """
    return _convolved("atrous_conv2d", x, filters, 1, padding, dilations=rate)


def depthwise_conv2d(x: TensorLike, filters: TensorLike, strides: int | Sequence[int] = 1,
                     padding: Padding = "SAME", dilations: int | Sequence[int] = 1) -> Tensor:
    """conv2d of each channel by filters of its own.

    Args:
        x: f[batch, height, width, channels].
        filters: f[height, width, channels, multiplier].

    Returns: f[batch, places, places, channels * multiplier], those of a channel side by side.
    Raises: as conv2d.
    """
    return _depthwise("depthwise_conv2d", x, filters, strides, padding, dilations=dilations)


def _depthwise(op: str, x: TensorLike, filters: TensorLike, strides: int | Sequence[int],
               padding: Padding, *, dilations: int | Sequence[int]) -> Tensor:
    x, w = coerce(op, x, filters)
    check_ranks(op, x.spec, w.spec, 2)
    *window, channels, multiplier = w.shape
    if x.shape[-1] != channels:
        raise ShapeError(op, got=f"x {x.spec}, filters {w.spec}",
                         why=f"the filters are for {channels} channels, x has {x.shape[-1]}",
                         fix="give filters f[height, width, channels, multiplier]")
    split = _shape.reshape(w, (*window, 1, channels * multiplier))
    return _convolved(op, x, split, strides, padding, dilations=dilations, groups=max(channels, 1))


def separable_conv2d(x: TensorLike, depthwise: TensorLike, pointwise: TensorLike,
                     strides: int | Sequence[int] = 1, padding: Padding = "SAME", *,
                     dilations: int | Sequence[int] = 1) -> Tensor:
    """depthwise_conv2d, then a mixing of its channels.

    Args:
        x: f[batch, height, width, channels].
        depthwise: f[height, width, channels, multiplier].
        pointwise: f[1, 1, channels * multiplier, out].

    Returns: f[batch, places, places, out].
    Raises: as conv2d; ShapeError unless pointwise has a window of 1x1.
    """
    x, first, second = coerce("separable_conv2d", x, depthwise, pointwise)
    if second.shape[:2] != (1, 1):
        raise ShapeError("separable_conv2d", got=f"pointwise {second.spec}",
                         why="it mixes the channels of one place: its window is 1x1",
                         fix="give pointwise f[1, 1, channels * multiplier, out]")
    y = _depthwise("separable_conv2d", x, first, strides, padding, dilations=dilations)
    return _convolved("separable_conv2d", y, second, 1, "VALID", dilations=1)


def conv2d_transpose(x: TensorLike, filters: TensorLike, output_shape: Sequence[int] | None = None,
                     strides: int | Sequence[int] = 1, padding: Padding = "SAME", *,
                     dilations: int | Sequence[int] = 1, groups: int = 1) -> Tensor:
    """The adjoint of conv2d: each element of x scales a filter, and these are summed in place.

    Args:
        x: f[batch, height, width, in].
        filters: f[height, width, out/groups, in].
        output_shape: [batch, height, width, out]; by default the size that Keras chooses, stride
            times that of x with "SAME", and what all windows cover otherwise.
        strides, padding, dilations, groups: those of the conv2d that brings the output to the size
            of x.

    Returns: f[batch, places, places, out].
    Raises: ShapeError if that conv2d gives another size than that of x, and as conv2d.
    """
    op = "conv2d_transpose"
    x, w = coerce(op, x, filters)
    check_ranks(op, x.spec, w.spec, 2)
    if x.shape[-1] != w.shape[-1]:
        raise ShapeError(op, got=f"x {x.spec}, filters {w.spec}",
                         why=f"the filters take {w.shape[-1]} channels, x has {x.shape[-1]}",
                         fix="give filters f[height, width, out/groups, in]")
    groups = arguments.integer(op, "groups", groups)
    channels = w.shape[-2] * max(groups, 1)
    check_groups(op, channels, w.spec, groups)
    steps = per_axis(op, "strides", strides, 2)
    gaps = per_axis(op, "dilations", dilations, 2)
    unpadded = Windows(x.shape[1:-1], w.shape[:-2], steps, ((0, 0),) * 2, gaps)
    size = (_transposed(op, unpadded, padding)
            if output_shape is None else _stated(op, output_shape, (x.shape[0], channels)))
    windows = slide(op, size, w.shape[:-2], steps, padding, gaps)
    require_windows(op, x.spec, windows)
    return conv_input(x, w, size=size, strides=steps, padding=windows.padding,
                      dilations=windows.dilations, groups=groups, **asked(x))


def _transposed(op: str, w: Windows, padding: Padding) -> Ints:
    """The sizes of what such windows, with this padding, bring down to the sizes of `w`."""
    if padding == "SAME":
        return tuple(n * s for n, s in zip(w.sizes, w.strides, strict=True))
    covered = tuple((n - 1) * s + max(extent, s if padding == "VALID" else 0)
                    for n, s, extent in zip(w.sizes, w.strides, w.extents, strict=True))
    found = pairs(op, padding, replace(w, sizes=covered))
    return tuple(n - before - after for n, (before, after) in zip(covered, found, strict=True))


def _stated(op: str, shape: Sequence[int], around: tuple[int, int]) -> Ints:
    """The spatial sizes in `shape`, whose batch and channels are `around` them."""
    sizes = arguments.integers(op, "output_shape", shape)
    batch, channels = around
    if len(sizes) != 4 or (sizes[0], sizes[-1]) != around:
        raise ShapeError(op, got=f"output_shape {list(sizes)}",
                         why=f"x has a batch of {batch}, and the filters give {channels} channels",
                         fix=f"give [{batch}, height, width, {channels}]")
    return sizes[1:-1]
