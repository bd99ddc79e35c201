package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"ashlar/node/freeport"
)

const (
	volumeBytes = 1 << 30
	diskBytes   = 3 << 30
	smallBytes  = 64 << 20  // of each of many volumes
	rowSpan     = 256 << 20 // of what is done in order
)

// file makes a file of zeros whose space is all there.
func (b *bench) file(folder, name string, bytes int64) (string, error) {
	path := filepath.Join(folder, name)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < bytes; at += int64(len(zeros)) {
		if _, err := f.Write(zeros); err != nil {
			return "", errors.Join(err, f.Close())
		}
	}
	return path, errors.Join(f.Sync(), f.Close())
}

// scratchFile is a file beside the nodes' disks, as large as a volume; it is made once.
func (b *bench) scratchFile(name string) (string, error) {
	if b.files[name] == "" {
		path, err := b.file(b.scratch, name, volumeBytes)
		if err != nil {
			return "", err
		}
		b.files[name] = path
	}
	return b.files[name], nil
}

// fio writes to files with the durability that a volume has: each write is on
// stable storage before it is answered. Several files stand for copies. It reads past the cache.
func (b *bench) fio(files []string, w work) func(time.Duration) (sample, error) {
	return func(length time.Duration) (sample, error) {
		kind := "read"
		if w.write {
			kind = "write"
		}
		if !w.inOrder {
			kind = "rand" + kind
		}
		args := []string{"--output-format=json", "--ioengine=libaio", "--direct=1", "--sync=dsync", "--rw=" + kind, "--bs=" + strconv.Itoa(w.bytes),
			"--iodepth=" + strconv.Itoa(w.depth), "--size=" + strconv.FormatUint(w.span, 10), "--time_based", "--runtime=" + strconv.Itoa(int(length.Milliseconds())) + "ms",
			"--percentile_list=50:99:99.9"}
		for i, f := range files {
			args = append(args, fmt.Sprintf("--name=copy%d", i), "--filename="+f)
		}
		out, err := exec.Command("fio", args...).Output()
		if err != nil {
			return sample{}, fmt.Errorf("fio: %w: %s", err, out)
		}
		type side struct {
			IOPS float64
			Clat struct{ Percentile map[string]float64 } `json:"clat_ns"`
		}
		var report struct{ Jobs []struct{ Read, Write side } }
		if err := json.Unmarshal(out, &report); err != nil {
			return sample{}, fmt.Errorf("fio: %w", err)
		}
		// With copies, a write is done when the slower of them has it.
		s := sample{took: length, latency: make([]float64, len(quantiles))}
		for i, both := range report.Jobs {
			j := both.Read
			if w.write {
				j = both.Write
			}
			if i == 0 || j.IOPS < s.rate {
				s.rate = j.IOPS
			}
			for q, name := range []string{"50.000000", "99.000000", "99.900000"} {
				s.latency[q] = max(s.latency[q], j.Clat.Percentile[name]/1000)
			}
		}
		return s, nil
	}
}

// durableCases write to disks on the file system of --folder.
func (b *bench) durableCases() (all []benchCase) {
	durable := func(name string, nodes, copies int, w work, goals ...goal) {
		if w.span = volumeBytes; w.inOrder {
			w.span = rowSpan
		}
		all = append(all, benchCase{name: name, about: fmt.Sprintf("%d node(s), %d copies, %v, durable", nodes, copies, w), goals: goals, rivals: func() ([]rival, error) {
			c, err := b.clusterOf(nodes, copies)
			if err != nil {
				return nil, err
			}
			if w.write {
				if err := c.age(copies); err != nil {
					return nil, err
				}
			}
			// A read asks one copy.
			var paths []string
			for i := range copies {
				if i > 0 && !w.write {
					break
				}
				path, err := b.scratchFile(fmt.Sprintf("fio%d", i))
				if err != nil {
					return nil, err
				}
				paths = append(paths, path)
			}
			if !w.write {
				if err := c.fill(rowSpan); err != nil {
					return nil, err
				}
			}
			if err := b.startLimit(); err != nil {
				return nil, err
			}
			rivals := []rival{{ours, drive(c.head, w)}, {fioName, b.fio(paths, w)}, {rawName, b.rawLimit(w)}}
			if copies == 1 && !w.inOrder {
				t, err := b.syncedTgt()
				if err != nil {
					return nil, err
				}
				rivals = append(rivals, rival{tgt, drive(t, w)})
			}
			if nodes > copies && !w.inOrder {
				rivals = append(rivals, rival{forwarded, drive(c.other, w)})
			}
			return rivals, nil
		}})
	}
	one := work{write: true, bytes: kib4, depth: 1, sessions: 1}
	many := work{write: true, bytes: kib4, depth: 32, sessions: 1}
	overDisk := func(o map[string]outcome, trips float64) float64 {
		return p50(o[ours]) / (p50(o[fioName]) + trips*p50(o[rawName]))
	}
	durable("b-write-1", 1, 1, one,
		goal{what: "p50 / (fio + one round trip)", all: func(o map[string]outcome) float64 { return overDisk(o, 1) }, atMost: 1.3})
	durable("b-write-32", 1, 1, many,
		goal{what: "rate", of: rate, ours: ours, to: fioName, atLeast: 0.8},
		goal{what: "rate", of: rate, ours: ours, to: tgt, atLeast: 1.5})
	durable("c-write-1", 3, 2, one,
		goal{what: "p50 / (fio + three round trips)", all: func(o map[string]outcome) float64 { return overDisk(o, 3) }, atMost: 1},
		goal{what: "(p50 forwarded - p50) / round trip", all: func(o map[string]outcome) float64 {
			return (p50(o[forwarded]) - p50(o[ours])) / p50(o[rawName])
		}, atMost: 1.2})
	durable("c-write-32", 3, 2, many,
		goal{what: "rate", of: rate, ours: ours, to: fioName, atLeast: 0.7},
		goal{what: "rate", of: rate, ours: forwarded, to: ours, atLeast: 0.7})
	for _, f := range []struct {
		name          string
		nodes, copies int
		w             work
	}{
		{"b-64k-write", 1, 1, work{write: true, bytes: kib64, depth: 16}},
		{"b-1m-write", 1, 1, work{write: true, bytes: mib1, depth: 8}},
		{"b-64k-read", 1, 1, work{bytes: kib64, depth: 16}},
		{"b-1m-read", 1, 1, work{bytes: mib1, depth: 8}},
		{"c-64k-write", 3, 2, work{write: true, bytes: kib64, depth: 16}},
		{"c-1m-write", 3, 2, work{write: true, bytes: mib1, depth: 8}},
		{"c-1m-read", 3, 2, work{bytes: mib1, depth: 8}},
	} {
		f.w.sessions, f.w.inOrder = 1, inRow
		durable(f.name, f.nodes, f.copies, f.w,
			goal{what: "rate", of: rate, ours: ours, to: fioName}, goal{what: "rate", of: rate, ours: ours, to: rawName})
	}
	return all
}

