package nvme

import (
	"encoding/binary"
	"math/bits"

	"ashlar/target"
)

var le = binary.LittleEndian

// Identity of the product, space padded. Hosts' multipath tables match on it.
const (
	model    = "Ashlar Volume"
	revision = "0001"
)

// spaces fills b with text and spaces.
func spaces(b []byte, text string) {
	for i := range b[copy(b, text):] {
		b[len(text)+i] = ' '
	}
}

// identify is Identify (NVMe Base 5.17).
func identify(r *Request) {
	c := r.controller
	clear(r.Data)
	nsid := r.Command.NSID()
	cns := uint8(r.Command.DW(10))
	if cns == 0x01 {
		c.identifyController(r.Data)
		r.ok()
		return
	}
	fill := identifications[cns]
	if c.subsystem == nil || fill == nil {
		r.fail(InvalidField)
		return
	}
	r.finish(fill(c, r, nsid))
}

// identifications are by CNS, all but the controller's.
var identifications map[uint8]func(c *Controller, r *Request, nsid uint32) Status

func init() {
	identifications = map[uint8]func(*Controller, *Request, uint32) Status{
		0x00: ofNamespace((*namespace).identify, true),
		0x02: namespaceList,
		0x03: ofNamespace((*namespace).descriptors, false),
		0x05: forNVM(ofNamespace(func(*namespace, []byte) {}, true)),
		0x06: forNVM(controllerLimits),
		0x07: forNVM(namespaceList),
		0x08: ofNamespace((*namespace).identifyIndependent, false),
		0x10: namespaceList,
		0x11: ofNamespace((*namespace).identify, false),
		0x12: controllerList,
		0x13: controllerList,
		0x1C: commandSets,
	}
}

// forNVM has a structure of the NVM command set alone.
func forNVM(f func(*Controller, *Request, uint32) Status) func(*Controller, *Request, uint32) Status {
	return func(c *Controller, r *Request, nsid uint32) Status {
		if r.Command[47] != 0 { // CSI
			return InvalidField | DoNotRetry
		}
		return f(c, r, nsid)
	}
}

// ofNamespace is a structure of one namespace. Of one that is not there it is all
// zeros; common: NSID FFFFFFFFh stands for what all have in common.
func ofNamespace(f func(*namespace, []byte), common bool) func(*Controller, *Request, uint32) Status {
	return func(c *Controller, r *Request, nsid uint32) Status {
		if nsid == allNamespaces && common {
			commonNamespace(r.Data)
			return Success
		}
		if nsid == 0 || nsid > c.subsystem.MaxNamespaces {
			return InvalidNamespace | DoNotRetry
		}
		n := c.subsystem.namespace(nsid)
		if n == nil {
			if common {
				return Success
			}
			return InvalidNamespace | DoNotRetry
		}
		f(n, r.Data)
		return Success
	}
}

