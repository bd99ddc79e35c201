package cluster

import (
	"maps"
	"slices"

	"ashlar/replication/wire"
)

// What a volume with a write cache has acknowledged may be in the memories of its copies' nodes alone. So a copy
// whose node begins anew, or whose disk fails, has Forgot; it stays in its set, since the head sends it again what it
// lacks, and says so when it is done. Where no copy that remembers is left in a set, what was not flushed may be lost:
// that is counted, and hosts' sessions from before are told so when they flush. A copy that is alone in its set
// is written through, and once the head says that it has Stored all, has nothing to forget.

// forget marks copies in their sets that have lost what was in memory.
func (s *State) forget(which func(Replica) bool) {
	for _, id := range s.VolumeIDs() {
		if !s.Volumes[id].WriteCache {
			continue
		}
		for i, g := range s.Volumes[id].Segments {
			s.mark(id, wire.Segment(i), func(r *Replica) bool {
				if !r.InSync || r.Forgot || r.Stored && len(g.InSync()) == 1 || !which(*r) {
					return false
				}
				r.Forgot = true
				return true
			})
		}
	}
}

// mark changes copies of a segment; change says whether it did.
func (s *State) mark(v wire.VolumeID, i wire.Segment, change func(*Replica) bool) {
	replicas := slices.Clone(s.Volumes[v].Segments[i].Replicas)
	some := false
	for k := range replicas {
		some = change(&replicas[k]) || some
	}
	if some {
		s.editVolume(v).editReplicas(i, replicas)
	}
}

// countLosses looks at the volumes that a command has changed.
func (s *State) countLosses() {
	for _, id := range slices.Sorted(maps.Keys(s.Edited)) {
		v := s.Volumes[id]
		if v == nil || !v.WriteCache {
			continue
		}
		lost := false
		for i, g := range v.Segments {
			if slices.ContainsFunc(g.Replicas, func(r Replica) bool { return r.InSync && !r.Forgot }) {
				continue
			}
			lost = true
			s.mark(id, wire.Segment(i), func(r *Replica) bool {
				r.Forgot = false
				return true
			})
		}
		if lost {
			s.editVolume(id).Losses++
		}
	}
}

// relearned is word from a head of a copy in its set: it has again all that the set has; or it is alone, and has all on its disk.
func relearned(replicas []Replica, node wire.NodeID) bool {
	alone := len(Segment{Replicas: replicas}.InSync()) == 1
	for k := range replicas {
		if r := &replicas[k]; r.Node == node && r.InSync && (r.Forgot || alone && !r.Stored) {
			r.Forgot, r.Stored = false, alone
			return true
		}
	}
	return false
}
