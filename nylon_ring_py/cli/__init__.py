"""The command line: `nylon-ring`."""
