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
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAProgramIsFoundAsExecvpFindsIt(t *testing.T) {
	good, other := folder(t, 0o755, "prog", "sub"), folder(t, 0o755, "prog", "another")
	bad := folder(t, 0o644, "prog")
	withDir := t.TempDir()
	if err := os.Mkdir(filepath.Join(withDir, "prog"), 0o755); err != nil {
		t.Fatal(err)
	}
	here := folder(t, 0o755, "prog", "local")
	t.Chdir(here)
	if err := os.Symlink(filepath.Join(good, "nothing"), filepath.Join(here, "broken")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, prog string
		file       string
		code       int
	}{
		{good, "prog", good + "/prog", Continue},
		{good + ":" + other, "prog", good + "/prog", Continue},
		{good + ":" + other, "another", other + "/another", Continue},
		{"/nonexistent:" + good, "prog", good + "/prog", Continue},
		{good + "/sub:" + good, "prog", good + "/prog", Continue}, // an entry that is no folder
		{good, "missing", "", NotFound},
		{"", "local", "./local", Continue}, // an empty PATH is an empty entry
		{":" + good, "prog", "./prog", Continue},
		{good + ":", "prog", good + "/prog", Continue},
		{"/nonexistent:", "local", "./local", Continue},
		{"/nonexistent::" + good, "prog", "./prog", Continue},
		{".", "local", "./local", Continue},
		{".:" + good, "prog", "./prog", Continue},
		{good, "local", "", NotFound}, // the current folder only where PATH says so
		{bad + ":" + good, "prog", good + "/prog", Continue},
		{bad, "prog", "", CannotRun},
		{bad + ":/nonexistent", "prog", "", CannotRun},
		{withDir + ":" + good, "prog", good + "/prog", Continue},
		{withDir, "prog", "", CannotRun},
		{good, ".", "", CannotRun},
		{good, "..", "", CannotRun},
		{good, "", "", NotFound},
		{"", "", "", NotFound},
		{good, "./local", "./local", Continue}, // a slash: PATH means nothing
		{good, "./missing", "./missing", NotFound},
		{good, good + "/prog", good + "/prog", Continue},
		{good, bad + "/prog", bad + "/prog", CannotRun},
		{good, withDir + "/prog", withDir + "/prog", CannotRun},
		{good, "/", "/", CannotRun},
		{good, good + "/prog/", good + "/prog/", NotFound},
		{good, "./broken", "./broken", NotFound},
	} {
		t.Setenv("PATH", c.path)
		file, code, err := Find(c.prog)
		if file != c.file && c.code == Continue || code != c.code || (err == nil) != (code == Continue) {
			t.Errorf("PATH=%s %q: %q, %d, %v; not %q, %d", c.path, c.prog, file, code, err, c.file, c.code)
		}
		if err != nil && !strings.Contains(err.Error(), c.prog) {
			t.Errorf("%q is not named: %v", c.prog, err)
		}
	}
}

func TestWithoutPATHItIsLookedForInBin(t *testing.T) {
	t.Setenv("PATH", "") // what Setenv puts back afterwards
	if err := os.Unsetenv("PATH"); err != nil {
		t.Fatal(err)
	}
	if file, code, err := Find("sh"); file != "/bin/sh" || code != Continue || err != nil {
		t.Errorf("%q, %d, %v", file, code, err)
	}
	t.Chdir(folder(t, 0o755, "local"))
	if file, code, err := Find("local"); code != NotFound {
		t.Errorf("%q, %d, %v", file, code, err)
	}
}

func TestOurProgramsFindEachOtherBesideThemselves(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	beside := filepath.Join(filepath.Dir(self), "gracekit-test-beside")
	if err := os.WriteFile(beside, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(beside)
	first := folder(t, 0o755, "gracekit-test-beside")
	for path, want := range map[string]string{"/usr/bin:/bin": beside, "": beside, first: first + "/gracekit-test-beside"} {
		t.Setenv("PATH", path)
		if file, code, err := Find("gracekit-test-beside"); file != want || code != Continue || err != nil {
			t.Errorf("PATH=%s: %q, %d, %v; not %q", path, file, code, err, want)
		}
	}
	if err := os.Unsetenv("PATH"); err != nil {
		t.Fatal(err)
	}
	if file, code, err := Find("gracekit-test-beside"); file != beside || code != Continue || err != nil {
		t.Errorf("without PATH: %q, %d, %v", file, code, err)
	}
}

func TestWhatCannotBeReachedIsNoProgram(t *testing.T) {
	long := strings.Repeat("x", 300) // ENAMETOOLONG
	if _, code, err := Find(long); code != NotFound && code != CannotRun || err == nil {
		t.Errorf("%d, %v", code, err)
	}
	if _, code, err := Find("pr\x00og"); code == Continue || err == nil {
		t.Errorf("%d, %v", code, err)
	}
}
