package initiator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"ashlar/target/iscsi/pdu"
)

// ErrClosed is why commands fail after Close.
var ErrClosed = errors.New("iscsi initiator: session closed")

// LoginError is a refused login.
type LoginError struct{ Status uint16 } // class and detail (RFC 7143 11.13.5)

func (e *LoginError) Error() string {
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
	readEnd    chan struct{}
	writeEnd   chan struct{}

	mu        sync.Mutex
	wake      sync.Cond
	err       error // set once: the session is over
	cmdSN     uint32
	maxCmdSN  uint32
	expStatSN uint32
	itt       uint32
	queue     []packet
	waiting   []*Command // for the window
	active    map[uint32]*Command
	calls     map[uint32]chan<- reply
}

// packet is a PDU to send; last ends the session once it is sent.
type packet struct {
	header pdu.Header
	data   []byte
}

// reply is the answer to a request other than a SCSI command.
type reply struct {
	header pdu.Header
	data   []byte
}

// Dial logs in to a target at a portal ("host:port"). An empty target name
// opens a discovery session. The context bounds the login only.
func Dial(ctx context.Context, portal, target string, o Options) (*Session, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", portal)
	if err != nil {
		return nil, err
	}
	s := &Session{
		nc: nc, active: make(map[uint32]*Command), calls: make(map[uint32]chan<- reply),
		readEnd: make(chan struct{}), writeEnd: make(chan struct{}),
	}
	s.wake.L = &s.mu
	o = o.withDefaults()
	s.maxReceive = o.MaxReceive
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	err = s.login(target, &o)
	if !stop() && err == nil || ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	s.in = bufio.NewReaderSize(nc, 64<<10)
	go s.read()
	go s.write()
	return s, nil
}

// login goes from the operational stage to the full feature phase.
func (s *Session) login(target string, o *Options) error {
	req := pdu.LoginRequest{Transit: true, CSG: pdu.LoginOperational, NSG: pdu.FullFeature, ISID: o.ISID, CmdSN: 1}
	text := o.text(target)
	s.Params = Params{MaxSend: 8192, MaxBurst: 262144, FirstBurst: 65536, InitialR2T: true, ImmediateData: true, MaxOutstandingR2T: 1}
	for {
		resp, answer, err := loginStep(s.nc, &req, text)
		if err != nil {
			return err
		}
		if resp.Status != 0 {
			return &LoginError{resp.Status}
		}
		pairs, err := pdu.UnmarshalText(answer)
		if err != nil {
			return err
		}
		for _, a := range pairs {
			s.Params.take(a)
		}
		if resp.Transit && resp.NSG == pdu.FullFeature {
			s.TSIH, s.cmdSN, s.maxCmdSN, s.expStatSN = resp.TSIH, resp.ExpCmdSN, resp.MaxCmdSN, resp.StatSN+1
			break
		}
		text, req.ExpStatSN = nil, resp.StatSN+1
	}
	if s.Params.HeaderDigest != o.HeaderDigest || s.Params.DataDigest != o.DataDigest {
		return errors.New("iscsi initiator: target refused the digests")
	}
	return nil
}

// loginStep sends one login request and reads its response.
func loginStep(rw io.ReadWriter, req *pdu.LoginRequest, text []byte) (resp pdu.LoginResponse, answer []byte, err error) {
	var h pdu.Header
	req.DataLength = uint32(len(text))
	req.Marshal(&h)
	b := append(append(h[:len(h):len(h)], text...), make([]byte, pdu.Padding(len(text)))...)
	if _, err := rw.Write(b); err != nil {
		return resp, nil, err
	}
	if _, err := io.ReadFull(rw, h[:]); err != nil {
		return resp, nil, err
	}
	if h.Opcode() != pdu.OpLoginResponse {
		return resp, nil, fmt.Errorf("iscsi initiator: opcode %#x in answer to a login", h.Opcode())
	}
	n := h.DataLength()
	answer = make([]byte, n+pdu.Padding(n))
	if _, err := io.ReadFull(rw, answer); err != nil {
		return resp, nil, err
	}
	resp.Unmarshal(&h)
	return resp, answer[:n], nil
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
	s.wake.Broadcast()
	s.mu.Unlock()
	go s.failCommands()
}

// failCommands runs when neither goroutine touches a command's buffers any more.
func (s *Session) failCommands() {
	<-s.readEnd
	<-s.writeEnd
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
	<-s.writeEnd
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

// enqueue hands a PDU to the writer; mu is held.
func (s *Session) enqueue(h *pdu.Header, data []byte) {
	s.queue = append(s.queue, packet{*h, data})
	s.wake.Signal()
}

// write sends what is queued, all of it in one writev.
func (s *Session) write() {
	defer close(s.writeEnd)
	var batch []packet
	var w vector
	w.headerDigest, w.dataDigest = s.Params.HeaderDigest, s.Params.DataDigest
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && s.err == nil {
			s.wake.Wait()
		}
		if s.err != nil {
			s.mu.Unlock()
			return
		}
		batch, s.queue = s.queue, batch[:0]
		s.mu.Unlock()
		if err := w.send(s.nc, batch); err != nil {
			s.fail(err)
			return
		}
		clear(batch)
	}
}
