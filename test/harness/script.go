package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// ScriptMain runs the tests of a program, which is a command of their scripts, beside stand-ins for the processes that
// the programs are about.
func ScriptMain(m *testing.M, name string, program func()) {
	sweepIfAsked()
	testscript.Main(m, map[string]func(){
		name:         program,
		"sidekiq":    sidekiq,
		"standing":   standing,
		"end-target": endTarget,
	})
}

// Scripts runs testdata/*.txtar. Further commands are built from the packages of this module.
func Scripts(t *testing.T, packages ...string) {
	unix.Umask(0o022) // the scripts' files are pidfiles and service directories: what others may write is refused
	dir, stop, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	os.Setenv("GOTMPDIR", dir) // where testscript makes its folders
	bin := ""
	if len(packages) > 0 {
		bin = t.TempDir()
		if err := build(bin, packages); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Setup:              func(env *testscript.Env) error { return setup(env, bin) },
		Condition:          condition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start":      start,
			"note":       note,
			"send":       send,
			"signal":     signal,
			"wait-exit":  waitExit,
			"wait-for":   waitFor,
			"wait-gone":  waitGone,
			"wait-state": waitState,
			"wait-phase": waitPhase,
			"wait-poll":  waitPoll,
			"alive":      alive,
			"exits":      exits,
			"fatal":      fatal,
			"capture":    capture,
			"peak":       peak,
			"events":     events,
			"redis":      redis,
			"redis-cli":  redisCLI,
			"beat":       beat,
			"obey":       obey,
		},
	})
}

func setup(env *testscript.Env, bin string) error {
	if bin != "" {
		env.Setenv("PATH", env.Getenv("PATH")+string(filepath.ListSeparator)+bin)
	}
	env.Setenv(RunVariable, os.Getenv(RunVariable))
	env.Setenv("REPO", Repo())
	if env.Getenv("GORACE") == "" {
		env.Setenv("GORACE", "atexit_sleep_ms=0") // each exit takes a second otherwise
	}
	s := &stage{dir: env.WorkDir, children: map[string]*scriptChild{}}
	env.Values[stageKey{}] = s
	env.Defer(s.clear)
	return nil
}

// condition is what a script asks in brackets.
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// eventually waits until cond is true, and ends the script when that takes longer than Patience.
func eventually(ts *testscript.TestScript, what string, cond func() bool) {
	if !await(cond) {
		ts.Fatalf("after %v still not: %s", Patience, what)
	}
}

// arguments ends a script whose command has too few words.
func arguments(ts *testscript.TestScript, args []string, min int, usage string) {
	if len(args) < min {
		ts.Fatalf("usage: %s", usage)
	}
}

// exits CODE PROG [ARG...] runs a program that must exit so.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "exits CODE PROG [ARG...]")
	if code := run(ts, args[1:]); strconv.Itoa(code) != args[0] {
		ts.Fatalf("exited %d, not %s", code, args[0])
	}
}

// fatal CODE TEXT PROG [ARG...] runs a program that must print nothing but
// PROG: fatal: TEXT, in one line on stderr, and exit so.
func fatal(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 3, "fatal CODE TEXT PROG [ARG...]")
	exits(ts, false, append([]string{args[0]}, args[2:]...))
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("stdout is not empty: %q", out)
	}
	want := args[2] + ": fatal: " + args[1] + "\n"
	if got := ts.ReadFile("stderr"); got != want {
		ts.Fatalf("stderr:\n got %q\nwant %q", got, want)
	}
}

// run returns the exit code.
func run(ts *testscript.TestScript, argv []string) int {
	err := ts.Exec(argv[0], argv[1:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}
