package mirror

// bucketBlocks is how many blocks share a list of locks: 1 MiB.
const bucketBlocks = 256

// lock is a claim on [first, last] of a volume's blocks, granted in the order of
// asking: it waits for every earlier claim that overlaps, unless both share.
type lock struct {
	first, last uint64
	shared      bool
	blockers    int     // earlier claims still held or waiting
	blocks      []*lock // later claims that wait for this one
	granted     func()
}

// lockTable holds the claims on one volume.
type lockTable map[uint64][]*lock

// acquire calls l.granted now, or when the last blocker is released.
func (t lockTable) acquire(l *lock) {
	for b := l.first / bucketBlocks; b <= l.last/bucketBlocks; b++ {
		for _, e := range t[b] {
			// An overlap is counted once: in the bucket where it begins.
			begins := max(e.first, l.first)
			if e.last < l.first || l.last < e.first || begins/bucketBlocks != b || e.shared && l.shared {
				continue
			}
			e.blocks = append(e.blocks, l)
			l.blockers++
		}
		t[b] = append(t[b], l)
	}
	if l.blockers == 0 {
		l.granted()
	}
}

// release gives up a claim, granted or not. A claim that was waiting is never
// granted afterwards.
func (t lockTable) release(l *lock) {
	l.granted = nil
	for b := l.first / bucketBlocks; b <= l.last/bucketBlocks; b++ {
		list := t[b]
		for i, e := range list {
			if e == l {
				list = append(list[:i], list[i+1:]...)
				break
			}
		}
		if len(list) == 0 {
			delete(t, b)
		} else {
			t[b] = list
		}
	}
	waiting := l.blocks
	l.blocks = nil
	for _, w := range waiting {
		w.blockers--
		if w.blockers == 0 && w.granted != nil {
			w.granted()
		}
	}
}
