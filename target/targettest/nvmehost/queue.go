package nvmehost

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"ashlar/target/nvme"
	"ashlar/target/nvmetcp/pdu"
)

var le = binary.LittleEndian

// Command is one command. The host sets its identifier and its SGL.
type Command struct {
	nvme.Command
	Out       []byte // data for the controller
	In        []byte // room for data from it
	NoCapsule bool   // Out is sent when it is asked for, however little it is

	Result   uint64
	Status   nvme.Status
	Received int // bytes of In

	q    *Queue
	done chan struct{}
	err  error
}

// StatusError is a command that failed.
type StatusError struct{ Status nvme.Status }

func (e *StatusError) Error() string { return "nvmehost: status " + e.Status.String() }

// Is says whether an error is a status, whatever it says of retrying.
func Is(err error, s nvme.Status) bool {
	var e *StatusError
	return errors.As(err, &e) && e.Status.Code() == s.Code()
}

// ErrClosed is how commands end whose queue has.
var ErrClosed = errors.New("nvmehost: queue closed")

// Queue is one queue and its connection.
type Queue struct {
	nc        net.Conn
	in        *bufio.Reader
	o         Options
	id        uint16
	inCapsule int
	maxData   int
	ended     chan struct{}

	mu       sync.Mutex
	wake     sync.Cond
	out      []net.Buffers
	commands map[uint16]*Command
	backlog  []*Command // for which the queue has no room yet
	next     uint16
	head     uint16
	err      error
}

// Open opens a connection, and does no Connect.
func Open(ctx context.Context, address string, o Options) (*Queue, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	q := &Queue{nc: nc, in: bufio.NewReaderSize(nc, 256<<10), o: o, inCapsule: nvme.AdminInCapsule, ended: make(chan struct{}),
		commands: make(map[uint16]*Command)}
	q.wake.L = &q.mu
	if deadline, ok := ctx.Deadline(); ok {
		nc.SetDeadline(deadline) //nolint:errcheck // a dead socket fails at its first use
	}
	if err := q.open(); err != nil {
		nc.Close()
		return nil, err
	}
	nc.SetDeadline(noDeadline) //nolint:errcheck // as above
	go q.read()
	go q.write()
	return q, nil
}

func (q *Queue) open() error {
	var b [pdu.MaxHeader]byte
	r := pdu.ICReq{Alignment: q.o.Alignment, HeaderDigest: q.o.HeaderDigest, DataDigest: q.o.DataDigest}
	if _, err := q.nc.Write(r.Marshal(b[:])); err != nil {
		return err
	}
	if _, err := io.ReadFull(q.in, b[:]); err != nil {
		return err
	}
	var resp pdu.ICResp
	resp.Unmarshal(b[:])
	if pdu.Type(b[0]) != pdu.TypeICResp || resp.Version != 0 || resp.Alignment != 0 ||
		resp.HeaderDigest != r.HeaderDigest || resp.DataDigest != r.DataDigest || resp.MaxData < 4096 || resp.MaxData%4 != 0 {
		return fmt.Errorf("nvmehost: %v", &resp)
	}
	q.maxData = int(resp.MaxData)
	return nil
}

// Close ends the connection.
func (q *Queue) Close() { q.fail(ErrClosed) }

// Ended is closed when the connection has ended; then Err says why.
func (q *Queue) Ended() <-chan struct{} { return q.ended }

// Err is why the connection has ended.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// SQHead is the submission queue head that was told last.
func (q *Queue) SQHead() uint16 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.head
}

// Conn is the connection, for tests that misbehave.
func (q *Queue) Conn() net.Conn { return q.nc }

func (q *Queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return
	}
	q.err = err
	q.nc.Close()
	for _, c := range q.commands {
		c.err = err
		close(c.done)
	}
	for _, c := range q.backlog {
		c.err = err
		close(c.done)
	}
	q.commands, q.backlog = nil, nil
	q.wake.Broadcast()
	close(q.ended)
}

// Do runs a command to its end.
func (q *Queue) Do(ctx context.Context, c *Command) error {
	q.Start(c)
	return c.Wait(ctx)
}

