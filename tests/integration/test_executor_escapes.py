"""Hostile submissions: whatever they do to their surroundings, the job ends, and nothing of it is left."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.bench import EVEN, Bench, Stages, classifier, succeeded

WALL = 2.0
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks around in /proc")
#: Starts a daemon: a new session, adopted by init or the keeper, that forgets where it came from.
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        Path({pids!r}).write_text(str(os.getpid()))
        {becoming}
        time.sleep(60)
    os._exit(0)
while not Path({pids!r}).exists():
    time.sleep(0.01)
"""
FORKED = "pass"
SCRUBBED = "os.execve('/bin/sleep', ['sleep', '60'], {})"
SAY = """
def say(content):
    for number in range(3, 100):
        try:
            if os.readlink(f"/proc/self/fd/{number}").startswith("pipe:"):
                os.write(number, content)
        except OSError:
            pass
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.serving(tmp_path) as bench:
        yield bench


class Daemon:
    """The text of a submission that starts one, and whether it lives."""

    def __init__(self, folder: Path) -> None:
        self._pids = folder / "daemon.pid"

    def text(self, becoming: str) -> str:
        return DAEMON.format(pids=str(self._pids), becoming=becoming)

    def lives(self) -> bool:
        try:
            return psutil.Process(int(self._pids.read_text())).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


# --- processes and threads ------------------------------------------------------------------------


@pytest.mark.parametrize("becoming", [FORKED, SCRUBBED], ids=["forked", "scrubbed"])
def test_a_daemon_is_gone_and_the_result_is_right(bench: Bench, daemon: Daemon, becoming: str) -> None:
    outcome = succeeded(bench.toy(classifier(fit=daemon.text(becoming))))
    assert outcome.arrays["test"].tobytes() == np.full((4, 2), 0.5).tobytes()
    assert not daemon.lives()


@pytest.mark.parametrize("ending", ["while True: pass", "os._exit(1)", "raise ValueError"])
def test_a_daemon_is_gone_however_the_fold_ends(bench: Bench, daemon: Daemon, ending: str) -> None:
    outcome = bench.toy(classifier(fit=daemon.text(SCRUBBED) + ending), wall=WALL)
    assert outcome.failure == ("timeout" if "while" in ending else "user_error")
    assert not daemon.lives()


def test_a_thread_that_is_left_holds_nothing_up(bench: Bench) -> None:
    top = "import threading\n"
    fit = "threading.Thread(target=time.sleep, args=(60,), daemon=False).start()"
    succeeded(bench.toy(classifier(fit=fit, top=top)))
    assert bench.seconds < 10


def test_what_is_to_run_at_exit_holds_nothing_up(bench: Bench) -> None:
    succeeded(bench.toy(classifier(top="import atexit; atexit.register(time.sleep, 60)")))
    assert bench.seconds < 10


# --- its keeper -----------------------------------------------------------------------------------


@pytest.mark.parametrize("then", [EVEN, "while True: pass", "time.sleep(60)", "os._exit(0)"])
def test_killing_its_keeper_ends_the_job(bench: Bench, then: str) -> None:
    fit = "os.kill(os.getppid(), signal.SIGKILL)"
    outcome = bench.toy(classifier(fit=fit, predict=then), wall=30)
    assert outcome.failure in {"environment", "killed"}
    assert bench.seconds < 10


@pytest.mark.parametrize("becoming", [FORKED, SCRUBBED], ids=["forked", "scrubbed"])
def test_no_daemon_survives_its_keeper(bench: Bench, daemon: Daemon, becoming: str) -> None:
    fit = daemon.text(becoming) + "time.sleep(1)\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)"
    outcome = bench.toy(classifier(fit=fit), wall=30)
    assert outcome.failure in {"environment", "killed"}
    assert not daemon.lives()


def test_a_daemon_that_kills_the_keeper_at_once_ends_with_it(bench: Bench, daemon: Daemon) -> None:
    fit = daemon.text("os.kill(KEEPER, signal.SIGKILL)") + "while True: pass"
    outcome = bench.toy(classifier(fit=fit, top="KEEPER = os.getppid()"), wall=30)
    assert outcome.failure in {"environment", "killed"}
    assert not daemon.lives()


@pytest.mark.parametrize("then", ["while True: pass", EVEN])
def test_stopping_its_keeper_gains_no_time(bench: Bench, daemon: Daemon, then: str) -> None:
    fit = daemon.text(SCRUBBED) + "os.kill(os.getppid(), signal.SIGSTOP)"
    outcome = bench.toy(classifier(fit=fit, predict=then), wall=WALL)
    assert outcome.failure == "timeout"
    assert not daemon.lives()


@LINUX
@pytest.mark.parametrize("content", [b"\xff" * 100, b"[]", b'{"code": "0"}', b"[" * 10_000])
def test_what_it_says_in_its_keepers_name_breaks_nothing(bench: Bench, content: bytes) -> None:
    fit = f"""
    keeper = Path("/proc") / str(os.getppid()) / "fd"
    for name in os.listdir(keeper):
        if int(name) > 2 and os.readlink(keeper / name).startswith("pipe:"):
            try:
                os.write(os.open(keeper / name, os.O_WRONLY | os.O_NONBLOCK), {content!r})
            except OSError:
                pass
    """
    outcome = bench.toy(classifier(fit=fit), wall=30)
    assert "The runner failed" not in outcome.message
    assert outcome.failure in {None, "user_error", "environment"}


# --- what it says ---------------------------------------------------------------------------------


@LINUX
@pytest.mark.parametrize(
    ("said", "times"),
    [
        ("garbage\n\n\0\n[]\n1\nnull\n", 1),
        ("[", 100_000),
        ("x", 10_000_000),
        ('{"event": "stage", "stage": "finished"}\n', 1000),
        ('{"event": "stage", "stage": ["trained"]}\n{"event": "stage"}\n', 1),
        ('{"event": "stage", "stage": "trained"}\n', 10_000),
        ('{"event": ["done"]}\n{"event": "unheard-of"}\n{}\n', 1),
    ],
    ids=["garbage", "nested", "long", "unknown stage", "strange stage", "repeated stage", "unknown event"],
)
def test_garbage_on_the_status_pipe_changes_nothing(bench: Bench, said: str, times: int) -> None:
    stages = Stages()
    fit = f"say({said.encode()!r} * {times} + b'\\n')"
    succeeded(bench.toy(classifier(fit=fit, top=SAY), watcher=stages))
    assert stages.reached == ["trained", "validated"]


@LINUX
@pytest.mark.parametrize(
    ("said", "failure", "words"),
    [
        ('{"event": "done"}', "bad_output", "train.npy can't be read"),
        ('{"event": "failed", "kind": "environment", "message": "x"}', "user_error", "x"),
        ('{"event": "failed", "kind": "lost"}', "user_error", ""),
        ('{"event": "failed", "kind": ["user_error"], "message": {}}', "user_error", "{}"),
        ('{"event": "failed", "message": null}', "user_error", "None"),
        ('{"event": "failed", "message": "%s"}' % ("x" * 200_000), "user_error", "xxx"),
    ],
)
def test_what_it_says_of_itself_gains_nothing(bench: Bench, said: str, failure: str, words: str) -> None:
    outcome = bench.toy(classifier(fit=f"say({said.encode()!r} + b'\\n'); os._exit(0)", top=SAY))
    assert outcome.failure == failure
    assert words in outcome.message
    assert len(outcome.message) <= 64 * 1024


@LINUX
def test_measures_that_it_invents_are_numbers_or_left_out(bench: Bench) -> None:
    measures = (
        '{"train_time": 1e400, "test_time": -1, "train_cpu_time": NaN, "test_cpu_time": "1", '
        '"train_memory": [1], "invented": 1, "validation_time": 2}'
    )
    said = f'{{"event": "failed", "message": "x", "measures": {measures}}}\n'.encode()
    outcome = bench.toy(classifier(fit=f"say({said!r}); os._exit(0)", top=SAY))
    assert outcome.measures == {"validation_time": 2.0}


@pytest.mark.parametrize(
    "rest", ["", "import threading; threading.Thread(target=time.sleep, args=(60,)).start()"]
)
def test_closing_every_descriptor_ends_in_its_own_error(bench: Bench, rest: str) -> None:
    outcome = bench.toy(classifier(fit=f"{rest}\nos.closerange(0, 1000)"), wall=30)
    assert outcome.failure == "user_error"
    assert bench.seconds < 10


# --- what it writes -------------------------------------------------------------------------------

#: Does something to the predictions of the test part after the last moment at which it should.
AT_LAST = """
import shutil
OUT = Path.cwd().parent / "out"
LEAVE = os._exit

