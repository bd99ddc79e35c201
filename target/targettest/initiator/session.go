package initiator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"ashlar/target/carrier"
	"ashlar/target/iscsi/pdu"
)

// ErrClosed is why commands fail after Close.
var ErrClosed = errors.New("iscsi initiator: session closed")

// LoginError is a refused login.
type LoginError struct {
	Status  uint16 // class and detail (RFC 7143 11.13.5)
	Address string // of status 01xx: the portal to go to ("host:port")
}

func (e *LoginError) Error() string {
	if e.Address != "" {
		return fmt.Sprintf("iscsi initiator: login redirected to %s: %04x", e.Address, e.Status)
	}
	return fmt.Sprintf("iscsi initiator: login refused: %04x", e.Status)
}

// Session is a logged-in session. Its methods may be called from any goroutine.
type Session struct {
	Params Params // constant after Dial
	TSIH   uint16

	nc         net.Conn
	in         *bufio.Reader
	header     pdu.Header
	maxReceive uint32
	async      func(pdu.Async)
	readEnd    chan struct{}
	sender     carrier.Sender[packet]
	writer     writer // of whoever sends

	mu        sync.Mutex
	err       error // set once: the session is over
	cmdSN     uint32
	maxCmdSN  uint32
	expStatSN uint32
	itt       uint32
	waiting   []*Command // for the window
	active    map[uint32]*Command
	calls     map[uint32]chan<- reply
}

// packet is a PDU to send.
type packet struct {
	header pdu.Header
	data   []byte
}

// reply is the answer to a request other than a SCSI command.
type reply struct {
	header pdu.Header
	data   []byte
}

// Dial logs in to a target at a portal ("host:port"), and where that sends it
// on to another, there. An empty target name opens a discovery session. The
// context bounds the login only.
func Dial(ctx context.Context, portal, target string, o Options) (*Session, error) {
	for hops := 0; ; hops++ {
		s, err := dial(ctx, portal, target, o)
		var moved *LoginError
		if hops == maxRedirects || !errors.As(err, &moved) || moved.Address == "" {
			return s, err
		}
		portal = moved.Address
	}
}

const maxRedirects = 3

func dial(ctx context.Context, portal, target string, o Options) (*Session, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", portal)
	if err != nil {
		return nil, err
	}
	s := &Session{
		nc: nc, active: make(map[uint32]*Command), calls: make(map[uint32]chan<- reply),
		readEnd: make(chan struct{}),
	}
	o = o.withDefaults()
	s.maxReceive, s.async = o.MaxReceive, o.Async
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	err = s.login(target, &o)
	if !stop() && err == nil || ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	s.writer.out, s.writer.headerDigest, s.writer.dataDigest = &s.sender.Out, s.Params.HeaderDigest, s.Params.DataDigest
	s.sender.Open(s, &s.mu)
	s.in = bufio.NewReaderSize(s.sender.Input(nc), 64<<10)
	s.sender.Start(nc)
	go s.read()
	return s, nil
}

// fail ends the session and every command under way.
func (s *Session) fail(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	s.nc.Close()
	s.sender.Close()
	s.mu.Unlock()
	go s.failCommands()
}

// failCommands runs when neither goroutine touches a command's buffers any more.
func (s *Session) failCommands() {
	<-s.readEnd
	<-s.sender.Ended()
	s.mu.Lock()
	commands := s.waiting
	for _, c := range s.active {
		commands = append(commands, c)
	}
	s.waiting, s.active = nil, nil
	for _, call := range s.calls {
		close(call)
	}
	s.calls = nil
	err := s.err
	s.mu.Unlock()
	for _, c := range commands {
		c.Err = err
		c.Done(c)
	}
}

// Err is why the session is over, nil while it is not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close drops the connection without a logout.
func (s *Session) Close() {
	s.fail(ErrClosed)
	<-s.readEnd
	<-s.sender.Ended()
}

// newTag is a task tag not in use; mu is held.
func (s *Session) newTag() uint32 {
	for {
		s.itt++
		if s.itt != pdu.NoTag && s.active[s.itt] == nil && s.calls[s.itt] == nil {
			return s.itt
		}
	}
}

// enqueue has a PDU sent; mu is held.
func (s *Session) enqueue(h *pdu.Header, data []byte) {
	s.sender.Enqueue(packet{*h, data})
}
