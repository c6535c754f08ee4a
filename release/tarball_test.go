package main

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	commitTime = 1700000000
	noarch     = "gracekit-s6-overlay-noarch.tar.xz"
)

// checkout makes a repository of one commit out of the working tree, and returns its folder.
func checkout(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "source")
	files := must(t, exec.Command("git", "-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard"))
	for file := range strings.SplitSeq(strings.TrimSuffix(files, "\x00"), "\x00") {
		if info, err := os.Stat("../" + file); err == nil { // a file may have been removed
			text, err := os.ReadFile("../" + file)
			if err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, file), string(text), info.Mode().Perm())
		}
	}
	if _, err := os.Stat(dir + "/s6/s6-overlay"); err != nil {
		put(t, dir+"/s6/s6-overlay/etc/s6-overlay/s6-rc.d/svc-stub/type", "longrun\n", 0o644)
	}
	must(t, sh(`cd "$dir" && git init -q && git add . && git -c user.name=t -c user.email=t@t commit -qm one`,
		"dir="+dir, "GIT_COMMITTER_DATE=1700000000 +0000", "GIT_AUTHOR_DATE=1700000000 +0000"))
	return dir
}

func put(t *testing.T, file, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func sh(script string, env ...string) *exec.Cmd {
	c := exec.Command("sh", "-euc", script)
	c.Env = append(os.Environ(), env...)
	return c
}

func must(t *testing.T, c *exec.Cmd) (stdout string) {
	t.Helper()
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", c.Args, err, out, stderr.String())
	}
	return string(out)
}

// install makes a command that runs dir's install.sh in a folder of its own.
func install(t *testing.T, dir, args string, env ...string) *exec.Cmd {
	c := exec.Command("sh", "-c", dir+"/install.sh "+args)
	c.Dir = t.TempDir()
	c.Env = append(os.Environ(), env...)
	return c
}

// An entry of a tar, with its content.
type entry struct {
	tar.Header
	content []byte
}

// entries reads a tarball.
func entries(t *testing.T, file string) (all []entry) {
	t.Helper()
	r := tar.NewReader(strings.NewReader(must(t, exec.Command("xz", "-dc", file))))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entry{*h, content})
	}
}

