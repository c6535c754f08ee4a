package service

import (
	"encoding/binary"
	"errors"
	"fmt"

	"gracekit/lib/proc"
)

// phase is what a supervised service is doing.
type phase uint8

const (
	down      phase = iota
	running         // the process is what ./run became
	finishing       // the process is ./finish
)

// status is what supervise/status says, whoever wrote it.
type status struct {
	phase phase
	pid   int // above 0 if running
	// who has its supervisor: the FIFO in supervise that it holds open to read
	fifo   string
	wanted WantedState
}

// WantedState is what the operator has told the supervisor to do with the service.
type WantedState struct {
	Up     bool // it is to run, and so is started again when it ends
	Paused bool // it was stopped, for a while
}

// Layouts of supervise/status, told apart by their length.
const (
	runitLength = 20 // runit 2.1 to 2.3
	s6Length    = 35 // s6 2.2 to 2.12, and from 2.14 on
	s6Length213 = 43 // s6 2.13: the process group, 8 bytes, stands before the wait status
)

var errStatus = errors.New("supervise/status is damaged")

// parseStatus reads supervise/status.
func parseStatus(text []byte) (status, error) {
	switch len(text) {
	case runitLength:
		return parseRunit(text)
	case s6Length, s6Length213:
		return parseS6(text)
	}
	return status{}, fmt.Errorf("supervise/status has %d bytes: neither runit's (20) nor s6's (35 or 43)", len(text))
}

// parseRunit: 12 bytes of TAI64N, pid (little endian), paused, want, got TERM, state.
func parseRunit(text []byte) (status, error) {
	pid, err := parsePID(uint64(binary.LittleEndian.Uint32(text[12:])))
	s := status{phase(text[19]), pid, "ok", WantedState{Up: text[17] == 'u', Paused: text[16] == 1}}
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
	s := status{running, pid, "control", WantedState{Up: flags&4 != 0, Paused: flags&1 != 0 && pid != 0}}
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

func parsePID(n uint64) (int, error) {
	if n > proc.PIDMax {
		return 0, errStatus
	}
	return int(n), nil
}
