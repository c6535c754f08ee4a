package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	ossignal "os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// standing prints the identity of the process, and what it leads.
func standing() {
	p, _ := FindProcess(os.Getpid())
	fmt.Println(p.ID())
	fmt.Println("leads its group:", p.PGID == p.PID)
	fmt.Println("leads its session:", p.SID == p.PID)
}

// endTarget kills the target that gracewatch runs it for, and returns when that has ended.
func endTarget() {
	p, _ := Find(os.Getenv("GRACE_TARGET"))
	check(p.Signal(unix.SIGKILL))
	for p.Alive() {
		time.Sleep(time.Millisecond)
	}
}

// sidekiq is a process whose title and threads are set by lines on stdin; each is answered with a line:
//
//	title TEXT       writes its title as Ruby does
//	thread NAME [N]  starts N threads with that name
//	end NAME         ends one of them
//	catch SIGNAL     prints "got SIGNAL" instead of ending by it
func sidekiq() {
	threads := map[string][]*thread{}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		verb, rest, _ := strings.Cut(in.Text(), " ")
		name, arg, _ := strings.Cut(rest, " ")
		switch verb {
		case "title":
			check(writeTitle(rest))
		case "thread":
			n, _ := strconv.Atoi(arg)
			for range max(n, 1) {
				threads[name] = append(threads[name], newThread(name))
			}
		case "end":
			threads[name][0].end()
			threads[name] = threads[name][1:]
		case "catch":
			catch(name)
		default:
			check(fmt.Errorf("%q is no verb", verb))
		}
		fmt.Println("ok")
	}
}

func catch(name string) {
	caught := make(chan os.Signal, 1)
	ossignal.Notify(caught, unix.SignalNum("SIG"+name))
	go func() {
		for range caught {
			fmt.Println("got " + name)
		}
	}()
}

// The main thread belongs to main: it must not end, nor become one of the threads
// that are started by name. Only here is main certain to be in it.
func init() {
	if filepath.Base(os.Args[0]) == "sidekiq" {
		runtime.LockOSThread()
	}
}

// thread is one of the kernel's, with a goroutine of its own.
type thread struct {
	tid  int
	ends chan struct{} // closed when it is to end
}

func newThread(name string) *thread {
	t := &thread{ends: make(chan struct{})}
	var up sync.WaitGroup
	up.Add(1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		setName(name)
		t.tid = unix.Gettid()
		up.Done()
		<-t.ends
	}()
	up.Wait()
	return t
}

// end returns when the kernel has the thread no more.
func (t *thread) end() {
	close(t.ends)
	for {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", t.tid)); err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func setName(name string) {
	check(os.WriteFile(fmt.Sprintf("/proc/self/task/%d/comm", unix.Gettid()), []byte(name), 0))
}

// writeTitle writes over the arguments, and what is too long for them over the
// environment; what is too long for both is cut off. The rest is NULs.
func writeTitle(title string) error {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // from field 3 on
	var at [4]int64                                                 // arg_start, arg_end, env_start, env_end
	for i := range at {
		if at[i], err = strconv.ParseInt(string(fields[48-3+i]), 10, 64); err != nil {
			return err
		}
	}
	room := make([]byte, at[3]-at[0])
	copy(room[:len(room)-1], title)
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	_, err = mem.WriteAt(room, at[0])
	return err
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(111)
	}
}
