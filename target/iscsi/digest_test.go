package iscsi

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"

	"ashlar/target"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/targettest"
	"ashlar/target/targettest/initiator"
)

// digested is a logged-in connection with digests, whose nexus has no unit
// attention left: what it sends next is carried out.
func (r *rig) digested() *raw {
	c := r.dial()
	c.login(2, pdu.Pair{Key: "HeaderDigest", Value: "CRC32C"}, pdu.Pair{Key: "DataDigest", Value: "CRC32C"},
		pdu.Pair{Key: "InitialR2T", Value: "No"}, pdu.Pair{Key: "MaxRecvDataSegmentLength", Value: "262144"})
	c.digests = true
	c.settleRaw()
	return c
}

// kinds are PDUs of every kind that a host sends after its login. before goes
// ahead of it, whole. answer is what a whole one is answered with, 0 if it is not.
var kinds = map[string]struct {
	before func(*raw)
	bytes  func(*raw) []byte
	answer pdu.Opcode
}{
	"NOP-Out": {bytes: func(c *raw) []byte {
		return c.bytes(&pdu.NopOut{Immediate: true, ITT: 7, TTT: pdu.NoTag, CmdSN: c.sn, DataLength: 5}, nil, []byte("hello"))
	}, answer: pdu.OpNopIn},
	"SCSI Command": {bytes: func(c *raw) []byte {
		return c.bytes(&pdu.SCSICommand{Final: true, Write: true, ITT: 7, EDTL: 512, DataLength: 512, CmdSN: c.sn,
			CDB: [16]byte(initiator.CDB16(0x8a, 0, 1))}, nil, bytes.Repeat([]byte{'x'}, 512))
	}, answer: pdu.OpSCSIResponse},
	"SCSI Command with additional header": {bytes: func(c *raw) []byte {
		ahs := (&pdu.AHS{CDB: make([]byte, 16)}).Append(nil)
		return c.bytes(&pdu.SCSICommand{Final: true, Write: true, ITT: 7, EDTL: 512, DataLength: 512, CmdSN: c.sn, AHSWords: uint8(len(ahs) / 4),
			CDB: [16]byte(initiator.CDB16(0x8a, 0, 1))}, ahs, bytes.Repeat([]byte{'x'}, 512))
	}, answer: pdu.OpSCSIResponse},
	"unsolicited Data-Out": {before: func(c *raw) {
		c.put(&pdu.SCSICommand{Write: true, ITT: 7, EDTL: 1024, DataLength: 512, CmdSN: c.sn, CDB: [16]byte(initiator.CDB16(0x8a, 0, 2))},
			bytes.Repeat([]byte{'x'}, 512))
	}, bytes: func(c *raw) []byte {
		return c.bytes(&pdu.DataOut{Final: true, ITT: 7, TTT: pdu.NoTag, Offset: 512, DataLength: 512}, nil, bytes.Repeat([]byte{'x'}, 512))
	}, answer: pdu.OpSCSIResponse},
	"solicited Data-Out": {before: func(c *raw) {
		c.put(&pdu.SCSICommand{Final: true, Write: true, ITT: 7, EDTL: 512, CmdSN: c.sn, CDB: [16]byte(initiator.CDB16(0x8a, 0, 1))}, nil)
		if h, _ := c.get(); h.Opcode() != pdu.OpR2T {
			c.Fatalf("opcode %#x", h.Opcode())
		}
	}, bytes: func(c *raw) []byte {
		return c.bytes(&pdu.DataOut{Final: true, ITT: 7, TTT: 1, DataLength: 512}, nil, bytes.Repeat([]byte{'x'}, 512))
	}, answer: pdu.OpSCSIResponse},
	"Task Management": {bytes: func(c *raw) []byte {
		return c.bytes(&pdu.TaskRequest{Immediate: true, Function: uint8(session.LogicalUnitReset), ITT: 7, CmdSN: c.sn}, nil, nil)
	}, answer: pdu.OpTaskResponse},
	"Text": {bytes: func(c *raw) []byte {
		return c.bytes(&pdu.TextRequest{Immediate: true, Final: true, ITT: 7, TTT: pdu.NoTag, CmdSN: c.sn, DataLength: 13}, nil, []byte("SendTargets=\x00"))
	}, answer: pdu.OpTextResponse},
	"Logout": {bytes: func(c *raw) []byte {
		return c.bytes(&pdu.LogoutRequest{Immediate: true, ITT: 7, CmdSN: c.sn}, nil, nil)
	}, answer: pdu.OpLogoutResponse},
	"SNACK": {bytes: func(c *raw) []byte {
		return c.bytes(&pdu.SNACK{ITT: 7, TTT: pdu.NoTag}, nil, nil)
	}, answer: pdu.OpReject},
}

func TestACorruptedPDUOfAnyKindDoesNothing(t *testing.T) {
	r := newRig(t, nil)
	var writes, resets atomic.Int64
	r.device.Intercept(func(op *target.Op) (v targettest.Verdict) {
		if op.Kind == target.Write {
			writes.Add(1)
		}
		return v
	})
	defer r.device.Watch(func(e target.Event) {
		if e == target.UnitReset {
			resets.Add(1)
		}
	})()
	for name, kind := range kinds {
		if kind.before == nil {
			kind.before = func(*raw) {}
		}
		t.Run(name, func(t *testing.T) {
			r := &rig{TB: t, server: r.server, address: r.address, ctx: r.ctx}
			done := writes.Load() + resets.Load()
			size := 0
			// flip sends the PDU with one bit of byte at wrong, and tells whether
			// anything but the end of the connection came back.
			flip := func(at int) (answer pdu.Opcode) {
				c := r.digested()
				defer c.Close()
				kind.before(c)
				b := kind.bytes(c)
				size = len(b)
				if at >= 0 {
					b[at] ^= 1 << (at % 8)
				}
				c.Write(b)
				if at < 0 {
					h, _ := c.get()
					return h.Opcode()
				}
				c.Conn.(*net.TCPConn).CloseWrite()
				c.ends()
				return 0
			}
			if got := flip(-1); got != kind.answer {
				t.Fatalf("whole, it is answered with opcode %#x", got)
			}
			did := writes.Load() + resets.Load() - done
			for at := 0; at < size; at++ {
				if at > 80 && at < size-8 && at%61 != 0 {
					continue // the middle of data
				}
				flip(at)
				if n := writes.Load() + resets.Load() - done; n != did {
					t.Fatalf("with byte %d of %d corrupted it was carried out", at, size)
				}
			}
		})
	}
	if writes.Load() != 4 || resets.Load() != 1 {
		t.Errorf("whole ones: %d writes, %d resets", writes.Load(), resets.Load())
	}
}
