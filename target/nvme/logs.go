package nvme

import "sync"

// Log pages (NVMe Base 5.16.1).
const (
	logSupported         = 0x00
	logErrors            = 0x01
	logSMART             = 0x02
	logFirmware          = 0x03
	logChangedNamespaces = 0x04
	logEffects           = 0x05
	logANA               = 0x0C
	logFeatures          = 0x12
	logDiscovery         = 0x70
	logReservations      = 0x80
)

// logPage is one log page: its whole content now. Reading it without RAE clears
// what it tells.
type logPage struct {
	discovery bool // a discovery controller has it
	io        bool // an I/O controller has it
	page      func(c *Controller, r *Request, retain bool) ([]byte, Status)
}

var logPages map[uint8]*logPage

func init() {
	logPages = map[uint8]*logPage{
		logSupported:         {true, true, supportedPage},
		logErrors:            {true, true, errorPage},
		logSMART:             {false, true, healthPage},
		logFirmware:          {false, true, firmwarePage},
		logChangedNamespaces: {false, true, changedPage},
		logEffects:           {false, true, effectsPage},
		logANA:               {false, true, anaPage},
		logFeatures:          {false, true, featuresPage},
		logDiscovery:         {true, false, discoveryPage},
		logReservations:      {false, true, reservationPage},
	}
}

// logSize is the data of Get Log Page, bytes.
func logSize(_ *Controller, cmd *Command) (uint32, Status) {
	dwords := uint64(cmd.DW(10)>>16) | uint64(cmd.DW(11)&0xFFFF)<<16
	if dwords++; dwords > MaxTransfer/4 {
		return 0, InvalidField | DoNotRetry
	}
	return uint32(4 * dwords), Success
}

const retainEvent = 1 << 15

// getLogPage is Get Log Page: what there is from the offset on, then zeros.
func getLogPage(r *Request) {
	c := r.controller
	p := logPages[uint8(r.Command.DW(10))]
	if p == nil || c.subsystem == nil && !p.discovery || c.subsystem != nil && !p.io {
		r.fail(InvalidLogPage)
		return
	}
	offset := uint64(r.Command.DW(13))<<32 | uint64(r.Command.DW(12))
	if offset%4 != 0 || r.Command.DW(14)&(1<<23) != 0 { // OT: no page has an index
		r.fail(InvalidField)
		return
	}
	page, status := p.page(c, r, r.Command.DW(10)&retainEvent != 0)
	if status != Success {
		r.finish(status)
		return
	}
	// Of the ANA page hosts know the most that it can be, and read so far: nvme-cli
	// piece by piece.
	if offset > uint64(len(page)) && uint8(r.Command.DW(10)) != logANA {
		r.fail(InvalidField)
		return
	}
	clear(r.Data[copy(r.Data, page[min(offset, uint64(len(page))):]):])
	r.ok()
	c.deliver()
}

func supportedPage(c *Controller, _ *Request, _ bool) ([]byte, Status) {
	b := make([]byte, 1024)
	for id, p := range logPages {
		if c.subsystem == nil && p.discovery || c.subsystem != nil && p.io {
			b[4*int(id)] = 1 // LSUPP
		}
	}
	return b, Success
}

// errorEntries is how many errors a controller remembers.
const errorEntries = 64

// errorLog is the latest errors.
type errorLog struct {
	mu    sync.Mutex
	count uint64
	last  [errorEntries]errorEntry
}

type errorEntry struct {
	count   uint64
	queue   uint16
	command uint16
	status  Status
	lba     uint64
	nsid    uint32
}

// noteError remembers a command that failed.
func (c *Controller) noteError(r *Request) {
	e := errorEntry{queue: r.Queue, command: r.Command.ID(), status: r.Status, nsid: r.Command.NSID()}
	if r.Queue != 0 {
		e.lba = r.Command.SLBA()
	}
	l := &c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	e.count = l.count
	l.last[l.count%errorEntries] = e
}

func errorPage(c *Controller, _ *Request, _ bool) ([]byte, Status) {
	b := make([]byte, 64*errorEntries)
	l := &c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := uint64(0); i < min(l.count, errorEntries); i++ {
		e, at := &l.last[(l.count-i)%errorEntries], b[64*i:]
		le.PutUint64(at, e.count)
		le.PutUint16(at[8:], e.queue)
		le.PutUint16(at[10:], e.command)
		le.PutUint16(at[12:], uint16(e.status)<<1)
		le.PutUint16(at[14:], 0xFFFF) // no field of the command is pointed at
		le.PutUint64(at[16:], e.lba)
		le.PutUint32(at[24:], e.nsid)
		at[29] = 3 // TRTYPE: TCP
	}
	return b, Success
}

