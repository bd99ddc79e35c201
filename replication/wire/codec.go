package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits on what a message from the wire may hold. A longer one is malformed.
const (
	DataMax  = 8 << 20              // bytes of data in one message
	ListMax  = 1 << 18              // entries in one list
	HostMax  = 512                  // bytes of a host's name
	FrameMax = DataMax + 32*ListMax // bytes of any message
)

// ErrMalformed is wrapped by every error of Unmarshal.
var ErrMalformed = errors.New("malformed message")

// long is a message that ends with data.
type long interface {
	Message
	before(b []byte) []byte // all but the data
	data() []byte
}

func (m *Write) data() []byte  { return m.Data }
func (m *Blocks) data() []byte { return m.Data }
func (m *Submit) data() []byte { return m.Data }
func (m *Done) data() []byte   { return m.Data }

// Apart is from how many bytes on data is worth to be sent from where it is.
const Apart = 32 << 10

// MarshalApart is Marshal, but that a message's long data, with which it ends, is not copied: it is sent after
// the bytes that are appended to b, and is to stay as it is until then.
func MarshalApart(b []byte, m Message) (head, data []byte) {
	if l, ok := m.(long); ok && len(l.data()) >= Apart {
		return u32(l.before(b), uint32(len(l.data()))), l.data()
	}
	return m.append(b), nil
}

// Marshal appends m's encoding to b. Integers are big-endian; lists and data
// are preceded by their length in 4 bytes.
func Marshal(b []byte, m Message) []byte { return m.append(b) }

// Unmarshal decodes a message of a kind. Its Data is a part of b.
func Unmarshal(kind Kind, b []byte) (Message, error) { return new(Decoder).Unmarshal(kind, b) }

// Decoder is what Unmarshal needs beside the message, to be used for one after the other.
type Decoder struct {
	// Messages that nobody looks at any more, or nil: the next of their kind is decoded into them.
	Write *Write
	Ack   *Ack

	p parser
}

// message is an empty one of a kind, nil for an unknown one.
func (d *Decoder) message(kind Kind) Message {
	switch {
	case (kind == KindWrite || kind == KindCachedWrite) && d.Write != nil:
		m := d.Write
		*m, d.Write = Write{Cache: kind == KindCachedWrite, CRC: m.CRC[:0]}, nil
		return m
	case kind == KindAck && d.Ack != nil:
		m := d.Ack
		*m, d.Ack = Ack{}, nil
		return m
	}
	return newMessage(kind)
}

// Unmarshal decodes a message of a kind. Its Data is a part of b.
func (d *Decoder) Unmarshal(kind Kind, b []byte) (Message, error) {
	m := d.message(kind)
	if m == nil {
		return nil, fmt.Errorf("%w: unknown kind %d", ErrMalformed, kind)
	}
	d.p = parser{b: b}
	m.parse(&d.p)
	left, err := len(d.p.b), d.p.err
	d.p = parser{}
	if err == nil && left > 0 {
		err = fmt.Errorf("%d bytes too many", left)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %T: %v", ErrMalformed, m, err)
	}
	return m, nil
}

// Refers says whether m, which Unmarshal gave, refers to the bytes that it was made of.
func Refers(m Message) bool {
	switch m := m.(type) {
	case *Write:
		return m.Data != nil
	case *Blocks:
		return m.Data != nil
	case *Submit:
		return m.Data != nil
	case *Done:
		return m.Data != nil
	case *Tell:
		return m.Data != nil
	}
	return false
}

func newMessage(kind Kind) Message {
	switch kind {
	case KindPrepare:
		return new(Prepare)
	case KindPrepared:
		return new(Prepared)
	case KindWrite, KindCachedWrite:
		return &Write{Cache: kind == KindCachedWrite}
	case KindAck:
		return new(Ack)
	case KindRead:
		return new(Read)
	case KindBlocks:
		return new(Blocks)
	case KindCommit:
		return new(Commit)
	case KindChanges:
		return new(Changes)
	case KindPage:
		return new(Page)
	case KindReserve:
		return new(Reserve)
	case KindExtents:
		return new(Extents)
	case KindRuns:
		return new(Runs)
	case KindSubmit, KindCachedSubmit:
		return &Submit{Cached: kind == KindCachedSubmit}
	case KindDone:
		return new(Done)
	case KindFence:
		return new(Fence)
	case KindFenced:
		return new(Fenced)
	case KindToken:
		return new(Token)
	case KindTell:
		return new(Tell)
	case KindTold:
		return new(Told)
	case KindSettle:
		return new(Settle)
	case KindClaims:
		return new(Claims)
	case KindClear:
		return new(Clear)
	case KindCleared:
		return new(Cleared)
	case KindRetire:
		return new(Retire)
	case KindCheck:
		return new(Check)
	case KindChecked:
		return new(Checked)
	}
	return nil
}

