"""`tapeflow demo`: a small deep net learns handwritten digits, first eagerly, then compiled."""
from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapeflow import datasets, distributed, losses, nn, optim, random
from tapeflow.checkpoints import Checkpoint
from tapeflow.datasets import Examples
from tapeflow.jit.api import jit
from tapeflow.ops import asarray
from tapeflow.scope import name_scope
from tapeflow.summary import Writer
from tapeflow.tensor import Array, Tensor

BATCH = 32          # of each rank
EPOCHS = 60
EAGER_STEPS = 100
UNITS = (256, 128)

Step = Callable[[Tensor, Tensor], Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tapeflow demo`."""
    parser.add_argument("--nproc", type=int, default=1, metavar="N",
                        help="train on N processes of this machine (default: 1)")
    parser.add_argument("--logdir", type=Path, metavar="DIR",
                        help="folder for what it writes (default: tapeflow-demo/DATE-TIME)")
    parser.add_argument("--seed", type=int, default=0, metavar="S",
                        help="decides the first weights and the order of digits (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Train, then say what was reached and where everything lies."""
    logdir = arguments.logdir or Path("tapeflow-demo") / time.strftime("%Y%m%d-%H%M%S")
    logdir.mkdir(parents=True, exist_ok=True)
    if arguments.nproc == 1:
        reached = train(str(logdir), arguments.seed)
    else:
        reached = distributed.launch(train, arguments.nproc, (str(logdir), arguments.seed))[0]
    print(report(reached, logdir, arguments.nproc))
    return 0


# ---- training

@dataclass(frozen=True)
class Course:
    """What was seen while training: the loss of every step, the accuracy after every epoch."""

    losses: list[float]
    accuracies: list[float]


def train(logdir: str, seed: int) -> dict[str, float]:
    """Train as one rank; rank 0 writes files. Gives the numbers for the report."""
    distributed.init()
    training, test = datasets.load_digits().split(0.2, seed=1)
    batches = Batches(training, seed)
    random.seed(seed)
    model = build(training)
    distributed.broadcast_variables(model.variables)
    random.seed(seed + distributed.rank())   # each rank drops other units
    optimizer = optim.AdamW(optim.schedules.cosine_decay(0.003, batches.steps), weight_decay=0.05)
    step = training_step(model, distributed.DataParallel(optimizer))
    compiled, predict = jit(step), jit(lambda x: model(x))
    course = Course([], [])

    def after(loss: float) -> None:
        course.losses.append(loss)
        if len(course.losses) % batches.per_epoch == 0:
            course.accuracies.append(accuracy(predict, test))

    eager = run_steps("eager", step, batches, EAGER_STEPS, course.losses.append)
    fast = run_steps("compiled", compiled, batches, batches.steps - EAGER_STEPS, after)
    reached = {"accuracy": accuracy(predict, test), "test": len(test), "eager": eager.rate,
               "compiled": fast.rate, "compile_seconds": fast.first,
               "numbers": sum(v.size for v in model.variables)}
    if distributed.rank() == 0:
        Checkpoint(model=model, optimizer=optimizer).save(Path(logdir) / "model.safetensors")
        write_events(Path(logdir), course, batches, compiled)
        reached["curve"] = draw(Path(logdir) / "learning_curve.png", course, batches)
    return reached


def build(examples: Examples) -> nn.Sequential:
    """The net 64-256-128-10, with its variables."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i, units in enumerate(UNITS, 1):
        layers += [nn.Dense(units, "relu", kernel_initializer="he_normal", name=f"hidden{i}"),
                   nn.Dropout(0.3)]
    model = nn.Sequential([*layers, nn.Dense(10, name="outputs")])
    model(examples.scaled()[:1])
    return model


class Batches:
    """The training digits in random order, over and over: this rank's part of each batch."""

    def __init__(self, examples: Examples, seed: int) -> None:
        self._images, self._labels = examples.scaled(), examples.labels
        self._rng = np.random.default_rng(seed)   # all ranks draw one order
        self._rank, self._together = distributed.rank(), BATCH * distributed.size()
        self.per_epoch = len(examples) // self._together
        self.steps = EPOCHS * self.per_epoch
        self._endless = self._draw()

    @property
    def example(self) -> tuple[Tensor, Tensor]:
        """A batch that is not taken from the others."""
        return asarray(self._images[:BATCH]), asarray(self._labels[:BATCH])

    def __next__(self) -> tuple[Tensor, Tensor]:
        return next(self._endless)

    def _draw(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            order = self._rng.permutation(len(self._labels))
            for i in range(self.per_epoch):
                together = order[i * self._together:(i + 1) * self._together]
                own = together[self._rank * BATCH:(self._rank + 1) * BATCH]
                yield asarray(self._images[own]), asarray(self._labels[own])


def training_step(model: nn.Module, optimizer: Any) -> Step:
    """A function of a batch that trains on it and gives the loss."""
    def step(images: Tensor, labels: Tensor) -> Tensor:
        def loss() -> Tensor:
            logits = model(images, training=True)
            with name_scope("loss"):
                return losses.sparse_softmax_cross_entropy(labels, logits)
        return optimizer.minimize(loss, model.trainable_variables)   # type: ignore[no-any-return]
    return step


@dataclass(frozen=True)
class Speed:
    """Seconds of the first step, in which compiled code is compiled, and then steps per second."""

    first: float
    rate: float


def run_steps(name: str, step: Step, batches: Batches, count: int,
              after: Callable[[float], None]) -> Speed:
    """Take `count` steps under a progress bar; what `after` does with the loss takes no part."""
    from tqdm.auto import tqdm

    seconds = []
    with tqdm(total=count, desc=f"{name:8}", unit="step", disable=distributed.size() > 1) as bar:
        for _ in range(count):
            batch = next(batches)
            started = time.perf_counter()
            loss = float(step(*batch))
            seconds.append(time.perf_counter() - started)
            after(loss)
            bar.update()
    return Speed(seconds[0], (count - 1) / sum(seconds[1:]))


def accuracy(predict: Callable[[Tensor], Tensor], examples: Examples) -> float:
    """The share of digits that are recognised."""
    scores = predict(asarray(examples.scaled())).numpy()
    return float((scores.argmax(-1) == examples.labels).mean())


# ---- what is left behind

def write_events(logdir: Path, course: Course, batches: Batches, step: Any) -> None:
    """The course of training and the graph of a step, for TensorBoard."""
    with Writer(logdir) as writer:
        for i, loss in enumerate(course.losses):
            writer.scalar("loss/train", loss, i)
        for i, value in enumerate(course.accuracies, len(course.losses) // batches.per_epoch
                                  - len(course.accuracies) + 1):
            writer.scalar("accuracy/test", value, i * batches.per_epoch)
        writer.graph(step, *batches.example)


def draw(path: Path, course: Course, batches: Batches) -> bool:
    """The learning curve as a PNG; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = np.arange(len(course.losses))
    left.semilogy(steps, course.losses, color="0.8", label="each step")
    means = smooth(np.array(course.losses), batches.per_epoch)
    left.semilogy(steps, means, label="mean of an epoch")
    left.axvline(EAGER_STEPS, color="0.5", linestyle=":", label="compiled from here")
    left.set(xlabel="step", ylabel="training loss")
    left.legend()
    epochs = len(course.losses) // batches.per_epoch - np.arange(len(course.accuracies))[::-1]
    right.plot(epochs, course.accuracies)
    right.axhline(0.97, color="0.5", linestyle=":")
    right.set(xlabel="epoch", ylabel="accuracy on unseen digits", ylim=(0.9, 1.0))
    figure.savefig(path, dpi=120)
    return True


def smooth(values: Array, width: int) -> Array:
    """The mean of each value and those before it, `width` in all."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def report(reached: dict[str, float], logdir: Path, nproc: int) -> str:
    """What was reached, where it lies, and what to try next."""
    net = "-".join(map(str, (64, *UNITS, 10)))
    faster = reached["compiled"] / reached["eager"]
    ranks = f"{nproc} processes" if nproc > 1 else "1 process"
    curve = logdir / "learning_curve.png" if reached["curve"] else "pip install 'tapeflow[viz]'"
    return f"""
A net of {net} with {reached["numbers"]:,} numbers has learned digits on {ranks}.

  eager        {reached["eager"]:8,.0f} steps/s
  compiled     {reached["compiled"]:8,.0f} steps/s, {faster:.1f} times as fast; the first took {
      reached["compile_seconds"]:.1f} s
  accuracy     {reached["accuracy"]:8.3f} on {reached["test"]:,} digits that it never saw

  checkpoint   {logdir / "model.safetensors"}
  curve        {curve}
  TensorBoard  tensorboard --logdir {logdir}

Try next:
  tapeflow demo --nproc 2           the same on two processes
  python examples/mnist_mlp.py      98 % of MNIST's larger digits
  examples/quickstart.ipynb         tensors, gradients and compiled code, cell by cell
"""
