"""Which roles a route is for. Which rows of it somebody sees is in `runapp.services.roles`."""

from typing import Any, ClassVar

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from runapp.services import roles
from runapp.services.roles import Roles


class HasRole(BasePermission):
    """The view's `roles` may read, its `writers` (the same, unless it says otherwise) may do more.

    What the user's roles are is then in `request.roles`. Nobody known is let in nowhere.
    """

    message = "Your role does not allow this: ask an admin for another one."
    default: ClassVar[Roles] = roles.EVERYONE

    def has_permission(self, request: Request, view: Any) -> bool:
        theirs = roles.of(request.user)
        allowed: Roles = getattr(view, "roles", self.default)
        if request.method not in SAFE_METHODS:
            allowed = getattr(view, "writers", allowed)
        request.roles = theirs  # type: ignore[attr-defined]
        return bool(theirs & allowed)


class IsOrganiser(HasRole):
    """Routes below ``/runapp/``: whoever may use them sees and changes everything."""

    message = "Only organisers may use /runapp/: use /api/v1/, or ask an admin to make you one."
    default = roles.ORGANISERS
