"""Routes of ``/api/v1/``."""

from django.urls import path

from . import account, uploads

app_name = "v1"

urlpatterns = [
    path("", account.Service.as_view(), name="service"),
    path("tokens/", account.Tokens.as_view(), name="tokens"),
    path("tokens/<int:token>/", account.Token.as_view(), name="token"),
    path("uploads/", uploads.Uploads.as_view(), name="uploads"),
    path("uploads/<uuid:upload>/", uploads.OneUpload.as_view(), name="upload"),
    path("users/me/", account.Me.as_view(), name="me"),
]
