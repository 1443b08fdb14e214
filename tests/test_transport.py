"""Sockets and shared memory: what goes through, and what is refused."""
import mmap
import socket
import threading
import time

import ml_dtypes
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from ranks import free_port, nothing_left_behind, run_ranks
from tapeflow.distributed import shared
from tapeflow.distributed.environment import Place
from tapeflow.distributed.group import Group
from tapeflow.distributed.membership import Membership
from tapeflow.distributed.ring import COMBINE
from tapeflow.distributed.shared import HostBlock
from tapeflow.distributed.transport import Transport
from tapeflow.distributed.wire import FRAME_BYTES, Data, Hello, encode, signature
from tapeflow.errors import DistributedError


def never(missing, waited):
    assert waited < 20, f"ranks {missing} did not come"


def in_one_block(size, work):
    """[work(block) of each rank], in threads that share a block."""
    raw, results = mmap.mmap(-1, shared.block_bytes(size)), [None] * size

    def run(index):
        results[index] = work(HostBlock(raw, index, size, never))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.fixture
def small_halves(monkeypatch):
    """Slots so small that short arrays take many pieces, and no waiting in loops."""
    monkeypatch.setattr(shared, "_HALF", 4096)
    monkeypatch.setattr(shared, "_AT_ONCE", 4096)
    monkeypatch.setattr(shared, "_GLANCES", 1)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 1023, 5000])
@pytest.mark.usefixtures("small_halves")
def test_a_block_reduces_in_the_order_of_ranks(size, count):
    values = np.random.default_rng(size).normal(size=(size, count)).astype(np.float32)
    want = np.zeros(count, np.float32)
    for row in values:
        want = want + row

    def work(block):
        out = np.empty(count, np.float32)
        cuts = [0, count // 3, count // 3, count // 2]   # as several arrays, one of them empty
        block.all_reduce(np.split(values[block.index], cuts), np.split(out, cuts), "sum", 1)
        return out

    for out in in_one_block(size, work):
        np.testing.assert_array_equal(out, want)


@settings(max_examples=10, deadline=None)
@given(calls=st.lists(st.tuples(st.sampled_from(["reduce", "broadcast", "gather", "agree"]),
                                st.sampled_from([0, 3, 1000, 3000])), min_size=1, max_size=12))
def test_a_block_is_not_overwritten_before_all_have_read_it(calls):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "_HALF", 4096)
        patch.setattr(shared, "_GLANCES", 1)
        assert all(in_one_block(3, lambda block: [_right(block, n, *c)
                                                  for n, c in enumerate(calls)]))


def _right(block, number, call, count):
    """Whether one more collective gives what it must; values differ from call to call."""
    mine, out = np.full(count, 10. * number + block.index), np.empty((3, count))
    match call:
        case "reduce":
            block.all_reduce([mine], [out[0]], "max", 1)
            return bool((out[0] == 10 * number + 2).all())
        case "broadcast":
            block.broadcast(mine, number % 3)
            return bool((mine == 10 * number + number % 3).all())
        case "gather":
            block.all_gather(mine, list(out))
            return bool((out == 10 * number + np.arange(3)[:, None]).all())
        case "agree":
            return block.agree(b"same", str(block.index).encode()) is None


def test_a_block_says_who_is_missing():
    def watch(missing, waited):
        raise DistributedError("test", got="", why=f"{missing} are missing", fix="")

    block = HostBlock(mmap.mmap(-1, shared.block_bytes(3)), 1, 3, watch)
    with pytest.raises(DistributedError, match=r"\[0, 2\] are missing"):
        block.meet()


def test_a_block_file_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(FileNotFoundError):
        shared.attach(tmp_path / "block", 2)
    shared.create(tmp_path / "block", 2).close()
    with pytest.raises(FileExistsError):
        (tmp_path / "other.new").touch()
        shared.create(tmp_path / "other", 2)
    shared.attach(tmp_path / "block", 2).close()


HOSTS = ["aa", "aaa", "ab", "aab", "abab"]


@pytest.mark.parametrize("hosts", HOSTS)
@pytest.mark.parametrize("op", COMBINE)
def test_all_reduce_over_hosts_and_within(hosts, op):
    values = np.random.default_rng(1).normal(size=(len(hosts), 3, 5)).astype(np.float32)
    results = run_ranks(hosts, lambda group: group.all_reduce(values[group.rank], op))
    want = values.mean(0) if op == "mean" else COMBINE[op].reduce(values)
    np.testing.assert_allclose(results[0], want, rtol=1e-5, atol=1e-6)
    assert all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.parametrize("hosts", HOSTS)
