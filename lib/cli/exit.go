package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Exit codes, those of s6, djb and sysexits(3).
const (
	Yes       = 0   // yes, or done
	No        = 1   // no
	NotNow    = 75  // not now, try again later (EX_TEMPFAIL)
	Usage     = 100 // used wrongly
	Refused   = 111 // the system refused something, or it cannot be known
	CannotRun = 126 // the program to run cannot be executed
	NotFound  = 127 // the program to run was not found
)

// Error is an error that ends the program with an exit code. Err may be nil:
// then nothing is printed.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit %d", e.Code)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Misuse is the error of wrong arguments or settings: exit 100.
func Misuse(err error) error { return &Error{Usage, err} }

// Misusef is Misuse with a format.
func Misusef(format string, args ...any) error { return Misuse(fmt.Errorf(format, args...)) }

// Exit ends the program with a code and prints nothing; nil for 0.
func Exit(code int) error {
	if code == Yes {
		return nil
	}
	return &Error{Code: code}
}

// Main runs a program: it prints the error that run returns as a line at level
// fatal, and exits with its code: 111 for an error that carries none.
func Main(name, usage string, run func(*Command) error) {
	messages.program = name
	cmd := New(name, usage, os.Stdout, Stderr)
	code := cmd.finish(run(cmd))
	messages.flush()
	os.Exit(code)
}

// finish prints the error that ends a program, and is its exit code.
func (c *Command) finish(err error) int {
	if e := (*Error)(nil); err != nil && !(errors.As(err, &e) && e.Err == nil) {
		c.Fatal(err)
	}
	return codeOf(err)
}

// codeOf is the exit code for an error.
func codeOf(err error) int {
	var e *Error
	switch {
	case err == nil:
		return Yes
	case errors.As(err, &e):
		return e.Code
	}
	return Refused
}

// Args reads the flags of os.Args. It returns the operands, of which there must
// be at least min, and at most max if that is not negative. After --help and
// --version the error is one that ends the program.
func (c *Command) Args(min, max int) (operands []string, err error) {
	return c.Parse(os.Args[1:], min, max)
}

// Write prints data on stdout.
func (c *Command) Write(text string) error {
	_, err := io.WriteString(c.Stdout, text)
	return err
}
