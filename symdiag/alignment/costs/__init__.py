"""One file per alignment cost; each defines ``COST``."""
