#!/bin/sh
# Makes /opt/app of a lock and our own wheel, without what is only read by people: install.sh LOCK WHEELS
set -eu
build=/opt/build/bin/python
# The driver is built here, as its authors advise for production: its wheel brings an OpenSSL of its own.
"$build" -m pip wheel --no-cache-dir --no-deps --require-hashes --no-build-isolation --no-binary psycopg2-binary \
    --wheel-dir /tmp/wheels --requirement "$1"
python -m venv --without-pip /opt/app
install() {
    "$build" -m pip --python /opt/app/bin/python install --no-index --no-deps "$@"
}
packages=$(/opt/app/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
install --no-compile /tmp/wheels/*.whl
sh /opt/compile.sh "$packages"
if [ -d "$packages/apprise" ]; then # finds its plugins by the names of files, and takes no *.pyc for one
    for plugin in "$packages"/apprise/plugins/[a-z]*.pyc; do : >"${plugin%.pyc}"; done
    rm -r "$packages"/apprise/i18n/*/
fi
install "$2"/*.whl # it keeps its sources
find "$packages" \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) -delete
# Wheels bring symbols of their libraries that nothing at run time reads.
find "$packages" -name '*.so*' -type f -not -path '*.libs/*' -exec strip --strip-unneeded {} +
