"""The five things the program does: land, apply, preview, audit, maintain. No Dagster."""
