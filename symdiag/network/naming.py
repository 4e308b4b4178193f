"""Which tensors belong together, by their names: modules and the roles of their tensors.

``fc1.weight``, ``w1``/``b1`` or ``layer1_W`` become modules; biases in positional lists are matched
by position, buffers are set aside, recurrent stacks become one module per level. What names show to
be no plain chain (attention, tied tensors, bidirectional layers) is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from symdiag.errors import UnsupportedError
from symdiag.posterior import Posterior

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
    """The tensors of one module by role, in file order; ``buffers`` are the roles that are not
    weights.
    """

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
    # before the general words: weight_ih_l0 is no weight of a module called ih_l0
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
    """Modules in order of first appearance. A module's name is its dotted path, or its weight's
    name if it has none.
    """
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
    # the words must agree: enc1 and dec2 are no sequence
    words = [re.sub(r"\d+", "#", name) for name in (first, second)]
    return words[0] == words[1] and natural_key(first) < natural_key(second)


def adopt_biases(
    modules: Sequence[Module], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[Module], list[str]]:
    """Give a nameless one-dimensional tensor to the bias-free weight right before it (``params.0``,
    ``params.1``).

    Returns:
        The modules, and one note if any bias was taken by position.
    """
    result: list[Module] = []
    for module in modules:
        before = result[-1] if result else None
        if before is not None and _nameless_bias(before, module, shapes):
            weight = next(iter(before.tensors.values()))
            result[-1] = Module(before.name, {"weight": weight, "bias": module.tensors["?"]})
        else:
            result.append(module)
    adopted = len(result) < len(modules)
    note = "biases were matched to weights by position: their names do not say what they are"
    return result, [note] if adopted else []


def _nameless_bias(before: Module, module: Module, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    if (
        set(module.tensors) != {"?"}
        or not set(before.tensors) <= {"?", "weight"}
        or len(before.tensors) != 1
    ):
        return False
    weight, bias = shapes[next(iter(before.tensors.values()))], shapes[module.tensors["?"]]
    # either of the first two axes: the layout is settled later
    return len(weight) >= 2 and len(bias) == 1 and bias[0] in weight[:2]


def set_buffers_aside(
    modules: Sequence[Module], weights: Mapping[str, object]
) -> tuple[list[Module], list[str]]:
    """Modules that hold weights, and notes on buffers that belong to none.

    Raises:
        UnsupportedError: ``undetermined-architecture`` for running statistics without weights,
            whose place is unknown.
    """
    kept: list[Module] = []
    notes: list[str] = []
    for module in modules:
        if any(name in weights for name in module.tensors.values()):
            kept.append(module)
        elif "running_mean" in module.tensors:
            message = f"{module.name} holds running statistics without weights: a file does not say which units they are of"
            raise UnsupportedError(message, code="undetermined-architecture", hint=ASK)
        elif set(module.tensors) != {"num_batches_tracked"}:
            notes.append(
                f"{module.name}: a buffer of unknown use, assumed not to tell hidden units apart"
            )
    return kept, notes


ASK = "describe the network with --model package.module:factory or --spec spec.toml"

_PROJECTION = re.compile(
    r"^(?:w_?|to_?|lin_?|fc_?)?(q|k|v)(?:uery|ey|alue)?(?:_?(?:proj|lin|linear|fc))?$",
    re.IGNORECASE,
)
_LEVEL = re.compile(r"^(weight|bias)_(ih|hh)(?:_l(\d+))?$")
_LEVEL_ROLES = {
    "weight_ih": "weight",
    "bias_ih": "bias",
    "weight_hh": "recurrent",
    "bias_hh": "recurrent_bias",
}


def refuse_tied(posterior: Posterior) -> None:
    """Raise UnsupportedError ``undetermined-architecture`` for tied tensors: they make the net no
    plain chain.
    """
    names = (
        posterior.source.tied[0]
        if posterior.source is not None and posterior.source.tied
        else _copies(posterior)
    )
    if names:
        raise UnsupportedError(
            f"{', '.join(names)} are one tensor, which ties groups of units in a way that a file cannot show",
            code="undetermined-architecture",
            hint=ASK,
        )


def _copies(posterior: Posterior) -> tuple[str, ...]:
    """Two weights that agree in every mean and std: containers without sharing store a tied tensor
    twice.
    """
    seen: dict[bytes, str] = {}
    for name, loc in posterior.loc.items():
        # two biases of zeros, or two norms' weights of ones, are equal without being tied
        if loc.ndim < 2 or loc.size < 2 or (loc == loc.flat[0]).all():
            continue
        digest = hashlib.blake2b(str(loc.shape).encode())
        for array in (loc, posterior.scale[name]):
            digest.update(np.ascontiguousarray(array).data)
        known = seen.setdefault(digest.digest(), name)
        if known != name:
            return known, name
    return ()


def split_recurrent(modules: Sequence[Module]) -> list[Module]:
    """Modules with recurrent ones split into one per level, roles ``weight``, ``recurrent`` and
    their biases.

    Raises:
        UnsupportedError: ``undetermined-architecture`` for attention, bidirectional and projected
            recurrent layers.
    """
    result: list[Module] = []
    _refuse_projections(modules)
    for module in _merge_halves(modules):
        _refuse(module)
        result += (
            _levels(module) if any(_LEVEL.match(role) for role in module.tensors) else [module]
        )
    return result


def _refuse_projections(modules: Sequence[Module]) -> None:
    """Attention written by hand: linear layers q, k and v (or query, key, value) side by side in
    one module.
    """
    found: dict[str, set[str]] = {}
    for module in modules:
        parent, _, last = module.name.rpartition(".")
        match = _PROJECTION.match(last)
        if match:
            found.setdefault(parent, set()).add(match[1].lower())
            # all three: a lone layer called v is no attention
            if len(found[parent]) == len("qkv"):
                where = parent or "the network"
                message = f"{where} holds attention (q, k and v): a file says neither its heads nor its skip connections"
                raise UnsupportedError(message, code="undetermined-architecture", hint=ASK)


def _refuse(module: Module) -> None:
    """Attention, and recurrent layers that run both ways or project, are not determined by their
    tensors.
    """
    why = ""
    if any(role.startswith("in_proj") or role.endswith("_proj_weight") for role in module.tensors):
        why = "holds multi-head attention: a file says neither how many heads it has nor where its skip connections run"
    if any(role.endswith("_reverse") or role.startswith("weight_hr") for role in module.tensors):
        why = "is a bidirectional or projected recurrent layer, which shapes alone do not place in the network"
    if why:
        raise UnsupportedError(f"{module.name} {why}", code="undetermined-architecture", hint=ASK)


def _levels(module: Module) -> list[Module]:
    """``lstm`` with ``weight_ih_l0 ... bias_hh_l1`` → ``lstm.l0``, ``lstm.l1``; a single level
    keeps the name.
    """
    levels: dict[int, dict[str, str]] = {}
    for role, name in module.tensors.items():
        match = _LEVEL.match(role)
        if match:
            levels.setdefault(int(match[3] or 0), {})[_LEVEL_ROLES[f"{match[1]}_{match[2]}"]] = name
        else:  # one bias for both halves
            levels.setdefault(0, {})[role] = name
    single = len(levels) == 1
    return [
        Module(module.name if single else f"{module.name}.l{k}", levels[k]) for k in sorted(levels)
    ]


def _merge_halves(modules: Sequence[Module]) -> list[Module]:
    """Modules ``X.ih`` and ``X.hh`` (bayesian-torch's LSTM) are the two halves of ``X``."""
    halves = {module.name: module for module in modules if re.search(r"\.(ih|hh)$", module.name)}
    result: list[Module] = []
    for module in modules:
        stem, _, half = module.name.rpartition(".")
        pair = halves.get(f"{stem}.ih"), halves.get(f"{stem}.hh")
        if module.name not in halves or None in pair:
            result.append(module)
        elif half == "ih":
            tensors = {
                f"{role}_{h}": name
                for h in ("ih", "hh")
                for role, name in halves[f"{stem}.{h}"].tensors.items()
            }
            result.append(Module(stem, tensors))
    return result
