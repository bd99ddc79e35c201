package cluster

import (
	"maps"
	"slices"

	"ashlar/replication/wire"
)

// SetExport publishes a volume to a host, or takes it back.
type SetExport struct {
	Volume, Host string
	ReadOnly     bool
	Numbered     bool   `json:",omitempty"` // with LUN, at the cluster's target; else at a target of its own
	LUN          uint16 `json:",omitempty"`
	Namespace    bool   `json:",omitempty"` // if it is Numbered, it gets an NSID in the cluster's NVMe subsystem, too
	Remove       bool
}

func (s *State) setExport(c *SetExport) Result {
	v := s.VolumeNamed(c.Volume)
	if v == nil {
		return problem(NotFound, "no volume %q", c.Volume)
	}
	h := s.Hosts[c.Host]
	if h == nil {
		return problem(NotFound, "no host %q", c.Host)
	}
	i := slices.IndexFunc(v.Exports, func(e Export) bool { return e.Host == c.Host })
	switch {
	case c.Remove && i < 0:
		return problem(NotFound, "volume %q is not published to host %q", c.Volume, c.Host)
	case !c.Remove && i >= 0:
		return problem(Exists, "volume %q is already published to host %q", c.Volume, c.Host)
	}
	if !c.Remove && v.Tenant != h.Tenant {
		return problem(Refused, "volume %q and host %q are not the same tenant's", c.Volume, c.Host)
	}
	if !c.Numbered && c.LUN != 0 {
		return problem(Invalid, "a target of one volume has it as LUN 0, not %d", c.LUN)
	}
	if !c.Remove && c.Numbered {
		if r := s.giveLUN(h, c.LUN, v.ID); r.Problem != "" {
			return r
		}
	}
	v = s.editVolume(v.ID)
	if !c.Remove && c.Numbered && c.Namespace {
		if r := s.giveNSID(v, h); r.Problem != "" {
			return r
		}
	}
	v.Exports = slices.Clone(v.Exports)
	if c.Remove {
		v.Exports = slices.Delete(v.Exports, i, i+1)
	} else {
		v.Exports = append(v.Exports, Export{Host: c.Host, ReadOnly: c.ReadOnly, Numbered: c.Numbered, LUN: c.LUN})
	}
	return Result{Volume: v.ID}
}

// giveLUN keeps a number for a volume, for ever.
func (s *State) giveLUN(h *Host, lun uint16, v wire.VolumeID) Result {
	owner, taken := h.LUNs[lun]
	switch {
	case lun > LUNMax:
		return problem(Invalid, "a logical unit number is 0 to %d, not %d", LUNMax, lun)
	case taken && owner != v && s.Volumes[owner] != nil:
		return problem(Exists, "LUN %d of host %q is that of volume %q, for good", lun, h.Name, s.Volumes[owner].Name)
	case taken && owner != v:
		return problem(Exists, "LUN %d of host %q was that of a volume that is gone: hosts remember it, so choose another", lun, h.Name)
	}
	changed := *h
	changed.LUNs = maps.Clone(h.LUNs)
	if changed.LUNs == nil {
		changed.LUNs = map[uint16]wire.VolumeID{}
	}
	changed.LUNs[lun] = v
	s.Hosts[h.Name] = &changed
	return Result{}
}
