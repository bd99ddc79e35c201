// Package freeport finds ports for nodes that share a machine: those of tests
// and of the demo.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The ports lie below what Linux gives to outgoing connections (32768 on, by
// default): a port that one of these may take is only free until it is used.
const (
	lowest  = 10000
	highest = 32767
)

// taken are the marks of this process's ports. A listener that nobody refers to
// would be closed.
var taken struct {
	sync.Mutex
	marks []net.Listener
}

// Take gives n different ports that are free for TCP and UDP on all addresses.
// They belong to this process until it ends, as far as callers of Take go; a node
// may be stopped and started again on its own.
func Take(ips []string, n int) (ports []uint16, err error) {
	const attempts = 1000
	for range attempts {
		port := lowest + rand.IntN(highest-lowest+1)
		if err = take(ips, port); err != nil {
			continue
		}
		if ports = append(ports, uint16(port)); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d ports are free on all of %v: %w", n, ips, err)
}

// take looks whether a port is free, and then marks it, for all processes of this
// network namespace, by an abstract socket that goes with this process.
func take(ips []string, port int) error {
	mark, err := net.Listen("unix", "@ashlar-port-"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	for _, ip := range ips {
		if err := free(net.JoinHostPort(ip, strconv.Itoa(port))); err != nil {
			return errors.Join(err, mark.Close())
		}
	}
	taken.Lock()
	defer taken.Unlock()
	taken.marks = append(taken.marks, mark)
	return nil
}

func free(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", address)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return errors.Join(l.Close(), u.Close())
}
