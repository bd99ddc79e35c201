package iscsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/target/carrier"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/targettest/initiator"
)

const (
	attackMemory  = 32 << 20        // the server's data buffers in these tests, bytes
	attackHeap    = 64 << 20        // that the heap may grow by, of host and target together, bytes
	attackLatency = 2 * time.Second // of a TEST UNIT READY on a busy machine
)

// bystander is a session whose data is verified, and whose TEST UNIT READYs are
// timed, while others misbehave.
type bystander struct {
	*rig
	session *initiator.Session
	stop    chan struct{}
	ended   chan error
	rounds  atomic.Int64
	worst   atomic.Int64 // ns
}

func (r *rig) bystander(n byte) *bystander {
	r.Helper()
	b := &bystander{rig: r, session: r.host(n, initiator.Options{}), stop: make(chan struct{}), ended: make(chan error, 1)}
	go func() { b.ended <- b.run() }()
	return b
}

func (b *bystander) run() error {
	want, got := make([]byte, 16384), make([]byte, 16384)
	for round := uint64(1); ; round++ {
		select {
		case <-b.stop:
			return nil
		default:
		}
		for at := 0; at < len(want); at += 8 {
			binary.BigEndian.PutUint64(want[at:], round<<16|uint64(at))
		}
		lba := 4096 + round%64*32
		if err := b.session.Write(b.ctx, 0, lba, want, 512); err != nil {
			return fmt.Errorf("write %d: %w", round, err)
		}
		if err := b.session.Read(b.ctx, 0, lba, got, 512); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("read %d: %w, as written: %t", round, err, bytes.Equal(got, want))
		}
		began := time.Now()
		if err := b.session.Do(b.ctx, &initiator.Command{CDB: make([]byte, 6)}); err != nil {
			return fmt.Errorf("TEST UNIT READY %d: %w", round, err)
		}
		b.worst.Store(max(b.worst.Load(), int64(time.Since(began))))
		b.rounds.Add(1)
	}
}

// goesOn waits for the bystander's next round.
func (b *bystander) goesOn() {
	b.Helper()
	from := b.rounds.Load()
	b.eventually("the bystander goes on", func() bool {
		select {
		case err := <-b.ended:
			b.Fatal("the bystander noticed:", err)
		default:
		}
		return b.rounds.Load() > from+1
	})
}

func (b *bystander) end() {
	b.Helper()
	close(b.stop)
	if err := b.wait(b.ended); err != nil {
		b.Error("the bystander noticed:", err)
	}
	if worst := time.Duration(b.worst.Load()); worst > attackLatency {
		b.Errorf("a TEST UNIT READY took %v", worst)
	}
	b.Logf("%d rounds, slowest TEST UNIT READY %v", b.rounds.Load(), time.Duration(b.worst.Load()))
}

// write is a WRITE(16) of edtl bytes at LBA 0.
func write(edtl uint32) *pdu.SCSICommand {
	return &pdu.SCSICommand{Final: true, Write: true, ITT: 1, EDTL: edtl, CmdSN: 1, CDB: [16]byte(initiator.CDB16(0x8a, 0, edtl/512))}
}

// asked begins a write whose data the target then asks for.
func (c *raw) asked(edtl uint32) (r2t pdu.R2T) {
	c.Helper()
	c.login(2, pdu.Pair{Key: "InitialR2T", Value: "Yes"}, pdu.Pair{Key: "ImmediateData", Value: "No"})
	c.put(write(edtl), nil)
	h, _ := c.get()
	if r2t.Unmarshal(&h); h.Opcode() != pdu.OpR2T {
		c.Fatalf("opcode %#x", h.Opcode())
	}
	return r2t
}

// flood sends PDUs until the target stops reading or has had enough of them.
func (c *raw) flood(n int, m func(i uint32) pdu.Message, data []byte) {
	c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	for i := range n {
		if _, err := c.Write(c.bytes(m(uint32(i)), nil, data)); err != nil {
			return
		}
	}
}

