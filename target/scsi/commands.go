package scsi

import "ashlar/target/reserve"

// access is what a command does to the medium, on which write protection
// depends.
type access uint8

const (
	neither access = iota
	reads
	writes
)

// command is all that is known of one command.
type command struct {
	name   string
	usage  []byte // CDB usage data (SPC-4 6.35.3): the code, the service action, and ones where a bit means something
	action bool   // byte 1 has a service action
	access access

	// reserved is what reservations may forbid of a command that sends the
	// Device no operation (SPC-4 table 66, SBC-3 table 12). For all others the
	// Device decides.
	reserved reserve.Access

	anywhere bool // answers for absent units, and is never met by a unit attention
	offPath  bool // is carried out on a path that was withdrawn, as all that are anywhere (SPC-4 5.16.2)
	checks   bool // is what multipath drivers look at their paths with
	counted  bool // as a read or a write, in log page 19h
	fua      bool // has FUA in bit 3 of byte 1
	refuse   byte // bits of byte 1 that ask for what is not here: protection information, anchoring, LBDATA

	span     func(cdb []byte) (lba, blocks uint64)             // the range on the medium, or nil
	limit    func(blockSize uint64) uint64                     // the most blocks of that, or nil
	lengthAt int                                               // where the CDB has them
	out      func(cdb []byte, blocks, blockSize uint64) uint64 // bytes of data-out, or nil

	direction Direction
	run       func(*Task)
}

// code and serviceAction are how a command is known.
func (c *command) code() byte { return c.usage[0] }

func (c *command) serviceAction() byte {
	if !c.action {
		return 0
	}
	return c.usage[1] & 0x1F
}

const (
	protect = 0xE0 // RDPROTECT, WRPROTECT or VRPROTECT: there is no protection information
	ndob    = 0x01 // NO DATA-OUT BUFFER, of WRITE SAME(16)
	unmap   = 0x08 // UNMAP, of WRITE SAME
	anchor  = 0x10 // ANCHOR, of WRITE SAME: VPD page B2h says ANC_SUP zero
	lbdata  = 0x06 // obsolete PBDATA and LBDATA, of WRITE SAME
)

// opcodes dispatches by operation code, actions by service action below it.
var (
	commands []*command
	opcodes  [256]*command
	actions  [256]*[32]*command
)

// lookup is the command of a CDB, or nil.
func lookup(cdb []byte) *command {
	if len(cdb) < 2 {
		return nil
	}
	if a := actions[cdb[0]]; a != nil {
		return a[cdb[1]&0x1F]
	}
	return opcodes[cdb[0]]
}

func define(c command) {
	code := c.code()
	p := &c
	commands = append(commands, p)
	if !c.action {
		opcodes[code] = p
		return
	}
	if actions[code] == nil {
		actions[code] = new([32]*command)
	}
	actions[code][c.serviceAction()] = p
}

func init() {
	for _, c := range primaryCommands() {
		define(c)
	}
	for _, c := range blockCommands() {
		define(c)
	}
	for _, c := range provisioningCommands() {
		define(c)
	}
	for _, c := range reservationCommands() {
		define(c)
	}
	for _, c := range copyCommands() {
		define(c)
	}
}

// b is shorthand for the usage bytes of the tables.
func b(v ...byte) []byte { return v }

