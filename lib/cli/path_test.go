package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder makes a folder with programs in it: 755, or what else is said.
func folder(t *testing.T, mode os.FileMode, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode))
	}
	return dir
}

func TestAProgramIsFoundAsExecvpFindsIt(t *testing.T) {
	good, other := folder(t, 0o755, "prog", "sub"), folder(t, 0o755, "prog", "another")
	bad := folder(t, 0o644, "prog")
	withDir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(withDir, "prog"), 0o755))
	here := folder(t, 0o755, "prog", "local")
	t.Chdir(here)
	must(t, os.Symlink(filepath.Join(good, "nothing"), filepath.Join(here, "broken")))
	for _, c := range []struct {
		path, prog string
		file       string
		code       int
	}{
		{good + ":" + other, "prog", good + "/prog", Yes},
		{good + ":" + other, "another", other + "/another", Yes},
		{"/nonexistent:" + good, "prog", good + "/prog", Yes},
		{good + "/sub:" + good, "prog", good + "/prog", Yes}, // an entry that is no folder
		{good, "missing", "", NotFound},
		{"", "local", "./local", Yes}, // an empty PATH is an empty entry
		{":" + good, "prog", "./prog", Yes},
		{"/nonexistent:", "local", "./local", Yes},
		{"/nonexistent::" + good, "prog", "./prog", Yes},
		{good, "local", "", NotFound}, // the current folder only where PATH says so
		{bad + ":" + good, "prog", good + "/prog", Yes},
		{bad, "prog", "", CannotRun},
		{bad + ":/nonexistent", "prog", "", CannotRun},
		{withDir + ":" + good, "prog", good + "/prog", Yes},
		{withDir, "prog", "", CannotRun},
		{good, "", "", NotFound},
		{good, "./local", "./local", Yes}, // a slash: PATH means nothing
		{good, "./missing", "./missing", NotFound},
		{good, bad + "/prog", bad + "/prog", CannotRun},
		{good, withDir + "/prog", withDir + "/prog", CannotRun},
		{good, "./broken", "./broken", NotFound},
		{good, strings.Repeat("x", 300), "", CannotRun}, // ENAMETOOLONG
	} {
		t.Setenv("PATH", c.path)
		file, err := Find(c.prog)
		if file != c.file && c.code == Yes || codeOf(err) != c.code {
			t.Errorf("PATH=%s %q: %q, %v; not %q, %d", c.path, c.prog, file, err, c.file, c.code)
		}
		if err != nil && !strings.Contains(err.Error(), c.prog) {
			t.Errorf("%q is not named: %v", c.prog, err)
		}
	}
}

func TestWithoutPATHItIsLookedForInBin(t *testing.T) {
	t.Setenv("PATH", "") // what Setenv puts back afterwards
	must(t, os.Unsetenv("PATH"))
	if file, err := Find("sh"); file != "/bin/sh" || err != nil {
		t.Errorf("%q, %v", file, err)
	}
	t.Chdir(folder(t, 0o755, "local"))
	if file, err := Find("local"); codeOf(err) != NotFound {
		t.Errorf("%q, %v", file, err)
	}
}

func TestOurProgramsFindEachOtherBesideThemselves(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	beside := filepath.Join(filepath.Dir(self), "gracekit-test-beside")
	must(t, os.WriteFile(beside, []byte("#!/bin/sh\n"), 0o755))
	defer os.Remove(beside)
	first := folder(t, 0o755, "gracekit-test-beside")
	for path, want := range map[string]string{"/usr/bin:/bin": beside, "": beside, first: first + "/gracekit-test-beside"} {
		t.Setenv("PATH", path)
		if file, err := Find("gracekit-test-beside"); file != want || err != nil {
			t.Errorf("PATH=%s: %q, %v; not %q", path, file, err, want)
		}
	}
	must(t, os.Unsetenv("PATH"))
	if file, err := Find("gracekit-test-beside"); file != beside || err != nil {
		t.Errorf("without PATH: %q, %v", file, err)
	}
}
