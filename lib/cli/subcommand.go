package cli

// Subcommand is a command of a program, with flags and a usage of its own. What
// was said before its name, -q and -v, holds for it too.
func (c *Command) Subcommand(usage string) *Command {
	sub := New(c.name, usage, c.Stdout, c.stderr)
	sub.Quiet, sub.Verbose = c.Quiet, c.Verbose
	return sub
}

// Words is Args for the arguments of a subcommand.
func (c *Command) Words(args []string, min, max int) (operands []string, err error) {
	quiet, verbose := c.Quiet, c.Verbose
	operands, code := c.Parse(args, min, max)
	if code != Continue {
		return nil, &Error{Code: code}
	}
	c.Quiet, c.Verbose = c.Quiet || quiet, c.Verbose || verbose
	return operands, nil
}
