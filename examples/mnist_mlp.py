"""A net of 784-300-100-10 learns MNIST: 98 % of the test digits after 15 epochs with Adam.

    python examples/mnist_mlp.py                      downloads MNIST (11 MB) at first use
    python examples/mnist_mlp.py --data mnist.npz     reads it from a file or folder
"""
from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
from tqdm.auto import tqdm

import tapeflow as tf
from tapeflow import nn

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--data", help="mnist.npz, or a folder with the IDX files")
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--batch", type=int, default=50)
parser.add_argument("--seed", type=int, default=42)
parser.add_argument("--save", help="where the checkpoint goes, e.g. mnist.safetensors")
arguments = parser.parse_args()

train, test = tf.datasets.load_mnist(arguments.data)
x_train, x_test = tf.asarray(train.scaled()), tf.asarray(test.scaled())
y_train, y_test = tf.asarray(train.labels), tf.asarray(test.labels)
steps = len(train) // arguments.batch

tf.random.seed(arguments.seed)
model = nn.Sequential([
    nn.Flatten(),
    nn.Dense(300, "relu", kernel_initializer="he_normal", name="hidden1"),
    nn.Dense(100, "relu", kernel_initializer="he_normal", name="hidden2"),
    nn.Dense(10, name="outputs"),
])
print(model.summary(x_train[:1]))

optimizer = tf.optim.Adam(tf.optim.schedules.cosine_decay(0.001, arguments.epochs * steps))


@tf.jit
def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Train on one batch; gives its loss."""
    def loss() -> tf.Tensor:
        logits = model(images, training=True)
        with tf.name_scope("loss"):
            return tf.losses.sparse_softmax_cross_entropy(labels, logits)
    return optimizer.minimize(loss, model.trainable_variables)


@tf.jit
def accuracy(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The share of images that are recognised."""
    return tf.mean(tf.cast(tf.argmax(model(images), axis=-1) == labels, "float32"))


def batches(rng: np.random.Generator) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """All training digits once, in random order."""
    images, labels = x_train.numpy(), y_train.numpy()
    for chosen in np.split(rng.permutation(len(train))[:steps * arguments.batch], steps):
        yield tf.asarray(images[chosen]), tf.asarray(labels[chosen])


rng = np.random.default_rng(arguments.seed)
started = time.perf_counter()
for epoch in range(1, arguments.epochs + 1):
    with tqdm(batches(rng), total=steps, desc=f"epoch {epoch}", leave=False) as bar:
        losses = [step(images, labels) for images, labels in bar]
    print(f"epoch {epoch:2}: loss {np.mean(losses):.4f}, "
          f"test accuracy {float(accuracy(x_test, y_test)):.4f}")
print(f"{arguments.epochs * steps / (time.perf_counter() - started):,.0f} steps/s")

if arguments.save:
    print("saved", tf.Checkpoint(model=model, optimizer=optimizer).save(arguments.save))
