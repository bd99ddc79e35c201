package nvmetcp

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	"ashlar/target/nvme"
	"ashlar/target/nvmetcp/pdu"
	"ashlar/target/targettest/nvmehost"
)

// Commands of 4 KiB cost the target no allocation, so a count is a regression here or in the controller.
func TestReadsAndWritesDoNotAllocate(t *testing.T) {
	for _, op := range []nvme.Opcode{nvme.Read, nvme.Write} {
		r := newRig(t, nil)
		run := steady(t, r, op)
		run(100)
		const rounds = 300
		if n := testing.AllocsPerRun(1, func() { run(rounds) }); n > rounds*depth/20 {
			t.Errorf("%.0f allocations in %d commands of opcode %#x", n, rounds*depth, op)
		}
	}
}

const depth = 32

// steady connects a queue, and gives a function that has so many commands of 4 KiB carried out at once, n times.
// It allocates nothing itself: all capsules are written as one, and all answers are known by their length.
func steady(t *testing.T, r *rig, op nvme.Opcode) (run func(n int)) {
	o := nvmehost.Options{Queues: -1, Host: nvmehost.DefaultHost}
	admin := r.host(o)
	c, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	var header [pdu.MaxHeader]byte
	capsule := func(cmd nvme.Command, data []byte, n int) []byte {
		cmd[1] |= 1 << 6 // PSDT: SGL
		if cmd[39] = 0x5A; len(data) > 0 {
			cmd[39] = 0x01
		}
		binary.LittleEndian.PutUint32(cmd[32:], uint32(n))
		p := pdu.CapsuleCmd{Command: cmd, Data: uint32(len(data))}
		return append(append([]byte(nil), p.Marshal(&pdu.Frame{}, header[:])...), data...)
	}
	exchange := func(out []byte, in []byte) {
		if _, err := c.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, in); err != nil {
			t.Fatal(err)
		}
	}
	exchange((&pdu.ICReq{}).Marshal(header[:]), make([]byte, pdu.MaxHeader))
	connect := nvmehost.Connect(&o, nqn, 1, admin.ID)
	response := make([]byte, 24)
	exchange(capsule(connect.Command, connect.Out, len(connect.Out)), response)
	succeeded := func(b []byte) {
		var p pdu.CapsuleResp
		if p.Unmarshal(b); pdu.Type(b[0]) != pdu.TypeCapsuleResp || p.Status != 0 {
			t.Fatalf("an answer is % x", b)
		}
	}
	succeeded(response)

	var out []byte
	answer := 24
	for id := range uint16(depth) {
		cmd := nvmehost.Ranged(op, 1, uint64(id)*8, 8, 0).Command
		binary.LittleEndian.PutUint16(cmd[2:], id)
		var data []byte
		if op == nvme.Write {
			data = make([]byte, 4096)
		}
		out = append(out, capsule(cmd, data, 4096)...)
	}
	if op == nvme.Read {
		answer += 24 + 4096
	}
	in := make([]byte, depth*answer)
	return func(n int) {
		for range n {
			exchange(out, in)
			for i := range depth {
				succeeded(in[(i+1)*answer-24:][:24])
			}
		}
	}
}
