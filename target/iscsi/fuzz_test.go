package iscsi

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/targettest/initiator"
)

// Whatever a host sends after its login, the server answers or ends the
// connection, and goes on serving another.
func FuzzConnection(f *testing.F) {
	sample := &raw{sn: 1}
	for _, kind := range kinds {
		f.Add(kind.bytes(sample))
	}
	read := &pdu.SCSICommand{Final: true, Read: true, ITT: 1, EDTL: 512, CmdSN: 1, CDB: [16]byte(initiator.CDB16(0x88, 0, 1))}
	f.Add(append(sample.bytes(read, nil, nil), sample.bytes(&pdu.LogoutRequest{ITT: 2, CmdSN: 2}, nil, nil)...))
	r := newRig(f, nil)
	r.ctx = f.Context()
	bystander, err := initiator.Dial(r.ctx, r.address, other, initiator.Options{}) // whom a TARGET COLD RESET does not concern
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(bystander.Close)
	f.Fuzz(func(t *testing.T, sent []byte) {
		here := &rig{TB: t, server: r.server, address: r.address, ctx: r.ctx}
		began := time.Now()
		c := here.dial()
		defer c.Close()
		c.login(2, pdu.Pair{Key: "InitialR2T", Value: "No"})
		go func() {
			c.Write(sent)
			c.Conn.(*net.TCPConn).CloseWrite()
		}()
		c.SetReadDeadline(time.Now().Add(patient))
		answers, err := io.ReadAll(c)
		if isTimeout(err) {
			t.Fatal("the connection is still open")
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the end took %v", took)
		}
		for rest := answers; len(rest) >= pdu.HeaderSize; {
			var h pdu.Header
			copy(h[:], rest)
			n := pdu.HeaderSize + h.DataLength() + pdu.Padding(h.DataLength())
			if op := h.Opcode(); op < pdu.OpNopIn || pdu.New(op) == nil || h.AHSLength() != 0 {
				t.Fatalf("it answers with %x", h[:])
			}
			rest = rest[min(n, len(rest)):]
		}
		if err := bystander.Ping(r.ctx, bytes.Repeat([]byte{'p'}, 32)); err != nil {
			t.Fatal("the bystander:", err)
		}
	})
}
