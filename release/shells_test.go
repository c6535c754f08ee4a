package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Under dash with Debian's tools and under ash with busybox's alone: an install, an install over it, an uninstall that
// leaves nothing, and tarballs, the same from both. Only go is a stand-in, for the programs.
func TestInstallUnderShells(t *testing.T) {
	t.Parallel()
	source := checkout(t)
	others := t.TempDir() // what busybox has not, or not enough of
	put(t, others+"/go", `#!/bin/sh
for last; do :; done
case $1,$last in
build,./release) exec "$REALGO" "$@" ;;
build,*) while [ "$1" != -o ]; do shift; done; echo program >"$2/svpid"; chmod 755 "$2/svpid" ;;
env,GOVERSION) echo go1.999 ;;
*) exec "$REALGO" "$@" ;;
esac
`, 0o755)
	for _, program := range []string{"git", "xz"} {
		file, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(file, others+"/"+program); err != nil {
			t.Fatal(err)
		}
	}
	applets := t.TempDir()
	must(t, exec.Command("busybox", "--install", "-s", applets))
	realGo, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}

	var trees, tarballs []string
	for _, shell := range []struct{ sh, path string }{
		{"/bin/dash", others + ":/usr/bin:/bin"},
		{applets + "/ash", others + ":" + applets},
	} {
		tree := filepath.Join(t.TempDir(), "source")
		must(t, exec.Command("cp", "-a", source, tree))
		must(t, exec.Command("sed", "-i", "1s|^#!/bin/sh|#!"+shell.sh+"|", tree+"/install.sh", tree+"/release/tarball"))
		env := []string{"PATH=" + shell.path, "HOME=" + os.Getenv("HOME"), "REALGO=" + realGo, "GOCACHE=" + goEnv(t, "GOCACHE"), "GOFLAGS="}
		run := func(dir, dest string, args ...string) {
			t.Helper()
			c := exec.Command(tree+"/install.sh", args...)
			c.Dir, c.Env = dir, append(env, "DESTDIR="+dest)
			var stderr bytes.Buffer
			c.Stderr = &stderr
			if out, err := c.Output(); err != nil || stderr.Len() > 0 {
				t.Errorf("%s install.sh %v: %v\n%s%s", shell.sh, args, err, out, stderr.String())
			}
		}
		dest := t.TempDir()
		put(t, dest+"/opt/kit/bin/other", "", 0o755)
		before := list(t, dest)
		run(tree, dest, "--prefix", "/opt/kit")
		if page := must(t, sh("cat "+dest+"/opt/kit/share/man/man8/memory-killer.8")); !strings.Contains(page, "Pa /opt/kit/share/gracekit/ruby/") {
			t.Errorf("%s: the page has another place for the job hook", shell.sh)
		}
		once := list(t, dest)
		run(tree, dest, "--prefix", "/opt/kit")
		if again := list(t, dest); again != once {
			t.Errorf("%s: the second install left %s", shell.sh, again)
		}
		if !strings.Contains(once, "/bin/svpid\n") || !strings.Contains(once, "/bin/memory-killer\n") {
			t.Errorf("%s: installed %s", shell.sh, once)
		}
		run(tree, dest, "--uninstall", "--prefix", "/opt/kit")
		if left := list(t, dest); left != before {
			t.Errorf("%s: the uninstall left %s", shell.sh, left)
		}
		here := t.TempDir()
		run(here, "", "--tarball", "armhf")
		tarball, _ := os.ReadFile(here + "/gracekit-armhf.tar.xz")
		trees, tarballs = append(trees, once), append(tarballs, string(tarball))
	}
	if trees[0] != trees[1] {
		t.Errorf("dash installs %s\nash installs %s", trees[0], trees[1])
	}
	if tarballs[0] == "" || tarballs[0] != tarballs[1] {
		t.Error("the tarballs of dash and ash are not the same bytes")
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(must(t, exec.Command("go", "env", name)))
}

// list is all that is in a folder, with its mode.
func list(t *testing.T, dir string) string {
	t.Helper()
	return must(t, sh(`cd "$dir" && find . -printf '%m %P\n' | sort -k 2`, "dir="+dir, "LC_ALL=C"))
}
