package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ashlar/node/freeport"

	"golang.org/x/sys/unix"
)

// cluster is real nodes on loopback with one volume, or more.
type cluster struct {
	b       *bench
	program string
	name    string
	ips     []string
	ports   []uint16 // peers, gossip, iSCSI
	pids    []int    // by node

	head, other *server // paths of the volume v
	full        uint64  // bytes of v that are written
	aged        bool    // the journals have gone round twice
	memory      *server // a path of a volume like v with a write cache, once there is one
}

type clusterKind struct{ nodes, copies int }

// clusterOf is one with a disk on each node, on the file system that is measured,
// and a volume with so many copies. It is started once.
func (b *bench) clusterOf(nodes, copies int) (*cluster, error) {
	kind := clusterKind{nodes, copies}
	if c := b.clusters[kind]; c != nil {
		return c, nil
	}
	c, err := b.clusterWithDisks(fmt.Sprintf("c%d-%d", nodes, copies), nodes, copies)
	if err == nil {
		b.clusters[kind] = c
	}
	return c, err
}

// clusterWithDisks starts one of its own.
func (b *bench) clusterWithDisks(name string, nodes, copies int) (*cluster, error) {
	c, err := b.newCluster(name, nodes)
	if err != nil {
		return nil, err
	}
	for k := 0; k < nodes && err == nil; k++ {
		err = c.addDisk(k)
	}
	iqn := ""
	if err == nil {
		iqn, err = c.volume("v", volumeBytes, copies)
	}
	if err == nil && nodes > 1 {
		_, err = c.order(0, "", "volume", "move-head", "v", nodeName(0))
	}
	c.head, c.other = c.path(0, iqn), c.path(nodes-1, iqn)
	return c, err
}

// newCluster starts nodes that are one cluster, without disks.
func (b *bench) newCluster(name string, nodes int, create ...string) (c *cluster, err error) {
	c = &cluster{b: b, name: name}
	if c.program, err = sibling("ashlar"); err != nil {
		return nil, err
	}
	for k := range nodes {
		c.ips = append(c.ips, fmt.Sprintf("127.0.0.%d", k+1))
	}
	if c.ports, err = freeport.Take(c.ips, 3); err != nil {
		return nil, err
	}
	for k := range nodes {
		if err := os.MkdirAll(c.dir(k), 0o700); err != nil {
			return nil, err
		}
		c.pids = append(c.pids, 0)
		if err := c.serve(k); err != nil {
			return nil, err
		}
		if err := eventually(func() error { _, err := c.order(k, "", "status"); return err }); err != nil {
			return nil, err
		}
	}
	if _, err := c.order(0, "", append([]string{"cluster", "create", "bench"}, create...)...); err != nil {
		return nil, err
	}
	secret, err := c.order(0, "", "cluster", "secret")
	for k := 1; k < nodes && err == nil; k++ {
		_, err = c.order(k, secret, "cluster", "join", fmt.Sprintf("%s:%d", c.ips[0], c.ports[0]), "--secret-file", "-")
	}
	if err == nil {
		_, err = c.order(0, "", "host", "add", "bench", "iqn.2026-11.com.example:initiator")
	}
	return c, err
}

func nodeName(k int) string { return fmt.Sprintf("node%d", k+1) }

// node is the one of a name.
func (c *cluster) node(name string) (int, error) {
	for k := range c.ips {
		if nodeName(k) == name {
			return k, nil
		}
	}
	return 0, fmt.Errorf("%q is no node of %s", name, c.name)
}

func (c *cluster) dir(k int) string  { return filepath.Join(c.b.scratch, c.name, c.ips[k]) }
func (c *cluster) disk(k int) string { return filepath.Join(c.dir(k), "disk") }

// addDisk gives a node a file that was written once, as the files of fio and of the peers are: the file system has
// no space left to turn into data, block by block, while it is measured. A block device would be like that from the start.
func (c *cluster) addDisk(k int) error {
	path, err := c.b.file(c.dir(k), "disk", diskBytes)
	if err != nil {
		return err
	}
	if err := forget(path); err != nil {
		return err
	}
	_, err = c.order(k, "", "disk", "add", path, "--force")
	return err
}

// forget drops what the page cache holds of a file: it would be dropped piece by piece by the writes that go past it.
func forget(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
}

