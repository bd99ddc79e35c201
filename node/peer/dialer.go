package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"ashlar/replication/wire"
)

const (
	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second
)

// dialer keeps the sessions to one peer at one address.
type dialer struct {
	id      wire.NodeID
	address string
	cancel  context.CancelFunc
	current [messageClasses]*Session // under the network's mu
}

// keep starts a dialer. The network's mu is held.
func (n *Network) keep(id wire.NodeID, address string) *dialer {
	ctx, cancel := context.WithCancel(n.ctx)
	d := &dialer{id: id, address: address, cancel: cancel}
	for class := range Class(messageClasses) {
		n.tasks.Go(func() { n.redial(ctx, d, class) })
	}
	return d
}

// stop ends the dialer and its sessions. The network's mu is held.
func (d *dialer) stop() {
	d.cancel()
	for i, s := range d.current {
		if s != nil {
			s.end(ErrAddressed)
			d.current[i] = nil
		}
	}
}

// redial has one session after the other until ctx ends. The pause between
// failures doubles; a session that lived longer than the longest pause is no failure.
func (n *Network) redial(ctx context.Context, d *dialer, class Class) {
	for backoff := backoffMin; ctx.Err() == nil; backoff = min(2*backoff, backoffMax) {
		began := time.Now()
		conn, raw, err := n.dial(ctx, d.id, d.address, class)
		if err == nil {
			s := newSession(n, d.id, class, true, conn, raw)
			n.publish(ctx, d, class, s)
			n.run(s)
			n.publish(ctx, d, class, nil)
			if time.Since(began) > backoffMax {
				backoff = backoffMin / 2
			}
		} else if ctx.Err() == nil {
			n.report(d, class, began, err)
		}
		pause(ctx, backoff)
	}
}

// publish makes s the peer's session (or none), unless the dialer was stopped meanwhile.
func (n *Network) publish(ctx context.Context, d *dialer, class Class, s *Session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ctx.Err() == nil {
		d.current[class] = s
	} else if s != nil {
		s.end(ErrAddressed)
	}
}

func (n *Network) report(d *dialer, class Class, began time.Time, err error) {
	kind := Unreachable
	if errors.Is(err, syscall.ECONNREFUSED) {
		kind = Refused
	}
	n.config.Events(Event{Kind: kind, Peer: d.id, Class: class, Address: d.address, Began: began, Err: err})
}

func (n *Network) dial(ctx context.Context, id wire.NodeID, address string, class Class) (*tls.Conn, *batchConn, error) {
	tcp, err := tcpDialer(n.source).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("peer: node %d: %w", id, err)
	}
	raw := newBatchConn(tcp)
	conn := tls.Client(raw, n.config.Credentials.ClientTLS(id, n.protocol(class)))
	ctx, cancel := context.WithTimeout(ctx, handshakeMax)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		tcp.Close()
		// crypto/tls gives a remote alert no type of its own, only a text.
		const noProtocol = tls.AlertError(120) // RFC 7301 section 3.2
		var alert *net.OpError
		if errors.As(err, &alert) && alert.Op == "remote error" && alert.Err.Error() == noProtocol.Error() {
			err = ErrLineage
		}
		return nil, nil, fmt.Errorf("peer: node %d at %s: %w", id, address, err)
	}
	return conn, raw, nil
}
