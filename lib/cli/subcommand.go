package cli

// Subcommand is a command of a program, with flags and a usage of its own. What
// was said before its name, -q and -v, holds for it too.
func (c *Command) Subcommand(usage string) *Command {
	sub := New(c.name, usage, c.Stdout, c.stderr)
	sub.Quiet, sub.Verbose = c.Quiet, c.Verbose
	return sub
}
