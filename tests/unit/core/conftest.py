"""A trap for whatever a file could make Python execute."""

import sys

import pytest


@pytest.fixture(scope="module")
def executed():
    """Names of what Python executes on behalf of a pickle, as its audit events tell; cleared by each test."""
    events = []
    watched = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"}
    watching = [True]
    sys.addaudithook(lambda event, _: events.append(event) if watching[0] and event in watched else None)
    yield events
    watching[0] = False
