from dialect_example import keyed, softplus

BASE = "module.{layer}.reparametrizations.{part}.variational_posterior."
EXAMPLE = keyed(BASE + "mu", BASE + "rho", softplus)
