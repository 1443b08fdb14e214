"""The message codec and the membership protocol: all ranks in one process, no sockets."""
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeflow.distributed.agreement import Saying, disagreement
from tapeflow.distributed.membership import SENDER, Membership, hosts
from tapeflow.distributed.wire import (
    Bye,
    Data,
    Hello,
    Refused,
    Roster,
    Signature,
    Stop,
    TokenError,
    WireError,
    decode,
    encode,
    signature,
)

TEXT = st.text(max_size=20)
NUMBERS = st.integers(0, 2**40)
HELLOS = st.builds(Hello, NUMBERS, NUMBERS, TEXT, NUMBERS, TEXT)
SIGNATURES = st.builds(Signature, TEXT, TEXT, TEXT, st.lists(NUMBERS, max_size=4).map(tuple))
MESSAGES = st.one_of(
    HELLOS,
    st.builds(Roster, TEXT, st.lists(HELLOS, max_size=3).map(tuple)),
    st.builds(Refused, TEXT),
    st.just(Bye()),
    st.builds(Stop, TEXT),
    st.builds(Data, NUMBERS, SIGNATURES, TEXT),
)


@given(message=MESSAGES, sender=NUMBERS, token=TEXT)
def test_a_message_survives_the_wire(message, sender, token):
    assert decode(encode(token, sender, message), token) == (sender, message)


@given(raw=st.binary(max_size=200))
def test_garbage_is_no_message(raw):
    with pytest.raises(WireError):
        decode(raw, "token")


@given(message=MESSAGES, at=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_a_damaged_message_is_refused_or_well_formed(message, at, byte):
    raw = bytearray(encode("token", 1, message))
    raw[at % len(raw)] = byte
    try:
        _, read = decode(bytes(raw), "token")
    except WireError:
        return
    assert decode(encode("token", 1, read), "token") == (1, read)


@pytest.mark.parametrize("body", [
    None, 7, [], [1, 2], ["1", 2, "h", 3, "e"], [True, 2, "h", 3, "e"], [1, 2, "h", 3, "e", 4],
    [[1], 2, "h", 3, "e"], {"rank": 1}])
def test_a_field_of_the_wrong_type_is_refused(body):
    with pytest.raises(WireError):
        decode(msgpack.packb([1, "token", 0, "hello", body]), "token")


def test_deep_nesting_is_refused():
    with pytest.raises(WireError):
        decode(b"\x91" * 100_000, "token")


def test_another_jobs_token_is_refused():
    with pytest.raises(TokenError, match="not ours"):
        decode(encode("theirs", 0, Bye()), "ours")


def test_a_disagreement_names_ranks_types_and_lines():
    ours = signature("all_reduce sum", None, np.zeros(12, np.float32))
    theirs = signature("all_reduce sum", None, np.zeros(10, np.float32))
    error = disagreement(Saying(0, ours, "train.py:7"), Saying(3, theirs, "train.py:9"))
    assert error.why == "rank 3 sent f32[10], rank 0 sent f32[12]"
    assert "train.py:7" in str(error) and "train.py:9" in str(error)


def test_a_disagreement_about_the_op_names_both_ops():
    x = np.zeros(2)
    error = disagreement(Saying(0, signature("all_gather", "a", x), "train.py:7"),
                         Saying(1, signature("all_gather", "b", x), "train.py:9"))
    assert error.why == "rank 1 sent all_gather 'b' f64[2], rank 0 sent all_gather 'a' f64[2]"


def member(rank, size, host="h"):
    me = Hello(rank, size, host, 100 + rank, f"tcp://{rank}")
    return Membership(me, "key", "tcp://0")


class Post:
    """Carries messages between memberships in any order that `pick` chooses."""

    def __init__(self, members, pick):
        self.members, self.pick, self.bag = members, pick, []

    def send(self, sender, outgoing):
        self.bag += [(sender, item.to, item.message) for item in outgoing]

    def deliver(self, silent=()):
        while self.bag:
            sender, to, message = self.bag.pop(self.pick(len(self.bag)))
            if to in silent:
                continue
            self.send(to, self.members[to].receive(sender, message))


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 8), random=st.randoms())
def test_all_ranks_get_one_roster_in_whatever_order_they_come(size, random):
    members = [member(rank, size) for rank in range(size)]
    post = Post(members, random.randrange)
    for rank in random.sample(range(size), size):
        post.send(rank, members[rank].join())
    post.deliver()
    assert members[0].missing == []
    assert all(m.roster == members[0].roster is not None for m in members)
    assert [hello.rank for hello in members[0].roster.members] == list(range(size))


def together(size):
    members = [member(rank, size) for rank in range(size)]
    post = Post(members, lambda n: 0)
    for rank in range(size):
        post.send(rank, members[rank].join())
    post.deliver()
    return members, post


@settings(max_examples=50, deadline=None)
@given(size=st.integers(2, 8), dead=st.integers(0, 7), witness=st.integers(0, 7),
       random=st.randoms())
def test_every_survivor_learns_who_died(size, dead, witness, random):
    dead %= size
    witnesses = [r for r in range(size) if r != dead] if dead == 0 else [0, witness % size]
    members, post = together(size)
    post.pick = random.randrange
    for rank in witnesses:
        if rank != dead:
            post.send(rank, members[rank].lost(dead))
    post.deliver(silent={dead})
    for rank, survivor in enumerate(members):
        if rank != dead:
            assert survivor.failure == f"rank {dead} (pid {100 + dead} on h) died"


def test_an_end_is_not_a_death():
    members, post = together(3)
    post.send(1, members[1].leave())
    post.deliver()
    members[0].lost(1)
    assert {members[r].failure for r in (0, 2)} == {"rank 1 (pid 101 on h) has ended"}


def test_only_the_first_trouble_counts():
    members, post = together(3)
    post.send(2, members[2].stop("first"))
    post.deliver()
    post.send(1, members[1].stop("second"))
    post.deliver()
    assert [m.failure for m in members] == ["first"] * 3


def test_rank_0_names_who_is_missing():
    master = member(0, 4)
    master.join()
    master.receive(2, member(2, 4).me)
    assert master.missing == [1, 3]


@pytest.mark.parametrize(("rank", "size", "why"), [
    (1, 3, "rank 1 was told of 3 ranks, rank 0 of 2"),
    (2, 2, "there is no rank 2 among 2 ranks"),
    (0, 2, "rank 0 (pid 100 on h) is already here"),
])
def test_who_does_not_fit_is_refused(rank, size, why):
    master = member(0, 2)
    master.join()
    answer, = master.receive(rank, member(rank, size).me)
    assert (answer.to, answer.message) == (SENDER, Refused(why))
    assert why in master.turned_away[0]


def test_hosts_are_ordered_by_their_first_rank():
    hellos = [member(rank, 5, host).me for rank, host in enumerate("babab")]
    assert hosts(hellos) == ((0, 2, 4), (1, 3))
