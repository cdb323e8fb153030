"""A job that the server runs is one that ran by itself: files, signals, exit status. Anything else runs by itself."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cortex.app import job_client, job_server
from tests.pipeline import CHECKOUT

pytestmark = pytest.mark.slow  # every test starts processes

PROBE = '''
import json, os, signal, subprocess, sys, time
from pathlib import Path


def probe(output: Path, *, sleep: float = 0.0, end: str = "") -> None:
    """Say what this process is, and end in some way."""
    environment = dict(os.environ)
    parent = " ".join(Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\\0"))
    said = {"pid": os.getpid(), "parent": parent, "arguments": sys.argv, "path": sys.path[0], "folder": os.getcwd()}
    sleeper = subprocess.Popen(["sleep", "60"], stdin=-3, stdout=-3, stderr=-3) if sleep else None
    output.write_text(json.dumps(said | {"environment": environment, "sleeper": sleeper and sleeper.pid}))
    print("to output", flush=True)
    print("from input:", sys.stdin.readline(), file=sys.stderr)
    if end == "stopped":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    time.sleep(sleep)
    if end.isdigit():
        os.kill(os.getpid(), int(end))
    if end == "error":
        raise KeyError("unforeseen")
'''


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the package that has one more command, probe."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(CHECKOUT / "cortex", folder / "cortex", ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "cortex" / "probe.py").write_text(PROBE)
    path = folder / "cortex" / "app" / "cli.py"
    path.write_text(
        path.read_text().replace('    "generate": {\n', '    "generate": {\n"probe": ("cortex.probe:probe", ""),\n')
    )
    return folder


@contextmanager
def running_server(folder):
    """A server of a checkout; the environment of its jobs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(folder))
        patch.delenv("PYTEST_CURRENT_TEST")
        server = job_server.RunServer()
        server.start()
        environment = os.environ | job_server.THREAD_VARIABLES
        yield environment
        server.stop()


@pytest.fixture(scope="module")
def environment(checkout):
    with running_server(checkout) as environment:
        yield environment


@pytest.fixture
def start(environment, checkout, tmp_path):
    """Start a probe; the process, and what the probe says once it has begun."""
    started = []

    def start(*options, **changes):
        output = tmp_path / f"{len(started)}.json"
        command = [sys.executable, "-m", "cortex", "probe", "--output", str(output), *options]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(command, text=True, **pipes, **{"cwd": checkout, "env": environment, **changes})
        started.append(process)
        deadline = time.monotonic() + 60
        while not (output.exists() and output.read_text().endswith("}")):
            assert process.poll() is None or output.exists(), process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process, json.loads(output.read_text())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def is_served(said):
    return "cortex.app.job_server" in said["parent"]


def goes(pid, seconds=10):
    """Whether a process ends soon."""
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_job_of_the_server_has_files_arguments_folder_and_environment_of_its_client(start, checkout, environment):
    expected = environment | {"TMPDIR": str(checkout)}
    process, said = start(env=expected)
    assert is_served(said)
    assert process.communicate("a line\n") == ("to output\n", "from input: a line\n\n")
    assert process.returncode == 0
    assert said["arguments"][0] == str(checkout / "cortex" / "__main__.py")
    assert said["arguments"][1:3] == ["probe", "--output"]
    assert said["path"] == said["folder"] == str(checkout)
    assert said["environment"] == expected


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--end", "error"], 1, "KeyError: 'unforeseen'"),
        (["--end", str(int(signal.SIGSEGV))], -signal.SIGSEGV, ""),
        (["--end", str(int(signal.SIGKILL))], -signal.SIGKILL, ""),
    ],
)
def test_the_client_ends_as_its_job(start, options, status, message):
    process, said = start(*options)
    assert is_served(said)
    assert message in process.communicate("")[1]
    assert process.returncode == status


@pytest.mark.parametrize("options", [[], ["--output", "x", "--sleep", "soon"], ["--help"]])
def test_options_are_refused_as_without_a_server(environment, checkout, options):
    def run(environment):
        command = [sys.executable, "-m", "cortex", "probe", *options]
        return subprocess.run(command, capture_output=True, text=True, cwd=checkout, env=environment, check=False)

    served, alone = run(environment), run(environment | {job_client.VARIABLE: ""})
    assert served.returncode == (0 if options == ["--help"] else 2)
    assert (served.returncode, served.stdout, served.stderr) == (alone.returncode, alone.stdout, alone.stderr)


def test_a_signal_to_the_client_is_one_to_the_job(start):
    process, _ = start("--sleep", "60", "--end", "stopped")
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stderr.readline() == "from input: \n"
    time.sleep(0.2)  # the probe sets its handler
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 7


def test_a_job_without_a_handler_ends_by_the_signal(start):
    process, _ = start("--sleep", "60")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM


def test_a_job_and_what_it_started_end_with_a_client_that_is_killed(start):
    process, said = start("--sleep", "60")
    process.kill()
    assert goes(said["pid"])
    assert goes(said["sleeper"])


@pytest.mark.parametrize(
    "changes",
    [
        {"env": {"ANOTHER": "1"}},
        {"env": {"OMP_NUM_THREADS": "2"}},
        {"umask": 0o077},
        {"cwd": "results"},
    ],
    ids=str,
)
def test_a_job_in_another_situation_runs_by_itself(start, checkout, environment, changes):
    (checkout / "results").mkdir(exist_ok=True)
    if "env" in changes:
        changes = {"env": environment | changes["env"]}
    if "cwd" in changes:
        changes = {"cwd": checkout / changes["cwd"]}
    process, said = start(**changes)
    assert not is_served(said)
    assert process.communicate("")[0] == "to output\n"
    assert process.returncode == 0


