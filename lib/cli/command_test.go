package cli

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv("CLI_TEST_STDERR") != "" { // what TestADeadStderr starts
		cmd := New("prog", "usage\n", os.Stdout, Stderr)
		for range 3 {
			cmd.Warn("nobody reads this")
		}
		os.Exit(cmd.finish(cmd.Write("still here\n")))
	}
	os.Exit(m.Run())
}

const testUsage = "usage: prog [-a] X\n\nDo.\n"

func newCommand() (cmd *Command, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return New("prog", testUsage, stdout, stderr), stdout, stderr
}

func TestAMessageIsOneLine(t *testing.T) {
	for _, text := range []string{"plain", "a\nb", "a\r\nfatal: b", "a\x1b[31mb", "\x00\x07\x7f", "tab\there", "ümlaut", "\xff\xfe", "a\u009b31mb"} {
		cmd, stdout, stderr := newCommand()
		if code := cmd.finish(errors.New(text)); code != 111 {
			t.Errorf("exit %d", code)
		}
		got := stderr.String()
		if !strings.HasPrefix(got, "prog: fatal: ") || strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") ||
			strings.ContainsAny(got[:len(got)-1], "\x00\x07\t\r\x1b\x7f\u009b") || stdout.Len() > 0 {
			t.Errorf("%q is said as %q", text, got)
		}
	}
}

func TestADeadStderr(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "CLI_TEST_STDERR=1", "GORACE=atexit_sleep_ms=0")
	r, w, err := os.Pipe()
	must(t, err)
	r.Close() // the logger is gone
	cmd.Stderr = w
	out, err := cmd.Output()
	w.Close()
	if err != nil || string(out) != "still here\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestAFullStdoutIsRefused(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	var stderr bytes.Buffer
	cmd := New("prog", testUsage, full, &stderr)
	if code := cmd.finish(cmd.Write("data\n")); code != 111 || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("exit %d, %q", code, &stderr)
	}
}

func TestLevels(t *testing.T) {
	for args, want := range map[string]string{
		"x":       "prog: warning: w\nprog: error: e\n",
		"-q x":    "prog: error: e\n",
		"-v x":    "prog: warning: w\nprog: info: i\nprog: error: e\n",
		"-q -v x": "prog: info: i\nprog: error: e\n",
	} {
		cmd, _, stderr := newCommand()
		if _, err := cmd.Parse(strings.Fields(args), 1, 1); err != nil {
			t.Errorf("%s: %v", args, err)
		}
		cmd.Warn("%s", "w")
		cmd.Info("i")
		cmd.Error("e")
		if got := stderr.String(); got != want {
			t.Errorf("%s: %q, not %q", args, got, want)
		}
	}
}

func TestArguments(t *testing.T) {
	const running = -1 // nothing ended the program
	for _, c := range []struct {
		args     []string
		operands []string
		code     int
		out, err string
	}{
		{[]string{"x"}, []string{"x"}, running, "", ""},
		{[]string{"-a", "x", "-a", "--help"}, []string{"x", "-a", "--help"}, running, "", ""},
		{[]string{"--", "-a"}, []string{"-a"}, running, "", ""},
		{[]string{"-h"}, nil, 0, testUsage, ""},
		{[]string{"--help"}, nil, 0, testUsage, ""},
		{[]string{"--version"}, nil, 0, "prog 0-unknown\n", ""},
		{nil, nil, 100, "", "missing argument: usage: prog [-a] X"},
		{[]string{"a", "b", "c", "d"}, nil, 100, "", `unexpected argument "d": usage: prog [-a] X`},
		{[]string{"-x"}, nil, 100, "", "unknown option -x: usage: prog [-a] X"},
		{[]string{"-ax"}, nil, 100, "", "unknown option -x: usage: prog [-a] X"},
		{[]string{"--no\nsuch"}, nil, 100, "", "unknown option --no?such: usage: prog [-a] X"},
		{[]string{"--file"}, nil, 100, "", "--file: missing value"},
		{[]string{"--all=perhaps"}, nil, 100, "", `--all: invalid value "perhaps" (want true or false)`},
		{[]string{"--even=3"}, nil, 100, "", `--even: "3" is odd`},
	} {
		cmd, stdout, stderr := newCommand()
		cmd.Bool("all", "a")
		cmd.String("file", "f")
		cmd.Func("even", "", "NUMBER", func(text string) error { return errors.New(`"` + text + `" is odd`) })
		operands, err := cmd.Parse(c.args, 1, 3)
		code := running
		if err != nil {
			code = cmd.finish(err)
		}
		want := c.err
		if want != "" {
			want = "prog: fatal: " + want + "\n"
		}
		if !slices.Equal(operands, c.operands) || code != c.code || stdout.String() != c.out || stderr.String() != want {
			t.Errorf("%q: %q, exit %d, stdout %q, stderr %q, not %q", c.args, operands, code, stdout, stderr, want)
		}
	}
}

func TestBracesAreReplacedWhereverTheyAre(t *testing.T) {
	got := Expand([]string{"{}", "a{}b{}", "{ }", "", "{{}}"}, "1:2")
	if want := []string{"1:2", "a1:2b1:2", "{ }", "", "{1:2}"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestWhatCannotBecomeAProgramSaysWhy(t *testing.T) {
	cmd, _, stderr := newCommand()
	if code := cmd.finish(cmd.Exec([]string{"/nonexistent/prog"})); code != 127 {
		t.Errorf("exit %d", code)
	}
	if got, want := stderr.String(), "prog: fatal: cannot run \"/nonexistent/prog\": no such file or directory\n"; got != want {
		t.Errorf("%q", got)
	}
}
