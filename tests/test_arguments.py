"""Arguments of a wrong type: an error that names op and argument, never one of Python's own."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapeflow as tf
from op_case import Case, sample
from op_cases import CASES
from tapeflow import arguments
from tapeflow.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError, TapeflowError

X = tf.asarray([[1.0, 2.0], [3.0, 4.0]])
V = tf.Variable([1.0, 2.0])
Call = Callable[[], Any]


def total(x: Any) -> Any:
    return tf.sum(x)


def written(*args: Any, method: str = "scalar") -> Any:
    with tempfile.TemporaryDirectory() as folder, tf.summary.Writer(folder) as writer:
        return getattr(writer, method)(*args)


# what is called, the error, and what its text says
WRONG: dict[str, tuple[Call, type[TapeflowError], str]] = {
    "size that is a float": (lambda: tf.zeros(2.5), ArgumentError, "zeros: shape must be"),
    "size that is a text": (lambda: tf.ones((2, "a")), ArgumentError, "ones: .*\n.*shape='a'"),
    "no shape": (lambda: tf.empty(None), ArgumentError, "empty: shape must be"),
    "huge shape": (lambda: tf.zeros(2**70), ArgumentError, "no memory holds"),
    "shape of a reshape": (lambda: tf.reshape(X, (2.0, 2)), ArgumentError, "reshape: shape must"),
    "shape of numbers": (lambda: tf.random.normal("a"), ArgumentError, "normal: shape must be"),
    "axis that is a text": (lambda: tf.sum(X, axis="a"), ArgumentError, "sum: axis must be"),
    "axis that is a float": (lambda: tf.sum(X, axis=1.0), ArgumentError, "sum: axis must be"),
    "axis compiled": (
        lambda: tf.jit(lambda x: tf.sum(x, axis=1.0))(X), ArgumentError, "sum: axis must be"),
    "axis of a concat": (lambda: tf.concat([X], "a"), ArgumentError, "concat: axis must be"),
    "no list": (lambda: tf.concat(2.5), ArgumentError, "concat takes a list"),
    "axes of a new axis": (lambda: tf.stack([X], [1.5]), ArgumentError, "stack: axis must be"),
    "flat paddings": (lambda: tf.pad(X, (1, 1)), ShapeError, "pad: each axis needs a pair"),
    "paddings of a text": (lambda: tf.pad(X, "ab"), ArgumentError, "pad: paddings must be"),
    "parts": (lambda: tf.split(X, 1.0), ArgumentError, "split: parts must be"),
    "repetitions": (lambda: tf.tile(X, -1), ArgumentError, "tile: a count is not negative"),
    "an axis moved twice": (
        lambda: tf.moveaxis(X, (0, 0), (0, 1)), ArgumentError, "a place of its own"),
    "too many paired axes": (lambda: tf.tensordot(X, X, 3), OutOfRangeError, "not so many axes"),
    "axes for one": (lambda: tf.tensordot(X, X, [0]), ArgumentError, "tensordot: axes must be"),
    "equation": (lambda: tf.einsum(2.5, X), ArgumentError, "einsum: equation must be a text"),
    "k": (lambda: tf.top_k(X, "a"), ArgumentError, "top_k: k must be a whole number"),
    "depth": (lambda: tf.one_hot([1], 2.5), ArgumentError, "one_hot: depth must be"),
    "segments": (
        lambda: tf.segment_sum(X, [0, 0], -3), ArgumentError, "segment_sum: a size is not"),
    "correction": (lambda: tf.var(X, correction="a"), ArgumentError, "var: correction must be"),
    "start": (lambda: tf.arange("a"), ArgumentError, "arange: start must be a number"),
    "endless": (lambda: tf.arange(float("inf")), ArgumentError, "give finite numbers"),
    "count": (lambda: tf.linspace(0, 1, 2.5), ArgumentError, "linspace: num must be"),
    "diagonal": (lambda: tf.tril(X, "a"), ArgumentError, "tril: k must be"),
    "another library": (lambda: tf.from_dlpack(2.5), ArgumentError, "from_dlpack: x must be"),
    "number too large": (lambda: tf.asarray(2**70), DTypeError, "does not fit int64"),
    "number too small": (lambda: tf.asarray([-300], "int8"), DTypeError, "does not fit int8"),
    "number beside": (lambda: X * 2**2000, DTypeError, "multiply: it does not fit float32"),
    "number to a compiled": (lambda: tf.jit(lambda n: n)(2**70), DTypeError, "not fit int64"),
    "no tensor": (lambda: X == None, DTypeError, "`is None`"),  # noqa: E711
    "no dtype": (lambda: tf.cast(X, None), DTypeError, "cast: tapeflow has no such dtype"),
    "float power": (lambda: tf.asarray([1, 2]) ** 2.0, DTypeError, "pow: float does not fit"),
    "device": (lambda: tf.asarray(1, device="cuda:0"), ArgumentError, "live on the CPU"),
    "version": (
        lambda: X.__array_namespace__(api_version="1999.12"), ArgumentError, "follows 2024.12"),
    "generator": (
        lambda: tf.random.uniform(2, generator=7), ArgumentError, "uniform: generator must be"),
    "seed": (lambda: tf.random.Generator("a"), ArgumentError, "seed: seed must be"),
    "bounds": (lambda: tf.random.randint(2, 0.5, 3), ArgumentError, "randint: low must be"),
    "limits": (lambda: tf.random.uniform(2, "a"), DTypeError, "uniform: this is neither"),
    "no rows": (lambda: tf.random.choice(2.5), ArgumentError, "choice: a tensor without axes"),
    "threads": (lambda: tf.config.set_num_threads("a"), ArgumentError, "count must be"),
    "no threads": (lambda: tf.config.set_num_threads(0), ArgumentError, "at least one thread"),
    "scope": (lambda: tf.name_scope(2.5).__enter__(), ArgumentError, "name must be a text"),
    "variable alone": (
        lambda: tf.optim.SGD().minimize(lambda: tf.sum(V), V), ArgumentError,
        "SGD: variables must"),
    "gradient alone": (
        lambda: tf.optim.Adam().apply(tf.ones(2), [V]), ArgumentError, "Adam: gradients must be a"),
    "tensors to train": (
        lambda: tf.optim.SGD().apply([X], [X]), ArgumentError, "SGD: variables must be a list"),
    "slots of a tensor": (lambda: tf.optim.SGD().build(X), ArgumentError, "SGD: variables must"),
    "no loss": (lambda: tf.optim.SGD().minimize(2.5, [V]), ArgumentError, "SGD: loss_fn must be"),
    "rate": (lambda: tf.optim.Adam("a"), ArgumentError, "Adam: learning_rate must be a number"),
    "share": (lambda: tf.optim.SGD(momentum="a"), ArgumentError, "SGD: momentum must be a number"),
    "steps": (
        lambda: tf.optim.schedules.piecewise_constant(2.5, [1.0]), ArgumentError,
        "piecewise_constant: boundaries must be"),
    "primal alone": (lambda: tf.jvp(total, X, X), ArgumentError, "jvp: primals must be a list"),
    "tangent alone": (lambda: tf.jvp(total, (X,), X), ArgumentError, "jvp: tangents must be"),
    "no tangent": (lambda: tf.jvp(total, (X,), ()), ArgumentError, "each primal needs a tangent"),
    "no function": (lambda: tf.grad("f"), ArgumentError, "grad: f must be a function"),
    "argnums": (lambda: tf.grad(total, "x"), ArgumentError, "grad: argnums must be a whole"),
    "nothing to compile": (lambda: tf.jit("f"), ArgumentError, "jit: fn must be a function"),
    "static": (
        lambda: tf.jit(total, static_argnames=[1]), ArgumentError, "jit: static_argnames must be"),
    "signature": (
        lambda: tf.jit(total, input_signature=[2.5])(X), ArgumentError, "input_signature must be"),
    "stated shape": (lambda: tf.TensorSpec(2.5), ArgumentError, "TensorSpec: shape must be"),
    "units": (lambda: tf.nn.Dense("a"), ArgumentError, "Dense: units must be a whole number"),
    "activation": (lambda: tf.nn.Dense(1, 2.5), ArgumentError, "Dense: activation must be a name"),
    "initializer": (
        lambda: tf.nn.Dense(1, kernel_initializer=2.5), ArgumentError, "Dense: initializer must"),
    "regularizer": (
        lambda: tf.nn.Dense(1, kernel_regularizer=2.5), ArgumentError, "Dense: regularizer must"),
    "input of a layer": (lambda: tf.nn.Dense(1)("a"), DTypeError, "Dense: .*\n  got: 'a'"),
    "layers": (lambda: tf.nn.Sequential(2.5), ArgumentError, "Sequential: layers must be a list"),
    "rate of dropout": (lambda: tf.nn.dropout(X, "a"), ArgumentError, "dropout: rate must be"),
    "scale": (
        lambda: tf.initializers.variance_scaling("a"), ArgumentError, "scale must be a number"),
    "shape of weights": (
        lambda: tf.initializers.he_normal()("a"), ArgumentError, "initializer: shape must be"),
    "folder": (lambda: tf.summary.Writer(2.5), ArgumentError, "Writer: logdir must be a path"),
    "tag": (lambda: written(2, 1.0, 1), ArgumentError, "scalar: name must be a text"),
    "step": (lambda: written("loss", 1.0, 1.5), ArgumentError, "scalar: step must be a whole"),
    "text": (
        lambda: written("a", 2.5, 1, method="text"), ArgumentError, "text: text must be a text"),
    "graph": (lambda: written("a", method="graph"), ArgumentError, "this function has no graph"),
    "settings": (
        lambda: written({"a": [1]}, method="hparams"), ArgumentError, "hparams: params must be"),
    "file": (lambda: tf.Checkpoint(v=V).save(2.5), ArgumentError, "save: path must be a path"),
    "what to keep": (
        lambda: tf.CheckpointManager(V, "a"), ArgumentError, "checkpoint must be a tf.Checkpoint"),
    "how many to keep": (
        lambda: tf.CheckpointManager(tf.Checkpoint(v=V), "a", keep="b"), ArgumentError,
        "CheckpointManager: keep must be a whole number"),
    "number of a checkpoint": (
        lambda: tf.CheckpointManager(tf.Checkpoint(v=V), "a").save(1.5), ArgumentError,
        "save: step must be"),
    "pattern": (
        lambda: tf.Checkpoint(v=V).restore("a", match="("), ArgumentError,
        "restore: .*unterminated"),
    "renamed": (
        lambda: tf.Checkpoint(v=V).restore("a", rename=2.5), ArgumentError,
        "rename must be a dict"),
    "name of a layer": (lambda: tf.nn.Dense(1, name=[1]), ArgumentError, "Dense: name must be"),
    "root": (lambda: tf.distributed.broadcast(X, "a"), ArgumentError, "broadcast: root must be"),
    "reduction": (
        lambda: tf.distributed.all_reduce(X, []), ArgumentError, "all_reduce: op must be a text"),
    "variables of ranks": (
        lambda: tf.distributed.broadcast_variables(V), ArgumentError, "variables must be a list"),
    "data": (lambda: tf.datasets.load_mnist(2.5), ArgumentError, "load_mnist: path must be a path"),
    "arguments to check": (
        lambda: tf.testing.check_gradients(total, X), ArgumentError, "args must be a list"),
    "penalty": (lambda: tf.optim.Ftrl(l1="a"), ArgumentError, "Ftrl: l1 must be a number"),
    "a switch by text": (
        lambda: tf.config.warn_on_float64("yes"), ArgumentError, "on must be True or False"),
    "a check by number": (
        lambda: tf.debug.check_numerics(1), ArgumentError, "on must be True or False"),
    "filled with NaN": (
        lambda: tf.full_like([1], np.nan), DTypeError, "full_like: it does not fit int64"),
    "a NaN in integers": (lambda: tf.asarray(np.nan, "int32"), DTypeError, "does not fit int32"),
    "tuple of indices": (
        lambda: tf.gather_nd(X, [[5, 0]]), OutOfRangeError, "gather_nd: indices are between"),
    "tuple of traced indices": (
        lambda: tf.jit(tf.gather_nd)(X, np.array([[5, 0]])), OutOfRangeError, "gather_nd: ind"),
    "tuple of indices written": (
        lambda: tf.tensor_scatter_nd_update(X, [[5, 0]], [1.0]), OutOfRangeError,
        "tensor_scatter_nd_update: indices are between"),
    "name": (lambda: tf.Variable(1.0, name=[1]), ArgumentError, "name must be a text"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_argument_is_named(case: tuple[Call, type[TapeflowError], str]) -> None:
    call, error, text = case
    with pytest.raises(error, match=text) as caught:
        call()
    assert type(caught.value) is error and "test_arguments.py" in caught.value.at


PUBLIC = {id(getattr(room, name)) for room in (tf, tf.nn, tf.linalg) for name in room.__all__}
OPS = {id(case.fn): case for case in CASES if id(case.fn) in PUBLIC}


@pytest.mark.parametrize("case", OPS.values(), ids=str)
@pytest.mark.parametrize("wrong", [object, "wrong", None, [[1], [1, 2]]], ids=str)
def test_an_op_takes_a_wrong_argument_or_says_what_is_wrong(case: Case, wrong: Any) -> None:
    """Whatever argument is of a wrong type, no error of Python's or NumPy's own comes of it."""
    random = np.random.default_rng(0)
    right = [sample(x, np.dtype("f4"), random) for x in case.inputs]
    parameters = inspect.signature(case.fn).parameters.values()
    optional = [p.name for p in list(parameters)[len(right) :] if p.default is not p.empty]
    calls = [((*right[:i], wrong, *right[i + 1 :]), case.kwargs) for i in range(len(right))]
    calls += [(tuple(right), {**case.kwargs, name: wrong}) for name in [*case.kwargs, *optional]]
    for inputs, kwargs in calls:
        try:
            case.fn(*inputs, **kwargs)
        except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
            assert isinstance(error, TapeflowError), error


# ---- arrays that hardly fit

MORE = [
    Case(tf.astype, lambda x, dtype: x.astype(dtype), ["f[2,3]"], {"dtype": "float32"}),
    Case(tf.tile, np.tile, ["f[2,3]"], {"repetitions": (2, 1)}),
    Case(tf.unstack, list, ["f[2,3]"]),
    Case(tf.broadcast_arrays, np.broadcast_arrays, ["f[2,3]", "f[3]"]),
    Case(tf.empty_like, list, ["f[2,3]"]),
    Case(tf.full_like, np.full_like, ["f[2,3]"], {"fill_value": 2}),
    Case(tf.nonzero, np.nonzero, ["f[2,3]"]),
    *[
        Case(fn, np.unique, ["i32[2,3]"])
        for fn in (tf.unique, tf.unique_all, tf.unique_counts, tf.unique_inverse, tf.unique_values)
    ],
    Case(tf.clip_by_global_norm, list, ["f[2,3]"], {"clip_norm": 1.0}),
    Case(tf.nn.batch_normalization, list, ["f[2,3]", *["f+[3]"] * 4], {"epsilon": 1e-3}),
]
BY_NAME: dict[str, Case] = {}
for _case in [*CASES, *MORE]:
    BY_NAME.setdefault(_case.name or getattr(_case.fn, "__name__", "op"), _case)
every_op = pytest.mark.parametrize("case", BY_NAME.values(), ids=BY_NAME.keys())
CHANGES: dict[str, Callable[[Any], Any]] = {
    "an axis more": lambda x: x[None],
    "an axis less": lambda x: x[0] if x.ndim and len(x) else x,
    "no axes": lambda x: np.array(x.flat[0] if x.size else 0, x.dtype),
    "no elements": lambda x: x[..., :0] if x.ndim else np.zeros(0, x.dtype),
    "no rows": lambda x: x[:0] if x.ndim else np.zeros(0, x.dtype),
    "bools": lambda x: x != 0,
    "small integers": lambda x: np.abs(np.nan_to_num(x)).astype(np.int8),
    "unsigned integers": lambda x: np.abs(np.nan_to_num(x)).astype(np.uint64),
    "complex numbers": lambda x: x.astype(np.complex64),
}
NO_ARRAYS = {
    "arange", "asarray", "broadcast_shapes", "can_cast", "empty", "eye", "fftfreq", "finfo",
    "from_dlpack", "full", "iinfo", "isdtype", "linspace", "ones", "result_type", "rfftfreq",
    "zeros",
}  # fmt: skip


def outcome(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """What a call gives, or the error that it raises."""
    try:
        with np.errstate(all="ignore"):
            return fn(*args, **kwargs)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RuntimeError) as e:
        return e


def check_like_numpy(case: Case, inputs: list[Any], found: Any) -> None:
    """That `found` is what a function of NumPy's or SciPy's gives, where that is the reference."""
    module = getattr(case.ref, "__module__", None) or "numpy"
    if not isinstance(found, tf.Tensor) or module.partition(".")[0] not in ("numpy", "scipy"):
        return
    expected = outcome(case.ref, *inputs, **case.kwargs)
    if not isinstance(expected, Exception | tuple | list):
        assert found.shape == np.shape(expected)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@every_op
def test_arrays_that_hardly_fit_give_what_numpy_gives_or_a_documented_error(case: Case) -> None:
    random = np.random.default_rng(0)
    right = [sample(x, np.dtype("f8"), random) for x in case.inputs]
    arrays = [i for i, x in enumerate(right) if isinstance(x, np.ndarray)]
    for change in CHANGES.values():
        for chosen in [*([i] for i in arrays), arrays]:
            inputs = [change(x) if i in chosen else x for i, x in enumerate(right)]
            given = [tf.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs]
            found = outcome(case.fn, *given, **case.kwargs)
            if isinstance(found, Exception):
                assert isinstance(found, TapeflowError), found
            else:
                check_like_numpy(case, inputs, found)


@every_op
def test_an_axis_that_is_not_there_is_refused(case: Case) -> None:
    random = np.random.default_rng(0)
    inputs = [sample(x, np.dtype("f4"), random) for x in case.inputs]
    for name in {"axis", "axes", "axis1", "source"} & set(inspect.signature(case.fn).parameters):
        for axis in (9, -9):
            with pytest.raises((OutOfRangeError, ArgumentError)):
                case.fn(*inputs, **{**case.kwargs, name: axis})


def test_every_public_operation_is_given_arrays_that_hardly_fit() -> None:
    rooms = {tf.nn: tf.nn.__all__, tf.linalg: tf.linalg.__all__, tf.fft: tf.fft.__all__}
    names = {n for n in tf.ops.__all__ if callable(getattr(tf, n))}
    names |= {n for room, listed in rooms.items() for n in listed if callable(getattr(room, n))
              and n[0].islower()}
    assert names - set(BY_NAME) == NO_ARRAYS | {"dropout", "matrix_inverse"}   # random; inv


whole = st.integers(-(2**63), 2**63 - 1)


@given(n=whole, kind=st.sampled_from([int, np.int64, tf.asarray]))
def test_whole_numbers_of_any_library_are_integers(n: int, kind: Any) -> None:
    assert arguments.integer("op", "n", kind(n)) == n
    assert arguments.integers("op", "n", kind(n)) == (n,)


@given(ns=st.lists(whole), kind=st.sampled_from([list, tuple, iter, np.array]))
def test_sequences_of_any_kind_are_integers(ns: list[int], kind: Any) -> None:
    given = np.array(ns, "int64") if kind is np.array else kind(ns)
    assert arguments.integers("op", "n", given) == tuple(ns)


@given(x=st.one_of(st.floats(), st.text(), st.none(), st.dictionaries(st.integers(), whole)))
def test_nothing_else_is_an_integer(x: Any) -> None:
    for check in (arguments.integer, arguments.integers):
        with pytest.raises(ArgumentError, match="op: n must be a whole number"):
            check("op", "n", x)


@pytest.mark.parametrize("x", ["1.5", b"1", None, [1.0, 2.0], 10**400])
def test_a_number_is_no_text_and_no_list(x: Any) -> None:
    with pytest.raises(ArgumentError, match="op: n must be a number"):
        arguments.number("op", "n", x)


@pytest.mark.parametrize("shape", [(2**62, 100), (2**64,), (0, 2**64), (-1, 100)])
@pytest.mark.parametrize("op", [tf.zeros, lambda shape: tf.broadcast_to(tf.ones(100), shape)])
def test_a_shape_that_no_memory_holds_is_refused(op: Call, shape: tuple[int, ...]) -> None:
    with pytest.raises((ArgumentError, ShapeError)):
        op(shape)


@pytest.mark.parametrize("shape", [(2**62, 100), (2**64,), (0, 2**64), (-1, 100)])
def test_sizes_whose_product_no_memory_holds_are_none(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"no memory holds|not negative"):
        arguments.sizes("op", shape)


def test_a_traced_number_says_that_it_is_traced() -> None:
    with pytest.raises(tf.errors.TraceError, match="static_argnames"):
        tf.jit(lambda n: tf.zeros(n))(3)


@pytest.mark.parametrize("name", ["TAPEFLOW_NUM_THREADS", "TAPEFLOW_TIMEOUT"])
def test_a_setting_that_is_no_number_is_named(name: str, monkeypatch: Any) -> None:
    monkeypatch.setenv(name, "x")
    monkeypatch.setattr(tf.config, "_threads", None)
    ask = {"TAPEFLOW_NUM_THREADS": tf.config.num_threads, "TAPEFLOW_TIMEOUT": tf.config.timeout}
    with pytest.raises(ArgumentError, match=f"{name}: it must hold a number"):
        ask[name]()


@pytest.mark.parametrize("text", ["0", "-2", "1.5"])
def test_a_number_of_threads_that_cannot_be_is_refused(text: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("TAPEFLOW_NUM_THREADS", text)
    monkeypatch.setattr(tf.config, "_threads", None)
    with pytest.raises(ArgumentError, match=r"TAPEFLOW_NUM_THREADS: .* of at least 1"):
        tf.config.num_threads()


def test_whether_to_compile_is_0_or_1(monkeypatch: Any) -> None:
    monkeypatch.setenv("TAPEFLOW_JIT", "maybe")
    with pytest.raises(ArgumentError, match="TAPEFLOW_JIT: it must hold 0 or 1"):
        tf.jit(lambda x: x + 1.0)(tf.ones(2))
    monkeypatch.setenv("TAPEFLOW_JIT", "")
    assert tf.jit(lambda x: x + 1.0)(1.0).item() == 2.0
