"""Which node each process of a run could have: whether a cluster, or this machine, can ever place them all.

bundles, nodes -> spread by the largest first -> and where that fails, every way there is -> a node per bundle, or None

A fraction of a GPU is a part of one GPU: five times 0.4 do not fit on two.
"""

from collections import Counter
from functools import cache
from itertools import product
from typing import NamedTuple

KINDS = ("CPU", "GPU")  # of resources
ROUNDING = 1e-6  # 0.1 + 0.2 + 0.7 is no more than 1


class Node(NamedTuple):
    """A machine of the cluster, as far as it is alive."""

    id: str
    name: str
    has: dict[str, float]  # CPU and GPU


class Room:
    """What is left of a node."""

    def __init__(self, cpus: float, gpus: float):
        self.cpus, self.gpus = cpus, [1.0] * int(gpus)  # of each GPU

    def take(self, cpus: float, gpu: float) -> bool:
        """Place a process there, on the fullest GPU that has room for it; False, and nothing taken, where none has."""
        fits = [i for i, left in enumerate(self.gpus) if left + ROUNDING >= gpu]
        if cpus > self.cpus + ROUNDING or (gpu and not fits):
            return False
        self.cpus -= cpus
        if gpu:
            self.gpus[min(fits, key=lambda i: self.gpus[i])] -= gpu
        return True


def has(node: Node) -> tuple[float, float]:
    """Its CPUs and GPUs."""
    return node.has["CPU"], node.has["GPU"]


def spelt(resources: dict[str, float]) -> str:
    """`2 CPU 1 GPU`."""
    return " ".join(f"{resources[key]:g} {key}" for key in KINDS if resources.get(key)) or "0 CPU"


def placed(bundles: list[dict[str, float]], found: list[Node]) -> list[Node] | None:
    """A node for each bundle; None where there is no way to place them all.

    Args:
        bundles: of each process, its CPUs, and its GPU or fraction of one.
        found: the nodes.
    """
    asked = [(bundle.get("CPU", 0.0), bundle.get("GPU", 0.0)) for bundle in bundles]
    return _spread(asked, found) or _anyhow(asked, found)


def _spread(asked: list[tuple[float, float]], found: list[Node]) -> list[Node] | None:
    """Those with a GPU first, then the largest, each on the node with the most CPUs left."""
    rooms, where = {node.id: Room(*has(node)) for node in found}, {}
    for i in sorted(range(len(asked)), key=lambda i: (-asked[i][1], -asked[i][0])):
        nodes = sorted(found, key=lambda node: -rooms[node.id].cpus)
        where[i] = next((node for node in nodes if rooms[node.id].take(*asked[i])), None)
    return None if None in where.values() else [where[i] for i in range(len(asked))]


def _anyhow(asked: list[tuple[float, float]], found: list[Node]) -> list[Node] | None:
    """All ways, node after node: of those with equally many of each rarer kind, the most of the commonest is best.

    A run has three kinds at most: training process, learners, env runners.
    """
    (common, total), *others = Counter(asked).most_common()
    ways = {(0,) * len(others): (0, ())}  # how many of the others are placed -> of the common kind, and how
    for node in found:
        longer = {}
        for before, (number, way) in ways.items():
            for counts, room in _room_for(has(node), common, total, tuple(others)):
                after = tuple(map(sum, zip(before, counts, strict=True)))
                if any(n > most for n, (_, most) in zip(after, others, strict=True)):
                    continue
                more = min(room, total - number)
                if after not in longer or number + more > longer[after][0]:
                    longer[after] = (number + more, (way, node, (more, *counts)))
        ways = longer
    number, way = ways.get(tuple(most for _, most in others), (0, ()))
    if number < total:
        return None
    left = {kind: [i for i, one in enumerate(asked) if one == kind] for kind in (common, *(kind for kind, _ in others))}
    where = {}
    while way:
        way, node, counts = way
        for indices, count in zip(left.values(), counts, strict=True):
            where |= {indices.pop(): node for _ in range(count)}
    return [where[i] for i in range(len(asked))]


@cache
def _room_for(
    node: tuple[float, float], common: tuple[float, float], total: int, others: tuple
) -> list[tuple[tuple[int, ...], int]]:
    """All that a node can have: so many of each of the others, and then the most of the common kind."""
    found = []
    for counts in product(*(range(number + 1) for _, number in others)):
        beside = Counter(dict(zip(dict(others), counts, strict=True)))
        if (most := _most(node, common, total, beside)) is not None:
            found.append((counts, most))
    return found


def _most(node: tuple[float, float], common: tuple[float, float], total: int, beside: Counter) -> int | None:
    """How many of the common kind fit on a node beside others; None where those alone do not."""
    fit = None
    for number in range(total + 1):
        room = Room(*node)
        asked = sorted([*beside.elements(), *[common] * number], key=lambda one: -one[1])
        if not all(room.take(*one) for one in asked):
            return fit
        fit = number
    return fit
