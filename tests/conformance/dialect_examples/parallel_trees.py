from dialect_example import Example, apply, softplus, values

means, rhos = values(1, -1, 1), values(2, -4, 1)
EXAMPLE = Example({"mu": means, "rho": rhos}, apply(float, means), apply(softplus, rhos))
