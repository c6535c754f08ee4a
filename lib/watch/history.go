package watch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/grace"
	"gracekit/lib/service"
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
var marks = []grace.Reason{"", grace.Soft, grace.Hard, grace.Legacy, grace.Age, grace.Control}

// HistoryOffset is where the slot of a minute is in the file, in bytes.
func HistoryOffset(at time.Time) int64 {
	return HistoryHeader + at.Unix()/60%HistorySlots*HistorySlot
}

// Encode writes the sample as a slot.
func (s HistorySample) Encode() (slot [HistorySlot]byte) {
	mark := uint32(max(0, slices.Index(marks, s.Mark)))
	for i, word := range [...]uint32{uint32(s.At.Unix()/60)&0x0fffffff | mark<<28, clampKB(s.KB), clampKB(s.SoftKB), clampKB(s.HardKB)} {
		binary.LittleEndian.PutUint32(slot[4*i:], word)
	}
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

// history writes the history file.
type history struct {
	file *os.File
}

// openHistory continues a history file. One that is truncated, or of something
// else, is replaced.
func openHistory(dir *service.Dir, name string) (*history, error) {
	f, err := dir.OpenFile(name, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return nil, err
	}
	header, have := make([]byte, HistoryHeader), make([]byte, HistoryHeader)
	copy(header, HistoryMagic)
	f.ReadAt(have, 0)
	info, err := f.Stat()
	if err == nil && (info.Size() != HistorySize || !bytes.Equal(have, header)) {
		err = f.Truncate(0)
		if err == nil {
			_, err = f.WriteAt(header, 0)
		}
		if err == nil {
			err = f.Truncate(HistorySize)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &history{file: f}, nil
}

// write is one pwrite(2) of a slot.
func (h *history) write(s HistorySample) error {
	fd, offset := int(h.file.Fd()), HistoryOffset(s.At)
	var slot [HistorySlot]byte
	unix.Pread(fd, slot[:], offset)
	before, ok := DecodeHistorySample(slot)
	if ok && s.Mark == "" && before.At.Unix()/60 == s.At.Unix()/60 {
		s.Mark = before.Mark // a restart was marked in this minute already
	}
	slot = s.Encode()
	n, err := unix.Pwrite(fd, slot[:], offset)
	if err == nil && n < len(slot) {
		err = fmt.Errorf("only %d bytes of %d were written", n, len(slot))
	}
	return err
}

// isLost tells whether the file was deleted or truncated by somebody else.
func (h *history) isLost() bool {
	var st unix.Stat_t
	return h != nil && unix.Fstat(int(h.file.Fd()), &st) == nil && (st.Nlink == 0 || st.Size != HistorySize)
}

// openHistory opens the history file, in the place of one that was lost. That it
// cannot is logged once: it is tried again each minute.
func (l *loop) openHistory() {
	if l.history != nil {
		l.history.file.Close()
	}
	var err error
	l.history, err = l.world.History()
	if l.historyErr.begins(err) {
		l.cfg.Messages.Error("cannot keep the history: %v", err)
	}
	l.historyAt = grace.Never
	if l.history != nil || err != nil {
		l.historyAt = l.world.Now()
	}
}

// sampleHistory notes the largest instance, each minute.
func (l *loop) sampleHistory(at time.Duration) {
	if at < l.historyAt {
		return
	}
	if l.history == nil && bool(l.historyErr) || l.history.isLost() {
		l.openHistory()
	}
	l.historyAt = grace.Later(at, time.Minute)
	if l.history != nil {
		l.writeHistory("")
	}
}

// writeHistory notes the largest instance, and the reason of a restart that has ended.
func (l *loop) writeHistory(mark grace.Reason) {
	s := HistorySample{At: l.world.Wall(), Mark: mark}
	stale := l.cfg.Interval == 0 || l.cfg.Interval > time.Minute || l.kept.Paused
	for _, d := range l.order {
		if stale || d.KB == 0 { // or it has just been added, and its first check is to come
			d.read(nil)
		}
		if d.KB >= s.KB {
			s.KB, s.SoftKB, s.HardKB = d.KB, d.limits.Soft, d.limits.Hard
		}
	}
	if err := l.history.write(s); l.historyErr.begins(err) {
		l.cfg.Messages.Error("cannot keep the history: %v", err)
	}
}
