"""One module per task: typed inputs in, a report out, for the command line and Python alike."""
