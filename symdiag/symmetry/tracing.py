"""Permutation specs of the user's own module, by following unit axes through its traced graph
(torch.fx).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from symdiag.errors import UnsupportedError
from symdiag.network.module import outputs_of_points
from symdiag.network.noise import running
from symdiag.symmetry import rules_functions
from symdiag.symmetry.axes import AxisTable
from symdiag.symmetry.rules_blocks import Stacked, rule_for
from symdiag.symmetry.rules_modules import ModuleCall
from symdiag.symmetry.rules_shapes import FunctionCall, fixed, unknown
from symdiag.symmetry.spec import PermutationSpec
from symdiag.symmetry.tracer import ExampleTracer
from symdiag.symmetry.units import CONSTANT, OUTPUT

_HINT = "describe the groups in a spec file (--spec); docs/spec-file.md has an example"
_FILLED = frozenset({"new_zeros", "zeros_like", "new_ones", "ones_like", "new_full", "full_like"})


@dataclass(frozen=True)
class Trace:
    """What tracing found: ``spec`` in the module's own parameter names, ``reasons`` why tensors
    stay fixed.
    """

    spec: PermutationSpec
    reasons: dict[str, str]


def trace_spec(module: nn.Module, example_inputs: Sequence[Any], *, samples: bool = False) -> Trace:
    """The groups of interchangeable units of ``module``, in evaluation mode.

    Args:
        module: the user's network; parameters keep its own names.
        example_inputs: positional arguments of one call, for the shapes.
        samples: the module samples its weights: it is traced without the noise, its first output
            only.

    Returns:
        Groups with notes for every set of units held fixed. Nothing is verified here.

    Raises:
        UnsupportedError: ``untraceable`` when the module's forward depends on values or fails on
            the example.
    """
    module = module.eval()
    try:
        with running(samples=samples, follows=True) as silenced, _generic(module, wanted=samples):
            tracer = ExampleTracer(example_inputs, lambda m: rule_for(m) is not None, silenced)
            graph = fx.GraphModule(module, tracer.trace(module))
            tensors = [a for a in example_inputs if isinstance(a, torch.Tensor)]
            with torch.no_grad():
                ShapeProp(graph).propagate(*tensors)
    except Exception as error:  # the user's code may raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnsupportedError(
            f"the module cannot be traced: {reason}", code="untraceable", hint=_HINT
        ) from error
    # graph order is a topological order: every argument has its labels before it is used
    walk = _Walk(graph, *_canonical_names(module))
    followed = _of_points(graph.graph, example_inputs) if samples else set(graph.graph.nodes)
    for node in graph.graph.nodes:
        if node in followed:
            walk.visit(node)
    spec = PermutationSpec(walk.table.groups(walk.aliases), walk.table.notes())
    return Trace(spec, walk.table.reasons())


@contextmanager
def _generic(module: nn.Module, *, wanted: bool) -> Iterator[None]:
    """While active, parameters hold positive numbers that are all different.

    Noise is told from means by its zeros: a mean that is zero itself, as biases are when a module
    is new, would pass for noise. Positive, because stds may be stored as they are.
    """
    kept = {p: p.data for p in module.parameters() if wanted and p.is_floating_point()}
    generator = torch.Generator().manual_seed(0)
    for parameter, data in kept.items():
        drawn = torch.rand(data.shape, generator=generator, dtype=torch.float64)
        parameter.data = (0.2 + 0.6 * drawn).to(data)
    try:
        yield
    finally:
        for parameter, data in kept.items():
            parameter.data = data


def _of_points(graph: fx.Graph, example_inputs: Sequence[Any]) -> set[fx.Node]:
    """The nodes that outputs of the points depend on: not what else a Bayesian module returns, such
    as its KL.
    """
    output = graph.output_node()
    shaped = [n for n in output.all_input_nodes if isinstance(_meta(n), TensorMetadata)]
    kept = {id(m) for m in outputs_of_points([_meta(n) for n in shaped], example_inputs)}
    output.args = (tuple(n for n in shaped if id(_meta(n)) in kept),)
    wanted = {output}
    grown = True
    while grown:  # an operation in place acts on its argument although nothing reads its result
        before = len(wanted)
        # backwards, most of what is wanted is met after
        # its users; the loop settles the in-place rest
        for node in reversed(graph.nodes):
            written = node.args[0] if node.args and _in_place(node) else None
            if node in wanted or written in wanted:
                wanted |= {node, *node.all_input_nodes}
        grown = len(wanted) > before
    return wanted


def _meta(node: fx.Node) -> Any:
    return node.meta.get("tensor_meta")


def _in_place(node: fx.Node) -> bool:
    name = _function_name(node)
    # dunder names such as __add__ are no operations in place
    return node.target is operator.setitem or (name.endswith("_") and not name.endswith("__"))


def _canonical_names(module: nn.Module) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Tensor name → first name of the same tensor (tied parameters), and the reverse."""
    first: dict[int, str] = {}
    canonical: dict[str, str] = {}
    aliases: dict[str, list[str]] = {}
    named = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in named:
        # identity of the tensor object is what ties parameters; equal values would not
        canonical[name] = first.setdefault(id(tensor), name)
        aliases.setdefault(canonical[name], []).append(name)
    return canonical, aliases


