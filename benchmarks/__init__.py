"""How fast it is, beside what a user would pick instead, on the same events in the same run."""
