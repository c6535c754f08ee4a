package fleet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gracekit/lib/fleet"
)

// A server is a real redis-server of the test's own, on a unix socket, which writes down every change.
type server struct {
	*testing.T
	*redis.Client
	dir string
}

func newServer(t *testing.T) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed: it is in Debian's package redis-server")
	}
	dir, err := os.MkdirTemp("", "gk") // short: it holds a unix socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := exec.Command("redis-server", "--port", "0", "--unixsocket", dir+"/redis.sock", "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0", "--logfile", dir+"/redis.log")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started, gone := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // it is the end of this thread, too, that Pdeathsig is about
		err := c.Start()
		started <- err
		if err == nil {
			c.Wait()
		}
		close(gone)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); <-gone })
	r := &server{t, redis.NewClient(&redis.Options{Network: "unix", Addr: dir + "/redis.sock", Protocol: 2, DisableIdentity: true,
		PoolSize: 16, PipelinePoolSize: -1, PoolTimeout: patience, ReadTimeout: patience}), dir}
	t.Cleanup(func() { r.Client.Close() })
	deadline := time.Now().Add(patience)
	for r.Ping(context.Background()).Err() != nil {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
		time.Sleep(5 * time.Millisecond)
	}
	beating := exec.Command("redis-cli", "-s", dir+"/redis.sock", "-r", "-1", "-i", "5", "EVAL", hearts, "0")
	if err := beating.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { beating.Process.Kill(); beating.Wait() })
	return r
}

func (r *server) url() string { return "unix://" + r.dir + "/redis.sock" }

// fleet is a connection of its own.
func (r *server) fleet() *fleet.Fleet {
	r.Helper()
	f, err := fleet.Open(fleet.Settings{Variable: "REDIS_URL", URL: r.url(), Timeout: patience})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(f.Close)
	return f
}

// A change is a command that changed something, with its arguments.
type change []string

// history is every change so far, in order. What was answered has been written before.
func (r *server) history() (all []change) {
	r.Helper()
	files, _ := filepath.Glob(r.dir + "/appendonlydir/*.incr.aof") // since Redis 7
	if len(files) != 1 {
		files = []string{r.dir + "/appendonly.aof"}
	}
	f, err := os.Open(files[0])
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewReaderSize(f, 1<<20); ; {
		c, err := readChange(in)
		if err == io.EOF || err == io.ErrUnexpectedEOF { // one that is being written
			return all
		}
		if err != nil {
			r.Fatalf("%s: %v", files[0], err)
		}
		all = append(all, c)
	}
}

// readChange reads a command in Redis' own protocol.
func readChange(in *bufio.Reader) (change, error) {
	n, err := readLength(in, '*')
	if err != nil {
		return nil, err
	}
	c := make(change, n)
	for i := range c {
		length, err := readLength(in, '$')
		if err != nil {
			return nil, err
		}
		text := make([]byte, length+len("\r\n"))
		if _, err := io.ReadFull(in, text); err != nil {
			return nil, err
		}
		c[i] = string(text[:length])
	}
	return c, nil
}

func readLength(in *bufio.Reader, kind byte) (int, error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if strings.HasPrefix(line, "#") { // when
			continue
		}
		if line[0] != kind {
			return 0, fmt.Errorf("%q, want %c", line, kind)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
}
