"""Layers that slide filters over sequences, images and volumes. Channels come last."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from tapeflow import arguments
from tapeflow.constraints import Constraint
from tapeflow.errors import ShapeError
from tapeflow.initializers import Initializer
from tapeflow.nn.activations import Activation
from tapeflow.nn.weighted import Weighted, as_used, at_least_one, entered
from tapeflow.ops.conv import check_groups
from tapeflow.ops.conv_calls import (
    conv1d,
    conv2d,
    conv2d_transpose,
    conv3d,
    depthwise_conv2d,
    separable_conv2d,
)
from tapeflow.ops.window import Padding, per_axis
from tapeflow.primitive import require_floating
from tapeflow.regularizers import Regularizer
from tapeflow.tensor import Spec, Tensor, TensorLike, as_tensor
from tapeflow.variable import Variable


class _Sliding(Weighted):
    """What these layers share: where the windows lie."""

    _ndim: ClassVar[int] = 2

    def slide(self, kernel_size: int | Sequence[int], strides: int | Sequence[int],
              padding: Padding, dilation_rate: int | Sequence[int]) -> None:
        """Keep what says where the windows lie."""
        kind = type(self).__name__
        self.kernel_size = per_axis(kind, "kernel_size", kernel_size, self._ndim)
        self.strides = per_axis(kind, "strides", strides, self._ndim)
        self.dilation_rate = per_axis(kind, "dilation_rate", dilation_rate, self._ndim)
        self.padding = padding

    def channels(self, x: Spec) -> int:
        """The channels of x, if it is what the layer takes."""
        kind = type(self).__name__
        require_floating(kind, x)
        if x.ndim != self._ndim + 2:
            sizes = ["length", "height, width", "depth, height, width"][self._ndim - 1]
            raise ShapeError(kind, got=x, why=f"the input has {x.ndim} axes, not {self._ndim + 2}",
                             fix=f"give f[batch, {sizes}, channels]; tf.expand_dims adds an axis")
        return x.shape[-1]


class _Conv(_Sliding):
    """What Conv1D, Conv2D and Conv3D share: all but the number of axes."""

    kernel: Variable
    _convolve: ClassVar[Callable[..., Tensor]]

    def __init__(self, filters: int, kernel_size: int | Sequence[int],
                 strides: int | Sequence[int] = 1, padding: Padding = "VALID",
                 dilation_rate: int | Sequence[int] = 1, groups: int = 1,
                 activation: str | Activation | None = None, use_bias: bool = True,
                 kernel_initializer: str | Initializer = "glorot_uniform",
                 kernel_regularizer: str | Regularizer | None = None,
                 kernel_constraint: str | Constraint | None = None,
                 name: str | None = None) -> None:
        super().__init__(activation, use_bias, kernel_initializer, kernel_regularizer,
                         kernel_constraint, name)
        self.slide(kernel_size, strides, padding, dilation_rate)
        self.filters = at_least_one(type(self).__name__, "filters", filters)
        self.groups = arguments.integer(type(self).__name__, "groups", groups)

    def build(self, x: Spec) -> None:
        channels = self.channels(x)
        shape = (*self.kernel_size, channels // max(self.groups, 1), self.filters)
        check_groups(type(self).__name__, channels, Spec(shape, x.dtype), self.groups)
        self.kernel = self.make_kernel(shape, x.dtype)
        self.bias = self.make_bias(self.filters, x.dtype)

    def call(self, x: TensorLike) -> Tensor:
        t = entered(as_tensor(x))
        return self.finished(type(self)._convolve(
            t, as_used(self.kernel, t), self.strides, self.padding, self.dilation_rate,
            groups=self.groups))


class Conv2D(_Conv):
    """activation(conv2d(x, kernel) + bias): f[batch, height, width, channels] -> f[..., filters].

    Args:
        filters: how many outputs.
        kernel_size: of the windows; one number, or one an axis, as are strides and dilation_rate.
        strides: from window to window.
        padding: as in tf.nn.conv2d; "VALID", the default, is none.
        dilation_rate: from cell to cell in a window.
        groups: the parts of the channels; each has its own part of the filters.
        activation, use_bias, kernel_initializer, kernel_regularizer, kernel_constraint, name: as in
            Dense.

    Raises: ArgumentError for sizes below 1 and unknown names; at the first call ShapeError or
        DTypeError unless the input is f[batch, height, width, channels], ArgumentError unless the
        groups divide channels and filters.

    >>> layer = Conv2D(8, 3, activation="relu")
    >>> layer([[[[1.0]] * 5] * 5]).shape, layer.kernel.shape
    ((1, 3, 3, 8), (3, 3, 1, 8))
    """

    _convolve = staticmethod(conv2d)


class Conv1D(_Conv):
    """activation(conv1d(x, kernel) + bias): f[batch, length, channels] -> f[..., filters].

    Args: as Conv2D. Raises: as Conv2D.
    """

    _ndim = 1
    _convolve = staticmethod(conv1d)


class Conv3D(_Conv):
    """activation(conv3d(x, kernel) + bias): f[batch, depth, height, width, channels] ->
    f[..., filters].

    Args: as Conv2D. Raises: as Conv2D.
    """

    _ndim = 3
    _convolve = staticmethod(conv3d)


class Conv2DTranspose(_Conv):
    """activation(conv2d_transpose(x, kernel) + bias): larger by its strides, with `filters`
    channels.

    Args: as Conv2D; the size of the output is that which tf.nn.conv2d_transpose chooses.
    Raises: as Conv2D.
    """

    def build(self, x: Spec) -> None:
        channels = self.channels(x)
        shape = (*self.kernel_size, self.filters // max(self.groups, 1), channels)
        check_groups("Conv2DTranspose", self.filters, Spec(shape, x.dtype), self.groups)
        self.kernel = self.make_kernel(shape, x.dtype)
        self.bias = self.make_bias(self.filters, x.dtype)

    def call(self, x: TensorLike) -> Tensor:
        t = entered(as_tensor(x))
        return self.finished(conv2d_transpose(
            t, as_used(self.kernel, t), None, self.strides, self.padding,
            dilations=self.dilation_rate, groups=self.groups))


class DepthwiseConv2D(_Sliding):
    """activation(depthwise_conv2d(x, kernel) + bias): `depth_multiplier` outputs for each channel.

    Args: as Conv2D, without filters and groups.
    Raises: as Conv2D.
    """

    kernel: Variable

    def __init__(self, kernel_size: int | Sequence[int], strides: int | Sequence[int] = 1,
                 padding: Padding = "VALID", depth_multiplier: int = 1,
                 dilation_rate: int | Sequence[int] = 1,
                 activation: str | Activation | None = None, use_bias: bool = True,
                 kernel_initializer: str | Initializer = "glorot_uniform",
                 kernel_regularizer: str | Regularizer | None = None,
                 kernel_constraint: str | Constraint | None = None,
                 name: str | None = None) -> None:
        super().__init__(activation, use_bias, kernel_initializer, kernel_regularizer,
                         kernel_constraint, name)
        self.slide(kernel_size, strides, padding, dilation_rate)
        self.depth_multiplier = at_least_one("DepthwiseConv2D", "depth_multiplier",
                                             depth_multiplier)

    def build(self, x: Spec) -> None:
        channels = self.channels(x)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self.make_kernel(shape, x.dtype)
        self.bias = self.make_bias(channels * self.depth_multiplier, x.dtype)

    def call(self, x: TensorLike) -> Tensor:
        t = entered(as_tensor(x))
        return self.finished(depthwise_conv2d(t, as_used(self.kernel, t), self.strides,
                                              self.padding, self.dilation_rate))


class SeparableConv2D(_Sliding):
    """activation(separable_conv2d(x, depthwise_kernel, pointwise_kernel) + bias).

    Args: as Conv2D, without groups; each channel gives `depth_multiplier` to the mixing. What is
        said of the kernel goes for both.
    Raises: as Conv2D.
    """

    depthwise_kernel: Variable
    pointwise_kernel: Variable

    def __init__(self, filters: int, kernel_size: int | Sequence[int],
                 strides: int | Sequence[int] = 1, padding: Padding = "VALID",
                 dilation_rate: int | Sequence[int] = 1, depth_multiplier: int = 1,
                 activation: str | Activation | None = None, use_bias: bool = True,
                 kernel_initializer: str | Initializer = "glorot_uniform",
                 kernel_regularizer: str | Regularizer | None = None,
                 kernel_constraint: str | Constraint | None = None,
                 name: str | None = None) -> None:
        super().__init__(activation, use_bias, kernel_initializer, kernel_regularizer,
                         kernel_constraint, name)
        self.slide(kernel_size, strides, padding, dilation_rate)
        self.filters = at_least_one("SeparableConv2D", "filters", filters)
        self.depth_multiplier = at_least_one("SeparableConv2D", "depth_multiplier",
                                             depth_multiplier)

    def build(self, x: Spec) -> None:
        channels = self.channels(x)
        self.depthwise_kernel = self.make_kernel(
            (*self.kernel_size, channels, self.depth_multiplier), x.dtype, "depthwise_kernel")
        self.pointwise_kernel = self.make_kernel(
            (1, 1, channels * self.depth_multiplier, self.filters), x.dtype, "pointwise_kernel")
        self.bias = self.make_bias(self.filters, x.dtype)

    @property
    def kernels(self) -> list[Variable]:
        return [self.depthwise_kernel, self.pointwise_kernel]

    def call(self, x: TensorLike) -> Tensor:
        t = entered(as_tensor(x))
        depthwise, pointwise = (as_used(kernel, t) for kernel in self.kernels)
        return self.finished(separable_conv2d(t, depthwise, pointwise, self.strides, self.padding,
                                              dilations=self.dilation_rate))
