package nvme

// features are what a host sets for its controller. Under Controller.mu.
type features struct {
	keepAlive   uint32 // ms; 0: none
	events      uint32 // Asynchronous Event Configuration
	behaviour   [512]byte
	timestamp   uint64
	queues      uint32            // as granted
	masks       map[uint32]uint32 // of reservation notifications, by NSID
	recovery    uint32
	arbitration uint32
	normal      uint32
}

// reset gives the features their defaults. The keep alive stays.
func (f *features) reset(keepAlive uint32) { *f = features{keepAlive: granular(keepAlive)} }

// granular is a keep alive timeout, ms, as the controller keeps it.
func granular(ms uint32) uint32 {
	const unit = keepAliveGranularity * 100
	return uint32(min((uint64(ms)+unit-1)/unit*unit, 1<<31))
}

// Feature identifiers (NVMe Base 5.27.1).
const (
	featureArbitration   = 0x01
	featurePower         = 0x02
	featureTemperature   = 0x04
	featureRecovery      = 0x05
	featureWriteCache    = 0x06
	featureQueues        = 0x07
	featureWriteNormal   = 0x0A
	featureEvents        = 0x0B
	featureTimestamp     = 0x0E
	featureKeepAlive     = 0x0F
	featureBehaviour     = 0x16
	featureHostID        = 0x81
	featureResvMask      = 0x82
	featureResvPersist   = 0x83
	featureWriteProtect  = 0x84
	saveFeature          = 1 << 31
	defaultTemperature   = 0x0157 // K
	featureChangeable    = 1 << 2
	featureOfNamespace   = 1 << 1
	selectCurrent        = 0
	selectDefault        = 1
	selectSaved          = 2
	selectCapabilities   = 3
	widerHostID          = 1 // EXHID
	timestampSize        = 8
	behaviourSize        = 512
	maskedEverything     = 7 << 1
	persistsThroughPower = 1
)

// feature is one feature: how to get it, and to set it if a host may.
type feature struct {
	discovery bool
	space     bool                                                           // of a namespace
	size      uint32                                                         // of its data, bytes
	get       func(c *Controller, r *Request) (uint32, Status)               // mu is held
	set       func(c *Controller, r *Request, value uint32) (uint32, Status) // likewise
}

var featureTable map[uint8]*feature

func init() {
	word := func(at func(*features) *uint32) func(*Controller, *Request) (uint32, Status) {
		return func(c *Controller, _ *Request) (uint32, Status) { return *at(&c.features), Success }
	}
	store := func(at func(*features) *uint32, mask uint32) func(*Controller, *Request, uint32) (uint32, Status) {
		return func(c *Controller, _ *Request, v uint32) (uint32, Status) {
			*at(&c.features) = v & mask
			return 0, Success
		}
	}
	constant := func(v uint32) func(*Controller, *Request) (uint32, Status) {
		return func(*Controller, *Request) (uint32, Status) { return v, Success }
	}
	arbitration := func(f *features) *uint32 { return &f.arbitration }
	recovery := func(f *features) *uint32 { return &f.recovery }
	normal := func(f *features) *uint32 { return &f.normal }
	featureTable = map[uint8]*feature{
		featureArbitration:  {get: word(arbitration), set: store(arbitration, 0xFFFFFFFF)},
		featurePower:        {get: constant(0), set: setPower},
		featureTemperature:  {get: constant(defaultTemperature)},
		featureRecovery:     {get: word(recovery), set: store(recovery, 0xFFFF)},
		featureWriteCache:   {get: getCache},
		featureQueues:       {get: getQueues, set: setQueues},
		featureWriteNormal:  {get: word(normal), set: store(normal, 1)},
		featureEvents:       {discovery: true, get: word(func(f *features) *uint32 { return &f.events }), set: setEvents},
		featureTimestamp:    {size: timestampSize, get: getTimestamp, set: setTimestamp},
		featureKeepAlive:    {discovery: true, get: word(func(f *features) *uint32 { return &f.keepAlive }), set: setKeepAlive},
		featureBehaviour:    {size: behaviourSize, get: getBehaviour, set: setBehaviour},
		featureHostID:       {size: 16, get: getHostID},
		featureResvMask:     {space: true, get: getMask, set: setMask},
		featureResvPersist:  {space: true, get: getPersistence, set: setPersistence},
		featureWriteProtect: {space: true, get: getWriteProtect},
	}
}

func (c *Controller) feature(cmd *Command) *feature {
	f := featureTable[uint8(cmd.DW(10))]
	if f == nil || c.subsystem == nil && !f.discovery {
		return nil
	}
	return f
}

// featureSize is the data of Get and Set Features, bytes.
func featureSize(c *Controller, cmd *Command) (uint32, Status) {
	f := c.feature(cmd)
	if f == nil || cmd.Opcode() == GetFeatures && cmd.DW(10)>>8&7 == selectCapabilities || cmd.Opcode() == SetFeatures && f.set == nil {
		return 0, Success
	}
	return f.size, Success
}

func getFeatures(r *Request) {
	c := r.controller
	f := c.feature(&r.Command)
	selected := r.Command.DW(10) >> 8 & 7
	if f == nil || selected > selectCapabilities {
		r.fail(InvalidField)
		return
	}
	if !c.featureSpace(r, f) {
		r.fail(InvalidNamespace)
		return
	}
	if selected == selectCapabilities {
		if f.set != nil {
			r.Result |= featureChangeable
		}
		if f.space {
			r.Result |= featureOfNamespace
		}
		r.ok()
		return
	}
	c.mu.Lock()
	v, s := f.get(c, r)
	c.mu.Unlock()
	r.Result = uint64(v)
	r.finish(s)
}

