"""One module per task: typed inputs in, a report out. The command line and the Python calls both use them as they are."""