// primaryCommands are those of SPC-4.
func primaryCommands() []command {
	return []command{
		{name: "TEST UNIT READY", usage: b(0x00, 0, 0, 0, 0, 0), reserved: reserve.Presence, checks: true, run: (*Task).good},
		{name: "REQUEST SENSE", usage: b(0x03, 0x01, 0, 0, 0xFF, 0), anywhere: true, direction: DataIn, run: requestSense},
		{name: "INQUIRY", usage: b(0x12, 0x01, 0xFF, 0xFF, 0xFF, 0), anywhere: true, direction: DataIn, run: inquiry},
		{name: "MODE SELECT(6)", usage: b(0x15, 0x11, 0, 0, 0xFF, 0), reserved: reserve.Writes, out: outList6, direction: DataOut, run: modeSelect},
		{name: "MODE SELECT(10)", usage: b(0x55, 0x11, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0), reserved: reserve.Writes, out: outList16, direction: DataOut, run: modeSelect},
		{name: "MODE SENSE(6)", usage: b(0x1A, 0x08, 0xFF, 0xFF, 0xFF, 0), reserved: reserve.Reads, direction: DataIn, run: modeSense},
		{name: "MODE SENSE(10)", usage: b(0x5A, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0), reserved: reserve.Reads, direction: DataIn, run: modeSense},
		{name: "READ DEFECT DATA(10)", usage: b(0x37, 0, 0x1F, 0, 0, 0, 0, 0xFF, 0xFF, 0), reserved: reserve.Reads, direction: DataIn, run: readDefects},
		{name: "READ DEFECT DATA(12)", usage: b(0xB7, 0x1F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0), reserved: reserve.Reads, direction: DataIn, run: readDefects},
		{name: "SEND DIAGNOSTIC", usage: b(0x1D, 0x04, 0, 0xFF, 0xFF, 0), reserved: reserve.Writes, run: sendDiagnostic},
		{name: "LOG SENSE", usage: b(0x4D, 0, 0x3F, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0), direction: DataIn, run: logSense},
		{name: "REPORT LUNS", usage: b(0xA0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0), anywhere: true, direction: DataIn, run: reportLUNs},
		{name: "REPORT TARGET PORT GROUPS", usage: b(0xA3, 0xEA, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0), action: true, offPath: true, checks: true, direction: DataIn, run: reportPortGroups},
		{name: "REPORT SUPPORTED OPERATION CODES", usage: b(0xA3, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0), action: true, reserved: reserve.Reads, direction: DataIn, run: reportOpcodes},
		{name: "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", usage: b(0xA3, 0x0D, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0), action: true, reserved: reserve.Reads, direction: DataIn, run: reportFunctions},
	}
}

