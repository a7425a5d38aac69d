"""Programs and classes for a deployment: named by docker-compose.yml and dagster.yaml, imported by nothing else."""