func u8(b []byte, v uint8) []byte   { return append(b, v) }
func u16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }
func u32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func u64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func flag(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func version(b []byte, v Version) []byte { return u64(u64(b, v.Epoch), v.Seq) }

func bytesOf(b, v []byte) []byte { return append(u32(b, uint32(len(v))), v...) }

// list encodes a list, each entry by put.
func list[T any](b []byte, l []T, put func([]byte, T) []byte) []byte {
	b = u32(b, uint32(len(l)))
	for _, v := range l {
		b = put(b, v)
	}
	return b
}

func change(b []byte, c Change) []byte {
	return flag(u32(version(u32(b, c.Block), c.Version), c.CRC), c.Zero)
}

// parser reads from the front of b; after the first error it gives zeros.
type parser struct {
	b   []byte
	err error
}

func (p *parser) take(n int) []byte {
	if p.err != nil || len(p.b) < n {
		if p.err == nil {
			p.err = fmt.Errorf("%d bytes where %d are needed", len(p.b), n)
		}
		return nil
	}
	v := p.b[:n]
	p.b = p.b[n:]
	return v
}

func (p *parser) u8() uint8 {
	if v := p.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (p *parser) u16() uint16 {
	if v := p.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (p *parser) u32() uint32 {
	if v := p.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (p *parser) u64() uint64 {
	if v := p.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (p *parser) flag() bool {
	v := p.u8()
	if v > 1 && p.err == nil {
		p.err = fmt.Errorf("%d where a flag should be", v)
	}
	return v == 1
}

func (p *parser) status() Status {
	v := Status(p.u8())
	if int(v) >= len(statusNames) && p.err == nil {
		p.err = fmt.Errorf("unknown %v", v)
	}
	return v
}

func (p *parser) version() Version { return Version{p.u64(), p.u64()} }

func (p *parser) bytes(limit uint32) []byte {
	n := p.u32()
	if n > limit && p.err == nil {
		p.err = fmt.Errorf("%d bytes where at most %d are allowed", n, limit)
	}
	if n == 0 || p.err != nil {
		return nil
	}
	return p.take(int(n))
}

func (p *parser) change() Change {
	return Change{Block: p.u32(), Version: p.version(), CRC: p.u32(), Zero: p.flag()}
}

func (p *parser) nexus() Nexus {
	return Nexus{Host: string(p.bytes(HostMax)), Port: p.u16(), Generation: p.u64()}
}

// parseList decodes a list whose entries take at least size bytes each, so that
// a false length cannot ask for memory that the message does not have.
func parseList[T any](p *parser, size int, get func() T) []T {
	return parseOnto(p, []T(nil), size, get)
}

// parseOnto is parseList into memory that may be there.
func parseOnto[T any](p *parser, l []T, size int, get func() T) []T {
	n := p.u32()
	if p.err == nil && (n > ListMax || int(n)*size > len(p.b)) {
		p.err = fmt.Errorf("a list of %d entries in %d bytes", n, len(p.b))
	}
	if n == 0 || p.err != nil {
		return nil
	}
	if l = l[:0]; cap(l) < int(n) {
		l = make([]T, 0, n)
	}
	for range n {
		l = append(l, get())
	}
	return l
}

func (m *Prepare) append(b []byte) []byte {
	b = u64(u64(u64(b, m.Req), uint64(m.Volume)), m.Epoch)
	b = list(b, m.Segments, func(b []byte, s Segment) []byte { return u32(b, uint32(s)) })
	return list(b, m.Gens, u64)
}

func (m *Prepare) parse(p *parser) {
	m.Req, m.Volume, m.Epoch = p.u64(), VolumeID(p.u64()), p.u64()
	m.Segments = parseList(p, 4, func() Segment { return Segment(p.u32()) })
	m.Gens = parseList(p, 8, p.u64)
	if p.err == nil && len(m.Gens) != len(m.Segments) {
		p.err = fmt.Errorf("%d segments with %d generations", len(m.Segments), len(m.Gens))
	}
}

func (m *Prepared) append(b []byte) []byte {
	b = u64(u8(u64(b, m.Req), uint8(m.Status)), m.Epoch)
	b = list(b, m.Segments, func(b []byte, t Tail) []byte {
		b = version(u8(u32(b, uint32(t.Segment)), uint8(t.Status)), t.Commit)
		return u32(list(b, t.Changes, change), t.Next)
	})
	return u64(list(b, m.Claims, claim), m.Forgot)
}

func (m *Prepared) parse(p *parser) {
	m.Req, m.Status, m.Epoch = p.u64(), p.status(), p.u64()
	m.Segments = parseList(p, 29, func() Tail {
		return Tail{Segment: Segment(p.u32()), Status: p.status(), Commit: p.version(), Changes: parseList(p, 25, p.change), Next: p.u32()}
	})
	m.Claims, m.Forgot = parseList(p, claimSize, p.claim), p.u64()
}

func (m *Write) append(b []byte) []byte { return bytesOf(m.before(b), m.Data) }

func (m *Write) before(b []byte) []byte {
	b = u64(u64(u32(u64(u64(b, m.Req), uint64(m.Volume)), uint32(m.Segment)), m.Epoch), m.Seq)
	b = u32(u32(version(b, m.Commit), m.Block), m.Count)
	b = list(b, m.Versions, version)
	b = list(b, m.Claims, claim)
	return list(b, m.CRC, u32)
}

func (m *Write) parse(p *parser) {
	m.Req, m.Volume, m.Segment, m.Epoch, m.Seq = p.u64(), VolumeID(p.u64()), Segment(p.u32()), p.u64(), p.u64()
	m.Commit, m.Block, m.Count = p.version(), p.u32(), p.u32()
	m.Versions = parseList(p, 16, p.version)
	m.Claims = parseList(p, claimSize, p.claim)
	m.CRC = parseOnto(p, m.CRC, 4, p.u32)
	m.Data = p.bytes(DataMax)
	if p.err != nil {
		return
	}
	switch {
	case m.Data != nil && (uint64(len(m.Data)) != uint64(m.Count)*BlockSize || len(m.CRC) != int(m.Count)):
		p.err = fmt.Errorf("%d blocks with %d bytes and %d checksums", m.Count, len(m.Data), len(m.CRC))
	case m.Data == nil && m.CRC != nil:
		p.err = errors.New("checksums without data")
	case m.Versions != nil && len(m.Versions) != int(m.Count):
		p.err = fmt.Errorf("%d blocks with %d versions", m.Count, len(m.Versions))
	}
}

func (m *Ack) append(b []byte) []byte { return flag(u8(u64(b, m.Req), uint8(m.Status)), m.Low) }
func (m *Ack) parse(p *parser)        { m.Req, m.Status, m.Low = p.u64(), p.status(), p.flag() }

// appendRange is the shape that Read, Reserve, Extents and Check share.
func appendRange(b []byte, req uint64, v VolumeID, s Segment, epoch uint64, block, count uint32) []byte {
	return u32(u32(u64(u32(u64(u64(b, req), uint64(v)), uint32(s)), epoch), block), count)
}

func (p *parser) rng(req *uint64, v *VolumeID, s *Segment, epoch *uint64, block, count *uint32) {
	*req, *v, *s, *epoch, *block, *count = p.u64(), VolumeID(p.u64()), Segment(p.u32()), p.u64(), p.u32(), p.u32()
}

func (m *Read) append(b []byte) []byte {
	return appendRange(b, m.Req, m.Volume, m.Segment, m.Epoch, m.Block, m.Count)
}

func (m *Read) parse(p *parser) {
	p.rng(&m.Req, &m.Volume, &m.Segment, &m.Epoch, &m.Block, &m.Count)
	if p.err == nil && m.Count > DataMax/BlockSize {
		p.err = fmt.Errorf("a read of %d blocks", m.Count)
	}
}

func (m *Blocks) append(b []byte) []byte { return bytesOf(m.before(b), m.Data) }

func (m *Blocks) before(b []byte) []byte {
	b = list(u8(u64(b, m.Req), uint8(m.Status)), m.Versions, version)
	return list(list(b, m.CRC, u32), m.Bad, u32)
}

func (m *Blocks) parse(p *parser) {
	m.Req, m.Status = p.u64(), p.status()
	m.Versions = parseList(p, 16, p.version)
	m.CRC, m.Bad = parseList(p, 4, p.u32), parseList(p, 4, p.u32)
	m.Data = p.bytes(DataMax)
}

func (m *Commit) append(b []byte) []byte {
	return list(u64(u64(b, uint64(m.Volume)), m.Epoch), m.Segments, func(b []byte, c CommitPoint) []byte {
		return version(u32(b, uint32(c.Segment)), c.Commit)
	})
}

func (m *Commit) parse(p *parser) {
	m.Volume, m.Epoch = VolumeID(p.u64()), p.u64()
	m.Segments = parseList(p, 20, func() CommitPoint { return CommitPoint{Segment(p.u32()), p.version()} })
}

func (m *Changes) append(b []byte) []byte {
	b = u64(u32(u64(u64(b, m.Req), uint64(m.Volume)), uint32(m.Segment)), m.Epoch)
	return u64(u32(flag(version(b, m.After), m.Own), m.From), m.Gen)
}

func (m *Changes) parse(p *parser) {
	m.Req, m.Volume, m.Segment, m.Epoch = p.u64(), VolumeID(p.u64()), Segment(p.u32()), p.u64()
	m.After, m.Own, m.From, m.Gen = p.version(), p.flag(), p.u32(), p.u64()
}

func (m *Page) append(b []byte) []byte {
	b = version(u8(u64(b, m.Req), uint8(m.Status)), m.Commit)
	return u32(list(b, m.Changes, change), m.Next)
}

func (m *Page) parse(p *parser) {
	m.Req, m.Status, m.Commit = p.u64(), p.status(), p.version()
	m.Changes, m.Next = parseList(p, 25, p.change), p.u32()
}

func (m *Reserve) append(b []byte) []byte {
	return appendRange(b, m.Req, m.Volume, m.Segment, m.Epoch, m.Block, m.Count)
}
func (m *Reserve) parse(p *parser) {
	p.rng(&m.Req, &m.Volume, &m.Segment, &m.Epoch, &m.Block, &m.Count)
}
func (m *Extents) append(b []byte) []byte {
	return appendRange(b, m.Req, m.Volume, m.Segment, m.Epoch, m.Block, m.Count)
}
func (m *Extents) parse(p *parser) {
	p.rng(&m.Req, &m.Volume, &m.Segment, &m.Epoch, &m.Block, &m.Count)
}

func (m *Runs) append(b []byte) []byte { return list(u8(u64(b, m.Req), uint8(m.Status)), m.Runs, u32) }
func (m *Runs) parse(p *parser) {
	m.Req, m.Status, m.Runs = p.u64(), p.status(), parseList(p, 4, p.u32)
}

func nexus(b []byte, n Nexus) []byte {
	return u64(u16(bytesOf(b, []byte(n.Host)), n.Port), n.Generation)
}

func (m *Submit) append(b []byte) []byte { return bytesOf(m.before(b), m.Data) }

func (m *Submit) before(b []byte) []byte {
	b = u64(command(u64(u64(b, m.Req), uint64(m.Volume)), m.Command), m.First)
	b = nexus(u8(b, uint8(m.Op)), m.Nexus)
	b = u64(u64(u64(b, m.Stamp.Epoch), uint64(m.Stamp.Token)), uint64(m.Wait))
	b = u64(u64(b, m.Offset), m.Length)
	if m.Cached {
		b = u64(flag(b, m.FUA), m.Losses)
	}
	return b
}

func (m *Submit) parse(p *parser) {
	m.Req, m.Volume, m.Command, m.First = p.u64(), VolumeID(p.u64()), p.command(), p.u64()
	m.Op, m.Nexus = OpKind(p.u8()), p.nexus()
	m.Stamp, m.Wait = Stamp{p.u64(), int64(p.u64())}, int64(p.u64())
	m.Offset, m.Length = p.u64(), p.u64()
	if m.Cached {
		m.FUA, m.Losses = p.flag(), p.u64()
	}
	m.Data = p.bytes(DataMax)
	if p.err == nil && m.Op > OpReserve {
		p.err = fmt.Errorf("unknown operation %d", m.Op)
	}
}

func (m *Done) append(b []byte) []byte { return bytesOf(m.before(b), m.Data) }

func (m *Done) before(b []byte) []byte {
	return list(u64(u8(u64(b, m.Req), uint8(m.Status)), m.Offset), m.Runs, u32)
}

func (m *Done) parse(p *parser) {
	m.Req, m.Status, m.Offset = p.u64(), p.status(), p.u64()
	m.Runs, m.Data = parseList(p, 4, p.u32), p.bytes(DataMax)
}

func (m *Fence) append(b []byte) []byte {
	return nexus(u8(portal(u64(u64(b, m.Req), uint64(m.Volume)), m.Portal), uint8(m.Scope)), m.Nexus)
}

func (m *Fence) parse(p *parser) {
	m.Req, m.Volume, m.Portal, m.Scope, m.Nexus = p.u64(), VolumeID(p.u64()), p.portal(), p.scope(), p.nexus()
}

func (m *Fenced) append(b []byte) []byte { return u8(u64(b, m.Req), uint8(m.Status)) }
func (m *Fenced) parse(p *parser)        { m.Req, m.Status = p.u64(), p.status() }

func (m *Tell) append(b []byte) []byte {
	return bytesOf(u64(u64(b, m.Req), uint64(m.Volume)), m.Data)
}
func (m *Tell) parse(p *parser) {
	m.Req, m.Volume, m.Data = p.u64(), VolumeID(p.u64()), p.bytes(DataMax)
}

func (m *Told) append(b []byte) []byte { return u64(b, m.Req) }
func (m *Told) parse(p *parser)        { m.Req = p.u64() }

func (m *Token) append(b []byte) []byte { return u64(u64(b, uint64(m.Incarnation)), uint64(m.Token)) }
func (m *Token) parse(p *parser)        { m.Incarnation, m.Token = Incarnation(p.u64()), int64(p.u64()) }