// blockCommands are those of SBC-3 that move or check blocks.
func blockCommands() []command {
	rw := func(name string, usage []byte, a access, run func(*Task)) command {
		c := command{name: name, usage: usage, access: a, counted: true, refuse: protect, fua: true, limit: maxTransfer,
			direction: DataIn, run: run}
		if a == writes {
			c.direction, c.out = DataOut, outBlocks
		}
		return c.spanned()
	}
	verify := func(name string, usage []byte) command {
		return command{name: name, usage: usage, access: reads, refuse: protect, limit: maxTransfer,
			out: outVerify, direction: DataOut, run: verifyBlocks}.spanned()
	}
	plain := func(name string, usage []byte, a access, run func(*Task)) command {
		return command{name: name, usage: usage, access: a, run: run}.spanned()
	}
	prefetch := func(name string, usage []byte) command {
		c := plain(name, usage, reads, (*Task).good)
		c.reserved = reserve.Reads
		return c
	}
	writeVerify := func(name string, usage []byte) command {
		c := rw(name, usage, writes, writeAndVerify)
		c.fua = false
		return c
	}
	read6 := rw("READ(6)", b(0x08, 0x1F, 0xFF, 0xFF, 0xFF, 0), reads, readBlocks)
	read6.refuse, read6.fua = 0, false // byte 1 is LBA there
	write6 := rw("WRITE(6)", b(0x0A, 0x1F, 0xFF, 0xFF, 0xFF, 0), writes, writeBlocks)
	write6.refuse, write6.fua = 0, false
	return []command{
		read6, write6,
		rw("READ(10)", usage10(0x28, 0x18), reads, readBlocks),
		rw("READ(12)", usage12(0xA8, 0x18), reads, readBlocks),
		rw("READ(16)", usage16(0x88, 0x18), reads, readBlocks),
		rw("WRITE(10)", usage10(0x2A, 0x18), writes, writeBlocks),
		rw("WRITE(12)", usage12(0xAA, 0x18), writes, writeBlocks),
		rw("WRITE(16)", usage16(0x8A, 0x18), writes, writeBlocks),
		writeVerify("WRITE AND VERIFY(10)", usage10(0x2E, 0x16)),
		writeVerify("WRITE AND VERIFY(12)", usage12(0xAE, 0x16)),
		writeVerify("WRITE AND VERIFY(16)", usage16(0x8E, 0x16)),
		{name: "WRITE ATOMIC(16)", usage: b(0x9C, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0),
			access: writes, counted: true, refuse: protect, fua: true, span: spanAtomic, limit: maxAtomic, lengthAt: 12, out: outBlocks,
			direction: DataOut, run: writeAtomic},
		rw("ORWRITE(16)", usage16(0x8B, 0x18), writes, orWrite),
		verify("VERIFY(10)", usage10(0x2F, 0x16)),
		verify("VERIFY(12)", usage12(0xAF, 0x16)),
		verify("VERIFY(16)", usage16(0x8F, 0x16)),
		prefetch("PRE-FETCH(10)", usage10(0x34, 0x02)),
		prefetch("PRE-FETCH(16)", usage16(0x90, 0x02)),
		plain("SYNCHRONIZE CACHE(10)", usage10(0x35, 0x02), neither, synchronize),
		plain("SYNCHRONIZE CACHE(16)", usage16(0x91, 0x02), neither, synchronize),
		{name: "COMPARE AND WRITE", usage: b(0x89, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0, 0),
			access: writes, counted: true, refuse: protect, fua: true, span: spanCompare, limit: maxCompare, lengthAt: 13, out: outTwice,
			direction: DataOut, run: compareAndWrite},
		{name: "READ CAPACITY(10)", usage: b(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), direction: DataIn, run: readCapacity10},
		{name: "READ CAPACITY(16)", usage: b(0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0), action: true,
			direction: DataIn, run: readCapacity16},
		{name: "START STOP UNIT", usage: b(0x1B, 0x01, 0, 0x0F, 0xF7, 0), reserved: reserve.Presence, run: startStop},
	}
}

// provisioningCommands are those of SBC-3 for logical block provisioning.
func provisioningCommands() []command {
	same := func(name string, usage []byte, refuse byte, out func([]byte, uint64, uint64) uint64) command {
		return command{name: name, usage: usage, access: writes, refuse: refuse, limit: maxSame, out: out,
			direction: DataOut, run: writeSame}.spanned()
	}
	return []command{
		same("WRITE SAME(10)", usage10(0x41, unmap), protect|anchor|lbdata, outPattern),
		same("WRITE SAME(16)", usage16(0x93, unmap|ndob), protect|anchor|lbdata, outPattern16),
		{name: "UNMAP", usage: b(0x42, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0), access: writes, refuse: 0x01, out: outList16,
			direction: DataOut, run: unmapBlocks},
		{name: "GET LBA STATUS", usage: b(0x9E, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0),
			action: true, access: reads, span: spanStart, direction: DataIn, run: lbaStatus},
	}
}

// spanned gives a command the range of its CDB's length.
func (c command) spanned() command {
	switch len(c.usage) {
	case 6:
		c.span, c.lengthAt = span6, 4
	case 10:
		c.span, c.lengthAt = span10, 7
	case 12:
		c.span, c.lengthAt = span12, 6
	case 16:
		c.span, c.lengthAt = span16, 10
	}
	return c
}

// usage10, usage12 and usage16 are the usage data of a command with a range: a
// byte of flags, LBA, length.
func usage10(code, flags byte) []byte {
	return b(code, flags, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0)
}

func usage12(code, flags byte) []byte {
	return b(code, flags, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0)
}

func usage16(code, flags byte) []byte {
	return b(code, flags, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0)
}
