package nvmetcp

import (
	"context"
	"fmt"
	"time"

	"ashlar/target/nvme"
)

// Scope picks controllers. What is left out picks all.
type Scope struct {
	Host       string // NQN
	Subsystem  string // NQN
	Controller uint16 // of the subsystem
}

func (s Scope) covers(host, nqn string, id uint16) bool {
	return (s.Host == "" || s.Host == host) && (s.Subsystem == "" || s.Subsystem == nqn) &&
		(s.Controller == 0 || s.Controller == id)
}

// Drain moves hosts away from the controllers in the scope: it tells them that the
// namespaces can not be reached through these any more, so that they use other
// paths, and ends the controllers that are left after patience. It returns when all
// of them have ended and nothing of them can take effect any more, or with an error
// when ctx ends before that proof; it goes on to be sought.
//
// From its beginning until Resume a Connect within the scope is answered with
// Controller Busy, except for discovery. (A scope with a Controller closes nothing:
// its host may connect anew.)
func (s *Server) Drain(ctx context.Context, scope Scope, patience time.Duration) error {
	s.mu.Lock()
	if scope.Controller == 0 {
		s.closedFor[scope]++
	}
	s.mu.Unlock()
	leaving := s.within(scope)
	for _, t := range leaving {
		t.controller.Leave()
	}
	over := time.NewTimer(patience)
	defer over.Stop()
wait:
	for _, t := range leaving {
		select {
		case <-t.gone:
		case <-over.C:
			break wait
		case <-ctx.Done():
			break wait
		}
	}
	for _, t := range leaving {
		t.reset()
	}
	for i, t := range leaving {
		select {
		case <-t.gone:
		case <-ctx.Done():
			return fmt.Errorf("nvmetcp: %d controllers may not have been fenced yet: %w", len(leaving)-i, context.Cause(ctx))
		}
	}
	return nil
}

// Resume lets hosts connect again within a scope that was drained.
func (s *Server) Resume(scope Scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closedFor[scope]--; s.closedFor[scope] <= 0 {
		delete(s.closedFor, scope)
	}
}

// isClosedTo tells whether a Connect is within a drain; mu is held.
func (s *Server) isClosedTo(host, nqn string) bool {
	for scope := range s.closedFor {
		if nqn != nvme.DiscoveryNQN && scope.covers(host, nqn, 0) {
			return true
		}
	}
	return false
}

// within are the controllers of a scope.
func (s *Server) within(scope Scope) (found []*tenure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, t := range s.controllers {
		if scope.covers(t.controller.Host().NQN, key.nqn, key.id) {
			found = append(found, t)
		}
	}
	return found
}

// Connected is a Scope for each controller, those included that still wait for
// their fence; those of discovery are not.
func (s *Server) Connected() (all []Scope) {
	for _, t := range s.within(Scope{}) {
		if t.key.nqn != nvme.DiscoveryNQN {
			all = append(all, Scope{Host: t.controller.Host().NQN, Subsystem: t.key.nqn, Controller: t.key.id})
		}
	}
	return all
}
