package api

import (
	"time"

	"ashlar/node"
	"ashlar/node/cluster"
)

// DiskDetail is a disk with what it lost.
type DiskDetail struct {
	Disk
	Bad []BadBlock `json:"bad" nullable:"false" doc:"Places that it could not give, the latest 64, oldest first"`
}

// BadBlock is a place that a disk could not give.
type BadBlock struct {
	Volume  string    `json:"volume" doc:"Empty where it was deleted"`
	Segment uint32    `json:"segment"`
	Block   uint32    `json:"block" doc:"Of 4 KiB, in the segment"`
	At      time.Time `json:"at"`
}

// stamp is a time that may be none.
func stamp(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := time.UnixMilli(ms).UTC()
	return &t
}

func badView(v *Disk, d *cluster.Disk) {
	v.BadLately, v.BadEver = d.BadLately(time.Now().UnixMilli()), d.BadEver
	if n := len(d.Bad); n > 0 {
		v.BadLast = stamp(d.Bad[n-1].At)
	}
}

func (s server) diskDetail(name string) (DiskDetail, error) {
	out := DiskDetail{Bad: []BadBlock{}}
	state, err := s.node.State()
	if err != nil {
		return out, err
	}
	var names []string
	found := 0
	for _, d := range diskViews(s.node, state) {
		names = append(names, d.Path)
		if d.ID == name || d.Path == name {
			out.Disk = d
			found++
		}
	}
	switch {
	case found == 0:
		return out, node.Unknown("disk", name, names)
	case found > 1:
		return out, &node.Problem{Code: cluster.Invalid, Text: "several disks have the path " + name, Next: "give the identity: ashlar disk list shows it"}
	}
	for _, b := range state.Disks[cluster.DiskID(out.ID)].Bad {
		x := BadBlock{Segment: uint32(b.Segment), Block: b.Block, At: *stamp(b.At)}
		if v := state.Volumes[b.Volume]; v != nil {
			x.Volume = v.Name
		}
		out.Bad = append(out.Bad, x)
	}
	return out, nil
}

func scrubViews(_ *node.Node, s *cluster.State) []Scrub {
	out := []Scrub{}
	settings := s.Effective()
	for _, id := range s.VolumeIDs() {
		v := s.Volumes[id]
		x := Scrub{Volume: v.Name}
		if v.Scrubs != nil {
			x.Light = roundView(v, v.Scrubs.Light, settings.ScrubLight)
			x.Deep = roundView(v, v.Scrubs.Deep, settings.ScrubDeep)
		}
		out = append(out, x)
	}
	return out
}

func roundView(v *cluster.Volume, r cluster.Round, every int) ScrubRound {
	x := ScrubRound{Began: stamp(r.Began), Ended: stamp(r.Ended), Seconds: float64(r.Took) / 1000, Differing: r.Last.Differing + r.Counts.Differing,
		Repaired: r.Last.Mended + r.Counts.Mended, Skipped: r.Last.Skipped + r.Counts.Skipped}
	switch {
	case r.Began != 0:
		x.Percent = 100 * int(r.Next) / len(v.Segments)
	case r.Since != 0:
		x.Due = stamp(r.Since + int64(every)*1000)
	}
	return x
}