// promised is what has to be in the tarball of programs: the files of the tree, where an install puts them under /usr.
func promised(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		room, _, inRoom := strings.Cut(name, "/")
		base, in := filepath.Base(name), filepath.Dir(name)
		switch {
		case room == ".git":
			return fs.SkipDir
		case in == "cmd":
			names = append(names, "./usr/bin/"+base)
		case e.IsDir() || room == "test" || room == "release":
		case strings.HasSuffix(base, ".8"):
			names = append(names, "./usr/share/man/man8/"+base)
		case in == "lib/ruby":
			names = append(names, "./usr/share/gracekit/ruby/"+base)
		case room == "runit" || room == "s6":
			names = append(names, "./usr/share/gracekit/"+name)
		case !inRoom && 'A' <= base[0] && base[0] <= 'Z':
			names = append(names, "./usr/share/doc/gracekit/"+base)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Two checkouts of one commit, by two people who have set all sorts of things: the same bytes. And for each
// machine: static programs for it, all that the install has, root's, and no folder that is the image's.
func TestTarballs(t *testing.T) {
	t.Parallel()
	one := checkout(t)
	two := filepath.Join(t.TempDir(), "elsewhere", "two")
	must(t, sh(`umask 077; git clone -q "$from" "$to"; cd "$to"; touch -t 200001010000 install.sh lib/ruby/* cmd/*`, "from="+one, "to="+two))
	plain := t.TempDir() // what was released as a source tarball, in somebody else's repository
	must(t, sh(`cd "$plain"; git init -q; git -c user.name=t -c user.email=t@t commit --allow-empty -qm other; mkdir gracekit
	git -C "$from" archive HEAD | tar -C gracekit -xf -`, "plain="+plain, "from="+one))
	goenv := filepath.Join(t.TempDir(), "goenv")
	put(t, goenv, "GOFLAGS=-tags=other\nGOAMD64=v2\n", 0o644)

	// How small they get is not what the last two are for, and most of the time that they take.
	hasty := t.TempDir()
	xz, err := exec.LookPath("xz")
	if err != nil {
		t.Fatal(err)
	}
	put(t, hasty+"/xz", "#!/bin/sh\nexec "+xz+" \"$@\" -0\n", 0o755)
	hastily := "PATH=" + hasty + ":" + os.Getenv("PATH")
	builds := []*exec.Cmd{
		install(t, one, "--tarball x86_64", "TZ=UTC"),
		install(t, two, "--tarball=x86_64", "TZ=Asia/Tokyo", "LC_ALL=tr_TR.UTF-8", "GOENV="+goenv, "GOFLAGS=-gcflags=all=-N",
			"GOAMD64=v3", "GOOS=windows", "GOARCH=386", "XZ_OPT=-0", "XZ_DEFAULTS=-9 -T2", "CGO_ENABLED=1"),
		install(t, one, "--tarball aarch64", hastily, "SOURCE_DATE_EPOCH=1234567890"),
		install(t, plain+"/gracekit", "--tarball armhf", hastily),
	}
	for _, c := range builds {
		c.Stderr = new(bytes.Buffer)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range builds {
		if err := c.Wait(); err != nil || c.Stderr.(*bytes.Buffer).Len() > 0 {
			t.Errorf("%v: %v\n%s", c.Args, err, c.Stderr)
		}
		if made, _ := os.ReadDir(c.Dir); len(made) != 2 {
			t.Errorf("want the two tarballs, and nothing else: %v", made)
		}
	}
	if t.Failed() {
		return
	}
	first, second := builds[0].Dir+"/gracekit-x86_64.tar.xz", builds[1].Dir+"/gracekit-x86_64.tar.xz"
	arm64, arm := builds[2].Dir+"/gracekit-aarch64.tar.xz", builds[3].Dir+"/gracekit-armhf.tar.xz"
	for _, name := range []string{filepath.Base(first), noarch} {
		a, _ := os.ReadFile(filepath.Dir(first) + "/" + name)
		b, _ := os.ReadFile(filepath.Dir(second) + "/" + name)
		if len(a) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s: two builds of one commit are not the same bytes: %s, %s", name, first, second)
		}
	}

	want := promised(t, one)
	for _, c := range []struct {
		file, setting string
		machine       elf.Machine
		mtime         int64
	}{
		{first, "GOAMD64=v1", elf.EM_X86_64, commitTime},
		{arm64, "GOARM64=v8.0", elf.EM_AARCH64, 1234567890},
		{arm, "GOARM=6", elf.EM_ARM, 0},
	} {
		t.Run(filepath.Base(c.file), func(t *testing.T) {
			all := entries(t, c.file)
			judge(t, all, c.mtime)
			var names []string
			for _, e := range all {
				if e.Typeflag != tar.TypeDir {
					names = append(names, e.Name)
				}
				if prefix := []byte("/usr/local/share"); bytes.Contains(e.content, prefix) {
					t.Errorf("%s speaks of %s", e.Name, prefix)
				}
				if cmd, inBin := strings.CutPrefix(e.Name, "./usr/bin/"); inBin {
					program(t, e, slices.Contains(commands(t), cmd), c.machine, c.setting)
				}
			}
			slices.Sort(want)
			slices.Sort(names)
			if !slices.Equal(names, want) {
				t.Errorf("has %v\nwant %v", names, want)
			}
		})
		t.Run(filepath.Base(c.file)+" noarch", func(t *testing.T) {
			all := entries(t, filepath.Dir(c.file)+"/"+noarch)
			judge(t, all, c.mtime)
			for _, e := range all {
				if !strings.HasPrefix(e.Name, "./etc/") {
					t.Errorf("%s: only /etc is configured", e.Name)
				}
			}
		})
	}
	version := must(t, exec.Command("git", "-C", one, "rev-parse", "--short=10", "HEAD"))
	for _, tar := range []string{"tar", "busybox tar"} {
		t.Run(tar, func(t *testing.T) { extracted(t, tar, first, strings.TrimSpace(version)) })
	}
}

func commands(t *testing.T) (names []string) {
	dirs, err := os.ReadDir("../cmd")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		names = append(names, d.Name())
	}
	return names
}

// judge: everything is root's, as old as it should be, writable for root alone, and the folders are ours.
func judge(t *testing.T, all []entry, mtime int64) {
	t.Helper()
	if len(all) == 0 {
		t.Error("it is empty")
	}
	for _, e := range all {
		if e.Uid != 0 || e.Gid != 0 || e.Uname+e.Gname != "" {
			t.Errorf("%s: is not root's: %d:%d %s:%s", e.Name, e.Uid, e.Gid, e.Uname, e.Gname)
		}
		if !e.ModTime.Equal(time.Unix(mtime, 0)) {
			t.Errorf("%s: is of %v, want %v", e.Name, e.ModTime, time.Unix(mtime, 0))
		}
		base := filepath.Base(e.Name)
		switch mode := e.FileInfo().Mode(); {
		case e.Typeflag == tar.TypeDir:
			if mode.Perm() != 0o755 || !strings.Contains(e.Name, "gracekit") && !strings.Contains(e.Name, "/svc-") {
				t.Errorf("%s: folder of mode %v", e.Name, mode)
			}
		case strings.HasPrefix(e.Name, "./usr/bin/") || base == "run" || base == "finish":
			if mode != 0o755 {
				t.Errorf("%s: %v, want 0755", e.Name, mode)
			}
		default:
			if mode != 0o644 {
				t.Errorf("%s: %v, want 0644", e.Name, mode)
			}
		}
	}
}

// program: what is in /usr/bin runs on that machine, or in its shell, and needs nothing else.
func program(t *testing.T, e entry, compiled bool, machine elf.Machine, setting string) {
	t.Helper()
	if !compiled {
		if !bytes.HasPrefix(e.content, []byte("#!/bin/sh\n")) {
			t.Errorf("%s is no script", e.Name)
		}
		return
	}
	f, err := elf.NewFile(bytes.NewReader(e.content))
	if err != nil {
		t.Errorf("%s: %v", e.Name, err)
		return
	}
	if f.Machine != machine {
		t.Errorf("%s is for %v, want %v", e.Name, f.Machine, machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s is not static: it has %v", e.Name, p.Type)
		}
	}
	info, err := buildinfo.Read(bytes.NewReader(e.content))
	if err != nil {
		t.Errorf("%s: %v", e.Name, err)
		return
	}
	if !slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key+"="+s.Value == setting }) {
		t.Errorf("%s: want %s: %v", e.Name, setting, info.Settings)
	}
}

