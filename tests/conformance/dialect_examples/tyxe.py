import math

from dialect_example import keyed

SITE = "net_guide.net.{layer}.{part}"
EXAMPLE = keyed(SITE + ".loc_unconstrained", SITE + ".scale_unconstrained", math.exp)
