package volume

import (
	"errors"

	"ashlar/node/disk"
	"ashlar/replication/wire"
)

// check lists what a copy holds of a range, and reads it where that is asked for.
func (v *Volume) check(s *disk.Store, m *wire.Check, done func(wire.Message)) {
	r := disk.Replica{Volume: v.id, Segment: m.Segment}
	refuse := func(err error) { done(&wire.Checked{Req: m.Req, Status: status(err)}) }
	if err := v.ensure(s, r, m.Epoch); err != nil {
		refuse(err)
		return
	}
	if !m.Data {
		changes, err := s.Written(r, m.Block, m.Count)
		if err != nil {
			refuse(err)
			return
		}
		done(&wire.Checked{Req: m.Req, Changes: appendChanges(nil, changes)})
		return
	}
	s.Read(&disk.Read{Replica: r, Block: m.Block, Count: m.Count, Data: make([]byte, int(m.Count)*wire.BlockSize), Scrub: true, Done: func(x *disk.Read) {
		var bad *disk.ChecksumError
		if x.Err != nil && !errors.As(x.Err, &bad) {
			refuse(x.Err)
			return
		}
		out := &wire.Checked{Req: m.Req}
		if bad != nil {
			out.Bad = bad.Blocks
			v.foundBad(s, bad)
		}
		// After the pages were read anew: what has decayed is lost by now. The range is
		// locked, so nothing is written between.
		go func() {
			changes, err := s.Written(r, m.Block, m.Count)
			if err != nil {
				refuse(err)
				return
			}
			out.Changes = appendChanges(nil, changes)
			done(out)
		}()
	}})
}

// foundBad notes blocks that a disk could not give.
func (v *Volume) foundBad(s *disk.Store, bad *disk.ChecksumError) {
	v.log.Error("blocks do not match their checksum", "volume", v.id, "segment", bad.Segment, "blocks", bad.Blocks)
	v.node.Bad(s, bad)
}