func (c *Controller) identifyController(b []byte) {
	spaces(b[4:24], "discovery")
	spaces(b[24:64], model)
	spaces(b[64:72], revision)
	b[77] = mdts
	le.PutUint16(b[78:], c.ID)
	le.PutUint32(b[80:], version)
	b[259] = maxEvents - 1 // AERL
	b[261] = 1 << 2        // LPA: the extended form of Get Log Page
	b[262] = errorEntries - 1
	le.PutUint16(b[320:], keepAliveGranularity)
	b[512], b[513] = submissionLog<<4|submissionLog, completionLog<<4|completionLog
	le.PutUint16(b[514:], maxQueueSize)
	le.PutUint32(b[536:], 1|1<<20|1<<21) // SGLS: SGLs of any alignment, offsets, transport SGLs
	le.PutUint32(b[1792:], (64+AdminInCapsule)/16)
	le.PutUint32(b[1796:], 1)
	b[1803] = 1               // MSDBD
	le.PutUint16(b[1804:], 1) // OFCS: Disconnect
	b[2048] = 0               // power state 0, of which nothing is told
	if c.subsystem == nil {
		c.identifyDiscovery(b)
		return
	}
	s := c.subsystem
	spaces(b[4:24], s.Serial[:min(len(s.Serial), 20)])
	b[76] = 1<<0 | 1<<1 | 1<<3                                // CMIC: ports, controllers, ANA
	le.PutUint32(b[88:], 1000000)                             // RTD3E, us
	le.PutUint32(b[92:], eventNamespace|eventANA)             // OAES
	le.PutUint32(b[96:], 1<<0|1<<6)                           // CTRATT: HIDS, TBKAS
	b[111] = 1                                                // CNTRLTYPE: I/O
	le.PutUint16(b[128:], retryDelay)                         // CRDT1
	b[135] = c.instance.Uniquifier                            // CIU
	le.PutUint64(b[136:], c.instance.Random)                  // CIRN
	b[258] = maxAborts - 1                                    // ACL
	b[260] = 1<<0 | 1<<1                                      // FRMW: one slot, read-only
	b[261] |= 1<<0 | 1<<1 | 1<<5                              // LPA: SMART by namespace, effects, supported pages
	b[342] = anaTransitionSeconds                             // ANATT
	b[343] = 1<<0 | 1<<1 | 1<<2 | 1<<6 | 1<<7                 // ANACAP: states, group IDs do not change, and are not 0
	le.PutUint32(b[344:], s.MaxNamespaces)                    // ANAGRPMAX
	le.PutUint32(b[348:], s.MaxNamespaces)                    // NANAGRPID
	le.PutUint16(b[386:], quiesceTime)                        // CQT
	le.PutUint32(b[516:], s.MaxNamespaces)                    // NN
	le.PutUint16(b[520:], 1<<0|1<<2|1<<3|1<<5|1<<6|1<<7|1<<8) // ONCS
	le.PutUint16(b[522:], 1)                                  // FUSES
	b[525] = 1<<1 | 1<<2                                      // VWC: Flush of NSID FFFFFFFFh; no cache
	if s.caches() {
		b[525] |= 1
	}
	le.PutUint16(b[532:], MaxCompareAndWrite-1) // ACWU
	le.PutUint16(b[534:], 1<<0|1<<1)            // copy descriptor formats 0 and 1
	le.PutUint32(b[540:], s.MaxNamespaces)      // MNAN
	copy(b[768:1023], s.NQN)
	b[1802] = 0         // FCATT: dynamic
	b[1807] = maxResets // CCRL
}

// caches says whether a namespace has a volatile write cache, or one that has may come.
func (s *Subsystem) caches() bool {
	if s.MayCache {
		return true
	}
	for _, n := range s.namespaces.Load().ordered {
		if n.device.Info().WriteCache {
			return true
		}
	}
	return false
}

func (c *Controller) identifyDiscovery(b []byte) {
	b[111] = 2 // CNTRLTYPE
	le.PutUint32(b[92:], eventDiscovery)
	le.PutUint32(b[96:], 1<<0|1<<6)
	copy(b[768:1023], DiscoveryNQN)
	b[1806] = 1 // DCTYPE: direct
}

// Limits and times that are told.
const (
	keepAliveGranularity = 10   // 100 ms each
	retryDelay           = 50   // CRDT1, 100 ms each: what a Device holds is answered Busy after 4 s, and will hardly be better at once
	quiesceTime          = 4000 // ms: a fence is proven by then
	anaTransitionSeconds = 10
	maxAborts            = 4
	maxResets            = 4
)

// commonNamespace is what all namespaces have in common.
func commonNamespace(b []byte) {
	b[30] = 1    // NMIC: shared
	b[31] = 0xFF // RESCAP
	b[33] = 1 | 1<<3
}

