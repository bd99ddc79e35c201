package scsi

import "encoding/binary"

// Page control of MODE SENSE (SPC-4 6.13.2).
const (
	currentValues = iota
	changeableValues
	defaultValues
	savedValues
)

// busyTimeout is how long a host may meet BUSY, in units of 100 ms: as long as
// commands are held through a failover.
const busyTimeout = 40

// modePage is one mode page or subpage.
type modePage struct {
	page, subpage byte
	build         func(t *Task, m modes) []byte // all of the page, header included
	changeable    func() []byte                 // ones where MODE SELECT may write; nil for nowhere
}

// modePages are in the order of MODE SENSE with page code 3Fh: ascending.
var modePages = []modePage{
	{0x01, 0x00, errorRecoveryPage, nil},
	{0x08, 0x00, cachingPage, nil},
	{0x0A, 0x00, controlPage, changeableControl},
	{0x0A, 0x01, controlExtensionPage, nil},
	{0x19, 0x00, protocolPage, nil},
	{0x1C, 0x00, exceptionsPage, nil},
}

// errorRecoveryPage is the read-write error recovery page (SBC-3 6.5.8): AWRE
// and ARRE, for a bad copy is replaced from a good one.
func errorRecoveryPage(*Task, modes) []byte {
	p := make([]byte, 12)
	p[0], p[1], p[2] = 0x01, 0x0A, 0xC0
	return p
}

// cachingPage is SBC-3 6.5.5: WCE as the volume was created.
func cachingPage(t *Task, _ modes) []byte {
	const wce = 0x04
	p := make([]byte, 20)
	p[0], p[1] = 0x08, 0x12
	if t.info.WriteCache {
		p[2] = wce
	}
	return p
}

// The bits of the control mode page (SPC-4 7.5.8).
const (
	dSense       = 0x04 // byte 2
	gltsd        = 0x02 // byte 2: no log parameters are saved
	unrestricted = 0x10 // byte 3: QUEUE ALGORITHM MODIFIER
	swp          = 0x08 // byte 4
)

func controlPage(_ *Task, m modes) []byte {
	p := make([]byte, 12)
	p[0], p[1], p[2], p[3] = 0x0A, 0x0A, gltsd, unrestricted
	if m.descriptorSense {
		p[2] |= dSense
	}
	if m.writeProtect {
		p[4] |= swp
	}
	binary.BigEndian.PutUint16(p[8:], busyTimeout)
	return p
}

func changeableControl() []byte {
	p := make([]byte, 12)
	p[0], p[1], p[2], p[4] = 0x0A, 0x0A, dSense, swp
	return p
}

// controlExtensionPage is SPC-4 7.5.9: IALUAE, asymmetric access changes
// implicitly.
func controlExtensionPage(*Task, modes) []byte {
	const subpageFormat, ialuae = 0x40, 0x01
	p := make([]byte, 32)
	p[0], p[1], p[3], p[4] = 0x0A|subpageFormat, 0x01, 0x1C, ialuae
	return p
}

// protocolPage is the protocol specific port mode page (SPC-4 7.5.16) of iSCSI,
// which has nothing to set.
func protocolPage(*Task, modes) []byte { return []byte{0x19, 0x02, 0x05, 0x00} }

// exceptionsPage is the informational exceptions control page (SPC-4 7.5.11):
// DEXCPT, none are reported.
func exceptionsPage(*Task, modes) []byte {
	const dexcpt = 0x08
	p := make([]byte, 12)
	p[0], p[1], p[2] = 0x1C, 0x0A, dexcpt
	return p
}

// values are a page's under a page control.
func (p modePage) values(t *Task, control byte) []byte {
	switch control {
	case changeableValues:
		if p.changeable != nil {
			return p.changeable()
		}
		v := p.build(t, modes{})
		start := 2
		if v[0]&0x40 != 0 {
			start = 4
		}
		clear(v[start:])
		return v
	case defaultValues:
		return p.build(t, modes{})
	}
	return p.build(t, t.modes)
}

// modeSense is MODE SENSE(6) and (10).
func modeSense(t *Task) {
	const dbd, llbaa = 0x08, 0x10
	long := len(t.command.usage) == 10
	control, page, subpage := t.CDB[2]>>6, t.CDB[2]&0x3F, t.CDB[3]
	if control == savedValues {
		t.check(noSavedPages)
		return
	}
	var pages []byte
	found := false
	for _, p := range modePages {
		if (page == p.page || page == 0x3F) && (subpage == p.subpage || subpage == 0xFF) {
			pages = append(pages, p.values(t, control)...)
			found = true
		}
	}
	if !found {
		t.check(badField(2))
		return
	}
	var descriptor []byte
	longLBA := long && t.CDB[1]&llbaa != 0
	if t.CDB[1]&dbd == 0 {
		descriptor = blockDescriptor(t, longLBA, control == changeableValues)
	}
	allocation := uint64(t.CDB[4])
	if long {
		allocation = uint64(binary.BigEndian.Uint16(t.CDB[7:]))
	}
	t.reply(modeList(t, long, longLBA, descriptor, pages), allocation)
}

// modeList is a mode parameter list: header, block descriptor, pages
// (SPC-4 7.5.5).
func modeList(t *Task, long, longLBA bool, descriptor, pages []byte) []byte {
	const wp, dpofua = 0x80, 0x10
	specific := byte(dpofua)
	if t.info.ReadOnly || t.modes.writeProtect {
		specific |= wp
	}
	var list []byte
	if long {
		list = make([]byte, 8)
		list[3] = specific
		if longLBA && len(descriptor) > 0 {
			list[4] = 0x01
		}
		binary.BigEndian.PutUint16(list[6:], uint16(len(descriptor)))
	} else {
		list = []byte{0, 0, specific, byte(len(descriptor))}
	}
	list = append(append(list, descriptor...), pages...)
	if long {
		binary.BigEndian.PutUint16(list, uint16(len(list)-2))
	} else {
		list[0] = byte(len(list) - 1)
	}
	return list
}

// blockDescriptor is the short or long LBA mode parameter block descriptor
// (SBC-3 6.5.2). Nothing in it can be changed.
func blockDescriptor(t *Task, long, zeros bool) []byte {
	size := 8
	if long {
		size = 16
	}
	d := make([]byte, size)
	if zeros {
		return d
	}
	if long {
		binary.BigEndian.PutUint64(d, t.info.Blocks)
		binary.BigEndian.PutUint32(d[12:], t.info.BlockSize)
		return d
	}
	binary.BigEndian.PutUint32(d, uint32(min(t.info.Blocks, 0xFFFFFFFF)))
	binary.BigEndian.PutUint32(d[4:], t.info.BlockSize&0xFFFFFF)
	return d
}
