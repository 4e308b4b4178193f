import math

from dialect_example import keyed

EXAMPLE = keyed("{layer}._{part}_mean", "{layer}._{part}_log_std", math.exp)
