// Package release proves what release/build publishes: the same bytes from the same commit, and packages that
// install, upgrade and remove cleanly.
package release

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sh runs a script, which ends at the first command that fails, with a trace of its commands, and returns what it prints.
func sh(t *testing.T, script string, env ...string) string {
	t.Helper()
	c := exec.Command("sh", "-euxc", script)
	c.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// checkout makes a repository of one commit, tagged v1.2.3, out of the working tree.
func checkout(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "source")
	sh(t, `mkdir "$dir"
		cd ../..
		git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -e "$1" ] || echo "$1"' _ {} | tar -c -T - | tar -x -C "$dir"
		cd "$dir" && git init -q && git add . && git -c user.name=t -c user.email=t@t commit -qm one && git tag v1.2.3`,
		"dir="+dir, "GIT_COMMITTER_DATE=1700000000 +0000", "GIT_AUTHOR_DATE=1700000000 +0000")
	return dir
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a root of Debian")
	}
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Skip("debootstrap is not installed")
	}
}

// overlay is a clean root of Debian that can be written to.
func overlay(t *testing.T) (root string) {
	t.Helper()
	base := sh(t, "../root trixie")
	dir := t.TempDir()
	root = dir + "/root"
	sh(t, `mkdir "$dir/root" "$dir/over" && mount -t tmpfs tmpfs "$dir/over" && mkdir "$dir/over/upper" "$dir/over/work" &&
		mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/over/upper,workdir=$dir/over/work" "$dir/root"`, "dir="+dir, "base="+base)
	t.Cleanup(func() { sh(t, `umount "$dir/root" && umount "$dir/over"`, "dir="+dir) })
	return root
}

func TestRelease(t *testing.T) {
	one, two := checkout(t), checkout(t)
	build := `cd "$tree" && umask "$mask" && release/build --out "$tree/dist" amd64 >/dev/null && cat dist/SHA256SUMS`
	sums := sh(t, build, "tree="+one, "mask=022", "TZ=UTC")
	if again := sh(t, build, "tree="+two, "mask=077", "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8"); again != sums {
		t.Errorf("two checkouts of one commit:\n%s\n%s", sums, again)
	}
	dist := one + "/dist/"
	t.Run("tarball", func(t *testing.T) { tarball(t, dist+"gracekit-1.2.3-linux-amd64.tar.xz") })
	t.Run("deb", func(t *testing.T) { deb(t, dist+"gracekit_1.2.3_amd64.deb") })
	t.Run("rpm", func(t *testing.T) { rpm(t, dist+"gracekit-1.2.3-1.x86_64.rpm") })
	t.Run("apk", func(t *testing.T) { apk(t, dist+"gracekit_1.2.3_x86_64.apk") })
}

// The tarball has every program and page, is root's, and its programs are static.
func tarball(t *testing.T, file string) {
	sh(t, `
		[ -z "$(tar -tvJf "$file" | grep -v ' 0/0 .* 2023-11-14 ')" ] # owner and time
		[ -z "$(tar -tJf "$file" | grep '/$' | grep -v gracekit)" ] # folders of the image
		tar -C "$dir" -xJf "$file"
		for name in $(ls ../../cmd); do
			[ "$("$dir/usr/bin/$name" --version)" = "$name 1.2.3" ]
			[ -e "$dir/usr/share/man/man8/$name.8" ]
		done
		ldd "$dir/usr/bin/gracewatch" 2>&1 | grep 'not a dynamic executable'`,
		"file="+file, "dir="+t.TempDir())
}

