// Command rssprobe prints how large each target is, and tests it against a limit.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/units"
)

const usage = `usage: rssprobe [-o FIELD,...] [-S SCOPE | --match GLOB] [-b|-k|-m] [-l SIZE] [-j] TARGET...

Print how large each target's process is: a number a line, in KB. With several
targets each line is VALUE TARGET; several fields are separated by a space.

  -o, --output FIELD,...  rss (default), pss, uss (private), swap, anon, peak
  -S, --scope SCOPE       what to measure:
                          process   the process (default)
                          group     its process group, added up
                          tree      it and its descendants, added up
                          children  each of its children, a line each
                          sidekiq   each Sidekiq among it and its descendants,
                                    a line each; if there is none, the process
                          cgroup    all in its cgroup: memory in use without
                                    inactive page cache
      --match GLOB        each process among it and its descendants whose title
                          or name matches, a line each: 'puma: cluster worker*'
  -b, -k, -m              print bytes, KB (default) or MB (rounded down)
  -l, --limit SIZE        exit 1 if the first field is over SIZE, and print which
                          one is over; SIZE is KB, or has a suffix B K M G T, or
                          is a share of the memory there is: 80%
  -j, --json              JSON lines: target, id, and FIELD_kb for each field
  -q, --quiet             print only errors; with -l not the values either
  -v, --verbose           print more messages
  -h, --help              print this text
      --version           print the version

TARGET is a pid, PID:STARTTIME, a service directory, a pidfile or the name of a
service (see svpid).

Exit: 0 done, or not over; 1 over the limit, or a target has no such process now;
      100 used wrongly; 111 a target cannot be measured.
`

func main() { cli.Main("rssprobe", usage, run) }

func run(cmd *cli.Command) error {
	m := newMeter()
	p := printer{fields: []field{{"rss", proc.RSS}}}
	var limit units.Size
	cmd.Func("output", "o", "FIELD", p.setFields)
	cmd.Func("scope", "S", "SCOPE", func(s string) (err error) { m.scope, err = proc.ParseScope(s, proc.MemoryScopes); return err })
	cmd.Func("match", "", "GLOB", func(s string) error { m.glob = s; return proc.CheckGlob(s) })
	inBytes, inKB, inMB := cmd.Bool("bytes", "b"), cmd.Bool("kilobytes", "k"), cmd.Bool("megabytes", "m")
	cmd.Var(&limit, "limit", "l")
	cmd.BoolVar(&p.json, "json", "j")
	words, err := cmd.Args(1, -1)
	if err != nil {
		return err
	}
	switch {
	case cmd.Given("scope") && cmd.Given("match"):
		return cli.Misusef("--scope and --match cannot be combined")
	case m.scope == proc.ScopeCgroup && cmd.Given("output"):
		return cli.Misusef("--output cannot be combined with --scope cgroup, which has one value")
	}
	if p.unit, err = unit(*inBytes, *inKB, *inMB); err != nil {
		return cli.Misuse(err)
	}
	targets, err := service.ParseAll(words)
	if err != nil {
		return cli.Misuse(err)
	}
	p.named, m.want = len(targets) > 1, p.want()
	tests := cmd.Given("limit")
	worst := cli.Yes
	for _, target := range targets {
		sizes, limitKB, err := m.measureTarget(target, limit)
		for _, s := range sizes {
			if !tests || !cmd.Quiet {
				if err := cmd.Write(p.line(target.Text, s)); err != nil {
					return err
				}
			}
			if first := p.fields[0]; tests && first.figure.Sum(s.usage) > limitKB {
				cmd.Warn("%s: %s of %v is %d KB, over the limit of %d KB", target.Text, first.name, s.id, first.figure.Sum(s.usage), limitKB)
				worst = max(worst, cli.No)
			}
		}
		switch {
		case errors.Is(err, proc.ErrGone), errors.Is(err, errNoMatch):
			cmd.Warn("%v", err)
			worst = max(worst, cli.No)
		case err != nil:
			cmd.Error("%v", err)
			worst = cli.Refused
		}
	}
	return cli.Exit(worst)
}

// printer makes the lines.
type printer struct {
	fields []field
	unit   func(kb int64) int64
	json   bool
	named  bool // several targets: each line says whose it is
}

type field struct {
	name   string
	figure proc.Field
}

func (p *printer) setFields(text string) error {
	p.fields = nil
	for name := range strings.SplitSeq(text, ",") {
		figure, err := proc.ParseField(name)
		if err != nil {
			return err
		}
		p.fields = append(p.fields, field{name, figure})
	}
	return nil
}

// want is all figures that are printed.
func (p *printer) want() (all proc.Field) {
	for _, f := range p.fields {
		all |= f.figure
	}
	return all
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
	return nil, errors.New("-b, -k and -m cannot be combined")
}

func (p *printer) line(target string, s size) string {
	if p.json {
		return p.jsonLine(target, s)
	}
	values := make([]string, len(p.fields))
	for i, f := range p.fields {
		values[i] = strconv.FormatInt(p.unit(f.figure.Sum(s.usage)), 10)
	}
	if p.named {
		values = append(values, target)
	}
	return strings.Join(values, " ") + "\n"
}

// jsonLine has its keys in the order asked, which a map would not keep.
func (p *printer) jsonLine(target string, s size) string {
	name, err := json.Marshal(target)
	if err != nil {
		panic(err) // a string can always be encoded
	}
	line := fmt.Sprintf(`{"target":%s,"id":"%v"`, name, s.id)
	for _, f := range p.fields {
		line += fmt.Sprintf(`,"%s_kb":%d`, f.name, f.figure.Sum(s.usage))
	}
	return line + "}\n"
}
