"""Every error symdiag raises on purpose: a stable code, one clear line, a hint at what to do.

SymdiagError
├── UsageError            the call itself is wrong (options, names, combinations)
├── InputError            a file or array cannot be used
│   ├── UnreadableError   cannot be opened, truncated, empty, not a checkpoint
│   ├── UnsafeError       would need code execution to read; refused
│   ├── LimitError        declared sizes exceed what we are willing to allocate
│   └── UnsupportedError  well formed, but not something symdiag can vouch for
├── SymmetryError         a claimed symmetry does not hold
├── TrainingError         optimisation diverged or cannot continue
└── OutputError           the result could not be written
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

_MAX_SHOWN = 80


@dataclass(frozen=True)
class Explanation:
    """What a stable code, of an error or of a finding, means and what to do about it.

    ``reference``: the section of docs/ or the publication that a finding rests on; the exit code of an error.
    """

    code: str
    title: str
    meaning: str
    action: str
    reference: str


def one_line(text: object) -> str:
    """``text`` with line breaks, escape sequences and other unprintable characters spelled out.

    Messages quote names from files; those must not forge terminal output or log lines.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def shown(name: object) -> str:
    """``name``, which comes from a file, on one printable line of a readable length."""
    text = one_line(name)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def listed(names: Iterable[object], limit: int = 5) -> str:
    """``names`` as one comma-separated line, with the count of those left out."""
    every = [shown(name) for name in names]
    rest = len(every) - limit
    return ", ".join(every[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _shortened(text: str) -> str:
    """``text`` without its middle where it is longer than anybody reads: a name from a file may have megabytes."""
    return text if len(text) <= 2000 else f"{text[:1500]} [...] {text[-400:]}"


class SymdiagError(Exception):
    """Base class. ``code`` is stable and kebab-case; ``hint`` says what to do next."""

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        self.message = _shortened(one_line(message))
        super().__init__(self.message)
        self.code = code or self.default_code
        self.hint = hint

    def to_dict(self) -> dict[str, str]:
        """The ``error`` object of the JSON contract."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UsageError(SymdiagError):
    """An option, name or combination of options is not valid."""

    default_code = "usage"


class InputError(SymdiagError):
    """An input file or array cannot be used."""

    default_code = "bad-input"


class UnreadableError(InputError):
    """The file cannot be opened or is not a checkpoint at all."""

    default_code = "unreadable"


class UnsafeError(InputError):
    """Reading the file would mean running code from it. Never done, whatever the flags."""

    default_code = "unsafe-checkpoint"


class LimitError(InputError):
    """Declared sizes exceed the limits; refused before anything is allocated."""

    default_code = "limit-exceeded"


class UnsupportedError(InputError):
    """Well formed, but not something symdiag knows how to read correctly."""

    default_code = "unsupported"


class SymmetryError(SymdiagError):
    """A claimed symmetry of the network does not hold."""

    default_code = "symmetry-violated"


class TrainingError(SymdiagError):
    """Optimisation diverged or cannot continue."""

    default_code = "training-failed"


class OutputError(SymdiagError):
    """The result could not be written; nothing was left half written."""

    default_code = "write-failed"


# ---- the other half of `symdiag explain`: a new code needs a row here (a test finds the codes in the source)

_ANEW = "Copy or download the file again, or save it anew where it was made."
_OPTIONS = "The message names what is allowed; `symdiag COMMAND --help` lists all options."
_CONVERT = "Where the file was made and is trusted, save its tensors alone, best as safetensors, and analyse that."

_ROWS: tuple[tuple[str, str, str, str], ...] = (
    # the call
    ("usage", "The command line is not valid", "An option, argument or combination does not exist.", _OPTIONS),
    ("bad-option", "An option has a value out of range", "The option exists, its value does not fit.", _OPTIONS),
    ("bad-config", "A configuration file or variable is not valid", "A symdiag.toml, a [tool.symdiag] table or a "
     "SYMDIAG_* variable cannot be read or names an unknown setting. Ignoring it could change a verdict in silence.",
     "Correct the key; the message suggests the nearest one. The order is: command line, environment, file."),
    ("unknown-code", "There is no such code", "Neither a finding nor an error has this code.",
     "`symdiag explain` lists them all."),
    ("unknown-activation", "The activation is not known", "Only known activations tell whether sign flips are "
     "symmetries.", "Use one of the names in the message, or leave it out: then only permutations are considered."),
    ("unknown-scale-transform", "The scale transform is not known", "--scale-transform names what turns the stored "
     "number into a standard deviation.", "Use one of the names in the message."),
    ("unknown-constraint", "A scale has a constraint that is not known", "The file declares how its scale is "
     "constrained, in a way symdiag has no transform for.", "Save the standard deviations themselves."),
    ("not-implemented", "Not available in this version", "The option is planned, and refused rather than ignored.",
     "Leave it out, or use a later version."),
    ("missing-extra", "An optional package is needed", "The option uses a package that symdiag does not require.",
     "Install it as the message says, or leave the option out."),
    ("missing-package", "An optional package is needed to read the file", "Files of this kind are read with a package "
     "that symdiag does not require.", "Install it as the message says, or save the arrays with numpy.savez."),
    # reading
    ("bad-input", "The input cannot be used", "The file is readable, but something in it does not fit.",
     "The message names the tensor or key."),
    ("unreadable", "The file cannot be read", "It cannot be opened, or is no checkpoint at all.", _ANEW),
    ("unsupported", "Well formed, but not vouched for", "symdiag refuses what it cannot read correctly.", _CONVERT),
    ("not-found", "There is no such file", "Nothing exists at the path given.", "Check the path."),
    ("permission-denied", "The file may not be read", "The operating system refused.", "Check mode and owner."),
    ("not-a-file", "Not a regular file", "Folders, pipes and devices are not read.", "Name the checkpoint file."),
    ("empty-file", "The file is empty", "It has 0 bytes: a failed save or download.", _ANEW),
    ("changed-while-reading", "The file changed while it was read", "Its hash would not describe what was analysed.",
     "Wait until whoever writes it has finished."),
    ("truncated", "The file ends too early", "Fewer bytes than its own header announces.", _ANEW),
    ("corrupt", "The file is damaged", "A checksum, index or pickle stream in it is broken.", _ANEW),
    ("malformed-header", "The file's header breaks the format's rules", "Offsets, shapes or dtypes that the format "
     "does not allow. Reading on could mean reading something else than other tools do.", _ANEW),
    ("ambiguous-archive", "The archive can be read in two ways", "Duplicate members, data before or after the "
     "archive, or members that do not belong: two tools could see two different checkpoints.", _ANEW),
    ("lfs-pointer", "A git-LFS pointer, not the file", "The repository was cloned without its large files.",
     "Run `git lfs pull`."),
    ("html-page", "A web page, not a checkpoint", "The download gave an error or login page.",
     "Use the raw or resolve address of the file."),
    ("unrecognised", "No known checkpoint format", "The content, whatever the extension, is none of the formats "
     "symdiag reads.", "symdiag reads torch (.pt), safetensors and npz files."),
    ("unsafe-checkpoint", "Reading it would run code from the file", "The file is a pickle that calls functions. "
     "symdiag never runs code from a checkpoint and has no option that does.", _CONVERT),
    ("limit-exceeded", "Larger than symdiag is willing to allocate", "Declared sizes are checked before anything is "
     "allocated.", "Save the posterior's tensors alone, without optimiser state."),
    ("out-of-memory", "Memory ran out", "The analysis needs more than this machine has.",
     "Fewer --samples, or a larger machine."),
    ("torch-too-old", "This torch cannot read untrusted files safely", "Versions before 2.10 have known "
     "vulnerabilities in their restricted loader.", "Upgrade torch, or convert the file to safetensors."),
    ("unsupported-dtype", "A dtype symdiag does not read", "Quantised, complex and object tensors are no weights of a "
     "Gaussian posterior.", "Convert the tensor to float32 before saving."),
    ("unsupported-tensor", "A tensor without ordinary values", "Sparse, quantised, meta and nested tensors are not "
     "read: a posterior is over dense weights.", "Save it as a dense float32 tensor."),
    ("bad-sidecar", "The sidecar file is not valid", "CHECKPOINT.symdiag.json must be a JSON object: strings, and "
     "model_shapes as an object of lists.",
     "Correct or remove it."),
    # meaning of the tensors
    ("no-scales-found", "No posterior found", "There are tensors, but no standard deviations in any known "
     "convention: a deterministic network looks like this.", "The message lists the keys seen and the nearest known "
     "pattern. For draws use `symdiag samples`; for other libraries see docs/checkpoints.md."),
    ("ambiguous-scale-transform", "The scale parameter could mean different things", "Libraries use the same name for "
     "softplus and exp parametrisations; a guess could give a plausible wrong report.",
     "Say which with --scale-transform; the message shows the standard deviations either would give."),
    ("missing-scale", "A mean has no scale", "The file is incomplete or mixes conventions.", _ANEW),
    ("shape-mismatch", "Tensors that belong together differ in shape", "A mean and its scale, or a flat vector and "
     "the tensors it should hold, do not match.", "Check that both come from the same model."),
    ("not-samples", "Fewer than two draws", "A posterior of draws is several files, a list of state dicts, or tensors "
     "with a leading sample axis.", "Check the file, or the number of sample axes."),
    ("duplicate-tensor", "One parameter under two names", "The file holds the same parameter in two conventions.",
     "Keep one of them."),
    ("copies-differ", "Two copies of one parameter differ", "Libraries such as blitz save each parameter twice; a tool "
     "changed one copy and not the other, so it is not clear which the network uses.", "Save the model anew."),
    ("non-finite", "NaN or infinity among the weights", "The run that wrote the file diverged; no verdict on such a "
     "posterior would mean anything.", "Use an earlier checkpoint."),
    ("bad-scale", "A standard deviation that is not positive", "Zero, negative or overflowing after the transform.",
     "If the file stores something else than assumed, name it with --scale-transform."),
    ("not-gaussian", "Not a Gaussian posterior", "symdiag works with Gaussian posteriors.",
     "Approximate it by a Gaussian first, for instance by its moments."),
    ("cannot-represent", "The file's format cannot hold the result", "A value that the checkpoint's own "
     "parametrisation has no number for.", "Write to another format, or keep the weight deterministic."),
    ("no-source", "The posterior was not read from a file", "Only a loaded posterior has a format to be saved in.",
     "Load it with symdiag.load, or save the arrays yourself."),
    ("needs-companion", "A second file is needed", "The library spreads the posterior over two files.",
     "Name the other one with --companion."),
    ("companion-mismatch", "The second file belongs to another model", "Its tensors do not hold the values of the "
     "posterior.", "Give the state dict of the very model that the posterior was fitted to."),
    ("needs-model-shapes", "A flat vector without names", "The file does not say which tensors its values are.",
     "Name the model's state dict with --companion, or list the tensors in CHECKPOINT.symdiag.json; see "
     "docs/checkpoints.md."),
    ("missing-model", "Scales without means", "The file holds the optimizer's state alone; the means are the model's "
     "weights.", "Save both in one file."),
    ("malformed-checkpoint", "The keys fit a library, the contents do not", "The file was edited, or written by a "
     "version that is not known.", "Save it anew with the library."),
    ("order-unknown", "The order of the tensors is not known", "A flat vector or optimiser state does not name its "
     "tensors.", "List the tensors in order as model_shapes in CHECKPOINT.symdiag.json."),
    # the network
    ("broken-chain", "The layers do not fit together", "The outputs of one layer are not the inputs of the next.",
     "If the architecture is no plain chain, give it with --model or --spec."),
    ("activation-unknown", "The activation is needed here", "Outputs cannot be computed without it.",
     "Give --activation, for example relu."),
    ("forward-undetermined", "The forward pass is not determined by the file", "Some layers do not say how their "
     "outputs are computed.", "Name the module with --model package.module:factory."),
    ("spec-mismatch", "The permutation spec does not fit the tensors", "A group's width does not match an axis, or "
     "two groups claim the same one.", "Correct the spec; `symdiag inspect --write-spec` writes the inferred one."),
    ("symmetry-violated", "A claimed symmetry does not hold", "Applying a group element changed the network's "
     "outputs, so figures for that group would be wrong.", "Correct the spec or the activation."),
    ("not-a-permanent", "The group has no permanent form", "It acts on two axes of one tensor, such as recurrent "
     "weights, and this computation needs one axis.", "Use analyze, which brackets such groups otherwise."),
    ("architectures-differ", "The posteriors have different architectures", "Only posteriors over the same tensors "
     "can be aligned.", "Check that both come from the same model class."),
    ("too-few-posteriors", "At least two posteriors are needed", "A universe of one has nothing to align.",
     "Name two or more."),
    ("no-groups", "No interchangeable units were found", "There is nothing that could be matched.",
     "Describe the network with --model package.module:factory or --spec."),
    ("undetermined-architecture", "The file does not determine the architecture", "Names and shapes leave open how "
     "the layers are connected; a guess could give a wrong group.",
     "Give the model with --model package.module:factory, or a hand-written --spec."),
    ("bad-model-option", "--model does not give a model", "The factory cannot be imported, fails, or returns no "
     "torch module.", "--model package.module:factory names a function without arguments that returns the module."),
    ("model-mismatch", "The model does not fit the file", "Tensor names or shapes of the two differ.",
     "The factory must build a plain torch module with the file's tensor names and shapes."),
    ("example-input-needed", "The shape of the model's input is not known", "The module must be run to be traced.",
     "Let the factory return (module, example_input)."),
    ("untraceable", "The model cannot be traced", "Its forward pass branches on values or uses something that "
     "tracing cannot follow.", "Give the groups with --spec; the model is then only used to check them."),
    ("bad-spec", "The permutation spec is not valid", "It is no TOML, or names tensors and axes that do not exist.",
     "`symdiag inspect --write-spec` writes the inferred one; docs/spec-file.md describes the format."),
    # data and training
    ("bad-data", "The data set cannot be used", "Shapes, types or values do not fit the network or likelihood.",
     "Arrays X and y with the data points on the first axis; the message says what was found."),
    ("prior-unknown", "The prior is not known", "Evidence needs a prior, and the checkpoint does not store one.",
     "Give --prior-std."),
    ("prior-not-invariant", "The prior treats interchangeable units differently", "The theory needs a prior that "
     "permutations leave alone.", "Give one prior for all units with --prior-std."),
    ("correlated-posterior", "The posterior has correlated weights", "Only mean-field posteriors can be retrained "
     "and written back.", "Retrain where the posterior was made."),
    ("deterministic-weights", "Weights without a standard deviation", "The operation needs random weights.",
     "Retrain a posterior whose weights have scales."),
    ("training-failed", "Training cannot continue", "Optimisation stopped for the reason given.",
     "The last good state was kept."),
    ("training-diverged", "The objective is no longer finite", "Training stopped; the last good state was kept.",
     "Try a smaller --learning-rate."),
    ("resume-failed", "The run cannot be resumed", "Its saved state is missing or damaged.",
     "Run again without --resume."),
    ("resume-mismatch", "The run to resume had other settings", "Going on would mix two runs.",
     "Repeat the original options, or start over without --resume."),
    # reports and output
    ("bad-report", "Not a JSON report this version can read", "The file is no JSON, follows another schema version or "
     "lacks a field.", "Make it again with `symdiag analyze … --format json`; `symdiag schema` prints the schema."),
    ("not-comparable", "The two cannot be compared", "They differ in their hidden groups, so a difference would mean "
     "nothing.", "Analyse both with the same options."),
    ("write-failed", "The result could not be written", "The target was left as it was.",
     "Check the folder, its permissions and the free space."),
    ("exists", "The file exists already", "symdiag does not overwrite it unasked.",
     "Choose another name, or allow overwriting."),
    ("would-overwrite", "The output would replace an input", "An input is never overwritten.",
     "Choose another -o FILE."),
    ("interrupted", "Stopped from the keyboard", "No verdict was reached; the exit code is 130.", "Run it again."),
    ("internal-error", "A bug in symdiag", "Something happened that nobody foresaw. There is no verdict.",
     "Run again with --debug and report the traceback."),
    ("error", "An error without a code of its own", "The message says what happened.", "Follow its hint."),
)  # fmt: skip

ERROR_CODES: dict[str, Explanation] = {
    code: Explanation(
        code, title, meaning, action, "exit code 130" if code == "interrupted" else "exit code 2"
    )
    for code, title, meaning, action in sorted(_ROWS)
}
"""Error code → explanation, in code order."""
