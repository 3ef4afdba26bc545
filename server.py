"""Start the server, or run one of its commands: python server.py --help."""

import sys

from mcpauth.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
