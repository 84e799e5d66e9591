#!/usr/bin/env bash
# Builds the images with docker, or with buildah where no docker engine answers; `make images` calls it.
#   docker/images.sh build [TARGET …]     all by default; tags NAME:VERSION and NAME:latest, and copies each image's
#                                         bill of materials to dist/images/NAME.cdx.json
#   docker/images.sh engine               which of the two it is; status 1 if neither is here
#   docker/images.sh config NAME          what the engine says of an image, as JSON
#   docker/images.sh unpack NAME FOLDER   puts its files into a new folder
#   docker/images.sh pin                  writes the digests of all foreign images behind their tags, in docker and deploy
# VERSION is the package's, BASE another base image than the Dockerfile's, SOURCE the repository's address for the labels,
# BUILD_OPTIONS more options of the engine (such as --pull=never), CONTEXTS a folder with a release's contexts, to build
# from instead of the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
targets="scheduler worker worker-llm-content-creator console backup"

engine() {
    if docker info >/dev/null 2>&1; then
        echo docker
    elif command -v buildah >/dev/null; then
        echo buildah
    else
        echo 'images.sh: neither a docker engine nor buildah is here' >&2
        exit 1
    fi
}

build() {
    mkdir -p dist/images
    version=${VERSION:?the version of the package} tag=${VERSION//+/-} # a tag has no +
    case $engine in
    docker) command="docker build" ;;
    buildah) # chroot: it works without user namespaces and in containers too; limits as they are here, to raise none
        command="buildah build --isolation chroot --layers --network host"
        command="$command --ulimit nofile=$(ulimit -H -n):$(ulimit -H -n) --ulimit nproc=$(ulimit -H -u):$(ulimit -H -u)"
        ;;
    esac
    for target in "$@"; do
        name=contentgen-$target
        if [ -n "${CONTEXTS:-}" ]; then # its Dockerfile has the version and the labels
            context=("$CONTEXTS/$name-$version")
        else
            context=(--file docker/Dockerfile --target "$target" --build-arg "VERSION=$version"
                --label "org.opencontainers.image.revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
                --label "org.opencontainers.image.source=${SOURCE:-unknown}" .)
        fi
        # shellcheck disable=SC2086 # options are words
        $command ${BUILD_OPTIONS:-} ${BASE:+--build-arg "BASE=$BASE"} --tag "$name:$tag" --tag "$name:latest" "${context[@]}"
        copy "$name" usr/share/contentgen/sbom.cdx.json "dist/images/$name.cdx.json"
        echo "$name:$tag, what is in it: dist/images/$name.cdx.json"
    done
}

config() {
    case $engine in
    docker) docker image inspect "$1" ;;
    buildah) buildah inspect --type image "localhost/$1" ;;
    esac
}

with_container() { # NAME COMMAND …: runs it with $container, and with $root where files can be seen
    image=$1 status=0
    shift
    case $engine in
    docker)
        container=$(docker create "$image")
        "$@" || status=$?
        docker rm "$container" >/dev/null
        ;;
    buildah)
        container=$(buildah from --pull=never "localhost/$image")
        root=$(buildah mount "$container")
        "$@" || status=$?
        buildah rm "$container" >/dev/null
        ;;
    esac
    return "$status"
}

copy() { # NAME FROM TO
    with_container "$1" copy_out "$2" "$3"
}

copy_out() {
    case $engine in
    docker) docker cp --quiet "$container:/$1" "$2" ;;
    buildah) cp "$root/$1" "$2" ;;
    esac
}

unpack() {
    mkdir "$2"
    with_container "$1" unpack_into "$2"
}

unpack_into() {
    case $engine in
    docker) docker export "$container" | tar -x -C "$1" ;;
    buildah) cp -a "$root/." "$1" ;;
    esac
}

digest() { # of an image of a registry, for all its platforms
    if command -v skopeo >/dev/null; then
        skopeo inspect --raw "docker://$1" | skopeo manifest-digest /dev/stdin
    else
        docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$1"
    fi
}

pin() {
    files=$(git ls-files docker deploy | grep -E '(Dockerfile|\.ya?ml)$')
    # shellcheck disable=SC2086 # names of our own files
    sed -nE 's/^(ARG BASE=| *image: )([a-z][a-z0-9.\/-]*:[A-Za-z0-9._-]+)(@sha256:[0-9a-f]{64})?$/\2/p' $files | sort -u |
        while read -r image; do
            found=$(digest "$image")
            case $found in
            sha256:*) ;;
            *)
                echo "images.sh: no digest of $image" >&2
                exit 1
                ;;
            esac
            # shellcheck disable=SC2086 # names of our own files
            sed -i -E "s|^(ARG BASE=\| *image: )$image(@sha256:[0-9a-f]{64})?\$|\\1$image@$found|" $files
            echo "$image@$found"
        done
}

asked=${1:?build, config, engine, unpack or pin}
shift
case $asked in
engine | pin) "$asked" ;;
build | config | unpack)
    engine=$(engine)
    if [ "$asked" = build ] && [ $# = 0 ]; then
        # shellcheck disable=SC2086 # names
        set -- $targets
    fi
    "$asked" "$@"
    ;;
*)
    echo "images.sh: $asked: there is only build, config, engine, unpack and pin" >&2
    exit 2
    ;;
esac
