"""Programs and classes that docker-compose.yml and dagster.yaml name, and nothing else imports."""
