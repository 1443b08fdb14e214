"""Do nets that nothing was tuned for train and answer as fast as in PyTorch?

Recurrent nets, attention, depthwise, 1-D, 3-D and transposed convolutions, embeddings, dropout, and
normalisations alone: a training step (forward, backward, optimizer) and inference, both compiled.
`--tiny` runs each once, small; `--only NAME,...` some of them. `--keep DIR` writes the arrays that
each starts from, the losses of its first steps without dropout, and times, to DIR; then
`python bench/zoo/peer.py DIR` in an environment with PyTorch checks and times the same.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from zoo import nets

import tapeflow as tf
from tapeflow import bench as timing


@dataclass
class Case:
    """What is run: calls that train and answer, and what they start from."""

    train: Callable[[], tf.Tensor]
    answer: Callable[[], Any] | None
    arrays: dict[str, np.ndarray[Any, Any]]


def of_net(name: str, tiny: bool, rate: float) -> Case:
    """A net with its first weights; its dropout has this rate."""
    tf.random.seed(0)
    net = nets.NETS[name](tiny, rate)
    x, y = tf.asarray(net.x), tf.asarray(net.y)
    net.model(x, training=False)
    variables = net.model.trainable_variables

    @tf.jit
    def train(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.mean(net.loss(y, net.model(x, training=True)))
        net.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    answer = tf.jit(lambda x: net.model(x, training=False))
    arrays = {f"w{i:03d} {v.name}": v.numpy() for i, v in enumerate(variables)}
    return Case(lambda: train(x, y), lambda: answer(x), {"x": net.x, "y": net.y, **arrays})


def of_norm(name: str, tiny: bool) -> Case:
    """A normalisation with the gradients of a weighted sum of it."""
    kind, _, sizes = name.partition(" ")
    shape = tuple(4 if tiny else int(n) for n in sizes.split("x"))
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.standard_normal(shape, np.float32),
        "y": rng.standard_normal(shape, np.float32),
        "scale": rng.standard_normal(shape[-1:], np.float32),
        "offset": rng.standard_normal(shape[-1:], np.float32),
    }
    norm, which = nets.NORMS[kind], (0, 2, 3)
    run = tf.jit(
        tf.value_and_grad(lambda x, y, scale, offset: tf.sum(y * norm(x, scale, offset)), which)
    )
    given = [tf.asarray(a) for a in arrays.values()]
    return Case(lambda: run(*given)[0], None, arrays)


def case(name: str, tiny: bool, rate: float) -> Case:
    """The case by this name."""
    return of_net(name, tiny, rate) if name in nets.NETS else of_norm(name, tiny)


def checked(name: str, tiny: bool, folder: Path | None) -> list[float]:
    """The losses of the first steps without dropout; `folder` gets them, and the first arrays."""
    found = case(name, tiny, 0.0)
    arrays = {k: v.copy() for k, v in found.arrays.items()}
    losses = [found.train().item() for _ in range(1 if tiny else 3)]
    assert all(map(math.isfinite, losses)), f"{name}: {losses}"
    if folder is not None:
        np.savez(folder / f"{name}.npz", losses=np.asarray(losses), **arrays)
    return losses


def timed(name: str, tiny: bool, seconds: float) -> list[dict[str, Any]]:
    """A row for the training step, and one for inference."""
    found = case(name, tiny, 0.1)
    rows = []
    for what, run in (("train", found.train), ("infer", found.answer)):
        if run is None or (what == "train" and name in nets.INFERENCE_ONLY):
            continue
        began = time.perf_counter()
        run()
        first = time.perf_counter() - began
        time_of = timing.measure(run, seconds=seconds)
        rows.append({"net": name, "what": what, "mode": "tapeflow",
                     "ms": round(1e3 * time_of.median, 3), "spread": round(time_of.spread, 3),
                     "first_call_s": round(first, 2)})
    return rows


def main() -> None:
    """Print one line a row, then all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", type=lambda s: s.split(","), default=[*nets.NETS, *nets.CASES])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--no-check", action="store_true")
    given = parser.parse_args()
    tf.config.set_num_threads(given.threads)
    rows = []
    for name in given.only:
        if not given.tiny and not given.no_check:
            checked(name, given.tiny, given.keep)
        for row in timed(name, given.tiny, 0.0 if given.tiny else 0.6):
            rows.append({"threads": tf.config.num_threads(), **row})
            print("  ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
    print(json.dumps({"about": timing.about(), "rows": rows}))
    if given.keep is not None:
        with open(given.keep / "rows.jsonl", "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
