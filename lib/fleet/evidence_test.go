package fleet

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// payload is a job as it is in a queue; enqueued is a Unix time, or 0 for a job that does not tell.
func payload(jid string, enqueued int64) string {
	stamp := ""
	if enqueued > 0 {
		stamp = fmt.Sprintf(`,"created_at":%d.5,"enqueued_at":%d.5`, enqueued, enqueued)
	}
	return fmt.Sprintf(`{"class":"C","jid":"%s"%s}`, jid, stamp)
}

// What Sidekiq pushes back to a queue is distinguished from what is enqueued there meanwhile.
func TestWhatIsPushedBackIsFound(t *testing.T) {
	const before, after = 900, 1100 // the restart begins at 1000
	old, other, fresh := payload("old", before), payload("other", before), payload("fresh", after)
	many := make([]string, tailLength)
	for i := range many {
		many[i] = payload(fmt.Sprint("m", i), before)
	}
	for name, c := range map[string]struct {
		looks [][]string // the first is before the restart; left is where new jobs come in
		want  []string
	}{
		"nothing":                           {[][]string{{old}, {old}}, nil},
		"what was there before":             {[][]string{{old}}, nil},
		"pushed to an empty queue":          {[][]string{{}, {old}}, []string{"old"}},
		"pushed behind another":             {[][]string{{other}, {other, old}}, []string{"old"}},
		"a job without times":               {[][]string{{}, {payload("plain", 0)}}, []string{"plain"}},
		"enqueued meanwhile":                {[][]string{{old}, {fresh, old}}, nil},
		"enqueued in an empty queue":        {[][]string{{}, {fresh}}, nil},
		"enqueued, taken and pushed back":   {[][]string{{}, {fresh}, {}, {fresh}}, []string{"fresh"}},
		"enqueued and pushed back unseen":   {[][]string{{old}, {old, fresh}}, []string{"fresh"}},
		"of a long queue the rest comes in": {[][]string{many, append([]string{other}, many[:tailLength-1]...)}, nil},
		"pushed to the end of a long queue": {[][]string{many, append(slices.Clone(many[1:]), old)}, []string{"old"}},
		"several":                           {[][]string{{}, {old, other}}, []string{"old", "other"}},
		"times of Sidekiq 8, in ms":         {[][]string{{}, {`{"jid":"ms","enqueued_at":1795356110297}`}}, nil},
	} {
		var queue tail
		var got []string
		for _, look := range c.looks {
			for _, text := range queue.step(look, time.Unix(1000, 0)) {
				got = append(got, parsePayload([]byte(text)).JID)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func record(complete bool, jids ...string) (r Record) {
	r.Complete = complete
	for _, jid := range jids {
		r.Jobs = append(r.Jobs, RanJob{JID: jid, Class: "C", Queue: "default"})
	}
	return r
}

func others(r Record) Record { r.Others = 1; return r }

func TestSuspectsAndPoison(t *testing.T) {
	for name, c := range map[string]struct {
		records  []Record // newest first
		suspects string
		poison   string // of the last two
	}{
		"the first restart":                     {[]Record{record(true, "a")}, "", ""},
		"twice in a row":                        {[]Record{record(true, "a"), record(true, "a")}, "a:2", "a"},
		"three times":                           {[]Record{record(true, "a"), record(true, "a"), record(true, "a")}, "a:3", "a"},
		"not at the one before":                 {[]Record{record(true, "a"), record(true, "b"), record(true, "a")}, "", ""},
		"beside a long job that ran each time":  {[]Record{record(true, "a", "long"), record(true, "a", "long")}, "a:2 long:2", ""},
		"a long job beside others":              {[]Record{record(true, "b", "long"), record(true, "c", "long")}, "long:2", ""},
		"beside another one once":               {[]Record{record(true, "a"), record(true, "a", "b")}, "a:2", ""},
		"another may have been missed":          {[]Record{record(true, "a"), record(false, "a")}, "a:2", ""},
		"nothing ran":                           {[]Record{record(true), record(true)}, "", ""},
		"alone before, and nothing ran now":     {[]Record{record(true), record(true, "a")}, "", ""},
		"others were done before the first":     {[]Record{record(true, "a"), others(record(true, "a"))}, "a:2", "a"},
		"others were done meanwhile":            {[]Record{others(record(true, "a")), record(true, "a")}, "a:2", ""},
		"another one alone at the restart then": {[]Record{record(true, "a"), record(true, "b")}, "", ""},
	} {
		var got []string
		for _, s := range Suspects(c.records) {
			got = append(got, fmt.Sprintf("%s:%d", s.JID, s.Restarts))
		}
		if text := strings.Join(got, " "); text != c.suspects {
			t.Errorf("%s: suspects %s, want %s", name, text, c.suspects)
		}
		job, ok := Poison(c.records, 2)
		if job.JID != c.poison || ok != (c.poison != "") {
			t.Errorf("%s: poison %q, %v, want %q", name, job.JID, ok, c.poison)
		}
		if _, ok := Poison(c.records, 0); ok {
			t.Errorf("%s: moved, though POISON_AFTER is 0", name)
		}
	}
}

// What ran is the union of what the heartbeat, the job hook and the queues tell.
func TestEvidenceIsAUnion(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	p, name := becomeSidekiq(t, "heartbeat")
	_, note := notes(t, p.ID.PID)
	id, peer := name+"00000000000a", identity(1)
	s.beat(id, everywhere, "info", infoText(`"default"`, time.Now()))
	s.beat(peer, everywhere)
	s.do("RPUSH", "queue:default", payload("waiting", 900))
	begin := func() *Evidence {
		e, err := f.NewEvidence(id, p)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	finish := func(e *Evidence, complete bool, want ...string) Record {
		t.Helper()
		r, err := e.Finish()
		var got []string
		for _, job := range r.Jobs {
			got = append(got, job.JID+" "+job.Class+" "+job.Queue)
		}
		if !slices.Equal(got, want) || r.Complete != complete || err != nil {
			t.Errorf("%q, complete: %v, %v; want %q, %v", got, r.Complete, err, want, complete)
		}
		return r
	}
	e := begin()
	s.do("HSET", id+":work", "t1", fmt.Sprintf(`{"queue":"low","run_at":1,"payload":%q}`, payload("heard", 900)))
	if err := e.Collect(); err != nil {
		t.Fatal(err)
	}
	s.do("DEL", id+":work")
	s.do("RPUSH", "queue:default", payload("pushed", 900))
	finish(e, false, "heard C low", "pushed C default") // a peer may have taken another
	s.do("LTRIM", "queue:default", 0, 0)

	s.do("HSET", id, "quiet", "true")
	finish(begin(), true)
	s.do("HSET", id, "quiet", "false")

	note(id)
	finish(begin(), true, "noted Noted low")
	note(name + "00000000000f")
	s.do("SREM", "processes", peer)
	r := finish(begin(), true) // nobody else is there

	for n, others := range []int64{2, 4, 0} { // short jobs that were done meanwhile, of which nothing else tells
		s.do("INCRBY", "stat:processed", others)
		records, err := e.Remember(r)
		if err != nil || len(records) != n+1 || records[0].Others != others {
			t.Errorf("%+v, %v, want %d others", records, err, others)
		}
	}
	s.do("INCRBY", "stat:processed", 3)
	e.threads = 1 // others had no thread to run in
	if records, err := e.Remember(r); err != nil || records[0].Others != 0 {
		t.Errorf("%+v, %v", records[0], err)
	}
	if ttl := s.do("TTL", "gracekit:hard:default").(int64); ttl <= 0 {
		t.Errorf("the records last %d s", ttl)
	}
}

// Exactly that job goes from its queue to the dead set, in one step, which is trimmed as by Sidekiq.
func TestBury(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	poison, other := payload("poison", 900), payload("other", 900)
	s.do("RPUSH", "queue:default", other, poison, other)
	s.do("ZADD", "dead", 1, "too old")
	pipe := s.redis.Pipeline()
	now := time.Now().Unix()
	for i := range deadMax {
		pipe.Do(t.Context(), "ZADD", "dead", now-1000, fmt.Sprint("dead", i))
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	job := RanJob{JID: "poison", Class: "C", Queue: "default"} // only the hook knew of it: its payload is found by the JID
	if moved, err := f.Bury(job); !moved || err != nil {
		t.Fatal(moved, err)
	}
	if left := s.redis.LRange(t.Context(), "queue:default", 0, -1).Val(); !slices.Equal(left, []string{other, other}) {
		t.Errorf("left in the queue: %q", left)
	}
	score := s.redis.ZScore(t.Context(), "dead", poison).Val()
	if n := s.do("ZCARD", "dead").(int64); n != deadMax-1 || score < float64(now) || score > float64(now+600) || s.do("ZSCORE", "dead", "too old") != nil {
		t.Errorf("%d dead, score %f", n, score)
	}
	job.payload = poison
	if moved, err := f.Bury(job); moved || err != nil || s.redis.ZScore(t.Context(), "dead", poison).Val() != score {
		t.Error("a job that somebody has taken:", moved, err)
	}
}

// notes sets the directory of the notes for one test. What it returns writes the note of the job hook of a process.
func notes(t *testing.T, pid int) (file string, write func(identity string)) {
	t.Helper()
	noteDir = t.TempDir()
	t.Cleanup(func() { noteDir = "/run/gracekit" })
	dir := fmt.Sprintf("%s/%d", noteDir, os.Geteuid())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file = fmt.Sprintf("%s/%d.hook", dir, pid)
	return file, func(identity string) {
		t.Helper()
		text := fmt.Sprintf(`{"identity":"%s","jobs":[{"jid":"noted","class":"Noted","queue":"low","tid":"x","since":1}]}`, identity)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
