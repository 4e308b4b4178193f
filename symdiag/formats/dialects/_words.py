"""The words people put into keys for a mean and a scale, and what each says of the std."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from symdiag.arrays import Arrays
from symdiag.formats.transforms import (
    EXP,
    EXP_HALF,
    IDENTITY,
    SOFTPLUS,
    SQRT,
    Transform,
    agreed,
)

LOC_WORDS = ("mu", "mean", "loc")
_STDS = ("std", "stddev", "stdev", "std_dev", "sd", "scale")
_VARIANCES = ("var", "variance", "sigma2", "sigma_sq")
_RHOS = ("rho", "untransformed_scale", "unconstrained_scale")
_LOGS = ("log", "log_", "ln", "ln_")
SCALE_WORDS: dict[str, Transform | None] = {
    **dict.fromkeys(_STDS, IDENTITY),
    **dict.fromkeys(_VARIANCES, SQRT),
    **dict.fromkeys((log + word for log in _LOGS for word in (*_STDS, "sigma", "sig")), EXP),
    **dict.fromkeys((log + word for log in _LOGS for word in _VARIANCES), EXP_HALF),
    **dict.fromkeys(("lv", "logv"), EXP_HALF),
    **dict.fromkeys(_RHOS, SOFTPLUS),
    **dict.fromkeys(("sigma", "sig", "p"), None),  # a std in some code, a rho in other
}
"""Word → transform, None where different code means different things by it."""

RHO = (
    "std = softplus(rho): what rho means since Blundell et al. (2015), assumed; "
    "--scale-transform says otherwise"
)
_AS_IT_STANDS = "scale is taken as the std itself; --scale-transform says otherwise"
_NOT_A_POSTERIOR = re.compile(r"prior|running_(mean|var)s?$|_sampler\.|(^|[._])eps([._]|$)", re.I)


def splitter(words: Sequence[str]) -> re.Pattern[str]:
    """The pattern of keys that hold one of ``words`` before or after the tensor's own name."""
    either = "|".join(sorted(words, key=len, reverse=True))  # log_sigma before sigma
    before, after = (
        rf"(?P<pre>{either})_(?P<rest>[^.]+)",
        rf"(?:(?P<base>[^.]+?)_)??(?P<post>{either})",
    )
    return re.compile(rf"^(?P<head>(?:.*\.)?)_?(?:{before}|{after})$")


LOC, SCALE = splitter(LOC_WORDS), splitter(tuple(SCALE_WORDS))

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PART = r"weights?|kernel|bias|[wb]"


def _respeller(words: Sequence[str]) -> re.Pattern[str]:
    """The pattern of last parts of keys that hold one of ``words`` in a looser spelling.

    Glued to a short name (``wmu``, ``rhob``, ``fc1_bmu``), between layer and name (``fc1_mu_w``),
    in capitals or as a plural (``means``).
    """
    # p alone says too little to be looked for within a word
    either = "|".join(sorted((w for w in words if len(w) > 1), key=len, reverse=True))
    word = rf"(?:{either})s?"
    return re.compile(
        rf"^_?(?:(?:(?P<base>.+?)_)??(?P<word>{word})"
        rf"|(?P<layer>(?:.+?_)??)(?P<part>{_PART})_?(?P<after>{word})"
        rf"|(?P<outer>(?:.+?_)??)(?P<before>{word})_?(?P<of>{_PART}))$",
        re.IGNORECASE,
    )


_LOOSE = {LOC: _respeller(LOC_WORDS), SCALE: _respeller(tuple(SCALE_WORDS))}


def split(key: str, pattern: re.Pattern[str]) -> tuple[str, str] | None:
    """(name of the tensor, word) of a key such as ``fc1.weight_mu`` or ``fc1.mu_weight``.

    The name is empty for a key that is the word alone.
    """
    # prior_mu and prior_sigma pair up just as well, but are no posterior
    if _NOT_A_POSTERIOR.search(key):
        return None
    match = pattern.match(key)
    if match is None:
        words = LOC_WORDS if pattern is LOC else tuple(SCALE_WORDS)
        return _leading(key, words) or _loosely(key, pattern, words)
    if match["pre"]:
        return match["head"] + match["rest"], match["pre"]
    return f"{match['head']}{match['base'] or ''}".rstrip("._"), match["post"]


def _leading(key: str, words: Sequence[str]) -> tuple[str, str] | None:
    """(name, word) of a key that begins with one of ``words``, before a dotted name."""
    for end in (".", "_"):
        for word in sorted(words, key=len, reverse=True):  # std_dev before std
            rest = key.removeprefix(word + end)
            if rest != key and "." in rest:
                return rest, word
    return None


def _loosely(key: str, pattern: re.Pattern[str], words: Sequence[str]) -> tuple[str, str] | None:
    """(name, word) of a key in a looser spelling: ``weightMu``, ``bmu``, ``fc1_rho_w``, ``means``."""
    head, dot, leaf = key.rpartition(".")
    found = _LOOSE[pattern].match(_HUMP.sub("_", leaf))
    if found is None:
        return None
    word = (found["word"] or found["after"] or found["before"]).lower()
    layer, part = found["layer"] or found["outer"] or "", found["part"] or found["of"] or ""
    # W and w are one name to `tidy`, Weight is none
    name = found["base"] or layer + (part if len(part) == 1 else part.lower())
    return f"{head}{dot}{name}".rstrip("._"), word if word in words else word.removesuffix("s")


def meaning(word: str, keys: Sequence[str], arrays: Arrays) -> tuple[Transform, str]:
    """The transform that ``word`` stands for, and what a reader of the stds should know of it.

    Args:
        word: one of `SCALE_WORDS`.
        keys: all scales of the file that it names.
        arrays: the file's arrays, finite.

    Raises:
        UnsupportedError: ``ambiguous-scale-transform`` where word and numbers leave it open.
    """
    declared = SCALE_WORDS[word]
    if declared is IDENTITY and any(np.any(arrays[key] < 0) for key in keys):
        declared = None  # called a std, but no std: whatever makes it positive is in the code
    if declared is None:
        return agreed(keys, arrays)
    return declared, {"rho": RHO, "scale": _AS_IT_STANDS}.get(word, "")
