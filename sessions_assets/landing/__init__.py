"""Batches: how their files are found, and how they become rows of strings. No Delta, no Dagster."""
