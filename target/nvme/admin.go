package nvme

// adminCommands are by opcode.
var adminCommands map[Opcode]*command

func init() {
	adminCommands = map[Opcode]*command{
		GetLogPage:           {name: "Get Log Page", direction: ToHost, size: logSize, run: getLogPage, discovery: true},
		Identify:             {name: "Identify", direction: ToHost, size: fixed(identifySize), run: identify, discovery: true},
		Abort:                {name: "Abort", run: abort},
		SetFeatures:          {name: "Set Features", direction: FromHost, size: featureSize, run: setFeatures, discovery: true},
		GetFeatures:          {name: "Get Features", direction: ToHost, size: featureSize, run: getFeatures, discovery: true},
		AsyncEventRequest:    {name: "Asynchronous Event Request", run: asyncEvent, discovery: true},
		KeepAlive:            {name: "Keep Alive", run: (*Request).ok, discovery: true},
		CrossControllerReset: {name: "Cross-Controller Reset", run: crossReset},
	}
}

// abort is Abort: DW0 bit 0 of the answer is clear where the command has ended by
// it, and nothing of it takes effect later.
func abort(r *Request) {
	const notAborted = 1
	c := r.controller
	c.mu.Lock()
	if c.aborts >= maxAborts {
		c.mu.Unlock()
		r.fail(AbortLimit)
		return
	}
	c.aborts++
	c.mu.Unlock()
	r.Result = notAborted
	d := r.Command.DW(10)
	c.Carrier.AbortCommand(uint16(d), uint16(d>>16), func(ended bool) {
		c.mu.Lock()
		c.aborts--
		c.mu.Unlock()
		if ended {
			r.Result = 0
		}
		r.ok()
	})
}

// AbortEvent ends an Asynchronous Event Request that the host aborts; false if it
// is not held.
func (c *Controller) AbortEvent(r *Request) bool {
	if !c.dropHeld(r) {
		return false
	}
	r.finish(AbortRequested)
	return true
}

// crossReset is Cross-Controller Reset (TP8028). It is answered when nothing of the
// other controller can take effect any more, so that there is never anything to
// tell later (IRS is set).
func crossReset(r *Request) {
	const immediate = 1
	c := r.controller
	d := r.Command.DW(10)
	i := Instance{
		ID: uint16(d), Uniquifier: uint8(d >> 16), Host: c.instance.Host,
		Random: uint64(r.Command.DW(13))<<32 | uint64(r.Command.DW(12)),
	}
	if i.ID == c.ID || i.ID == 0 || i.ID >= 0xFFF0 {
		r.fail(InvalidField)
		return
	}
	c.mu.Lock()
	if c.resets >= maxResets {
		c.mu.Unlock()
		r.finish(ResetLimit)
		return
	}
	c.resets++
	c.mu.Unlock()
	c.Carrier.ResetController(i, func(err error) {
		c.mu.Lock()
		c.resets--
		c.mu.Unlock()
		if err != nil {
			r.finish(InternalError)
			return
		}
		r.Result = immediate
		r.ok()
	})
}
