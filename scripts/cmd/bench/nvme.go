package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"ashlar/target/nvme"
	"ashlar/target/nvmetcp/pdu"
	"ashlar/target/targettest/nvmehost"
)

const overISCSI = "ours, iSCSI"

// nvmeUnit is a memory device behind both of our front ends, in one process.
type nvmeUnit struct{ nvme, iscsi *server }

func (b *bench) nvmeUnit() (*nvmeUnit, error) {
	if b.both != nil {
		return b.both, nil
	}
	name, err := sibling("memtarget")
	if err != nil {
		return nil, err
	}
	pid, out, err := b.start(name, "-size", strconv.Itoa(unitBytes), "-nvme", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u, lines := &nvmeUnit{}, bufio.NewReader(out)
	for _, c := range []struct {
		scheme string
		to     **server
	}{{"nvme-tcp://", &u.nvme}, {"iscsi://", &u.iscsi}} {
		line, err := lines.ReadString('\n')
		parts := strings.Split(strings.TrimPrefix(strings.TrimSpace(line), c.scheme), "/")
		if err != nil || len(parts) < 2 {
			return nil, fmt.Errorf("memtarget says %q: %w", line, err)
		}
		*c.to = &server{address: parts[0], iqn: parts[1], pids: []int{pid}}
	}
	if err := u.iscsi.fill(unitBytes); err != nil {
		return nil, err
	}
	b.both = u
	return u, b.startLimit()
}

// overNVMe is a case of the NVMe/TCP front end. Its client does as little as that of
// the limit; iSCSI's is the Go initiator.
func (b *bench) overNVMe(name string, w work, goals ...goal) benchCase {
	w.span = unitBytes
	return benchCase{name: name, about: "memory behind NVMe/TCP, " + w.String(), goals: goals, rivals: func() ([]rival, error) {
		u, err := b.nvmeUnit()
		if err != nil {
			return nil, err
		}
		return []rival{{ours, b.driveNVMe(u.nvme, w)}, {overISCSI, drive(u.iscsi, w)}, {rawName, b.rawLimit(w)}}, nil
	}}
}

// driveNVMe has each session on a queue of a controller of its own.
func (b *bench) driveNVMe(s *server, w work) func(time.Duration) (sample, error) {
	return func(length time.Duration) (sample, error) {
		return s.observed(func() (sample, error) {
			begin := time.Now()
			return inSessions(w, begin, func(i int) ([]int64, error) { return driveQueue(s, w, uint64(i), begin.Add(length)) })
		})
	}
}

// inSessions runs all sessions of a work side by side, each of which tells its
// latencies in ns.
func inSessions(w work, begin time.Time, run func(i int) ([]int64, error)) (sample, error) {
	type ended struct {
		latency []int64
		err     error
	}
	all := make(chan ended)
	for i := range w.sessions {
		go func() {
			latency, err := run(i)
			all <- ended{latency, err}
		}()
	}
	var latency []int64
	var failed error
	for range w.sessions {
		e := <-all
		latency = append(latency, e.latency...)
		if e.err != nil {
			failed = e.err
		}
	}
	if failed != nil {
		return sample{}, failed
	}
	took := time.Since(begin)
	return sample{rate: float64(len(latency)) / took.Seconds(), latency: pick(latency), took: took}, nil
}

// driveQueue keeps one queue full. Writes are of what a capsule holds.
func driveQueue(s *server, w work, seed uint64, end time.Time) (latency []int64, err error) {
	ctx, cancel := context.WithDeadline(context.Background(), end.Add(30*time.Second))
	defer cancel()
	o := nvmehost.Options{Queues: -1}
	admin, err := nvmehost.Dial(ctx, s.address, s.iqn, o)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(end.Add(30 * time.Second)) //nolint:errcheck // a dead socket fails at its first use
	in, out := bufio.NewReaderSize(c, 1<<18), bufio.NewWriterSize(c, 1<<18)
	var header [pdu.MaxHeader]byte
	send := func(cmd *nvme.Command, data []byte, capsule bool, length int) error {
		cmd[1] |= 1 << 6 // PSDT: SGL
		cmd[39] = 0x5A
		if capsule {
			cmd[39] = 0x01
		}
		binary.LittleEndian.PutUint32(cmd[32:], uint32(length))
		p := pdu.CapsuleCmd{Command: *cmd, Data: uint32(len(data))}
		if _, err := out.Write(p.Marshal(&pdu.Frame{}, header[:])); err != nil {
			return err
		}
		_, err := out.Write(data)
		return err
	}
	out.Write((&pdu.ICReq{}).Marshal(header[:])) //nolint:errcheck // the next one fails as well
	// Then a read's data says that it has ended, as iSCSI's does; an answer of its own would be written and read for it.
	o.Host, o.NoFlow = nvmehost.DefaultHost, true
	connect := nvmehost.Connect(&o, s.iqn, 1, admin.ID)
	if err := send(&connect.Command, connect.Out, true, len(connect.Out)); err != nil {
		return nil, err
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	if _, err := in.Discard(pdu.MaxHeader); err != nil { // ICResp
		return nil, err
	}
	q := queueClient{in: in}
	if _, _, err := q.response(); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}

	random := rand.New(rand.NewPCG(seed, 7))
	begun := make([]time.Time, w.depth)
	data := make([]byte, w.bytes)
	submit := func(id uint16) error {
		lba := random.Uint64N(w.span/uint64(w.bytes)) * uint64(w.bytes) / sector
		op, capsule := nvme.Read, []byte(nil)
		if w.write {
			op, capsule = nvme.Write, data
		}
		cmd := nvmehost.Ranged(op, 1, lba, uint32(w.bytes/sector), 0).Command
		binary.LittleEndian.PutUint16(cmd[2:], id)
		begun[id] = time.Now()
		return send(&cmd, capsule, w.write, w.bytes)
	}
	for id := range w.depth {
		if err := submit(uint16(id)); err != nil {
			return nil, err
		}
	}
	for left := w.depth; left > 0; {
		if in.Buffered() < 24 { // what is answered together is asked together
			if err := out.Flush(); err != nil {
				return nil, err
			}
		}
		id, came, err := q.response()
		if err != nil {
			return nil, err
		}
		if !w.write && came != w.bytes {
			return nil, fmt.Errorf("a read of %d bytes brought %d", w.bytes, came)
		}
		now := time.Now()
		latency = append(latency, int64(now.Sub(begun[id])))
		if !now.Before(end) {
			left--
		} else if err := submit(id); err != nil {
			return nil, err
		}
	}
	return latency, nil
}

// queueClient reads what a controller sends on a queue without digests.
type queueClient struct{ in *bufio.Reader }

// response reads up to the end of a command, and tells which and how much data came.
func (q *queueClient) response() (id uint16, came int, err error) {
	var h [24]byte
	for {
		if _, err := io.ReadFull(q.in, h[:]); err != nil {
			return 0, 0, err
		}
		var common pdu.Common
		common.Unmarshal(h[:])
		switch common.Type {
		case pdu.TypeC2HData:
			if _, err := q.in.Discard(int(common.Length) - len(h)); err != nil {
				return 0, 0, err
			}
			came += int(common.Length) - len(h)
			var d pdu.Data
			if d.Unmarshal(h[:]); d.Success {
				return d.CommandID, came, nil
			}
		case pdu.TypeCapsuleResp:
			var r pdu.CapsuleResp
			if r.Unmarshal(h[:]); r.Status != 0 {
				return 0, 0, fmt.Errorf("status %v", nvme.Status(r.Status))
			}
			return r.CommandID, came, nil
		default:
			return 0, 0, fmt.Errorf("a %v from the target", common.Type)
		}
	}
}
