package disk

// group is what memory keeps of 128 consecutive blocks of a replica; versions and
// CRCs are in its metadata page and in the overlays.
type group struct {
	used     bool // it is written or has a reserved chunk
	written  bool // it has, or is about to have, a block that was given data; what never had is not worth zeroing
	paged    bool // the last checkpoint has a page of it, in slot, with CRC sum
	lost     bool // paged, but the page is lost, and slot means nothing
	reserved uint8
	slot     uint32
	sum      uint32
	place    [groupChunks]uint32 // chunk number, or noChunk; counts once the group is used
	mapped   [groupChunks]uint32 // blocks that hold data, as of the last applied write
	max      Version             // no block of the group has a higher one
}

const leafGroups = 64

// replica is one life of a replica: Reset begins another.
type replica struct {
	Replica
	instance uint64
	commit   Version
	damaged  bool
	gone     bool                 // removed or reset
	leaves   [][]group            // by group index; a leaf is made at its first use
	mapped   uint64               // blocks that hold data
	bad      map[uint32]blockBits // by group: blocks whose page was lost, and that were not overwritten since; mostly nil

	// As of the last checkpoint.
	pages uint32
	hash  uint64
}

func newReplica(r Replica, instance uint64, segmentBlocks uint32) *replica {
	groups := (segmentBlocks + groupBlocks - 1) / groupBlocks
	return &replica{Replica: r, instance: instance, leaves: make([][]group, (groups+leafGroups-1)/leafGroups)}
}

// group returns nil when nothing was ever written there.
func (r *replica) group(i uint32) *group {
	leaf := r.leaves[i/leafGroups]
	if leaf == nil || !leaf[i%leafGroups].used {
		return nil
	}
	return &leaf[i%leafGroups]
}

// isWritten says whether a block of the group was ever given data.
func (r *replica) isWritten(i uint32) bool {
	g := r.group(i)
	return g != nil && g.written
}

// open returns the group, making it if need be; made says that it did.
func (r *replica) open(i uint32) (g *group, made bool) {
	leaf := r.leaves[i/leafGroups]
	if leaf == nil {
		leaf = make([]group, leafGroups)
		r.leaves[i/leafGroups] = leaf
	}
	g = &leaf[i%leafGroups]
	if g.used {
		return g, false
	}
	g.used = true
	for c := range g.place {
		g.place[c] = noChunk
	}
	return g, true
}

// each calls f with every group in use, in order.
func (r *replica) each(f func(i uint32, g *group)) {
	for l, leaf := range r.leaves {
		for i := range leaf {
			if leaf[i].used {
				f(uint32(l*leafGroups+i), &leaf[i])
			}
		}
	}
}

// span is the part of a block range that lies in one group.
type span struct {
	group       uint32
	first, last uint32 // blocks in the group, last excluded
	skip        uint32 // blocks of the range before this part
}

// spans calls f with the range cut at group borders, until f fails.
func spans(block, count uint32, f func(span) error) error {
	for done := uint32(0); done < count; {
		at := block + done
		first := at % groupBlocks
		n := min(groupBlocks-first, count-done)
		if err := f(span{at / groupBlocks, first, first + n, done}); err != nil {
			return err
		}
		done += n
	}
	return nil
}

// spanCount is how many groups a range of blocks touches.
func spanCount(block, count uint32) uint32 {
	return (block+count-1)/groupBlocks - block/groupBlocks + 1
}
