//go:build faults

package faults

import (
	"encoding/binary"
	"io"
	"net"

	"ashlar/target/nvmetcp/pdu"
)

// attacksNVMe are on the ports for NVMe/TCP, before a host has a queue there. (What
// one does that has a queue is tried in target/nvmetcp.)
var attacksNVMe = []attack{
	{"noise for NVMe/TCP", "4420", attackers, func(c net.Conn, _ string) { noise(c, 1<<20) }},
	{"noise for discovery", "8009", attackers, func(c net.Conn, _ string) { noise(c, 1<<20) }},
	{"nothing for NVMe/TCP", "4420", 500, func(c net.Conn, _ string) { io.Copy(io.Discard, c) }},
	{"half of a request for a connection", "4420", attackers, func(c net.Conn, _ string) {
		c.Write((&pdu.ICReq{}).Marshal(make([]byte, pdu.MaxTermReq))[:64])
		io.Copy(io.Discard, c)
	}},
	{"a connection without a Connect", "4420", attackers, func(c net.Conn, _ string) {
		openNVMe(c)
		io.Copy(io.Discard, c)
	}},
	{"a capsule that says 4 GiB", "4420", attackers, func(c net.Conn, _ string) {
		if openNVMe(c) {
			h := (&pdu.CapsuleCmd{Data: 512}).Marshal(&pdu.Frame{}, make([]byte, pdu.MaxTermReq))
			binary.LittleEndian.PutUint32(h[4:], 0xFFFFFFF0)
			c.Write(h)
			noise(c, 1<<24)
		}
	}},
	{"a Connect with a mebibyte of data", "4420", attackers, func(c net.Conn, _ string) {
		if openNVMe(c) {
			p := pdu.CapsuleCmd{Data: 1 << 20}
			p.Command[0], p.Command[4] = 0x7F, 1
			c.Write(p.Marshal(&pdu.Frame{}, make([]byte, pdu.MaxTermReq)))
			noise(c, 1<<20)
		}
	}},
}

// openNVMe opens a connection, without digests.
func openNVMe(c net.Conn) bool {
	c.Write((&pdu.ICReq{}).Marshal(make([]byte, pdu.MaxTermReq)))
	_, err := io.CopyN(io.Discard, c, pdu.MaxHeader)
	return err == nil
}
