import math

from dialect_example import keyed

EXAMPLE = keyed(
    "{layer}.{part}_mean", "{layer}.{part}_logvar", lambda logvar: math.exp(0.5 * logvar)
)
