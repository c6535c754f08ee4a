package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gracekit/lib/fleet"
)

// ttlOf is how long a claim by that name is good: the claim says only when it ends, and so tells when it was made, by
// Redis' own clock.
func ttlOf(by string) time.Duration {
	if strings.HasPrefix(by, "forgetful") {
		return 100 * time.Millisecond
	}
	return time.Hour
}

// known is what Redis knows of an instance.
type known struct {
	member bool
	beat   float64 // Unix time
	quiet  bool
	queues []string
	by     string // who has claimed it
	ends   int64  // when that ends, Unix time in ms
}

// A historian reads the history of Redis, and notes each change that should not have been. The rule:
//
// Available is an instance that is in the list, whose heartbeat is less than 30 s old, that is not quiet and not
// claimed. Whenever an instance is claimed, at least as many others are available as must stay, each with one of its
// queues at least, and each of its queues is served by one of them; but for one that is quiet already, and claimed
// once more by the same. Nothing but a claim makes an available instance unavailable, or a death that becomes known.
// So no claim takes the number available under what must stay; a death may, and then none is given until it is back.
type historian struct {
	minPeers  int
	instances map[string]*known
	now       int64 // Unix time in ms, as far as the history tells
	grants    int
	tight     int // of these: with no more left than must stay, in number or for one of its queues
	deaths    int
	lowest    int // number available, since the first grant
	faults    []string
}

func newHistorian(minPeers int) *historian {
	return &historian{minPeers: minPeers, instances: map[string]*known{}, lowest: 1 << 30}
}

func (h *historian) fault(format string, args ...any) {
	h.faults = append(h.faults, fmt.Sprintf(format, args...))
}

func (h *historian) available(in *known) bool {
	return in.member && h.fresh(in) && !in.quiet && !h.claimed(in)
}

func (h *historian) fresh(in *known) bool   { return float64(h.now)-in.beat*1000 < 30_000 }
func (h *historian) claimed(in *known) bool { return in.ends > h.now }

func (h *historian) number() (n int) {
	for _, in := range h.instances {
		if h.available(in) {
			n++
		}
	}
	return n
}

func (h *historian) of(id string) *known {
	if h.instances[id] == nil {
		h.instances[id] = &known{}
	}
	return h.instances[id]
}

func (h *historian) read(all []change) {
	for _, c := range all {
		h.see(c)
	}
}

func (h *historian) see(c change) {
	switch strings.ToLower(c[0]) {
	case "sadd":
		if c[1] == "processes" {
			h.of(c[2]).member = true // a heartbeat follows in the same transaction
		}
	case "srem":
		if c[1] != "processes" {
			return
		}
		h.loses(c[2], "its end", func(in *known) { in.member = false })
		delete(h.instances, c[2])
	case "del", "unlink":
		for _, key := range c[1:] {
			if h.instances[key] != nil {
				h.loses(key, "the end of its hash", func(in *known) { *in = known{member: in.member} })
			}
		}
	case "hdel":
		h.of(c[1]).by, h.of(c[1]).ends = "", 0
	case "hset", "hmset":
		fields := map[string]string{}
		for i := 2; i+1 < len(c); i += 2 {
			fields[c[i]] = c[i+1]
		}
		switch {
		case fields["gracekit"] != "":
			h.grant(c[1], fields["gracekit"])
		case fields["beat"] != "":
			h.heartbeat(c[1], fields)
		}
	}
}

// loses does what is no claim, and so must not take an instance away.
func (h *historian) loses(id, what string, do func(in *known)) {
	in := h.of(id)
	before := h.available(in)
	do(in)
	if before && !h.available(in) {
		h.fault("%s was taken away by %s, and nobody had claimed it", id, what)
	}
}

func (h *historian) heartbeat(id string, fields map[string]string) {
	in := h.of(id)
	beat, _ := strconv.ParseFloat(fields["beat"], 64)
	if fields["info"] == "" && beat < in.beat { // of the simulation: time has passed since it died
		in.beat = beat
		h.deaths++
		return
	}
	h.now = max(h.now, int64(beat*1000))
	if fields["info"] == "" { // of the simulation, too
		in.beat = beat
		return
	}
	h.loses(id, "its heartbeat", func(in *known) {
		in.beat, in.quiet = beat, fields["quiet"] == "true"
		var info struct{ Queues []string }
		json.Unmarshal([]byte(fields["info"]), &info)
		in.queues = info.Queues
	})
}

func (h *historian) grant(id, mark string) {
	in := h.of(id)
	ends, by, _ := strings.Cut(mark, " ")
	until, _ := strconv.ParseInt(ends, 10, 64)
	h.now = until - ttlOf(by).Milliseconds()
	h.grants++
	if !in.member {
		h.fault("%s was claimed, which is not there", id)
	}
	if h.claimed(in) && in.by != by {
		h.fault("%s was claimed by %s while %s had it", id, by, in.by)
	}
	if begun := in.by == by && in.quiet; !begun { // else it takes no jobs as it is
		h.mayGo(id, in)
	}
	in.by, in.ends = by, until
	h.lowest = min(h.lowest, h.number())
}

func (h *historian) mayGo(id string, in *known) {
	peers, servers := 0, map[string]int{}
	for other, it := range h.instances {
		if other == id || !h.available(it) {
			continue
		}
		shares := false
		for _, queue := range it.queues {
			servers[queue]++
			shares = shares || slices.Contains(in.queues, queue)
		}
		if shares {
			peers++
		}
	}
	if peers < h.minPeers {
		h.fault("%s was claimed with %d others there, want %d", id, peers, h.minPeers)
	}
	tight := peers == h.minPeers
	for _, queue := range in.queues {
		if servers[queue] == 0 {
			h.fault("%s was claimed, and nobody else serves %s", id, queue)
		}
		tight = tight || servers[queue] == 1
	}
	if tight {
		h.tight++
	}
}

