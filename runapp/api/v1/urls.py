"""Routes of ``/api/v1/``."""

from django.urls import path

from . import account, datasets, folds, leaderboards, operations, submissions, uploads

app_name = "v1"

_DATASET = "datasets/<str:dataset>/"
_SUBMISSION = "submissions/<int:submission>/"
_FOLD = "folds/<int:fold>/"

urlpatterns = [
    path("", account.Service.as_view()),
    path("tokens/", account.Tokens.as_view()),
    path("tokens/<int:token>/", account.Token.as_view()),
    path("users/me/", account.Me.as_view()),
    path("uploads/", uploads.Uploads.as_view()),
    path("uploads/<uuid:upload>/", uploads.OneUpload.as_view()),
    path("datasets/", datasets.Datasets.as_view()),
    path(_DATASET, datasets.Dataset.as_view()),
    path(f"{_DATASET}close/", datasets.Close.as_view()),
    path(f"{_DATASET}open/", datasets.Open.as_view()),
    path(f"{_DATASET}leaderboard/", leaderboards.Leaderboard.as_view()),
    path(f"{_DATASET}submissions/", submissions.DatasetSubmissions.as_view()),
    path("submissions/", submissions.Submissions.as_view()),
    path(_SUBMISSION, submissions.OneSubmission.as_view()),
    path(f"{_SUBMISSION}cancel/", submissions.SubmissionCancel.as_view()),
    path(f"{_SUBMISSION}rerun/", submissions.SubmissionRerun.as_view()),
    path(f"{_SUBMISSION}folds/", submissions.SubmissionFolds.as_view()),
    path(f"{_SUBMISSION}files/", submissions.SubmissionFiles.as_view()),
    path(f"{_SUBMISSION}files/<path:name>", submissions.SubmissionFile.as_view()),
    path(_FOLD, folds.Fold.as_view()),
    path(f"{_FOLD}attempts/", folds.FoldAttempts.as_view()),
    path(f"{_FOLD}log/", folds.FoldLog.as_view()),
    path(f"{_FOLD}record/", folds.FoldRecord.as_view()),
    path(f"{_FOLD}replay/", folds.FoldReplay.as_view()),
    path(f"{_FOLD}cancel/", folds.FoldCancel.as_view()),
    path(f"{_FOLD}rerun/", folds.FoldRerun.as_view()),
    path(f"{_FOLD}predictions/<str:part>", folds.FoldPredictions.as_view()),
    path("runners/", operations.Runners.as_view()),
    path("jobs/", operations.Jobs.as_view()),
    path("jobs/<uuid:job>/", operations.OneJob.as_view()),
]
