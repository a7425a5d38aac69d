"""Batches as they lie, and as rows of strings. No Delta, no Dagster."""
