"""What must follow when folds or data sets are deleted, by whoever: their jobs are cancelled.

The job's row stays as history; what a runner still sends for it changes nothing else. It is cancelled before
the fold is deleted: recording an outcome locks the two in this order as well.
"""

from django.db.models.signals import pre_delete
from django.dispatch import receiver

from runapp import states
from runapp.models import Job, PreparedData, SubmissionFold

from . import wakeup


@receiver(pre_delete, sender=SubmissionFold)
@receiver(pre_delete, sender=PreparedData)
def cancel_job(sender: type, instance: SubmissionFold | PreparedData, **kwargs: object) -> None:
    if states.cancel(Job.objects.filter(pk=instance.job_id)):
        wakeup.scheduler()
