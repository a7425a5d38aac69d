"""The rule: DataFrame in, DataFrame out. No Delta, no paths, no Dagster, no today."""
