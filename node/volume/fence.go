package volume

import (
	"errors"

	"ashlar/replication/wire"
	"ashlar/target"
)

var errUnproven = errors.New("volume: no head has said in time that the fence holds")

var scopes = [...]wire.FenceScope{target.FenceNexus: wire.FenceNexus, target.FenceHost: wire.FenceHost,
	target.FenceUnit: wire.FenceUnit, target.FenceTasks: wire.FenceTasks}

// events are what front ends are told of a fence that is about all hosts.
var events = map[wire.FenceScope]target.Event{wire.FenceUnit: target.UnitReset, wire.FenceTasks: target.Cleared}

// Fence is target.Device's.
func (v *Volume) Fence(scope target.Scope, n target.Nexus, done func(error)) {
	began := v.postOpen(event{kind: evRun, run: func() {
		if e, all := events[scopes[scope]]; all {
			v.tell(e) // before their operations end
		}
		v.lastID++
		v.fences[v.lastID] = done
		v.portal.Fence(v.now, v.lastID, scopes[scope], nexus(n))
	}})
	if !began { // all that there was has ended with the volume
		done(nil)
	}
}

// fenced ends a fence that a front end has asked for.
func (v *Volume) fenced(id uint64, err error) {
	done := v.fences[id]
	delete(v.fences, id)
	done(err)
}

// fencer is the portal that a fence at the head is answered to.
type fencer struct {
	session Session
	req     uint64
}

func (f fencer) proven(v *Volume) {
	v.reply(f.session, &wire.Fenced{Req: f.req, Status: wire.OK})
}

// fence is a portal's, at the head.
func (v *Volume) fence(now int64, s Session, m *wire.Fence) {
	if v.head == nil || v.head.Deposed() {
		v.reply(s, &wire.Fenced{Req: m.Req, Status: wire.NotHead})
		return
	}
	v.head.Fence(now, m, fencer{s, m.Req})
}

// clear ends what came in through this node's portal, because of a fence that was
// asked for through another. Front ends hear of it before their operations end.
func (v *Volume) clear(now int64, m *wire.Clear) {
	news := v.portal.Clear(now, m)
	if e, all := events[m.Scope]; all && news {
		v.tell(e)
	}
}

// cleared is a portal's answer to that, at the head.
func (v *Volume) cleared(now int64, s Session, m *wire.Cleared) {
	if v.head == nil || v.head.Deposed() {
		v.reply(s, &wire.Fenced{Req: m.Req, Status: wire.NotHead})
		return
	}
	v.head.Cleared(now, m)
	v.reply(s, &wire.Fenced{Req: m.Req, Status: wire.OK})
}