// extracted: at / of an image whose folders are as it wants them, they stay so, and the programs run.
func extracted(t *testing.T, tar, file, version string) {
	root := t.TempDir()
	must(t, sh(`cd "$root"; mkdir -p usr/bin usr/share opt/man etc; chmod 0711 usr usr/bin; ln -s ../../opt/man usr/share/man`, "root="+root))
	for _, f := range []string{file, filepath.Dir(file) + "/" + noarch} {
		must(t, sh("umask 022; "+tar+` -C "$root" -Jxpf "$file"`, "root="+root, "file="+f))
	}
	for path, want := range map[string]fs.FileMode{"usr": 0o711, "usr/bin": 0o711, "usr/share/gracekit/runit/sidekiq": 0o755, "usr/bin/svpid": 0o755} {
		if info, err := os.Stat(root + "/" + path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
	if _, err := os.Stat(root + "/opt/man/man8/svpid.8"); err != nil {
		t.Error("the image's link is no link any more:", err)
	}
	for _, command := range []string{"svpid --version", "gracewatch --help", "graceful-restart --help", "memory-killer --help", "svpid 1"} {
		c := exec.Command("sh", "-c", command)
		c.Env = []string{"PATH=" + root + "/usr/bin:/bin"}
		if out := must(t, c); command == "svpid --version" && !strings.Contains(out, version) {
			t.Errorf("%s printed %q, want %s", command, out, version)
		}
	}
}

// A tarball that cannot be made is none: the reason in one line, and nothing in the folder.
func TestNoTarball(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	nogit := checkout(t)
	if err := os.RemoveAll(nogit + "/.git"); err != nil {
		t.Fatal(err)
	}
	put(t, nogit+"/.git", "gitdir: /nonexistent\n", 0o644)
	// Programs that fail half way. This go knows only the questions that come first.
	bin := t.TempDir()
	put(t, bin+"/go/go", "#!/bin/sh\ncase $1 in env) echo go1.999 ;; *) echo 'go: broken' >&2; exit 3 ;; esac\n", 0o755)
	put(t, bin+"/xz/xz", "#!/bin/sh\n[ $# = 2 ] || { echo half; echo 'xz: broken' >&2; exit 4; }\n", 0o755)
	put(t, bin+"/xz/go", `#!/bin/sh
case $1 in env) echo go1.999 ;; build) while [ "$1" != -o ]; do shift; done; case $2 in */) touch "$2/svpid" ;; *) ln -s /bin/echo "$2" ;; esac ;; esac
`, 0o755)
	put(t, bin+"/noxz/xz", "#!/bin/sh\necho \"xz: unknown option -- T\" >&2; exit 1\n", 0o755) // busybox's

	for _, c := range []struct {
		args, env, says string
		code            int
	}{
		{"--tarball", "", "--tarball: for what? (x86_64, aarch64, armhf)", 100},
		{"--tarball i386", "", `--tarball: "i386" is none of x86_64, aarch64, armhf`, 100},
		{"--tarball=", "", `--tarball: "" is none of x86_64, aarch64, armhf`, 100},
		{"--tarball amd64", "", `--tarball: "amd64" is none of x86_64, aarch64, armhf`, 100},
		{"--tarball x86_64 --demo", "", "--tarball and --demo: only one of them", 100},
		{"--uninstall --tarball x86_64", "", "--uninstall and --tarball: only one of them", 100},
		{"--tarball x86_64 --prefix /opt", "", "no --prefix", 100},
		{"--prefix=/usr --tarball x86_64", "", "no --prefix", 100},
		{"--tarball x86_64", "DESTDIR=/tmp/pkg", "no DESTDIR", 100},
		{"--tarball x86_64", "SOURCE_DATE_EPOCH=today", `SOURCE_DATE_EPOCH: "today" is no number of seconds`, 100},
		{"--tarball x86_64", "PATH=" + bin + "/noxz:" + os.Getenv("PATH"), "XZ Utils are needed", 111},
		{"--tarball x86_64", "PATH=" + bin + "/go:" + os.Getenv("PATH"), "go: broken", 3},
		{"--tarball x86_64", "PATH=" + bin + "/xz:" + os.Getenv("PATH"), "xz: broken", 4},
	} {
		t.Run(c.args+" "+c.env, func(t *testing.T) {
			t.Parallel()
			cmd := install(t, dir, c.args, c.env)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, _ := cmd.Output()
			if code := cmd.ProcessState.ExitCode(); code != c.code || len(out) > 0 {
				t.Errorf("exit %d, want %d; stdout %q", code, c.code, out)
			}
			if text := stderr.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, c.says) {
				t.Errorf("want one line with %q: %s", c.says, text)
			}
			if left, _ := os.ReadDir(cmd.Dir); len(left) > 0 {
				t.Errorf("left in the folder: %v", left)
			}
		})
	}
	t.Run("a repository that git refuses", func(t *testing.T) {
		cmd := install(t, nogit, "--tarball x86_64")
		if text, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 111 || !strings.Contains(string(text), "git does not tell") {
			t.Errorf("exit %d: %s", cmd.ProcessState.ExitCode(), text)
		}
	})
}
