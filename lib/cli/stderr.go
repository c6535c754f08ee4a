package cli

import (
	"io"

	"golang.org/x/sys/unix"
)

// Stderr is where messages go. Through os.Stderr, Go would end the program with
// SIGPIPE when the logger behind it is gone: nothing is signalled half way for that.
var Stderr io.Writer = stderr{}

type stderr struct{}

func (stderr) Write(text []byte) (int, error) {
	for {
		n, err := unix.Write(2, text)
		if err != unix.EINTR {
			return n, err
		}
	}
}
