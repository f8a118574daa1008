import django.db.models.deletion
from django.db import migrations, models

_FILL = """
    UPDATE runapp_submissionscore AS together SET raw_data_id = submission.raw_data_id
    FROM runapp_submission AS submission WHERE submission.databoard_s_id = together.submission_id
"""


def _raw_data(**more):
    return models.ForeignKey(
        db_index=False, on_delete=django.db.models.deletion.CASCADE, to="runapp.rawdata", **more
    )


class Migration(migrations.Migration):
    """A leaderboard is read from one index."""

    dependencies = [("runapp", "0007_limits")]

    operations = [
        migrations.AddField("submissionscore", "raw_data", _raw_data(null=True)),
        migrations.RunSQL(_FILL, migrations.RunSQL.noop),
        # What is deferred would keep the table from being changed.
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.AlterField("submissionscore", "raw_data", _raw_data()),
        migrations.AddIndex(
            "submissionscore",
            models.Index(fields=["raw_data", "metric", "part", "mean"], name="leaderboard"),
        ),
    ]
