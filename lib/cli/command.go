// Package cli is what all programs share: flags, messages, exit codes, the {}
// of chain-loading, and exec. It knows nothing of processes and services.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// Version is set by the linker.
var Version = "0-unknown"

// Command is a program: its flags, and where it prints.
type Command struct {
	Stdout  io.Writer
	Quiet   bool // -q: only errors
	Verbose bool // -v: more
	name    string
	usage   string
	stderr  io.Writer
	flags   *pflag.FlagSet
}

// New is a program with the flags that all have: -v, -q, -h and --version.
func New(name, usage string, stdout, stderr io.Writer) *Command {
	c := &Command{Stdout: stdout, name: name, usage: usage, stderr: stderr}
	c.flags = pflag.NewFlagSet(name, pflag.ContinueOnError)
	c.flags.SetInterspersed(false) // what follows the first operand can be a command
	c.flags.BoolVarP(&c.Verbose, "verbose", "v", false, "")
	return c
}

// Subcommand is a command of a program, with flags and a usage of its own. What
// was said before its name, -q and -v, holds for it too.
func (c *Command) Subcommand(usage string) *Command {
	sub := New(c.name, usage, c.Stdout, c.stderr)
	sub.Quiet, sub.Verbose = c.Quiet, c.Verbose
	return sub
}

// Bool is a flag that is given or not.
func (c *Command) Bool(name, letter string) *bool { return c.flags.BoolP(name, letter, false, "") }

// String is a flag with any text.
func (c *Command) String(name, letter string) *string { return c.flags.StringP(name, letter, "", "") }

// BoolVar is Bool for a variable that is there.
func (c *Command) BoolVar(value *bool, name, letter string) {
	c.flags.BoolVarP(value, name, letter, false, "")
}

// StringVar is String for a variable that is there.
func (c *Command) StringVar(value *string, name, letter string) {
	c.flags.StringVarP(value, name, letter, "", "")
}

// NameVar is StringVar for a name, which cannot be empty.
func (c *Command) NameVar(value *string, name, letter string) {
	c.Func(name, letter, "NAME", func(text string) error {
		if *value = text; text == "" {
			return errors.New(`invalid value "" (want a name)`)
		}
		return nil
	})
}

// Var is a flag whose value reads itself.
func (c *Command) Var(value pflag.Value, name, letter string) { c.flags.VarP(value, name, letter, "") }

// Func is a flag whose value is read by set; word stands for it in a usage.
func (c *Command) Func(name, letter, word string, set func(text string) error) {
	c.Var(funcValue{word, set}, name, letter)
}

type funcValue struct {
	word string
	set  func(string) error
}

func (f funcValue) Set(text string) error { return f.set(text) }
func (f funcValue) String() string        { return "" }
func (f funcValue) Type() string          { return f.word }

// Given tells whether a flag was given.
func (c *Command) Given(name string) bool { return c.flags.Changed(name) }

// Parse reads the flags. It returns the operands, of which there must be at
// least min, and at most max if that is not negative. After --help and --version
// the error is one that ends the program with 0.
func (c *Command) Parse(args []string, min, max int) (operands []string, err error) {
	help := c.Bool("help", "h")
	version := c.Bool("version", "")
	quiet := "quiet"
	if c.flags.Lookup(quiet) != nil { // graceful-restart --quiet SIG
		quiet = "errors-only"
	}
	c.flags.BoolVarP(&c.Quiet, quiet, "q", c.Quiet, "")
	if err := c.flags.Parse(args); err != nil {
		return nil, Misuse(c.flagError(err))
	}
	text := ""
	switch operands = c.flags.Args(); {
	case *help:
		text = c.usage
	case *version:
		text = c.name + " " + Version + "\n"
	case len(operands) < min:
		return nil, Misusef("missing argument: %s", c.synopsis())
	case max >= 0 && len(operands) > max:
		return nil, Misusef("unexpected argument %q: %s", operands[max], c.synopsis())
	default:
		return operands, nil
	}
	if err := c.Write(text); err != nil {
		return nil, err
	}
	return nil, &Error{Code: Yes}
}

// flagError names the flag, its value, and what would be right.
func (c *Command) flagError(err error) error {
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &invalid) && invalid.GetFlag().Value.Type() == "bool":
		return fmt.Errorf("--%s: invalid value %q (want true or false)", invalid.GetFlag().Name, invalid.GetValue())
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s: %w", invalid.GetFlag().Name, invalid.Unwrap())
	case errors.As(err, &missing):
		return fmt.Errorf("--%s: missing value", missing.GetFlag().Name)
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return fmt.Errorf("unknown option -%.1s: %s", unknown.GetSpecifiedName(), c.synopsis())
	case errors.As(err, &unknown):
		return fmt.Errorf("unknown option --%s: %s", unknown.GetSpecifiedName(), c.synopsis())
	}
	return err
}

// synopsis is the first line of the usage.
func (c *Command) synopsis() string {
	line, _, _ := strings.Cut(c.usage, "\n")
	return line
}

// Fatal is the message of what ends the program, which its caller then does.
func (c *Command) Fatal(err error) { c.print("fatal", err.Error()) }

// Error is a message that -q leaves.
func (c *Command) Error(format string, args ...any) { c.print("error", fmt.Sprintf(format, args...)) }

// Warn is a message that is left out with -q.
func (c *Command) Warn(format string, args ...any) {
	if !c.Quiet {
		c.print("warning", fmt.Sprintf(format, args...))
	}
}

// Info is a message that is left out without -v.
func (c *Command) Info(format string, args ...any) {
	if c.Verbose {
		c.print("info", fmt.Sprintf(format, args...))
	}
}

// Note is an Info that shows without -v, too, and is left out with -q.
func (c *Command) Note(format string, args ...any) {
	if !c.Quiet {
		c.print("info", fmt.Sprintf(format, args...))
	}
}

// print prints one line, also if a name that somebody else chose has several.
func (c *Command) print(level, text string) {
	fmt.Fprintf(c.stderr, "%s: %s: %s\n", c.name, level, Printable(text))
}
