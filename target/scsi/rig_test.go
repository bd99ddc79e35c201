package scsi

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

const (
	targetName = "iqn.2026-01.io.ashlar:vol1"
	hostName   = "iqn.2001-04.com.example:host"
)

// rig is a target with one volume in memory at LUN 0, and a host's nexus with
// nothing pending.
type rig struct {
	*testing.T
	memory *targettest.Memory
	target *Target
	nexus  *Nexus
}

func newRig(t *testing.T, o targettest.Options) *rig {
	r := &rig{T: t, memory: targettest.NewMemory(o), target: NewTarget(Config{Name: targetName})}
	if err := r.target.Add(0, r.memory); err != nil {
		t.Fatal(err)
	}
	r.nexus = r.login("a")
	return r
}

func twoNodes() targettest.Options {
	return targettest.Options{Groups: []target.PortGroup{{ID: 1, State: target.Optimized}, {ID: 2, State: target.NonOptimized}}}
}

// login is a new nexus whose first unit attention has been seen.
func (r *rig) login(host string) *Nexus {
	n := r.target.Login(target.Nexus{Host: hostName + host + ",i,0x1", Port: 1, Generation: 1}, hostName+host)
	r.target.Execute(&Task{Nexus: n, CDB: make([]byte, 6), Done: func(*Task) {}})
	return n
}

// task is a task that a carrier would make of a CDB, with all the host's
// data-out when it is a data-out command.
func (r *rig) task(n *Nexus, lun uint64, cdb, out []byte) *Task {
	t := &Task{Nexus: n, LUN: lun, CDB: cdb, Data: out, Limit: 1 << 24, Stamp: r.target.Stamp(lun)}
	if out != nil {
		t.Limit = uint32(len(out))
	}
	return t
}

// run executes a task that must be done at once.
func (r *rig) run(t *Task) *Task {
	r.Helper()
	done := 0
	t.Done = func(*Task) { done++ }
	r.target.Execute(t)
	if done != 1 {
		r.Fatalf("% x: done %d times", t.CDB, done)
	}
	return t
}

// do runs a command on LUN 0.
func (r *rig) do(cdb, out []byte) *Task {
	r.Helper()
	return r.run(r.task(r.nexus, 0, cdb, out))
}

// good runs a command that has to succeed and returns its data-in.
func (r *rig) good(cdb, out []byte) []byte {
	r.Helper()
	t := r.do(cdb, out)
	if t.Status != StatusGood {
		r.Fatalf("% x: %s", cdb, verdict(t))
	}
	return t.Data
}

// verdict is a task's end in short: "00", "08", "02 5/2400", with the
// information if it is valid.
func verdict(t *Task) string {
	s := fmt.Sprintf("%02x", t.Status)
	if len(t.Sense) == 0 {
		return s
	}
	if t.Sense[0]&0x7F == 0x70 {
		s += fmt.Sprintf(" %x/%x", t.Sense[2]&0xF, t.Sense[12:14])
		if t.Sense[0]&0x80 != 0 {
			s += fmt.Sprintf(" at %d", binary.BigEndian.Uint32(t.Sense[3:]))
		}
		return s
	}
	return s + fmt.Sprintf(" %x/%x descriptors", t.Sense[1]&0xF, t.Sense[2:4])
}

// expect runs a command that has to end so.
func (r *rig) expect(want string, cdb, out []byte) *Task {
	r.Helper()
	t := r.do(cdb, out)
	if got := verdict(t); got != want {
		r.Errorf("% x: %s, want %s", cdb, got, want)
	}
	return t
}

// raw is a CDB written in hexadecimal.
func raw(s string) []byte {
	v, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return v
}

// ranged is the CDB of a command with a range.
func ranged(code, flags byte, lba, blocks uint64) []byte {
	c := lookup([]byte{code, flags})
	cdb := make([]byte, len(c.usage))
	cdb[0], cdb[1] = code, flags
	switch {
	case code == 0x89:
		binary.BigEndian.PutUint64(cdb[2:], lba)
		cdb[13] = byte(blocks)
	case len(cdb) == 10:
		binary.BigEndian.PutUint32(cdb[2:], uint32(lba))
		binary.BigEndian.PutUint16(cdb[7:], uint16(blocks))
	case len(cdb) == 12:
		binary.BigEndian.PutUint32(cdb[2:], uint32(lba))
		binary.BigEndian.PutUint32(cdb[6:], uint32(blocks))
	case len(cdb) == 16:
		binary.BigEndian.PutUint64(cdb[2:], lba)
		binary.BigEndian.PutUint32(cdb[10:], uint32(blocks))
	default:
		binary.BigEndian.PutUint32(cdb, uint32(code)<<24|uint32(lba)&0x1FFFFF)
		cdb[4] = byte(blocks)
	}
	return cdb
}

// blocksOf is n blocks of 512 bytes of x.
func blocksOf(x byte, n int) []byte {
	d := make([]byte, 512*n)
	for i := range d {
		d[i] = x
	}
	return d
}
