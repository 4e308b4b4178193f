"""What leaving units out is worth: studies of ``symdiag prune``."""
