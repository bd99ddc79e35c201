package scsi

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Identity of the product, space padded to the widths of standard INQUIRY data.
// Hosts' multipath tables match on it.
const (
	vendorID  = "ASHLAR  "
	productID = "Volume          "
	revision  = "0001"
)

// Peripheral qualifier and device type, byte 0 of all INQUIRY data.
const (
	directAccess  = 0x00
	wellKnownUnit = 0x1E
	noUnit        = 0x7F // the target can not support a unit at this LUN
)

// versions are the version descriptors: SAM-5, SPC-4, SBC-3, iSCSI.
var versions = []uint16{0x00A0, 0x0460, 0x04C0, 0x0960}

// inquiry is INQUIRY (SPC-4 6.6). It answers for absent units as well.
func inquiry(t *Task) {
	const evpd = 0x01
	device := t.deviceType()
	allocation := uint64(binary.BigEndian.Uint16(t.CDB[3:]))
	page := t.CDB[2]
	if t.CDB[1]&evpd == 0 {
		if page != 0 {
			t.check(badField(2))
			return
		}
		t.reply(standardInquiry(device), allocation)
		return
	}
	if device != directAccess && page != 0x00 {
		t.check(badField(2))
		return
	}
	for _, p := range vitalPages {
		if p.code == page {
			t.reply(vitalPage(p, t, device), allocation)
			return
		}
	}
	t.check(badField(2))
}

func (t *Task) deviceType() byte {
	switch {
	case t.unit != nil:
		return directAccess
	case t.LUN == reportLUNsUnit:
		return wellKnownUnit
	}
	return noUnit
}

// standardInquiry is the standard INQUIRY data, 74 bytes.
func standardInquiry(device byte) []byte {
	const (
		spc4         = 0x06
		historical   = 0x10 // HISUP: LUNs as SAM-5 has them
		format       = 0x02
		implicitALUA = 0x10 // TPGS 01b
		copies       = 0x08 // 3PC
		multiport    = 0x10 // MULTIP
		queueing     = 0x02 // CMDQUE
	)
	d := make([]byte, 58+2*8)
	d[0] = device
	d[2] = spc4
	d[3] = historical | format
	d[4] = byte(len(d) - 5)
	d[5] = implicitALUA | copies
	d[6] = multiport
	d[7] = queueing
	copy(d[8:], vendorID)
	copy(d[16:], productID)
	copy(d[32:], revision)
	for i, v := range versions {
		binary.BigEndian.PutUint16(d[58+2*i:], v)
	}
	return d
}

// vital is one page of vital product data.
type vital struct {
	code byte
	body func(*Task) []byte // what follows the 4-byte header
}

// vitalPages are in ascending order of their codes. The list of them is filled
// in by init, as it is itself a page.
var vitalPages []vital

func init() {
	vitalPages = []vital{
		{0x00, supportedPages},
		{0x80, serialNumber},
		{0x83, identification},
		{0x86, extendedInquiry},
		{0x87, modePolicy},
		{0x88, ports},
		{0x8F, thirdPartyCopy},
		{0xB0, blockLimits},
		{0xB1, blockCharacteristics},
		{0xB2, provisioning},
	}
}

func vitalPage(p vital, t *Task, device byte) []byte {
	body := p.body(t)
	page := make([]byte, 4, 4+len(body))
	page[0], page[1] = device, p.code
	binary.BigEndian.PutUint16(page[2:], uint16(len(body)))
	return append(page, body...)
}

// supportedPages is page 00h. Where there is no volume it is the only one.
func supportedPages(t *Task) []byte {
	if t.unit == nil {
		return []byte{0x00}
	}
	var codes []byte
	for _, p := range vitalPages {
		codes = append(codes, p.code)
	}
	return codes
}

// serialNumber is page 80h.
func serialNumber(t *Task) []byte { return []byte(t.info.Serial) }

// The fields of a designation descriptor (SPC-4 7.8.6.1).
const (
	binaryCode, ascii, utf8Code = 1, 2, 3 // CODE SET

	ofUnit, ofPort, ofTarget = 0x00, 0x10, 0x20 // ASSOCIATION

	vendorDesignator = 1 // DESIGNATOR TYPE
	naaDesignator    = 3
	portDesignator   = 4
	groupDesignator  = 5
	nameDesignator   = 8
)

