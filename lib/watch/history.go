package watch

import (
	"encoding/binary"
	"time"

	"gracekit/lib/grace"
)

// The history file is a ring of a week, one sample a minute: a header of 64
// bytes, and a slot of 16 bytes for each minute. The slot of a sample is its
// minute since 1970 modulo the number of slots, so that there is no head to
// keep, and a clock that is set back overwrites what was noted for those
// minutes. All numbers are little endian.
//
//	0   uint32  minute since 1970 (low 28 bits) and mark (high 4 bits)
//	4   uint32  size of the largest instance, KB; 0: no process
//	8   uint32  soft limit, KB; 0: none
//	12  uint32  hard limit, KB; 0: none
const (
	HistoryMagic  = "gracekit history 1\n" // the first bytes of the header; the rest is zero
	HistoryHeader = 64                     // bytes
	HistorySlots  = 7 * 24 * 60
	HistorySlot   = 16 // bytes
	HistorySize   = HistoryHeader + HistorySlots*HistorySlot
)

// HistorySample is one minute of a history file.
type HistorySample struct {
	At     time.Time    // wall clock, a whole minute
	KB     int64        // the largest instance; 0: no process
	SoftKB int64        // 0: none
	HardKB int64        // 0: none
	Mark   grace.Reason // of a restart that ended in this minute; empty: none
}

// marks are the reasons by their number in the file; 0 is none.
var marks = [...]grace.Reason{"", grace.Soft, grace.Hard, grace.Legacy, grace.Age, grace.Control}

// HistoryOffset is where the slot of a minute is in the file, in bytes.
func HistoryOffset(at time.Time) int64 {
	return HistoryHeader + at.Unix()/60%HistorySlots*HistorySlot
}

// Encode writes the sample as a slot.
func (s HistorySample) Encode() (slot [HistorySlot]byte) {
	mark := uint32(0)
	for i, reason := range marks {
		if reason == s.Mark {
			mark = uint32(i)
		}
	}
	binary.LittleEndian.PutUint32(slot[0:], uint32(s.At.Unix()/60)&0x0fffffff|mark<<28)
	binary.LittleEndian.PutUint32(slot[4:], clampKB(s.KB))
	binary.LittleEndian.PutUint32(slot[8:], clampKB(s.SoftKB))
	binary.LittleEndian.PutUint32(slot[12:], clampKB(s.HardKB))
	return slot
}

// DecodeHistorySample reads a slot; ok if there is a sample in it.
func DecodeHistorySample(slot [HistorySlot]byte) (s HistorySample, ok bool) {
	word := binary.LittleEndian.Uint32(slot[0:])
	if word == 0 {
		return s, false
	}
	if mark := int(word >> 28); mark < len(marks) {
		s.Mark = marks[mark]
	}
	s.At = time.Unix(int64(word&0x0fffffff)*60, 0)
	s.KB = int64(binary.LittleEndian.Uint32(slot[4:]))
	s.SoftKB = int64(binary.LittleEndian.Uint32(slot[8:]))
	s.HardKB = int64(binary.LittleEndian.Uint32(slot[12:]))
	return s, true
}

// clampKB fits a size into 32 bits: 4 TB.
func clampKB(kb int64) uint32 { return uint32(min(max(kb, 0), 1<<32-1)) }
