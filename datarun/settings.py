"""Django settings of the master: every value typed, from the environment, with a hint when it is bad.

`docs/settings.rst` lists the variables. Runners do not read this module (`datarun.runner.settings`).
"""

import warnings
from pathlib import Path

import dj_database_url

from datarun import logs
from datarun.env import Environment, SettingsError

env = Environment()

BASE_DIR = Path(__file__).resolve().parent.parent
PRODUCTION = env.production

# --- what production refuses ---------------------------------------------------------------------

INSECURE_SECRET_KEY = "insecure: for development only"  # noqa: S105 - PROD refuses it

DEBUG = env.boolean("DEBUG", default=not PRODUCTION)
SECRET_KEY = env.secret("SECRET_KEY", default=INSECURE_SECRET_KEY)
IP_MASTER = env.host("IP_MASTER", "localhost")
ALLOWED_HOSTS = list(
    env.names("ALLOWED_HOSTS", () if PRODUCTION else ("localhost", "127.0.0.1", "[::1]", IP_MASTER))
)

if PRODUCTION:
    if DEBUG:
        raise SettingsError("DEBUG", "is on", "DR_WORKING_ENV=PROD runs without it: unset DEBUG.")
    if SECRET_KEY == INSECURE_SECRET_KEY or len(SECRET_KEY) < 32:
        raise SettingsError("SECRET_KEY", "is missing or too short", "Set 50 random characters.")
    if not ALLOWED_HOSTS:
        raise SettingsError("ALLOWED_HOSTS", "is empty", "Set the host names that users type.")

# --- the database and where large blobs go ---------------------------------------------------------


def _database() -> dict[str, object]:
    url = env.secret("DATABASE_URL", default="")
    if not url:
        hint = "Set it (with DR_DATABASE_USER, _PASSWORD, _HOST, _PORT), or DATABASE_URL."
        password = env.secret("DR_DATABASE_PASSWORD", "")
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": env.text("DR_DATABASE_NAME", hint=hint),
            "USER": env.text("DR_DATABASE_USER", ""),
            "PASSWORD": password,
            # Without a password it can only be peer authentication over the local socket.
            "HOST": env.text("DR_DATABASE_HOST", "localhost" if password else ""),
            "PORT": str(env.integer("DR_DATABASE_PORT", 5432)),
        }
    try:
        parsed = dj_database_url.parse(url)
    except ValueError as error:
        raise SettingsError(
            "DATABASE_URL", "is no URL", "Use postgresql://user:password@host/name."
        ) from error
    if not str(parsed.get("ENGINE", "")).endswith("postgresql"):
        raise SettingsError(
            "DATABASE_URL", "is not PostgreSQL's", "Use postgresql://user:password@host/name."
        )
    return dict(parsed)


