"""The Delta tables. No Dagster, no batch files."""
