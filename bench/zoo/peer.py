"""The nets of bench/models.py in PyTorch, from the arrays in the folder that it kept.

First the losses of the first steps are compared, then each mode is timed: eager, compiled, and both
with channels last where there are images.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-5
IMAGES = {"mobile", "resnet-1", "resnet-8", "audio", "volume", "generator", "unet"}
Weights = Iterator[Tensor]


def first_channels(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(np.moveaxis(a, -1, 1))


def as_weight(name: str, a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A variable of tapeflow in PyTorch's order of axes."""
    if "embeddings" in name or a.ndim < 2:
        return a
    if a.ndim == 4 and a.shape[-1] == 1 < a.shape[-2]:  # depthwise
        return np.ascontiguousarray(a.transpose(2, 3, 0, 1))
    return np.ascontiguousarray(a.transpose(a.ndim - 1, a.ndim - 2, *range(a.ndim - 2)))


class Net(nn.Module):
    """A function of weights in the order in which it takes them, its input, and dropout's rate."""

    def __init__(self, run: Callable[..., Tensor], weights: dict[str, Any], rate: float) -> None:
        super().__init__()
        arrays = [torch.from_numpy(as_weight(k, v).copy()) for k, v in weights.items()]
        self.weights = nn.ParameterList([nn.Parameter(a) for a in arrays])
        self.run, self.rate = run, rate
        for i, a in enumerate(arrays):
            self.register_buffer(f"mean{i}", torch.zeros(a.shape[0]))
            self.register_buffer(f"variance{i}", torch.ones(a.shape[0]))

    def forward(self, x: Tensor) -> Tensor:
        self.at = 0
        return self.run(self, x)

    def take(self) -> Tensor:
        self.at += 1
        return self.weights[self.at - 1]

    def dense(self, x: Tensor) -> Tensor:
        return F.linear(x, self.take(), self.take())

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.rate, self.training)

    def norm(self, x: Tensor) -> Tensor:
        i = self.at
        moving = getattr(self, f"mean{i}"), getattr(self, f"variance{i}")
        own = self.take(), self.take()
        return F.batch_norm(x, *moving, *own, self.training, 0.01, EPSILON)

    def conv(self, x: Tensor, pad: int, stride: int = 1, groups: int = 1) -> Tensor:
        run = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
        return self.norm(run(x, self.take(), None, stride, pad, 1, groups))


def lstm(net: Net, x: Tensor) -> Tensor:
    w, u, b = net.take(), net.take(), net.take()
    start = x.new_zeros(1, x.shape[0], u.shape[1])
    parameters = [w, u, b, torch.zeros_like(b)]
    _, h, _ = torch.lstm(x, (start, start), parameters, True, 1, 0.0, net.training, False, True)
    return net.dense(h[0])


def gru(net: Net, x: Tensor) -> Tensor:
    """PyTorch's first two gates are tapeflow's in the other order."""
    w, u, b, c = (net.take() for _ in range(4))
    units = u.shape[1]
    swapped = [torch.cat([a[units:2 * units], a[:units], a[2 * units:]]) for a in (w, u, b, c)]
    start = x.new_zeros(1, x.shape[0], units)
    _, h = torch.gru(x, start, swapped, True, 1, 0.0, net.training, False, True)
    return net.dense(h[0])


def transformer(net: Net, x: Tensor) -> Tensor:
    width = x.shape[-1]
    heads = 8 if width > 8 else 2
    while net.at < len(net.weights) - 2:
        h = F.layer_norm(x, (width,), net.take(), net.take(), EPSILON)
        q, k, v = (net.dense(h).unflatten(-1, (heads, -1)).transpose(1, 2) for _ in range(3))
        rate = net.rate if net.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        x = x + net.drop(net.dense(mixed.transpose(1, 2).flatten(2)))
        h = F.layer_norm(x, (width,), net.take(), net.take(), EPSILON)
        x = x + net.drop(net.dense(F.gelu(net.dense(h))))
    return net.dense(x.mean(1))


def text(net: Net, x: Tensor) -> Tensor:
    return net.dense(F.relu(net.dense(F.embedding(x, net.take()).mean(1))))


def mlp(net: Net, x: Tensor) -> Tensor:
    for _ in range(2):
        x = net.drop(F.relu(net.dense(x)))
    return net.dense(x)


def mobile(net: Net, x: Tensor) -> Tensor:
    x = F.relu6(net.conv(x, 1, 2))
    for stride in (1, 2, 1, 2, 1, 2, 1, 1):
        x = F.relu6(net.conv(x, 1, stride, x.shape[1]))
        x = F.relu6(net.conv(x, 0))
    return net.dense(x.mean((2, 3)))


def resnet(net: Net, x: Tensor) -> Tensor:
    x = F.max_pool2d(F.relu(net.conv(x, 3, 2)), 3, 2, 1)
    for stage in range(4):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = net.conv(F.relu(net.conv(x, 1, stride)), 1)
            x = F.relu(y + (net.conv(x, 0, stride) if stage and not block else x))
    return net.dense(x.mean((2, 3)))


def audio(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.conv(x, 38, 4))
    for _ in range(2):
        x = F.relu(net.conv(F.max_pool1d(x, 4), 1))
    return net.dense(x.mean(2))


def volume(net: Net, x: Tensor) -> Tensor:
    for i in range(3):
        x = F.relu(net.conv(F.max_pool3d(x, 2) if i else x, 1))
    return net.dense(x.mean((2, 3, 4)))


