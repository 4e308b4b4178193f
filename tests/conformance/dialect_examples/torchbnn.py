import math

from dialect_example import keyed

EXAMPLE = keyed(
    "{layer}.{part}_mu",
    "{layer}.{part}_log_sigma",
    math.exp,
    extra=lambda layer, part, mean, scale: {f"{layer}.{part}_eps": 0.0 * mean + 1.0},
)
