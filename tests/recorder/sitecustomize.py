"""On PYTHONPATH, makes every ``python -m cortex`` put on record which functions of cortex it calls: itself, or the
child of the job server that runs its command.

``CORTEX_CALLS`` names the folder of the records: JSON with the command line (``arguments``) and for every function,
lambda and comprehension that was called after the imports its module and first line (``calls``).
"""

import atexit
import inspect
import json
import os
import sys
import threading
import uuid
from pathlib import Path

FOLDER = os.environ.get("CORTEX_CALLS")


def in_import(frame):
    """Whether the call is part of a module's import."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__", "").startswith("cortex."):
            return True
        frame = frame.f_back
    return False


def start(folder):
    """Record calls until the process ends."""
    called, others = {}, set()

    def record(frame, event, argument):
        code = frame.f_code
        if code not in called and code not in others:
            module = str(frame.f_globals.get("__name__"))
            generated = code.co_filename.startswith("<")  # the methods of a dataclass
            if generated or not module.startswith("cortex.") or not code.co_flags & inspect.CO_OPTIMIZED:
                others.add(code)  # another package's; or the body of a class or a module
            elif module == "cortex.app.job_client":
                others.add(code)  # it computes nothing
            elif not in_import(frame):
                called[code] = module, code.co_firstlineno

    def write():
        sys.settrace(None)
        calls = sorted(set(called.values()))
        if not calls:  # the server's child has called what there is to call
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{uuid.uuid4()}.json").write_text(json.dumps({"arguments": sys.argv[1:], "calls": calls}))

    atexit.register(write)
    threading.settrace(record)
    sys.settrace(record)


if FOLDER and "-m" in sys.orig_argv:
    started = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    if started == "cortex":
        start(Path(FOLDER))
    elif started == "cortex.app.job_server":
        os.register_at_fork(after_in_child=lambda: start(Path(FOLDER)))
