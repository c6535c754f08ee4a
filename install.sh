#!/bin/sh
# Builds gracekit and installs it, takes it away again, packs it for container images, or shows what it does.
set -eu
umask 022
export LC_ALL=C

usage='usage: ./install.sh [--prefix DIR] [--uninstall]
       ./install.sh --tarball ARCH | --demo

  --prefix DIR    where to install: DIR/bin, DIR/share/man, DIR/share/gracekit
                  (/usr/local)
  --uninstall     take away what an install under that prefix put there, and
                  nothing else
  --tarball ARCH  install nothing: make gracekit-ARCH.tar.xz (x86_64, aarch64,
                  armhf) and gracekit-s6-overlay-noarch.tar.xz, the services
                  for s6-overlay, in the folder you are in; into an image with
                  tar -C / -Jxpf FILE
  --demo          install nothing: build into a temporary folder and show a
                  Sidekiq that leaks being restarted, in a minute, here
  -h, --help      this text

DESTDIR in the environment is put in front of all paths, for packages. Files in
a tarball are as old as the commit, or as SOURCE_DATE_EPOCH says.'

fatal() { printf 'install.sh: fatal: %s\n' "$2" >&2 && exit "$1"; }

here=$(pwd) prefix=/usr/local action=install arch='' place=${DESTDIR:+DESTDIR}
only() { # ACTION
	[ "$action" = install ] || fatal 100 "--$action and --$1: only one of them"
	action=$1
}
while [ $# -gt 0 ]; do
	case $1 in
	--prefix) [ $# -gt 1 ] || fatal 100 '--prefix: which directory? (/usr/local)' && prefix=$2 place=--prefix && shift ;;
	--prefix=*) prefix=${1#*=} place=--prefix ;;
	--tarball) [ $# -gt 1 ] || fatal 100 '--tarball: for what? (x86_64, aarch64, armhf)' && only tarball && arch=$2 && shift ;;
	--tarball=*) only tarball && arch=${1#*=} ;;
	--uninstall | --demo) only "${1#--}" ;;
	-h | --help) echo "$usage" && exit 0 ;;
	*) fatal 100 "\"$1\" is no option (--prefix DIR, --uninstall, --tarball ARCH, --demo, --help)" ;;
	esac
	shift
done
[ "$action" != tarball ] || [ -z "$place" ] ||
	fatal 100 "--tarball: is made in the folder you are in, of what is to be in /usr: no $place"
case $prefix in /*) prefix=${prefix%/} ;; *) fatal 100 "--prefix: \"$prefix\" is no absolute path (/usr/local)" ;; esac
dest=${DESTDIR-}
manifest=$prefix/share/gracekit/manifest # all that was put there: a path a line, directories with a / behind
cd -- "$(dirname -- "$0")"

of_git() { [ -e .git ] && git "$@" 2>/dev/null; } # else it tells of the repository that our folder is in

build() { # DIR: the programs, static
	need=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' go.mod)
	command -v go >/dev/null || fatal 111 "Go $need or newer is needed to build (https://go.dev/dl), and there is no go in PATH"
	have=$(go env GOVERSION 2>/dev/null || GOTOOLCHAIN=local go version)
	minor=${have#*go1.}
	[ "${minor%%[!0-9]*}" -ge "${need#*.}" ] 2>/dev/null ||
		fatal 111 "Go $need or newer is needed to build (https://go.dev/dl), $(command -v go) is $have"
	version=$(of_git describe --tags --always --abbrev=10 --dirty) || version=0-unknown
	CGO_ENABLED=0 GOWORK=off go build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X gracekit/lib/cli.Version=$version" -o "$1/" ./cmd/...
}

stage() { # DIR: everything as it will be under $dest
	mkdir -p "$1$prefix/bin" "$1$prefix/share/man/man8" "$1$prefix/share/doc/gracekit" "$1$prefix/share/gracekit/ruby"
	build "$1$prefix/bin"
	for d in cmd/*/; do # a script has its folder's name
		script=$d$(basename "$d")
		[ ! -f "$script" ] || cp "$script" "$1$prefix/bin"
	done
	cp lib/ruby/*.rb "$1$prefix/share/gracekit/ruby"
	find cmd -name '*.8' -exec cp {} "$1$prefix/share/man/man8" \;
	cp ./[A-Z]* "$1$prefix/share/doc/gracekit"
	for d in runit s6; do [ ! -d $d ] || cp -R $d "$1$prefix/share/gracekit"; done
	chmod -R u+rwX,go+rX,go-w "$1"
	there=$(printf '%s' "$prefix/share/gracekit" | sed 's/[\\&|]/\\&/g') # what a page names is to be there
	find "$1$prefix/share" -type f -exec grep -lF /usr/local/share/gracekit {} + | while IFS= read -r f; do
		sed "s|/usr/local/share/gracekit|$there|g" "$f" >"$1/new" && cat "$1/new" >"$f"
	done
	rm -f "$1/new"
}

place() { # DIR: puts what is staged there in its place, file by file, and writes the manifest
	mkdir -p "$dest/"
	cat "$dest$manifest" >"$tmp/old" 2>/dev/null || :
	(cd "$1" && find . ! -name . | sort) | sed 's/^.//' | while IFS= read -r f; do
		if [ ! -d "$1$f" ]; then # a program that runs right now can be renamed over, not written to
			cp "$1$f" "$dest$f.new"
			mv -f "$dest$f.new" "$dest$f"
			echo "$f"
		elif [ ! -d "$dest$f" ]; then
			mkdir "$dest$f"
			echo "$f/"
		fi
	done >"$tmp/new"
	{ echo "$manifest" && sed -n "/\\/$/p" "$tmp/old"; } >>"$tmp/new" # directories stay ours
	grep -vxFf "$tmp/new" "$tmp/old" | remove # what an older version had and this one has not
	cp "$tmp/new" "$dest$manifest"
}

remove() { # reads a manifest: what is in a directory goes before it, and that only when it is empty
	sort -r | while IFS= read -r f; do
		case $f in
		*/) rmdir "$dest$f" 2>/dev/null || : ;;
		*) rm -f "$dest$f" ;;
		esac
	done
}

case $action in
demo) exec ./test/demo/run ;;
tarball) exec ./release/tarball "$arch" "$here" ;;
uninstall)
	[ -e "$dest$manifest" ] || fatal 1 "$dest$manifest: no such file: nothing is installed there"
	remove <"$dest$manifest"
	;;
install)
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	stage "$tmp/root"
	place "$tmp/root"
	echo "gracekit $version is in $dest$prefix: bin, share/man, share/gracekit (service directories)"
	;;
esac
