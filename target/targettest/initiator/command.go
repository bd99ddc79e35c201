package initiator

import (
	"context"
	"encoding/binary"
	"fmt"

	"ashlar/target/iscsi/pdu"
)

// Command is one SCSI command. The caller fills the first part and leaves it
// alone until Done is called.
type Command struct {
	LUN uint64 // as on the wire
	CDB []byte // 6 to 16 bytes
	In  []byte // where data-in goes; its length is the expected data transfer length
	Out []byte // data-out

	// Expected overrides the expected data transfer length, bytes, when
	// HasExpected is set; data-in beyond In is thrown away, and data-out beyond
	// Out can not be sent.
	Expected    uint32
	HasExpected bool
	Attribute   uint8
	Immediate   bool

	Done func(*Command) // called once, from a goroutine of the session; must not block

	Err                 error // the session failed before the response
	Status              byte  // SAM-5 status code
	Sense               []byte
	Received            uint32 // data-in bytes, up to the end of the last
	Overflow, Underflow bool
	Residual            uint32 // bytes

	itt uint32
}

// Tag is the command's initiator task tag, once it was sent: for ABORT TASK.
func (c *Command) Tag() uint32 { return c.itt }

// SenseCode is the sense key and the additional sense code with its qualifier.
func (c *Command) SenseCode() (key byte, code uint16) {
	switch s := c.Sense; {
	case len(s) >= 14 && s[0]&0x7e == 0x70:
		return s[2] & 0xf, binary.BigEndian.Uint16(s[12:])
	case len(s) >= 4 && s[0]&0x7e == 0x72:
		return s[1] & 0xf, binary.BigEndian.Uint16(s[2:])
	}
	return 0, 0
}

// StatusError is a status other than GOOD.
type StatusError struct {
	Status byte
	Key    byte
	Code   uint16 // additional sense code, and its qualifier in the low byte
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("iscsi initiator: status %#02x, sense %x/%04x", e.Status, e.Key, e.Code)
}

// Result is nil for GOOD, a *StatusError for another status, or Err.
func (c *Command) Result() error {
	if c.Err != nil || c.Status == 0 {
		return c.Err
	}
	key, code := c.SenseCode()
	return &StatusError{c.Status, key, code}
}

func (c *Command) expected() uint32 {
	if c.HasExpected {
		return c.Expected
	}
	return uint32(max(len(c.In), len(c.Out)))
}

// Submit starts a command, as soon as the target's window lets it. It does not block.
func (s *Session) Submit(c *Command) {
	c.Err, c.Status, c.Sense, c.Received = nil, 0, nil, 0
	c.Overflow, c.Underflow, c.Residual = false, false, 0
	s.mu.Lock()
	if s.err != nil {
		c.Err = s.err
		s.mu.Unlock()
		c.Done(c)
		return
	}
	if c.Immediate {
		s.start(c)
	} else {
		s.waiting = append(s.waiting, c)
		s.pump()
	}
	s.mu.Unlock()
}

// Do runs a command and waits for it. If the context ends first, the session
// is closed and the context's error returned.
func (s *Session) Do(ctx context.Context, c *Command) error {
	done := make(chan struct{})
	c.Done = func(*Command) { close(done) }
	s.Submit(c)
	select {
	case <-done:
		return c.Result()
	case <-ctx.Done():
		s.fail(context.Cause(ctx))
		<-done
		return context.Cause(ctx)
	}
}

// pump sends what waits and fits into the window; mu is held.
func (s *Session) pump() {
	n := 0
	for n < len(s.waiting) && int32(s.maxCmdSN-s.cmdSN) >= 0 {
		s.start(s.waiting[n])
		n++
	}
	if n > 0 {
		left := copy(s.waiting, s.waiting[n:])
		clear(s.waiting[left:])
		s.waiting = s.waiting[:left]
	}
}

// start sends a command with its immediate and unsolicited data; mu is held.
func (s *Session) start(c *Command) {
	c.itt = s.newTag()
	s.active[c.itt] = c
	p := pdu.SCSICommand{
		Immediate: c.Immediate, Read: len(c.In) > 0, Write: len(c.Out) > 0, Attribute: c.Attribute,
		LUN: c.LUN, ITT: c.itt, EDTL: c.expected(), CmdSN: s.cmdSN, ExpStatSN: s.expStatSN,
	}
	copy(p.CDB[:], c.CDB)
	if !c.Immediate {
		s.cmdSN++
	}
	first := min(uint32(len(c.Out)), s.Params.FirstBurst)
	now := uint32(0)
	if s.Params.ImmediateData {
		now = min(first, s.Params.MaxSend)
	}
	p.DataLength = now
	p.Final = s.Params.InitialR2T || now >= first
	var h pdu.Header
	p.Marshal(&h)
	s.enqueue(&h, c.Out[:now])
	if !p.Final {
		s.sendOut(c, pdu.NoTag, now, first)
	}
}

// sendOut sends one sequence of Data-Out, from one offset up to another; mu is held.
func (s *Session) sendOut(c *Command, ttt, from, to uint32) {
	for sn := uint32(0); from < to; sn++ {
		n := min(to-from, s.Params.MaxSend)
		p := pdu.DataOut{
			Final: from+n == to, DataLength: n, LUN: c.LUN, ITT: c.itt, TTT: ttt,
			ExpStatSN: s.expStatSN, DataSN: sn, Offset: from,
		}
		var h pdu.Header
		p.Marshal(&h)
		s.enqueue(&h, c.Out[from:from+n])
		from += n
	}
}

// Read reads blocks of blockSize bytes from a LUN into b, by READ(16).
func (s *Session) Read(ctx context.Context, lun, lba uint64, b []byte, blockSize int) error {
	return s.Do(ctx, readCommand(lun, lba, b, blockSize))
}

// Write writes b, blocks of blockSize bytes, to a LUN, by WRITE(16).
func (s *Session) Write(ctx context.Context, lun, lba uint64, b []byte, blockSize int) error {
	return s.Do(ctx, writeCommand(lun, lba, b, blockSize))
}

func readCommand(lun, lba uint64, b []byte, blockSize int) *Command {
	return &Command{LUN: lun, CDB: CDB16(0x88, lba, uint32(len(b)/blockSize)), In: b}
}

func writeCommand(lun, lba uint64, b []byte, blockSize int) *Command {
	return &Command{LUN: lun, CDB: CDB16(0x8a, lba, uint32(len(b)/blockSize)), Out: b}
}

// CDB16 is a 16-byte CDB with an LBA and a number of blocks (SBC-3 5.13).
func CDB16(opcode byte, lba uint64, blocks uint32) []byte {
	cdb := make([]byte, 16)
	cdb[0] = opcode
	binary.BigEndian.PutUint64(cdb[2:], lba)
	binary.BigEndian.PutUint32(cdb[10:], blocks)
	return cdb
}
