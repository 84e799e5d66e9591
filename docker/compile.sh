#!/bin/sh
# Leaves of the Python modules in FOLDER what is run, their compiled form: compile.sh FOLDER
# Python imports a module that is only compiled. A traceback then names its lines, but does not show them.
set -eu
python -m compileall -q -b -j 0 "$1" || true # what does not compile stays as it is
find "$1" -name '*.py' -exec sh -c 'for source; do if [ -e "${source}c" ]; then rm "$source"; fi; done' sh {} +
find "$1" -name __pycache__ -prune -exec rm -r {} +
