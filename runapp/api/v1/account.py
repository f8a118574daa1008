"""Who is asking: the service document, one's own tokens, and who one is."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from datarun import __version__
from runapp.api.authentication import AccessTokenAuthentication, BasicAuthentication
from runapp.api.requests import valid
from runapp.api.serializers import Text
from runapp.models import AccessToken
from runapp.services import tokens

from .base import View, page_of
from .described import LIST, answers
from .shapes import Shape

_LONGEST = 3650  # days


class ServiceOut(Shape):
    name = serializers.CharField()
    version = serializers.CharField()
    api = serializers.IntegerField()


class UserOut(Shape):
    username = serializers.CharField()
    email = serializers.CharField()
    roles = serializers.ListField(
        child=serializers.CharField(), help_text="admin, organiser, operator, participant."
    )


class TokenIn(Shape):
    name = Text(max_length=100, help_text="What it is for, such as the name of the machine.")
    expires_in_days = serializers.IntegerField(min_value=1, max_value=_LONGEST, default=365)


class TokenOut(serializers.ModelSerializer[AccessToken]):
    class Meta:
        model = AccessToken
        fields: ClassVar[tuple[str, ...]] = ("id", "name", "created_at", "expires_at")


class NewTokenOut(TokenOut):
    token = serializers.CharField(help_text="Shown this once.")

    class Meta(TokenOut.Meta):
        fields: ClassVar[tuple[str, ...]] = (*TokenOut.Meta.fields, "token")


class Service(View):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(responses=ServiceOut, auth=[])
    def get(self, request: Request) -> Response:
        """What this is, and its version. Open to everybody."""
        return Response({"name": "datarun", "version": __version__, "api": 1})


class Me(View):
    @extend_schema(responses=answers({200: UserOut}))
    def get(self, request: Request) -> Response:
        """Who is asking, and with which roles."""
        user = self.user
        return Response({"username": user.username, "email": user.email, "roles": sorted(self.their_roles)})


class Tokens(View):
    """Made with the password, unlike everything else here; a token makes others too."""

    authentication_classes = (AccessTokenAuthentication, SessionAuthentication, BasicAuthentication)

    def get_authenticators(self) -> list[Any]:
        *others, basic = super().get_authenticators()
        return [basic, *others] if self.request and self.request.method == "POST" else others

    @extend_schema(responses=answers({200: page_of(TokenOut)}, paged=True), parameters=LIST)
    def get(self, request: Request) -> Response:
        """One's own tokens, without their texts."""
        return self.page(AccessToken.objects.filter(user=self.user), TokenOut, "id")

    @extend_schema(request=TokenIn, responses=answers({201: NewTokenOut}, body=True, throttled=True))
    def post(self, request: Request) -> Response:
        """Make a token. Its text is in this answer only, which is therefore not kept for an Idempotency-Key."""
        given = valid(TokenIn(data=request.data))
        new = tokens.create(self.user, given["name"], given["expires_in_days"])
        return Response(
            {**TokenOut(new.row).data, "token": new.text},
            status.HTTP_201_CREATED,
            headers={"Location": f"{request.path}{new.row.pk}/"},
        )


class Token(View):
    @extend_schema(request=None, responses=answers({204: None}, named=True))
    def delete(self, request: Request, token: int) -> Response:
        """Revoke a token: from now on it opens nothing."""
        self.one(AccessToken.objects.filter(user=self.user), "token", pk=token).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)
