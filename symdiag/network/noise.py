"""Bayesian modules at their means: whatever they sample is suppressed while they run.

Sampling layers compute mean + std · noise in some way of their own. With the noise at zero, and the
means set to given weights, their forward is the network's function of those weights; the stds drop
out. Nothing needs to be known of the layers but which parameters are means (``symdiag.formats``
says so).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_GAUSSIAN = frozenset({"randn", "randn_like", "normal", "normal_", "_standard_normal"})
_UNIFORM = frozenset({"rand", "rand_like", "uniform_"})
_SUMS = frozenset({"add", "add_", "iadd", "sub", "sub_", "isub", "addcmul", "addcmul_", "lerp"})
"""Operations that give back one of their arguments where the others are zero."""


class NoNoise(TorchFunctionMode):
    """While active, Gaussian draws are their means and uniform ones the middle of their range.

    Where it ``follows`` the noise, the zeros that stand for it are remembered by their storage, so
    that a tracer can leave out what they are multiplied with (``without_noise``).
    """

    def __init__(self, *, follows: bool) -> None:
        super().__init__()
        self._follows = follows
        self._noise: dict[int, Tensor] = {}  # by storage; kept alive, so that none is used again

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The call itself, or what it gives without noise."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _GAUSSIAN:
            return self._gaussian(name, func, args, kwargs)
        if name in _UNIFORM:
            return self._uniform(name, func, args, kwargs)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and self._has_noise((args, kwargs)):
            self._mark_if_zero(result)
        return result

    def _gaussian(
        self, name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        if name == "normal":  # torch.normal(mean, std[, size]); tensors or numbers
            mean = args[0] if args else kwargs["mean"]
            std = args[1] if len(args) > 1 else kwargs.get("std", 1.0)
            if hasattr(mean, "shape") and getattr(mean, "shape", ()) != ():
                return self._mark_if_zero(mean)
            size = args[2] if len(args) > 2 else kwargs.get("size", getattr(std, "shape", ()))
            options = {k: v for k, v in kwargs.items() if k in {"dtype", "device"}}
            return self._mark_if_zero(torch.full(tuple(size), float(mean), **options))
        if name == "normal_":
            mean = args[1] if len(args) > 1 else kwargs.get("mean", 0.0)
            return self._mark_if_zero(args[0].fill_(mean))
        shaped = _example(args[0]) if name == "randn_like" else None
        options = {k: v for k, v in kwargs.items() if k != "generator"}
        if shaped is not None:
            return self._mark_if_zero(torch.zeros_like(shaped, **options))
        return self._mark_if_zero(torch.zeros(*args, **options))

    def _uniform(
        self, name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        if name == "uniform_":
            low = args[1] if len(args) > 1 else kwargs.get("from", 0.0)
            high = args[2] if len(args) > 2 else kwargs.get("to", 1.0)
            return self._mark_if_zero(args[0].fill_(0.5 * (low + high)))
        options = {k: v for k, v in kwargs.items() if k != "generator"}
        if name == "rand_like":
            return torch.full_like(_example(args[0]), 0.5, **options)
        # 0.5, not 0: uniform noise goes through log or a quantile, which are infinite at the ends
        return torch.zeros(*args, **options) + 0.5

    def is_noise(self, value: Any) -> bool:
        """Whether a tensor is zero because nothing but noise would be in it."""
        return type(value) in (Tensor, torch.nn.Parameter) and _storage(value) in self._noise

    def without_noise(self, name: str, operands: Sequence[Any], value: Any) -> Any:
        """What a traced operation comes down to: a constant zero, one of ``operands``, or None
        (itself).

        Args:
            name: of the operation.
            operands: its arguments; traced ones have their example as ``value``.
            value: its result on the examples.
        """
        # before all else: a product with the noise is zero whatever the other factor is
        if self.is_noise(value):
            return value
        leaves = tree_leaves(list(operands))
        if not isinstance(value, Tensor) or not any(self.is_noise(leaf) for leaf in leaves):
            return None
        if name in _SUMS:
            for leaf in leaves:
                if _same(getattr(leaf, "value", None), value):
                    return leaf
        return value if self.is_noise(self._mark_if_zero(value)) else None

    def _has_noise(self, arguments: Any) -> bool:
        return bool(self._noise) and any(self.is_noise(leaf) for leaf in tree_leaves(arguments))

    def _mark_if_zero(self, value: Any) -> Any:
        if self._follows and type(value) is Tensor and value.numel() and not bool(value.any()):
            self._noise[_storage(value)] = value
        return value


def _same(example: Any, value: Tensor) -> bool:
    return (
        isinstance(example, Tensor) and example.shape == value.shape and torch.equal(example, value)
    )


def _storage(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


def _example(value: Any) -> Any:
    return getattr(value, "value", value) if not isinstance(value, Tensor) else value


@contextmanager
def running(*, samples: bool, follows: bool = False) -> Iterator[NoNoise | None]:
    """While a user's module runs: new tensors are float64 like its weights and, where it samples,
    no noise.

    The checks of distributions are then off, too: they ask for values, and for stds above 0.
    """
    distribution = torch.distributions.Distribution
    dtype, checked = torch.get_default_dtype(), distribution._validate_args
    torch.set_default_dtype(torch.float64)
    try:
        if not samples:
            yield None
            return
        # validation branches on values, which a tracer cannot follow
        distribution.set_default_validate_args(False)
        with NoNoise(follows=follows) as mode:
            yield mode
    finally:
        # also after an exception: the setting is the whole process's
        torch.set_default_dtype(dtype)
        distribution.set_default_validate_args(checked)
