"""Logging in with a password, where wrong ones are counted as everywhere else."""

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from rest_framework.exceptions import Throttled

from runapp.api.throttling import FailedLogins

_TOO_MANY = "too-many"


class _Form(AuthenticationForm):
    def clean(self) -> dict[str, Any]:
        failed = FailedLogins(self.request, self.cleaned_data.get("username", ""))
        try:
            failed.check()
        except Throttled as error:
            text = f"Too many wrong passwords: try again in {round(failed.wait() or 0)} seconds."
            raise ValidationError(text, _TOO_MANY) from error
        try:
            return super().clean()
        except ValidationError:
            failed.count()
            raise


class Login(LoginView):
    template_name = "web/login.html"
    authentication_form = _Form

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        status = 429 if form.has_error("__all__", _TOO_MANY) else 200
        return self.render_to_response(self.get_context_data(form=form), status=status)
