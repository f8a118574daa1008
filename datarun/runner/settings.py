"""What a runner reads from its environment."""

from dataclasses import dataclass
from pathlib import Path

from datarun import logs
from datarun.contract.runners import DEVELOPMENT_TOKEN
from datarun.env import Environment, SettingsError

from .sandbox.lockdown import everybodys


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Where broker and master are, and where this machine keeps what the runner needs."""

    broker_url: str
    master_url: str
    token: str
    slots: int
    # Blobs, kept between jobs.
    cache: Path
    # One folder for each job that runs.
    scratch: Path
    log_format: str
    # Whether to start where submissions could get out.
    trust_submissions: bool
    # Seconds that running jobs get when the runner is asked to stop.
    grace: float
    # Pythons beside the runner's own: see `datarun.runner.environments`.
    environments: tuple[str, ...]

    @classmethod
    def read(cls, env: Environment | None = None) -> "RunnerSettings":
        """The settings in the environment; raises `SettingsError`, which ends the process with a hint."""
        env = env or Environment()
        host = env.host("IP_MASTER", "localhost")
        token_default = None if env.production else DEVELOPMENT_TOKEN
        here = Path.cwd() / "var"
        return cls(
            broker_url=env.broker_url(),
            master_url=env.text("MASTER_URL", f"http://{host}:8000").rstrip("/"),
            token=env.secret("DR_RUNNER_TOKEN", token_default, "manage.py createrunner NAME prints one."),
            slots=env.integer("NB_LOCAL_WORKER", 2),
            cache=_own(env, "DIR_DATA", here / "data") / "cache",
            scratch=_own(env, "DIR_SUBMISSION", here / "submissions"),
            log_format=env.choice("DR_LOG_FORMAT", "text", logs.FORMATS),
            trust_submissions=env.boolean("DR_TRUST_SUBMISSIONS", False),
            grace=env.seconds("DR_GRACE", 10),
            environments=env.names("DR_ENVIRONMENTS"),
        )


def _own(env: Environment, name: str, default: Path) -> Path:
    """A folder of the runner that no submission may read."""
    folder = env.folder(name, default)
    if (public := everybodys(folder)) is not None:
        raise SettingsError(
            name, f"is in {public}, where every submission may read", "Set it to another folder."
        )
    return folder
