package wire

import "fmt"

// Retire has a node's copies, and its own head, obey no lower epoch than this in the run that
// it is in. That holds in memory only, and so is answered (Ack) at once, whatever its disks do:
// another run of the node never was a head of that epoch.
type Retire struct {
	Req    uint64
	Volume VolumeID
	Epoch  uint64
}

func (*Retire) Kind() Kind { return KindRetire }

func (m *Retire) String() string {
	return fmt.Sprintf("retire #%d volume %d epoch %d", m.Req, m.Volume, m.Epoch)
}

func (m *Retire) append(b []byte) []byte { return u64(u32(u64(b, m.Req), uint32(m.Volume)), m.Epoch) }
func (m *Retire) parse(p *parser)        { m.Req, m.Volume, m.Epoch = p.u64(), VolumeID(p.u32()), p.u64() }
