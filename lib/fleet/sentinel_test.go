package fleet

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestSentinel(t *testing.T) {
	host := loopback(0)
	port := freePort(t, host)
	master := startRedis(t, "port "+port, "bind "+host, "requirepass "+password)
	master.do("AUTH", password)
	ids := master.beats(2, everywhere)

	sentinel := &server{T: t, dir: master.dir, socket: master.path("sentinel.sock")}
	sentinelPort := freePort(t, host)
	conf := sentinel.path("sentinel.conf")
	err := os.WriteFile(conf, fmt.Appendf(nil, "port %s\nbind %s\nunixsocket %s\ndir %s\nset-proc-title no\nrequirepass sentinels-own\n"+
		"sentinel monitor shop %s %s 1\nsentinel auth-pass shop %s\n", sentinelPort, host, sentinel.socket, master.dir, host, port, password), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	sentinel.run("redis-server", conf, "--sentinel")
	client := redis.NewSentinelClient(&redis.Options{Addr: host + ":" + sentinelPort, Password: "sentinels-own", Protocol: 2, DisableIdentity: true})
	defer client.Close()
	sentinel.until("the Sentinel answers", func() bool {
		_, err := client.GetMasterAddrByName(context.Background(), "shop").Result()
		return err == nil
	})
	address := host + ":" + sentinelPort
	set := func(url, sentinels, its string) func(*Settings) {
		return func(to *Settings) {
			to.URL, to.Variable, to.Sentinels, to.SentinelPassword = url, "REDIS_URL", sentinels, its
		}
	}
	closed := closedPort(t)
	master.claims(master.fleet(set("redis://:"+password+"@shop", address, "sentinels-own")), request(ids[0]), "")
	master.claims(master.fleet(set("redis://:"+password+"@shop/0", closed+","+address, "sentinels-own")), request(ids[0]), "")
	master.claims(master.fleet(set("redis://:"+password+"@"+address+"?master_name=shop", "", "sentinels-own")), request(ids[0]), "")

	where := "Redis at shop (by Sentinel " + address + ")"
	nowhere(t).refuses(where+": Sentinel "+address+": WRONGPASS", set("redis://:"+password+"@shop", address, "wrong"))
	nowhere(t).refuses(": Sentinel "+host+":"+port+" is not a Sentinel: ERR unknown command", set("redis://:"+password+"@shop", host+":"+port, password))
	nowhere(t).refuses(": Sentinel "+address+": no answer to the TLS handshake within 1s (a port without TLS needs REDIS_SENTINEL_TLS=0)", func(to *Settings) {
		set("redis://:"+password+"@shop", address, "sentinels-own")(to)
		to.SentinelTLS, to.Timeout = "1", time.Second
	})
	nowhere(t).refuses(where+" refuses the user or password of its URL", set("redis://:wrong@shop", address, "sentinels-own"))
	nowhere(t).refuses("Redis at other (by Sentinel "+address+"): no Sentinel knows a master of that name", set("redis://:"+password+"@other", address, "sentinels-own"))
	nowhere(t).refuses("Redis at shop (by Sentinel "+closed+"): Sentinel "+closed+" is not available: connect: connection refused", set("redis://:"+password+"@shop", closed, "sentinels-own"))

	// The Sentinel is there, and the master is not: that is no Sentinel's fault, and no answer.
	master.process.Kill()
	master.until("the end of the master", func() bool { _, err := net.Dial("tcp", host+":"+port); return err != nil })
	f := master.fleet(set("redis://:"+password+"@shop", address, "sentinels-own"))
	var said error
	done := make(chan struct{})
	go func() { defer close(done); _, said = f.Claim(request(ids[0])) }()
	select {
	case <-done:
	case <-time.After(2 * patience):
		t.Fatal("no answer")
	}
	master.refused("claim", said, where+": its master "+host+":"+port+" is not available: connect: connection refused")
}

func TestSentinelThatNeverAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent := l.Addr().String()
	nowhere(t).refuses("Redis at shop (by Sentinel "+silent+", "+silent+"): Sentinel "+silent+": no answer within 1s", func(to *Settings) {
		to.URL, to.Variable, to.Sentinels, to.Timeout = "redis://shop", "REDIS_URL", silent+","+silent, time.Second
	})
}
