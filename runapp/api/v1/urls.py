"""Routes of ``/api/v1/``."""

from django.urls import path

from . import account

app_name = "v1"

urlpatterns = [
    path("", account.Service.as_view(), name="service"),
    path("tokens/", account.Tokens.as_view(), name="tokens"),
    path("tokens/<int:token>/", account.Token.as_view(), name="token"),
    path("users/me/", account.Me.as_view(), name="me"),
]
