"""torch.fx tracing along one example: sizes are numbers, tensors stay symbolic.

Plain symbolic tracing stops at the first ``if x.shape[0] > 1`` or ``B, T, C = x.shape``, which most
attention code has. Here every operation is also run on the example, and whatever it returns that is
no tensor is that value from then on.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from symdiag.network.noise import NoNoise

_FROM_VALUES = frozenset({"item", "tolist", "numpy", "equal", "allclose", "is_nonzero"})
"""Numbers read off a tensor's entries, not its shape: what follows would hold for the example
alone.
"""


class _Seen(fx.Proxy):
    """A traced tensor (or tuple of them) with its value on the example."""

    value: Any

    def __getattr__(self, k: str) -> Any:
        # before it is set, reading self.value below would come back here without end
        if k == "value":
            raise AttributeError(k)
        value = getattr(self.value, k)
        # a method's call is the operation to record, not its lookup
        if callable(value) and not isinstance(value, Tensor):
            return fx.proxy.Attribute(self, k)
        return (
            self.tracer.create_proxy("call_function", getattr, (self, k), {})
            if _has_tensor(value)
            else value
        )

    def __iter__(self) -> Iterator[Any]:
        return (operator.getitem(self, index) for index in range(len(self.value)))

    def __len__(self) -> int:
        return len(self.value)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.assign(self, index, value)  # type: ignore[attr-defined]


class ExampleTracer(fx.Tracer):
    """Traces a module along ``examples``; ``is_leaf`` says which torch modules are kept whole."""

    def __init__(
        self,
        examples: Sequence[Any],
        is_leaf: Callable[[nn.Module], bool],
        silenced: NoNoise | None = None,
    ) -> None:
        super().__init__()
        self.silenced = (
            silenced  # for modules that sample: what is multiplied with noise is left out
        )
        # clones: operations in place run on the examples, which are the caller's
        self.examples = tuple(a.clone() if isinstance(a, Tensor) else a for a in examples)
        self.is_leaf = is_leaf
        self._running = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Leaves are what the caller says, and any other of torch.nn but containers and
        parametrisations.
        """
        parametrised = (
            parametrize.is_parametrized(m)
            or type(m).__module__ == "torch.nn.utils.parametrizations"
        )
        # a parametrised layer's weight is computed from
        # others: only its inside shows which axes those have
        if parametrised or isinstance(
            m, (nn.Sequential, nn.ModuleList, parametrize.ParametrizationList)
        ):
            return False
        if self.silenced is not None and not _is_as_torch_made_it(m):
            return False
        return self.is_leaf(m) or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """One placeholder for every example that holds tensors; the others, and defaults, are what
        they are.
        """
        args: list[Any] = [self.root]
        for index, example in enumerate(self.examples):
            args.append(
                self._symbol("placeholder", f"input_{index}", (), {}, example)
                if _has_tensor(example)
                else example
            )
        return root_fn, args

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **named: Any
    ) -> Any:
        """The operation as a node of the graph, or its value where that is no tensor."""
        value = self._run(
            kind, target, *(fx.node.map_aggregate(part, _value) for part in (args, kwargs))
        )
        name = target if isinstance(target, str) else getattr(target, "__name__", "")
        if self.silenced is not None and kind in {"call_function", "call_method"}:
            reduced = self.silenced.without_noise(name, [args, kwargs], value)
            if reduced is not None:
                return reduced
        # shapes and other plain values are burnt in, tensors stay symbolic
        if _has_tensor(value):
            return self._symbol(kind, target, args, kwargs, value)
        if name in _FROM_VALUES:
            raise fx.proxy.TraceError(
                f"its course depends on values ('{name}'), not on shapes alone"
            )
        return value

    def assign(self, target: _Seen, index: Any, value: Any) -> None:
        """``target[index] = value``, kept as a node although it gives nothing."""
        arguments: tuple[Any, ...] = (target, index, value)
        self._run("call_function", operator.setitem, tuple(map(_value, arguments)), {})
        self._symbol("call_function", operator.setitem, arguments, {}, None)

    def _symbol(self, kind: str, target: Any, args: Any, kwargs: Any, value: Any) -> _Seen:
        proxy: Any = super().create_proxy(
            kind, target, args, kwargs, proxy_factory_fn=lambda node: _Seen(node, self)
        )
        proxy.value = value
        return proxy  # type: ignore[no-any-return]

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """As in fx, but for calls made inside an operation that runs on the example."""
        return (
            forward(*args, **kwargs)
            if self._running
            else super().call_module(m, forward, args, kwargs)
        )

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """As in fx, but for tensors read inside an operation that runs on the example."""
        return attr_val if self._running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def _run(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        # the operation may call submodules or read parameters:
        # those calls are part of it, not of the graph
        self._running = True
        try:
            with torch.no_grad(), self.silenced or contextlib.nullcontext():
                return self._result(kind, target, args, kwargs)
        finally:
            self._running = False

    def _result(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        if kind == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        if kind == "get_attr":
            owner, _, last = target.rpartition(".")
            return getattr(self.root.get_submodule(owner), last)
        function = self.root.get_submodule(target) if kind == "call_module" else target
        return function(*args, **kwargs)


def _is_as_torch_made_it(module: nn.Module) -> bool:
    """Whether a layer computes as its class in torch.nn does, on a weight of its own (not a sampled
    one).
    """
    own_weight = "weight" in module._parameters or not hasattr(type(module), "weight")
    return own_weight and getattr(type(module).forward, "__module__", "").startswith("torch.nn.")


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, _Seen) else argument


def _has_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_has_tensor(part) for part in value)
    return isinstance(value, Tensor)
