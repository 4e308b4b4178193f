"""A file understood, one understood in part, one not at all."""

import dataclasses

from report_examples import HOSTILE, TOOL

from symdiag.report.kinds.inspect import GroupOutline, Inspection, StoredTensor, WeightTensor
from symdiag.report.parts import ErrorObject, LayerInfo

_UNREAD = Inspection(
    path=HOSTILE,
    container="torch-zip",
    stored=(StoredTensor("fc1.weight", (4, 2), "float32"), StoredTensor(HOSTILE, (), "int64")),
    tool=TOOL,
    problem=ErrorObject("no-scales-found", "no posterior found", ""),
)
_READ = dataclasses.replace(
    _UNREAD,
    path="model.pt",
    sha256="0" * 64,
    dialect="blitz",
    scale_transform="softplus",
    scale_range=(0.01, 0.5),
    parameters=12,
    tensors=(
        WeightTensor("fc1.weight", (4, 2), 0.01, 0.5),
        WeightTensor("fc1.bias", (4,), None, None),
    ),
    activation="tanh",
    layers=(LayerInfo("fc1", "linear", (4, 2)),),
    groups=(GroupOutline("fc1", 4, True, 5.95, ("fc1.weight", "fc1.bias")),),
    log_order=5.95,
    verified=True,
    ignored=((HOSTILE, "noise buffer"),),
    assumptions=("layers form a chain",),
    metadata={"epoch": HOSTILE},
    problem=None,
)
_PART = dataclasses.replace(
    _READ, groups=(), log_order=None, problem=ErrorObject("broken-chain", "no fit", "--model")
)
EXAMPLES = (_READ, _PART, _UNREAD, dataclasses.replace(_READ, groups=(), log_order=0.0))
