from dialect_example import keyed, softplus

EXAMPLE = keyed(
    "locs.net.{layer}.{part}_unconstrained", "scales.net.{layer}.{part}_unconstrained", softplus
)
