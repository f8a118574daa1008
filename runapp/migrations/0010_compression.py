from django.db import migrations

_COMPRESS = """
    DO $$ BEGIN
        IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
            ALTER TABLE runapp_prediction
                ALTER train SET STORAGE EXTENDED, ALTER train SET COMPRESSION lz4,
                ALTER test SET STORAGE EXTENDED, ALTER test SET COMPRESSION lz4;
        END IF;
    END $$
"""
_UNDO = "ALTER TABLE runapp_prediction ALTER train SET STORAGE EXTERNAL, ALTER test SET STORAGE EXTERNAL"


class Migration(migrations.Migration):
    """Predictions are compressed where PostgreSQL has LZ4 (14 and later, as Debian builds it).

    Probabilities repeat themselves, and to write less is quicker; where nothing repeats, LZ4 finds that out in no time.
    PostgreSQL's own method would take several times as long as to store.
    """

    dependencies = [("runapp", "0009_environments")]

    operations = [migrations.RunSQL(_COMPRESS, _UNDO)]