// identification is page 83h. The unit's designators are the same bytes
// through every node; the port's are those of the port that the host uses.
func identification(t *Task) []byte {
	port := t.Nexus.id.Port
	number := []byte{0, 0, byte(port >> 8), byte(port)}
	name := t.Nexus.target.name
	var d []byte
	d = designator(d, binaryCode, ofUnit|naaDesignator, t.info.NAA[:])
	d = designator(d, ascii, ofUnit|vendorDesignator, []byte(vendorID+t.info.Serial))
	d = designator(d, utf8Code, ofUnit|nameDesignator, nameString("naa."+hex.EncodeToString(t.info.NAA[:])))
	d = designator(d, binaryCode, ofPort|portDesignator, number)
	d = designator(d, binaryCode, ofPort|groupDesignator, number)
	d = designator(d, utf8Code, ofPort|nameDesignator, nameString(portName(name, port)))
	return designator(d, utf8Code, ofTarget|nameDesignator, nameString(name))
}

// designator appends a designation descriptor; those of ports and targets say
// that they are iSCSI's.
func designator(d []byte, codeSet, kind byte, value []byte) []byte {
	const piv, iscsi = 0x80, 0x50
	if kind&0x30 != ofUnit {
		codeSet |= iscsi
		kind |= piv
	}
	d = append(d, codeSet, kind, 0, byte(len(value)))
	return append(d, value...)
}

// nameString ends a SCSI name string with one to four NULs, to a multiple of
// four bytes (SPC-4 7.8.6.11).
func nameString(s string) []byte {
	b := append([]byte(s), 0)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// extendedInquiry is page 86h. All tasks run at once, so HEAD OF QUEUE is
// served as it asks to be; ORDERED is not claimed.
func extendedInquiry(t *Task) []byte {
	const headOfQueue, simple, volatile, clears = 0x04, 0x01, 0x01, 0x01
	d := make([]byte, 60)
	d[1] = headOfQueue | simple
	if t.info.WriteCache {
		d[2] = volatile // V_SUP
	}
	d[3] = clears // LUICLR: a changed inventory is told once for all units
	return d
}

// modePolicy is page 87h: all mode pages are kept per I_T nexus.
func modePolicy(*Task) []byte {
	const allPages, allSubpages, perNexus = 0x3F, 0xFF, 0x03
	return []byte{allPages, allSubpages, perNexus, 0}
}

// ports is page 88h: every node's port, whichever of them is asked.
func ports(t *Task) []byte {
	groups, _ := t.unit.device.Groups()
	var all []byte
	for _, g := range groups {
		name := designator(nil, utf8Code, ofPort|nameDesignator, nameString(portName(t.Nexus.target.name, g.ID)))
		d := make([]byte, 12, 12+len(name))
		binary.BigEndian.PutUint16(d[2:], g.ID)
		binary.BigEndian.PutUint16(d[10:], uint16(len(name)))
		all = append(append(all, d...), name...)
	}
	return all
}

// portName is a target port's name: the target's and its portal group (RFC 7143 4.2.7.1).
func portName(target string, group uint16) string { return fmt.Sprintf("%s,t,0x%04x", target, group) }

// blockLimits is page B0h (SBC-3 6.6.4). What it states is enforced by the
// command table.
func blockLimits(t *Task) []byte {
	i := &t.info
	d := make([]byte, 64)
	aligned := max(i.Physical/i.BlockSize, 1)
	d[5] = maxCompareBlocks
	binary.BigEndian.PutUint16(d[6:], uint16(aligned))
	binary.BigEndian.PutUint32(d[8:], uint32(maxTransfer(t.blockSize())))
	binary.BigEndian.PutUint32(d[12:], optimalTransferBytes/i.BlockSize)
	binary.BigEndian.PutUint32(d[20:], uint32(maxUnmap(t.blockSize())))
	binary.BigEndian.PutUint32(d[24:], maxUnmapDescriptors)
	binary.BigEndian.PutUint32(d[28:], aligned)
	binary.BigEndian.PutUint32(d[32:], 0x80000000) // UGAVALID, alignment zero
	binary.BigEndian.PutUint64(d[36:], maxSame(t.blockSize()))
	if i.Atomic > 0 {
		binary.BigEndian.PutUint32(d[44:], i.Atomic/i.BlockSize)
		binary.BigEndian.PutUint32(d[48:], uint32(atomicAlignment(i)))
		binary.BigEndian.PutUint32(d[52:], uint32(atomicAlignment(i)))
	}
	return d[4:]
}

// blockCharacteristics is page B1h: no rotation.
func blockCharacteristics(*Task) []byte {
	d := make([]byte, 60)
	binary.BigEndian.PutUint16(d, 1)
	return d
}

// provisioning is page B2h: LBPU, LBPWS, LBPWS10, LBPRZ; thin; no thresholds
// and no anchoring.
func provisioning(*Task) []byte {
	const thin = 2
	return []byte{0, 0xE4, thin, 0}
}
