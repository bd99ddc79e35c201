package sim

import (
	"maps"
	"slices"

	"ashlar/node/cluster"
	store "ashlar/node/disk"
	"ashlar/replication/wire"
)

// What a disk may do wrong, and the limit of it: of each block one in-sync copy
// stays good, and of each set one disk. More than that no rule promises to survive.

// trick is what a disk does with its next write of data.
type trick uint8

const (
	honest   trick = iota
	lose           // it says that it is done, and the device still has what was there
	misplace       // the same, and another block's place is overwritten with it
	forget         // it says that it is done, and nothing of it is there, not even what is known of the block
)

// cachedWrite is one that a power cut would undo.
type cachedWrite struct {
	r      *replica
	block  uint32
	before []block
	at     int64
}

// gives is what the device has in a block's place.
func (k *block) gives() []byte {
	c := k.data
	if k.decayed {
		c = k.medium
	}
	if c == nil {
		return zeroBlock[:]
	}
	return c
}

// sound says whether a block's data can be read and is what its checksum is of.
func (k *block) sound(v wire.VolumeID, s wire.Segment, b uint32) bool {
	return !k.bad && !k.lost && (!k.decayed || wire.BlockCRC(v, s, b, k.medium) == k.crc)
}

// shown is the version that the store gives.
func (k *block) shown() wire.Version {
	if k.lost {
		return store.LostVersion
	}
	return k.version
}

// deceive plays the trick on a write of data that was just carried out. Checksums
// and versions are stored elsewhere, and are right.
func (d *disk) deceive(id replicaID, b uint32, before block) {
	trick := d.trick
	d.trick = honest
	r := d.replicas[id]
	if r == nil {
		return // the copy was given up meanwhile
	}
	k := &r.blocks[b]
	k.medium, k.decayed = before.gives(), true
	if trick == lose {
		d.count("lost write")
	} else if hit := d.victim(k); hit != nil {
		d.count("misdirected write")
		hit.medium, hit.decayed = k.data, true
	}
	d.onDecay()
}

// victim is a block with data, other than the one that a write was for; nil: there is none.
func (d *disk) victim(but *block) *block {
	var all []*block
	for _, id := range d.replicaIDs() {
		for i := range d.replicas[id].blocks {
			if k := &d.replicas[id].blocks[i]; k != but && k.data != nil {
				all = append(all, k)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[d.rng.IntN(len(all))]
}

// tear is what a crash in the midst of a write leaves of its record: some sectors
// are new, some are what was there. Recovery takes only what matches its checksum.
func (d *disk) tear(r *replica, m *wire.Write) {
	d.count("torn write")
	torn, whole := *m, true
	torn.Data, torn.CRC = slices.Clone(m.Data), slices.Clone(m.CRC)
	for i := range m.Count {
		data, old := torn.Data[i*wire.BlockSize:][:wire.BlockSize], r.blocks[m.Block+i].gives()
		for at := 0; at < wire.BlockSize; at += sector {
			if d.chance(0.5) {
				copy(data[at:at+sector], old[at:])
			}
		}
		torn.CRC[i] = wire.BlockCRC(m.Volume, m.Segment, m.Block+i, data)
		whole = whole && torn.CRC[i] == m.CRC[i]
	}
	if whole || d.bugs.TornKept {
		d.put(r, &torn, false)
	}
}

// fail is a write or flush with an error. What was under way may have happened.
func (d *disk) fail() {
	d.failed, d.dead = true, d.chance(0.5)
	pending := d.pending
	d.pending = nil
	for _, p := range pending {
		if p.done {
			continue
		}
		p.done = true
		if d.chance(0.5) {
			p.apply()
		}
		d.after(0, p.refuse)
	}
}

// loseMetadata makes a run of blocks lost: of a metadata page that cannot be read
// nothing is known.
func (d *disk) loseMetadata(r *replica, first, count int) {
	for b := first; b < min(first+count, len(r.blocks)); b++ {
		if r.blocks[b].version == (wire.Version{}) {
			continue
		}
		if d.bugs.LossUnnoticed {
			r.blocks[b] = block{}
		} else {
			r.blocks[b].lost = true
		}
	}
}

// anyCopy is a copy on a disk of the world.
func (w *world) anyCopy() (*disk, *replica) {
	d := w.anyServer().disk
	ids := d.replicaIDs()
	if len(ids) == 0 {
		return d, nil
	}
	return d, d.replicas[ids[w.rng.IntN(len(ids))]]
}

// rot makes a block of a copy unreadable: a latent sector error.
func (w *world) rot() {
	if _, r := w.anyCopy(); r != nil {
		k := &r.blocks[w.rng.IntN(segmentBlocks)]
		k.bad = k.data != nil
		w.saveLast(w.raft.last())
	}
}

func (w *world) loseMetadata() {
	if d, r := w.anyCopy(); r != nil {
		d.loseMetadata(r, w.rng.IntN(segmentBlocks), 1+w.rng.IntN(segmentBlocks))
		w.saveLast(w.raft.last())
	}
}

func (w *world) loseWrite()     { w.anyServer().disk.trick = lose }
func (w *world) misplaceWrite() { w.anyServer().disk.trick = misplace }

// fillDisk lets a disk run out of space for a while.
func (w *world) fillDisk() {
	d := w.anyServer().disk
	d.low = true
	w.after(w.between(0, 200*millisecond), func() { d.full = d.low })
	w.after(w.outage(), func() { d.low, d.full = false, false })
}

// image keeps what is on a disk; what it gives puts that back.
func (d *disk) image() (restore func()) {
	replicas, promises := map[replicaID]*replica{}, maps.Clone(d.promises)
	for id, r := range d.replicas {
		replicas[id] = &replica{blocks: slices.Clone(r.blocks), commit: r.durable, durable: r.durable}
	}
	return func() {
		d.count("image put back")
		d.replicas, d.promises = replicas, promises
	}
}

// saveLast undoes what decayed where no copy in the set is good: on those that
// have the block's highest version.
func (w *world) saveLast(st *cluster.State) {
	for _, v := range st.VolumeIDs() {
		for i, g := range st.Volumes[v].Segments {
			for b := range uint32(segmentBlocks) {
				w.saveBlock(replicaID{v, wire.Segment(i)}, g, b)
			}
		}
	}
}

func (w *world) saveBlock(id replicaID, g cluster.Segment, b uint32) {
	var last []*block
	for _, n := range g.InSync() {
		s := w.server(n)
		c := s.disk.replicas[id]
		if c == nil {
			continue
		}
		k := &c.blocks[b]
		if !s.disk.failed && k.sound(id.volume, id.segment, b) {
			return
		}
		if len(last) > 0 && last[0].version.Less(k.version) {
			last = nil
		}
		if len(last) == 0 || last[0].version == k.version {
			last = append(last, k)
		}
	}
	for _, k := range last {
		k.bad, k.lost, k.decayed, k.medium = false, false, false, nil
	}
}
