package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build builds the program as install.sh does.
func build(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "sidekiq-fleet")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func TestBinaryIsAtMost9MB(t *testing.T) {
	info, err := os.Stat(build(t))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 9_000_000 {
		t.Errorf("%d bytes", info.Size())
	}
}

// hearts is a heartbeat of all instances: 200 programs may take longer than one is good for.
const hearts = "for _, id in ipairs(redis.call('SMEMBERS', 'processes')) do redis.call('HSET', id, 'beat', redis.call('TIME')[1]) end"

// Of 200 programs that ask at once for 200 instances, so many are refused as must stay.
func TestManyProgramsAskAtOnce(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed (test/run installs it)")
	}
	const n, least = 200, 10
	binary := build(t)
	dir, err := os.MkdirTemp("", "fleet") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "redis.sock")
	server := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { server.Process.Kill(); server.Wait() }()
	for deadline := time.Now().Add(2 * time.Minute); exec.Command("redis-cli", "-s", socket, "PING").Run() != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
	}
	var beats strings.Builder
	id := func(i int) string { return fmt.Sprintf("host:%d:%012x", i+1, i) }
	for i := range n {
		fmt.Fprintf(&beats, "SADD processes %s\nHSET %s info '{\"queues\":[\"default\"]}'\n", id(i), id(i))
	}
	fmt.Fprintf(&beats, "EVAL \"%s\" 0\n", hearts)
	cli := exec.Command("redis-cli", "-s", socket)
	cli.Stdin = strings.NewReader(beats.String())
	if out, err := cli.CombinedOutput(); err != nil || strings.Contains(string(out), "ERR") {
		t.Fatalf("%v\n%s", err, out)
	}
	beating := exec.Command("redis-cli", "-s", socket, "-r", "-1", "-i", "5", "EVAL", hearts, "0")
	if err := beating.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { beating.Process.Kill(); beating.Wait() }()
	codes := map[int]int{}
	var mutex sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			cmd := exec.Command(binary, "-q", "claim", "--timeout", "10m", "--min", fmt.Sprint(least), "--as", fmt.Sprint("host-", i), id(i))
			cmd.Env = []string{"REDIS_URL=unix://" + socket} // whatever else is set here
			out, _ := cmd.CombinedOutput()
			mutex.Lock()
			defer mutex.Unlock()
			codes[cmd.ProcessState.ExitCode()]++
			if len(out) > 0 {
				t.Errorf("%s", out)
			}
		})
	}
	wg.Wait()
	if codes[0] != n-least || codes[75] != least {
		t.Errorf("exit codes: %v; want %d given, %d not now", codes, n-least, least)
	}
}
