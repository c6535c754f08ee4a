package s6rc

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tree is what the tarball for s6-overlay has; it is extracted at /.
const tree = "../../s6/s6-overlay"

func check(root string) []error {
	etc := filepath.Join(root, "etc/s6-overlay")
	return Check(filepath.Join(etc, "s6-rc.d"), filepath.Join(etc, "user-bundles.d"))
}

// The shipped definitions are what s6-rc-compile takes, and both services are started with the container.
func TestDefinitions(t *testing.T) {
	for _, err := range check(tree) {
		t.Error(err)
	}
	for _, name := range []string{"svc-sidekiq", "svc-sidekiq-memory-killer"} {
		for _, file := range []string{"s6-rc.d/" + name + "/dependencies.d/base", "user-bundles.d/user/contents.d/" + name} {
			if _, err := os.Stat(filepath.Join(tree, "etc/s6-overlay", file)); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(tree, "etc/s6-overlay/s6-rc.d/svc-sidekiq-memory-killer/dependencies.d/svc-sidekiq")); err != nil {
		t.Error(err)
	}
	// An image gets these, and nothing else.
	err := filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !strings.HasPrefix(path, tree+"/etc/s6-overlay/") {
			t.Errorf("%s: not for the root of an image", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// The shell of a script that with-contenv runs is not seen by its first line; the comment below tells shellcheck.
func TestScriptsAreCleanUnderShellcheck(t *testing.T) {
	scripts, err := filepath.Glob("../../s6/s6-overlay/etc/s6-overlay/s6-rc.d/*/*")
	plain, errPlain := filepath.Glob("../../s6/sidekiq*/*")
	logs, errLogs := filepath.Glob("../../s6/sidekiq*/log/run")
	if err != nil || errPlain != nil || errLogs != nil {
		t.Fatal(err, errPlain, errLogs)
	}
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("shellcheck is not installed: it is in Debian's package shellcheck")
	}
	checked := 0
	for _, file := range append(append(scripts, plain...), logs...) {
		if base := filepath.Base(file); base != "run" && base != "finish" {
			continue
		}
		checked++
		if err := isScript(file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if out, err := exec.Command("shellcheck", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	if checked != 10 {
		t.Errorf("%d scripts, want 10", checked)
	}
}

// Each fault in a copy is found, and is the only one.
func TestEachFaultIsFound(t *testing.T) {
	const sv = "etc/s6-overlay/s6-rc.d/svc-sidekiq/"
	const killer = "etc/s6-overlay/s6-rc.d/svc-sidekiq-memory-killer/"
	const user = "etc/s6-overlay/user-bundles.d/user/"
	write := func(file, text string, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			path := filepath.Join(root, file)
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			if err == nil {
				os.Remove(path)
				err = os.WriteFile(path, []byte(text), mode)
			}
			if err == nil {
				err = os.Chmod(path, mode)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(file string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			if err := os.RemoveAll(filepath.Join(root, file)); err != nil {
				t.Fatal(err)
			}
		}
	}
	both := func(changes ...func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			for _, change := range changes {
				change(t, root)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*testing.T, string)
		want   string // of its only fault; empty: it is none
	}{
		"no fault":                         {func(*testing.T, string) {}, ""},
		"an unknown type":                  {write(sv+"type", "service\n", 0o644), `type is "service"`},
		"a type of two lines":              {write(sv+"type", "longrun\noneshot\n", 0o644), `type is ""`},
		"no type":                          {remove(sv + "type"), `type is ""`},
		"no run":                           {remove(sv + "run"), "without run"},
		"a run that is not executable":     {write(sv+"run", "#!/bin/sh\n", 0o644), "want an executable file"},
		"a run that all can write":         {write(sv+"run", "#!/bin/sh\n", 0o777), "not everybody"},
		"a run without an interpreter":     {write(sv+"run", "exec true\n", 0o755), "first line"},
		"a run for bash":                   {write(sv+"run", "#!/command/with-contenv bash\n", 0o755), "first line"},
		"a run that shellcheck passes by":  {write(sv+"run", "#!/command/with-contenv sh\nexec true\n", 0o755), "shellcheck"},
		"a time that is no number":         {write(sv+"timeout-kill", "60s\n", 0o644), `"60s", want a number`},
		"a negative time":                  {write(sv+"timeout-kill", "-1\n", 0o644), "want a number"},
		"an empty number":                  {write(sv+"notification-fd", "", 0o644), "want a number"},
		"a signal that is none":            {write(sv+"down-signal", "TREM\n", 0o644), "want a signal"},
		"a signal":                         {write(sv+"down-signal", "SIGTERM\n", 0o644), ""},
		"a file that s6-rc does not know":  {write(sv+"timeout-stop", "1\n", 0o644), "knows no such file"},
		"a file of another type":           {write(sv+"up", "true\n", 0o755), "knows no such file"},
		"a dependency that is not there":   {write(sv+"dependencies.d/svc-redis", "", 0o644), `no service "svc-redis"`},
		"a dependency with text":           {write(sv+"dependencies.d/base", "base\n", 0o644), "no empty file"},
		"a dependency on itself":           {write(sv+"dependencies.d/svc-sidekiq", "", 0o644), "itself"},
		"a bundle entry without a service": {write(user+"contents.d/svc-sidekick", "", 0o644), `no service "svc-sidekick"`},
		"a bundle entry with text":         {write(user+"contents.d/svc-sidekiq", "yes", 0o644), "no empty file"},
		"the type of s6-overlay's bundle":  {write(user+"type", "bundle\n", 0o644), "s6-overlay has the type"},
		"another bundle":                   {write("etc/s6-overlay/user-bundles.d/mine/contents.d/svc-sidekiq", "", 0o644), "not one of"},
		"the old place of the user bundle": {write("etc/s6-overlay/s6-rc.d/user/contents.d/svc-sidekiq", "", 0o644), "hides what the image has"},
		"half a pipeline":                  {write(sv+"producer-for", "svc-sidekiq-memory-killer\n", 0o644), "no consumer-for"},
		"a pipeline into nothing":          {write(sv+"producer-for", "svc-log\n", 0o644), `no longrun "svc-log"`},
		"a pipeline": {both(write(sv+"producer-for", "svc-sidekiq-memory-killer\n", 0o644),
			write(killer+"consumer-for", "svc-sidekiq\n", 0o644), write(killer+"pipeline-name", "sidekiq\n", 0o644)), ""},
		"a pipeline named at its start": {both(write(sv+"producer-for", "svc-sidekiq-memory-killer\n", 0o644),
			write(killer+"consumer-for", "svc-sidekiq\n", 0o644), write(sv+"pipeline-name", "sidekiq\n", 0o644)), "for the last consumer"},
		"a oneshot": {both(write("etc/s6-overlay/s6-rc.d/init-shop/type", "oneshot\n", 0o644),
			write("etc/s6-overlay/s6-rc.d/init-shop/up", "/bin/true\n", 0o644)), ""},
		"a oneshot with run": {both(write("etc/s6-overlay/s6-rc.d/init-shop/type", "oneshot\n", 0o644),
			write("etc/s6-overlay/s6-rc.d/init-shop/up", "true\n", 0o644), write("etc/s6-overlay/s6-rc.d/init-shop/run", "#!/bin/sh\n", 0o755)), "knows no such file"},
		"a bundle": {both(write("etc/s6-overlay/s6-rc.d/shop/type", "bundle\n", 0o644),
			write("etc/s6-overlay/s6-rc.d/shop/contents.d/svc-sidekiq", "", 0o644)), ""},
		"a bundle without contents": {write("etc/s6-overlay/s6-rc.d/shop/type", "bundle\n", 0o644), "without contents.d"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			if out, err := exec.Command("cp", "-a", tree+"/.", root).CombinedOutput(); err != nil {
				t.Fatalf("cp: %s", out)
			}
			c.change(t, root)
			faults := check(root)
			switch {
			case c.want == "" && len(faults) > 0:
				t.Errorf("found %v, want nothing", faults)
			case c.want != "" && (len(faults) == 0 || !strings.Contains(faults[0].Error(), c.want)):
				t.Errorf("found %v, want %q", faults, c.want)
			case len(faults) > 1 && !strings.Contains(name, "old place"):
				t.Errorf("found %v, want one", faults)
			}
		})
	}
}

// The image's own place for the user bundle counts: the Dockerfile's line writes the old one where it is, and nowhere else;
// no other service of the image disappears, and where it cannot be done the build fails.
func TestTheDockerfileEntersTheUserBundleThatCounts(t *testing.T) {
	text, err := os.ReadFile("../../s6/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^RUN ((?:.*\\\n)*.*)$`).FindAllStringSubmatch(string(text), -1)
	if len(lines) != 1 {
		t.Fatalf("%d RUN lines, want one: %q", len(lines), lines)
	}
	const old = "etc/s6-overlay/s6-rc.d/user/"
	for name, c := range map[string]struct {
		has  []string // files of the image
		ok   bool
		want []string // the old place, afterwards
	}{
		"from 3.2.3.2 on":        {[]string{"etc/s6-overlay/user-bundles.d/user/type"}, true, nil},
		"before 3.2.3.2":         {[]string{old + "type", old + "contents.d/nginx"}, true, []string{"nginx", "svc-sidekiq", "svc-sidekiq-memory-killer"}},
		"from 3.2.3.2 on, old":   {[]string{"etc/s6-overlay/user-bundles.d/user/type", old + "type", old + "contents.d/nginx"}, true, []string{"nginx", "svc-sidekiq", "svc-sidekiq-memory-killer"}},
		"a bundle without a dir": {[]string{old + "type", old + "contents"}, false, nil}, // with a contents.d, s6-rc would read no contents
	} {
		root := t.TempDir()
		for _, file := range append(c.has, "etc/s6-overlay/s6-rc.d/svc-sidekiq/type") {
			path := filepath.Join(root, file)
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			if err == nil {
				err = os.WriteFile(path, nil, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		command := strings.ReplaceAll(lines[0][1], "/etc/s6-overlay", root+"/etc/s6-overlay")
		for _, shell := range [][]string{{"dash", "-c"}, {"busybox", "ash", "-c"}} {
			out, err := exec.Command(shell[0], append(shell[1:], command)...).CombinedOutput()
			if (err == nil) != c.ok {
				t.Errorf("%s, %s: %v\n%s", name, shell[0], err, out)
			}
		}
		entries, _ := filepath.Glob(filepath.Join(root, old, "contents.d/*"))
		var got []string
		for _, e := range entries {
			got = append(got, filepath.Base(e))
		}
		if strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s: the old place has %q, want %q", name, got, c.want)
		}
		if _, err := os.Stat(filepath.Join(root, old)); len(c.want) == 0 && c.ok && err == nil {
			t.Errorf("%s: the old place was made, and hides the new one", name)
		}
	}
}
