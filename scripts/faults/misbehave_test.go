//go:build faults

package faults

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"ashlar/scripts/internal/clusters"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/targettest/initiator"
)

// peer is a connection whose host makes its PDUs by hand.
type peer struct {
	net.Conn
	digests bool
}

// send sends a PDU, with its digests where they were agreed on. spoil changes the
// bytes before they go.
func (p *peer) send(m pdu.Message, data []byte, spoil func(b []byte)) error {
	var h pdu.Header
	m.Marshal(&h)
	b := h[:]
	if p.digests {
		b = append(b, make([]byte, pdu.DigestSize)...)
		pdu.Digest(0).Add(h[:]).Put(b[pdu.HeaderSize:])
	}
	b = append(b, data...)
	if p.digests && len(data) > 0 {
		b = append(b, make([]byte, pdu.DigestSize)...)
		pdu.Digest(0).Add(data).Put(b[len(b)-pdu.DigestSize:])
	}
	if spoil != nil {
		spoil(b)
	}
	_, err := p.Write(b)
	return err
}

// get reads a PDU, whose digests and data it throws away.
func (p *peer) get() (h pdu.Header, ok bool) {
	if _, err := io.ReadFull(p, h[:]); err != nil {
		return h, false
	}
	n := h.DataLength() + pdu.Padding(h.DataLength())
	if p.digests {
		n += pdu.DigestSize
	}
	if p.digests && h.DataLength() > 0 {
		n += pdu.DigestSize
	}
	_, err := io.CopyN(io.Discard, p, int64(n))
	return h, err == nil
}

// takeAttention takes the unit attention of a new session.
func (p *peer) takeAttention() {
	p.send(&pdu.SCSICommand{Final: true, ITT: 1, CmdSN: 1}, nil, nil)
	p.get()
}

// asked begins a write of one block whose data the node then
// asks for.
func (p *peer) asked() (r2t pdu.R2T, ok bool) {
	p.takeAttention()
	p.send(write(2, lbaBytes), nil, nil)
	h, ok := p.get()
	r2t.Unmarshal(&h)
	return r2t, ok && h.Opcode() == pdu.OpR2T
}

// What misdeeds write, nobody else does: it begins at forbiddenLBA, the last part
// of the volume, and must read as zeros.
const (
	forbiddenBytes = 1 << 20
	forbiddenLBA   = (volumeBytes - forbiddenBytes) / lbaBytes
)

func evil(length int) []byte { return bytes.Repeat([]byte{0xee}, length) }

// expectForbidden reads what nobody may have written.
func expectForbidden(t *testing.T, n *clusters.Node, target string) {
	t.Helper()
	got := make([]byte, forbiddenBytes)
	h := newHost(t, n, target, clusters.HostIQN, 7)
	defer h.close()
	h.must(t, &initiator.Command{CDB: initiator.CDB16(opRead, forbiddenLBA, forbiddenBytes/lbaBytes), In: got})
	if at := bytes.IndexFunc(got, func(r rune) bool { return r != 0 }); at >= 0 {
		t.Errorf("what had to be refused was written, at byte %d", at)
	}
}

// write is a WRITE(16) at the forbidden LBA.
func write(sn, edtl uint32) *pdu.SCSICommand {
	return &pdu.SCSICommand{Final: true, Write: true, ITT: sn, CmdSN: sn, EDTL: edtl, CDB: [16]byte(initiator.CDB16(opWrite, forbiddenLBA, edtl/lbaBytes))}
}

// out is the data of what asked has begun.
func out(r2t pdu.R2T, length int) *pdu.DataOut {
	return &pdu.DataOut{Final: true, ITT: r2t.ITT, TTT: r2t.TTT, DataLength: uint32(length)}
}

// spoiled flips one bit at a place from the end.
func spoiled(fromEnd int) func([]byte) {
	return func(b []byte) { b[len(b)-fromEnd] ^= 0x10 }
}