// Installed, upgraded and removed in a clean root; nothing is left and nothing was started.
func deb(t *testing.T, file string) {
	needRoot(t)
	sh(t, `
		list() { (cd "$root" && find usr etc -type f ! -path 'usr/share/doc/*' | sort); }
		before=$(list)
		cp "$file" "$root/one.deb"
		chroot "$root" dpkg -i /one.deb
		[ "$(chroot "$root" svpid --version)" = 'svpid 1.2.3' ]
		[ -d "$root/usr/share/gracekit/runit" ]
		[ -d "$root/usr/share/gracekit/s6" ]

		# An upgrade removes a program that the new version does not have.
		mkdir "$root/new"
		dpkg-deb -R "$file" "$root/new"
		rm -f "$root/new/DEBIAN/conffiles" "$root/new/usr/bin/rssprobe"
		sed -i 's/^Version: .*/Version: 1.2.4/' "$root/new/DEBIAN/control"
		dpkg-deb -b "$root/new" "$root/two.deb"
		chroot "$root" dpkg -i /two.deb
		[ ! -e "$root/usr/bin/rssprobe" ]

		chroot "$root" dpkg -r gracekit
		[ "$(list)" = "$before" ]`,
		"file="+file, "root="+overlay(t))
}

// Installed and removed by the real rpm in an empty root.
func rpm(t *testing.T, file string) {
	if _, err := exec.LookPath("rpm"); err != nil || os.Geteuid() != 0 {
		t.Skip("rpm is not installed, or not root")
	}
	sh(t, `
		rpm --root "$root" --initdb
		rpm --root "$root" -i --nodeps --ignorearch "$file"
		for name in $(ls ../../cmd); do
			[ -e "$root/usr/bin/$name" ]
		done
		rpm --root "$root" -e gracekit
		[ -z "$(find "$root/usr" -type f)" ]`,
		"file="+file, "root="+t.TempDir())
}

// There is no apk-tools here: the structure of the package, as apk-package(5) has it.
func apk(t *testing.T, file string) {
	sh(t, `
		info=$(tar -xzOf "$file" .PKGINFO)
		for line in 'pkgname = gracekit' 'pkgver = 1.2.3' 'arch = x86_64'; do
			echo "$info" | grep -x "$line"
		done
		files=$(tar -tzf "$file")
		for name in $(ls ../../cmd); do
			echo "$files" | grep -x "usr/bin/$name"
		done`,
		"file="+file)
}

// An install under a prefix, an install over it, an uninstall that leaves nothing.
func TestInstall(t *testing.T) {
	sh(t, `
		list() { (cd "$DESTDIR" && find . -printf '%m %P\n' | sort); }
		mkdir -p "$DESTDIR/opt/kit/bin"
		touch "$DESTDIR/opt/kit/bin/other"
		before=$(list)
		../../install.sh --prefix /opt/kit
		../../install.sh --prefix /opt/kit | grep 'next, read /opt/kit/share/doc/gracekit/README.md'
		[ -x "$DESTDIR/opt/kit/bin/svpid" ]
		../../install.sh --uninstall --prefix /opt/kit
		[ "$(list)" = "$before" ]`,
		"DESTDIR="+t.TempDir())
}

// refused is a function for scripts: a command must exit with that code and print one line, which is in $said then.
const refused = `refused() {
	want=$1
	shift
	code=0
	said=$("$@" 2>&1) || code=$?
	[ "$code" = "$want" ]
	[ "$(echo "$said" | wc -l)" = 1 ]
}
`

func TestInstallRefuses(t *testing.T) {
	sh(t, refused+`
		refused 100 ../../install.sh --prefix relative
		refused 100 ../../install.sh --what
		refused 1 ../../install.sh --uninstall --prefix /nonexistent`)
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	sh(t, refused+`
		mkdir "$dir/prefix"
		tar -C ../.. -c install.sh go.mod release | tar -x -C "$dir"
		chmod 755 "$dir/prefix" "$dir" "$dir/.."
		refused 111 setpriv --reuid=65534 --regid=65534 --clear-groups "$dir/install.sh" --prefix "$dir/prefix"
		echo "$said" | grep 'not writable'

		# A manifest that another user owns: root removes nothing by it.
		mkdir -p "$dir/own/share/gracekit"
		touch "$dir/victim"
		echo "$dir/own/../victim" >"$dir/own/share/gracekit/manifest"
		chown -R 65534 "$dir/own"
		refused 111 ../../install.sh --uninstall --prefix "$dir/own"
		[ -e "$dir/victim" ]`,
		"dir="+t.TempDir())
}