// Start sends a command.
func (q *Queue) Start(all ...*Command) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range all {
		c.q, c.done, c.err, c.Received, c.Result = q, make(chan struct{}), nil, 0, 0
		if q.err != nil {
			c.err = q.err
			close(c.done)
			continue
		}
		q.backlog = append(q.backlog, c)
	}
	q.fill()
}

// fill sends what the queue has room for; mu is held.
func (q *Queue) fill() {
	for len(q.backlog) > 0 && len(q.commands) < int(q.o.size())-1 {
		c := q.backlog[0]
		q.backlog = q.backlog[1:]
		for q.commands[q.next] != nil {
			q.next++
		}
		le.PutUint16(c.Command[2:], q.next)
		q.commands[q.next] = c
		q.next++
		q.out = append(q.out, q.capsule(c))
	}
	q.wake.Signal()
}

// Wait waits for a command that was started.
func (c *Command) Wait(ctx context.Context) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if c.err != nil {
		return c.err
	}
	if c.Status.Code() != nvme.Success {
		return &StatusError{c.Status}
	}
	return nil
}

// Done is closed when the command has ended.
func (c *Command) Done() <-chan struct{} { return c.done }

func (q *Queue) frame() *pdu.Frame {
	return &pdu.Frame{HeaderDigest: q.o.HeaderDigest, DataDigest: q.o.DataDigest}
}

func (q *Queue) capsule(c *Command) net.Buffers {
	c.Command[1] |= 1 << 6 // PSDT: SGL
	sgl := c.Command[24:40]
	clear(sgl)
	var data []byte
	switch {
	case len(c.Out) > 0 && len(c.Out) <= q.inCapsule && !c.NoCapsule:
		data = c.Out
		sgl[15] = 0x01
		le.PutUint32(sgl[8:], uint32(len(data)))
	default:
		sgl[15] = 0x5A
		le.PutUint32(sgl[8:], uint32(max(len(c.Out), len(c.In))))
	}
	p := pdu.CapsuleCmd{Command: c.Command, Data: uint32(len(data))}
	return q.pack(p.Marshal(q.frame(), make([]byte, pdu.MaxHeader)), data)
}

// pack is a PDU with its digests.
func (q *Queue) pack(header, data []byte) net.Buffers {
	if q.o.HeaderDigest {
		header = append(header, 0, 0, 0, 0)
		pdu.Digest(0).Add(header[:len(header)-4]).Put(header[len(header)-4:])
	}
	all := net.Buffers{header}
	if len(data) > 0 {
		all = append(all, data)
		if q.o.DataDigest {
			d := make([]byte, 4)
			pdu.Digest(0).Add(data).Put(d)
			all = append(all, d)
		}
	}
	return all
}

func (q *Queue) write() {
	for {
		q.mu.Lock()
		for len(q.out) == 0 && q.err == nil {
			q.wake.Wait()
		}
		if q.err != nil {
			q.mu.Unlock()
			return
		}
		var all net.Buffers
		for _, b := range q.out {
			all = append(all, b...)
		}
		q.out = q.out[:0]
		q.mu.Unlock()
		if _, err := all.WriteTo(q.nc); err != nil {
			q.fail(err)
			return
		}
	}
}

func (q *Queue) read() {
	var h [pdu.MaxHeader + 4]byte
	for {
		if err := q.readPDU(h[:]); err != nil {
			q.fail(err)
			return
		}
	}
}

func (q *Queue) readPDU(h []byte) error {
	if _, err := io.ReadFull(q.in, h[:pdu.CommonSize]); err != nil {
		return err
	}
	var common pdu.Common
	common.Unmarshal(h)
	if int(common.HeaderLength) != common.Type.HeaderLength() || common.HeaderLength > pdu.MaxHeader {
		return fmt.Errorf("nvmehost: HLEN %d in a %v", common.HeaderLength, common.Type)
	}
	header := h[:common.HeaderLength]
	if _, err := io.ReadFull(q.in, header[pdu.CommonSize:]); err != nil {
		return err
	}
	left := int(common.Length) - len(header)
	if common.Type == pdu.TypeC2HTermReq {
		t := pdu.TermReq{}
		t.Unmarshal(header)
		return &TermError{t.Error, t.Info}
	}
	if common.HasHeaderDigest() != q.o.HeaderDigest {
		return fmt.Errorf("nvmehost: header digest %t in a %v", common.HasHeaderDigest(), common.Type)
	}
	at := len(header)
	if q.o.HeaderDigest {
		if _, err := io.ReadFull(q.in, h[at:at+4]); err != nil {
			return err
		}
		if !pdu.Digest(0).Add(header).Matches(h[at : at+4]) {
			return errors.New("nvmehost: header digest mismatch")
		}
		left, at = left-4, at+4
	}
	switch common.Type {
	case pdu.TypeCapsuleResp:
		return q.response(header)
	case pdu.TypeR2T:
		return q.transfer(header)
	case pdu.TypeC2HData:
		return q.data(header, &common, at, left)
	}
	return fmt.Errorf("nvmehost: a %v from the controller", common.Type)
}

