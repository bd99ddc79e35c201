package nvmehost

import (
	"context"
	"fmt"
	"time"

	"ashlar/target/nvme"
)

var noDeadline time.Time

// Options say how a host connects. The zero value of a field stands for the one in
// parentheses.
type Options struct {
	Host         nvme.Host // (one that all who leave it out share)
	HeaderDigest bool
	DataDigest   bool
	Alignment    uint8  // HPDA
	Size         uint16 // entries of a queue (128)
	Queues       int    // I/O queues (1); less than 0: none
	NoFlow       bool   // SQ flow control is disabled
	KeepAlive    time.Duration
	NoPings      bool // no Keep Alive is sent
	MaxData      int  // of an H2CData, bytes (as granted)
	// Authenticate, if set, is called where a Connect is answered with that the host
	// has to prove itself.
	Authenticate func(ctx context.Context, q *Queue) error
}

// DefaultHost is the host of Options that name none.
var DefaultHost = nvme.Host{NQN: "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-0000-0000-000000000001", ID: [16]byte{15: 1}}

func (o *Options) size() uint16 {
	if o.Size == 0 {
		return 128
	}
	return o.Size
}

func (o *Options) maxData() int {
	if o.MaxData == 0 {
		return 1 << 30
	}
	return o.MaxData
}

// Controller is a controller of this host's, with its queues.
type Controller struct {
	Admin *Queue
	IO    []*Queue
	ID    uint16

	address, nqn string
	o            Options
}

