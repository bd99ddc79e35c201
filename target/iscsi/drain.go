package iscsi

import (
	"context"
	"fmt"
	"math"
	"time"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
)

// Scope picks sessions. What is left out picks all.
type Scope struct {
	Initiator string
	Target    string
	TSIH      uint16 // one session of this server
}

func (s Scope) covers(id *session.Identity, tsih uint16) bool {
	return (s.Initiator == "" || s.Initiator == id.Initiator) &&
		(s.Target == "" || s.Target == id.Target) &&
		(s.TSIH == 0 || s.TSIH == tsih)
}

// Drain asks the hosts to log out of the sessions in the scope (Async Message,
// RFC 7143 11.9.1, event 1), and ends those that are left after patience. It
// returns when all of them have ended and nothing of them can take effect any
// more, or with an error when ctx ends before that proof; it goes on to be sought.
//
// From its beginning until Resume no host may log in within the scope, except to
// discover: the directory redirects it, or else it is told to try again later. (A scope with a
// TSIH closes nothing: its host may log in anew.)
func (s *Server) Drain(ctx context.Context, scope Scope, patience time.Duration) error {
	leaving := s.closeFor(scope)
	seconds := uint16(min(math.MaxUint16, math.Ceil(patience.Seconds())))
	for _, t := range leaving {
		t.conn.askLogout(seconds)
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	for i, t := range leaving {
		select {
		case <-t.gone:
			continue
		case <-over.C:
		case <-ctx.Done():
		}
		for _, t := range leaving[i:] {
			t.conn.dismiss()
		}
		return s.waitForFences(ctx, leaving[i:])
	}
	return nil
}

// Withdraw has the commands of the sessions in the scope refused, upon which multipath drivers go on over other paths, where
// the host seems to have one: see scsi.Nexus.Withdraw. It gives their number.
func (s *Server) Withdraw(scope Scope) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.sessions {
		if scope.covers(&t.conn.id, t.tsih) && t.nexus.Withdraw() {
			n++
		}
	}
	return n
}

func (s *Server) waitForFences(ctx context.Context, leaving []*tenure) error {
	for i, t := range leaving {
		select {
		case <-t.gone:
		case <-ctx.Done():
			return fmt.Errorf("iscsi: %d sessions may not have been fenced yet: %w", len(leaving)-i, context.Cause(ctx))
		}
	}
	return nil
}

// Resume lets hosts log in again within a scope that was drained.
func (s *Server) Resume(scope Scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closedFor[scope]--; s.closedFor[scope] <= 0 {
		delete(s.closedFor, scope)
	}
}

// closeFor keeps new sessions out of the scope, and gives those in it.
func (s *Server) closeFor(scope Scope) (leaving []*tenure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if scope.TSIH == 0 {
		s.closedFor[scope]++
	}
	for _, t := range s.sessions {
		if scope.covers(&t.conn.id, t.tsih) {
			leaving = append(leaving, t)
		}
	}
	return leaving
}

func (s *Server) closedTo(id session.Identity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isClosedTo(id)
}

// isClosedTo tells whether a login is within a drain; mu is held.
func (s *Server) isClosedTo(id session.Identity) bool {
	for scope := range s.closedFor {
		if scope.covers(&id, 0) {
			return true
		}
	}
	return false
}

// askLogout tells the host to log out within so many seconds.
func (c *conn) askLogout(seconds uint16) {
	c.send(&pdu.Async{Event: pdu.AsyncRequestLogout, Parameter: [3]uint16{2: seconds}}, true)
}

// dismiss ends a connection whose host was asked to log out and did not: it is
// told so, if it still reads (RFC 7143 11.9.1, event 2).
func (c *conn) dismiss() {
	i := item{usesStatSN: true, last: true}
	c.mu.Lock()
	p := &c.sendParams
	(&pdu.Async{Event: pdu.AsyncDropConnection, Parameter: [3]uint16{c.id.CID, uint16(p.Time2Wait), uint16(p.Time2Retain)}}).Marshal(&i.header)
	c.enqueue(i)
	c.mu.Unlock()
	c.nc.SetWriteDeadline(time.Now().Add(rejectGrace)) //nolint:errcheck // a dead socket ends the writer at once
}

// LoggedIn is a Scope for each normal session, those included that still wait
// for their fence.
func (s *Server) LoggedIn() (all []Scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, t := range s.sessions {
		all = append(all, Scope{Initiator: key.initiator, Target: key.target, TSIH: t.tsih})
	}
	return all
}
