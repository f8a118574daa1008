"""Routes of the pages. `datarun open` knows these of data sets and submissions."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from . import views
from .login import Login

urlpatterns = [
    path("", views.home, name="home"),
    path("login/", Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("datasets/<str:dataset>/", views.data_set, name="dataset"),
    path("submissions/<int:submission>/", views.submission, name="submission"),
]
