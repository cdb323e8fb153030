import signal
import sys

try:
    from cortex.app.job_client import run_on_server

    status = run_on_server(sys.argv[1:])
    if status is None:
        from cortex.app.cli import main

        status = main()
except KeyboardInterrupt:  # while modules are imported
    print("cortex: stopped", file=sys.stderr)
    status = 128 + signal.SIGINT
sys.exit(status)