DATABASES = {"default": _database() | {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # What all web processes count together.
    "shared": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "datarun_cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    },
}

DIR_DATA = env.folder("DIR_DATA", BASE_DIR / "var" / "data")


def _blob_storage() -> dict[str, object]:
    bucket = env.text("DR_S3_BUCKET", "")
    if not bucket:
        return {"BACKEND": "runapp.storage.BlobFolder", "OPTIONS": {"location": str(DIR_DATA / "blobs")}}
    key = env.text("DR_S3_ACCESS_KEY", "")
    options = {
        "bucket_name": bucket,
        "location": "blobs",
        "endpoint_url": env.text("DR_S3_ENDPOINT", "") or None,
        "region_name": env.text("DR_S3_REGION", "us-east-1"),
        # Without a key, boto3 looks where it always does: AWS_… variables, the machine's role.
        "access_key": key or None,
        "secret_key": env.secret("DR_S3_SECRET_KEY") if key else None,
        "signature_version": "s3v4",
        "querystring_expire": 3600,
        "default_acl": None,
        "file_overwrite": True,  # with the same content: its name says so
    }
    return {"BACKEND": "runapp.bucket.BlobBucket", "OPTIONS": options}


STORAGES = {
    "default": _blob_storage(),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}

# --- jobs ------------------------------------------------------------------------------------------

#: Seconds between two rounds of each scheduler loop when nothing wakes it.
SCHEDULER_PERIOD = env.seconds("CELERY_SCHEDULER_PERIOD", default=5)
#: Default limits of one fold: wall-clock seconds, and bytes of memory of all its processes.
FOLD_TIME_LIMIT = env.seconds("DR_FOLD_TIME_LIMIT", default=3600)
FOLD_MEMORY_LIMIT = env.size("DR_FOLD_MEMORY_LIMIT", default="4GB")

#: Seconds of processor time of one fold, and bytes of scratch files. None: as many as the time limit allows.
FOLD_CPU_LIMIT = env.seconds("DR_FOLD_CPU_LIMIT", default=0) or None
FOLD_DISK_LIMIT = env.size("DR_FOLD_DISK_LIMIT", default="1GB")
#: Who takes turns in a queue: each user, or each submission where one account posts for everybody.
SHARE = env.choice("DR_SHARE", "user", ("user", "submission"))
#: How many jobs of one share may be with runners at a time; 0 for any number.
MAX_RUNNING_PER_SHARE = env.integer("DR_MAX_RUNNING", default=0, minimum=0)
#: How long logs of finished jobs, and records of dropped messages, are kept, in days.
RETENTION_DAYS = env.integer("DR_RETENTION_DAYS", default=90)

#: Bytes of one request's body, of one posted file once decompressed, and of all files of a participant's submission.
MAX_BODY = env.size("DR_MAX_BODY", default="512MB")
MAX_FILE = env.size("DR_MAX_FILE", default="2GB")
MAX_SUBMISSION = env.size("DR_MAX_SUBMISSION", default="20MB")
# Parts of a body larger than this wait in a file, not in memory.
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_TEMP_DIR = DIR_DATA / "uploads"
SILENCED_SYSTEM_CHECKS = ["files.E001"]  # it is made when it is first used

#: How many wrong passwords may be tried for a user from an address, and how many submissions posted by a user.
FAILED_LOGINS_A_MINUTE = env.integer("DR_FAILED_LOGINS", default=10)
SUBMITS_A_MINUTE = env.integer("DR_SUBMITS", default=60)

# --- Django ----------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "runapp",
    "runapp.web",
]

MIDDLEWARE = [
    "runapp.api.middleware.ApiMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "runapp.api.middleware.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "datarun.urls"
WSGI_APPLICATION = "datarun.wsgi.application"
TEST_RUNNER = "runapp.test_runner.PytestRunner"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = LOGOUT_REDIRECT_URL = "login"
LOGIN_REDIRECT_URL = "home"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = DIR_DATA / "static"
WHITENOISE_USE_FINDERS = True  # pages have their assets without a collectstatic
warnings.filterwarnings("ignore", "No directory at", UserWarning)  # so its folder may be missing
warnings.filterwarnings("ignore", category=SyntaxWarning)  # of posted code: it is its author's

# TLS ends in a proxy in front of the web process; it says so in this header.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.boolean("DR_HTTPS", default=PRODUCTION)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "runapp.api.authentication.BasicAuthentication",
        "rest_framework.authentication.SessionAuthentication",
        "runapp.api.authentication.TokenAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["runapp.api.permissions.IsOrganiser"],
    "DEFAULT_PARSER_CLASSES": ["runapp.api.parsers.BoundedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "runapp.api.errors.handle",
    # How many proxies in front append to X-Forwarded-For, whose word on an address counts.
    "NUM_PROXIES": env.integer("DR_PROXIES", default=0, minimum=0),
}

SPECTACULAR_SETTINGS = {
    "TITLE": "datarun",
    "DESCRIPTION": "Train and test machine-learning submissions on cross-validation folds.",
    "VERSION": "1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {
        "StateEnum": "datarun.contract.states.FoldState",
        "JobStateEnum": "datarun.contract.states.JobState",
        "JobKindEnum": "datarun.contract.states.JobKind",
        "DatasetKindEnum": "runapp.services.catalogue.DATASET_KINDS",
        "DatasetStateEnum": "runapp.services.catalogue.DATASET_STATES",
        "SubmissionStateEnum": "runapp.services.catalogue.SUBMISSION_STATES",
        "SubmissionFoldStateEnum": "runapp.services.catalogue.FOLD_STATES",
        "PriorityEnum": "datarun.contract.queues.PRIORITIES",
    },
    "SCHEMA_PATH_PREFIX": "/runapp|/api/v1",
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": logs.formatter, "format": env.choice("DR_LOG_FORMAT", "text", logs.FORMATS)}
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
