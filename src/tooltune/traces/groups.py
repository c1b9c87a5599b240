"""Conversation groups: what must not fall on both sides of a split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from tooltune.traces.identity import Keyed, key_of
from tooltune.traces.types import Trace


def group_names(keys: Iterable[Keyed]) -> list[str]:
    """The group of each key: 16 hexadecimal digits, equal within a connected component.

    Two traces are connected where they share what the overlap guard (`split.overlaps`) compares,
    that is the content id or the fingerprint, or where they had the same group before: a session
    that the log names, or the value of a column. So a split by these groups never trips the guard.
    The names do not depend on the order; time is linear in the number of keys.
    """
    rows = [_nodes(key) for key in keys]
    parents: dict[str, str] = {}
    for first, *others in rows:
        parents.setdefault(first, first)
        for node in others:
            _union(parents, first, parents.setdefault(node, node))
    return [_name(_find(parents, nodes[0])) for nodes in rows]


def assign_groups(traces: Iterable[Trace]) -> list[Trace]:
    """The traces in their order, each with the group that `group_names` gives it."""
    traces = list(traces)
    names = group_names(key_of(trace) for trace in traces)
    return [replace(trace, group=name) for trace, name in zip(traces, names, strict=True)]


def _nodes(key: Keyed) -> list[str]:
    """What `key` is connected by; the prefixes keep a group's name apart from the hashes."""
    nodes = [f"content {key.content_id}", f"group {key.group}"]
    return nodes if key.fingerprint is None else [*nodes, f"fingerprint {key.fingerprint}"]


def _find(parents: dict[str, str], node: str) -> str:
    while (parent := parents[node]) != node:
        parents[node] = node = parents[parent]  # halve the path: as good as constant time
    return node


def _union(parents: dict[str, str], one: str, other: str) -> None:
    """Join two components; the smallest node is the root, whatever the order of joining."""
    roots = sorted((_find(parents, one), _find(parents, other)))
    parents[roots[1]] = roots[0]


def _name(root: str) -> str:
    return hashlib.sha256(root.encode()).hexdigest()[:16]