def leave(code):
    path = OUT / "test.npy"
    path.unlink()
    {replacing}
    LEAVE(code)
os._exit = leave
"""


@pytest.mark.parametrize(
    "replacing",
    [
        "pass",
        "path.symlink_to(OUT / 'train.npy')",
        "path.symlink_to('/etc/passwd')",
        "path.symlink_to('/dev/zero')",
        "os.mkfifo(path)",
        "path.mkdir()",
        "path.touch()",
        "path.write_bytes(b'garbage')",
        "path.touch(); os.truncate(path, (1 << 30) + 1)",
        "np.save(path, np.array([{}] * 4), allow_pickle=True)",
        "np.save(path, np.zeros(4, dtype=[('a', 'f8')]))",
        "np.save(path, np.zeros(5))",
        "np.save(path, np.full(4, np.nan))",
        "np.save(path, np.zeros(4, dtype=complex))",
        "path.write_bytes((OUT / 'train.npy').read_bytes().replace(b'(8, 2)', b'(9**9,)'))",
        "path.write_bytes((OUT / 'train.npy').read_bytes()[:-1])",
        "OUT.rename(OUT.parent / 'other'); OUT.symlink_to('other'); np.save(path, np.zeros(4))",
        "shutil.rmtree(OUT)",
        "path.symlink_to(path)",
    ],
)
def test_predictions_that_it_replaces_are_refused(bench: Bench, replacing: str) -> None:
    outcome = bench.toy(classifier(top=AT_LAST.format(replacing=replacing)), disk=2 << 30)
    assert outcome.failure == "bad_output", outcome
    assert str(bench.scratch) not in outcome.message
    assert outcome.arrays == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_in_place_of_predictions_is_refused(bench: Bench) -> None:
    replacing = "os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero"
    outcome = bench.toy(classifier(top=AT_LAST.format(replacing=replacing)))
    assert outcome.failure == "bad_output"


@pytest.mark.parametrize("name", ["train.npy", "test.npy"])
def test_a_pipe_in_place_of_predictions_gains_no_time(bench: Bench, name: str) -> None:
    fit = f"os.mkfifo(Path.cwd().parent / 'out' / '{name}')"
    assert bench.toy(classifier(fit=fit), wall=WALL).failure == "timeout"


def test_an_output_folder_that_it_removes_is_its_own_error_and_explained(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit="(Path.cwd().parent / 'out').rmdir()"))
    assert outcome.failure == "user_error"
    assert outcome.message == "The predictions of the train part can't be written: No such file or directory."


def test_a_folder_too_deep_to_remove_costs_no_result_and_is_removed(bench: Bench) -> None:
    fit = "for _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')"
    succeeded(bench.toy(classifier(fit=fit)))


def test_what_it_leaves_unwritable_is_removed(bench: Bench) -> None:
    fit = "os.makedirs('a/b'); Path('a/b/c').touch(); os.chmod('a/b', 0); os.chmod('a', 0)"
    succeeded(bench.toy(classifier(fit=fit)))


def test_two_folds_do_not_meet(bench: Bench) -> None:
    fit = "assert not list(Path.cwd().iterdir()); Path('trace').touch(); Path.home().joinpath('x').touch()"
    succeeded(bench.toy(classifier(fit=fit)))
    succeeded(bench.toy(classifier(fit=fit)))
