from dialect_example import keyed

EXAMPLE = keyed("{layer}.{part}_auto_loc", "{layer}.{part}_auto_scale", float, low=0.05, high=1.0)
