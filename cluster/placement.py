"""Which node each process of a run could have: whether a cluster, or this machine, can ever place them all.

    bundles, nodes -> enough in all? -> spread, the largest first -> else every way there is -> a node each, or None

A fraction of a GPU is a part of one GPU: five times 0.4 do not fit on two.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

from cluster.plan import Bundle

KINDS = ("CPU", "GPU")  # of resources
ROUNDING = 1e-6  # 0.1 + 0.2 + 0.7 is no more than 1
Request = tuple[float, float]  # CPUs, and GPUs or a fraction of one, that a process asks for


class Node(NamedTuple):
    """A machine of the cluster, with what it has in all, whether free or taken."""

    id: str
    name: str
    has: dict[str, float]  # CPU and GPU

    @property
    def resources(self) -> Request:
        """Return its CPUs and GPUs."""
        return self.has["CPU"], self.has["GPU"]


class FreeResources:
    """The CPUs and GPUs of a node that no process has been given yet."""

    def __init__(self, cpus: float, gpus: float):
        self.cpus, self.gpus = cpus, [1.0] * int(gpus)  # the free part of each GPU

    def take(self, cpus: float, gpu: float) -> bool:
        """Give a process its CPUs, and its GPU on the fullest one that has room; return False where none has.

        Where there is no room, nothing is taken.
        """
        fits = [i for i, free in enumerate(self.gpus) if free + ROUNDING >= gpu]
        if cpus > self.cpus + ROUNDING or (gpu and not fits):
            return False
        self.cpus -= cpus
        if gpu:
            self.gpus[min(fits, key=lambda i: self.gpus[i])] -= gpu
        return True


def format_resources(resources: dict[str, float]) -> str:
    """Return resources in words: `2 CPU 1 GPU`."""
    return " ".join(f"{resources[key]:g} {key}" for key in KINDS if resources.get(key)) or "0 CPU"


def place_bundles(bundles: list[Bundle], nodes: list[Node]) -> list[Node] | None:
    """Return a node for each bundle, or None where there is no way to place them all.

    Args:
        bundles: what each process takes: its CPUs, and its GPU or fraction of one.
        nodes: the nodes of the cluster, all of whose resources count as free.
    """
    requests = [(bundle.get("CPU", 0.0), bundle.get("GPU", 0.0)) for bundle in bundles]
    there = (sum(node.has["CPU"] for node in nodes), sum(int(node.has["GPU"]) for node in nodes))
    if any(sum(asked) > has + ROUNDING for asked, has in zip(zip(*requests, strict=True), there, strict=False)):
        return None
    return _spread_requests(requests, nodes) or _search_all_ways(requests, nodes)


def _spread_requests(requests: list[Request], nodes: list[Node]) -> list[Node] | None:
    """Place requests for a GPU first, then the largest, each on the node with the most CPUs left."""
    free, where = {node.id: FreeResources(*node.resources) for node in nodes}, {}
    for i in sorted(range(len(requests)), key=lambda i: (-requests[i][1], -requests[i][0])):
        order = sorted(nodes, key=lambda node: -free[node.id].cpus)
        where[i] = next((node for node in order if free[node.id].take(*requests[i])), None)
    return None if None in where.values() else [where[i] for i in range(len(requests))]


def _search_all_ways(requests: list[Request], nodes: list[Node]) -> list[Node] | None:
    """Try all ways, node after node: of those with equally many of each rarer request, the one with most of the
    commonest is kept.

    A run has four kinds of request at most: training process, learners, env runners, evaluator.
    """
    (common, total), *others = kinds = Counter(requests).most_common()
    for kind, number in kinds:  # alone, as if there were no others
        if sum(_count_most(node.resources, kind, number) or 0 for node in nodes) < number:
            return None
    ways = {(0,) * len(others): (0, ())}  # how many of the others are placed -> of the common kind, and how
    for node in nodes:
        longer = {}
        for before, (number, way) in ways.items():
            for counts, most_common in _list_node_shares(node.resources, common, total, tuple(others)):
                lacking = [most - n for n, (_, most) in zip(before, others, strict=True)]
                placed = tuple(map(min, zip(counts, lacking, strict=True)))  # a share may have more than there are left
                after = tuple(map(sum, zip(before, placed, strict=True)))
                more = min(most_common, total - number)
                if after not in longer or number + more > longer[after][0]:
                    longer[after] = (number + more, (way, node, (more, *placed)))
        ways = longer
    number, way = ways.get(tuple(most for _, most in others), (0, ()))
    if number < total:
        return None
    left = {kind: [i for i, request in enumerate(requests) if request == kind] for kind, _ in kinds}
    where = {}
    while way:
        way, node, counts = way
        for indices, count in zip(left.values(), counts, strict=True):
            where |= {indices.pop(): node for _ in range(count)}
    return [where[i] for i in range(len(requests))]


@cache
def _list_node_shares(
    resources: Request, common: Request, total: int, others: tuple
) -> list[tuple[tuple[int, ...], int]]:
    """Return the largest shares that a node can have: so many of each rarer request, and the most of the common one.

    A share is left out if the node could take one more of a rarer request and still as many of the common one.
    """
    most = [_count_most(resources, kind, number) or 0 for kind, number in others]
    shares = {}
    for counts in product(*(range(number + 1) for number in most)):
        beside = [kind for (kind, _), count in zip(others, counts, strict=True) for _ in range(count)]
        if (common_too := _count_most(resources, common, total, beside)) is not None:
            shares[counts] = common_too

    def is_largest(counts: tuple[int, ...]) -> bool:
        longer = (counts[:i] + (counts[i] + 1,) + counts[i + 1 :] for i in range(len(counts)))
        return all(shares.get(one, -1) < shares[counts] for one in longer)

    return [(counts, number) for counts, number in shares.items() if is_largest(counts)]


def _count_most(resources: Request, common: Request, total: int, beside: Sequence[Request] = ()) -> int | None:
    """Return how many of the common request fit on a node beside others; None where the others alone do not fit."""
    fit = None
    for number in range(total + 1):
        free = FreeResources(*resources)
        requests = sorted([*beside, *[common] * number], key=lambda request: -request[1])
        if not all(free.take(*request) for request in requests):
            return fit
        fit = number
    return fit