def generator(net: Net, x: Tensor) -> Tensor:
    x = net.dense(x).unflatten(1, (4, 4, -1)).permute(0, 3, 1, 2)
    for _ in range(2):
        x = F.relu(net.norm(F.conv_transpose2d(x, net.take(), None, 2, 1)))
    return torch.tanh(F.conv_transpose2d(x, net.take(), net.take(), 2, 1))


def unet(net: Net, x: Tensor) -> Tensor:
    def two(x: Tensor) -> Tensor:
        return F.relu(net.conv(F.relu(net.conv(x, 1)), 1))

    kept = [two(x)]
    for _ in range(2):
        kept.append(two(F.max_pool2d(kept[-1], 2)))
    x = kept.pop()
    while kept:
        x = two(torch.cat([F.interpolate(x, scale_factor=2), kept.pop()], 1))
    return F.conv2d(x, net.take(), net.take())


NETS = {"lstm": lstm, "gru": gru, "transformer": transformer, "text": text, "mlp": mlp,
        "mobile": mobile, "resnet-1": resnet, "resnet-8": resnet, "audio": audio, "volume": volume,
        "generator": generator, "unet": unet}


def normalized(kind: str, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    if kind == "layer":
        return F.layer_norm(x, x.shape[-1:], scale, offset, EPSILON)
    if kind == "rms":
        return F.rms_norm(x, x.shape[-1:], scale, EPSILON) + offset
    if kind == "batch":
        return F.batch_norm(x, None, None, scale, offset, True, 0.1, EPSILON)
    return F.group_norm(x, min(8, x.shape[1]), scale, offset, EPSILON)


Step = Callable[[], Any]


def of_norm(kind: str, arrays: dict[str, Any], mode: str) -> tuple[Step, None]:
    if kind in ("batch", "group"):
        arrays = {**arrays, **{k: first_channels(arrays[k]) for k in "xy"}}
    x, y, scale, offset = (torch.from_numpy(arrays[k]) for k in ("x", "y", "scale", "offset"))
    if "last" in mode:
        x, y = (t.to(memory_format=torch.channels_last) for t in (x, y))
    sources = [t.requires_grad_() for t in (x, scale, offset)]

    def run() -> Tensor:
        return (normalized(kind, *sources) * y).sum()

    compiled = torch.compile(run) if "compile" in mode else run

    def step() -> Tensor:
        loss = compiled()
        torch.autograd.grad(loss, sources)
        return loss

    return step, None


def of_net(name: str, arrays: dict[str, Any], mode: str, rate: float) -> tuple[Step, Step]:
    weights = {k: v for k, v in arrays.items() if k[0] == "w"}
    net: Any = Net(NETS[name], weights, rate)
    x, y = arrays["x"], arrays["y"]
    if name in IMAGES and x.ndim > 2:
        x = first_channels(x)
    if name == "generator":
        y = first_channels(y)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    if "last" in mode:
        layout = torch.channels_last_3d if name == "volume" else torch.channels_last
        x = x.to(memory_format=layout) if x.ndim > 3 else x
        net = net.to(memory_format=layout)
    loss_of = F.mse_loss if name == "generator" else F.cross_entropy
    forward = torch.compile(net) if "compile" in mode else net
    if name in ("mobile", "resnet-1", "resnet-8"):
        optimizer: Any = torch.optim.SGD(net.parameters(), 0.01, 0.9, fused=True)
    else:
        optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)

    def train() -> Tensor:
        net.train()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(forward(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def infer() -> Tensor:
        net.eval()
        with torch.inference_mode():
            return forward(x)

    return train, infer


def steps_of(name: str, arrays: dict[str, Any], mode: str, rate: float) -> tuple[Step, Step | None]:
    if name in NETS:
        return of_net(name, arrays, mode, rate)
    return of_norm(name.split()[0], arrays, mode)


def measure(run: Step, seconds: float = 0.6) -> float:
    """The median of timings after a time of warming up, in ms."""
    for share in (0.3, 1.0):
        times = []
        end = time.perf_counter() + share * seconds
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(times)), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", type=lambda s: s.split(","))
    parser.add_argument("--modes", type=lambda s: s.split(","), default=["eager", "last"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    names = given.only or sorted(p.stem for p in given.folder.glob("*.npz"))
    for name in names:
        arrays = dict(np.load(given.folder / f"{name}.npz").items())
        wanted = arrays.pop("losses")
        train, _ = steps_of(name, arrays, "eager", 0.0)
        losses = [train().item() for _ in wanted]
        apart = float(np.max(np.abs(losses - wanted) / np.maximum(np.abs(wanted), 1e-3)))
        doubt = "" if apart < 2e-3 else f"!! {losses} {wanted}"
        print(name, "apart", f"{apart:.1e}", doubt, flush=True)
        has_images = arrays["x"].ndim > 3 or name == "generator"
        for mode in given.modes:
            if "last" in mode and not has_images:
                continue
            torch._dynamo.reset()  # nets share the code that would be compiled at most 8 times
            train, infer = steps_of(name, arrays, mode, 0.1)
            for what, run in (("train", train), ("infer", infer)):
                if run is None or (what == "train" and name.startswith("resnet")):
                    continue
                began = time.perf_counter()
                run()
                first = round(time.perf_counter() - began, 2)
                row = {"threads": given.threads, "net": name, "what": what, "mode": mode,
                       "ms": measure(run), "first_call_s": first}
                print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
                with open(given.folder / "rows.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
