"""Command-line programs, one file a command."""
