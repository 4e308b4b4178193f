"""Is the KL right, did VI work, what is the evidence worth? Studies behind docs/reading-a-report.md."""
