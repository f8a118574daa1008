"""Where large blobs are kept by setting: a bucket of an object storage that speaks S3's protocol."""

from storages.backends.s3 import S3Storage


class BlobBucket(S3Storage):  # type: ignore[misc]
    """Hands out addresses that open one blob to whoever has them, for `querystring_expire` seconds."""

    def direct_url(self, name: str) -> str | None:
        """Where to fetch the file `name` without credentials."""
        return str(self.url(name))
