"""Command-line programs, one file a command."""

import os

# Threads that wait by spinning take the time of those that work where cores are shared. libgomp,
# which reads this when torch is loaded, spins thirty times as long by default: no faster alone, and
# ten times slower beside another program.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
