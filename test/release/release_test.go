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

// sh runs a script and returns what it prints.
func sh(t *testing.T, script string, env ...string) string {
	t.Helper()
	c := exec.Command("sh", "-euc", script)
	c.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s%s", err, script, out, stderr.String())
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

// programs are the folders of cmd.
func programs(t *testing.T) []string {
	t.Helper()
	return strings.Fields(sh(t, "ls ../../cmd"))
}

// The tarball has every program and page, is root's, and its programs are static.
func tarball(t *testing.T, file string) {
	dir := t.TempDir()
	listing := sh(t, `tar -tvJf "$file"`, "file="+file)
	for line := range strings.Lines(listing) {
		if !strings.Contains(line, " 0/0 ") || !strings.Contains(line, " 2023-11-14 ") {
			t.Errorf("owner or time: %s", line)
		}
		if name := strings.Fields(line)[5]; strings.HasSuffix(name, "/") && !strings.Contains(name, "gracekit") {
			t.Errorf("a folder of the image: %s", name)
		}
	}
	sh(t, `tar -C "$dir" -xJf "$file"`, "dir="+dir, "file="+file)
	for _, name := range programs(t) {
		if version := sh(t, dir+"/usr/bin/"+name+" --version"); version != name+" 1.2.3" {
			t.Errorf("%s --version: %q", name, version)
		}
		if _, err := os.Stat(dir + "/usr/share/man/man8/" + name + ".8"); err != nil {
			t.Error(err)
		}
	}
	if out := sh(t, `file=$dir/usr/bin/gracewatch; ldd "$file" 2>&1 || :`, "dir="+dir); !strings.Contains(out, "not a dynamic executable") {
		t.Errorf("gracewatch is not static: %s", out)
	}
}

// Installed, upgraded and removed in a clean root; nothing is left and nothing was started.
func deb(t *testing.T, file string) {
	needRoot(t)
	root := overlay(t)
	before := sh(t, `cd "$root" && find usr etc -type f ! -path 'usr/share/doc/*' | sort`, "root="+root)
	sh(t, `cp "$file" "$root/one.deb" && chroot "$root" dpkg -i /one.deb`, "root="+root, "file="+file)
	if out := sh(t, `chroot "$root" svpid --version`, "root="+root); out != "svpid 1.2.3" {
		t.Errorf("installed: %q", out)
	}
	if out := sh(t, `ls "$root/usr/share/gracekit"`, "root="+root); !strings.Contains(out, "runit") || !strings.Contains(out, "s6") {
		t.Errorf("service directories: %q", out)
	}
	sh(t, `mkdir "$root/new" && dpkg-deb -R "$file" "$root/new" && rm -f "$root/new/DEBIAN/conffiles" && sed -i 's/^Version: .*/Version: 1.2.4/' "$root/new/DEBIAN/control" &&
		rm "$root/new/usr/bin/rssprobe" && dpkg-deb -b "$root/new" "$root/two.deb" >/dev/null && chroot "$root" dpkg -i /two.deb`, "root="+root, "file="+file)
	if _, err := os.Stat(root + "/usr/bin/rssprobe"); err == nil {
		t.Error("the upgrade left a program that the new version does not have")
	}
	sh(t, `chroot "$root" dpkg -r gracekit`, "root="+root)
	if after := sh(t, `cd "$root" && find usr etc -type f ! -path 'usr/share/doc/*' | sort`, "root="+root); after != before {
		t.Errorf("the removal left:\n%s", after)
	}
}

// Installed and removed by the real rpm in an empty root.
func rpm(t *testing.T, file string) {
	if _, err := exec.LookPath("rpm"); err != nil || os.Geteuid() != 0 {
		t.Skip("rpm is not installed, or not root")
	}
	root := t.TempDir()
	sh(t, `rpm --root "$root" --initdb && rpm --root "$root" -i --nodeps --ignorearch "$file"`, "root="+root, "file="+file)
	for _, name := range programs(t) {
		if _, err := os.Stat(root + "/usr/bin/" + name); err != nil {
			t.Error(err)
		}
	}
	sh(t, `rpm --root "$root" -e gracekit`, "root="+root)
	if left := sh(t, `cd "$root" && find usr -type f 2>/dev/null || :`, "root="+root); left != "" {
		t.Errorf("the removal left:\n%s", left)
	}
}

// There is no apk-tools here: the structure of the package, as apk-package(5) has it.
func apk(t *testing.T, file string) {
	info := sh(t, `tar -xzOf "$file" .PKGINFO 2>/dev/null`, "file="+file)
	for _, line := range []string{"pkgname = gracekit", "pkgver = 1.2.3", "arch = x86_64"} {
		if !strings.Contains(info+"\n", line+"\n") {
			t.Errorf("no %q in\n%s", line, info)
		}
	}
	files := sh(t, `tar -tzf "$file" 2>/dev/null`, "file="+file)
	for _, name := range programs(t) {
		if !strings.Contains(files, "usr/bin/"+name+"\n") {
			t.Errorf("no %s in the package", name)
		}
	}
}

// An install under a prefix, an install over it, an uninstall that leaves nothing.
func TestInstall(t *testing.T) {
	dest := t.TempDir()
	sh(t, `mkdir -p "$DESTDIR/opt/kit/bin" && touch "$DESTDIR/opt/kit/bin/other"`, "DESTDIR="+dest)
	before := sh(t, `cd "$DESTDIR" && find . -printf '%m %P\n' | sort`, "DESTDIR="+dest)
	said := sh(t, `../../install.sh --prefix /opt/kit && ../../install.sh --prefix /opt/kit`, "DESTDIR="+dest)
	if !strings.Contains(said, "next, read /opt/kit/share/doc/gracekit/README.md") {
		t.Errorf("its last line does not say what to read next: %q", said)
	}
	if _, err := os.Stat(dest + "/opt/kit/bin/svpid"); err != nil {
		t.Error(err)
	}
	sh(t, `../../install.sh --uninstall --prefix /opt/kit`, "DESTDIR="+dest)
	if after := sh(t, `cd "$DESTDIR" && find . -printf '%m %P\n' | sort`, "DESTDIR="+dest); after != before {
		t.Errorf("the uninstall left:\n%s\nwant:\n%s", after, before)
	}
}

// refused runs install.sh, which must exit with that code and print one line.
func refused(t *testing.T, code, script string, env ...string) string {
	t.Helper()
	out := sh(t, `code=0; said=$(`+script+` 2>&1) || code=$?; echo "$code"; echo "$said"`, env...)
	got, said, _ := strings.Cut(out, "\n")
	if got != code || strings.Contains(said, "\n") {
		t.Errorf("%s: exit %s: %q", script, got, said)
	}
	return said
}

func TestInstallRefuses(t *testing.T) {
	refused(t, "100", `../../install.sh --prefix relative`)
	refused(t, "100", `../../install.sh --what`)
	refused(t, "1", `../../install.sh --uninstall --prefix /nonexistent`)
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir := t.TempDir()
	sh(t, `mkdir "$dir/prefix" && chmod 755 "$dir/prefix" && tar -C ../.. -c install.sh go.mod release | tar -x -C "$dir" && chmod 755 "$dir" "$dir/.." `, "dir="+dir)
	if said := refused(t, "111", `setpriv --reuid=65534 --regid=65534 --clear-groups "$dir/install.sh" --prefix "$dir/prefix"`, "dir="+dir); !strings.Contains(said, "not writable") {
		t.Errorf("%q", said)
	}
	// A manifest that another user owns: root removes nothing by it.
	sh(t, `mkdir -p "$dir/own/share/gracekit" && touch "$dir/victim" && echo "$dir/own/../victim" >"$dir/own/share/gracekit/manifest" && chown -R 65534 "$dir/own"`, "dir="+dir)
	refused(t, "111", `../../install.sh --uninstall --prefix "$dir/own"`, "dir="+dir)
	if _, err := os.Stat(dir + "/victim"); err != nil {
		t.Error(err)
	}
}
