"""What is known of CUDA graphs without a GPU: when a function is recorded, and what is copied for it."""

import contextlib
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from custom_models import cuda_graphs
from custom_models.cuda_graphs import EAGER_CALLS, MOST_RECORDINGS, GraphedFunction, list_leaves, map_leaves

CPU = torch.device("cpu")


def double(fixed, x, *rest):
    return x * 2


@pytest.fixture
def recorded(monkeypatch):
    """Recordings that note what they were made of and asked for; functions on the CPU are taken for ones on a GPU."""
    seen = []

    class FakeRecording:
        def __init__(self, function, device, fixed, arguments):
            self.function = function

        def replay(self, fixed, arguments):
            seen.append((fixed, *arguments))
            return self.function(fixed, *arguments)

    monkeypatch.setattr(cuda_graphs, "Recording", FakeRecording)
    monkeypatch.setattr(cuda_graphs, "COMPLAINTS", [])
    return seen


def make_graphed(function):
    graphed = GraphedFunction(function, CPU, "this")
    graphed._is_recordable = True
    return graphed


def test_on_the_cpu_nothing_is_recorded(recorded):
    graphed = GraphedFunction(double, CPU, "")
    assert [graphed(None, torch.ones(1)).item() for _ in range(5)] == [2] * 5 and not recorded


def test_a_function_is_recorded_once_the_same_shapes_came_a_third_time(recorded):
    graphed = make_graphed(double)
    for size in (1, 2, 1, 2, 1, 1):
        assert graphed("fixed", torch.ones(size), 0.5, None).tolist() == [2] * size
    assert EAGER_CALLS == 2 and [x.tolist() for _, x, *_ in recorded] == [[1], [1]]


@pytest.mark.parametrize(
    ("other", "fits"),
    [
        ((torch.zeros(2), 0.1), True),
        ((torch.zeros(3), 0.1), False),
        ((torch.zeros(2).int(), 0.1), False),
        ((torch.zeros(2), None), False),
    ],
)
def test_a_recording_fits_other_numbers_and_no_other_shape(recorded, other, fits):
    graphed = make_graphed(double)
    for _ in range(3):
        graphed(None, torch.ones(2), 0.2)
    graphed(None, *other)
    assert len(recorded) == 1 + fits


class Stream:
    def wait_stream(self, other):
        pass


def test_a_replay_reads_the_new_arguments_and_what_is_fixed_only_when_it_is_another(monkeypatch):
    """On the CPU, where the function itself stands for the graph of kernels: it writes to the recording's outputs."""

    def compute(fixed, columns, scale, nothing):
        assert nothing is None
        return {"sum": fixed["weight"] + columns["x"] * scale}

    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: Stream())
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", SimpleNamespace)
    fixed = {"weight": torch.tensor([100.0])}
    recording = cuda_graphs.Recording(compute, CPU, fixed, ({"x": torch.tensor([1.0])}, 2.0, None))

    def launch():
        recording._outputs["sum"].copy_(compute(recording._own_fixed, *recording._own_arguments)["sum"])

    recording._graph.replay = launch
    assert recording.replay(fixed, ({"x": torch.tensor([3.0])}, 2.0, None))["sum"].item() == 106
    assert recording.replay(fixed, ({"x": torch.tensor([3.0])}, 0.5, None))["sum"].item() == 101.5
    other = {"weight": torch.tensor([200.0])}
    assert recording.replay(other, ({"x": torch.tensor([4.0])}, 0.5, None))["sum"].item() == 202
    assert fixed["weight"].item() == 100, "its own tensors are not the caller's"


def test_a_shape_that_comes_more_often_takes_the_place_of_a_rare_one(recorded):
    graphed = make_graphed(double)
    for size in range(MOST_RECORDINGS):
        for _ in range(3 + size):
            graphed(None, torch.ones(size))
    for _ in range(7):
        graphed(None, torch.ones(9))
    assert [key[0][0][0] for key in graphed._recordings] == [1, 2, 3, 9]


def test_shapes_that_keep_changing_do_not_fill_the_memory(recorded):
    graphed = make_graphed(double)
    for size in range(3 * MOST_RECORDINGS):
        for _ in range(4):
            graphed(None, torch.ones(size))
    assert len(graphed._recordings) == MOST_RECORDINGS


def test_what_cannot_be_recorded_runs_as_it_is_and_is_said_once(monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    monkeypatch.setattr(cuda_graphs, "Recording", refuse)
    monkeypatch.setattr(cuda_graphs, "COMPLAINTS", complaints := [])
    graphed = make_graphed(double)
    assert [graphed(None, torch.ones(1)).item() for _ in range(9)] == [2] * 9
    assert complaints == [
        "this runs without a CUDA graph, which is slower: operation not permitted when stream is capturing"
    ]


class Pair(NamedTuple):
    first: int
    second: list[int]


def test_a_named_tuple_keeps_its_kind():
    assert map_leaves(lambda leaf: leaf * 2, Pair(1, [2])) == Pair(2, [4])


def test_the_leaves_of_a_tree():
    tree = ({"a": 1, "b": [2, (3,)]}, None)
    assert list(list_leaves(tree)) == [1, 2, 3, None]
    assert map_leaves(lambda leaf: leaf and leaf * 2, tree) == ({"a": 2, "b": [4, (6,)]}, None)
