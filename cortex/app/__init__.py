"""The command line and what works on a run as a whole."""
