import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


def _sequence(name):
    """Ids that the platform gives itself (`models.OWN_IDS`): no client chooses one of these."""
    return migrations.RunSQL(
        f"CREATE SEQUENCE {name} AS bigint START {2**40} MINVALUE {2**40} MAXVALUE {2**41 - 1}",
        f"DROP SEQUENCE {name}",
    )


class Migration(migrations.Migration):
    """Whole submissions: cross-validation, scores, ensembles, records and replays."""

    dependencies = [
        ('runapp', '0005_groups'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='CVFold',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
            ],
            options={
                'verbose_name': 'CV fold',
            },
        ),
        migrations.CreateModel(
            name='Ensemble',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('wanted', models.PositiveBigIntegerField(default=0)),
                ('done', models.PositiveBigIntegerField(default=0)),
                ('result', models.JSONField(blank=True, default=dict)),
            ],
        ),
        migrations.CreateModel(
            name='Record',
            fields=[
                ('fold', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, serialize=False, to='runapp.submissionfold')),
                ('facts', models.JSONField(default=dict)),
            ],
        ),
        migrations.CreateModel(
            name='Replay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('result', models.JSONField(blank=True, null=True)),
                ('requested_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
        ),
        migrations.CreateModel(
            name='Score',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('metric', models.CharField(max_length=100)),
                ('part', models.CharField(choices=[('train', 'train'), ('valid', 'valid'), ('test', 'test')], max_length=5)),
                ('value', models.FloatField()),
            ],
        ),
        migrations.CreateModel(
            name='SubmissionScore',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('metric', models.CharField(max_length=100)),
                ('part', models.CharField(choices=[('train', 'train'), ('valid', 'valid'), ('test', 'test')], max_length=5)),
                ('folds', models.PositiveIntegerField()),
                ('mean', models.FloatField()),
                ('std', models.FloatField()),
                ('bagged', models.FloatField(blank=True, null=True)),
                ('curve', models.JSONField(blank=True, default=list)),
            ],
        ),
        migrations.AddField(
            model_name='prepareddata',
            name='facts',
            field=models.JSONField(blank=True, db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name='rawdata',
            name='closed_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='rawdata',
            name='cv',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='rawdata',
            name='data_label',
            field=models.CharField(blank=True, db_default='', default='', max_length=100),
        ),
        migrations.AddField(
            model_name='rawdata',
            name='kit',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name='rawdata',
            name='metrics',
            field=models.JSONField(blank=True, db_default=[], default=list),
        ),
        migrations.AddField(
            model_name='submission',
            name='folds_made',
            field=models.BooleanField(db_default=True, default=True),
        ),
        migrations.AddField(
            model_name='submission',
            name='name',
            field=models.CharField(blank=True, db_default='', default='', max_length=200),
        ),
        migrations.AddField(
            model_name='submission',
            name='priority',
            field=models.CharField(choices=[('L', 'L'), ('H', 'H')], db_default='L', default='L', max_length=1),
        ),
        migrations.AddField(
            model_name='submission',
            name='whole',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AlterField(
            model_name='job',
            name='kind',
            field=models.CharField(choices=[('fold', 'fold'), ('prepare', 'prepare'), ('ensemble', 'ensemble')], max_length=16),
        ),
        migrations.AlterField(
            model_name='rawdata',
            name='workflow_elements',
            field=models.CharField(max_length=1000),
        ),
        migrations.AddIndex(
            model_name='submission',
            index=models.Index(condition=models.Q(('folds_made', False)), fields=['raw_data'], name='submission_unmade'),
        ),
        migrations.AddField(
            model_name='cvfold',
            name='prepared',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='cv_folds', to='runapp.prepareddata'),
        ),
        migrations.AddField(
            model_name='cvfold',
            name='test_is',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='runapp.blob'),
        ),
        migrations.AddField(
            model_name='cvfold',
            name='train_is',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='runapp.blob'),
        ),
        migrations.AddField(
            model_name='submissionfold',
            name='cv_fold',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.RESTRICT, to='runapp.cvfold'),
        ),
        migrations.AddIndex(
            model_name='submissionfold',
            index=models.Index(condition=models.Q(('cv_fold__isnull', False)), fields=['cv_fold'], name='fold_of_cv'),
        ),
        migrations.AddField(
            model_name='ensemble',
            name='job',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, to='runapp.job'),
        ),
        migrations.AddField(
            model_name='ensemble',
            name='raw_data',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='runapp.rawdata'),
        ),
        migrations.AddField(
            model_name='ensemble',
            name='submission',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, to='runapp.submission'),
        ),
        migrations.AddField(
            model_name='replay',
            name='fold',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='runapp.submissionfold'),
        ),
        migrations.AddField(
            model_name='replay',
            name='job',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, to='runapp.job'),
        ),
        migrations.AddField(
            model_name='score',
            name='fold',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to='runapp.submissionfold'),
        ),
        migrations.AddField(
            model_name='submissionscore',
            name='submission',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to='runapp.submission'),
        ),
        migrations.AddConstraint(
            model_name='cvfold',
            constraint=models.UniqueConstraint(fields=('prepared', 'number'), name='cv_fold_once'),
        ),
        migrations.AddConstraint(
            model_name='ensemble',
            constraint=models.UniqueConstraint(condition=models.Q(('submission__isnull', True)), fields=('raw_data',), name='one_blend'),
        ),
        migrations.AddConstraint(
            model_name='score',
            constraint=models.UniqueConstraint(fields=('fold', 'metric', 'part'), name='score_once'),
        ),
        migrations.AddConstraint(
            model_name='submissionscore',
            constraint=models.UniqueConstraint(fields=('submission', 'metric', 'part'), name='submission_score_once'),
        ),
        _sequence("runapp_submission_ids"),
        _sequence("runapp_fold_ids"),
    ]