// identify is Identify Namespace (NVM Command Set 4.1.5.1). Atomic is a size that
// a write keeps whole as long as it crosses no multiple of it.
func (n *namespace) identify(b []byte) {
	i := n.device.Info()
	commonNamespace(b)
	le.PutUint64(b, i.Blocks)
	le.PutUint64(b[8:], i.Blocks)
	le.PutUint64(b[16:], i.Blocks)
	b[24] = 1<<0 | 1<<4                          // NSFEAT: thin, OPTPERF
	b[128+2] = byte(bits.Len32(i.BlockSize) - 1) // LBAF 0: LBADS
	if whole := i.Atomic / i.BlockSize; whole > 0 {
		b[24] |= 1 << 1                                   // NSABP
		le.PutUint16(b[34:], uint16(min(whole, 1<<16)-1)) // NAWUN
		le.PutUint16(b[36:], uint16(min(whole, 1<<16)-1)) // NAWUPF
		le.PutUint16(b[40:], uint16(min(whole, 1<<16)-1)) // NABSN
		le.PutUint16(b[44:], uint16(min(whole, 1<<16)-1)) // NABSPF
		le.PutUint16(b[38:], MaxCompareAndWrite-1)        // NACWU
	}
	physical := uint16(max(i.Physical/i.BlockSize, 1)) - 1
	for _, at := range []int{64, 66, 68, 70} { // NPWG, NPWA, NPDG, NPDA
		le.PutUint16(b[at:], physical)
	}
	le.PutUint16(b[72:], uint16(MaxTransfer/i.BlockSize-1)) // NOWS
	le.PutUint16(b[74:], uint16(copyRangeBytes/i.BlockSize))
	le.PutUint32(b[76:], copyBytes/i.BlockSize)
	b[80] = copyRanges - 1
	le.PutUint32(b[92:], n.id) // ANAGRPID
	b[99] = readOnly(i)        // NSATTR
	id := nguid(i.NAA)
	copy(b[104:], id[:])
}

func readOnly(i target.Info) byte {
	if i.ReadOnly {
		return 1
	}
	return 0
}

// identifyIndependent is what does not depend on the command set (NVMe Base 5.17.2.8).
func (n *namespace) identifyIndependent(b []byte) {
	b[1], b[2] = 1, 0xFF
	le.PutUint32(b[4:], n.id)
	b[8] = readOnly(n.device.Info())
	b[14] = 1 // NSTAT: ready
}

// descriptors are the Namespace Identification Descriptors (NVMe Base 5.17.2.3).
func (n *namespace) descriptors(b []byte) {
	i := n.device.Info()
	put := func(kind byte, id []byte) {
		b[0], b[1] = kind, byte(len(id))
		copy(b[4:], id)
		b = b[4+len(id):]
	}
	g, u := nguid(i.NAA), uuid(i.NAA)
	put(2, g[:])
	put(3, u[:])
	put(4, []byte{0}) // the NVM command set
}

// namespaceList are the namespaces above NSID, ascending.
func namespaceList(c *Controller, r *Request, nsid uint32) Status {
	if nsid >= allNamespaces-1 {
		return InvalidNamespace | DoNotRetry
	}
	at := 0
	for _, n := range c.subsystem.namespaces.Load().ordered {
		if n.id > nsid && at < len(r.Data) {
			le.PutUint32(r.Data[at:], n.id)
			at += 4
		}
	}
	return Success
}

// controllerList is this controller alone: the others are other nodes', or will
// soon be no more.
func controllerList(c *Controller, r *Request, _ uint32) Status {
	if from := uint16(r.Command.DW(10) >> 16); c.ID >= from {
		le.PutUint16(r.Data, 1)
		le.PutUint16(r.Data[2:], c.ID)
	}
	return Success
}

// controllerLimits are those of the NVM command set (NVM Command Set 4.1.5.4).
func controllerLimits(_ *Controller, r *Request, _ uint32) Status {
	r.Data[3] = maxRanges - 1                // DMRL
	le.PutUint32(r.Data[4:], maxUnmapBlocks) // DMRSL
	le.PutUint64(r.Data[8:], maxUnmapBlocks) // DMSL; 0 of the rest is no limit
	return Success
}

// commandSets are the combinations that can be enabled: NVM.
func commandSets(_ *Controller, r *Request, _ uint32) Status {
	le.PutUint64(r.Data, 1)
	return Success
}
