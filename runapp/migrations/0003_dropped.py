from django.db import migrations, models


class Migration(migrations.Migration):
    """The record of dropped messages is found by reason and by job."""

    dependencies = [("runapp", "0002_storage")]

    operations = [
        migrations.AddIndex("dropped", models.Index(fields=["reason", "id"], name="dropped_reason")),
        migrations.AddIndex("dropped", models.Index(fields=["job"], name="dropped_job")),
    ]
