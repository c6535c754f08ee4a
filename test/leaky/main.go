// Command leaky is a process that grows, for the tests and the benchmark.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const usage = `usage: leaky [-max KB] [-grow KB] [-every DURATION] [-ignore SIGNALS] [-catch SIGNALS]

Grow to -max KB of RSS, in steps of -grow KB each -every (default: at once),
print "ready" and stay until a signal ends it.

  -ignore SIGNALS  ignore these (TERM,TSTP)
  -catch SIGNALS   catch these, print "got NAME", go on

SIGUSR1 gives the memory back and prints "small"; SIGUSR2 grows again.
`

func main() {
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	limit := flag.Int("max", 0, "")
	step := flag.Int("grow", 0, "")
	every := flag.Duration("every", 100*time.Millisecond, "")
	ignore := flag.String("ignore", "", "")
	catch := flag.String("catch", "", "")
	flag.Parse()

	events := make(chan os.Signal, 16)
	signal.Notify(events, append(signals(*catch), unix.SIGUSR1, unix.SIGUSR2)...)
	if *ignore != "" { // Ignore of no signals ignores them all
		signal.Ignore(signals(*ignore)...)
	}
	var held [][]byte
	growing := true
	for {
		var tick <-chan time.Time
		if growing {
			missing := *limit - rss()
			if *step > 0 && missing > *step {
				missing, tick = *step, time.After(*every)
			}
			if missing > 0 {
				held = append(held, grow(missing))
			}
			if tick == nil {
				growing = false
				fmt.Println("ready")
			}
		}
		select {
		case <-tick:
		case sig := <-events:
			switch sig {
			case unix.SIGUSR1:
				for _, m := range held {
					check(unix.Munmap(m))
				}
				held, growing = nil, false
				fmt.Println("small")
			case unix.SIGUSR2:
				growing = true
			default:
				fmt.Println("got", strings.TrimPrefix(unix.SignalName(sig.(unix.Signal)), "SIG"))
			}
		}
	}
}

// grow maps kb KB and touches each page: mapped alone, it is not resident.
func grow(kb int) []byte {
	m, err := unix.Mmap(-1, 0, kb<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	check(err)
	for i := 0; i < len(m); i += os.Getpagesize() {
		m[i] = 1
	}
	return m
}

// rss is this process's own, in KB, from /proc/self/statm field 2.
func rss() int {
	var size, resident int
	text, err := os.ReadFile("/proc/self/statm")
	check(err)
	_, err = fmt.Sscan(string(text), &size, &resident)
	check(err)
	return resident * os.Getpagesize() >> 10
}

// signals parses names such as "TERM,TSTP".
func signals(names string) (list []os.Signal) {
	for name := range strings.FieldsFuncSeq(names, func(r rune) bool { return r == ',' }) {
		list = append(list, unix.SignalNum("SIG"+name))
	}
	return list
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "leaky: fatal:", err)
		os.Exit(111)
	}
}
