"""What must follow when folds or data sets are deleted, by whoever: their jobs are cancelled, their scores go.

The job's row stays as history; what a runner still sends for it changes nothing else. It is cancelled before
the fold is deleted: recording an outcome locks the two in this order as well.
"""

from django.db.models import Model
from django.db.models.signals import post_delete, pre_delete
from django.dispatch import receiver

from runapp import states
from runapp.models import Ensemble, Job, PreparedData, Replay, Submission, SubmissionFold

from . import ensembles, scores, wakeup


@receiver(pre_delete, sender=SubmissionFold)
@receiver(pre_delete, sender=PreparedData)
@receiver(pre_delete, sender=Ensemble)
@receiver(pre_delete, sender=Replay)
def cancel_job(
    sender: type, instance: SubmissionFold | PreparedData | Ensemble | Replay, **kwargs: object
) -> None:
    if instance.job_id is not None and states.cancel(Job.objects.filter(pk=instance.job_id)):
        wakeup.scheduler()


@receiver(post_delete, sender=SubmissionFold)
def forget_scores(sender: type, instance: SubmissionFold, origin: object = None, **kwargs: object) -> None:
    """What its submission's other folds are together, unless it goes with its submission."""
    if instance.cv_fold_id is not None and _model(origin) is SubmissionFold:
        scores.lock([instance.databoard_s_id])
        scores.add_up([instance.databoard_s_id])
        ensembles.want_bagging([instance.databoard_s_id])


@receiver(post_delete, sender=Submission)
def forget_submission(sender: type, instance: Submission, origin: object = None, **kwargs: object) -> None:
    """What the other submissions of its data set are together, unless it goes with its data set."""
    if instance.whole and _model(origin) is Submission:
        ensembles.want_blending(instance.raw_data_id)


def _model(origin: object) -> type[Model] | None:
    """Of what was deleted, an object or a query set, so that this went too."""
    return type(origin) if isinstance(origin, Model) else getattr(origin, "model", None)