def test_without_an_answer_a_job_runs_by_itself(tmp_path, monkeypatch):
    address = tmp_path / "socket"
    monkeypatch.setattr(job_client, "PATIENCE", 0.2)
    monkeypatch.setenv(job_client.VARIABLE, str(address))
    assert job_client.run_on_server(["probe"]) is None  # there is none
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(address))
        assert job_client.run_on_server(["probe"]) is None  # nobody listens
        silent.listen()
        assert job_client.run_on_server(["probe"]) is None  # nobody answers
    monkeypatch.delenv(job_client.VARIABLE)
    assert job_client.run_on_server(["probe"]) is None


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as server, open(sys.argv[2], "rb") as file:
    server.connect(sys.argv[1])
    message = file.read()
    socket.send_fds(server, [len(message).to_bytes(4, "big") + message], [0, 1, 2])
    print(server.recv(1))
"""


def test_only_this_user_is_served(environment, checkout):
    address = Path(environment[job_client.VARIABLE])
    assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700
    umask = os.umask(0)
    os.umask(umask)
    here = {"python": sys.prefix, "package": str(checkout / "cortex"), "folder": str(checkout), "umask": umask}
    request = here | {"environment": environment, "arguments": ["--help"], "cpu_seconds": 0}

    def ask(content, **options):
        message = address.parent / "message"  # where other users can read it
        message.write_text(content)
        command = ["/usr/bin/python3", "-c", ASK, address, message]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **options)

    assert ask(json.dumps(request)).stdout.endswith("b'+'\n")
    for wrong in ("{}", "[1]", "no JSON"):
        assert ask(wrong).stdout == "b''\n"
    if os.getuid():
        pytest.skip("only root can start another user's process")
    assert "Permission" in ask(json.dumps(request), user=65534).stderr
    address.parent.chmod(0o755)
    address.chmod(0o777)
    try:
        refused = ask(json.dumps(request), user=65534)
        assert not refused.stdout and re.search("Connection reset|Broken pipe", refused.stderr)
    finally:
        address.parent.chmod(0o700)


def test_changed_code_is_run(checkout, start):
    """By jobs of their own; the server's is the code that it imported."""
    path = checkout / "cortex" / "probe.py"
    with running_server(checkout) as environment:
        assert is_served(start(env=environment)[1])
        path.write_text(PROBE.replace("to output", "to 0utput"))  # as many bytes
        process, said = start(env=environment)
        assert not is_served(said)
        assert process.communicate("")[0] == "to 0utput\n"
        path.write_text(PROBE)
        later = path.stat().st_mtime + 5
        os.utime(path, (later, later))  # Python compares bytecode's source by its size and second
        assert not is_served(start(env=environment)[1]), "a server that is out of date accepts no more jobs"


def test_jobs_end_with_a_server_that_is_killed(checkout, start):
    with running_server(checkout) as environment:
        process, said = start("--sleep", "60", env=environment)
        os.kill(psutil.Process(said["pid"]).ppid(), signal.SIGKILL)
        assert goes(said["pid"])
        assert "the job server was killed, and this job with it" in process.communicate()[1]
        assert process.returncode == 1
        assert not is_served(start(env=environment)[1])


RUN = """
from cortex.app.job_server import RunServer
import os
server = RunServer()
server.start()
print(os.environ["CORTEX_JOB_SERVER"], flush=True)
input()
"""


def test_the_server_ends_with_its_run_after_the_last_job(checkout, start, environment):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    run = subprocess.Popen([sys.executable, "-c", RUN], text=True, cwd=checkout, env=environment, **pipes)
    address = run.stdout.readline().strip()
    assert address != environment[job_client.VARIABLE], "two runs have a server each"
    process, said = start("--sleep", "1.5", env=environment | {job_client.VARIABLE: address})
    assert is_served(said)
    server = psutil.Process(said["pid"]).ppid()
    run.kill()
    run.communicate()
    assert process.communicate("")[0] == "to output\n"
    assert process.returncode == 0
    assert goes(server)
    assert not Path(address).parent.exists()


IMPORT = """
import json, os, sys
os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
import torch
from cortex.app import job_server
asked = []  # a process that asks for GPUs loads the driver, which does not survive a fork
for name in ("is_available", "device_count", "init", "current_device"):
    setattr(torch.cuda, name, lambda *_, name=name: asked.append(name))
job_server._import_everything(os.pipe()[0])
print(json.dumps({
    "threads": len(os.listdir("/proc/self/task")),
    "cuda": asked,
    "modules": {name: getattr(module, "__file__", None) for name, module in sys.modules.items()},
}))
"""


def test_the_server_imports_all_of_the_package_and_starts_nothing(environment):
    """Nothing of the user's, either: that may change while the server runs."""
    changes = {"PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", IMPORT]
    done = subprocess.run(command, env=environment | changes, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["threads"], found["cuda"]) == (1, [])
    files = {path.relative_to(CHECKOUT).with_suffix("") for path in (CHECKOUT / "cortex").rglob("*.py")}
    names = {".".join(path.parts).removesuffix(".__init__") for path in files} - {"cortex.__main__"}
    assert names <= found["modules"].keys()
    installed = (sys.prefix, sys.base_prefix)
    others = {
        name
        for name, file in found["modules"].items()
        if file and os.path.isabs(file) and not file.startswith(installed)
    }
    assert {name.partition(".")[0] for name in others} == {"cortex"}
