// Command rssprobe prints how large each target is, and tests it against a limit.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"gracekit/lib/cgroup"
	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/units"
)

const usage = `usage: rssprobe [-o FIELD,...] [-S SCOPE] [-b|-k|-m] [-l SIZE] [-j] TARGET...

Print how large each target's process is: a number a line, in KB. With several
targets each line is VALUE TARGET; several fields are separated by a space.

  -o, --output FIELD,...  rss (default), pss, uss (private), swap, anon, peak
  -S, --scope SCOPE       process (default), group, tree, or children (one
                          by one)
  -b, -k, -m              print bytes, KB (default) or MB (rounded down)
  -l, --limit SIZE        exit 0 if the first field is at or under SIZE, 1 if
                          over; SIZE is KB, or has a suffix B K M G T, or is a
                          share: 80%
  -j, --json              JSON lines: target, id, and FIELD_kb for each field
  -q, --quiet             only errors; with -l the values are not printed either
  -v, --verbose           more messages
  -h, --help              this text
      --version           the version

TARGET is a pid, PID:STARTTIME, a service directory or a pidfile (see svpid).

Exit: 0 done, or not over; 1 over the limit, or a target has no process now;
      100 used wrongly; 111 one cannot be looked at.
`

// probe is what was asked for.
type probe struct {
	fields []field
	want   proc.Field
	scope  proc.Scope
	limit  units.Size
	unit   func(kb int64) int64
	json   bool
	named  bool // several targets: each line says whose it is
	scan   *proc.Scanner
}

type field struct {
	name string
	of   proc.Field
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, cli.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	cmd := cli.New("rssprobe", usage, stdout, stderr)
	p := probe{fields: []field{{"rss", proc.RSS}}, want: proc.RSS, scan: proc.NewScanner()}
	cmd.Func("output", "o", "FIELD", p.setFields)
	cmd.Func("scope", "S", "SCOPE", func(s string) (err error) { p.scope, err = proc.ParseScope(s, proc.MemoryScopes[:4]); return err })
	inBytes, inKB, inMB := cmd.Bool("bytes", "b"), cmd.Bool("kilobytes", "k"), cmd.Bool("megabytes", "m")
	cmd.Var(&p.limit, "limit", "l")
	asJSON := cmd.Bool("json", "j")
	words, code := cmd.Parse(args, 1, -1)
	if code != cli.Continue {
		return code
	}
	targets, err := service.ParseAll(words)
	if err != nil {
		return cmd.Misused(err)
	}
	if p.unit, err = unit(*inBytes, *inKB, *inMB); err != nil {
		return cmd.Misused(err)
	}
	p.json, p.named = *asJSON, len(targets) > 1
	tests := cmd.Given("limit")
	worst := cli.Yes
	for _, target := range targets {
		lines, over, err := p.look(target)
		if !tests || !cmd.Quiet {
			if code := cmd.Print(lines); code != cli.Yes {
				return code
			}
		}
		switch {
		case err == nil && tests && over:
			worst = max(worst, cli.No)
		case errors.Is(err, proc.ErrGone):
			cmd.Warn("%v", err)
			worst = max(worst, cli.No)
		case err != nil:
			cmd.Error("%v", err)
			worst = cli.Refused
		}
	}
	return worst
}

func (p *probe) setFields(text string) error {
	p.fields, p.want = nil, 0
	for name := range strings.SplitSeq(text, ",") {
		f, err := proc.ParseField(name)
		if err != nil {
			return err
		}
		p.fields = append(p.fields, field{name, f})
		p.want |= f
	}
	return nil
}

func unit(inBytes, inKB, inMB bool) (func(kb int64) int64, error) {
	switch {
	case inBytes && !inKB && !inMB:
		return func(kb int64) int64 { return kb * 1024 }, nil
	case inMB && !inKB && !inBytes:
		return func(kb int64) int64 { return kb / 1024 }, nil
	case !inBytes && !inMB:
		return func(kb int64) int64 { return kb }, nil
	}
	return nil, errors.New("-b, -k and -m exclude each other: one unit for all values")
}

// look makes the lines of one target, and tells whether any of them is over the limit.
func (p *probe) look(target service.Target) (lines string, over bool, err error) {
	process, err := target.Open()
	if err != nil {
		return "", false, err
	}
	defer process.Close()
	most, err := p.most(process)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", target.Text, err)
	}
	add := func(id proc.ID, u proc.Usage) {
		lines += p.line(target.Text, id, u)
		over = over || p.fields[0].of.Sum(u) > most
	}
	if p.scope != proc.ScopeChildren {
		u, err := p.scan.Usage(process, p.scope, p.want)
		if err != nil {
			return "", false, fmt.Errorf("%s: %w", target.Text, err)
		}
		add(process.ID, u)
		return lines, over, nil
	}
	children, err := p.scan.Children(process)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", target.Text, err)
	}
	for _, s := range children {
		child, err := proc.OpenID(s.ID())
		if errors.Is(err, proc.ErrGone) {
			continue // it ended meanwhile
		}
		if err != nil {
			return lines, over, fmt.Errorf("%s: child %d: %w", target.Text, s.PID, err)
		}
		u, err := child.Memory(p.want)
		child.Close()
		switch {
		case err == nil:
			add(s.ID(), u)
		case !errors.Is(err, proc.ErrGone):
			return lines, over, fmt.Errorf("%s: child %d: %w", target.Text, s.PID, err)
		}
	}
	return lines, over, nil
}

// most is the limit in KB.
func (p *probe) most(process *proc.Process) (int64, error) {
	if !p.limit.IsShare() {
		return p.limit.KB(0), nil
	}
	available, err := cgroup.Available(process.ID.PID)
	return p.limit.KB(available), err
}

func (p *probe) line(target string, id proc.ID, u proc.Usage) string {
	if p.json {
		return p.jsonLine(target, id, u)
	}
	values := make([]string, len(p.fields))
	for i, f := range p.fields {
		values[i] = strconv.FormatInt(p.unit(f.of.Sum(u)), 10)
	}
	if p.named {
		values = append(values, target)
	}
	return strings.Join(values, " ") + "\n"
}

// jsonLine has its keys in the order asked, which a map would not keep.
func (p *probe) jsonLine(target string, id proc.ID, u proc.Usage) string {
	name, err := json.Marshal(target)
	if err != nil {
		panic(err) // a string always can be
	}
	line := fmt.Sprintf(`{"target":%s,"id":"%v"`, name, id)
	for _, f := range p.fields {
		line += fmt.Sprintf(`,"%s_kb":%d`, f.name, f.of.Sum(u))
	}
	return line + "}\n"
}
