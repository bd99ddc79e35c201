package mirror

import "slices"

// bucketBlocks is how many blocks share a list of locks: 1 MiB.
const bucketBlocks = 256

// lock is a claim on [first, last] of a volume's blocks, granted in the order of
// asking: it waits for every earlier claim that overlaps, unless both share.
type lock struct {
	first, last uint64
	shared      bool
	blockers    int     // earlier claims still held or waiting
	blocks      []*lock // later claims that wait for this one
	op          *Op     // which starts with it, or
	granted     func()
}

// lockTable holds the claims on one volume.
type lockTable struct {
	buckets map[uint64][]*lock
	start   func(*Op)
}

// acquire grants l now, or when the last blocker is released.
func (t *lockTable) acquire(l *lock) {
	for b := l.first / bucketBlocks; b <= l.last/bucketBlocks; b++ {
		for _, e := range t.buckets[b] {
			// An overlap is counted once: in the bucket where it begins.
			begins := max(e.first, l.first)
			if e.last < l.first || l.last < e.first || begins/bucketBlocks != b || e.shared && l.shared {
				continue
			}
			e.blocks = append(e.blocks, l)
			l.blockers++
		}
		t.buckets[b] = append(t.buckets[b], l)
	}
	if l.blockers == 0 {
		t.grant(l)
	}
}

func (t *lockTable) grant(l *lock) {
	switch {
	case l.op != nil:
		t.start(l.op)
	case l.granted != nil:
		l.granted()
	}
}

// release gives up a claim, granted or not. A claim that was waiting is never
// granted afterwards.
func (t *lockTable) release(l *lock) {
	l.op, l.granted = nil, nil
	for b := l.first / bucketBlocks; b <= l.last/bucketBlocks; b++ {
		list := t.buckets[b]
		if l.blockers > 0 { // nobody keeps what is never granted, and the operation that it is part of
			for _, e := range list {
				e.blocks = slices.DeleteFunc(e.blocks, func(w *lock) bool { return w == l })
			}
		}
		for i, e := range list {
			if e == l {
				list = append(list[:i], list[i+1:]...)
				break
			}
		}
		if len(list) == 0 {
			delete(t.buckets, b)
		} else {
			t.buckets[b] = list
		}
	}
	waiting := l.blocks
	l.blocks = nil
	for _, w := range waiting {
		w.blockers--
		if w.blockers == 0 {
			t.grant(w)
		}
	}
}
