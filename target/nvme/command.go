package nvme

import "encoding/binary"

// Command is a submission queue entry (NVMe Base 3.3.3).
type Command [64]byte

func (c *Command) Opcode() Opcode { return Opcode(c[0]) }
func (c *Command) Fuse() uint8    { return c[1] & 3 }
func (c *Command) ID() uint16     { return binary.LittleEndian.Uint16(c[2:]) }
func (c *Command) NSID() uint32   { return binary.LittleEndian.Uint32(c[4:]) }

// DW is a command doubleword, 10 to 15.
func (c *Command) DW(n int) uint32 { return binary.LittleEndian.Uint32(c[4*n:]) }

// SLBA is the first logical block of a command that has a range.
func (c *Command) SLBA() uint64 { return binary.LittleEndian.Uint64(c[40:]) }

// Blocks is the number of logical blocks of a command that has a range.
func (c *Command) Blocks() uint32 { return uint32(binary.LittleEndian.Uint16(c[48:])) + 1 }

// Values of FUSE.
const (
	FuseNone   = 0
	FuseFirst  = 1
	FuseSecond = 2
)

// Opcode is an opcode of the queue's kind.
type Opcode uint8

// Fabrics is the opcode of Fabrics commands, on every queue; their kind is FabricsType.
const Fabrics Opcode = 0x7F

// FabricsType is a Fabrics command's FCTYPE.
func (c *Command) FabricsType() uint8 { return c[4] }

const (
	PropertySet     = 0x00
	Connect         = 0x01
	PropertyGet     = 0x04
	AuthSend        = 0x05
	AuthReceive     = 0x06
	Disconnect      = 0x08
	securityFabrics = 0xE9 // SECP
)

// Admin commands.
const (
	GetLogPage           Opcode = 0x02
	Identify             Opcode = 0x06
	Abort                Opcode = 0x08
	SetFeatures          Opcode = 0x09
	GetFeatures          Opcode = 0x0A
	AsyncEventRequest    Opcode = 0x0C
	KeepAlive            Opcode = 0x18
	CrossControllerReset Opcode = 0x38
)

// I/O commands.
const (
	Flush               Opcode = 0x00
	Write               Opcode = 0x01
	Read                Opcode = 0x02
	Compare             Opcode = 0x05
	WriteZeroes         Opcode = 0x08
	DatasetManagement   Opcode = 0x09
	Verify              Opcode = 0x0C
	ReservationRegister Opcode = 0x0D
	ReservationReport   Opcode = 0x0E
	ReservationAcquire  Opcode = 0x11
	ReservationRelease  Opcode = 0x15
	Copy                Opcode = 0x19
)

// Direction is where a command's data goes.
type Direction uint8

const (
	NoData Direction = iota
	ToHost
	FromHost
)

const (
	allNamespaces = 0xFFFFFFFF
	anyController = 0xFFFF
	noResponse    = 0xFFFF
	connectSize   = 1024 // bytes of Connect's data
	identifySize  = 4096

	// MaxTransfer bounds the data of a command, bytes.
	MaxTransfer = 1 << 20
	mdts        = 8 // MaxTransfer in pages of 4096 bytes, log2

	// MaxCompareAndWrite bounds a fused compare and write, logical blocks.
	MaxCompareAndWrite = 128

	// AdminInCapsule bounds the data that comes with a command on an admin queue, bytes.
	AdminInCapsule = 8192

	maxQueueSize = 128 // entries of a queue
	maxRanges    = 256 // of a Dataset Management
)
