"""The command line: one file a command; flags, environment, exit codes and printing live here and nowhere else."""
