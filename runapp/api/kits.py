"""Posting RAMP starting kits."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runapp.services import kits

from .requests import user_of, valid
from .serializers import Packed, RawDataOut, Text, environment_field


class KitIn(serializers.Serializer[Any]):
    name = Text(max_length=100)
    zip = Packed(help_text="base64(zlib(zip file of the kit's folder)).")
    data_label = Text(
        max_length=100,
        default="",
        allow_blank=True,
        help_text="Which of its data to read, if its functions take a data_label.",
    )
    environment = environment_field()
    submissions = serializers.BooleanField(
        default=False, help_text="Submit those of its folder submissions/ too."
    )


class KitOut(RawDataOut):
    submissions = serializers.SerializerMethodField(help_text="Ids of the submissions that came with it.")

    class Meta(RawDataOut.Meta):
        fields = (*RawDataOut.Meta.fields, "submissions")

    def get_submissions(self, raw_data: Any) -> list[int]:
        return list(raw_data.submission_set.order_by("pk").values_list("pk", flat=True))


class KitList(APIView):
    @extend_schema(request=KitIn, responses={201: KitOut})
    def post(self, request: Request) -> Response:
        """Post a RAMP starting kit as a data set: a zip file of its folder, with `problem.py`.

        It is prepared at once: its data are read, its folds cut, its metrics and workflow elements found out. Its
        folder `submissions/` is no part of the data set.
        """
        given = valid(KitIn(data=request.data))
        with_submissions = given.pop("submissions")
        user = user_of(request)
        created = kits.post(
            user, given["name"], given["zip"], given["data_label"], with_submissions, given["environment"]
        )
        return Response(KitOut(created).data, status=status.HTTP_201_CREATED)
