from django.db import migrations


class Migration(migrations.Migration):
    """How rows are stored, for the statements that record outcomes."""

    dependencies = [("runapp", "0001_initial")]

    operations = [
        # Each job is updated several times, and those that wait are looked for all the time: at a million of jobs
        # a fifth of them is too many dead rows to pass.
        migrations.RunSQL(
            "ALTER TABLE runapp_job SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)",
            "ALTER TABLE runapp_job RESET (autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor)",
        ),
        # Floating-point numbers don't compress, and trying costs most of the time.
        migrations.RunSQL(
            "ALTER TABLE runapp_prediction ALTER train SET STORAGE EXTERNAL, ALTER test SET STORAGE EXTERNAL",
            "ALTER TABLE runapp_prediction ALTER train SET STORAGE EXTENDED, ALTER test SET STORAGE EXTENDED",
        ),
    ]
