"""The command line: `python server.py COMMAND`."""
