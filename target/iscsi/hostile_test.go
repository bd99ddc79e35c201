package iscsi

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/targettest/initiator"
)

// Each hostile connection ends, and takes nothing with it: the rig's cleanup
// checks that no buffer is left, and a bystander still reads and writes.
func TestHostileConnectionsHurtNobodyElse(t *testing.T) {
	write := func(edtl uint32) *pdu.SCSICommand {
		return &pdu.SCSICommand{Final: true, Write: true, ITT: 1, EDTL: edtl, CmdSN: 1, CDB: [16]byte(initiator.CDB16(0x8a, 0, edtl/512))}
	}
	strict := []pdu.Pair{{Key: "InitialR2T", Value: "Yes"}, {Key: "ImmediateData", Value: "No"}}
	for name, attack := range map[string]func(*raw){
		"garbage": func(c *raw) {
			rng := rand.NewChaCha8([32]byte{2})
			io.CopyN(c, rng, 1<<16) // fails as soon as the target closes
		},
		"a command before the login": func(c *raw) { c.put(write(512), nil) },
		"login text beyond 8192 bytes": func(c *raw) {
			var h pdu.Header
			(&pdu.LoginRequest{CSG: 1, DataLength: 8193}).Marshal(&h)
			c.Write(h[:])
		},
		"truncated header": func(c *raw) {
			c.login(2)
			c.Write([]byte{1, 2, 3})
			c.Close()
		},
		"truncated immediate data": func(c *raw) {
			c.login(2)
			cmd := write(512)
			cmd.DataLength = 512
			c.put(cmd, nil)
			c.Close()
		},
		"data segment beyond our limit": func(c *raw) {
			c.login(2)
			cmd := write(1 << 20)
			cmd.DataLength = 1 << 20
			c.put(cmd, nil)
		},
		"unknown opcode": func(c *raw) {
			c.login(2)
			c.Write(append([]byte{0x1c}, make([]byte, 47)...))
		},
		"malformed additional header": func(c *raw) {
			c.login(2)
			cmd := write(512)
			cmd.AHSWords = 1
			c.put(cmd, []byte{0xff, 0xff, 1, 0})
		},
		"the same tag twice": func(c *raw) {
			c.login(2, strict...)
			c.put(write(512), nil)
			again := write(512)
			again.CmdSN = 2
			c.put(again, nil)
		},
		"a hole in the command numbers": func(c *raw) {
			c.login(2)
			cmd := write(512)
			cmd.CmdSN = 3
			c.put(cmd, nil)
		},
		"data at a wrong offset": func(c *raw) {
			c.login(2, strict...)
			c.put(write(1024), nil)
			h, _ := c.get()
			var r2t pdu.R2T
			r2t.Unmarshal(&h)
			c.put(&pdu.DataOut{ITT: 1, TTT: r2t.TTT, Offset: 512, DataLength: 512, Final: true}, make([]byte, 512))
		},
		"silence after an R2T": func(c *raw) {
			c.login(2, strict...)
			c.put(write(1024), nil)
			c.get()
		},
		"silence in a login": func(*raw) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) {
				c.LoginTimeout = 200 * time.Millisecond
				c.PingInterval = 200 * time.Millisecond
			})
			bystander := r.host(1, initiator.Options{})
			c := r.dial()
			attack(c)
			if _, err := c.Write(nil); err == nil {
				c.ends()
			}
			want, got := bytes.Repeat([]byte{'b'}, 4096), make([]byte, 4096)
			if err := bystander.Write(r.ctx, 0, 64, want, 512); err != nil {
				t.Fatal(err)
			}
			if err := bystander.Read(r.ctx, 0, 64, got, 512); err != nil || !bytes.Equal(got, want) {
				t.Fatal("read:", err)
			}
		})
	}
}

