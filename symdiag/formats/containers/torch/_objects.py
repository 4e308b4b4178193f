"""Objects that libraries pickle whole, in the plain form their own ``state_dict()`` would have.

Modules, optimizers, laplace approximations and Pyro's ``Predictive`` are recognised by the
attributes they keep, which a pickle lists; their classes are never looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from symdiag.errors import LimitError, UnreadableError, shown
from symdiag.formats.containers.torch._values import Global, Record, Tensor
from symdiag.formats.pickled_module import PickledModule

CLASS_KEY = "__class__"
SCALARS = (bool, int, float, str, bytes, complex, type(None))
Count = Callable[[int], None]  # charges entries against the limit; raises LimitError
_INTERNAL = re.compile(
    r"_parameters|_buffers|_modules|training|_\w*hooks\w*|_backend|_version"
    r"|_non_persistent_buffers_set|_is_full_backward_hook|_pyro_\w+"
)
_MAX_SETTING = 64


def module_state(record: Record) -> dict[Any, Any] | None:
    """The attributes of a torch module (a traced fx one brings them as argument), or None."""
    state: Any = record.state
    if not state and record.args and isinstance(record.args[0], dict):
        state = record.args[0]
    # Both have been in every nn.Module since the first release, and in nothing else.
    parts = (state.get("_parameters"), state.get("_modules"))
    return state if all(isinstance(part, dict) for part in parts) else None


def state_dict(record: Record, count: Count) -> Iterator[tuple[str, Any]]:
    """What ``module.state_dict()`` holds: parameters, persistent buffers, then each child's."""
    yield from _entries(record, "", [], count)


def _entries(
    record: Record, prefix: str, above: list[Record], count: Count
) -> Iterator[tuple[str, Any]]:
    state = module_state(record)
    if state is None or any(record is module for module in above):
        _corrupt(f"module {shown(prefix)} is no module, or contains itself")
    if len(above) > _MAX_SETTING:
        raise LimitError(
            f"module {shown(prefix)} is nested too deeply", hint="Save the state dict."
        )
    hidden = state.get("_non_persistent_buffers_set")
    names: list[Any] = hidden.items if isinstance(hidden, Record) else []
    buffers = state.get("_buffers")
    # Charged per visit, though it yields nothing: shared modules unfold to far more than they are.
    count(1 + len(prefix) // 64 + len(names) + _size(state))
    passing = {name for name in names if isinstance(name, str)}
    for name, value in state["_parameters"].items():
        if value is not None:
            yield f"{prefix}{name}", value
    for name, value in buffers.items() if isinstance(buffers, dict) else ():
        if value is not None and name not in passing:
            yield f"{prefix}{name}", value
    for name, child in state["_modules"].items():
        if isinstance(child, Record):
            yield from _entries(child, f"{prefix}{name}.", [*above, record], count)
        elif child is not None:
            _corrupt(f"module {shown(prefix)} has a child that is no module")


def _size(state: dict[Any, Any]) -> int:
    """Entries that one visit of a module looks at."""
    parts = (state.get(part) for part in ("_parameters", "_buffers", "_modules"))
    return len(state) + sum(len(part) for part in parts if isinstance(part, dict))


def described(record: Record, known: dict[int, PickledModule], count: Count) -> PickledModule:
    """The typed description of a module, without cycles, and its children; shared ones are one."""
    # By identity, so that a layer used twice is one object: whoever rebuilds the network must know.
    if id(record) not in known:
        state = module_state(record) or {}
        count(_size(state))
        settings = {
            k: _setting(v, count)
            for k, v in state.items()
            if isinstance(k, str) and not _INTERNAL.fullmatch(k)
        }
        children = {
            str(name): described(child, known, count)
            for name, child in state.get("_modules", {}).items()
            if isinstance(child, Record)
        }
        parameters, buffers = (_shapes(state.get(part)) for part in ("_parameters", "_buffers"))
        known[id(record)] = PickledModule(
            _class_name(record), settings, parameters, buffers, children
        )
    return known[id(record)]


def _class_name(record: Record) -> str:
    """The qualified class; Pyro's mixed-in modules name the class they extend."""
    first = record.args[0] if record.args else None
    if record.name == "pyro.nn.module._PyroModuleMeta._New" and isinstance(first, Global):
        return f"pyro.nn.module.PyroModule[{first.name}]"
    if record.name == "torch.fx.graph_module.reduce_graph_module":
        return "torch.fx.graph_module.GraphModule"
    return record.name


def _setting(value: Any, count: Count, depth: int = 0) -> Any:
    """A plain attribute, at most a few levels of at most a few dozen items; others by class."""
    count(1)
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, Global):
        return value.name
    if isinstance(value, Record) and value.items:
        value = value.items
    if isinstance(value, list | tuple | dict):
        if depth > 3 or len(value) > _MAX_SETTING:
            return {CLASS_KEY: f"builtins.{type(value).__name__}"}
        if not isinstance(value, dict):
            return type(value)(_setting(item, count, depth + 1) for item in value)
        plain = {k: v for k, v in value.items() if isinstance(k, SCALARS)}
        return {k: _setting(v, count, depth + 1) for k, v in plain.items()}
    if isinstance(value, Record):
        return {CLASS_KEY: _class_name(value)}
    return {CLASS_KEY: "torch.Tensor" if isinstance(value, Tensor) else "numpy.ndarray"}


