"""Start the program of this folder: `python -I -S -B <folder>`."""

import importlib
import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))

if __name__ == "__main__":
    # Python put the folder itself on the path; its parent makes it an importable package.
    sys.path[0] = os.path.dirname(_FOLDER)
    program = importlib.import_module(os.path.basename(_FOLDER) + ".program")
    sys.exit(program.main(os.environ))
