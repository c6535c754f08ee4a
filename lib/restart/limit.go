package restart

import (
	"time"

	"gracekit/lib/proc"
)

// Limit is the size at which the wait for jobs ends, because what goes on
// growing would take the machine with it.
type Limit struct {
	KB   int64 // the hard limit; 0: none
	Hard bool  // the restart began because the hard limit was passed
}

// passed tells whether the wait of a worker ends, by its size when the wait
// began and its size now. A worker that was over the hard limit from the start
// may keep its size, but not grow by a tenth.
func (l Limit) passed(began, now int64) bool {
	if l.Hard {
		return now > l.KB && now > began+began/10
	}
	return l.KB > 0 && now > l.KB
}

// limitRule applies the limit to the workers during a wait.
type limitRule struct {
	*restart
	began map[proc.ID]int64 // KB at the first check
	next  time.Duration     // when they are checked again
}

func (r *restart) newLimitRule() *limitRule {
	return &limitRule{restart: r, began: map[proc.ID]int64{}}
}

// ended tells whether the wait ends because of the size of a worker. A size
// that cannot be read ends no wait.
func (l *limitRule) ended(workers []*worker) bool {
	if l.Size == nil || l.Limit == (Limit{}) || l.sys.Now() < l.next {
		return false
	}
	l.next = l.sys.Now() + sizeInterval
	for _, w := range workers {
		if w.phase != found && w.phase != waiting {
			continue
		}
		kb, err := w.KB()
		if err != nil {
			continue
		}
		began, seen := l.began[w.ID()]
		if !seen {
			began, l.began[w.ID()] = kb, kb
		}
		if l.Limit.passed(began, kb) {
			l.reportPassed(w, began, kb)
			return true
		}
	}
	return false
}

func (l *limitRule) reportPassed(w *worker, began, kb int64) {
	if l.Limit.Hard {
		l.Warn("%v is over the hard limit and has grown from %d to %d KB: not waiting any longer", w, began, kb)
		return
	}
	l.Warn("%v has passed the hard limit of %d KB (it has %d KB): not waiting any longer", w, l.Limit.KB, kb)
}
