from django.db import migrations


def make_groups(apps, schema_editor):
    """Until now every user could post and read everything: those without a group stay organisers."""
    groups = apps.get_model("auth", "Group").objects
    organisers, _ = groups.get_or_create(name="organisers")
    for name in ("operators", "participants"):
        groups.get_or_create(name=name)
    for user in apps.get_model("auth", "User").objects.filter(groups=None):
        user.groups.add(organisers)


class Migration(migrations.Migration):

    dependencies = [
        ('runapp', '0004_access'),
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.RunPython(make_groups, migrations.RunPython.noop),
    ]
