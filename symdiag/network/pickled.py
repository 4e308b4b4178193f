"""The network of a module that was pickled whole, where the tree of modules determines it.

An ``nn.Sequential`` computes its children in order. Where these are PyTorch's layers, or layers of
Bayesian libraries that compute what PyTorch's do with weights of their own, the same network is
built anew: from the table below, with numbers from the file. Nothing it names is imported or called.
The forward of any other class is not in the file; its parts are hints at most.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from symdiag.formats.pickled_module import PickledModule, pickled_modules
from symdiag.posterior import Posterior

if TYPE_CHECKING:
    from torch import Tensor, nn

SEQUENTIAL = frozenset(
    {"torch.nn.modules.container.Sequential", "torch_blue.vi.sequential.VISequential"}
)
_WRAPPERS = {
    "probly.representation.bayesian.Bayesian": "model",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
}
"""Classes whose forward is that of one child."""

_BAYESIAN = re.compile(
    r"(bayesian_torch\.layers|blitz\.modules|torchbnn\.modules|torch_uncertainty\.layers\.bayesian"
    r"|torch_blue\.vi|probly\.representation\.layers\.bayesian)\."
    r"(\w+\.)*(Bayes|Bayesian|VI)?(?P<kind>Linear|Conv[123]d)(Reparameterization|Flipout)?"
)
_TORCH = re.compile(r"torch\.nn\.modules\.\w+\.(?P<kind>\w+)")

ACTIVATION_CLASSES = {
    "ReLU": "relu",
    "Tanh": "tanh",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "SELU": "selu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Softplus": "softplus",
    "Sigmoid": "sigmoid",
    "Softsign": "softsign",
    "Hardtanh": "hardtanh",
    "Tanhshrink": "tanhshrink",
}
_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
_POOL = ("kernel_size", "stride", "padding", "ceil_mode")
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(ACTIVATION_CLASSES, ()),
    "LeakyReLU": ("negative_slope",),
    "ELU": ("alpha",),
    "GELU": ("approximate",),
    "Softplus": ("beta", "threshold"),
    "Hardtanh": ("min_val", "max_val"),
    **dict.fromkeys(("Identity", "Mish", "Hardswish", "ReLU6", "LogSigmoid"), ()),
    **dict.fromkeys(("Softmax", "LogSoftmax"), ("dim",)),
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"), ("p",)),
    "Flatten": ("start_dim", "end_dim"),
    **{f"MaxPool{k}d": (*_POOL, "dilation") for k in (1, 2, 3)},
    **{f"AvgPool{k}d": (*_POOL, "count_include_pad") for k in (1, 2, 3)},
    **{f"Adaptive{kind}Pool{k}d": ("output_size",) for kind in ("Avg", "Max") for k in (1, 2, 3)},
    "Linear": ("in_features", "out_features"),
    **{f"Conv{k}d": _CONV for k in (1, 2, 3)},
    **{f"BatchNorm{k}d": _NORM for k in (1, 2, 3)},
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine"),
    "GroupNorm": ("num_groups", "num_channels", "eps", "affine"),
}
"""Layers that are built anew → the settings that their constructor takes from the file."""

# Elements of any layer's output for the example: settings may be made to exhaust memory.
_LARGEST = 1 << 24
_SIZES = (8, 16, 28, 32, 64, 96, 224, *range(1, 65), 100, 112, 128, 150, 160, 200, 227, 256, 299)


@dataclass(frozen=True)
class Rebuilt:
    """A network that computes what the pickled one does, weights aside.

    ``activation`` is its one kind of activation, if it has one of a known name. ``doubts`` says why
    its outputs are less certain than its groups, "" where they are not.
    """

    module: nn.Module
    example_input: Tensor
    why: str
    activation: str | None = None
    doubts: str = ""


def rebuilt(posterior: Posterior) -> Rebuilt | None:
    """The network of the file's pickled module, or None where its tree does not determine one."""
    for tree in pickled_modules(posterior).values():
        found = _rebuilt(tree)
        if found is not None:
            return found
    return None


def hinted_activation(posterior: Posterior) -> tuple[str | None, str]:
    """The one activation among the parts of a pickled module of the file, and the module's class."""
    for tree in pickled_modules(posterior).values():
        activation = _only_activation(tree)
        if activation is not None:
            return activation, tree.class_name
    return None, ""


