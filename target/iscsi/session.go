package iscsi

import (
	"fmt"
	"time"

	"ashlar/target"
	"ashlar/target/iscsi/session"
	"ashlar/target/scsi"
)

const fenceRetry = time.Second

// sessionKey is an I_T nexus: a second session with the same one takes the
// place of the first (RFC 7143 6.3.5).
type sessionKey struct {
	initiator, target string
	isid              [6]byte
	group             uint16
}

// tenure is a session's hold on its I_T nexus. It lasts longer than its
// connection: until nothing that the host sent through it can take effect.
type tenure struct {
	key   sessionKey
	conn  *conn
	nexus *scsi.Nexus
	tsih  uint16
	gone  chan struct{} // closed when the nexus is fenced
}

// enter gives c its tenure, after any earlier one of the same I_T nexus has
// ended, proven by its fence.
func (s *Server) enter(c *conn, t *scsi.Target) session.LoginStatus {
	id := &c.id
	key := sessionKey{id.Initiator, id.Target, id.ISID, c.group}
	patience := time.NewTimer(s.FenceTimeout)
	defer patience.Stop()
	for first := true; ; first = false {
		s.mu.Lock()
		old := s.sessions[key]
		if first && id.TSIH != 0 {
			if status := mayRejoin(old, id); status != session.LoginSuccess {
				s.mu.Unlock()
				return status
			}
		}
		if s.isClosedTo(*id) {
			s.mu.Unlock()
			return session.LoginUnavailable
		}
		if old == nil {
			c.tenure = s.newTenure(c, key, t)
			s.mu.Unlock()
			return session.LoginSuccess
		}
		s.mu.Unlock()
		old.conn.Reset()
		select {
		case <-old.gone:
		case <-patience.C:
			return session.LoginUnavailable
		case <-s.conns.Done:
			return session.LoginUnavailable
		}
	}
}

// mayRejoin tells whether a login that names a session may take it over: with
// the same connection id it reinstates the connection, and a second connection
// is not offered.
func mayRejoin(old *tenure, id *session.Identity) session.LoginStatus {
	switch {
	case old == nil || old.tsih != id.TSIH:
		return session.LoginNoSession
	case old.conn.id.CID != id.CID:
		return session.LoginTooManyConnections
	}
	return session.LoginSuccess
}

// newTenure logs the nexus in; mu is held.
func (s *Server) newTenure(c *conn, key sessionKey, t *scsi.Target) *tenure {
	n := &tenure{key: key, conn: c, tsih: c.id.TSIH, gone: make(chan struct{})}
	if n.tsih == 0 {
		n.tsih = s.newTSIH()
	}
	port := fmt.Sprintf("%s,i,0x%x", key.initiator, key.isid)
	n.nexus = t.Login(target.Nexus{Host: port, Port: key.group, Generation: s.Generation(key.group)}, key.initiator)
	s.sessions[key] = n
	return n
}

// newTSIH is a session handle not in use, never 0; mu is held.
func (s *Server) newTSIH() uint16 {
	for {
		s.tsih++
		if s.tsih != 0 && !s.tsihInUse(s.tsih) {
			return s.tsih
		}
	}
}

func (s *Server) tsihInUse(tsih uint16) bool {
	for _, t := range s.sessions {
		if t.tsih == tsih {
			return true
		}
	}
	return false
}

// leave ends a tenure once its nexus is fenced. A fence that could not be
// proven is tried again: until then no other session takes its place.
func (s *Server) leave(t *tenure) {
	t.nexus.Drain(func(r scsi.TMFResult) {
		if r != scsi.FunctionComplete {
			s.Log.Warn("iscsi session is not fenced yet", "initiator", t.key.initiator, "target", t.key.target)
			time.AfterFunc(fenceRetry, func() { s.leave(t) })
			return
		}
		s.mu.Lock()
		delete(s.sessions, t.key)
		s.mu.Unlock()
		close(t.gone)
	})
}