// misdeeds are what a host with access must not do, none of which may write
// anything. A peer that stays silent afterwards does not answer the node's pings,
// so the node is rid of it in any case.
var misdeeds = []struct {
	name string
	keys []pdu.Pair // of the login; nil: there is none
	do   func(p *peer)
}{
	{"a session that there is not", nil, func(p *peer) {
		text := identity("")
		p.send(&pdu.LoginRequest{Transit: true, CSG: pdu.LoginOperational, NSG: pdu.FullFeature, TSIH: 0xbeef, CmdSN: 1, DataLength: uint32(len(text))}, text, nil)
	}},
	{"64 KiB of keys", nil, func(p *peer) {
		text := identity("")
		for n := 0; len(text) < 64<<10; n++ {
			text = pdu.AppendText(text, fmt.Sprintf("X-key-%d", n), "value")
		}
		for len(text) > 0 {
			part := text[:min(len(text), 8192)]
			text = text[len(part):]
			padded := append(bytes.Clone(part), make([]byte, pdu.Padding(len(part)))...)
			p.send(&pdu.LoginRequest{Continue: len(text) > 0, CSG: pdu.LoginOperational, NSG: pdu.FullFeature, CmdSN: 1, DataLength: uint32(len(part))}, padded, nil)
		}
	}},
	{"half of the immediate data", noKeys, func(p *peer) {
		p.takeAttention()
		c := write(2, lbaBytes)
		c.DataLength = lbaBytes
		p.send(c, evil(lbaBytes/2), nil)
		p.Conn.(*net.TCPConn).CloseWrite()
	}},
	{"WRITE with the R bit", noKeys, func(p *peer) {
		p.takeAttention()
		c := write(2, lbaBytes)
		c.Read, c.Write = true, false
		p.send(c, nil, nil)
	}},
	{"READ with the W bit and data", noKeys, func(p *peer) {
		p.takeAttention()
		c := write(2, lbaBytes)
		c.CDB[0], c.DataLength = opRead, lbaBytes
		p.send(c, evil(lbaBytes), nil)
	}},
	{"an expected length of 0 for a write of 4 KiB", noKeys, func(p *peer) {
		for sn := range uint32(8) {
			c := write(sn+1, 0)
			c.CDB = [16]byte(initiator.CDB16(opWrite, forbiddenLBA, lbasPerBlock))
			p.send(c, nil, nil)
		}
	}},
	{"an expected length of 4 GiB", noKeys, func(p *peer) {
		for sn := range uint32(64) {
			c := write(sn+1, 1<<32-1)
			if sn%2 == 0 {
				c.Read, c.Write, c.CDB[0] = true, false, opRead
			}
			p.send(c, nil, nil)
		}
	}},
	{"more data than was asked for", noKeys, func(p *peer) {
		if r2t, ok := p.asked(); ok {
			p.send(out(r2t, 4096), evil(4096), nil)
		}
	}},
	{"data at another offset than was asked for", noKeys, func(p *peer) {
		if r2t, ok := p.asked(); ok {
			o := out(r2t, lbaBytes)
			o.Offset = 1 << 31
			p.send(o, evil(lbaBytes), nil)
		}
	}},
	{"data out of its order", noKeys, func(p *peer) {
		if r2t, ok := p.asked(); ok {
			o := out(r2t, lbaBytes)
			o.DataSN = 27
			p.send(o, evil(lbaBytes), nil)
		}
	}},
	{"no data though it was asked for", noKeys, func(p *peer) { p.asked() }},
	{"a command with a wrong digest", withDigests, func(p *peer) {
		p.takeAttention()
		c := write(2, lbaBytes)
		c.DataLength = lbaBytes
		p.send(c, evil(lbaBytes), func(b []byte) { b[20] ^= 0x10 })
	}},
	{"immediate data with a wrong digest", withDigests, func(p *peer) {
		p.takeAttention()
		c := write(2, lbaBytes)
		c.DataLength = lbaBytes
		p.send(c, evil(lbaBytes), spoiled(pdu.DigestSize+100))
	}},
	{"data with a wrong digest", withDigests, func(p *peer) {
		if r2t, ok := p.asked(); ok {
			p.send(out(r2t, lbaBytes), evil(lbaBytes), spoiled(1))
		}
	}},
	{"pings whose echoes nobody takes", noKeys, func(p *peer) {
		for p.send(&pdu.NopOut{Immediate: true, ITT: 1, TTT: pdu.NoTag, CmdSN: 1, DataLength: 4096}, make([]byte, 4096), nil) == nil {
		}
	}},
	{"silence after the login", noKeys, func(*peer) {}},
}

var (
	noKeys      = []pdu.Pair{}
	withDigests = []pdu.Pair{{Key: "HeaderDigest", Value: "CRC32C"}, {Key: "DataDigest", Value: "CRC32C"}}
)

// misbehave is an attack that does all misdeeds, so many times each. In all they
// are fewer than the 64 unfinished logins that a node has room for: with one more
// the oldest is ended, which might be one that has yet to misbehave.
func misbehave(t *testing.T, times int) attack {
	var next, refused atomic.Int64
	t.Cleanup(func() {
		if n := refused.Load(); n > 0 {
			t.Errorf("%d of those that were to misbehave could not log in", n)
		}
	})
	return attack{"what a host with access must not do", "3260", times * len(misdeeds), func(c net.Conn, target string) {
		m := misdeeds[int(next.Add(1))%len(misdeeds)]
		if m.keys != nil && !login(c, target, m.keys...) {
			refused.Add(1)
			return
		}
		m.do(&peer{c, len(m.keys) > 0})
	}}
}

// identity is the text that a login begins with; without a target it is a discovery.
func identity(target string) []byte {
	text := pdu.AppendText(nil, "InitiatorName", clusters.HostIQN)
	if target == "" {
		return pdu.AppendText(text, "SessionType", "Discovery")
	}
	return pdu.AppendText(pdu.AppendText(text, "SessionType", "Normal"), "TargetName", target)
}
