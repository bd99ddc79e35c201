package nvme

import (
	"bytes"
	"testing"

	"ashlar/target/targettest"
)

// Whatever a command says, it is answered once, and its data is bounded.
func FuzzExecute(f *testing.F) {
	for op := range adminCommands {
		cmd := command64(op, 1)
		f.Add(uint8(0), cmd[:], []byte{})
	}
	for op := range ioCommands {
		cmd := command64(op, 1)
		f.Add(uint8(1), cmd[:], bytes.Repeat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, 8))
	}
	for page := range logPages {
		cmd := log(page, 64)
		f.Add(uint8(0), cmd[:], []byte{})
	}
	for id := range featureTable {
		cmd := command64(GetFeatures, 1, uint32(id))
		f.Add(uint8(0), cmd[:], []byte{})
		cmd[0] = byte(SetFeatures)
		f.Add(uint8(0), cmd[:], make([]byte, 512))
	}
	r := newRig(f, targettest.Options{Blocks: 1 << 16})
	f.Fuzz(func(t *testing.T, queue uint8, b, data []byte) {
		if len(b) < 64 {
			return
		}
		cmd := Command(b[:64])
		queue &= 1
		if cmd.Opcode() == Fabrics && cmd.FabricsType() == PropertySet {
			return // it may disable the controller
		}
		done := make(chan *Request, 2)
		q := &Request{Command: cmd, Queue: uint16(queue), Done: func(q *Request) { done <- q }}
		direction, n, s := r.Demand(uint16(queue), &cmd)
		if n > MaxTransfer || s != Success && n != 0 || (n == 0) != (direction == NoData) {
			t.Fatalf("demand %v, %d, %v", direction, n, s)
		}
		if s != Success {
			return
		}
		if n > 0 {
			q.Data = append(data[:min(len(data), int(n)):min(len(data), int(n))], make([]byte, int(n)-min(len(data), int(n)))...)
		}
		r.Execute(q)
		if queue == 0 && cmd.Opcode() == AsyncEventRequest && r.AbortEvent(q) {
			<-done
			return
		}
		(&rig{TB: t}).wait(done)
		if len(done) > 0 || uint32(len(q.Data)) != n {
			t.Fatal("it is answered twice, or its data has another length")
		}
	})
}

func FuzzParseConnect(f *testing.F) {
	data := make([]byte, connectSize)
	copy(data[256:], "nqn.2026-11.com.example:one")
	copy(data[512:], "nqn.2026-11.com.example:host")
	cmd := command64(Fabrics, Connect)
	le.PutUint16(cmd[44:], 31)
	f.Add(cmd[:], data)
	f.Fuzz(func(t *testing.T, c, data []byte) {
		if len(c) < 64 || len(data) < connectSize {
			return
		}
		cmd := Command(c[:64])
		q, s, _ := ParseConnect(&cmd, data[:connectSize])
		if s == Success && (q.Size < 2 || q.Size > maxQueueSize || q.Host.NQN == "" || q.SubsystemNQN == "" || len(q.Host.NQN) > maxName) {
			t.Fatalf("%+v", q)
		}
		if id, ok := hostID(q.Host.Name()); s == Success && (!ok || id != q.Host.ID) && !bytes.Contains([]byte(q.Host.NQN), []byte(idMark)) {
			t.Fatalf("the host of %q is %x", q.Host.Name(), id)
		}
	})
}
