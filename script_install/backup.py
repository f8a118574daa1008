"""Backup and restore: a dump of the database and the large blobs that it names, in a folder of the operator's.

    FOLDER/blobs/          all blobs, as on the master; they never change, so each is copied once
    FOLDER/<time>/         database.dump (pg_dump's custom format), and manifest.json, which says what must be there

The dump is made first: blobs are written before rows name them, so the copy has whatever the dump names. A backup is
good once it was restored: into a scratch database, where its rows are counted and every blob that they name is
compared with the copy. The manifest is written last, and only then.
"""

import hashlib
import json
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import common, master, services
from .envfile import Settings
from .errors import ProvisionError
from .machine import Machine

_DUMP, _MANIFEST = "database.dump", "manifest.json"
_SCRATCH = "datarun_check_of_a_backup"
#: Rows of each table, counted exactly; and the blobs that lie in the folder.
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
_BLOBS = "SELECT sha256, size FROM runapp_blob WHERE content IS NULL ORDER BY sha256"
_BATCH = 1000


def back_up(machine: Machine, settings: Settings, folder: Path) -> Path:
    """Makes a backup and checks it; returns its folder. Raises `ProvisionError`."""
    made = folder / datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    made.mkdir(parents=True, mode=0o700)
    machine.change(f"back up to {made}")
    with (made / _DUMP).open("wb") as dump:
        machine.download(dump, "runuser", "-u", "postgres", "--", "pg_dump", "-Fc", settings.database)
    found = _restored(machine, made / _DUMP)
    if settings.bucket:  # the object storage keeps them, and its versions
        found["blobs"] = {}
    else:
        _copy_blobs(machine, settings, folder)
    _check_blobs(folder, found["blobs"])
    (made / _MANIFEST).write_text(json.dumps({"made": made.name, **found}, indent=1))
    return made


def latest(folder: Path) -> Path:
    """The newest backup in the folder that was checked. Raises `ProvisionError` if there is none."""
    if (folder / _MANIFEST).is_file():
        return folder
    made = sorted(path.parent for path in folder.glob(f"*/{_MANIFEST}"))
    if not made:
        raise ProvisionError(f"{folder} holds no backup that was checked.")
    return made[-1]


def restore(machine: Machine, settings: Settings, made: Path) -> None:
    """Puts the backup in place of what the master has, and checks that all of it is there."""
    manifest = json.loads((made / _MANIFEST).read_text())
    _check_blobs(made.parent, manifest["blobs"])
    machine.change(f"restore {made}")
    for name in master.UNITS:
        machine.run("systemctl", "stop", name)
    _forget_messages(machine, settings)
    _load(machine, made / _DUMP, settings.database, settings.database_user)
    _send_blobs(machine, settings, made.parent, manifest["blobs"])
    counted = _rows(machine, settings.database)
    if counted != manifest["rows"]:
        differing = sorted(name for name in manifest["rows"] if counted.get(name) != manifest["rows"][name])
        raise ProvisionError(f"after restoring, other rows than in the backup: {', '.join(differing)}.")
    master.migrate(machine)
    for name in master.UNITS:
        machine.run("systemctl", "start", name)
        if not services.is_active(machine, name):
            raise ProvisionError(f"{name} does not run: fab logs says why.")


def _forget_messages(machine: Machine, settings: Settings) -> None:
    """Orders and reports on the broker are about another past."""
    known = machine.run(
        "rabbitmqctl", "-q", "list_queues", "-p", settings.vhost, "--no-table-headers", "name"
    )
    for name in known.text.split():
        machine.run("rabbitmqctl", "-q", "purge_queue", "-p", settings.vhost, name, check=False)


def _restored(machine: Machine, dump: Path) -> dict[str, Any]:
    """What the dump holds, seen by restoring it beside the platform's own database."""
    try:
        _load(machine, dump, _SCRATCH, "postgres")
        blobs = [line.split("|") for line in _query(machine, _SCRATCH, _BLOBS).split()]
        return {"rows": _rows(machine, _SCRATCH), "blobs": {name: int(size) for name, size in blobs}}
    finally:
        machine.run("dropdb", "--if-exists", "--force", _SCRATCH, user="postgres")


def _load(machine: Machine, dump: Path, database: str, owner: str) -> None:
    machine.run("dropdb", "--if-exists", "--force", "--", database, user="postgres")
    machine.run("createdb", "-O", owner, "-E", "UTF8", "-T", "template0", "--", database, user="postgres")
    command = ("pg_restore", "--no-owner", "--exit-on-error", f"--role={owner}", "-d", database)
    with dump.open("rb") as source:
        machine.upload(source, "runuser", "-u", "postgres", "--", *command)


def _rows(machine: Machine, database: str) -> dict[str, int]:
    tables = _query(machine, database, _TABLES).split()
    # The names are PostgreSQL's own answer, of tables that Django made.
    counted = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM \"{name}\"" for name in tables)  # noqa: S608
    lines = _query(machine, database, counted).split()
    return {name: int(number) for name, number in (line.split("|") for line in lines)}


def _query(machine: Machine, database: str, query: str) -> str:
    return machine.run("psql", "-Atqc", query, "-d", database, user="postgres").text


def _copy_blobs(machine: Machine, settings: Settings, folder: Path) -> None:
    """Those that the folder has not got yet, in batches."""
    there = folder / "blobs"
    there.mkdir(exist_ok=True, mode=0o700)
    listed = machine.script(
        'cd "$1/blobs" 2>/dev/null && find . -type f -not -name ".*" -printf "%P\\n" || true', settings.data
    )
    missing = [name for name in listed.text.splitlines() if not (there / name).exists()]
    for start in range(0, len(missing), _BATCH):
        names = "\n".join(missing[start : start + _BATCH])
        with tempfile.TemporaryFile(dir=folder) as archive:
            machine.download(
                archive, "tar", "-C", f"{settings.data}/blobs", "-cf", "-", "-T", "-", text=names
            )
            archive.seek(0)
            with tarfile.open(fileobj=archive) as unpacked:
                unpacked.extractall(there, filter="data")


def _check_blobs(folder: Path, named: dict[str, int]) -> None:
    """Every blob that the database names is in the copy, whole."""
    there = {path.name: path for path in (folder / "blobs").rglob("*") if path.is_file()}
    for sha256 in named:
        if sha256 not in there:
            raise ProvisionError(f"the backup lacks blob {sha256}, which the database names.")
        with there[sha256].open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise ProvisionError(f"blob {sha256} is damaged in {there[sha256]}.")


def _send_blobs(machine: Machine, settings: Settings, folder: Path, named: dict[str, int]) -> None:
    target = f"{settings.data}/blobs"
    machine.run("install", "-d", "-o", common.USER, "-g", common.USER, "-m", "700", target)
    there = folder / "blobs"
    paths = [path for path in there.rglob("*") if path.is_file() and path.name in named]
    for start in range(0, len(paths), _BATCH):
        with tempfile.TemporaryFile(dir=folder) as archive:
            with tarfile.open(fileobj=archive, mode="w") as packed:
                for path in paths[start : start + _BATCH]:
                    packed.add(path, arcname=str(path.relative_to(there)))
            archive.seek(0)
            machine.upload(archive, "tar", "-C", target, "--no-same-owner", "-xf", "-")
    machine.run("chown", "-R", f"{common.USER}:{common.USER}", target)
