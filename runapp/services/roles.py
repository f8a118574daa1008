"""Who may do what: roles are groups of users, staff are admins, and whoever is in no group takes part.

A participant sees own submissions and the leaderboards; an organiser also data sets of their own with all that was
submitted to them; an operator runners and jobs, but no code and no predictions; an admin everything.
"""

from enum import StrEnum
from typing import Any

from django.contrib.auth.models import Group, User
from django.db.models import Q, QuerySet

from runapp.models import RawData, Submission, SubmissionFold


class Role(StrEnum):
    ADMIN = "admin"
    ORGANISER = "organiser"
    OPERATOR = "operator"
    PARTICIPANT = "participant"


Roles = frozenset[Role]

#: The roles that a group gives; its name.
GROUPS = {Role.ORGANISER: "organisers", Role.OPERATOR: "operators", Role.PARTICIPANT: "participants"}

EVERYONE: Roles = frozenset(Role)
ADMINS: Roles = frozenset({Role.ADMIN})
ORGANISERS = ADMINS | {Role.ORGANISER}
OPERATORS = ADMINS | {Role.OPERATOR}
#: Who may submit, and see what became of it.
SUBMITTERS = ORGANISERS | {Role.PARTICIPANT}


def of(user: Any) -> Roles:
    """The roles of a user; none of somebody unknown."""
    if not isinstance(user, User):
        return frozenset()
    names = set(user.groups.values_list("name", flat=True))
    roles = {role for role, name in GROUPS.items() if name in names} or {Role.PARTICIPANT}
    return frozenset(roles | {Role.ADMIN} if user.is_staff or user.is_superuser else roles)


def give(user: User, role: Role) -> None:
    """Puts the user into the group of the role, or makes an admin of them."""
    if role is Role.ADMIN:
        user.is_staff = user.is_superuser = True
        user.save(update_fields=["is_staff", "is_superuser"])
    else:
        user.groups.add(Group.objects.get_or_create(name=GROUPS[role])[0])


# --- what a user may see -------------------------------------------------------------------------------


def organised_by(user: User, roles: Roles) -> QuerySet[RawData]:
    """The data sets that are theirs to decide on."""
    if Role.ADMIN in roles:
        return RawData.objects.all()
    return RawData.objects.filter(owner=user) if Role.ORGANISER in roles else RawData.objects.none()


def submissions_for(user: User, roles: Roles) -> QuerySet[Submission]:
    """Their own, and those to data sets of theirs."""
    if Role.ADMIN in roles:
        return Submission.objects.all()
    mine = Q(owner=user)
    return Submission.objects.filter(mine | Q(raw_data__owner=user) if Role.ORGANISER in roles else mine)


def folds_for(user: User, roles: Roles) -> QuerySet[SubmissionFold]:
    """The folds of these submissions."""
    if Role.ADMIN in roles:
        return SubmissionFold.objects.all()
    mine = Q(databoard_s__owner=user)
    seen = mine | Q(databoard_s__raw_data__owner=user) if Role.ORGANISER in roles else mine
    return SubmissionFold.objects.filter(seen)