const roomTemperature = 300 // K: there is no sensor

func healthPage(c *Controller, r *Request, _ bool) ([]byte, Status) {
	if nsid := r.Command.NSID(); nsid != allNamespaces && nsid != 0 && c.subsystem.namespace(nsid) == nil {
		return nil, InvalidNamespace | DoNotRetry
	}
	b := make([]byte, 512)
	le.PutUint16(b[1:], roomTemperature)
	b[3], b[4] = 100, 10 // available spare and its threshold, percent
	c.log.mu.Lock()
	le.PutUint64(b[176:], c.log.count) // error log entries
	c.log.mu.Unlock()
	return b, Success
}

func firmwarePage(*Controller, *Request, bool) ([]byte, Status) {
	b := make([]byte, 512)
	b[0] = 1
	spaces(b[8:16], revision)
	return b, Success
}

func changedPage(c *Controller, _ *Request, retain bool) ([]byte, Status) {
	b := make([]byte, 4*mostChanged)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &c.events
	if e.changedAll {
		le.PutUint32(b, allNamespaces)
	} else {
		for i, n := range e.changed {
			le.PutUint32(b[4*i:], n)
		}
	}
	if !retain {
		e.changed, e.changedAll = nil, false
		e.read(namespaceEvent)
	}
	return b, Success
}

func effectsPage(_ *Controller, r *Request, _ bool) ([]byte, Status) {
	b := make([]byte, 4096)
	if r.Command.DW(14)>>24 != 0 { // CSI
		return nil, InvalidField | DoNotRetry
	}
	for op, cmd := range adminCommands {
		le.PutUint32(b[4*int(op):], supported|cmd.effects)
	}
	for op, cmd := range ioCommands {
		le.PutUint32(b[1024+4*int(op):], supported|cmd.effects)
	}
	return b, Success
}

// anaPage tells the state of each namespace's group through this controller. A page
// that is read in pieces is of one state where its change count is the same before
// and after.
func anaPage(c *Controller, r *Request, retain bool) ([]byte, Status) {
	if !retain {
		c.mu.Lock()
		c.events.read(anaEvent)
		c.mu.Unlock()
	}
	groupsOnly := r.Command.DW(10)>>8&1 != 0 // RGO
	leaving := c.leaving.Load()
	b := make([]byte, 16)
	changes := c.subsystem.anaChanges.Load()
	all := c.subsystem.namespaces.Load().ordered
	for _, n := range all {
		g := make([]byte, 36)
		le.PutUint32(g, n.id)
		le.PutUint64(g[8:], n.anaChanges.Load()+1)
		g[16] = byte(n.anaState.Load())
		if leaving {
			g[16] = anaInaccessible
		}
		if groupsOnly {
			g = g[:32]
		} else {
			le.PutUint32(g[4:], 1)
			le.PutUint32(g[32:], n.id)
		}
		b = append(b, g...)
	}
	if leaving {
		changes++
	}
	le.PutUint64(b, changes)
	le.PutUint16(b[8:], uint16(len(all)))
	return b, Success
}

func featuresPage(*Controller, *Request, bool) ([]byte, Status) {
	b := make([]byte, 1024)
	for id, f := range featureTable {
		v := uint32(1) // FSUPP
		if f.space {
			v |= 1 << 20 // scope: namespace
		} else {
			v |= 1 << 21 // scope: controller
		}
		le.PutUint32(b[4*int(id):], v)
	}
	return b, Success
}

func discoveryPage(c *Controller, _ *Request, retain bool) ([]byte, Status) {
	if !retain {
		c.mu.Lock()
		c.events.read(discoveryEvent)
		c.mu.Unlock()
	}
	d := c.Discovery()
	return d.page(), Success
}

func reservationPage(c *Controller, _ *Request, retain bool) ([]byte, Status) {
	b := make([]byte, 64)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &c.events
	if len(e.reservations) > 0 {
		n := e.reservations[0]
		le.PutUint64(b, n.count)
		b[8] = n.kind
		b[9] = byte(min(len(e.reservations)-1, 255))
		le.PutUint32(b[12:], n.nsid)
		e.reservations = e.reservations[1:]
	}
	if !retain {
		e.read(reservationEvent)
		e.pending[reservationEvent] = len(e.reservations) > 0
	}
	return b, Success
}
