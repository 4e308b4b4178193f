"""The one entry point of the analysis: from a posterior to a verified permutation spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symdiag.arrays import Array
from symdiag.errors import InputError, UnsupportedError
from symdiag.formats.pickled_module import pickled_modules
from symdiag.network import (
    Network,
    Provenance,
    chain_provenance,
    infer_network,
    pickled_activation,
    states_chain,
)
from symdiag.posterior import Posterior
from symdiag.symmetry.file_names import module_names, renamed
from symdiag.symmetry.inference import infer_spec
from symdiag.symmetry.spec import Member, PermutationSpec
from symdiag.symmetry.specfile import read_spec
from symdiag.symmetry.verification import Failure, ForwardFn, prior_violations, verify

if TYPE_CHECKING:
    from symdiag.network.module import ModelSource

Uncovered = tuple[str, int, str]
"""``(tensor, number of parameters, reason)``: how much of a tensor no group touches, and why."""

_FIXED = "belongs to units that stay fixed: inputs, outputs, or units outside every group"
_STAND_IN = (
    "padding, strides, pooling and any shuffle of channels are not in the file: the groups were checked on a stand-in "
    "with these layers"
)
_OTHER_NETWORK = (
    "the spec file was checked on the plain chain that the tensors form: if the network is another, groups were left "
    "out wrongly; name the module with --model"
)
_TRACED, _STATED = "as in the module (--model)", "as the spec file says (--spec)"
_IN_FILE = "as in the pickled module"
_UNCHECKED = "the groups were not checked against a forward pass: name the module with --model"


@dataclass(frozen=True)
class Symmetry:
    """What is known of a posterior's symmetry group.

    ``network`` is the inferred chain, None where the tensors form none (a spec file or a traced
    module then describes the net). ``chain`` is that chain where ``forward`` is known to compute it
    (of a module: it was compared), with its activation; a residual net's tensors form a chain that
    it does not compute. ``spec`` holds the groups that were seen to hold. ``notes``
    lists every assumption and what could not be checked. ``uncovered`` lists what of the tensors is
    outside every group. ``prior_violations`` lists ``(tensor, group)`` where the stored prior is
    not invariant. ``forward(weights, inputs)`` maps torch tensors, with a leading draw axis or
    without, to outputs; ``weights`` includes buffers, if there are any. It is None when the
    computation is not determined. ``activation`` says how sign flips were decided: the name of the
    chain's activation, or that the module or the spec file settled it; None where nothing did.
    ``repeated`` names tensors that the module ties to another one of the file: they move with it,
    but are no weights of their own. ``provenance`` says how the network is known.
    """

    network: Network | None
    spec: PermutationSpec
    provenance: Provenance
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    uncovered: tuple[Uncovered, ...] = ()
    prior_violations: tuple[tuple[str, str], ...] = ()
    forward: Callable[..., Any] | None = None
    activation: str | None = None
    repeated: tuple[str, ...] = ()
    chain: Network | None = None


@dataclass(frozen=True)
class _Found:
    """A spec before verification, and where it came from."""

    network: Network | None
    spec: PermutationSpec
    probe: ForwardFn | None
    forward: Callable[..., Any] | None
    reasons: Mapping[str, str]
    notes: tuple[str, ...]
    activation: str | None
    provenance: Provenance
    repeated: tuple[str, ...] = ()
    chain: Network | None = None


def discover(
    posterior: Posterior,
    *,
    activation: str | None = None,
    model: ModelSource | None = None,
    spec_file: Path | None = None,
    assume_chain: bool = False,
    inputs: Array | None = None,
    generator: np.random.Generator,
) -> Symmetry:
    """The verified symmetry group of a posterior's network.

    A spec file overrides the groups that tracing or inference would find; a model decides what is
    computed.

    Args:
        posterior: the tensors.
        activation: activation between layers, if known.
        model: the user's own module, deterministic or Bayesian, what makes it, or
            ``package.module:factory``, which imports that code.
        spec_file: a hand-written spec (docs/spec-file.md).
        assume_chain: the user vouches for the chain where the file does not determine it.
        inputs: data (N, ...), which tell what the module takes where no example comes with it.
        generator: random inputs, perturbations and group elements of the verification.

    Returns:
        Groups that were seen to hold, with everything assumed or refused.

    Raises:
        InputError: the tensors do not form a network that can be read (``broken-chain``,
            ``undetermined-architecture``), or do not fit the module (``model-mismatch``,
            ``untraceable``).
        UsageError: an option is wrong (``unknown-activation``, ``bad-model-option``, ``bad-spec``).
    """
    if model is not None:
        found = _from_model(posterior, activation, model, spec_file, generator, inputs)
    else:
        whole = _from_pickled(posterior, activation, generator) if spec_file is None else None
        found = whole or _from_file(posterior, activation, spec_file, generator)
    provenance = replace(found.provenance, accepted=assume_chain)
    kept, notes = found.spec, list(found.notes)
    failures: tuple[Failure, ...] = ()
    if found.probe is not None:
        checked = verify(found.spec, posterior, found.probe, generator)
        kept, failures = checked.kept, checked.failures
        if failures and model is None and spec_file is not None:
            notes.append(_OTHER_NETWORK)
    elif len(found.spec):
        notes.append(_UNCHECKED)
    violations = prior_violations(kept, posterior)
    notes += [_prior_note(tensor, group) for tensor, group in violations]
    notes = list(dict.fromkeys(notes))
    uncovered = uncovered_tensors(posterior, kept, found.reasons)
    return Symmetry(
        found.network,
        kept,
        provenance,
        failures,
        tuple(notes),
        uncovered,
        violations,
        found.forward,
        found.activation,
        found.repeated,
        found.chain,
    )


def uncovered_tensors(
    posterior: Posterior, spec: PermutationSpec, reasons: Mapping[str, str] | None = None
) -> tuple[Uncovered, ...]:
    """Tensors of the posterior with entries that no group of ``spec`` moves, and why."""
    known = reasons or {}
    left = ((name, spec.left_out(name, loc.shape)) for name, loc in posterior.loc.items())
    return tuple((name, count, known.get(name, _FIXED)) for name, count in left if count)


def _prior_note(tensor: str, group: str) -> str:
    return f"prior-not-invariant: the stored prior of {tensor} differs between the units of {group}"


def _from_file(
    posterior: Posterior,
    activation: str | None,
    spec_file: Path | None,
    generator: np.random.Generator,
) -> _Found:
    """Groups of the inferred chain, or of a spec file (then the tensors need not form a chain)."""
    if spec_file is None:
        network = infer_network(posterior, activation=activation)
        spec = infer_spec(posterior, network)
        probe, notes = _chain_probe(network, spec, generator)
        provenance = chain_provenance(network.layers, stated=states_chain(posterior))
        if network.activation is not None and network.activation != activation:
            # permutations do not depend on a hint among a pickled module's parts; the outputs do
            provenance = replace(
                provenance, function=provenance.function or pickled_activation(posterior)[1]
            )
        forward = _chain_forward(network)
        return _Found(
            network,
            spec,
            probe,
            forward,
            {},
            (*spec.notes, *notes),
            network.activation,
            provenance,
            chain=None if forward is None else network,
        )
    spec = read_spec(spec_file, posterior)
    given = _network_or_none(posterior, activation)
    stated = Provenance("spec", f"as {spec_file.name} says")
    if given is None:
        return _Found(None, spec, None, None, {}, spec.notes, activation or _STATED, stated)
    probe, notes = _chain_probe(given, spec, generator)
    same = _axes(spec) == _axes(infer_spec(posterior, given))
    forward = _chain_forward(given) if same else None
    # groups that are the chain's own leave no room for a skip connection; a norm's place stays open
    stated = replace(stated, function=chain_provenance(given.layers).function)
    notes = (*spec.notes, *notes)
    known = given.activation or _STATED
    chain = None if forward is None else given
    return _Found(given, spec, probe, forward, {}, notes, known, stated, chain=chain)


def _from_model(
    posterior: Posterior,
    activation: str | None,
    model: ModelSource,
    spec_file: Path | None,
    generator: np.random.Generator,
    inputs: Array | None = None,
) -> _Found:
    """Groups by tracing the user's module, or from a spec file checked against it."""
    from symdiag.network.computed_chain import computed_chain
    from symdiag.network.module import user_model
    from symdiag.symmetry.probing import model_probe
    from symdiag.symmetry.tracing import trace_spec

    user = user_model(model, posterior, inputs)
    reasons: dict[str, str] = {}
    if spec_file is not None:
        spec = read_spec(spec_file, posterior)
    else:
        trace = trace_spec(user.module, user.example_inputs, samples=user.samples)
        spec = renamed(trace.spec, user.names)
        modules = module_names(user.names)
        for name, why in trace.reasons.items():
            if name in user.names:
                owner, _, rest = why.partition(": ")
                reasons[user.names[name]] = f"{modules.get(owner, owner)}: {rest}"
    network = _network_or_none(posterior, activation)
    if network is not None:
        network = replace(network, notes=())
    probe = model_probe(user, generator)
    notes = (
        *spec.notes,
        *(
            f"{name} is tied to {first} in the module: counted once"
            for name, first in user.repeated
        ),
    )
    repeated = tuple(name for name, _ in user.repeated)
    how = "traced through" if spec_file is None else f"as {spec_file.name} says, checked on"
    known = Provenance("module", f"{how} the module {type(user.module).__name__}")
    return _Found(
        network,
        spec,
        probe,
        user.forward,
        reasons,
        notes,
        activation or _TRACED,
        known,
        repeated,
        computed_chain(posterior, network, user.forward),
    )


