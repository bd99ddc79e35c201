package cluster

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"slices"

	"ashlar/replication/wire"
)

// A cluster whose nodes have all lost what they agreed on is formed anew of its disks. The newest label tells the state. It
// may be a moment old: copies may have left their sets since, and the others may have acknowledged more.
// So of the copies that it calls in sync the one goes on that has the highest version of any block: each has all that was sent to it before
// what it has, so none knows of an acknowledged write that this one misses. All others catch up with it, as after any
// absence. A disk that is not there may have gone on without those that are: then somebody has to accept the loss.

// FoundDisk is what a disk tells about itself.
type FoundDisk struct {
	Path     string                   `json:"path"` // where it was looked at, for people
	ID       DiskID                   `json:"id"`
	Cluster  string                   `json:"cluster"`
	Label    []byte                   `json:"label,omitempty"`   // as on the disk
	InUse    bool                     `json:"in_use,omitempty"`  // a process has it open: what changes is not told
	Problem  string                   `json:"problem,omitempty"` // why it cannot be used as it is
	Decayed  bool                     `json:"decayed,omitempty"` // the label may not be the last that was written
	Copies   []FoundCopy              `json:"copies,omitempty"`
	Promises map[wire.VolumeID]uint64 `json:"promises,omitempty"` // epoch
}

// FoundCopy is one copy of a segment.
type FoundCopy struct {
	Volume  wire.VolumeID `json:"volume"`
	Segment wire.Segment  `json:"segment"`
	Commit  wire.Version  `json:"commit"`            // it has every write up to that
	Highest wire.Version  `json:"highest"`           // of any block
	Lost    uint64        `json:"lost,omitempty"`    // blocks
	Damaged bool          `json:"damaged,omitempty"` // nothing of it can be read
}

// Adoption is a cluster as its disks tell of it, and what would go on.
type Adoption struct {
	State   *State // the newest that a disk tells of
	Newer   uint64 // index of a newer state that did not fit on its disk; 0: there is none
	Unknown int    // copies of what was made after that state
	Disks   []AdoptedDisk
	Volumes []AdoptedVolume
	Locked  []string // hosts that are locked out until their secrets are set again

	chosen   map[wire.VolumeID]map[wire.Segment]DiskID
	promises map[wire.VolumeID]uint64
}

// DiskFate is what becomes of a disk.
type DiskFate string

const (
	DiskTaken    DiskFate = "taken"    // its copies count
	DiskMissing  DiskFate = "missing"  // may come back, and catch up
	DiskDiverged DiskFate = "diverged" // an old copy of a disk: never used again
	DiskIgnored  DiskFate = "ignored"  // no disk of the cluster any more
)

// AdoptedDisk is one disk, of the cluster's or found.
type AdoptedDisk struct {
	ID   DiskID
	Node wire.NodeID // 0: of none
	Path string      // where it was found, or else where the cluster had it
	Fate DiskFate
	Why  string
}

// AdoptedVolume is what becomes of one volume. Its segments are whole, or else counted in one of the others.
type AdoptedVolume struct {
	Name     string
	Bytes    uint64
	Segments int
	Doubtful int // a disk is missing that may hold writes which were acknowledged without those that are here
	Lost     int // no copy is here that was in sync
}

// Loses says whether acknowledged writes may be lost.
func (a *Adoption) Loses() bool {
	return a.Newer > 0 || a.Unknown > 0 || slices.ContainsFunc(a.Volumes, func(v AdoptedVolume) bool { return v.Doubtful+v.Lost > 0 })
}

