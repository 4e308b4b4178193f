from dialect_example import keyed, softplus

EXAMPLE = keyed("{layer}.{part}_mu", "{layer}.{part}_p", lambda p: 1e-6 + softplus(p), shapes={
    "fc1.W": (3, 4), "fc1.b": (4,), "fc2.W": (4, 2), "fc2.b": (2,)
})  # fmt: skip
NAMES = {"W": "weight", "b": "bias"}
for table in (EXAMPLE.loc, EXAMPLE.scale):
    for old in list(table):
        table[old.replace(".W", ".weight").replace(".b", ".bias")] = table.pop(old)