@dataclass
class _Walk:
    graph: fx.GraphModule
    canonical: dict[str, str]
    aliases: dict[str, list[str]]
    table: AxisTable = field(default_factory=AxisTable)
    env: dict[fx.Node, Any] = field(default_factory=dict)

    def visit(self, node: fx.Node) -> None:
        """Labels of one node's output."""
        shape = _shape(node.meta.get("tensor_meta"))
        if node.op == "output":
            for source in node.all_input_nodes:
                self._pin(self.env.get(source), OUTPUT)
        elif node.op == "get_attr":
            self.env[node] = self._attribute(str(node.target), shape)
        elif node.op == "call_module":
            self.env[node] = self._module(node, shape)
        elif node.op in {"call_function", "call_method"}:
            self.env[node] = self._function(node, shape)
        else:
            self.env[node] = fixed(shape)

    def _pin(self, value: Any, reason: str) -> None:
        for part in value.levels if isinstance(value, Stacked) else value or ():
            if isinstance(part, (tuple, Stacked)):
                self._pin(part, reason)
            else:
                self.table.pin(part, reason)

    def _attribute(self, name: str, shape: Any) -> Any:
        """A parameter used directly: each of its axes is a variable of its own. A buffer stays
        fixed.
        """
        if name.startswith("_tensor_constant"):
            return self._constant(getattr(self.graph, name), shape)
        if name not in dict(self.graph.named_parameters(remove_duplicate=False)):
            return fixed(shape)
        name = self.canonical[name]
        owner = name.rpartition(".")[0] or name
        # an axis of length 1 broadcasts rather than holds a unit
        new = [self.table.new(owner, size, quiet=True) if size > 1 else None for size in shape]
        return tuple(self.table.bind(name, axis, label) for axis, label in enumerate(new))

    def _constant(self, value: torch.Tensor, shape: Any) -> Any:
        """A tensor made on the way: where all its entries are one number (a first state), any order
        is as good.
        """
        if value.numel() == 0 or bool((value != value.reshape(-1)[0]).any()):
            return fixed(shape)
        return self._filled(shape, zeros=not bool(value.any()))

    def _filled(self, shape: Any, *, zeros: bool) -> Any:
        """A tensor of one number throughout, which takes on whatever units it is combined with."""
        new = [self.table.new(CONSTANT, size, quiet=True) if size > 1 else None for size in shape]
        # zeros are their own negative, any other constant is not
        if not zeros:
            self.table.unsign(new, "a constant does not flip")
        return tuple(new)

    def _inputs(self, node: fx.Node) -> tuple[list[Any], list[tuple[int, ...]]]:
        """Labels and shapes of the tensor arguments; units inside nested outputs are pinned."""
        found: list[fx.Node] = []
        fx.node.map_arg((node.args, node.kwargs), lambda n: found.append(n))
        labels, shapes = [], []
        for source in found:
            shape, value = _shape(source.meta.get("tensor_meta")), self.env.get(source)
            # a rule sees flat labels only: what it would not
            # see must be pinned, or a symmetry is invented
            if isinstance(value, Stacked) or _is_nested(shape):
                self._pin(value, f"they pass through '{node.name}' among several outputs")
                value = fixed(shape)
            if shape is not None and not _is_nested(shape):
                labels.append(value)
                shapes.append(shape)
        return labels, shapes

    def _module(self, node: fx.Node, shape: Any) -> Any:
        path = str(node.target)
        module = self.graph.get_submodule(path)
        labels, shapes = self._inputs(node)
        rule = rule_for(module)
        if rule is None:
            for entry in labels:
                self._pin(
                    entry,
                    f"they pass through {path} ({type(module).__name__}), which symdiag cannot follow",
                )
            return fixed(shape)

        def tensor(role: str) -> str | None:
            return self.canonical.get(f"{path}.{role}")

        return rule(self.table, ModuleCall(path, module, labels, shapes, shape, tensor))

    def _function(self, node: fx.Node, shape: Any) -> Any:
        name = _function_name(node)
        if node.target is operator.getitem:
            picked = self._pick(node)
            if picked is not None:
                return picked
        if name in _FILLED:
            return self._filled(shape, zeros="zeros" in name)
        labels, shapes = self._inputs(node)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: _plain(n))
        call = FunctionCall(
            name, list(zip(labels, shapes, strict=True)), tuple(args), dict(kwargs), shape
        )
        # unknown names pin: losing a group is safe, claiming one is not
        rule = rules_functions.RULES.get(name, unknown)
        return rule(self.table, call) if labels else fixed(shape)

    def _pick(self, node: fx.Node) -> Any:
        """One of several outputs; None if the item is not one."""
        source, index = node.args
        value = self.env.get(source) if isinstance(source, fx.Node) else None
        if isinstance(value, Stacked) and isinstance(index, int):
            return value.levels[index]
        nested = isinstance(source, fx.Node) and _is_nested(_shape(source.meta.get("tensor_meta")))
        return (
            value[index] if nested and isinstance(value, tuple) and isinstance(index, int) else None
        )


def _function_name(node: fx.Node) -> str:
    """What a rule goes by; for an attribute of a tensor (``x.mT``), that attribute."""
    if node.target is getattr:
        return str(node.args[1])
    return (
        node.target
        if isinstance(node.target, str)
        else getattr(node.target, "__name__", str(node.target))
    )


def _shape(meta: Any) -> Any:
    """Shape of a tensor, a tuple of such for several, None for what is no tensor."""
    if isinstance(meta, TensorMetadata):
        return tuple(meta.shape)
    if isinstance(meta, (tuple, list)):
        return tuple(_shape(part) for part in meta)
    return None


def _is_nested(shape: Any) -> bool:
    return shape is not None and not all(isinstance(size, int) for size in shape)


def _plain(node: fx.Node) -> Any:
    """What a rule may know of a traced argument: nothing of tensors and values."""
    return None
