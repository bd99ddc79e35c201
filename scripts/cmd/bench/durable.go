package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ashlar/node/freeport"
)

const (
	volumeBytes = 1 << 30
	diskBytes   = 3 << 30
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

// cluster is real nodes on loopback with one volume.
type cluster struct {
	head, other *server // the volume's paths
}

// cluster starts n nodes with a disk each on the file system that is measured,
// and a volume with so many copies.
func (b *bench) cluster(n, copies int) (*cluster, error) {
	program, err := sibling("ashlar")
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("c%d-%d", n, copies)
	var ips []string
	for k := range n {
		ips = append(ips, fmt.Sprintf("127.0.0.%d", k+1))
	}
	ports, err := freeport.Take(ips, 3)
	if err != nil {
		return nil, err
	}
	dir := func(k int) string { return filepath.Join(b.scratch, name, ips[k]) }
	order := func(k int, input string, args ...string) (string, error) {
		c := exec.Command(program, append(args, "--dir", dir(k))...)
		c.Stdin = strings.NewReader(input)
		out, err := c.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("ashlar %v: %w: %s", args, err, out)
		}
		return string(out), nil
	}
	s := &server{}
	for k, ip := range ips {
		if err := os.MkdirAll(dir(k), 0o700); err != nil {
			return nil, err
		}
		pid, _, err := b.start(program, "serve", "--dir", dir(k), "--name", fmt.Sprintf("node%d", k+1), "--address", ip,
			"--peer-port", strconv.Itoa(int(ports[0])), "--gossip-port", strconv.Itoa(int(ports[1])), "--iscsi-port", strconv.Itoa(int(ports[2])), "--api-port", "0")
		if err != nil {
			return nil, err
		}
		s.pids = append(s.pids, pid)
		if err := eventually(func() error { _, err := order(k, "", "status"); return err }); err != nil {
			return nil, err
		}
	}
	if _, err := order(0, "", "cluster", "create", "bench"); err != nil {
		return nil, err
	}
	secret, err := order(0, "", "cluster", "secret")
	for k := 1; k < n && err == nil; k++ {
		_, err = order(k, secret, "cluster", "join", fmt.Sprintf("%s:%d", ips[0], ports[0]), "--secret-file", "-")
	}
	for k := 0; k < n && err == nil; k++ {
		_, err = order(k, "", "disk", "add", filepath.Join(dir(k), "disk"), "--size", strconv.Itoa(diskBytes))
	}
	for _, args := range [][]string{
		{"volume", "create", "v", "--size", strconv.Itoa(volumeBytes), "--copies", strconv.Itoa(copies)},
		{"host", "add", "bench", "iqn.2026-11.com.example:initiator"},
		{"export", "add", "v", "bench"},
		{"volume", "move-head", "v", "node1"},
	} {
		if err == nil && !(n == 1 && args[1] == "move-head") {
			_, err = order(0, "", args...)
		}
	}
	if err != nil {
		return nil, err
	}
	var v struct{ IQN string }
	text, err := order(0, "", "volume", "show", "v", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &v)
	}
	path := func(k int) *server {
		return &server{address: fmt.Sprintf("%s:%d", ips[k], ports[2]), iqn: v.IQN, pids: s.pids}
	}
	return &cluster{head: path(0), other: path(n - 1)}, err
}

func eventually(ask func() error) (err error) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = ask(); err == nil {
			return nil
		}
	}
	return err
}

// fio writes to files with the durability that a volume has: each write is on
// stable storage before it is answered. Several files stand for copies.
func (b *bench) fio(files []string, w work) func(time.Duration) (sample, error) {
	return func(length time.Duration) (sample, error) {
		args := []string{"--output-format=json", "--ioengine=libaio", "--direct=1", "--sync=dsync", "--rw=randwrite", "--bs=" + strconv.Itoa(w.bytes),
			"--iodepth=" + strconv.Itoa(w.depth), "--size=" + strconv.Itoa(volumeBytes), "--time_based", "--runtime=" + strconv.Itoa(int(length.Milliseconds())) + "ms",
			"--percentile_list=50:99:99.9"}
		for i, f := range files {
			args = append(args, fmt.Sprintf("--name=copy%d", i), "--filename="+f)
		}
		out, err := exec.Command("fio", args...).Output()
		if err != nil {
			return sample{}, fmt.Errorf("fio: %w: %s", err, out)
		}
		var report struct {
			Jobs []struct {
				Write struct {
					IOPS float64
					Clat struct{ Percentile map[string]float64 } `json:"clat_ns"`
				}
			}
		}
		if err := json.Unmarshal(out, &report); err != nil {
			return sample{}, fmt.Errorf("fio: %w", err)
		}
		// With copies, a write is done when the slower of them has it.
		s := sample{took: length, latency: make([]float64, len(quantiles))}
		for i, j := range report.Jobs {
			if i == 0 || j.Write.IOPS < s.rate {
				s.rate = j.Write.IOPS
			}
			for q, name := range []string{"50.000000", "99.000000", "99.900000"} {
				s.latency[q] = max(s.latency[q], j.Write.Clat.Percentile[name]/1000)
			}
		}
		return s, nil
	}
}

// durableCases write to disks on the file system of --folder.
func (b *bench) durableCases() (all []benchCase) {
	type key struct{ nodes, copies int }
	clusters := map[key]*cluster{}
	of := func(nodes, copies int) (*cluster, error) {
		k := key{nodes, copies}
		if clusters[k] == nil {
			c, err := b.cluster(nodes, copies)
			if err != nil {
				return nil, err
			}
			clusters[k] = c
		}
		return clusters[k], nil
	}
	files := map[string]string{}
	fileOf := func(name string) (string, error) {
		if files[name] == "" {
			path, err := b.file(b.scratch, name, volumeBytes)
			if err != nil {
				return "", err
			}
			files[name] = path
		}
		return files[name], nil
	}
	durable := func(name string, nodes, copies int, w work, goals ...goal) {
		w.write, w.span = true, volumeBytes
		all = append(all, benchCase{name: name, about: fmt.Sprintf("%d node(s), %d copies, %v, durable", nodes, copies, w), goals: goals, rivals: func() ([]rival, error) {
			c, err := of(nodes, copies)
			if err != nil {
				return nil, err
			}
			var paths []string
			for i := range copies {
				path, err := fileOf(fmt.Sprintf("fio%d", i))
				if err != nil {
					return nil, err
				}
				paths = append(paths, path)
			}
			if err := b.startLimit(); err != nil {
				return nil, err
			}
			rivals := []rival{{ours, drive(c.head, w)}, {fioName, b.fio(paths, w)}, {rawName, b.rawLimit(w)}}
			if copies == 1 {
				t, err := b.syncedTgt(fileOf)
				if err != nil {
					return nil, err
				}
				rivals = append(rivals, rival{tgt, drive(t, w)})
			}
			if nodes > copies {
				rivals = append(rivals, rival{forwarded, drive(c.other, w)})
			}
			return rivals, nil
		}})
	}
	one := work{bytes: kib4, depth: 1, sessions: 1}
	many := work{bytes: kib4, depth: 32, sessions: 1}
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
	return all
}

// forwarded is through the portal of a node that is not the head's.
const forwarded = "forwarded"

// syncedTgt is tgtd on the same file system, with each write on stable storage
// before it is answered.
func (b *bench) syncedTgt(fileOf func(string) (string, error)) (*server, error) {
	if b.tgtDisk != nil {
		return b.tgtDisk, nil
	}
	path, err := fileOf("tgt")
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
