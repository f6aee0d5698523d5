"""Command-line programs, one file a command."""

import os

# Threads that wait by spinning take the time of those that work where cores are shared: ten times
# slower beside another program. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
