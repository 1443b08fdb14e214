"""DataParallel and collectives with optimizers, eager and compiled, among real ranks."""
import os
import subprocess
import sys

import numpy as np
import pytest

import tapeflow as tf
import tapeflow.distributed as D
from ranks import check_job, run_job
from tapeflow.ops import collective

TRAIN = """
    import numpy as np
    import tapeflow as tf
    import tapeflow.distributed as D

    D.init()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 5)), rng.normal(size=(32, 3))
    share = slice(D.rank() * 32 // D.size(), (D.rank() + 1) * 32 // D.size())
    x, y = tf.asarray(x[share]), tf.asarray(y[share])
    for rule in (lambda: tf.optim.SGD(0.1, momentum=0.9), lambda: tf.optim.Adam(0.01)):
        for compiled in (lambda fn: fn, tf.jit):
            own = np.random.default_rng(D.rank())
            w = [tf.Variable(own.normal(size=shape)) for shape in ((5, 7), (7,), (7, 3))]
            D.broadcast_variables(w)
            optimizer = D.DataParallel(rule())

            def loss(x, y):
                e = tf.tanh(x @ w[0] + w[1]) @ w[2] - y
                return tf.mean(e * e)

            step = compiled(lambda x, y: optimizer.minimize(lambda: loss(x, y), w))
            for _ in range(20):
                step(x, y)
            print(*(v.numpy().tobytes().hex() for v in w))
"""
WAYS = ("SGD with momentum, eager", "SGD with momentum, compiled", "Adam, eager", "Adam, compiled")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What every rank printed: of a job of one, and of two jobs of two."""
    folder = tmp_path_factory.mktemp("train")
    jobs = [check_job(folder, TRAIN, size) for size in (1, 2, 2)]
    return [[out.splitlines() for _, out, _ in job] for job in jobs]


@pytest.mark.parametrize("way", range(len(WAYS)), ids=WAYS)
def test_two_ranks_on_halves_equal_one_on_the_whole(trained, way):
    def parameters(line):
        return np.concatenate([np.frombuffer(bytes.fromhex(h)) for h in line.split()])

    (one,), (two, _), _ = trained
    assert parameters(one[way]).size == 5 * 7 + 7 + 7 * 3
    np.testing.assert_allclose(parameters(two[way]), parameters(one[way]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", range(len(WAYS)), ids=WAYS)
def test_every_rank_and_every_run_ends_with_the_same_bits(trained, way):
    _, two, again = trained
    assert len({rank[way] for rank in two + again}) == 1


def test_collectives_work_inside_compiled_functions(tmp_path):
    check_job(tmp_path, """
        import numpy as np
        import tapeflow as tf
        import tapeflow.distributed as D
        D.init()

        @tf.jit
        def both(x):
            y = tf.tanh(x)
            return tf.exp(D.all_reduce(y, op="sum")) + 1, D.all_gather(y), D.reduce_scatter(y)

        xs = np.linspace(-1, 1, 24).reshape(2, 6, 2)
        for _ in range(2):
            summed, gathered, scattered = both(tf.asarray(xs[D.rank()]))
            total = np.tanh(xs).sum(0)
            np.testing.assert_allclose(summed, np.exp(total) + 1, rtol=1e-14)
            np.testing.assert_allclose(gathered, np.tanh(xs).reshape(12, 2), rtol=1e-14)
            np.testing.assert_allclose(scattered, np.split(total, 2)[D.rank()], rtol=1e-14)
        """)


def test_a_compiled_function_with_a_collective_has_a_derivative(tmp_path):
    check_job(tmp_path, """
        import numpy as np
        import tapeflow as tf
        import tapeflow.distributed as D
        D.init()
        weights = tf.asarray(np.arange(3.0) + D.rank())
        inner = tf.jit(lambda x: tf.sum(tf.square(D.all_reduce(x * x, op="sum")) * weights))
        x = tf.asarray(np.arange(3.0) + 2 * D.rank())
        total = np.arange(3.0)**2 + (np.arange(3.0) + 2)**2
        want = 2 * x.numpy() * 2 * total * (2 * np.arange(3.0) + 1)
        for g in (tf.grad(inner)(x), tf.jit(tf.grad(inner))(x)):
            np.testing.assert_allclose(g, want, rtol=1e-14)
        """)


def test_a_mismatch_in_a_compiled_step_names_both_ranks(tmp_path):
    ends = run_job(tmp_path, """
        import numpy as np
        import tapeflow as tf
        import tapeflow.distributed as D
        D.init()
        w = tf.Variable(np.ones(3 + D.rank()))
        optimizer = D.DataParallel(tf.optim.SGD(0.1))
        step = tf.jit(lambda: optimizer.minimize(lambda: tf.sum(w * w), [w]))
        step()
        """)
    for code, _, err in ends:
        assert code == 1
        assert "rank 1 sent f64[4], rank 0 sent f64[3]" in err


def test_at_size_1_data_parallel_is_its_optimizer():
    w = tf.Variable(np.ones(3))
    optimizer = D.DataParallel(tf.optim.SGD(0.5))
    optimizer.learning_rate = 0.25
    optimizer.minimize(lambda: tf.sum(w * w), [w])
    assert w.numpy().tolist() == [0.5] * 3
    assert (float(optimizer.learning_rate), int(optimizer.iterations)) == (0.25, 1)


class Listener:
    """A group of two equal ranks that keeps the names of collectives."""

    rank, size = 0, 2

    def __init__(self):
        self.heard = []

    def check_reducible(self, op, x):
        pass

    def all_reduce(self, x, op, name, out=None):
        self.heard.append(name)
        return np.multiply(x, 2, out=out)

    def sum(self, x, name):
        return collective.all_reduce(x, group=self, op="sum", name=name)


def heard(fn):
    """The collectives of fn(sum, x, y), compiled, in the order in which they happen."""
    group = Listener()
    x, y = tf.asarray([1.0, 2.0]), tf.asarray([3.0, 4.0])
    compiled = tf.jit(lambda x, y: fn(group.sum, x, y))
    np.testing.assert_allclose(compiled(x, y), fn(Listener().sum, x, y), rtol=1e-6)
    return group.heard


def test_fusion_does_not_change_the_order_of_collectives():
    def logging(total, x, y):   # as only one rank may do; e and log become one kernel
        e = tf.exp(x)
        first, second = total(e, "first"), total(y, "second")
        return first + tf.sum(e * second)

    assert heard(logging) == ["first", "second"]


def test_a_collective_whose_result_is_unused_still_happens():
    assert heard(lambda total, x, y: (total(x, "unused"), total(y, "used"))[1]) == [
        "unused", "used"]


def test_equal_collectives_all_happen():
    assert heard(lambda total, x, y: total(x, "same") * total(x, "same")) == ["same", "same"]


def test_interpreted_programs_keep_collectives_too(monkeypatch):
    monkeypatch.setenv("TAPEFLOW_JIT", "0")
    assert heard(lambda total, x, y: (total(x, "unused"), total(y, "used"))[1]) == [
        "unused", "used"]


PROGRAM = """
import numpy as np
import tapeflow as tf
import tapeflow.distributed as D
from test_data_parallel import Listener
D.session._group = Listener()
w = [tf.Variable(np.ones(s, np.float32)) for s in ((5, 7), (7,), (7, 3))]
optimizer = D.DataParallel(tf.optim.Adam(0.01))
step = tf.jit(lambda x: optimizer.minimize(
    lambda: tf.mean(tf.square(tf.tanh(x @ w[0] + w[1]) @ w[2])), w))
lowered = step.lower(tf.ones((4, 5)))
print(str(lowered.graph).replace(repr(D.session._group), ""), lowered.source, lowered.memory)
D.session._group = None
"""


def test_every_process_makes_the_same_program_of_a_function():
    path = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    said = {subprocess.run(
        [sys.executable, "-c", PROGRAM], text=True, check=True, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed}).stdout for seed in "12"}
    assert len(said) == 1
    assert "all_reduce_bucket" in said.pop()
