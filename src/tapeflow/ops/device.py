"""Where tensors are, which is on the CPU, and how other libraries get at their memory there."""
from __future__ import annotations

from typing import Any

from tapeflow.errors import ArgumentError
from tapeflow.ops import shape as _shape
from tapeflow.tensor import Tensor

DEVICE = "cpu:0"


def on_cpu(op: str, device: object) -> None:
    """Raise ArgumentError in the name of `op` unless `device` is the CPU, or None."""
    if device is not None and device not in ("cpu", DEVICE):
        raise ArgumentError(op, got=f"device={device!r}", why="tensors live on the CPU",
                            fix=f'leave the device out, or give "{DEVICE}"')


def to_device(x: Tensor, device: object, /, *, stream: object = None) -> Tensor:
    """x on `device`, which is the CPU: a tensor like x.

    Raises: ArgumentError for another device, or for a stream, which the CPU does not have.
    """
    on_cpu("to_device", device)
    if stream is not None:
        raise ArgumentError("to_device", got=f"stream={stream!r}", why="the CPU has no streams",
                            fix="leave the stream out")
    return _shape.another(x)


# ---- DLPack

def dlpack_device(x: Tensor, /) -> tuple[int, int]:
    """The kind and the number of the device, as DLPack has them: the CPU."""
    return (1, 0)


def dlpack(x: Tensor, /, *, stream: Any = None, max_version: tuple[int, int] | None = None,
           dl_device: tuple[Any, int] | None = None, copy: bool | None = None) -> Any:
    """The elements for another library: marked as read-only where it understands that, else
    copied. With copy=False it shares the memory in any case, and must not write to it.

    As with NumPy's read-only arrays, nothing holds a library to the mark: PyTorch 2.13 reads it and
    writes nevertheless, into the tensor. Let it have a copy to write to: copy=True.

    Raises: BufferError for a dtype that DLPack does not have, or another device than the CPU.
    """
    array = x.numpy()
    if max_version is None or max_version[0] < 1:   # NumPy would refuse what is read-only
        array = x.concrete("dlpack") if copy is False else array.copy()
        copy = None
    return array.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