// The count is the other observer: it knows nothing of Redis, only who takes jobs. A death takes one away for as long
// as Redis believes in the dead, and so allows for one less.
type count struct {
	mu       sync.Mutex
	minPeers int
	taking   int
	serving  map[string]int
	deaths   int
	died     map[string]int // by queue
	lowest   int            // before the first death
	faults   []string
}

func newCount(minPeers int) *count {
	return &count{minPeers: minPeers, serving: map[string]int{}, died: map[string]int{}, lowest: 1 << 30}
}

// starts is an instance that takes jobs from here on.
func (c *count) starts(in *instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taking++
	for _, queue := range in.queues {
		c.serving[queue]++
	}
}

// stops is an instance that takes no more jobs, because it was asked to stop.
func (c *count) stops(in *instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.less(in)
	if c.deaths == 0 {
		c.lowest = min(c.lowest, c.taking)
	}
	if c.taking+c.deaths < c.minPeers {
		c.faults = append(c.faults, fmt.Sprintf("%d take jobs, want %d", c.taking, c.minPeers))
	}
	for _, queue := range in.queues {
		if c.serving[queue]+c.died[queue] < 1 {
			c.faults = append(c.faults, fmt.Sprintf("nobody serves %s", queue))
		}
	}
}

// dies is an instance that takes no more jobs, and nobody asked for it.
func (c *count) dies(in *instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.less(in)
	c.deaths++
	for _, queue := range in.queues {
		c.died[queue]++
	}
}

func (c *count) wrong() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.faults) > 0
}

func (c *count) less(in *instance) {
	c.taking--
	for _, queue := range in.queues {
		c.serving[queue]--
	}
}

// Two watchers ask, one after the other, whether the other instance is available, and then claim both: each observer
// must find that.
func TestObserversFindWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := newServer(t)
	two := []*instance{newInstance(r, 0, "default"), newInstance(r, 1, "default")}
	c, f := newCount(1), r.fleet()
	for _, in := range two {
		c.starts(in)
		if err := in.boot(); err != nil {
			t.Fatal(err)
		}
	}
	for range two {
		if all, err := f.All(); err != nil || all[0].State() != fleet.Running || all[1].State() != fleet.Running {
			t.Fatal(all, err)
		}
	}
	for _, in := range two {
		r.HSet(context.Background(), in.identity, "gracekit", fmt.Sprintf("%d naive", time.Now().Add(time.Hour).UnixMilli()))
		c.stops(in)
	}
	h := newHistorian(1)
	h.read(r.history())
	if len(h.faults) != 2 || len(c.faults) == 0 {
		t.Errorf("faults found in Redis: %q, in the fleet: %q", h.faults, c.faults)
	}
}

// What a history must not have in it, one at a time.
func TestHistorianFindsFaults(t *testing.T) {
	now := time.Now()
	beat := func(id, queue string, quiet bool) []change {
		return []change{{"SADD", "processes", id}, {"hset", id, "info", `{"queues":["` + queue + `"]}`,
			"beat", unixText(now), "quiet", strconv.FormatBool(quiet)}}
	}
	claim := func(id, by string) []change {
		return []change{{"HSET", id, "gracekit", fmt.Sprint(now.Add(ttlOf(by)).UnixMilli(), " ", by)}}
	}
	three := slices.Concat(beat("a", "q", false), beat("b", "q", false), beat("c", "q", false))
	histories := map[string]struct {
		fault string // a piece of it, or none
		then  []change
	}{
		"one goes":                        {"", claim("a", "x")},
		"one goes, and is quiet":          {"", slices.Concat(claim("a", "x"), beat("a", "q", true))},
		"one is claimed again":            {"", slices.Concat(claim("a", "x"), claim("a", "x"))},
		"one is given back, another goes": {"", slices.Concat(claim("a", "x"), []change{{"HDEL", "a", "gracekit"}}, claim("b", "x"))},
		"two go":                          {"with 1 others there, want 2", slices.Concat(claim("a", "x"), claim("b", "x"))},
		"one is quiet, another goes":      {"with 1 others", slices.Concat(claim("a", "x"), beat("a", "q", true), claim("b", "x"))},
		"one is dead, another goes":       {"with 1 others", slices.Concat([]change{{"HSET", "c", "beat", unixText(now.Add(-31 * time.Second))}}, claim("b", "x"))},
		"one is gone, another goes": {"with 1 others", slices.Concat(claim("a", "x"),
			[]change{{"SREM", "processes", "a"}}, claim("b", "x"))},
		"it is claimed by two":         {"while x had it", slices.Concat(claim("a", "x"), claim("a", "y"))},
		"it is quiet without a claim":  {"nobody had claimed it", beat("a", "q", true)},
		"it ends without a claim":      {"nobody had claimed it", []change{{"SREM", "processes", "a"}}},
		"its queue is left to nobody":  {"nobody else serves r", slices.Concat(beat("d", "r", false), claim("d", "x"))},
		"one goes that is not there":   {"not there", claim("e", "x")},
		"its hash goes, and its claim": {"with 1 others", slices.Concat(claim("a", "x"), []change{{"DEL", "a"}}, claim("b", "x"))},
	}
	for _, name := range slices.Sorted(maps.Keys(histories)) {
		test := histories[name]
		h := newHistorian(2)
		h.read(three)
		h.read(test.then)
		found := strings.Join(h.faults, "; ")
		if (test.fault == "") != (found == "") || !strings.Contains(found, test.fault) {
			t.Errorf("%s: found %q, want %q", name, found, test.fault)
		}
	}
}