def _shapes(tensors: Any) -> dict[str, tuple[int, ...]]:
    found = tensors.items() if isinstance(tensors, dict) else ()
    return {str(name): value.shape for name, value in found if isinstance(value, Tensor)}


def latent_shapes(state: dict[Any, Any]) -> dict[str, list[int]] | None:
    """Latent variable → shape, which Pyro's flat guides keep for cutting up their one vector."""
    shapes = state.get("_unconstrained_shapes")
    if not isinstance(shapes, dict) or not shapes:
        return None
    if not all(
        type(shape) in (tuple, list) and all(type(n) is int and n >= 0 for n in shape)
        for shape in shapes.values()
    ):
        return None
    return {str(name): list(shape) for name, shape in shapes.items()}


_CONSTRAINTS = {"_SoftplusPositive": "softplus", "_GreaterThan": "exp", "_Positive": "exp"}


def scale_transform(record: Record, count: Count) -> str | None:
    """What turns the unconstrained scales of a Pyro guide into stds, where all its modules agree.

    A guide keeps the constraint of each of its parameters, which its state dict does not.
    """
    found: set[str] = set()
    modules = [record]
    while modules:  # no circles: the guide's state dict has been read before
        state = module_state(modules.pop()) or {}
        params = state.get("_pyro_params")
        kept = params.values() if isinstance(params, dict) else ()
        count(1 + len(kept) + _size(state))
        for value in kept:
            constraint = value[0] if isinstance(value, tuple) and value else None
            if isinstance(constraint, Record):
                found.add(_CONSTRAINTS.get(constraint.name.rpartition(".")[2], ""))
        modules += [m for m in state.get("_modules", {}).values() if isinstance(m, Record)]
    found -= {""}
    return found.pop() if len(found) == 1 else None


def is_flat(record: Record) -> bool:
    """Whether it holds a few scalars only, as constraint objects do: those are told in full."""
    parts = (record.args, record.items, record.entries.values(), record.state.values())
    if sum(len(part) for part in parts) > 16:
        return False
    return all(isinstance(value, SCALARS) for part in parts for value in part)


