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
	empty   [][]*lock // the memory of some that were
	start   func(*Op)
}

// emptyMax bounds the memory that is kept.
const emptyMax = 256

// add puts l into a bucket.
func (t *lockTable) add(bucket uint64, l *lock) {
	list := t.buckets[bucket]
	if n := len(t.empty) - 1; list == nil && n >= 0 {
		list, t.empty = t.empty[n], t.empty[:n]
	}
	t.buckets[bucket] = append(list, l)
}

// remove takes it out.
func (t *lockTable) remove(bucket uint64, l *lock) {
	list := t.buckets[bucket]
	if i := slices.Index(list, l); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) > 0 {
		t.buckets[bucket] = list
		return
	}
	delete(t.buckets, bucket)
	if cap(list) > 0 && len(t.empty) < emptyMax {
		t.empty = append(t.empty, list)
	}
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
		t.add(b, l)
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
		if l.blockers > 0 { // nobody keeps what is never granted, and the operation that it is part of
			for _, e := range t.buckets[b] {
				e.blocks = slices.DeleteFunc(e.blocks, func(w *lock) bool { return w == l })
			}
		}
		t.remove(b, l)
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
