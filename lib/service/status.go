package service

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"gracekit/lib/proc"
)

// phase is what a supervised service is doing.
type phase uint8

const (
	down      phase = iota
	running         // the process is what ./run became
	finishing       // the process is ./finish
)

// status is what supervise/status says, of runsv or of s6-supervise.
type status struct {
	phase  phase
	pid    int    // above 0 if running
	fifo   string // of supervise: the one that its supervisor has open to read
	wanted WantedState
	stamp  time.Time // when the state began; while it runs, when it was started
}

// WantedState is what the supervisor was last asked to do with the service.
type WantedState struct {
	Up     bool // it is to run: it is started again when it exits
	Paused bool // it is stopped (sv pause, s6-svc -p)
}

// Layouts of supervise/status, which differ in length.
const (
	runitLength = 20 // runit 2.1 to 2.3
	s6Length    = 35 // s6 2.2 to 2.12, and from 2.14 on
	s6Length213 = 43 // s6 2.13: the process group, 8 bytes, stands before the wait status
)

var errStatus = errors.New("invalid supervise/status (want that of runit 2 or s6)")

// parseStatus reads supervise/status.
func parseStatus(text []byte) (status, error) {
	switch len(text) {
	case runitLength:
		return parseRunit(text)
	case s6Length, s6Length213:
		return parseS6(text)
	}
	return status{}, fmt.Errorf("invalid supervise/status of %d bytes (want 20 of runit, 35 or 43 of s6)", len(text))
}

// parseRunit: 12 bytes of TAI64N, pid (little endian), paused, want, got TERM, state.
func parseRunit(text []byte) (status, error) {
	pid, err := parsePID(uint64(binary.LittleEndian.Uint32(text[12:])))
	s := status{phase(text[19]), pid, "ok", WantedState{Up: text[17] == 'u', Paused: text[16] == 1}, tai(text, 10)}
	// In state 2 the pid is 0 until ./finish has been forked.
	if err != nil || !isTAI(text) || text[16] > 1 || text[18] > 1 || s.phase > finishing || s.phase == running && pid == 0 {
		return status{}, errStatus
	}
	return s, nil
}

// parseS6: twice 12 bytes of TAI64N, pid (big endian), maybe the process group,
// wait status, flags (1 paused, or without a pid: never started; 2 finishing, 4 want up, 8 ready).
func parseS6(text []byte) (status, error) {
	pid, err := parsePID(binary.BigEndian.Uint64(text[24:]))
	flags := text[len(text)-1]
	s := status{running, pid, "control", WantedState{Up: flags&4 != 0, Paused: flags&1 != 0 && pid != 0}, tai(text, 37)}
	switch {
	case pid == 0:
		s.phase = down
	case flags&2 != 0:
		s.phase = finishing
	}
	if err != nil || !isTAI(text) || !isTAI(text[12:]) || flags > 15 {
		return status{}, errStatus
	}
	return s, nil
}

// isTAI tells whether text starts with a TAI64N of this century: 2^62 and seconds below 2^34.
func isTAI(text []byte) bool {
	return binary.BigEndian.Uint64(text)>>34 == 1<<(62-34) && binary.BigEndian.Uint32(text[8:]) < 1e9
}

// tai is a TAI64N as a time. runit adds 10 seconds to the time of day, as TAI was
// in 1970, and s6 as many as it is now: there has been no leap second since 2016.
func tai(text []byte, offset int64) time.Time {
	seconds := int64(binary.BigEndian.Uint64(text) - 1<<62)
	return time.Unix(seconds-offset, int64(binary.BigEndian.Uint32(text[8:])))
}

func parsePID(n uint64) (int, error) {
	if n > proc.PIDMax {
		return 0, errStatus
	}
	return int(n), nil
}
