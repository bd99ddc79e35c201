package cluster

import "bytes"

// Secret is a shared secret. It is never shown.
type Secret []byte

func (Secret) String() string { return "(secret)" }

// GoString hides it from %#v, too.
func (s Secret) GoString() string { return s.String() }

// CHAP is what a host proves when it logs in, and what is proven to it (RFC 7143 12.1.3).
type CHAP struct {
	Secret Secret
	Mutual Secret `json:",omitempty"` // none: the cluster does not prove itself
	Lost   bool   `json:",omitempty"` // the host's secrets went with all of raft: nobody knows what is in their place
}

func (CHAP) String() string { return "(secrets)" }

// SetCHAP sets what a host has to prove from its next login on. Without a
// Secret it has to prove nothing any more.
type SetCHAP struct {
	Host string
	CHAP CHAP
}

const (
	chapSecretMin = 12 // bytes: 96 bits (RFC 7143 9.2.1)
	chapSecretMax = 100
)

func (s *State) setCHAP(c *SetCHAP) Result {
	h := s.Hosts[c.Host]
	if h == nil {
		return problem(NotFound, "no host %q", c.Host)
	}
	changed := *h
	changed.CHAP = nil
	if len(c.CHAP.Secret) > 0 {
		if r := c.CHAP.check(); r.Problem != "" {
			return r
		}
		changed.CHAP = &c.CHAP
	} else if len(c.CHAP.Mutual) > 0 {
		return problem(Invalid, "a mutual secret needs the host's own: a cluster proves itself only to who did so first")
	}
	s.Hosts[c.Host] = &changed
	return Result{}
}

func (c *CHAP) check() Result {
	for i, secret := range []Secret{c.Secret, c.Mutual} {
		if n := len(secret); n > 0 && n < chapSecretMin || n > chapSecretMax {
			return problem(Invalid, "the %ssecret must have %d to %d bytes (some hosts take 16 at most), not %d",
				[]string{"", "mutual "}[i], chapSecretMin, chapSecretMax, n)
		}
	}
	if bytes.Equal(c.Secret, c.Mutual) {
		return problem(Invalid, "the secrets of the two directions must differ: equal ones prove nothing")
	}
	return Result{}
}
