"""Where the processes of a run could be: found wherever there is a way, and only then."""

import random
from collections import Counter
from functools import cache

import pytest

from cluster import placement
from cluster.placement import Node, place_bundles


def test_a_run_is_placed_where_it_fits_and_only_there():
    large, small = Node("a", "large", {"CPU": 4.0, "GPU": 1.0}), Node("b", "small", {"CPU": 2.0, "GPU": 0.0})
    runners = [{"CPU": 1.0}] * 4
    assert place_bundles([{"CPU": 1.0, "GPU": 1.0}, *runners], [large, small]) is not None
    assert place_bundles([{"CPU": 1.0, "GPU": 1.0}], [large, small]) == [large]
    four, three = Node("a", "four", {"CPU": 4.0, "GPU": 0.0}), Node("b", "three", {"CPU": 3.0, "GPU": 0.0})
    assert place_bundles([{"CPU": 3.0}, {"CPU": 2.0}, {"CPU": 2.0}], [four, three]) == [three, four, four], (
        "only packed"
    )
    assert place_bundles([{"CPU": 3.0}, {"CPU": 3.0}], [large, small]) is None, "six CPUs, but not on one node"
    assert place_bundles([{"GPU": 0.5}, {"GPU": 0.5}], [large, small]) == [large, large]
    assert place_bundles([{"GPU": 0.5}] * 3, [large, small]) is None


def test_a_fraction_of_a_gpu_is_a_part_of_one():
    node = Node("a", "node", {"CPU": 8.0, "GPU": 2.0})
    assert place_bundles([{"GPU": 0.4}] * 4, [node]) is not None
    assert place_bundles([{"GPU": 0.4}] * 5, [node]) is None, "two GPUs, but no fifth part on either"
    assert place_bundles([{"GPU": 0.1}] * 20, [node]) is not None
    assert place_bundles([{"GPU": 1.0}, *[{"GPU": 0.5}] * 2], [node]) is not None


def test_what_only_fits_in_one_way_is_found():
    two, one = Node("a", "two", {"CPU": 8.0, "GPU": 2.0}), Node("b", "one", {"CPU": 8.0, "GPU": 1.0})
    bundles = [{"CPU": 8.0}, *[{"CPU": 1.0, "GPU": 0.5}] * 4, {"GPU": 1.0}]
    assert place_bundles(bundles, [two, one]) == [one, two, two, two, two, one]


def test_a_way_is_found_just_where_there_is_one():
    """Against trying every process on every GPU."""
    draw, found = random.Random(1), Counter()
    for _ in range(400):
        nodes = [Node(str(i), str(i), {"CPU": draw.randint(1, 6), "GPU": draw.randint(0, 2)}) for i in range(2)]
        kinds = [{"CPU": draw.randint(0, 4), "GPU": draw.choice((0, 0.3, 0.4, 0.5, 0.6, 1))} for _ in range(2)]
        bundles = [kinds[0], *[kinds[1]] * draw.randint(1, 4), *[{"CPU": 1}] * draw.randint(0, 3)]
        where = place_bundles(bundles, nodes)
        assert (where is not None) == fits(bundles, nodes), (bundles, nodes)
        found[where is not None] += 1
        for node in nodes if where else ():
            assert fits([b for b, at in zip(bundles, where, strict=True) if at == node], [node])
    assert min(found.values()) > 100


@pytest.mark.parametrize(
    ("seeds", "cpus"),
    [(43, 16.0), (40, 127.0)],  # too few CPUs; enough of them, and of GPUs in all, but 0.6 of a GPU only once on each
)
def test_that_many_seeds_do_not_fit_is_said_at_once(seeds, cpus, monkeypatch):
    calls = []
    count_most = placement._count_most
    monkeypatch.setattr(placement, "_count_most", lambda *words: calls.append(words) or count_most(*words))
    nodes = [Node(str(i), str(i), {"CPU": cpus - i % 2, "GPU": 4.0}) for i in range(16)]
    share = 0.5 if cpus == 16 else 0.6
    seed = [{"CPU": 5.0}, {"CPU": 3.0}, *[{"GPU": share}] * (1 if cpus == 16 else 2)]
    assert place_bundles(seed * seeds, nodes) is None
    assert len(calls) <= 3 * len(nodes), "each kind of request alone, and no combinations"


def fits(bundles: list[dict], nodes: list[Node]) -> bool:
    asked = tuple((bundle.get("CPU", 0), round(10 * bundle.get("GPU", 0))) for bundle in bundles)

    @cache
    def rest(i: int, left: tuple) -> bool:
        if i == len(asked):
            return True
        cpus, tenths = asked[i]
        for n, (free, gpus) in enumerate(left):
            for g in range(len(gpus)) if tenths else (None,):
                if cpus <= free and (g is None or tenths <= gpus[g]):
                    taken = gpus if g is None else (*gpus[:g], gpus[g] - tenths, *gpus[g + 1 :])
                    if rest(i + 1, (*left[:n], (free - cpus, taken), *left[n + 1 :])):
                        return True
        return False

    return rest(0, tuple((node.has["CPU"], (10,) * int(node.has["GPU"])) for node in nodes))
