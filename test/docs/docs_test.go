// Package docs runs the commands of the documentation as they are written, each page in a fresh root of Debian, and
// checks its links.
package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is a fenced block of a page whose language is a shell's.
type block struct {
	line  int
	setup string // test/docs/setup/SETUP prepares the root for it; empty: it is not run
	skip  string // why it is not run
	exit  string // the exit code it may end with, beside 0
	text  string
}

const repo = "../.."

// pages are all Markdown files for readers.
func pages(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/*/*.md", "runit/*.md", "s6/*.md"} {
		found, err := filepath.Glob(filepath.Join(repo, pattern))
		must(t, err)
		files = append(files, found...)
	}
	return files
}

// inRepo is a file's path in the repository.
func inRepo(file string) string { return strings.TrimPrefix(file, repo+"/") }

var (
	fence     = regexp.MustCompile("^```(\\w*)$")
	directive = regexp.MustCompile(`^<!-- test: (?:page (\w+)(?: exit (\d+))?|skip \((.+)\)) -->$`)
)

// blocks reads the shell blocks of a page, each with the directive on the line before it.
func blocks(t *testing.T, file string) (all []block) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		m := fence.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		b := block{line: i + 1}
		if i > 0 {
			if d := directive.FindStringSubmatch(lines[i-1]); d != nil {
				b.setup, b.exit, b.skip = d[1], d[2], d[3]
			}
		}
		for i++; i < len(lines) && lines[i] != "```"; i++ {
			b.text += lines[i] + "\n"
		}
		if m[1] != "sh" {
			continue
		}
		if strings.HasPrefix(b.text, "#!/bin/sh\n") && b.setup == "" && b.skip == "" {
			b.skip = "a script, checked by shell -n"
		}
		all = append(all, b)
	}
	return all
}

// Every shell block is run or says why not; scripts at least parse.
func TestEveryBlockIsRunOrSaysWhyNot(t *testing.T) {
	for _, file := range pages(t) {
		for _, b := range blocks(t, file) {
			where := fmt.Sprintf("%s:%d", inRepo(file), b.line)
			if b.setup == "" && b.skip == "" {
				t.Errorf("%s: neither <!-- test: page SETUP --> nor <!-- test: skip (WHY) --> before this block", where)
			}
			c := exec.Command("sh", "-n")
			c.Stdin = strings.NewReader(b.text)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%s: not a shell script: %s", where, out)
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#: ]+)(#[^)]*)?\)`)

// Links lead to files that are there, in the repository and where they are installed.
func TestLinks(t *testing.T) {
	for _, file := range pages(t) {
		text, err := os.ReadFile(file)
		must(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to := filepath.Join(filepath.Dir(file), m[1])
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: link to %s: %v", inRepo(file), m[1], err)
			}
			in := inRepo(to)
			if strings.HasPrefix(file, repo+"/docs") || file == repo+"/README.md" {
				if !strings.HasPrefix(in, "docs/") && !slices.Contains([]string{"README.md", "CHANGELOG.md", "LICENSE"}, in) {
					t.Errorf("%s: link to %s is broken where the page is installed", inRepo(file), m[1])
				}
			}
		}
	}
}

// TestPages runs each page's blocks, in order, in a fresh root.
func TestPages(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a root of Debian")
	}
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Skip("debootstrap is not installed")
	}
	stage := t.TempDir()
	install := exec.Command("env", "DESTDIR="+stage, repo+"/install.sh", "--prefix", "/usr/local")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, file := range pages(t) {
		var todo []block
		for _, b := range blocks(t, file) {
			if b.setup != "" {
				todo = append(todo, b)
			}
		}
		if len(todo) == 0 {
			continue
		}
		t.Run(inRepo(file), func(t *testing.T) { page(t, stage, todo) })
	}
}

// page runs blocks as one script, in a root that setup/SETUP prepares.
func page(t *testing.T, stage string, todo []block) {
	var script strings.Builder
	fmt.Fprintf(&script, "set -e\n. /setup/%s\n", todo[0].setup)
	for _, b := range todo {
		if b.setup != todo[0].setup {
			t.Fatalf("line %d: another setup than the blocks before it", b.line)
		}
		fmt.Fprintf(&script, "echo '== line %d'\nsettle\n", b.line)
		if b.exit == "" {
			script.WriteString(b.text)
			continue
		}
		fmt.Fprintf(&script, "set +e\n%scode=$?\nset -e\n[ $code = 0 ] || [ $code = %s ] || { echo \"exit $code\"; exit 1; }\n", b.text, b.exit)
	}
	script.WriteString("echo '== done'\nfinish\n")
	c := exec.Command("./inside", stage, todo[0].setup)
	c.Stdin = strings.NewReader(script.String())
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "== done") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