def test_broadcast_and_all_gather_over_hosts_and_within(hosts):
    def work(group):
        group.barrier()
        mine = np.full((2, 3), group.rank)
        return group.broadcast(mine, root=1).tolist(), group.all_gather(mine)[::2, 0].tolist()

    want = [[1] * 3] * 2, list(range(len(hosts)))
    assert run_ranks(hosts, work) == [want] * len(hosts)


@pytest.mark.parametrize("dtype", ["bool", "i1", "u8", "f2", "f4", "f8", "bfloat16"])
@pytest.mark.parametrize("hosts", ["aa", "ab"])
def test_every_dtype_travels(hosts, dtype):
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    results = run_ranks(hosts, lambda group: group.all_reduce(
        np.array([group.rank, 1, 0]).astype(kind), "max"))
    assert all(result.dtype == kind and result.astype(int).tolist() == [1, 1, 0]
               for result in results)


@pytest.mark.parametrize("hosts", ["aa", "ab"])
def test_arrays_larger_than_a_frame_travel_in_place(hosts):
    count = FRAME_BYTES // 2

    def work(group):
        x = np.arange(count) * (group.rank + 1)
        assert group.all_reduce(x, "sum", out=x) is x
        return x

    for x in run_ranks(hosts, work):
        np.testing.assert_array_equal(x, np.arange(count) * 3)


def test_a_large_result_takes_memory_that_nobody_holds():
    def work(group):
        x = np.ones(300_000)
        kept = group.all_reduce(x, "sum")
        places = []
        for factor in range(2, 8):
            last = group.all_reduce(x * factor, "sum")
            places.append(last.ctypes.data)
            assert (last == 2 * factor).all() and (kept == 2).all()
        return kept.ctypes.data not in places and len(set(places)) < len(places)

    assert run_ranks("aa", work) == [True, True]


@pytest.mark.parametrize("hosts", HOSTS)
def test_arrays_are_reduced_together_as_each_would_be_alone(hosts):
    rng, shapes = np.random.default_rng(2), [(200, 300), (), (0, 3), (70_000,), (2, 3)]
    values = [[rng.normal(size=shape) for shape in shapes] for _ in hosts]

    def work(group):
        xs = [x.T.copy().T for x in values[group.rank]]   # in Fortran's order
        outs = [np.empty(shape) for shape in shapes]
        group.all_reduce_together(xs, "mean", "all", outs)
        return outs

    for outs in run_ranks(hosts, work):
        for out, *terms in zip(outs, *values, strict=True):
            np.testing.assert_allclose(out, np.mean(terms, axis=0), rtol=1e-13, atol=1e-15)


def test_transposed_empty_and_0d_arrays_are_reduced():
    def work(group):
        return [group.all_reduce(x, "sum") for x in (
            np.arange(6.).reshape(2, 3).T, np.zeros((0, 4)), np.array(1.5))]

    transposed, empty, scalar = run_ranks("aa", work)[1]
    assert transposed.tolist() == (2 * np.arange(6.).reshape(2, 3).T).tolist()
    assert empty.shape == (0, 4) and scalar.shape == () and scalar == 3


@pytest.mark.parametrize("hosts", ["aa", "ab", "aab"])
@pytest.mark.parametrize(("work", "why"), [
    (lambda g: g.all_reduce(np.zeros(10 + 2 * (g.rank == 0), np.float32)),
     "rank 1 sent f32[10], rank 0 sent f32[12]"),
    (lambda g: g.all_reduce(np.zeros(4, np.float32 if g.rank else np.float64)),
     "rank 1 sent f32[4], rank 0 sent f64[4]"),
    (lambda g: g.broadcast(np.zeros(1)) if g.rank else g.all_reduce(np.zeros(1)),
     "rank 1 sent broadcast from 0 f64[1], rank 0 sent all_reduce mean f64[1]"),
    (lambda g: [g.all_reduce(np.zeros(1), name=n) for n in ("ab" if g.rank else "ba")],
     "rank 1 sent all_reduce mean 'a' f64[1], rank 0 sent all_reduce mean 'b' f64[1]"),
])
def test_a_mismatch_names_ranks_types_and_lines(hosts, work, why):
    errors = run_ranks(hosts, work)
    assert all(isinstance(error, DistributedError) for error in errors)
    named = why.split(", ")
    assert any(set(named) == set(error.why.split(", ")) for error in errors)
    assert any(str(error).count("test_transport.py:") >= 2 for error in errors)


def test_a_rank_that_ends_early_is_named():
    errors = run_ranks("aaa", lambda g: g.rank == 1 or g.barrier())
    assert all("rank 1 (pid" in errors[rank].why and "has ended" in errors[rank].why
               for rank in (0, 2))


