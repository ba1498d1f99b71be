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


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup(Node):
    """Equal nodes that a cluster may have."""

    count: int = 1
    """Largest number of these nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Which nodes may still join a cluster."""

    groups: tuple[NodeGroup, ...] | None
    """All nodes that the cluster may have at most, joined or not. Empty: those that have joined.
    None: any."""

    def __str__(self) -> str:
        groups = self.groups or ()
        return "; ".join(f"{each.count} with {_resources(each)}" for each in groups)


FIXED = Growth(groups=())
"""No further node joins."""
ANY = Growth(groups=None)
"""Any node may join."""


def unschedulable_reason(need: Need, nodes: Sequence[Node], growth: Growth = FIXED) -> str | None:
    """Return why the work can never run, even if all nodes have joined and are idle; None if it
    can, or if that is not known.

    Args:
        need: What the work needs.
        nodes: The nodes that have joined.
        growth: The nodes that may still join.
    """
    if growth.groups is None or _fits(need, nodes):
        return None
    if growth.groups:
        allowed = sum(group.count * _capacity(group, need) for group in growth.groups)
        if allowed >= need.count:
            return None
        return (
            f"unschedulable: {_needs(need)}, and the cluster may have capacity for {allowed} of "
            f"{need.count}; SEARCHD_CLUSTER_NODES allows {growth}"
        )
    return f"unschedulable: {_lacks(need, nodes)}" if nodes else None


def waiting_reason(need: Need, nodes: Sequence[Node]) -> str | None:
    """Return which nodes the work waits for; None if those that have joined are enough."""
    return None if _fits(need, nodes) else f"waits for nodes: {_lacks(need, nodes)}"


def _fits(need: Need, nodes: Sequence[Node]) -> bool:
    return sum(_capacity(node, need) for node in nodes) >= need.count


def _lacks(need: Need, nodes: Sequence[Node]) -> str:
    capacity = sum(_capacity(node, need) for node in nodes)
    has = "; ".join(map(_resources, nodes)) or "no CPUs"
    return (
        f"{_needs(need)}, and the cluster has capacity for {capacity} of {need.count}; its nodes "
        f"have {has}"
    )


def _needs(need: Need) -> str:
    return f"each {need.part} needs {need.cpus:g} CPUs and {need.gpus:g} GPUs"


def _resources(node: Node) -> str:
    return f"{node.cpus:g} CPUs and {node.gpus:g} GPUs"


def _capacity(node: Node, need: Need) -> int:
    """Return how many parts fit on the node."""
    by_gpus = node.gpus // need.gpus if need.gpus else math.inf
    return int(min(node.cpus // need.cpus, by_gpus))
