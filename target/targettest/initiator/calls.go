package initiator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"ashlar/target/iscsi/pdu"
)

// call sends a request, made by build under the lock, and waits for its answer.
func (s *Session) call(ctx context.Context, data []byte, build func(itt, cmdSN, expStatSN uint32) pdu.Message) (reply, error) {
	return s.callAgain(ctx, pdu.NoTag, data, build)
}

// callAgain is a call that goes on under the task tag of an earlier one, unless
// that is NoTag.
func (s *Session) callAgain(ctx context.Context, itt uint32, data []byte, build func(itt, cmdSN, expStatSN uint32) pdu.Message) (reply, error) {
	answer := make(chan reply, 1)
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return reply{}, s.err
	}
	if itt == pdu.NoTag {
		itt = s.newTag()
	}
	s.calls[itt] = answer
	var h pdu.Header
	build(itt, s.cmdSN, s.expStatSN).Marshal(&h)
	s.enqueue(&h, data)
	s.mu.Unlock()
	select {
	case r, ok := <-answer:
		if !ok {
			return reply{}, s.Err()
		}
		return r, nil
	case <-ctx.Done():
		s.fail(context.Cause(ctx))
		return reply{}, context.Cause(ctx)
	}
}

// Ping sends a NOP-Out and compares its echo.
func (s *Session) Ping(ctx context.Context, data []byte) error {
	r, err := s.call(ctx, data, func(itt, cmdSN, expStatSN uint32) pdu.Message {
		return &pdu.NopOut{Immediate: true, DataLength: uint32(len(data)), ITT: itt, TTT: pdu.NoTag, CmdSN: cmdSN, ExpStatSN: expStatSN}
	})
	if err == nil && !bytes.Equal(r.data, data) {
		err = fmt.Errorf("iscsi initiator: ping of %d bytes came back as %d others", len(data), len(r.data))
	}
	return err
}

// Manage sends a task management function (RFC 7143 11.5.1) and returns its
// response code (11.6.1). tag is the task that ABORT TASK means. The command
// that was aborted gets no answer: Forget it when the function is complete.
func (s *Session) Manage(ctx context.Context, function uint8, lun uint64, tag uint32) (response uint8, err error) {
	r, err := s.call(ctx, nil, func(itt, cmdSN, expStatSN uint32) pdu.Message {
		return &pdu.TaskRequest{Immediate: true, Function: function, LUN: lun, ITT: itt, RefTag: tag, CmdSN: cmdSN, ExpStatSN: expStatSN, RefCmdSN: cmdSN}
	})
	if err != nil {
		return 0, err
	}
	var p pdu.TaskResponse
	p.Unmarshal(&r.header)
	return p.Response, nil
}

// ErrAborted is the Err of a command that was forgotten.
var ErrAborted = errors.New("iscsi initiator: command aborted")

// Forget ends a command that the target will not answer any more, with
// ErrAborted. It is false if the command had ended.
func (s *Session) Forget(c *Command) bool {
	s.mu.Lock()
	mine := s.active[c.itt] == c
	if mine {
		delete(s.active, c.itt)
	}
	s.mu.Unlock()
	if mine {
		c.Err = ErrAborted
		c.Done(c)
	}
	return mine
}

// Logout ends the session properly.
func (s *Session) Logout(ctx context.Context) error {
	r, err := s.call(ctx, nil, func(itt, cmdSN, expStatSN uint32) pdu.Message {
		return &pdu.LogoutRequest{Immediate: true, ITT: itt, CmdSN: cmdSN, ExpStatSN: expStatSN}
	})
	s.Close()
	if err != nil {
		return err
	}
	var p pdu.LogoutResponse
	p.Unmarshal(&r.header)
	if p.Response != 0 {
		return fmt.Errorf("iscsi initiator: %v", &p)
	}
	return nil
}

// Text sends a text request and returns the whole answer, which may come in parts.
func (s *Session) Text(ctx context.Context, keys ...pdu.Pair) ([]pdu.Pair, error) {
	var text, all []byte
	for _, k := range keys {
		text = pdu.AppendText(text, k.Key, k.Value)
	}
	tag, ttt := uint32(pdu.NoTag), uint32(pdu.NoTag)
	for {
		r, err := s.callAgain(ctx, tag, text, func(itt, cmdSN, expStatSN uint32) pdu.Message {
			return &pdu.TextRequest{Immediate: true, Final: true, DataLength: uint32(len(text)), ITT: itt, TTT: ttt, CmdSN: cmdSN, ExpStatSN: expStatSN}
		})
		if err != nil {
			return nil, err
		}
		all = append(all, r.data...)
		var p pdu.TextResponse
		p.Unmarshal(&r.header)
		if p.Final {
			return pdu.UnmarshalText(all)
		}
		text, tag, ttt = nil, p.ITT, p.TTT
	}
}

// Found is a target as told in discovery.
type Found struct {
	Name      string
	Addresses []string // "ip:port,tpgt"
}

// Discover asks a portal for all targets.
func Discover(ctx context.Context, portal string, o Options) ([]Found, error) {
	s, err := Dial(ctx, portal, "", o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	pairs, err := s.Text(ctx, pdu.Pair{Key: "SendTargets", Value: "All"})
	if err != nil {
		return nil, err
	}
	var found []Found
	for _, p := range pairs {
		switch {
		case p.Key == "TargetName":
			found = append(found, Found{Name: strings.Clone(p.Value)})
		case p.Key == "TargetAddress" && len(found) > 0:
			last := &found[len(found)-1]
			last.Addresses = append(last.Addresses, p.Value)
		}
	}
	return found, s.Logout(ctx)
}
