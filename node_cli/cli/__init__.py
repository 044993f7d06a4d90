"""From a command line to runs: compose, check, start, resume, report."""