// cacheCases are writes of a volume with a write cache, beside those of one without.
func (b *bench) cacheCases() (all []benchCase) {
	for _, depth := range []int{1, 32} {
		w := work{write: true, bytes: kib4, depth: depth, sessions: 1, span: volumeBytes}
		all = append(all, benchCase{name: fmt.Sprintf("d-write-%d", depth), about: fmt.Sprintf("3 nodes, 2 copies, %v, with a write cache", w),
			goals: []goal{
				{what: "rate", of: rate, ours: ours, to: through},
				{what: "p50", of: p50, ours: ours, to: through},
				{what: "p50", of: p50, ours: ours, to: rawName},
			},
			rivals: func() ([]rival, error) {
				c, err := b.clusterOf(3, 2)
				if err != nil {
					return nil, err
				}
				if err := c.age(2); err != nil {
					return nil, err
				}
				cached, err := c.cached(2)
				if err != nil {
					return nil, err
				}
				if err := b.startLimit(); err != nil {
					return nil, err
				}
				return []rival{{ours, drive(cached, w)}, {through, drive(c.head, w)}, {rawName, b.rawLimit(w)}}, nil
			}})
	}
	return all
}

// sharedCases share a depth of 32 out, to volumes and to sessions of one volume.
func (b *bench) sharedCases() (all []benchCase) {
	const depth = 32
	add := func(name string, counts []int, of func(c *cluster, n int) (*server, error), goals ...goal) {
		all = append(all, benchCase{name: name, about: "one node, write of 4 KiB, depth 32 shared out, durable", goals: goals, rivals: func() (rivals []rival, err error) {
			c, err := b.clusterOf(1, 1)
			if err != nil {
				return nil, err
			}
			if err := c.age(1); err != nil {
				return nil, err
			}
			for _, n := range counts {
				s, err := of(c, n)
				if err != nil {
					return nil, err
				}
				rivals = append(rivals, rival{strconv.Itoa(n), drive(s, work{write: true, bytes: kib4, depth: depth / n, sessions: n, span: rowSpan / uint64(n)})})
			}
			return rivals, nil
		}})
	}
	add("g-volumes", []int{1, 4, 32}, func(c *cluster, n int) (*server, error) {
		if n == 1 {
			return c.head, nil
		}
		iqns, err := c.volumes(n, 1)
		if err != nil {
			return nil, err
		}
		return c.path(0, iqns...), nil
	}, goal{what: "rate", of: rate, ours: "32", to: "1", atLeast: 0.8})
	add("g-sessions", []int{1, 4, 16}, func(c *cluster, _ int) (*server, error) { return c.head, nil },
		goal{what: "rate", of: rate, ours: "16", to: "1"})
	return all
}

const (
	forwarded = "forwarded" // through the portal of a node that is not the head's
	through   = "through"   // a volume that has no write cache
)

// syncedTgt is tgtd on the same file system, with each write on stable storage
// before it is answered.
func (b *bench) syncedTgt() (*server, error) {
	if b.tgtDisk != nil {
		return b.tgtDisk, nil
	}
	path, err := b.scratchFile("tgt")
	if err != nil {
		return nil, err
	}
	ports, err := freeport.Take([]string{"127.0.0.1"}, 1)
	if err != nil {
		return nil, err
	}
	b.tgtDisk, err = b.tgtd(ports[0], "-b", path, "--bsoflags=sync:direct")
	return b.tgtDisk, err
}