def _from_pickled(
    posterior: Posterior, activation: str | None, generator: np.random.Generator
) -> _Found | None:
    """Groups of the module pickled in the file, built anew; None where its tree does not determine it."""
    if not pickled_modules(posterior):
        return None
    from symdiag.network.pickled import rebuilt

    whole = rebuilt(posterior)
    if whole is None:
        return None
    try:
        source = lambda: (whole.module, whole.example_input)  # noqa: E731
        found = _from_model(posterior, activation, source, None, generator)
    except UnsupportedError:  # other tensors than the module's, or a layer the tracer does not know
        return None
    known = Provenance("pickled-module", whole.why, function=whole.doubts)
    return replace(found, provenance=known, activation=activation or whole.activation or _IN_FILE)


def _network_or_none(posterior: Posterior, activation: str | None) -> Network | None:
    """The chain, if the tensors happen to form one; its assumptions are moot when the user
    describes the net.
    """
    try:
        return replace(infer_network(posterior, activation=activation), notes=())
    except InputError:
        return None


def _axes(spec: PermutationSpec) -> set[frozenset[Member]]:
    """What each group moves, whatever it is called."""
    # flips follow from the activation, not from the wiring: left out of the comparison
    return {frozenset(replace(member, flips=True) for member in group.members) for group in spec}


def _chain_probe(
    network: Network, spec: PermutationSpec, generator: np.random.Generator
) -> tuple[ForwardFn, tuple[str, ...]]:
    from symdiag.symmetry.probing import chain_probe

    claims_flips = any(group.signed for group in spec)
    convolves = any(layer.kind.startswith("conv") for layer in network.layers)
    return chain_probe(network, generator, signed=claims_flips), ((_STAND_IN,) if convolves else ())


def _chain_forward(network: Network) -> Callable[..., Any] | None:
    """The chain's own forward pass where tensors and activation determine it."""
    determined = all(
        layer.kind in {"linear", "batchnorm", "layernorm"} and layer.inner == 1
        for layer in network.layers
    )
    if not determined or (network.activation is None and len(network.unit_layers) > 1):
        return None

    def run(weights: Mapping[str, Any], inputs: Any) -> Any:
        from symdiag.network.functional import forward

        return forward(network, weights, None, inputs)

    return run