def _only_activation(tree: PickledModule) -> str | None:
    kinds = (_TORCH.fullmatch(part.class_name) for _, part in tree.walk())
    found = {ACTIVATION_CLASSES.get(kind["kind"]) for kind in kinds if kind} - {None}
    # with two kinds it is not known which stands where
    return found.pop() if len(found) == 1 else None


def pickled_network(posterior: Posterior) -> str:
    """Why the file's pickled module determines the network, or "". Imports no torch."""
    trees = (_chain(tree) for tree in pickled_modules(posterior).values())
    return next((_why(tree) for tree in trees if tree is not None), "")


def _why(tree: PickledModule) -> str:
    return f"the file holds the {tree.class_words} itself, with its layers in order"


def _chain(tree: PickledModule) -> PickledModule | None:
    """The Sequential of known layers that ``tree`` is, or that the wrappers around it call."""
    while tree.class_name in _WRAPPERS:
        inner = tree.children.get(_WRAPPERS[tree.class_name])
        if inner is None:
            return None
        tree = inner
    parts = [part for _, part in tree.walk() if part.class_name not in SEQUENTIAL]
    if tree.class_name not in SEQUENTIAL or len(set(map(id, parts))) < len(parts):
        return None  # an unknown forward, or a layer used twice
    known = all(_kind(layer) or _own_matrix(layer) for layer in _layers(tree))
    return tree if known else None


def _kind(layer: PickledModule) -> str:
    """The row of the table that the layer's class is; "" for none."""
    match = _TORCH.fullmatch(layer.class_name) or _BAYESIAN.fullmatch(layer.class_name)
    return match["kind"] if match and match["kind"] in _SETTINGS else ""


def _rebuilt(given: PickledModule) -> Rebuilt | None:
    import torch

    tree = _chain(given)
    if tree is None:
        return None
    try:
        with torch.device("meta"):  # no memory before the settings have proved to fit the tensors
            module = _sequential(tree)
            example = _example(module)
    except _Unknown:
        return None
    module = module.to_empty(device="cpu").eval()
    for name, tensor in module.state_dict().items():
        tensor.fill_(1 if name.endswith("running_var") else 0)
    shape = tuple(example.shape)
    generator = torch.Generator().manual_seed(0)
    own = sorted({layer.class_words for layer in _layers(tree) if not _kind(layer)})
    taken = f"the forward of {', '.join(own)} is not in the file: taken as that of a linear layer"
    return Rebuilt(
        module,
        torch.randn(shape, generator=generator),
        _why(tree),
        _only_activation(tree),
        taken if own else "",
    )


class _Unknown(Exception):
    """The tree holds something that the table does not."""


def _layers(tree: PickledModule) -> Iterator[PickledModule]:
    """The children that a Sequential runs, nested ones in their place; not the parts of a layer."""
    for child in tree.children.values():
        yield from _layers(child) if child.class_name in SEQUENTIAL else (child,)


def _sequential(tree: PickledModule) -> nn.Sequential:
    from torch import nn

    built: OrderedDict[str, nn.Module] = OrderedDict()
    for name, child in tree.children.items():
        inner = child.class_name in SEQUENTIAL
        built[name] = _sequential(child) if inner else _layer(child)
    try:
        return nn.Sequential(built)
    except KeyError as error:  # a name no module can have, from a damaged file
        raise _Unknown from error


def _layer(tree: PickledModule) -> nn.Module:
    """One layer of the table with the file's settings, whose tensors are of the file's shapes."""
    from torch import nn

    kind = _kind(tree)
    if not kind:
        return _own_layer(tree)
    if tree.attributes.get("padding_mode", "zeros") != "zeros":
        raise _Unknown
    settings = {
        name: _checked(tree.attributes[name]) for name in _SETTINGS[kind] if name in tree.attributes
    }
    if kind == "Linear" or kind.startswith("Conv"):
        settings["bias"] = _has_bias(tree)
    try:
        layer: nn.Module = getattr(nn, kind)(**settings)
    except Exception as error:  # settings of a foreign version, or edited ones
        raise _Unknown from error
    # a Bayesian layer has means and scales of the shape of each weight, under names of its own
    known = {*tree.parameters.values(), *tree.buffers.values()}
    if any(tuple(p.shape) not in known for p in layer.parameters()):
        raise _Unknown
    return layer


