"""Routes of the API."""

from django.urls import path

from . import jobs, kits, leaderboard, scoring, submissions, views

app_name = "runapp"

urlpatterns = [
    path("rawdata/", views.RawDataList.as_view(), name="rawdata"),
    path("rawdata/split/", views.Split.as_view(), name="rawdata-split"),
    path("rawdata/customsplit/", views.CustomSplit.as_view(), name="rawdata-customsplit"),
    path("rawdata/<int:pk>/metrics/", scoring.RawDataMetrics.as_view(), name="rawdata-metrics"),
    path("rawdata/<int:pk>/leaderboard/", leaderboard.Leaderboard.as_view(), name="leaderboard"),
    path("rawdata/<int:pk>/close/", scoring.RawDataClose.as_view(), name="rawdata-close"),
    path("rawdata/<int:pk>/open/", scoring.RawDataOpen.as_view(), name="rawdata-open"),
    path("rawdata/<int:pk>/cancel/", jobs.RawDataCancel.as_view(), name="rawdata-cancel"),
    path("kit/", kits.KitList.as_view(), name="kit"),
    path("runners/", jobs.RunnerList.as_view(), name="runners"),
    path("submissionfold/", views.SubmissionFoldList.as_view(), name="submissionfold-list"),
    path("submissionfold/<int:pk>/", views.SubmissionFoldDetail.as_view(), name="submissionfold-detail"),
    path("submissionfold/<int:pk>/cancel/", jobs.FoldCancel.as_view(), name="submissionfold-cancel"),
    path("submissionfold/<int:pk>/rerun/", jobs.FoldRerun.as_view(), name="submissionfold-rerun"),
    path("submissionfold/<int:pk>/attempts/", jobs.FoldAttempts.as_view(), name="submissionfold-attempts"),
    path("submissionfold/<int:pk>/record/", scoring.FoldRecord.as_view(), name="submissionfold-record"),
    path("submissionfold/<int:pk>/replay/", scoring.FoldReplay.as_view(), name="submissionfold-replay"),
    path("submissionfold/<int:pk>/log/", jobs.FoldLog.as_view(), name="submissionfold-log"),
    path("submission/", submissions.SubmissionList.as_view(), name="submission-list"),
    path("submission/<int:pk>/", submissions.SubmissionDetail.as_view(), name="submission-detail"),
    path("submission/<int:pk>/cancel/", jobs.SubmissionCancel.as_view(), name="submission-cancel"),
    path("submission/<int:pk>/rerun/", jobs.SubmissionRerun.as_view(), name="submission-rerun"),
    path("submission/<int:pk>/waiting/", jobs.SubmissionWaiting.as_view(), name="submission-waiting"),
    path("submissionfold-light/", views.SubmissionFoldLightList.as_view(), name="submissionfold-light"),
    path("testpredictions/list/", views.TestPredictionList.as_view(), name="testpredictions-list"),
    path("testpredictions/new/", views.TestPredictionNew.as_view(), name="testpredictions-new"),
]
