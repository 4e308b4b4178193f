"""Which tensor of a module is which of a posterior: by name and shape, in a Bayesian module by its
means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from symdiag.errors import InputError, UnsupportedError, UsageError
from symdiag.formats import RawCheckpoint, ReadOptions, interpret
from symdiag.formats.fields import Template
from symdiag.formats.tree import dotted
from symdiag.posterior import Posterior


def match_names(module: nn.Module, posterior: Posterior) -> dict[str, str]:
    """Module tensor → the file's name for it: the same name, or the same with a prefix on one side.

    Raises:
        UnsupportedError: ``model-mismatch`` naming the first tensors that do not fit.
    """
    # with duplicates: a file may hold a tied tensor under any of its names
    own = {name: tuple(p.shape) for name, p in module.named_parameters(remove_duplicate=False)}
    buffers = {name: tuple(b.shape) for name, b in module.named_buffers(remove_duplicate=False)}
    theirs = {
        **posterior.shapes,
        **{name: value.shape for name, value in posterior.buffers.items()},
    }
    names = _by_prefix(own, theirs)
    # apart from the parameters, as buffers are optional: a missing one must not spoil the match
    names |= {k: v for k, v in _by_prefix(buffers, theirs).items() if k not in names}
    tied = _tied_names(module, names)
    missing = [name for name in own if name not in names and name not in tied]
    unused = [name for name in posterior.names if name not in set(names.values())]
    wrong = [n for n, t in names.items() if {**own, **buffers}[n] != theirs[t]]
    if missing or unused or wrong:
        raise UnsupportedError(
            _mismatch(
                missing, unused, wrong, {**own, **buffers}, {n: theirs[names[n]] for n in wrong}
            ),
            code="model-mismatch",
            hint="the module must have the file's tensor names and shapes, as weights or as means",
        )
    return names


def _mismatch(
    missing: Sequence[str],
    unused: Sequence[str],
    wrong: Sequence[str],
    own: Mapping[str, Any],
    theirs: Mapping[str, Any],
) -> str:
    parts = [
        f"{name} is {own[name]} in the module and {theirs[name]} in the file" for name in wrong[:2]
    ]
    parts += [f"the file lacks {', '.join(missing[:3])}"] if missing else []
    parts += [f"the module lacks {', '.join(unused[:3])}"] if unused else []
    return "the module does not fit the file: " + "; ".join(parts)


def _by_prefix(own: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, str]:
    """The matching by name that covers most tensors, over prefixes seen on either side."""
    best = {name: name for name in own if name in theirs}
    for name in own:
        for other in theirs:
            if other != name and other.endswith("." + name):
                prefix = other[: -len(name)]
                found = {n: prefix + n for n in own if prefix + n in theirs}
            elif other != name and name.endswith("." + other):
                prefix = name[: -len(other)]
                found = {
                    n: n[len(prefix) :]
                    for n in own
                    if n.startswith(prefix) and n[len(prefix) :] in theirs
                }
            else:
                continue
            # max keeps the first of equals: names as they are outrank any prefix
            best = max(best, found, key=len)
        if len(best) == len(own):
            break
    return best


def _tied_names(module: nn.Module, names: Mapping[str, str]) -> set[str]:
    """Module names that share a tensor with one the file holds."""
    # by identity: what a module ties is one Parameter object under two names
    held = {id(p) for n, p in module.named_parameters(remove_duplicate=False) if n in names}
    return {n for n, p in module.named_parameters(remove_duplicate=False) if id(p) in held}


def match_posterior(module: nn.Module, posterior: Posterior) -> dict[str, str] | None:
    """A Bayesian module's means and buffers → the file's names; None if the module is none that is
    known.

    The module's own state dict is read like a file of its library, so its tensors get the names
    that the library's files get.

    Raises:
        UnsupportedError: ``model-mismatch`` naming the first tensors that do not fit.
    """
    own = read_posterior(module, posterior)
    if own is None:
        return None
    assert own.source is not None
    template: Template = own.source.template
    shapes, theirs = _all_shapes(own), _all_shapes(posterior)
    matched = _by_prefix(shapes, theirs)
    missing = [name for name in own.names if name not in matched]
    unused = [name for name in posterior.names if name not in set(matched.values())]
    wrong = [name for name, other in matched.items() if shapes[name] != theirs[other]]
    if missing or unused or wrong:
        raise UnsupportedError(
            _mismatch(missing, unused, wrong, shapes, {n: theirs[matched[n]] for n in wrong}),
            code="model-mismatch",
            hint="the factory must build the module that the file was saved from",
        )
    slots = {name: (field.loc, *field.loc_copies) for name, field in _fields(own, template)}
    slots |= {name: (slot,) for name, slot in template.buffers.items()}
    return {
        dotted(slot.path): other for name, other in matched.items() for slot in slots.get(name, ())
    }


def read_posterior(module: nn.Module, like: Posterior | None = None) -> Posterior | None:
    """The posterior that a module's parameters hold, by the conventions of its library; None if
    there is none.

    Where names leave open what a scale parameter means, ``like`` settles it or softplus is taken:
    the stds take no part in what the network computes.
    """
    tree = {
        name: value.detach().cpu().float().numpy() if value.is_floating_point() else value.numpy()
        for name, value in module.state_dict().items()
        if isinstance(value, Tensor)
    }
    raw = RawCheckpoint(path=type(module).__name__, sha256="", container="memory", tree=tree)
    known = like.source.scale_transform if like is not None and like.source is not None else ""
    # what the names say first, then what the file was read with; each is tried once
    for transform in dict.fromkeys((None, known or None, "softplus")):
        try:
            found = interpret(raw, ReadOptions(scale_transform=transform))
        except (InputError, UsageError):  # also a transform of a library's own, such as IVON's
            continue
        template = found.source.template if found.source else None
        if isinstance(template, Template) and any(f.scale for _, f in _fields(found, template)):
            return found
    return None


def _fields(posterior: Posterior, template: Template) -> list[tuple[str, Any]]:
    return list(zip(posterior.names, template.fields, strict=True))


def _all_shapes(posterior: Posterior) -> dict[str, tuple[int, ...]]:
    buffers = {name: value.shape for name, value in posterior.buffers.items()}
    return {**posterior.shapes, **buffers}
