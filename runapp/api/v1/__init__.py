"""The API that new clients speak: ``/api/v1/``. Thin, over `runapp.services`; never the broker."""
