package main

import (
	"fmt"
	"time"

	"ashlar/node/freeport"
)

// Names of rivals.
const (
	ours    = "ours"
	tgt     = "tgtd"
	goTgt   = "gotgt"
	rawName = "raw TCP"
	fioName = "fio"
)

// memoryUnits are the targets whose units need no disk: nothing but the front
// ends is compared. All of them are full.
type memoryUnits struct{ ours, tgt, gotgt *server }

// memoryUnits starts them once.
func (b *bench) memoryUnits() (*memoryUnits, error) {
	if b.units != nil {
		return b.units, nil
	}
	if err := b.startLimit(); err != nil {
		return nil, err
	}
	u := &memoryUnits{}
	var err error
	if u.ours, err = b.ours(); err == nil {
		err = u.ours.fill(unitBytes)
	}
	if err != nil {
		return nil, err
	}
	ports, err := freeport.Take([]string{"127.0.0.1"}, 2)
	if err != nil {
		return nil, err
	}
	file, err := b.file(b.memory, "tgt", unitBytes)
	if err != nil {
		return nil, err
	}
	if u.tgt, err = b.tgtd(ports[0], "-b", file); err != nil {
		return nil, err
	}
	if file, err = b.file(b.memory, "gotgt", unitBytes); err != nil {
		return nil, err
	}
	if u.gotgt, err = b.gotgt(ports[1], file); err != nil {
		return nil, err
	}
	b.units = u
	return u, nil
}

// protocol is a case of the front ends alone.
func (b *bench) protocol(name string, w work, goals ...goal) benchCase {
	w.span = unitBytes
	return benchCase{name: name, about: "memory behind iSCSI, " + w.String(), goals: goals, rivals: func() ([]rival, error) {
		u, err := b.memoryUnits()
		if err != nil {
			return nil, err
		}
		rivals := []rival{{ours, drive(u.ours, w)}, {tgt, drive(u.tgt, w)}, {rawName, b.rawLimit(w)}}
		// A login beside traffic ends gotgt's process, so it is given one session alone.
		if w.bytes == kib4 && w.sessions == 1 {
			rivals = append(rivals, rival{goTgt, drive(u.gotgt, w)})
		}
		return rivals, nil
	}}
}

// byTool is a case that a tool measures which nobody here wrote.
func (b *bench) byTool(name, tool string, client func(*server, work) func(time.Duration) (sample, error), w work, goals ...goal) benchCase {
	w.span = unitBytes
	return benchCase{name: name, about: "memory behind iSCSI, " + w.String() + ", by " + tool, goals: goals, rivals: func() ([]rival, error) {
		u, err := b.memoryUnits()
		if err != nil {
			return nil, err
		}
		return []rival{{ours, client(u.ours, w)}, {tgt, client(u.tgt, w)}}, nil
	}}
}

// Sizes of operations.
const (
	kib4  = 4 << 10
	kib64 = 64 << 10
	mib1  = 1 << 20
	inRow = true
)

func (b *bench) cases() (all []benchCase) {
	for _, write := range []bool{false, true} {
		kind := "read"
		if write {
			kind = "write"
		}
		for _, sessions := range []int{1, 4, 16} {
			goals := []goal{
				{what: "rate", of: rate, ours: ours, to: tgt, atLeast: 4},
				{what: "cpu", of: processor, ours: ours, to: tgt, atMost: 0.25},
				{what: "rate", of: rate, ours: ours, to: rawName, atLeast: 0.4},
			}
			if sessions == 16 {
				goals = nil
			}
			all = append(all, b.protocol(fmt.Sprintf("a-4k-%s-32x%d", kind, sessions), work{write: write, bytes: kib4, depth: 32, sessions: sessions}, goals...))
		}
		all = append(all,
			b.protocol("a-4k-"+kind+"-1", work{write: write, bytes: kib4, depth: 1, sessions: 1},
				goal{what: "p50", of: p50, ours: ours, to: tgt, atMost: 1},
				goal{what: "p50", of: p50, ours: ours, to: rawName, atMost: 1.5}),
			b.protocol("a-64k-"+kind, work{write: write, bytes: kib64, depth: 16, sessions: 1, inOrder: inRow}),
			b.protocol("a-1m-"+kind, work{write: write, bytes: mib1, depth: 8, sessions: 1, inOrder: inRow},
				goal{what: "rate", of: rate, ours: ours, to: rawName, atLeast: 0.8}))
		for _, sessions := range []int{1, 4} {
			all = append(all, b.overNVMe(fmt.Sprintf("a-nvme-4k-%s-32x%d", kind, sessions), work{write: write, bytes: kib4, depth: 32, sessions: sessions},
				goal{what: "rate", of: rate, ours: ours, to: overISCSI, atLeast: 1.2},
				goal{what: "rate", of: rate, ours: ours, to: rawName, atLeast: 0.5}))
		}
		all = append(all, b.overNVMe("a-nvme-4k-"+kind+"-1", work{write: write, bytes: kib4, depth: 1, sessions: 1},
			goal{what: "p50", of: p50, ours: ours, to: overISCSI, atMost: 1}))
		for _, depth := range []int{1, 32, 128} {
			var goals []goal
			if depth == 32 {
				goals = []goal{{what: "rate", of: rate, ours: ours, to: tgt, atLeast: 2}}
			}
			all = append(all, b.byTool(fmt.Sprintf("a-qemu-%s-%d", kind, depth), "qemu-img", qemuImg, work{write: write, bytes: kib4, depth: depth, sessions: 1}, goals...))
		}
	}
	all = append(all, b.byTool("a-perf-read-32", "iscsi-perf", iscsiPerf, work{bytes: kib4, depth: 32, sessions: 1},
		goal{what: "rate", of: rate, ours: ours, to: tgt, atLeast: 2}))
	for _, more := range [][]benchCase{b.durableCases(), b.cacheCases(), b.sharedCases(), b.rebuildCases(), b.pacedCases(), b.idleCases(), b.growthCases(), b.failoverCases()} {
		all = append(all, more...)
	}
	return all
}
