"""Event files, read back record by record with the protocol's own definitions."""
from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.graph_pb2 import GraphDef

import tapeflow as tf
from tapeflow.errors import (
    ArgumentError,
    MissingExtraError,
    ShapeError,
    StateError,
    TapeflowError,
)


def _events(folder: Path) -> list[Any]:
    """TFRecord framing: u64 length, u32 checksum, the bytes, u32 checksum."""
    (file,) = folder.glob("events.out.tfevents.*")
    return list(map(_parsed, _records(BytesIO(file.read_bytes()))))


def _records(stream: BytesIO) -> Iterator[bytes]:
    while head := stream.read(12):
        yield stream.read(struct.unpack("<Q", head[:8])[0])
        stream.read(4)


def _parsed(data: bytes) -> Any:
    event = Event()
    event.ParseFromString(data)
    return event


def _values(folder: Path) -> list[tuple[int, Any]]:
    return [(event.step, value) for event in _events(folder) for value in event.summary.value]


def _graph(folder: Path) -> Any:
    definition = GraphDef()
    (data,) = [event.graph_def for event in _events(folder) if event.graph_def]
    definition.ParseFromString(data)
    return definition


def test_scalars_come_back_with_their_steps(tmp_path: Path) -> None:
    with tf.summary.Writer(tmp_path) as writer:
        writer.scalar("loss", tf.asarray(0.5), step=tf.Variable(3))
        writer.scalar("loss", 0.25, step=4)
    assert [(step, v.tag, v.simple_value) for step, v in _values(tmp_path)] == [
        (3, "loss", 0.5), (4, "loss", 0.25)]


def test_a_histogram_counts_every_value(tmp_path: Path) -> None:
    with tf.summary.Writer(tmp_path) as writer:
        writer.histogram("weights", tf.Variable(np.arange(10.0)), step=1)
    ((step, value),) = _values(tmp_path)
    assert (step, value.histo.num, value.histo.min, value.histo.max) == (1, 10, 0, 9)
    assert sum(value.histo.bucket) == 10


@pytest.mark.parametrize(("image", "level"), [
    (np.full((4, 6), 0.5, np.float32), 128), (np.full((4, 6, 3), 7, np.uint8), 7)])
def test_an_image_comes_back_pixel_by_pixel(tmp_path: Path, image: Any, level: int) -> None:
    from PIL import Image

    with tf.summary.Writer(tmp_path) as writer:
        writer.image("digit", image, step=2)
    ((step, value),) = _values(tmp_path)
    pixels = np.asarray(Image.open(BytesIO(value.image.encoded_image_string)))
    assert step == 2 and pixels.shape[:2] == (4, 6) and (pixels == level).all()


def test_a_text_comes_back(tmp_path: Path) -> None:
    with tf.summary.Writer(tmp_path) as writer:
        writer.text("note", "**bold**", step=0)
    ((_, value),) = _values(tmp_path)
    assert value.tensor.string_val[0] == b"**bold**"


def test_hparams_and_what_was_reached_lie_in_the_same_run(tmp_path: Path) -> None:
    with tf.summary.Writer(tmp_path) as writer:
        writer.hparams({"rate": 0.1, "units": 3}, {"accuracy": tf.asarray(0.75)})
    values = [v for _, v in _values(tmp_path)]
    assert {v.metadata.plugin_data.plugin_name for v in values} == {"hparams", ""}
    assert [v.simple_value for v in values if v.tag == "accuracy"] == [0.75]


def test_the_graph_has_the_scopes_of_layers_and_the_names_of_variables(tmp_path: Path) -> None:
    model = tf.nn.Sequential([tf.nn.Dense(3, "relu", name="hidden1"),
                              tf.nn.Dense(2, name="outputs")])
    step = tf.jit(lambda x: model(x))
    with tf.summary.Writer(tmp_path) as writer:
        writer.graph(step, tf.ones((5, 4)))
    nodes = {node.name: node for node in _graph(tmp_path).node}
    assert {"hidden1/kernel", "hidden1/bias", "hidden1/matmul", "hidden1/relu", "outputs/matmul",
            "return"} <= nodes.keys()
    assert set(nodes["hidden1/matmul"].input) >= {"hidden1/kernel"}
    shape = nodes["hidden1/matmul"].attr["_output_shapes"].list.shape[0]
    assert [d.size for d in shape.dim] == [5, 3]
    assert "test_summary.py" in nodes["hidden1/matmul"].attr["line"].s.decode()


def test_every_dtype_has_its_number_in_the_graph(tmp_path: Path) -> None:
    from tensorboardX.proto.types_pb2 import DataType

    step = tf.jit(lambda *xs: [x + x for x in xs])
    dtypes = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bfloat16")
    with tf.summary.Writer(tmp_path) as writer:
        writer.graph(step, *(tf.ones(2, dtype) for dtype in dtypes))
    found = [n.attr["dtype"].type for n in _graph(tmp_path).node if n.op == "Placeholder"]
    known = dict(DataType.items())
    assert found == [known.get(f"DT_{dtype.upper()}", {"uint32": 22, "uint64": 23}.get(dtype))
                     for dtype in dtypes]


def test_every_edge_of_the_graph_leads_to_a_node(tmp_path: Path) -> None:
    w = tf.Variable([1.0, 2.0], name="w")
    optimizer = tf.optim.SGD(0.1, momentum=0.9)
    step = tf.jit(lambda: optimizer.minimize(lambda: tf.sum(w * w), [w]))
    with tf.summary.Writer(tmp_path) as writer:
        writer.graph(step)
    nodes = _graph(tmp_path).node
    names = [node.name for node in nodes]
    assert len(set(names)) == len(names)
    assert {edge.split(":")[0] for node in nodes for edge in node.input} <= set(names)
    assert any(name.startswith("sgd/") for name in names)


@pytest.mark.parametrize(("write", "error", "says"), [
    (lambda w: w.scalar("x", [1.0, 2.0], 0), TapeflowError, "2 elements, not one"),
    (lambda w: w.histogram("x", [], 0), ArgumentError, "nothing to count"),
    (lambda w: w.image("x", np.zeros((2, 3, 3, 3)), 0), ShapeError, "one image of a batch"),
    (lambda w: w.graph(lambda x: x, 1.0), ArgumentError, "tf.jit"),
    (lambda w: (w.close(), w.scalar("x", 1.0, 0)), StateError, "make a new writer"),
])
def test_what_cannot_be_written_is_refused(tmp_path: Path, write: Callable[[Any], Any],
                                           error: type[Exception], says: str) -> None:
    with tf.summary.Writer(tmp_path) as writer, pytest.raises(error, match=says):
        write(writer)


def test_images_without_pillow_say_what_to_install(tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with (tf.summary.Writer(tmp_path) as writer,
          pytest.raises(MissingExtraError, match=r"tapeflow\[viz\]")):
        writer.image("digit", np.zeros((2, 2)), 0)


def test_a_traced_value_cannot_be_written(tmp_path: Path) -> None:
    with tf.summary.Writer(tmp_path) as writer, pytest.raises(TapeflowError, match="traced"):
        tf.jit(lambda x: writer.scalar("x", x, 0))(tf.asarray(1.0))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ArgumentError, match="Writer: no file can be written there"):
        tf.summary.Writer(tmp_path / "file" / "run")