def _checked(value: Any) -> Any:
    """A setting: a number, text, None, or a tuple of small whole numbers."""
    items = value if isinstance(value, tuple | list) else (value,)
    if len(items) > 8 or not all(isinstance(i, int | float | str | type(None)) for i in items):
        raise _Unknown
    if any(isinstance(i, int) and abs(i) > _LARGEST for i in items):
        raise _Unknown
    return tuple(items) if isinstance(value, list) else value


def _has_bias(tree: PickledModule) -> bool:
    """As the layer's own flag says; blitz keeps unused biases."""
    flag = tree.attributes.get("bias")
    return flag if isinstance(flag, bool) else any("bias" in name for name in tree.parameters)


def _own_matrix(tree: PickledModule) -> tuple[int, int, bool, bool] | None:
    """Inputs, outputs, whether stored (in, out), whether with a bias, of a hand-written layer.

    It holds means and scales of one matrix, and perhaps of one vector, and nothing else.
    """
    shapes = sorted(tree.parameters.values(), key=len)
    matrices = [shape for shape in shapes if len(shape) == 2]
    vectors = [shape for shape in shapes if len(shape) == 1]
    pairs = len(matrices) == 2 and len(vectors) in (0, 2) and len(set(shapes)) == len(shapes) // 2
    foreign = tree.class_name.startswith("torch.")  # such as an LSTM, whose shapes may look alike
    if foreign or tree.children or not pairs or len(matrices) + len(vectors) < len(shapes):
        return None
    rows, columns = matrices[0]
    if vectors and vectors[0][0] not in (rows, columns):
        return None
    # the bias is as long as there are outputs; for a square matrix it tells nothing, and PyTorch's
    # layout is taken
    in_out = bool(vectors) and vectors[0][0] == columns != rows
    sizes = (rows, columns) if in_out else (columns, rows)
    return (*sizes, in_out, bool(vectors))


def _own_layer(tree: PickledModule) -> nn.Module:
    from torch import nn

    found = _own_matrix(tree)
    if found is None:
        raise _Unknown
    inputs, outputs, in_out, bias = found
    return _product()(inputs, outputs) if in_out else nn.Linear(inputs, outputs, bias=bias)


def _product() -> type[nn.Module]:
    import torch
    from torch import nn

    class Product(nn.Module):
        """x @ weight + bias."""

        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.in_features = inputs
            self.weight = nn.Parameter(torch.empty(inputs, outputs))
            self.bias = nn.Parameter(torch.empty(outputs))

        def forward(self, x: Tensor) -> Tensor:
            """(N, in) → (N, out)."""
            return x @ self.weight + self.bias

    return Product


def _example(module: nn.Module) -> Tensor:
    """A batch of two that runs through without any large output, on the meta device."""

    def small(_: object, __: object, output: Tensor) -> None:
        if output.numel() > _LARGEST:
            raise _Unknown

    # shapes alone are computed on the meta device, so a bomb is seen before it is allocated
    hooks = [part.register_forward_hook(small) for part in module.modules()]
    try:
        for candidate in _candidates(module):
            try:
                module.eval()(candidate)
            except Exception:  # noqa: S112 - any failure means: not this shape
                continue
            return candidate
    finally:
        for hook in hooks:
            hook.remove()
    raise _Unknown


def _candidates(module: nn.Module) -> Iterator[Tensor]:
    """What the first layer with settings may take; the usual spatial sizes first."""
    import torch
    from torch import nn

    for part in module.modules():
        features = getattr(part, "in_features", None)
        if isinstance(features, int):
            yield torch.empty(2, features)
            return
        channels = getattr(part, "in_channels", None) or getattr(part, "num_features", None)
        rank = int(next(iter(re.findall(r"(\d)d$", type(part).__name__)), 1))
        if isinstance(channels, int):
            if isinstance(part, nn.BatchNorm1d):
                yield torch.empty(2, channels)
            yield from (torch.empty(2, channels, *(size,) * rank) for size in _SIZES)
            return
        if isinstance(part, nn.LayerNorm):
            yield torch.empty(2, *part.normalized_shape)
            return