// Adopt finds out what can be formed of disks.
func Adopt(found []FoundDisk) (*Adoption, Result) {
	if len(found) == 0 {
		return nil, problem(Invalid, "no disk is given: a cluster is adopted from its disks")
	}
	byID := map[DiskID]*FoundDisk{}
	for i := range found {
		f := &found[i]
		if other := byID[f.ID]; other != nil {
			return nil, problem(Refused, "%s and %s are the same disk (%s): one is a copy of the other, and has to be left out", other.Path, f.Path, f.ID)
		}
		if f.Cluster != found[0].Cluster {
			return nil, problem(Refused, "%s is of cluster %s and %s of cluster %s: they are adopted each by itself", found[0].Path, found[0].Cluster, f.Path, f.Cluster)
		}
		byID[f.ID] = f
	}
	a := &Adoption{chosen: map[wire.VolumeID]map[wire.Segment]DiskID{}, promises: map[wire.VolumeID]uint64{}}
	labels, r := a.newest(found)
	if r.Problem != "" {
		return nil, r
	}
	fates := map[DiskID]DiskFate{}
	for _, id := range a.State.DiskIDs() {
		if d := a.judge(a.State.Disks[id], byID[id], labels[id]); d.Fate != "" {
			fates[id] = d.Fate
			a.Disks = append(a.Disks, d)
		}
	}
	copies := map[DiskID]map[Place]FoundCopy{}
	for i := range found {
		f := &found[i]
		if fates[f.ID] == "" {
			a.Disks = append(a.Disks, AdoptedDisk{ID: f.ID, Path: f.Path, Fate: DiskIgnored, Why: "the cluster does not use it any more"})
		}
		for v, epoch := range f.Promises {
			a.promises[v] = max(a.promises[v], epoch)
		}
		if fates[f.ID] != DiskTaken {
			continue
		}
		copies[f.ID] = map[Place]FoundCopy{}
		for _, c := range f.Copies {
			copies[f.ID][Place{c.Volume, c.Segment}] = c
			if v := a.State.Volumes[c.Volume]; c.Volume > a.State.LastVolume || v != nil && int(c.Segment) >= len(v.Segments) {
				a.Unknown++
			}
		}
	}
	for _, id := range a.State.VolumeIDs() {
		a.Volumes = append(a.Volumes, a.choose(a.State.Volumes[id], fates, copies))
	}
	for _, name := range slices.Sorted(maps.Keys(a.State.Hosts)) {
		if h := a.State.Hosts[name]; h.CHAP != nil || h.DHCHAP != nil {
			a.Locked = append(a.Locked, name)
		}
	}
	return a, Result{}
}

// Place is where a copy belongs: the segment of a volume.
type Place struct {
	Volume  wire.VolumeID
	Segment wire.Segment
}

