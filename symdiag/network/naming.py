"""Which tensors belong together: names such as ``fc1.weight``, ``w1``/``b1`` or ``layer1_W`` → modules and roles."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_ROLES = {
    **dict.fromkeys(("weight", "weights", "kernel", "w", "scale", "gamma"), "weight"),
    **dict.fromkeys(("bias", "biases", "b", "beta"), "bias"),
}
_WORD = r"(?P<role>weights?|kernel|w|bias(?:es)?|b)"
_PREFIXED = re.compile(rf"^{_WORD}_?(?P<rest>\d+.*|(?<=_).+)$", re.IGNORECASE)
_SUFFIXED = re.compile(rf"^(?P<rest>.+?)_{_WORD}$", re.IGNORECASE)
_OWN_ROLE = re.compile(
    r"^(running_mean|running_var|num_batches_tracked|in_proj_weight|in_proj_bias|[qkv]_proj_weight|bias_[kv]"
    r"|(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?)$"
)


@dataclass(frozen=True)
class Module:
    """The tensors of one module by role, in file order; ``buffers`` are the roles that are not weights."""

    name: str
    tensors: dict[str, str]

    def get(self, role: str) -> str | None:
        """Tensor that plays ``role``, or None."""
        return self.tensors.get(role)


def split_name(name: str) -> tuple[str, str]:
    """``(module key, role)`` of a tensor name; an unknown role is the last part of the name itself.

    >>> split_name("net.fc1.weight"), split_name("w1"), split_name("fc2_b")
    (('net.fc1', 'weight'), ('#1', 'weight'), ('fc2', 'bias'))
    """
    head, _, last = name.replace("/", ".").rpartition(".")
    if _OWN_ROLE.match(last):
        return head, last
    if last.lower() in _ROLES:
        return head, _ROLES[last.lower()]
    match = _PREFIXED.match(last)
    if match:
        return _join(head, "#" + match["rest"]), _ROLES[match["role"].lower()]
    match = _SUFFIXED.match(last)
    if match:
        return _join(head, match["rest"]), _ROLES[match["role"].lower()]
    return _join(head, last), "?"


def _join(head: str, rest: str) -> str:
    return f"{head}.{rest}" if head else rest


def group_modules(names: Iterable[str]) -> list[Module]:
    """Modules in order of first appearance. A module's name is its dotted path, or its weight's name if it has none."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        key, role = split_name(name)
        tensors = found.setdefault(key, {})
        if role in tensors:  # two spellings of one role: keep them apart
            tensors = found.setdefault(name, {})
        tensors[role] = name
    return [Module(_display(key, tensors), tensors) for key, tensors in found.items()]


def _display(key: str, tensors: dict[str, str]) -> str:
    if key and "#" not in key:
        return key
    return tensors.get("weight", next(iter(tensors.values())))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``fc2`` comes before ``fc10``."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part)


def numbered(first: str, second: str) -> bool:
    """Whether two names count upwards: the same words, a larger number.

    >>> numbered("fc2", "fc10"), numbered("fc2", "fc1"), numbered("fc1", "out2")
    (True, False, False)
    """
    words = [re.sub(r"\d+", "#", name) for name in (first, second)]
    return words[0] == words[1] and natural_key(first) < natural_key(second)
