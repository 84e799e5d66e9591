#!/usr/bin/env bash
# Builds the images with docker, or with buildah where no docker engine answers; `make images` calls it.
#   docker/images.sh build [TARGET …]     all by default; tags NAME:VERSION and NAME:latest, and copies each image's
#                                         bill of materials to dist/images/NAME.cdx.json
#   docker/images.sh push REGISTRY [TARGET …]
#                                         builds each for PLATFORMS (linux/amd64,linux/arm64), pushes all as
#                                         REGISTRY/NAME:VERSION, and signs that with its bill of materials by cosign: with
#                                         COSIGN_KEY, else as whoever signs in. SIGN_OPTIONS and PUSH_OPTIONS: more options
#                                         of cosign and of buildah.
#                                         Tried by buildah: the images for linux/amd64, and the push of a file for both
#                                         to a registry on this machine. Not at hand: Docker, a base for linux/arm64.
#   docker/images.sh engine               which of the two it is; status 1 if neither is here
#   docker/images.sh config NAME          what the engine says of an image, as JSON
#   docker/images.sh unpack NAME FOLDER   puts its files into a new folder
#   docker/images.sh pin                  writes the digests of all foreign images behind their tags, in docker and deploy
# VERSION is the package's, BASE another base image than the Dockerfile's, SNAPSHOT another moment of Debian's archive
# (empty: none), SOURCE the repository's address for the labels,
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

prepare() { # for all targets
    mkdir -p dist/images
    version=${VERSION:?the version of the package} tag=${VERSION//+/-} # a tag has no +
    case $engine in
    docker) command="docker build" ;;
    buildah) # chroot: it works without user namespaces and in containers too; limits as they are here, to raise none
        command="buildah build --isolation chroot --layers --network host"
        command="$command --ulimit nofile=$(ulimit -H -n):$(ulimit -H -n) --ulimit nproc=$(ulimit -H -u):$(ulimit -H -u)"
        ;;
    esac
}

build_one() { # TARGET OPTION …
    name=contentgen-$1
    if [ -n "${CONTEXTS:-}" ]; then # its Dockerfile has the version and the labels
        context=("$CONTEXTS/$name-$version")
    else
        context=(--file docker/Dockerfile --target "$1" --build-arg "VERSION=$version"
            --label "org.opencontainers.image.revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
            --label "org.opencontainers.image.source=${SOURCE:-unknown}" .)
    fi
    shift
    # shellcheck disable=SC2086 # options are words
    $command ${BUILD_OPTIONS:-} ${BASE:+--build-arg "BASE=$BASE"} ${SNAPSHOT+--build-arg "SNAPSHOT=$SNAPSHOT"} "$@" "${context[@]}"
}

build() {
    prepare
    for target in "$@"; do
        build_one "$target" --tag "contentgen-$target:$tag" --tag "contentgen-$target:latest"
        copy "$name" usr/share/contentgen/sbom.cdx.json "dist/images/$name.cdx.json"
        echo "$name:$tag, what is in it: dist/images/$name.cdx.json"
    done
}

push() { # REGISTRY TARGET …
    registry=$1 platforms=${PLATFORMS:-linux/amd64,linux/arm64}
    shift
    cosign version >/dev/null
    build "$@" # for this machine's platform, whose bill of materials is signed
    for target in "$@"; do
        image=$registry/contentgen-$target pushed=dist/images/contentgen-$target.digest
        case $engine in
        docker)
            command="docker buildx build"
            build_one "$target" --platform "$platforms" --tag "$image:$tag" --push --metadata-file "$pushed"
            digest=$(grep -o '"containerimage.digest": *"[^"]*"' "$pushed" | grep -o 'sha256:[0-9a-f]*')
            ;;
        buildah)
            buildah manifest rm "$image:$tag" >/dev/null 2>&1 || true # else the list would grow
            # its cache would give a platform the layers of another
            build_one "$target" --no-cache --platform "$platforms" --manifest "$image:$tag"
            # shellcheck disable=SC2086 # options are words
            buildah manifest push --all ${PUSH_OPTIONS:-} --digestfile "$pushed" "$image:$tag" "docker://$image:$tag"
            digest=$(cat "$pushed")
            ;;
        esac
        # shellcheck disable=SC2086 # options are words
        cosign sign --yes ${COSIGN_KEY:+--key "$COSIGN_KEY"} ${SIGN_OPTIONS:-} "$image@$digest"
        # shellcheck disable=SC2086 # options are words
        cosign attest --yes ${COSIGN_KEY:+--key "$COSIGN_KEY"} ${SIGN_OPTIONS:-} --type cyclonedx \
            --predicate "dist/images/$name.cdx.json" "$image@$digest"
        echo "$image@$digest: pushed for $platforms, and signed"
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
    sed -i "s/^ARG SNAPSHOT=.*/ARG SNAPSHOT=$(date -u +%Y%m%dT000000Z)/" docker/Dockerfile
}

asked=${1:?build, config, engine, pin, push or unpack}
shift
case $asked in
engine | pin) "$asked" ;;
build | config | push | unpack)
    engine=$(engine)
    case $asked$# in
    # shellcheck disable=SC2086 # names
    build0 | push1) set -- "$@" $targets ;;
    esac
    "$asked" "$@"
    ;;
*)
    echo "images.sh: $asked: there is only build, config, engine, pin, push and unpack" >&2
    exit 2
    ;;
esac
