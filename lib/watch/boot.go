package watch

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

// noted are the variables that graceful-restart reads of a worker; MEMORY_KILLER_X
// and SIDEKIQ_MEMORY_KILLER_X are other names of X.
var noted = []string{"SHUTDOWN_WAIT", "SIDEKIQ_TIMEOUT", "QUIET_SIGNAL", "STOP_SIGNAL"}

var notedPrefixes = []string{"", "MEMORY_KILLER_", "SIDEKIQ_MEMORY_KILLER_"}

// noteEnviron reads the settings from /proc/PID/environ. A title may have
// overwritten a part of it: what is cut off has no name that is known.
func (n *BootNotes) noteEnviron(environ []byte) {
	n.Environ = maps.Clone(n.Environ) // so that it can be told whether something was added
	for text := range bytes.SplitSeq(environ, []byte{0}) {
		name, value, ok := bytes.Cut(text, []byte{'='})
		if !ok || !isNoted(name) {
			continue
		}
		if n.Environ == nil {
			n.Environ = map[string]string{}
		}
		n.Environ[string(name)] = string(value)
	}
}

func isNoted(name []byte) bool {
	for _, prefix := range notedPrefixes {
		if rest, ok := bytes.CutPrefix(name, []byte(prefix)); ok && slices.Contains(noted, string(rest)) {
			return true
		}
	}
	return false
}

// noteArgv reads the value of -t or --timeout from /proc/PID/cmdline: the last
// one counts, as for Sidekiq.
func (n *BootNotes) noteArgv(cmdline []byte) {
	argv := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	for i, arg := range argv {
		switch {
		case (arg == "-t" || arg == "--timeout") && i+1 < len(argv):
			n.Timeout = argv[i+1]
		case strings.HasPrefix(arg, "--timeout="):
			n.Timeout = strings.TrimPrefix(arg, "--timeout=")
		case strings.HasPrefix(arg, "-t") && len(arg) > 2 && strings.Trim(arg[2:], "0123456789") == "":
			n.Timeout = arg[2:]
		}
	}
}

func (n BootNotes) equal(o BootNotes) bool {
	return n.Timeout == o.Timeout && maps.Equal(n.Environ, o.Environ)
}

func (n BootNotes) isZero() bool { return n.Timeout == "" && len(n.Environ) == 0 }