// attacks are what a host must not do. Each leaves the connection to its end,
// which has to come by itself, or closes it.
var attacks = map[string]func(*raw){
	"garbage": func(c *raw) {
		io.CopyN(c, rand.NewChaCha8([32]byte{2}), 1<<16) // fails as soon as the target closes
	},
	"garbage after the login": func(c *raw) {
		c.login(2)
		io.CopyN(c, rand.NewChaCha8([32]byte{3}), 1<<16)
	},
	"a command before the login": func(c *raw) { c.put(write(512), nil) },
	"login text beyond 8192 bytes": func(c *raw) {
		c.put(&pdu.LoginRequest{CSG: 1, DataLength: 8193}, nil)
	},
	"64 KiB of keys": func(c *raw) {
		text := c.identity()
		for n := 0; len(text) < 64<<10; n++ {
			text = pdu.AppendText(text, fmt.Sprintf("X-key-%d", n), "value")
		}
		for len(text) > 0 {
			part := text[:min(len(text), 8192)]
			text = text[len(part):]
			c.Write(c.bytes(&pdu.LoginRequest{CSG: 1, NSG: 3, Continue: len(text) > 0, DataLength: uint32(len(part))}, nil, part))
		}
	},
	"a key of 8 KiB": func(c *raw) {
		c.put(&pdu.LoginRequest{CSG: 1, NSG: 3, DataLength: 8192}, bytes.Repeat([]byte{'k'}, 8192))
	},
	"a login that never ends": func(c *raw) {
		text := c.identity()
		c.flood(1000, func(i uint32) pdu.Message {
			return &pdu.LoginRequest{CSG: 1, NSG: 1, DataLength: uint32(len(text))}
		}, text)
	},
	"a login byte by byte": func(c *raw) {
		for range 40 {
			if _, err := c.Write([]byte{0x43}); err != nil {
				break
			}
			time.Sleep(time.Millisecond) // it is the slowness that is tried
		}
	},
	"a session that there is not": func(c *raw) {
		text := c.identity()
		c.put(&pdu.LoginRequest{Transit: true, CSG: 1, NSG: 3, TSIH: 0xbeef, DataLength: uint32(len(text))}, text)
	},
	"silence in a login": func(*raw) {},
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
	"half open": func(c *raw) { // as a host that lost its power: it is asked, and does not answer
		c.login(2)
	},
	"silence after an R2T": func(c *raw) { c.asked(1024) },
	"data segment beyond our limit": func(c *raw) {
		c.login(2)
		cmd := write(1 << 20)
		cmd.DataLength = 1 << 20
		c.put(cmd, nil)
	},
	"a data segment of 16 MiB": func(c *raw) {
		c.login(2)
		c.put(&pdu.NopOut{Immediate: true, ITT: 1, TTT: pdu.NoTag, DataLength: pdu.MaxSegment}, nil)
	},
	"unknown opcode": func(c *raw) {
		c.login(2)
		c.Write(append([]byte{0x1c}, make([]byte, 47)...))
	},
	"a PDU of the target's": func(c *raw) {
		c.login(2)
		c.put(&pdu.SCSIResponse{ITT: 1}, nil)
	},
	"a second login": func(c *raw) {
		c.login(2)
		c.put(&pdu.LoginRequest{Transit: true, CSG: 1, NSG: 3, CmdSN: 1}, nil)
	},
	"malformed additional header": func(c *raw) {
		c.login(2)
		cmd := write(512)
		cmd.AHSWords = 1
		c.put(cmd, []byte{0xff, 0xff, 1, 0})
	},
	"1020 bytes of additional header": func(c *raw) {
		c.login(2)
		cmd := write(512)
		cmd.AHSWords = 255
		c.put(cmd, bytes.Repeat([]byte{0, 1, 2, 0}, 255))
	},
	"the same tag twice": func(c *raw) {
		c.asked(512)
		again := write(512)
		again.CmdSN = 2
		c.put(again, nil)
	},
	"the reserved tag": func(c *raw) {
		c.login(2)
		cmd := write(512)
		cmd.ITT = pdu.NoTag
		c.put(cmd, nil)
	},
	"a hole in the command numbers": func(c *raw) {
		c.login(2)
		cmd := write(512)
		cmd.CmdSN = 3
		c.put(cmd, nil)
	},
	"data at a wrong offset": func(c *raw) {
		r2t := c.asked(1024)
		c.put(&pdu.DataOut{ITT: 1, TTT: r2t.TTT, Offset: 512, DataLength: 512, Final: true}, make([]byte, 512))
	},
	"more data than was asked for": func(c *raw) {
		r2t := c.asked(512)
		c.put(&pdu.DataOut{ITT: 1, TTT: r2t.TTT, DataLength: 4096, Final: true}, make([]byte, 4096))
	},
	"data under a wrong tag": func(c *raw) {
		r2t := c.asked(512)
		c.put(&pdu.DataOut{ITT: 1, TTT: r2t.TTT + 1, DataLength: 512, Final: true}, make([]byte, 512))
	},
	"data that nobody asked for": func(c *raw) {
		c.asked(512)
		c.put(&pdu.DataOut{ITT: 1, TTT: pdu.NoTag, DataLength: 512, Final: true}, make([]byte, 512))
	},
	"data without a command": func(c *raw) { // what is late is thrown away
		c.login(2)
		c.put(&pdu.DataOut{ITT: 99, TTT: 1, DataLength: 512, Final: true}, make([]byte, 512))
	},
	"data for a command without any": func(c *raw) {
		c.login(2)
		cmd := &pdu.SCSICommand{Final: true, ITT: 1, CmdSN: 1, DataLength: 512}
		c.put(cmd, make([]byte, 512))
	},
	"a WRITE with the R bit": func(c *raw) {
		c.login(2)
		cmd := write(512)
		cmd.Read, cmd.Write = true, false
		c.put(cmd, nil)
	},
	"a READ with the W bit": func(c *raw) {
		c.login(2)
		cmd := write(512)
		cmd.CDB[0], cmd.DataLength = 0x88, 512
		c.put(cmd, make([]byte, 512))
	},
	"both bits": func(c *raw) {
		c.login(2)
		cmd := write(512)
		cmd.Read, cmd.DataLength = true, 512
		c.put(cmd, make([]byte, 512))
	},
	"an expected length of 0": func(c *raw) {
		c.login(2)
		cmd := write(0)
		cmd.CDB = [16]byte(initiator.CDB16(0x8a, 0, 8))
		c.put(cmd, nil)
	},
	"an expected length of 0, with data": func(c *raw) {
		c.login(2)
		cmd := write(0)
		cmd.CDB, cmd.DataLength = [16]byte(initiator.CDB16(0x8a, 0, 8)), 512
		c.put(cmd, make([]byte, 512))
	},
	"an expected length of 4 GiB": func(c *raw) {
		c.login(2)
		for n := range uint32(64) {
			cmd := write(0xffffffff)
			cmd.ITT, cmd.CmdSN, cmd.CDB[0] = n+1, n+1, [...]byte{0x88, 0x8a}[n%2]
			cmd.Read, cmd.Write = n%2 == 0, n%2 == 1
			c.put(cmd, nil)
		}
	},
	"64 writes of 4 MiB without their data": func(c *raw) {
		c.login(2, pdu.Pair{Key: "InitialR2T", Value: "Yes"}, pdu.Pair{Key: "ImmediateData", Value: "No"})
		for n := range uint32(64) {
			cmd := write(4 << 20)
			cmd.ITT, cmd.CmdSN = n+1, n+1
			c.put(cmd, nil)
		}
	},
	"reads whose answers nobody takes": func(c *raw) {
		c.login(2)
		c.flood(2000, func(i uint32) pdu.Message {
			return &pdu.SCSICommand{Final: true, Read: true, ITT: i + 1, EDTL: 1 << 20, CmdSN: i + 1, CDB: [16]byte(initiator.CDB16(0x88, 0, 2048))}
		}, nil)
	},
	"resets whose answers nobody takes": func(c *raw) {
		c.login(2)
		c.flood(2000, func(i uint32) pdu.Message {
			return &pdu.TaskRequest{Immediate: true, Function: 2, ITT: i, CmdSN: 1}
		}, nil)
	},
	"immediate commands without end": func(c *raw) {
		c.login(2)
		c.flood(5000, func(i uint32) pdu.Message {
			cmd := write(4096)
			cmd.Immediate, cmd.ITT = true, i
			return cmd
		}, nil)
	},
	"text without end": func(c *raw) {
		c.login(2)
		c.put(&pdu.TextRequest{Immediate: true, Continue: true, ITT: 1, TTT: pdu.NoTag, CmdSN: 1, DataLength: 8192}, bytes.Repeat([]byte{'k'}, 8192))
		h, _ := c.get()
		var resp pdu.TextResponse
		resp.Unmarshal(&h)
		c.put(&pdu.TextRequest{Immediate: true, Continue: true, ITT: 1, TTT: resp.TTT, CmdSN: 1, DataLength: 8192}, bytes.Repeat([]byte{'k'}, 8192))
	},
	"a second connection of its session": func(c *raw) {
		c.login(2)
		text := c.identity()
		o := c.dial()
		o.put(&pdu.LoginRequest{Transit: true, CSG: 1, NSG: 3, TSIH: 1, CID: 9, ISID: [6]byte{5: 2}, CmdSN: 1, DataLength: uint32(len(text))}, text)
		o.ends()
	},
}