def test_a_rank_that_stays_away_is_named(monkeypatch):
    done = threading.Event()

    def work(group):
        if group.rank == 1:
            return done.wait(20)
        try:
            group.barrier()
        finally:
            done.set()

    errors = run_ranks("aa", work, timeout=0.2)
    assert errors[0].why == "rank 1 did not come within 2 s"


def test_a_group_that_has_failed_stays_failed():
    def work(group):
        with pytest.raises(DistributedError):
            group.all_reduce(np.zeros(1 + group.rank))
        with pytest.raises(DistributedError, match=r"rank 1 sent f64\[2\]"):
            group.barrier()
        return True

    assert run_ranks("aa", work) == [True, True]


def test_missing_ranks_are_named_to_all_who_came():
    errors = run_ranks("aa", lambda group: None, size=4, timeout=0.5)
    assert [error.why for error in errors] == ["ranks 2, 3 did not come within 0.5 s"] * 2


def test_a_wrong_token_is_refused():
    errors = run_ranks("aa", lambda group: None, timeout=0.5,
                       token=lambda rank: f"token {rank}")
    assert "the job token is not ours" in errors[1].why
    assert "rank 1 did not come" in errors[0].why


def test_a_port_in_use_is_named():
    with socket.socket() as taken, nothing_left_behind():
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DistributedError, match=f"{port}: .*|Address already in use"):
            Group(Place(0, 2, 0, "127.0.0.1", port, "a"))


def test_a_rank_0_that_does_not_answer_is_named():
    port = free_port()
    with (nothing_left_behind(),
          pytest.raises(DistributedError, match=rf"rank 0 did not answer at 127.0.0.1:{port}")):
        Group(Place(1, 2, 0, "127.0.0.1", port, "a"), timeout=0.3)


@pytest.mark.parametrize("noise", [
    [b""], [b"\x00" * 100], [b"\xff", b"x", b"y"], [encode("token", 1, Hello(1, 9, "", 0, ""))],
    [encode("token", 0, Hello(0, 2, "", 0, ""))], [b"x" * (FRAME_BYTES + 1)]])
def test_noise_at_the_inbox_does_no_harm(noise):
    port = free_port()

    def work(group):
        return group.all_reduce(np.ones(3), "sum").tolist()

    def disturb():
        with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
            stranger.setsockopt(zmq.LINGER, 500)
            stranger.connect(f"tcp://127.0.0.1:{port}")
            stranger.send_multipart(noise)

    def rank(index):
        with Group(Place(index, 2, 0, "127.0.0.1", port, "a"), token="token", timeout=5) as group:
            if index == 0:
                disturb()
            results[index] = work(group)

    results = [None, None]
    threads = [threading.Thread(target=rank, args=(i,)) for i in range(2)]
    disturber = threading.Thread(target=disturb)
    for thread in (disturber, *threads):
        thread.start()
    for thread in (disturber, *threads):
        thread.join(20)
    assert results == [[2.0] * 3] * 2


def test_bytes_that_are_no_zeromq_do_no_harm():
    with nothing_left_behind(), Transport(0, "token", "127.0.0.1", None) as transport:
        transport.start(Membership(Hello(0, 2, "a", 1, ""), "key", ""))
        host, port = transport.endpoint.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n" * 1000)
        assert transport.membership.missing == [1]
        assert transport.wait_for_roster(0.1) is None


def test_a_large_piece_is_sent_without_copying_and_tracked():
    with (Transport(0, "token", "127.0.0.1", None) as a,
          Transport(1, "token", "127.0.0.1", None) as b):
        a.start(Membership(Hello(0, 2, "a", 1, a.endpoint), "key", a.endpoint))
        b.start(Membership(Hello(1, 2, "b", 1, b.endpoint), "key", a.endpoint))
        assert a.wait_for_roster(5) and b.wait_for_roster(5)
        payload = np.arange(100_000, dtype=np.uint8)
        header = Data(1, signature("test", None, payload), "here")
        tracker = a.send(1, header, payload)
        arrival = b.receive(5)
        assert arrival.header == header and bytes(arrival.payload) == payload.tobytes()
        tracker.wait(5)
        assert a.send(1, header, payload[:10]).done


def test_a_broken_link_is_noticed_at_once():
    with Transport(0, "token", "127.0.0.1", None) as a:
        a.start(Membership(Hello(0, 2, "a", 1, a.endpoint), "key", a.endpoint))
        b = Transport(1, "token", "127.0.0.1", None)
        b.start(Membership(Hello(1, 2, "b", 7, b.endpoint), "key", a.endpoint))
        assert b.wait_for_roster(5)
        start = time.monotonic()
        b.membership.leave = list   # it goes without a word
        b.close()
        while a.failure() is None:
            assert time.monotonic() - start < 5
            time.sleep(0.01)
        assert a.failure() == "rank 1 (pid 7 on b) died"
