package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"ashlar/target/scsi"
	"ashlar/target/targettest/initiator"
)

// extendedCopy is the command that copies blocks from one volume to another, which
// it names by their NAA designators.
func extendedCopy(from, to [16]byte, lba, at uint64, blocks uint16) *initiator.Command {
	list := make([]byte, 16, 16+2*32+28)
	binary.BigEndian.PutUint16(list[2:], 2*32)
	binary.BigEndian.PutUint32(list[8:], 28)
	for _, naa := range [][16]byte{from, to} {
		d := make([]byte, 32)
		d[0], d[4], d[5], d[7] = 0xE4, 1, 3, 16
		copy(d[8:], naa[:])
		list = append(list, d...)
	}
	s := make([]byte, 28)
	s[0], s[3], s[7] = 0x02, 24, 1
	binary.BigEndian.PutUint16(s[10:], blocks)
	binary.BigEndian.PutUint64(s[12:], lba)
	binary.BigEndian.PutUint64(s[20:], at)
	list = append(list, s...)
	cdb := make([]byte, 16)
	cdb[0], cdb[13] = 0x83, byte(len(list))
	return &initiator.Command{CDB: cdb, Out: list}
}

// TestVolumesAreCopiedWhereverTheirHeadsAre, through each node, for the hosts that
// may use both and as their reservations allow.
func TestVolumesAreCopiedWhereverTheirHeadsAre(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	host := func(name string) string { return "iqn.2026-11.com.example:" + name }
	for _, name := range []string{"web", "db"} {
		must(t, nodes[0].AddHost(limit(t), name, host(name)))
	}
	first, second := "", ""
	for i := 0; second == ""; i++ {
		name := fmt.Sprintf("v%d", i)
		createVolume(t, nodes[0], name, 16<<20, 2)
		switch s := state(t, nodes[0]); {
		case first == "":
			first = name
		case s.VolumeNamed(name).Head != s.VolumeNamed(first).Head:
			second = name
		}
	}
	publish := func(volume, name string, readOnly bool) { must(t, nodes[0].Publish(limit(t), volume, name, readOnly)) }
	publish(first, "web", false)
	publish(second, "web", false)
	publish(second, "db", false)

	dial := func(n *Node, name, volume string) *initiator.Steady {
		s := state(t, nodes[0])
		if volume == "" {
			return steady(t, n, name, s.ClusterIQN())
		}
		return steady(t, n, name, s.IQN(s.VolumeNamed(volume)))
	}
	naa := func(volume string) [16]byte {
		s := state(t, nodes[0])
		return nodes[0].service.Load().engine.Load().Device(s.VolumeNamed(volume).ID).Info().NAA
	}
	from, to := naa(first), naa(second)
	for i, n := range nodes {
		a, b := dial(n, "web", first), dial(nodes[(i+1)%3], "web", second)
		data := bytes.Repeat([]byte{byte(i + 1)}, 3<<20)
		must(t, a.Write(limit(t), 0, 7, data, 512))
		must(t, a.Do(limit(t), extendedCopy(from, to, 7, uint64(1000*i+3), uint16(len(data)/512))))
		got := make([]byte, len(data))
		must(t, b.Read(limit(t), 0, uint64(1000*i+3), got, 512))
		if !bytes.Equal(got, data) {
			t.Errorf("through node %d: not the copy", i+1)
		}
	}

	refused := func(what string, s *initiator.Steady, c *initiator.Command, key byte, code uint16) {
		t.Helper()
		s.Do(limit(t), c)
		if k, asc := c.SenseCode(); c.Status != 2 || k != key || asc != code {
			t.Errorf("%s: status %#x, sense %x/%04x, want %x/%04x", what, c.Status, k, asc, key, code)
		}
	}
	refused("a host that may use only one", dial(nodes[1], "db", second), extendedCopy(from, to, 0, 0, 8), 0xA, 0x0D02)

	// The reservation of another host, made through another node than the copy's.
	register, reserve := make([]byte, 24), make([]byte, 24)
	register[15], reserve[7] = 1, 1
	db := dial(nodes[2], "db", second)
	must(t, db.Do(limit(t), &initiator.Command{CDB: []byte{0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0}, Out: register}))
	must(t, db.Do(limit(t), &initiator.Command{CDB: []byte{0x5F, 1, 3, 0, 0, 0, 0, 0, 24, 0}, Out: reserve}))
	web := dial(nodes[1], "web", first)
	refused("reserved by another host", web, extendedCopy(from, to, 0, 0, 8), 0xA, 0x0D01)
	must(t, db.Do(limit(t), &initiator.Command{CDB: []byte{0x5F, 3, 0, 0, 0, 0, 0, 0, 24, 0}, Out: reserve}))
	must(t, web.Do(limit(t), extendedCopy(from, to, 0, 0, 8)))

	// A host with numbered volumes copies between them, and to one with a target of its own.
	must(t, nodes[0].AddHost(limit(t), "vm", host("vm")))
	createVolume(t, nodes[0], "alone", 16<<20, 2)
	must(t, nodes[0].PublishAs(limit(t), first, "vm", 1, false))
	must(t, nodes[0].PublishAs(limit(t), second, "vm", 300, false))
	publish("alone", "vm", false)
	alone, vm := dial(nodes[2], "vm", "alone"), dial(nodes[2], "vm", "")
	data := bytes.Repeat([]byte{9}, 1<<20)
	must(t, vm.Write(limit(t), scsi.FormatLUN(1), 100, data, 512))
	got := make([]byte, len(data))
	for _, c := range []struct {
		session *initiator.Steady
		lun     uint64
		volume  string
	}{{vm, scsi.FormatLUN(300), second}, {alone, 0, "alone"}} {
		command := extendedCopy(from, naa(c.volume), 100, 300, uint16(len(data)/512))
		command.LUN = scsi.FormatLUN(1)
		must(t, vm.Do(limit(t), command))
		must(t, c.session.Read(limit(t), c.lun, 300, got, 512))
		if !bytes.Equal(got, data) {
			t.Errorf("to %s: not the copy", c.volume)
		}
	}
	must(t, alone.Do(limit(t), extendedCopy(naa("alone"), to, 300, 5000, 8)))

	must(t, nodes[0].Withdraw(limit(t), second, "web"))
	publish(second, "web", true)
	eventually(t, "the volume is read-only for the host", func() bool {
		c := extendedCopy(from, to, 0, 0, 8)
		web.Do(limit(t), c)
		key, code := c.SenseCode()
		return key == 7 && code == 0x2700
	})
	for _, volume := range []string{first, second} {
		found, err := nodes[0].Verify(limit(t), volume)
		must(t, err)
		if len(found.Differences) > 0 {
			t.Errorf("%s: %+v", volume, found)
		}
	}
}