func TestHostilityDuringVerifiedIO(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Memory, c.SessionMemory = attackMemory, attackMemory/2
		c.LoginTimeout, c.PingInterval = time.Second, 250*time.Millisecond
	})
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b := r.bystander(1)
	b.goesOn()
	ends := make(chan string, len(attacks))
	// All at once, so that what takes its time ends beside the others.
	var open []*raw
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			c := (&rig{TB: t, server: r.server, address: r.address, ctx: r.ctx}).dialFrom(r)
			c.name = fmt.Sprintf("iqn.attacker-%d", len(open))
			attack(c)
			open = append(open, c)
			go func() {
				if _, err := io.Copy(io.Discard, c); isTimeout(err) {
					ends <- name + ": the connection is still open"
					return
				}
				ends <- ""
			}()
			b.goesOn()
		})
		runtime.ReadMemStats(&now)
		if grown := int64(now.HeapAlloc) - int64(before.HeapAlloc); grown > attackHeap {
			t.Errorf("after %s the heap has grown by %d MiB", name, grown>>20)
		}
		if n := r.server.pool.InUse(); n > attackMemory+carrier.OwnMemory*len(attacks) {
			t.Errorf("during %s %d MiB of buffers are lent", name, n>>20)
		}
	}
	for range open {
		if problem := <-ends; problem != "" {
			t.Error(problem)
		}
	}
	b.goesOn()
	b.end()
	b.session.Close()
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// Connections that never log in are many, and yet hosts come in and work.
func TestFiveHundredConnectionsThatDoNotLogIn(t *testing.T) {
	r := newRig(t, nil)
	b := r.bystander(1)
	var idle []*raw
	for range 500 {
		idle = append(idle, r.dial())
	}
	r.eventually("no more of them are kept than may be", func() bool { return len(r.server.conns.All()) <= 64+1 })
	for n := range byte(20) {
		s := r.host(10+n, initiator.Options{})
		if err := s.Ping(r.ctx, []byte{n}); err != nil {
			t.Fatal(err)
		}
	}
	idle[0].ends()
	b.goesOn()
	b.end()
}