def as_known(record: Record, count: Count) -> Any:
    """The parts of an optimizer, a laplace object or a ``Predictive``; None for other objects."""
    state = record.state
    if isinstance(state.get("param_groups"), list) and isinstance(state.get("state"), dict):
        return _optimizer(state, count)
    if record.name.startswith("tensordict.") or "non_tensordict" in state:
        return _tensordict(record, count)
    if record.name == "posteriors.vi.diag.VIDiagState" and len(record.args) > 1:  # a named tuple
        return dict(zip(("params", "log_sd_diag"), record.args, strict=False))
    if "mean" in state and "H" in state and record.name.startswith("laplace."):
        return _laplace(record)
    if record.name.startswith("pyro.infer.predictive."):
        held = {part: _attribute(record, part) for part in ("guide", "model", "posterior_samples")}
        return {part: value for part, value in held.items() if value} if held["guide"] else None
    return None


def _attribute(record: Record, name: str) -> Any:
    """An attribute or, of a module, a child."""
    state = module_state(record)
    child = state["_modules"].get(name) if state is not None else None
    return record.state.get(name, child)


def _optimizer(state: dict[Any, Any], count: Count) -> dict[str, Any]:
    """``optimizer.state_dict()``: parameters replaced by their number, in the groups' order."""
    groups: list[Any] = []
    numbers: dict[int, int] = {}
    count(len(state["param_groups"]) + len(state["state"]))
    for group in state["param_groups"]:
        params = group.get("params") if isinstance(group, dict) else None
        if not isinstance(params, list):
            groups.append(group)
            continue
        count(len(group) + len(params))  # groups may be shared by many optimizers
        for param in params:
            # torch numbers parameters in the order of the groups, each once
            numbers.setdefault(id(param), len(numbers))
        groups.append({**group, "params": [numbers[id(param)] for param in params]})
    by_number = {numbers.get(id(key), key): value for key, value in state["state"].items()}
    return {"state": by_number, "param_groups": groups}


def _tensordict(record: Record, count: Count) -> Any:
    """The entries of a tensordict, or of a class that keeps its fields in one; None otherwise."""
    held, plain = record.state.get("tensordict"), record.state.get("non_tensordict")
    found = _made_td(held if isinstance(held, Record) else record)
    entries = plain if isinstance(plain, dict) else {}
    count(len(entries) + len(found))
    entries = {**entries, **found}
    wrapped = record.name.startswith("tensordict.tensorclass.NonTensor")
    return (entries.get("data") if wrapped else entries) or None


def _made_td(record: Record) -> dict[Any, Any]:
    """What ``tensordict._reductions._make_td(class, attributes)`` is given to hold."""
    is_made = record.name == "tensordict._reductions._make_td" and len(record.args) == 2
    attributes = record.args[1] if is_made else None
    found = attributes.get("_tensordict") if isinstance(attributes, dict) else None
    return found if isinstance(found, dict) else {}


_LAPLACE_NUMBERS = ("mean", "loss", "n_data", "n_outputs", "likelihood", "temperature")
_LAPLACE_HIDDEN = ("prior_mean", "prior_precision", "sigma_noise")


def _laplace(record: Record) -> dict[str, Any]:
    """``la.state_dict()`` and, beside it, the network: laplace/baselaplace.py of laplace-torch."""
    state = record.state
    plain = {name: state[name] for name in _LAPLACE_NUMBERS if name in state}
    for name in _LAPLACE_HIDDEN:
        plain[name] = state.get(f"_{name}", state.get(name))
    plain["H"] = _factors(state)
    plain["cls_name"] = record.name.rpartition(".")[2]
    plain["model"] = state.get("model")
    return plain


def _factors(state: dict[Any, Any]) -> Any:
    """The curvature: as it is, or the Kronecker factors that a decomposed one was made from."""
    # H itself has been decomposed into eigenvalues; la.state_dict() saves the factors
    kron = state.get("H_facs") or state["H"]
    if isinstance(kron, Record) and isinstance(kron.state.get("kfacs"), list):
        return kron.state["kfacs"]
    return kron


def _corrupt(message: str) -> NoReturn:
    raise UnreadableError(
        message, code="corrupt", hint="Save the state dict: torch.save(model.state_dict(), ...)."
    )