// newest takes the state that all other labels tell the past of.
func (a *Adoption) newest(found []FoundDisk) (map[DiskID]*Label, Result) {
	labels := map[DiskID]*Label{}
	var with, any *Label // the newest with a state, and of all
	var withState *State
	var from, first string
	for i := range found {
		l, err := ParseLabel(found[i].Label)
		if len(found[i].Label) == 0 {
			continue
		}
		if err != nil {
			found[i].Problem = join(found[i].Problem, err.Error())
			continue
		}
		labels[found[i].ID] = l
		if first == "" {
			first = found[i].Path
		}
		if any == nil || any.Precedes(l) {
			any, from = l, found[i].Path
		}
		s, err := l.State()
		switch {
		case err != nil:
			found[i].Problem = join(found[i].Problem, err.Error())
		case s != nil && (with == nil || with.Precedes(l)):
			with, withState = l, s
		}
	}
	if withState == nil {
		return nil, problem(NotFound, "none of the disks tells of its cluster: they were never used, or their labels have decayed")
	}
	for i := range found {
		if l := labels[found[i].ID]; l != nil && !l.Precedes(any) {
			return nil, problem(Refused, "%s and %s are of two lineages of the cluster that went on without each other: leave out the disks of one of them", found[i].Path, from)
		}
	}
	a.State = withState
	if !any.Precedes(with) {
		a.Newer = any.Index
	}
	return labels, Result{}
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// judge says what becomes of a disk that the state lists; nothing of one that failed long ago and is not here.
func (a *Adoption) judge(d *Disk, f *FoundDisk, l *Label) AdoptedDisk {
	out := AdoptedDisk{ID: d.ID, Node: d.Node, Path: d.Path}
	if f != nil {
		out.Path = f.Path
	}
	switch {
	case d.Failed && f == nil:
		return AdoptedDisk{}
	case d.Failed:
		out.Fate, out.Why = DiskIgnored, "it had failed before"
	case f == nil:
		out.Fate, out.Why = DiskMissing, "it was not given"
	case f.Problem != "":
		out.Fate, out.Why = DiskMissing, f.Problem
	case !f.Decayed && !l.IsOf(d.Nonce):
		out.Fate, out.Why = DiskDiverged, "it is an old copy of the disk that the cluster used last"
	default:
		out.Fate = DiskTaken
	}
	return out
}

// choose takes the copy of each segment that goes on.
func (a *Adoption) choose(v *Volume, fates map[DiskID]DiskFate, copies map[DiskID]map[Place]FoundCopy) AdoptedVolume {
	out := AdoptedVolume{Name: v.Name, Bytes: v.Bytes, Segments: len(v.Segments)}
	a.chosen[v.ID] = map[wire.Segment]DiskID{}
	for i, g := range v.Segments {
		at := Place{v.ID, wire.Segment(i)}
		disk, doubtful := a.best(g, at, fates, copies)
		switch {
		case disk == "":
			out.Lost++
			continue
		case doubtful:
			out.Doubtful++
		}
		a.chosen[v.ID][at.Segment] = disk
	}
	return out
}

// best is the disk of the copy that goes on, empty where there is none; doubtful where one that is not here
// may have gone on without it.
func (a *Adoption) best(g Segment, at Place, fates map[DiskID]DiskFate, copies map[DiskID]map[Place]FoundCopy) (disk DiskID, doubtful bool) {
	var have FoundCopy
	for _, r := range g.Replicas {
		c := copies[r.Disk][at] // none: it was never written
		switch fate := fates[r.Disk]; {
		case fate == "" || fate == DiskIgnored:
		case fate != DiskTaken || c.Damaged:
			doubtful = true // one that was not in sync may have come into the set since, and have gone on alone
		case r.InSync && (disk == "" || have.before(c)):
			disk, have = r.Disk, c
		}
	}
	if disk == "" {
		return "", doubtful
	}
	for id := range copies {
		// One that was placed after the label was written, and filled.
		if !slices.ContainsFunc(g.Replicas, func(r Replica) bool { return r.Disk == id }) && have.Highest.Less(copies[id][at].Highest) {
			doubtful = true
		}
	}
	for _, r := range g.Replicas {
		c, ok := copies[r.Disk][at]
		// It came into the set after the label was written: it has all that the others have, and more.
		if ok && !c.Damaged && !r.InSync && !c.Commit.Less(have.Highest) && have.Highest.Less(c.Highest) {
			disk, have = r.Disk, c
		}
	}
	return disk, doubtful
}

// before says whether another copy is to be preferred.
func (c FoundCopy) before(other FoundCopy) bool {
	switch {
	case c.Highest != other.Highest:
		return c.Highest.Less(other.Highest)
	case (c.Lost == 0) != (other.Lost == 0):
		return other.Lost == 0
	}
	return c.Commit.Less(other.Commit)
}

// Renewal is what a cluster gets anew that its disks do not hold.
type Renewal struct {
	Lineage   string
	Authority Authority
	Secret    []byte
	GossipKey []byte
	Draw      func(bytes int) []byte // random
}

// Form is the cluster formed anew, with self as the only node that is known to run. The others keep their numbers
// and their copies: they join under their names, and catch up. Where no copy is here that was in
// sync, the set stays as it is: reads and writes there wait for one of it.
func (a *Adoption) Form(self wire.NodeID, r Renewal) *State {
	next := a.State.clone()
	defer func() { next.Edited = nil }()
	next.descend(r.Lineage)
	next.Authority, next.Secret, next.GossipKey = r.Authority, r.Secret, r.GossipKey
	for _, id := range next.NodeIDs() {
		n := next.editNode(id)
		n.Up, n.Leaving, n.Voter, n.Awaited = false, false, id == self, id != self && !n.Expelled
		next.endSessions(id)
	}
	for _, d := range a.Disks {
		if d.Fate == DiskDiverged {
			next.editDisk(d.ID).Failed = true
		}
	}
	for _, id := range next.VolumeIDs() {
		v := next.editVolume(id)
		v.Epoch = max(v.Epoch, a.promises[id]) + epochGap
		v.Head, v.HeadIncarnation = 0, 0
		for segment, disk := range a.chosen[id] {
			replicas := slices.Clone(v.Segments[segment].Replicas)
			for i := range replicas {
				replicas[i].InSync = replicas[i].Disk == disk
				replicas[i].Demoted = replicas[i].Demoted && !replicas[i].InSync
			}
			v.editReplicas(segment, replicas)
		}
	}
	for _, name := range a.Locked {
		h := *next.Hosts[name]
		h.lock(r.Draw)
		next.Hosts[name] = &h
	}
	return next
}

// lock gives a host secrets that nobody knows in the place of those that are lost, so that it is kept out until somebody
// sets new ones, or says that it need not prove anything.
func (h *Host) lock(draw func(int) []byte) {
	if h.CHAP != nil {
		h.CHAP = &CHAP{Secret: draw(chapSecretMax), Lost: true}
	}
	if h.DHCHAP != nil {
		key := draw(32)
		key = binary.LittleEndian.AppendUint32(key, crc32.ChecksumIEEE(key))
		h.DHCHAP = &DHCHAP{Host: Secret("DHHC-1:00:" + base64.StdEncoding.EncodeToString(key) + ":"), Lost: true}
	}
}
