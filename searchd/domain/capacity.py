"""Whether the nodes of a cluster can ever run a piece of work. Standard library only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The total resources of one node of the cluster, used or not."""

    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a piece of work needs at the same time: `count` parts with these resources each."""

    part: str
    """The noun for a part, such as trial."""
    count: int = 1
    cpus: float
    gpus: float


def unschedulable_reason(need: Need, nodes: Sequence[Node]) -> str | None:
    """Return why the work can never run on these nodes, even if they are idle; None if it can, or
    if there is no node."""
    capacity = sum(_capacity(node, need) for node in nodes)
    if not nodes or capacity >= need.count:
        return None
    has = "; ".join(f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in nodes)
    return (
        f"unschedulable: each {need.part} needs {need.cpus:g} CPUs and {need.gpus:g} GPUs, and the "
        f"cluster has capacity for {capacity} of {need.count}; its nodes have {has}"
    )


def _capacity(node: Node, need: Need) -> int:
    """Return how many parts fit on the node."""
    by_gpus = node.gpus // need.gpus if need.gpus else math.inf
    return int(min(node.cpus // need.cpus, by_gpus))
