package cluster

import (
	"regexp"
	"slices"
	"strings"

	"ashlar/target/nvme/auth"
)

// SetNQN gives a host that is known by its IQN an NQN, too, for good.
type SetNQN struct{ Host, NQN string }

// DHCHAP is what a host proves on each queue, and what is proven to it: secrets
// as nvme gen-dhchap-key writes them (NVMe Base 2.0, 8.13.5.8).
type DHCHAP struct {
	Host       Secret
	Controller Secret `json:",omitempty"` // none: the cluster does not prove itself
	Lost       bool   `json:",omitempty"` // as CHAP.Lost
}

func (DHCHAP) String() string { return "(secrets)" }

// SetDHCHAP sets what a host has to prove from its next connection on. Without a
// secret of the host it has to prove nothing any more.
type SetDHCHAP struct {
	Host   string
	DHCHAP DHCHAP
}

// nqnRule is that of NVMe Base 2.0, 4.5: a domain's name turned round, or a UUID.
var nqnRule = regexp.MustCompile(`^nqn\.\d{4}-\d{2}\.[A-Za-z0-9.-]+:[!-~]+$`)

const nqnMax = 223 // bytes

// HostWithNQN finds the host with an NQN, or nil. NQNs are compared byte by byte.
func (s *State) HostWithNQN(nqn string) *Host {
	for _, h := range s.Hosts {
		if h.NQN != "" && h.NQN == nqn {
			return h
		}
	}
	return nil
}

// NQN is the name of the volume's NVMe subsystem. The prefix is permanent.
func (s *State) NQN(v *Volume) string { return s.ClusterNQN() + "." + v.Name }

// ClusterNQN is the name of the cluster's own subsystem, where each host finds what
// is published to it with numbers.
func (s *State) ClusterNQN() string { return "nqn.2026-11.io.ashlar:" + s.Name }

// NSIDMax is the highest namespace number: hosts keep tables of that size.
const NSIDMax = 16384

// OwnNSID is the volume's namespace in its own subsystem. It follows from its number,
// so that the next volume of the same name is another namespace there.
func (v *Volume) OwnNSID() uint32 { return uint32((uint64(v.ID)-1)%NSIDMax) + 1 }

// giveNSID keeps a namespace number of the cluster's subsystem for a volume that is
// published with a number. Where there is none left, hosts with iSCSI alone do without.
func (s *State) giveNSID(v *Volume, h *Host) Result {
	switch {
	case v.NSID != 0:
	case s.LastNSID < NSIDMax:
		s.LastNSID++
		v.NSID = s.LastNSID
	case h.NQN != "":
		return problem(Full, "the cluster's NVMe subsystem has used its %d namespace numbers: publish volume %q without a number", NSIDMax, v.Name)
	}
	return Result{}
}

// giveNSIDs does so for what was published to a host before it had an NQN.
func (s *State) giveNSIDs(h *Host) Result {
	for _, id := range s.VolumeIDs() {
		v := s.Volumes[id]
		if v.NSID == 0 && slices.ContainsFunc(v.Exports, func(e Export) bool { return e.Host == h.Name && e.Numbered }) {
			if r := s.giveNSID(s.editVolume(id), h); r.Problem != "" {
				return r
			}
		}
	}
	return Result{}
}

// names are those by which a host is known.
func (h *Host) names() string {
	return strings.TrimSpace(h.IQN + " " + h.NQN)
}

func (s *State) checkNQN(nqn string) Result {
	if !nqnRule.MatchString(nqn) || len(nqn) > nqnMax {
		return problem(Invalid, "%q is no NVMe host name: it looks like nqn.2014-08.org.nvmexpress:uuid:... (see /etc/nvme/hostnqn on the host)", nqn)
	}
	if h := s.HostWithNQN(nqn); h != nil {
		return problem(Exists, "host %q with %s is there already", h.Name, h.names())
	}
	return Result{}
}

func (s *State) setNQN(c *SetNQN) Result {
	h := s.Hosts[c.Host]
	switch {
	case h == nil:
		return problem(NotFound, "no host %q", c.Host)
	case h.NQN == c.NQN && c.NQN != "":
		return Result{}
	case h.NQN != "":
		return problem(Exists, "host %q is %s for good: delete it and add it to change that", h.Name, h.NQN)
	}
	if r := s.checkNQN(c.NQN); r.Problem != "" {
		return r
	}
	changed := *h
	changed.NQN = c.NQN
	s.Hosts[h.Name] = &changed
	return s.giveNSIDs(&changed)
}

func (s *State) setDHCHAP(c *SetDHCHAP) Result {
	h := s.Hosts[c.Host]
	if h == nil {
		return problem(NotFound, "no host %q", c.Host)
	}
	changed := *h
	changed.DHCHAP = nil
	switch {
	case len(c.DHCHAP.Host) > 0 && h.NQN == "":
		return problem(Refused, "host %q has no NQN: with iSCSI it proves itself by CHAP (ashlar host chap)", h.Name)
	case len(c.DHCHAP.Host) > 0:
		if r := c.DHCHAP.check(); r.Problem != "" {
			return r
		}
		changed.DHCHAP = &c.DHCHAP
	case len(c.DHCHAP.Controller) > 0:
		return problem(Invalid, "a controller secret needs the host's own: a cluster proves itself only to who did so first")
	}
	s.Hosts[c.Host] = &changed
	return Result{}
}

// Secrets are those of both directions; the controller's may be none. What was
// checked when it was set has no error.
func (d *DHCHAP) Secrets() (host, controller auth.Secret, err error) {
	if host, err = auth.ParseSecret(string(d.Host)); err == nil && len(d.Controller) > 0 {
		controller, err = auth.ParseSecret(string(d.Controller))
	}
	return host, controller, err
}

func (d *DHCHAP) check() Result {
	host, controller, err := d.Secrets()
	if err != nil {
		return problem(Invalid, "%v", err)
	}
	if host.Equal(controller) {
		return problem(Invalid, "the secrets of the two directions must differ: equal ones prove nothing")
	}
	return Result{}
}
