package wire

import "fmt"

// Portal is one run of a node as the place where hosts' commands come in.
type Portal struct {
	Node        NodeID
	Incarnation Incarnation
}

// Command names a host's command: the same each time that its portal sends it.
// Numbers count from 1 for each volume of a portal; only commands that must not
// be carried out twice have one.
type Command struct {
	Portal
	Number uint64
}

func (c Command) String() string {
	return fmt.Sprintf("%d.%d.%d", c.Node, c.Incarnation, c.Number)
}

// Key tells a repetition of a COMPARE AND WRITE by its host from other commands:
// it is made of the host's name, the range and both halves of the data.
type Key [16]byte

// Claim says that a COMPARE AND WRITE was carried out, in one segment: which one
// it was, and which version each of its blocks has by it. A later write to other
// parts of its blocks, or one of the same data, hands the claim on with its own version.
type Claim struct {
	Command  Command
	Key      Key
	Orphaned bool   // its host was not answered, or is not known to have heard it
	Changed  bool   // some of what it wrote was written again since, by another command
	Offset   uint64 // bytes, of the whole command
	Length   uint64
	Segment  Segment
	Block    uint32    // of the segment: the first that it wrote in part or whole
	Versions []Version // one a block
}

// Settle is a portal's word on its commands that may have claims: of the settled
// ones the host has acknowledged the answer, of the orphaned ones it has not, and
// never will. It has no answer.
type Settle struct {
	Volume   VolumeID
	Portal   Portal
	Settled  []uint64 // numbers of commands
	Orphaned []uint64
}

// Claims has a node's copies remember, forget or mark claims. It has no answer.
type Claims struct {
	Volume   VolumeID
	Epoch    uint64
	Keep     []Claim
	Settled  []Command
	Orphaned []Command
}

// Clear is the head's word to a portal that a fence was asked for through another:
// the portal ends what it has of the scope.
type Clear struct {
	Req     uint64
	Volume  VolumeID
	Scope   FenceScope
	Nexuses []Nexus // FenceNexus: of these
}

// Cleared answers Clear, on the session on which the portal submits: what it has
// submitted before is what the fence is about, and nothing of it comes later. The
// head answers with Fenced.
type Cleared struct {
	Req    uint64
	Volume VolumeID
	Portal Portal
	Clear  uint64 // Clear.Req
}

func (*Settle) Kind() Kind  { return KindSettle }
func (*Claims) Kind() Kind  { return KindClaims }
func (*Clear) Kind() Kind   { return KindClear }
func (*Cleared) Kind() Kind { return KindCleared }

func (m *Settle) String() string {
	return fmt.Sprintf("settle volume %d portal %d.%d settled %v orphaned %v", m.Volume, m.Portal.Node, m.Portal.Incarnation, m.Settled, m.Orphaned)
}
func (m *Claims) String() string {
	return fmt.Sprintf("claims volume %d epoch %d keep %v settled %v orphaned %v", m.Volume, m.Epoch, m.Keep, m.Settled, m.Orphaned)
}
func (m *Clear) String() string {
	return fmt.Sprintf("clear #%d volume %d scope %d %v", m.Req, m.Volume, m.Scope, m.Nexuses)
}
func (m *Cleared) String() string {
	return fmt.Sprintf("cleared #%d volume %d portal %d.%d clear %d", m.Req, m.Volume, m.Portal.Node, m.Portal.Incarnation, m.Clear)
}

func portal(b []byte, v Portal) []byte { return u64(u16(b, uint16(v.Node)), uint64(v.Incarnation)) }

func command(b []byte, v Command) []byte { return u64(portal(b, v.Portal), v.Number) }

func claim(b []byte, c Claim) []byte {
	b = flag(flag(append(command(b, c.Command), c.Key[:]...), c.Orphaned), c.Changed)
	b = u32(u32(u64(u64(b, c.Offset), c.Length), uint32(c.Segment)), c.Block)
	return list(b, c.Versions, version)
}

// claimSize is the least that a claim takes, bytes.
const claimSize = commandSize + 16 + 1 + 1 + 8 + 8 + 4 + 4 + 4

const commandSize = 2 + 8 + 8

func (p *parser) portal() Portal { return Portal{NodeID(p.u16()), Incarnation(p.u64())} }

func (p *parser) command() Command { return Command{p.portal(), p.u64()} }

func (p *parser) claim() Claim {
	c := Claim{Command: p.command()}
	copy(c.Key[:], p.take(len(c.Key)))
	c.Orphaned, c.Changed, c.Offset, c.Length = p.flag(), p.flag(), p.u64(), p.u64()
	c.Segment, c.Block = Segment(p.u32()), p.u32()
	c.Versions = parseList(p, 16, p.version)
	return c
}

func (m *Settle) append(b []byte) []byte {
	b = portal(u64(b, uint64(m.Volume)), m.Portal)
	return list(list(b, m.Settled, u64), m.Orphaned, u64)
}

func (m *Settle) parse(p *parser) {
	m.Volume, m.Portal = VolumeID(p.u64()), p.portal()
	m.Settled, m.Orphaned = parseList(p, 8, p.u64), parseList(p, 8, p.u64)
}

func (m *Claims) append(b []byte) []byte {
	b = list(u64(u64(b, uint64(m.Volume)), m.Epoch), m.Keep, claim)
	return list(list(b, m.Settled, command), m.Orphaned, command)
}

func (m *Claims) parse(p *parser) {
	m.Volume, m.Epoch = VolumeID(p.u64()), p.u64()
	m.Keep = parseList(p, claimSize, p.claim)
	m.Settled, m.Orphaned = parseList(p, commandSize, p.command), parseList(p, commandSize, p.command)
}

func (m *Clear) append(b []byte) []byte {
	return list(u8(u64(u64(b, m.Req), uint64(m.Volume)), uint8(m.Scope)), m.Nexuses, nexus)
}

func (m *Clear) parse(p *parser) {
	m.Req, m.Volume, m.Scope = p.u64(), VolumeID(p.u64()), p.scope()
	m.Nexuses = parseList(p, 14, p.nexus)
}

func (m *Cleared) append(b []byte) []byte {
	return u64(portal(u64(u64(b, m.Req), uint64(m.Volume)), m.Portal), m.Clear)
}

func (m *Cleared) parse(p *parser) {
	m.Req, m.Volume, m.Portal, m.Clear = p.u64(), VolumeID(p.u64()), p.portal(), p.u64()
}

func (p *parser) scope() FenceScope {
	v := FenceScope(p.u8())
	if v > FenceTasks && p.err == nil {
		p.err = fmt.Errorf("unknown scope %d", v)
	}
	return v
}