// TermError is a C2HTermReq.
type TermError struct {
	Fatal pdu.FatalError
	Info  uint32
}

func (e *TermError) Error() string {
	return fmt.Sprintf("nvmehost: the controller ended the connection: %v at %d", e.Fatal, e.Info)
}

func (q *Queue) response(header []byte) error {
	var r pdu.CapsuleResp
	r.Unmarshal(header)
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.commands[r.CommandID]
	if c == nil {
		return fmt.Errorf("nvmehost: %v, which was not asked", &r)
	}
	q.head = r.SQHead
	delete(q.commands, r.CommandID)
	c.Status, c.Result = nvme.Status(r.Status), r.Result
	close(c.done)
	q.fill()
	return nil
}

func (q *Queue) transfer(header []byte) error {
	var r pdu.R2T
	r.Unmarshal(header)
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.commands[r.CommandID]
	if c == nil || r.Length == 0 || uint64(r.Offset)+uint64(r.Length) > uint64(len(c.Out)) {
		return fmt.Errorf("nvmehost: %v, which was not asked", &r)
	}
	for at, end := int(r.Offset), int(r.Offset+r.Length); at < end; {
		n := min(end-at, min(q.maxData, q.o.maxData()))
		d := pdu.Data{CommandID: r.CommandID, Tag: r.Tag, Offset: uint32(at), Length: uint32(n), Last: at+n == end}
		q.out = append(q.out, q.pack(d.Marshal(q.frame(), make([]byte, pdu.MaxHeader)), c.Out[at:at+n]))
		at += n
	}
	q.wake.Signal()
	return nil
}

func (q *Queue) data(header []byte, common *pdu.Common, at, left int) error {
	var d pdu.Data
	d.Unmarshal(header)
	if q.o.Alignment > 0 && int(common.DataOffset)%(4*(int(q.o.Alignment)+1)) != 0 {
		return fmt.Errorf("nvmehost: data at %d is not aligned", common.DataOffset)
	}
	padding := int(common.DataOffset) - at
	if padding < 0 || padding > 128 {
		return fmt.Errorf("nvmehost: data at %d", common.DataOffset)
	}
	if _, err := q.in.Discard(padding); err != nil {
		return err
	}
	left -= padding
	if q.o.DataDigest {
		left -= 4
	}
	q.mu.Lock()
	c := q.commands[d.CommandID]
	q.mu.Unlock()
	if c == nil || left != int(d.Length) || int(d.Offset) != c.Received || int(d.Offset)+left > len(c.In) {
		return fmt.Errorf("nvmehost: %v, which was not asked", &d)
	}
	b := c.In[d.Offset : int(d.Offset)+left]
	if _, err := io.ReadFull(q.in, b); err != nil {
		return err
	}
	c.Received += left
	if q.o.DataDigest {
		var tail [4]byte
		if _, err := io.ReadFull(q.in, tail[:]); err != nil {
			return err
		}
		if !pdu.Digest(0).Add(b).Matches(tail[:]) {
			return errors.New("nvmehost: data digest mismatch")
		}
	}
	if d.Success {
		if !q.o.NoFlow || !d.Last {
			return fmt.Errorf("nvmehost: %v, though SQHD is needed", &d)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.commands, d.CommandID)
		c.Status = nvme.Success
		close(c.done)
		q.fill()
	}
	return nil
}
