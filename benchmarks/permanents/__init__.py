"""Log-permanents: error against time per regime, beside what one would use instead."""