func TestWrongDataSNFailsTheWriteAndOnlyThat(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial()
	c.login(2, pdu.Pair{Key: "InitialR2T", Value: "Yes"}, pdu.Pair{Key: "ImmediateData", Value: "No"})
	c.put(&pdu.SCSICommand{Final: true, Read: true, ITT: 9, CmdSN: 1}, nil) // takes the unit attention
	c.get()
	for i, sns := range [][]uint32{{0, 0}, {27}, {0xffffffff}, {1, 0}} {
		sn := uint32(i + 2)
		size := uint32(len(sns)) * 512
		c.put(&pdu.SCSICommand{Final: true, Write: true, ITT: sn, EDTL: size, CmdSN: sn, CDB: [16]byte(initiator.CDB16(0x8a, 0, size/512))}, nil)
		h, _ := c.get()
		var r2t pdu.R2T
		r2t.Unmarshal(&h)
		for j, dataSN := range sns {
			c.put(&pdu.DataOut{ITT: sn, TTT: r2t.TTT, DataSN: dataSN, Offset: uint32(j) * 512, DataLength: 512, Final: j+1 == len(sns)}, bytes.Repeat([]byte{'x'}, 512))
		}
		h, _ = c.get()
		var resp pdu.SCSIResponse
		resp.Unmarshal(&h)
		if h.Opcode() != pdu.OpSCSIResponse || resp.Status != 2 {
			t.Fatalf("DataSN %v: %v", sns, &resp)
		}
	}
	got := make([]byte, 512)
	if err := r.host(1, initiator.Options{}).Read(r.ctx, 0, 0, got, 512); err != nil || got[0] != 0 {
		t.Fatalf("refused data was written: %q, %v", got[:1], err)
	}
}

func TestCorruptedDigestsNeverReachTheDevice(t *testing.T) {
	for _, where := range []int{40, 48, 52 + 100, 52 + 512} { // header, its digest, data, its digest
		r := newRig(t, nil)
		c := r.dial()
		c.login(2, pdu.Pair{Key: "HeaderDigest", Value: "CRC32C"}, pdu.Pair{Key: "DataDigest", Value: "CRC32C"})
		data := bytes.Repeat([]byte{'d'}, 512)
		var h pdu.Header
		(&pdu.SCSICommand{Final: true, Write: true, ITT: 1, EDTL: 512, DataLength: 512, CmdSN: 1, CDB: [16]byte(initiator.CDB16(0x8a, 0, 1))}).Marshal(&h)
		b := append(append(append(h[:len(h):len(h)], 0, 0, 0, 0), data...), 0, 0, 0, 0)
		pdu.Digest(0).Add(h[:]).Put(b[48:])
		pdu.Digest(0).Add(data).Put(b[52+512:])
		b[where] ^= 1
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		c.ends()
		got := make([]byte, 512)
		if err := r.host(1, initiator.Options{}).Read(r.ctx, 0, 0, got, 512); err != nil || got[0] != 0 {
			t.Fatalf("corrupted at %d: %q, %v", where, got[:1], err)
		}
	}
}

func TestUnfinishedLoginsAreBoundedAndTheOldestGoes(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxLogins = 4 })
	var idle []*raw
	for range 10 {
		idle = append(idle, r.dial())
		r.eventually("the connection was accepted", func() bool {
			n := len(r.server.all())
			return n == len(idle) || n == 4
		})
	}
	idle[0].ends()
	r.host(1, initiator.Options{})
	r.eventually("no more than four wait", func() bool { return len(r.server.all()) <= 5 })
}

func TestPingsThatNobodyReadsTheEchoesOfTakeBoundedMemory(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial()
	c.login(2, pdu.Pair{Key: "MaxRecvDataSegmentLength", Value: "262144"})
	var h pdu.Header
	(&pdu.NopOut{Immediate: true, ITT: 1, TTT: pdu.NoTag, CmdSN: 1, DataLength: 262144}).Marshal(&h)
	ping := append(h[:], make([]byte, 262144)...)
	c.SetWriteDeadline(time.Now().Add(time.Second))
	sent := 0
	for _, err := c.Write(ping); err == nil; _, err = c.Write(ping) {
		if sent++; sent > 1000 {
			t.Fatal("the target reads on and on")
		}
	}
	for _, o := range r.server.all() {
		o.mu.Lock()
		if o.echo > maxEcho+262144 {
			t.Errorf("%d bytes of echo are queued", o.echo)
		}
		o.mu.Unlock()
	}
}
