package session

// Window is the command window of a session (RFC 7143 4.2.2.1): ExpCmdSN to
// MaxCmdSN. It is depth minus the commands alive wide, so MaxCmdSN never goes
// back: a command that arrives moves ExpCmdSN, one that ends moves MaxCmdSN.
type Window struct {
	exp   uint32
	depth int
	live  int
}

// NewWindow opens a window for depth commands at cmdSN.
func NewWindow(cmdSN uint32, depth int) Window { return Window{exp: cmdSN, depth: depth} }

// Arrival is what to do with a request.
type Arrival uint8

const (
	Deliver Arrival = iota
	Ignore          // outside of the window: silently (RFC 7143 4.2.2.1)
	Gap             // numbers before it are missing and, on one connection, will never come
)

// Arrive decides on a request by its CmdSN.
func (w *Window) Arrive(cmdSN uint32, immediate bool) Arrival {
	if immediate {
		return Deliver
	}
	ahead := int32(cmdSN - w.exp)
	switch {
	case ahead < 0 || int(ahead) >= w.depth-w.live:
		return Ignore
	case ahead > 0:
		return Gap
	}
	w.exp++
	return Deliver
}

// Begin and End count a command that takes a place until its end.
func (w *Window) Begin() { w.live++ }

// End gives a command's place back and tells whether the window was closed.
func (w *Window) End() (wasClosed bool) {
	wasClosed = w.live >= w.depth
	w.live--
	return wasClosed
}

// ExpCmdSN is the number of the next command.
func (w *Window) ExpCmdSN() uint32 { return w.exp }

// MaxCmdSN is the last number that may be sent; ExpCmdSN - 1 closes the window.
func (w *Window) MaxCmdSN() uint32 { return w.exp + uint32(w.depth-w.live) - 1 }
