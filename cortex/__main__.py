import sys

from cortex.app.job_client import run_on_server

status = run_on_server(sys.argv[1:])
if status is None:
    from cortex.app.cli import main

    status = main()
sys.exit(status)