// Dial makes a controller and enables it, and connects its I/O queues.
func Dial(ctx context.Context, address, nqn string, o Options) (*Controller, error) {
	if o.Host.NQN == "" {
		o.Host = DefaultHost
	}
	if o.Queues == 0 {
		o.Queues = 1
	}
	c := &Controller{address: address, nqn: nqn, o: o}
	admin, id, err := c.connect(ctx, 0, 0xFFFF)
	if err != nil {
		return nil, err
	}
	c.Admin, c.ID = admin, id
	if err := c.enable(ctx); err != nil {
		c.Close()
		return nil, err
	}
	if o.KeepAlive > 0 && !o.NoPings {
		go c.ping()
	}
	for i := range max(o.Queues, 0) {
		if _, err := c.AddQueue(ctx, uint16(i+1)); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// AddQueue connects one more I/O queue.
func (c *Controller) AddQueue(ctx context.Context, id uint16) (*Queue, error) {
	q, _, err := c.connect(ctx, id, c.ID)
	if err == nil {
		c.IO = append(c.IO, q)
	}
	return q, err
}

// Close ends all connections.
func (c *Controller) Close() {
	for _, q := range c.IO {
		q.Close()
	}
	c.Admin.Close()
}

func (c *Controller) connect(ctx context.Context, id, controller uint16) (*Queue, uint16, error) {
	q, err := Open(ctx, c.address, c.o)
	if err != nil {
		return nil, 0, err
	}
	q.id = id
	cmd := Connect(&c.o, c.nqn, id, controller)
	if err := q.Do(ctx, cmd); err != nil {
		q.Close()
		return nil, 0, fmt.Errorf("connect of queue %d (result %xh): %w", id, cmd.Result, err)
	}
	if cmd.Result&nvme.AuthRequired != 0 && c.o.Authenticate != nil {
		if err := c.o.Authenticate(ctx, q); err != nil {
			q.Close()
			return nil, 0, err
		}
	}
	return q, uint16(cmd.Result), nil
}

// Connect is a Connect command.
func Connect(o *Options, nqn string, id, controller uint16) *Command {
	cmd := &Command{Out: make([]byte, nvme.ConnectSize)}
	cmd.Command[0], cmd.Command[4] = byte(nvme.Fabrics), nvme.Connect
	le.PutUint16(cmd.Command[42:], id)
	le.PutUint16(cmd.Command[44:], o.size()-1)
	if o.NoFlow {
		cmd.Command[46] = 4
	}
	le.PutUint32(cmd.Command[48:], uint32(o.KeepAlive.Milliseconds()))
	copy(cmd.Out, o.Host.ID[:])
	le.PutUint16(cmd.Out[16:], controller)
	copy(cmd.Out[256:], nqn)
	copy(cmd.Out[512:], o.Host.NQN)
	return cmd
}

func (c *Controller) ping() {
	tick := time.NewTicker(c.o.KeepAlive / 2)
	defer tick.Stop()
	for {
		select {
		case <-c.Admin.Ended():
			return
		case <-tick.C:
			c.Admin.Start(New(nvme.KeepAlive, 0))
		}
	}
}

// SetProperty sets a property of 4 bytes.
func (c *Controller) SetProperty(ctx context.Context, offset uint32, value uint64) error {
	cmd := New(nvme.Fabrics, nvme.PropertySet)
	le.PutUint32(cmd.Command[44:], offset)
	le.PutUint64(cmd.Command[48:], value)
	return c.Admin.Do(ctx, cmd)
}

// Property reads a property of 4 bytes, or of 8.
func (c *Controller) Property(ctx context.Context, offset uint32, size int) (uint64, error) {
	cmd := New(nvme.Fabrics, nvme.PropertyGet)
	if size == 8 {
		cmd.Command[40] = 1
	}
	le.PutUint32(cmd.Command[44:], offset)
	err := c.Admin.Do(ctx, cmd)
	return cmd.Result, err
}

// Properties.
const (
	CAP  = 0x00
	VS   = 0x08
	CC   = 0x14
	CSTS = 0x1C
)

// Enabled is CC of an enabled controller.
const Enabled = 4<<20 | 6<<16 | 1

func (c *Controller) enable(ctx context.Context) error {
	if err := c.SetProperty(ctx, CC, Enabled); err != nil {
		return err
	}
	status, err := c.Property(ctx, CSTS, 4)
	if err == nil && status&1 == 0 {
		err = fmt.Errorf("nvmehost: CSTS %xh after CC.EN", status)
	}
	return err
}

// New is a command without data. For a Fabrics command, nsid is its type.
func New(op nvme.Opcode, nsid uint32, dwords ...uint32) *Command {
	c := &Command{}
	c.Command[0] = byte(op)
	le.PutUint32(c.Command[4:], nsid)
	for i, d := range dwords { // from DW10 on
		le.PutUint32(c.Command[40+4*i:], d)
	}
	return c
}

// Ranged is a command on a range of blocks; control is DW12's upper half.
func Ranged(op nvme.Opcode, nsid uint32, lba uint64, blocks uint32, control uint16) *Command {
	return New(op, nsid, uint32(lba), uint32(lba>>32), (blocks-1)&0xFFFF|uint32(control)<<16)
}

// Read reads blocks.
func (q *Queue) Read(ctx context.Context, nsid uint32, lba uint64, data []byte, blockSize int) error {
	c := Ranged(nvme.Read, nsid, lba, uint32(len(data)/blockSize), 0)
	c.In = data
	if err := q.Do(ctx, c); err != nil {
		return err
	}
	if c.Received != len(data) {
		return fmt.Errorf("nvmehost: %d of %d bytes came", c.Received, len(data))
	}
	return nil
}

// Write writes blocks.
func (q *Queue) Write(ctx context.Context, nsid uint32, lba uint64, data []byte, blockSize int) error {
	c := Ranged(nvme.Write, nsid, lba, uint32(len(data)/blockSize), 0)
	c.Out = data
	return q.Do(ctx, c)
}

// Identify reads a structure of 4096 bytes.
func (c *Controller) Identify(ctx context.Context, cns uint8, nsid uint32) ([]byte, error) {
	cmd := New(nvme.Identify, nsid, uint32(cns))
	cmd.In = make([]byte, 4096)
	return cmd.In, c.Admin.Do(ctx, cmd)
}

// Log reads a part of a log page.
func (c *Controller) Log(ctx context.Context, page uint8, offset uint64, n int, retain bool) ([]byte, error) {
	d := uint32(n/4 - 1)
	cmd := New(nvme.GetLogPage, 0xFFFFFFFF, uint32(page)|d<<16, d>>16, uint32(offset), uint32(offset>>32))
	if retain {
		cmd.Command[41] |= 0x80
	}
	cmd.In = make([]byte, n)
	return cmd.In, c.Admin.Do(ctx, cmd)
}
