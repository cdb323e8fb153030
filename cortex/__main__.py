import sys

from cortex.app.cli import main

sys.exit(main())
