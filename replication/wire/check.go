package wire

import "fmt"

// CheckMax is how many blocks one Check may be of.
const CheckMax = 1 << 12

// Check asks what a copy holds of a range of blocks. With Data it reads them, too,
// data and what is known of it from the device, and tells which it cannot give.
type Check struct {
	Req     uint64
	Volume  VolumeID
	Segment Segment
	Epoch   uint64
	Block   uint32
	Count   uint32
	Data    bool
}

// Checked answers Check: the blocks of the range that were ever written, in order. Of
// those in Bad the data cannot be had; with LostVersion, nothing is known of them.
type Checked struct {
	Req     uint64
	Status  Status
	Changes []Change
	Bad     []uint32
}

func (*Check) Kind() Kind   { return KindCheck }
func (*Checked) Kind() Kind { return KindChecked }

func (m *Check) String() string {
	return fmt.Sprintf("check #%d volume %d segment %d epoch %d blocks %d+%d data %v", m.Req, m.Volume, m.Segment, m.Epoch, m.Block, m.Count, m.Data)
}

func (m *Checked) String() string {
	return fmt.Sprintf("checked #%d %v %+v bad %v", m.Req, m.Status, m.Changes, m.Bad)
}

func (m *Check) append(b []byte) []byte {
	return flag(appendRange(b, m.Req, m.Volume, m.Segment, m.Epoch, m.Block, m.Count), m.Data)
}

func (m *Check) parse(p *parser) {
	p.rng(&m.Req, &m.Volume, &m.Segment, &m.Epoch, &m.Block, &m.Count)
	m.Data = p.flag()
	if p.err == nil && m.Count > CheckMax {
		p.err = fmt.Errorf("a check of %d blocks", m.Count)
	}
}

func (m *Checked) append(b []byte) []byte {
	return list(list(u8(u64(b, m.Req), uint8(m.Status)), m.Changes, change), m.Bad, u32)
}

func (m *Checked) parse(p *parser) {
	m.Req, m.Status = p.u64(), p.status()
	m.Changes, m.Bad = parseList(p, 25, p.change), parseList(p, 4, p.u32)
}
