"""The master's routes: pages, API, blobs for runners, admin, and the interactive documentation."""

from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView

from runapp.api.blobs import BlobView
from runapp.api.health import healthz, readyz
from runapp.api.metrics import metrics

admin.site.site_header = admin.site.site_title = "datarun"
admin.site.index_title = "Data sets, submissions and jobs"

# Whoever is logged in at the admin page may read the documentation; others are sent there to log in.
_schema = staff_member_required(SpectacularJSONAPIView.as_view())
_docs = staff_member_required(SpectacularSwaggerView.as_view(url_name="schema"))

urlpatterns = [
    path("", include("runapp.web.urls")),
    path("runapp/", include("runapp.api.urls")),
    path("api/v1/", include("runapp.api.v1.urls")),
    path("blobs/<str:sha256>", BlobView.as_view(), name="blob"),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("admin/", admin.site.urls),
    path("openapi.json", _schema, name="schema"),
    path("docs/", _docs, name="docs"),
]
