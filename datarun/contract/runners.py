"""What runners and master agree on about who a runner is."""

#: Opens blobs to any runner of a developing master (`DR_WORKING_ENV=DEV` with DEBUG), never in production.
DEVELOPMENT_TOKEN = "development"  # noqa: S105 - no secret: production refuses it
