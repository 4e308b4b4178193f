"""Wide mean-field networks: plain variational inference against the symmetrised objective."""
