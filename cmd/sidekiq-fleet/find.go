package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/sidekiq"
)

// subject is what an IDENTITY or a TARGET stands for.
type subject struct {
	placeholder string        // what {} stands for
	target      *proc.Process // nil for an IDENTITY
	instances   []*instance   // of a target, one for each of its Sidekiqs
}

// instance is one instance of a subject.
type instance struct {
	identity string
	process  *proc.Process // nil if it was given as an IDENTITY
	known    bool          // Redis had it
	missing  time.Time     // since when Redis does not have it any more
}

// find reads IDENTITY|TARGET. Close the subject.
func (c *command) find(text string) (*subject, error) {
	if isIdentity(text) {
		return &subject{placeholder: text, instances: []*instance{{identity: text}}}, nil
	}
	p, err := openTarget(text)
	if err != nil {
		return nil, err
	}
	s := &subject{placeholder: p.ID.String(), target: p}
	if err := s.resolve(c.fleet, p); err != nil {
		s.close()
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return s, nil
}

// isIdentity tells whether a text can only be meant as an identity, though perhaps a cut one: that there is no such
// instance says more than that there is no such file.
func isIdentity(text string) bool {
	if _, ok := fleet.ParseIdentity(text); ok && !strings.Contains(text, "/") {
		return true
	}
	_, err := os.Lstat(text)
	return err != nil && strings.Count(text, ":") >= 2 && !strings.Contains(text, "/") && strings.Trim(text, "0123456789:") != ""
}

func openTarget(text string) (*proc.Process, error) {
	target, err := service.Parse(text)
	if err != nil {
		return nil, cli.Misusef("%w; nor is it an identity (want HOST:PID:NONCE, as sidekiq-fleet ps prints it)", err)
	}
	return target.Open()
}

// resolve finds the instances of the Sidekiqs at or under a process. If there is no Sidekiq it asks about the process
// itself, which says what is missing.
func (s *subject) resolve(f *fleet.Fleet, p *proc.Process) error {
	ids, err := sidekiq.NewLister().List(p)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		ids = []proc.ID{p.ID}
	}
	for _, id := range slices.Clone(ids) {
		one, err := proc.OpenID(id)
		if errors.Is(err, proc.ErrGone) && id != p.ID {
			continue
		}
		if err != nil {
			return err
		}
		s.instances = append(s.instances, &instance{process: one})
		identity, err := f.Resolve(one)
		if errors.Is(err, proc.ErrGone) {
			return err
		}
		if err != nil { // the process lives, so this is not a no
			if id != p.ID {
				err = fmt.Errorf("process %d: %w", id.PID, err)
			}
			return &cli.Error{Code: cli.Refused, Err: err}
		}
		s.instances[len(s.instances)-1].identity = identity
	}
	if len(s.instances) == 0 {
		return fmt.Errorf("%w: its Sidekiqs have exited", proc.ErrGone)
	}
	return nil
}

func (s *subject) identities() (list []string) {
	for _, in := range s.instances {
		list = append(list, in.identity)
	}
	return list
}

func (s *subject) close() {
	for _, in := range s.instances {
		if in.process != nil {
			in.process.Close()
		}
	}
	if s.target != nil {
		s.target.Close()
	}
}

// twoBeats are two heartbeats of Sidekiq 7: an instance that Redis has forgotten is there again by then.
const twoBeats = 20 * time.Second

// hasExited tells whether an error of Redis means that the instance has exited. A process that lives has not, whatever
// Redis has forgotten. Nor has an instance that did not leave by itself before it had time for another heartbeat:
// Redis may have lost its data, or was away for as long as they are kept.
func (c *command) hasExited(in *instance, err error) bool {
	absent := errors.Is(err, fleet.ErrAbsent)
	switch {
	case err == nil:
		in.known, in.missing = true, time.Time{}
		return false
	case !absent && !errors.Is(err, fleet.ErrDead):
		return false
	case in.process != nil:
		return in.process.Ended()
	case !in.known, absent && c.fleet.Left(in.identity):
		return true
	case in.missing.IsZero():
		in.missing = time.Now()
	}
	return time.Since(in.missing) >= twoBeats
}
