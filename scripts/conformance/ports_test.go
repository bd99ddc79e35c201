//go:build conformance

package conformance

import (
	"encoding/binary"
	"slices"
	"testing"

	"ashlar/scripts/internal/clusters"
	"ashlar/target/targettest/initiator"
)

// testPortGroups: REPORT TARGET PORT GROUPS tells the same through every node, in both formats and
// cut at every allocation length; and each node's port, as VPD page 83h has it, is
// in the group that page 83h has.
func testPortGroups(t *testing.T, c *clusters.Cluster) {
	v := c.Publish("ports", "32M", 2)
	head := c.Head(v.Name)
	var first [2][]byte
	for i, n := range c.Nodes {
		s, err := initiator.Dial(t.Context(), n.Portals()[0], v.IQN, initiator.Options{Name: clusters.HostIQN})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		p := ports{t, s}
		for format, header := range []int{4, 8} {
			whole := p.truncations(byte(format)<<5, header)
			if i == 0 {
				first[format] = whole
			} else if !slices.Equal(whole, first[format]) {
				t.Errorf("%s tells %x, %s told %x", n.Name, whole, c.Nodes[0].Name, first[format])
			}
		}
		groups := parseGroups(first[0][4:])
		port, group := p.identification()
		at := slices.IndexFunc(groups, func(g portGroup) bool { return g.id == group })
		if len(groups) != len(c.Nodes) || at < 0 || !slices.Contains(groups[at].ports, port) {
			t.Fatalf("%s is port %d of group %d; groups: %+v", n.Name, port, group, groups)
		}
		if optimized := groups[at].state == 0; optimized != (n == head) {
			t.Errorf("the head is %s; the state of %s is %d", head.Name, n.Name, groups[at].state)
		}
	}
	var seen []uint16
	for _, g := range parseGroups(first[1][8:]) {
		for _, id := range append(g.ports, 0x8000|g.id) {
			if id == 0 || slices.Contains(seen, id) {
				t.Errorf("port or group %#x is there twice, or without a number", id)
			}
			seen = append(seen, id)
		}
	}
}

// ports asks one session.
type ports struct {
	t *testing.T
	s *initiator.Session
}

// ask gives what came of n bytes, the residual checked.
func (p ports) ask(cdb []byte, n int) []byte {
	p.t.Helper()
	c := &initiator.Command{CDB: cdb, In: make([]byte, n)}
	err := p.s.Do(p.t.Context(), c)
	if c.SenseCode(); c.Status == 2 && c.Sense != nil {
		err = p.s.Do(p.t.Context(), c) // a unit attention of the new session
	}
	if err != nil {
		p.t.Fatalf("%x: %v", cdb, err)
	}
	if c.Overflow || int(c.Received)+int(c.Residual) != n || c.Underflow != (c.Residual > 0) {
		p.t.Errorf("%x with room for %d: %d came, residual %d, over %v, under %v", cdb, n, c.Received, c.Residual, c.Overflow, c.Underflow)
	}
	return c.In[:c.Received]
}

// truncations asks for port groups with each allocation length there is.
func (p ports) truncations(format byte, header int) []byte {
	p.t.Helper()
	request := func(n int) []byte {
		cdb := make([]byte, 12)
		cdb[0], cdb[1] = 0xa3, 0x0a|format
		binary.BigEndian.PutUint32(cdb[6:], uint32(n))
		return p.ask(cdb, n)
	}
	whole := request(1024)
	if len(whole) < header || int(binary.BigEndian.Uint32(whole))+4 != len(whole) || format != 0 && whole[4] != 0x10 {
		p.t.Fatalf("format %d: %x", format>>5, whole)
	}
	for n := range len(whole) + 8 {
		if got := request(n); !slices.Equal(got, whole[:min(n, len(whole))]) {
			p.t.Errorf("format %d, allocation length %d: %x, want the beginning of %x", format>>5, n, got, whole)
		}
	}
	return whole
}

type portGroup struct {
	id    uint16
	state byte
	ports []uint16 // relative target port identifiers
}

// parseGroups reads target port group descriptors (SPC-4 6.37).
func parseGroups(d []byte) (all []portGroup) {
	for len(d) >= 8 {
		g := portGroup{id: binary.BigEndian.Uint16(d[2:]), state: d[0] & 0xf}
		count := int(d[7])
		for d = d[8:]; count > 0 && len(d) >= 4; count-- {
			g.ports, d = append(g.ports, binary.BigEndian.Uint16(d[2:])), d[4:]
		}
		all = append(all, g)
	}
	return all
}

// identification is the port and its group, of the designators of the session's
// port (VPD page 83h, SPC-4 7.8.6).
func (p ports) identification() (port, group uint16) {
	page := p.ask([]byte{0x12, 1, 0x83, 4, 0, 0}, 1024)
	for d := page[4:]; len(d) >= 4; d = d[4+int(d[3]):] {
		switch association, kind := d[1]>>4&3, d[1]&0xf; {
		case association == 1 && kind == 4:
			port = binary.BigEndian.Uint16(d[6:])
		case association == 1 && kind == 5:
			group = binary.BigEndian.Uint16(d[6:])
		}
	}
	return port, group
}