// serve starts a node's process.
func (c *cluster) serve(k int) (err error) {
	c.pids[k], _, err = c.b.start(c.program, "serve", "--dir", c.dir(k), "--name", nodeName(k), "--address", c.ips[k],
		"--peer-port", strconv.Itoa(int(c.ports[0])), "--gossip-port", strconv.Itoa(int(c.ports[1])), "--iscsi-port", strconv.Itoa(int(c.ports[2])),
		"--nvme-port", "0", "--nvme-discovery-port", "0", "--api-port", "0")
	return err
}

// order runs a command of the program at a node.
func (c *cluster) order(k int, input string, args ...string) (string, error) {
	command := exec.Command(c.program, append(args, "--dir", c.dir(k))...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ashlar %v: %w: %s", args, err, out)
	}
	return string(out), nil
}

// ask is an order whose answer is JSON.
func (c *cluster) ask(into any, args ...string) error {
	text, err := c.order(0, "", append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

// volume makes one and publishes it, and gives the name of its target.
func (c *cluster) volume(name string, bytes uint64, copies int, options ...string) (iqn string, err error) {
	for _, args := range [][]string{
		append([]string{"volume", "create", name, "--size", strconv.FormatUint(bytes, 10), "--copies", strconv.Itoa(copies)}, options...),
		{"export", "add", name, "bench"},
	} {
		if _, err := c.order(0, "", args...); err != nil {
			return "", err
		}
	}
	var v struct{ IQN string }
	err = c.ask(&v, "volume", "show", name)
	return v.IQN, err
}

// cached is a volume with a write cache beside v, through its head. It is made once.
func (c *cluster) cached(copies int) (*server, error) {
	if c.memory != nil {
		return c.memory, nil
	}
	iqn, err := c.volume("cached", volumeBytes, copies, "--write-cache", "on")
	if err != nil {
		return nil, err
	}
	var v struct{ Head string }
	if err := c.ask(&v, "volume", "show", "cached"); err != nil {
		return nil, err
	}
	k, err := c.node(v.Head)
	if err != nil {
		return nil, err
	}
	c.memory = c.path(k, iqn)
	return c.memory, nil
}

// volumes are small ones beside v, of which there are at least n; they are made once.
func (c *cluster) volumes(n, copies int) (iqns []string, err error) {
	var all []struct{ Name, IQN string }
	if err := c.ask(&all, "volume", "list"); err != nil {
		return nil, err
	}
	for i := range n {
		name := fmt.Sprintf("small%d", i)
		at := slices.IndexFunc(all, func(v struct{ Name, IQN string }) bool { return v.Name == name })
		iqn := ""
		if at >= 0 {
			iqn = all[at].IQN
		} else if iqn, err = c.volume(name, smallBytes, copies); err != nil {
			return nil, err
		}
		iqns = append(iqns, iqn)
	}
	return iqns, nil
}

// path is where a node serves targets.
func (c *cluster) path(k int, iqns ...string) *server {
	return &server{address: net.JoinHostPort(c.ips[k], strconv.Itoa(int(c.ports[2]))), iqn: iqns[0], units: iqns, pids: c.pids}
}

// fill writes the first bytes of the volume v, unless they are, so that reading and
// copying them is work.
func (c *cluster) fill(bytes uint64) error {
	if c.full >= bytes {
		return nil
	}
	if err := c.head.fill(bytes); err != nil {
		return err
	}
	c.full = bytes
	return nil
}

// journalBytes is what a store takes for its journal of a disk of diskBytes.
const journalBytes = diskBytes / 16

// age writes to the volume v until the journals of all disks have gone round twice: from then on a record is put
// where another was, and what is older is written back meanwhile. Writes of 4 KiB take that much of the journal at least.
func (c *cluster) age(copies int) error {
	if c.aged {
		return nil
	}
	err := patiently(func() error {
		streams, end, err := c.head.streams(work{write: true, bytes: kib4, depth: 32, sessions: 1, span: volumeBytes})
		if err != nil {
			return err
		}
		defer end()
		_, err = together(streams, func(x *stream) { x.count(2 * journalBytes / kib4 * len(c.ips) / copies) })
		return err
	})
	c.aged = err == nil
	return err
}

// fill writes the first bytes of the unit.
func (s *server) fill(bytes uint64) error {
	streams, end, err := s.streams(work{write: true, bytes: mib1, depth: 8, sessions: 1, inOrder: inRow, span: bytes})
	if err != nil {
		return err
	}
	defer end()
	x := streams[0]
	x.next = 0
	_, err = together(streams, func(*stream) { x.count(int(bytes / mib1)) })
	return err
}

func eventually(ask func() error) (err error) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = ask(); err == nil {
			return nil
		}
	}
	return err
}
