package initiator

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Steady is a host that logs in again where its session is lost, and sends the command
// again, as hosts do: a target drops its sessions where its process stood still. One
// goroutine uses it at a time.
type Steady struct {
	Dial func(context.Context) (*Session, error)

	session *Session
}

// loginPause is between attempts to log in.
const loginPause = 20 * time.Millisecond

// Do runs a command until it has a status that is not news of a new session, or the
// context ends. A command that did its work before its session was lost is done twice.
func (h *Steady) Do(ctx context.Context, c *Command) error {
	for {
		if err := h.logIn(ctx); err != nil {
			return err
		}
		err := h.session.Do(ctx, c)
		var status *StatusError
		switch {
		case ctx.Err() != nil || err == nil:
			return err
		case errors.As(err, &status) && (status.Key != unitAttention || status.Code>>8 != reset):
			return err
		}
	}
}

// A new I_T nexus has an attention of each unit (SPC-4 table 45, sense key 6h, and
// 29h: power on, reset, or nexus loss).
const (
	unitAttention = 0x6
	reset         = 0x29
)

// logIn has a session.
func (h *Steady) logIn(ctx context.Context) error {
	for h.session == nil || h.session.Err() != nil {
		s, err := h.Dial(ctx)
		if err == nil {
			h.session = s
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(loginPause):
		}
	}
	return nil
}

// Read reads blocks of blockSize bytes from a LUN into b, by READ(16).
func (h *Steady) Read(ctx context.Context, lun, lba uint64, b []byte, blockSize int) error {
	return h.Do(ctx, readCommand(lun, lba, b, blockSize))
}

// Write writes b, blocks of blockSize bytes, to a LUN, by WRITE(16).
func (h *Steady) Write(ctx context.Context, lun, lba uint64, b []byte, blockSize int) error {
	return h.Do(ctx, writeCommand(lun, lba, b, blockSize))
}

// Close ends its session.
func (h *Steady) Close() {
	if h.session != nil {
		h.session.Close()
	}
}
