package fleet

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"gracekit/lib/fleet"
	"gracekit/test/harness"
)

// A server is a real redis-server of the test's own, on a unix socket, which writes down every change.
type server struct {
	*testing.T
	*redis.Client
	dir string
}

func newServer(t *testing.T) *server {
	t.Helper()
	w := harness.New(t)
	r := w.Redis("--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
	w.Start(w.Command("redis-cli", "-s", r.Socket, "-r", "-1", "-i", "5", "EVAL", hearts, "0"))
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket, Protocol: 2, DisableIdentity: true,
		PoolSize: 16, PipelinePoolSize: -1, PoolTimeout: patience, ReadTimeout: patience})
	t.Cleanup(func() { client.Close() })
	return &server{t, client, w.Dir}
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
