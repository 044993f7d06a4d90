"""``python -m node_cli`` is the same door as ``node-train``."""

import sys

from node_cli.cli.main import main

sys.exit(main())