func setFeatures(r *Request) {
	c := r.controller
	f := c.feature(&r.Command)
	switch {
	case f == nil:
		r.fail(InvalidField)
		return
	case r.Command.DW(10)&saveFeature != 0:
		r.fail(FeatureNotSaveable)
		return
	case f.set == nil:
		r.fail(FeatureNotChangeable)
		return
	case !c.featureSpace(r, f):
		r.fail(InvalidNamespace)
		return
	}
	c.mu.Lock()
	v, s := f.set(c, r, r.Command.DW(11))
	c.mu.Unlock()
	r.Result = uint64(v)
	r.finish(s)
}

// featureSpace finds the namespace of a feature that has one. All of them may be
// named where the mask of reservation notifications is set.
func (c *Controller) featureSpace(r *Request, f *feature) bool {
	if !f.space {
		return true
	}
	nsid := r.Command.NSID()
	r.space = c.subsystem.namespace(nsid)
	return r.space != nil || nsid == allNamespaces && r.Command.Opcode() == SetFeatures && uint8(r.Command.DW(10)) == featureResvMask
}

func setPower(_ *Controller, _ *Request, v uint32) (uint32, Status) {
	if v&0x1F != 0 {
		return 0, InvalidField | DoNotRetry
	}
	return 0, Success
}

func getCache(c *Controller, _ *Request) (uint32, Status) {
	if !c.subsystem.caches() {
		return 0, InvalidField | DoNotRetry
	}
	return 1, Success
}

func getQueues(c *Controller, _ *Request) (uint32, Status) {
	if c.features.queues == 0 {
		n := uint32(c.Queues - 1)
		return n<<16 | n, Success
	}
	return c.features.queues, Success
}

// setQueues grants as many I/O queues as were asked for, up to what there may be.
func setQueues(c *Controller, _ *Request, v uint32) (uint32, Status) {
	if v&0xFFFF == 0xFFFF || v>>16 == 0xFFFF {
		return 0, InvalidField | DoNotRetry
	}
	most := uint32(c.Queues - 1)
	c.features.queues = min(v>>16, most)<<16 | min(v&0xFFFF, most)
	return c.features.queues, Success
}

// setEvents lets events be told. What is not offered may be asked for, and is not
// told: hosts set what they know.
func setEvents(c *Controller, _ *Request, v uint32) (uint32, Status) {
	c.features.events = v
	return 0, Success
}

func setKeepAlive(c *Controller, _ *Request, v uint32) (uint32, Status) {
	c.features.keepAlive = granular(v)
	c.silence = 0
	return 0, Success
}

func getTimestamp(c *Controller, r *Request) (uint32, Status) {
	le.PutUint64(r.Data, c.features.timestamp&(1<<48-1))
	if c.features.timestamp != 0 {
		r.Data[6] = 1 << 1 // it was set; how much time has passed since is not told
	}
	return 0, Success
}

func setTimestamp(c *Controller, r *Request, _ uint32) (uint32, Status) {
	c.features.timestamp = le.Uint64(r.Data) & (1<<48 - 1)
	return 0, Success
}

func getBehaviour(c *Controller, r *Request) (uint32, Status) {
	copy(r.Data, c.features.behaviour[:])
	return 0, Success
}

// setBehaviour takes what the host supports: ACRE, that it waits as long as CRD
// says, and LBAFEE.
func setBehaviour(c *Controller, r *Request, _ uint32) (uint32, Status) {
	if r.Data[0] > 1 || r.Data[2] > 1 {
		return 0, InvalidField | DoNotRetry
	}
	copy(c.features.behaviour[:], r.Data)
	return 0, Success
}

func getHostID(c *Controller, r *Request) (uint32, Status) {
	if r.Command.DW(11)&widerHostID == 0 {
		return 0, HostIDInconsistent | DoNotRetry
	}
	copy(r.Data, c.instance.Host.ID[:])
	return 0, Success
}

func getMask(c *Controller, r *Request) (uint32, Status) {
	return c.features.masks[r.Command.NSID()], Success
}

func setMask(c *Controller, r *Request, v uint32) (uint32, Status) {
	if c.features.masks == nil {
		c.features.masks = make(map[uint32]uint32)
	}
	v &= maskedEverything
	if nsid := r.Command.NSID(); nsid != allNamespaces {
		c.features.masks[nsid] = v
		return 0, Success
	}
	for _, n := range c.subsystem.namespaces.Load().ordered {
		c.features.masks[n.id] = v
	}
	return 0, Success
}

func getPersistence(_ *Controller, r *Request) (uint32, Status) {
	if s := r.space.device.Reservations(); s != nil && s.APTPL {
		return persistsThroughPower, Success
	}
	return 0, Success
}

// setPersistence takes what there is already: Reservation Register changes it.
func setPersistence(c *Controller, r *Request, v uint32) (uint32, Status) {
	if now, _ := getPersistence(c, r); now != v&persistsThroughPower {
		return 0, FeatureNotChangeable | DoNotRetry
	}
	return 0, Success
}

func getWriteProtect(_ *Controller, r *Request) (uint32, Status) {
	return uint32(readOnly(r.space.device.Info())), Success
}
