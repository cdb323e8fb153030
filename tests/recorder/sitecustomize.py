"""On PYTHONPATH, makes every ``python -m cortex`` put on record which functions of cortex it calls: itself, or the
child of the job server that runs its command.

``CORTEX_CALLS`` names the folder of the records: JSON with the command line (``arguments``) and for every function and
lambda that was called after the imports its module and line (``calls``). The functions say so themselves: each is
compiled with a first statement that does. A tracer would be called for those of all packages, and take as long as the
job.
"""

import ast
import atexit
import builtins
import hashlib
import importlib.machinery
import json
import marshal
import os
import sys
import uuid
from pathlib import Path

FOLDER = os.environ.get("CORTEX_CALLS")
CALLED = "__cortex_function_called__"


class Saying(ast.NodeTransformer):
    """Lets every function and lambda of a module say first that it is called."""

    def __init__(self, module):
        self.module = module

    def saying(self, node):
        arguments = [ast.Constant(self.module), ast.Constant(node.lineno)]
        return ast.copy_location(ast.Call(ast.Name(CALLED, ast.Load()), arguments, []), node)

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        after_docstring = int(ast.get_docstring(node, clean=False) is not None)
        node.body.insert(after_docstring, ast.copy_location(ast.Expr(self.saying(node)), node))
        return node

    def visit_Lambda(self, node):
        self.generic_visit(node)
        node.body = ast.copy_location(ast.BoolOp(ast.Or(), [self.saying(node), node.body]), node)
        return node


class Loader(importlib.machinery.SourceFileLoader):
    """Compiles modules anew, or takes what an earlier job compiled from the records' folder; never from __pycache__."""

    def get_code(self, fullname):
        source = self.get_data(self.path)
        compiled = Path(FOLDER, "compiled", f"{fullname}-{hashlib.sha1(source).hexdigest()}")
        if compiled.exists():
            return marshal.loads(compiled.read_bytes())
        tree = ast.fix_missing_locations(Saying(fullname).visit(ast.parse(source, self.path)))
        code = compile(tree, self.path, "exec", dont_inherit=True)
        compiled.parent.mkdir(parents=True, exist_ok=True)
        part = compiled.with_name(str(uuid.uuid4()))
        part.write_bytes(marshal.dumps(code))
        part.replace(compiled)
        return code


class Finder:
    """Finds cortex as Python does, and loads it by :class:`Loader`."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname.partition(".")[0] != "cortex" or fullname == "cortex.app.job_client":  # which computes nothing
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def in_import(frame):
    """Whether the call is part of a module's import."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__", "").startswith("cortex."):
            return True
        frame = frame.f_back
    return False


def start(started):
    """Record the calls of a process, or of every child that a job server forks, until it ends."""
    calls = set()

    def called(module, line):
        if (module, line) not in calls and not in_import(sys._getframe(1)):
            calls.add((module, line))

    def write():
        if calls:  # a client of the server calls nothing: the server's child has called what there is to call
            record = {"arguments": sys.argv[1:], "calls": sorted(calls)}
            Path(FOLDER).mkdir(parents=True, exist_ok=True)
            Path(FOLDER, f"{uuid.uuid4()}.json").write_text(json.dumps(record))

    def in_child():
        calls.clear()
        atexit.register(write)

    setattr(builtins, CALLED, called)
    sys.meta_path.insert(0, Finder)
    if started == "cortex":
        atexit.register(write)
    else:
        os.register_at_fork(after_in_child=in_child)


if FOLDER and "-m" in sys.orig_argv:
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    if module in ("cortex", "cortex.app.job_server"):
        start(module)
