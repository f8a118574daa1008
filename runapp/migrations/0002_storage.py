from django.db import migrations


class Migration(migrations.Migration):
    """How rows are stored, for the statements that record outcomes."""

    dependencies = [("runapp", "0001_initial")]

    operations = [
        # Floating-point numbers don't compress, and trying costs most of the time.
        migrations.RunSQL(
            "ALTER TABLE runapp_prediction ALTER COLUMN content SET STORAGE EXTERNAL",
            "ALTER TABLE runapp_prediction ALTER COLUMN content SET STORAGE EXTENDED",
        ),
        # Each fold is updated once, with its measures: room on its page spares its indexes.
        migrations.RunSQL(
            "ALTER TABLE runapp_submissionfold SET (fillfactor = 75)",
            "ALTER TABLE runapp_submissionfold RESET (fillfactor)",
        ),
    ]
