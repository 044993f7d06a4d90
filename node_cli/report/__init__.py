"""Tables and plots from the records of runs, new or old. Reads files only."""
