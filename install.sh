#!/bin/sh
# Builds gracekit from source and installs it, removes it again, or shows what it does.
# release/build makes packages from the tree that this installs.
set -eu
umask 022
export LC_ALL=C

usage='usage: ./install.sh [--prefix DIR]
       ./install.sh --uninstall [--prefix DIR]
       ./install.sh --demo

  --prefix DIR  where to install: DIR/bin, DIR/share/man, DIR/share/doc/gracekit,
                DIR/share/gracekit (default: /usr/local)
  --uninstall   remove what an install under that prefix put there, and nothing
                else
  --demo        install nothing: build into a temporary folder and show how a
                Sidekiq that leaks is restarted, in about a minute
  -h, --help    this text
      --version the version of this checkout

DESTDIR in the environment is put before all paths, for packages.'

fatal() {
	printf 'install.sh: fatal: %s\n' "$2" >&2
	exit "$1"
}

prefix=/usr/local
action=install
while [ $# -gt 0 ]; do
	case $1 in
	--prefix)
		[ $# -gt 1 ] || fatal 100 '--prefix: needs a value (want an absolute path such as /usr/local)'
		prefix=$2
		shift
		;;
	--prefix=*) prefix=${1#*=} ;;
	--uninstall) action=uninstall ;;
	--demo) action=demo ;;
	-h | --help)
		echo "$usage"
		exit 0
		;;
	--version)
		exec sh "$(dirname -- "$0")/release/version"
		;;
	*) fatal 100 "$1: no such option (want --prefix DIR, --uninstall, --demo or --help)" ;;
	esac
	shift
done
case $prefix in
/*) prefix=${prefix%/} ;;
*) fatal 100 "--prefix: invalid path \"$prefix\" (want an absolute path such as /usr/local)" ;;
esac
dest=${DESTDIR-}
# Every path that was put there, one a line; a folder has a slash at its end.
manifest=$prefix/share/gracekit/manifest
cd -- "$(dirname -- "$0")"

# check_writable: says at once that an install would fail, before anything is built.
check_writable() {
	folder=$dest$prefix
	while [ ! -e "$folder" ] && [ "$folder" != "${folder%/*}" ]; do
		folder=${folder%/*}
	done
	folder=${folder:-/}
	[ -d "$folder" ] || fatal 111 "cannot install under $dest$prefix: $folder is not a folder"
	if [ ! -w "$folder" ]; then
		hint="try sudo, or --prefix \$HOME/.local"
		fatal 111 "cannot install under $dest$prefix: $folder is not writable for $(id -un) ($hint)"
	fi
}

check_go() {
	need=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' go.mod)
	want="want Go $need or newer, https://go.dev/dl, or a package of gracekit"
	command -v go >/dev/null || fatal 127 "cannot run go: not found in PATH ($want)"
	have=$(go env GOVERSION 2>/dev/null || GOTOOLCHAIN=local go version)
	minor=${have#*go1.}
	[ "${minor%%[!0-9]*}" -ge "${need#*.}" ] 2>/dev/null ||
		fatal 111 "cannot build with $have ($want)"
}

# stage DIR: everything as it will be under $dest.
stage() {
	root=$1$prefix
	mkdir -p "$root/bin" "$root/share/man/man7" "$root/share/man/man8" \
		"$root/share/doc/gracekit" "$root/share/gracekit/ruby"
	CGO_ENABLED=0 GOWORK=off go build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X gracekit/lib/cli.Version=$version" -o "$root/bin/" ./cmd/...
	for folder in cmd/*/; do # a program that is a script has the name of its folder
		name=$(basename "$folder")
		[ ! -f "$folder$name" ] ||
			sed "s/^version=0-unknown\$/version=$version/" "$folder$name" >"$root/bin/$name"
	done
	chmod 755 "$root"/bin/*
	cp lib/ruby/*.rb "$root/share/gracekit/ruby"
	find cmd -name '*.8' -exec cp {} "$root/share/man/man8" \;
	find docs -name '*.7' -exec cp {} "$root/share/man/man7" \;
	cp README.md CHANGELOG.md LICENSE "$root/share/doc/gracekit"
	cp -R docs "$root/share/doc/gracekit"
	find "$root/share/doc/gracekit/docs" -name '*.7' -exec rm {} \;
	cp -R runit s6 "$root/share/gracekit"
	chmod -R u+rwX,go+rX,go-w "$1"
	# A page names files where they are installed.
	there=$(printf '%s' "$prefix" | sed 's/[\\&|]/\\&/g')
	find "$root/share" -type f -exec grep -lF /usr/local/share/gracekit {} + |
		while IFS= read -r file; do
			sed "s|/usr/local/share/gracekit|$there/share/gracekit|g" "$file" >"$1/new"
			cat "$1/new" >"$file"
		done
	rm -f "$1/new"
}

# place DIR: moves what is staged there to its place, file by file, and writes the manifest.
place() {
	mkdir -p "$dest/"
	cat "$dest$manifest" >"$tmp/old" 2>/dev/null || :
	(cd "$1" && find . ! -name . | sort) | sed 's/^.//' | while IFS= read -r path; do
		if [ ! -d "$1$path" ]; then # a program that is running can be replaced, not written to
			cp "$1$path" "$dest$path.new"
			mv -f "$dest$path.new" "$dest$path"
			echo "$path"
		elif [ ! -d "$dest$path" ]; then
			mkdir "$dest$path"
			echo "$path/"
		fi
	done >"$tmp/new"
	# Folders stay ours; what an older version installed and this one does not is removed.
	{ echo "$manifest" && sed -n "/\\/$/p" "$tmp/old"; } >>"$tmp/new"
	grep -vxFf "$tmp/new" "$tmp/old" | remove
	cp "$tmp/new" "$dest$manifest"
}

# remove: reads paths. What is in a folder goes before it, and the folder only when it is empty. A
# path that is not under the prefix is in no manifest of ours.
remove() {
	sort -r | while IFS= read -r path; do
		case $path in
		*/../* | */..) continue ;;
		"$prefix"/*) ;;
		*/) case $prefix/ in "$path"*) ;; *) continue ;; esac ;;
		*) continue ;;
		esac
		case $path in
		*/) rmdir "$dest$path" 2>/dev/null || : ;;
		*) rm -f "$dest$path" ;;
		esac
	done
}

# check_manifest: root removes nothing that another user could have written into the manifest.
check_manifest() {
	[ -f "$dest$manifest" ] ||
		fatal 1 "cannot uninstall: $dest$manifest does not exist (want the --prefix of the install)"
	folder=$dest$prefix/share/gracekit
	while [ -n "$folder" ] && [ "$folder" != "$dest" ]; do
		bad=$(find "$dest$manifest" "$folder" -prune \
			\( ! -user "$(id -u)" ! -user 0 -o -perm -0020 ! -group 0 -o -perm -0002 ! -perm -1000 \))
		bad=$(echo "$bad" | head -n 1)
		[ -z "$bad" ] || fatal 111 "cannot uninstall: other users can write $bad, and so the manifest"
		folder=${folder%/*}
	done
}

case $action in
demo)
	exec ./test/demo/run
	;;
uninstall)
	check_manifest
	remove <"$dest$manifest"
	;;
install)
	check_writable
	check_go
	version=$(sh release/version)
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	stage "$tmp/root"
	place "$tmp/root"
	echo "gracekit $version is installed under $dest$prefix: next," \
		"read $prefix/share/doc/gracekit/README.md or man 7 gracekit"
	;;
esac
